"""The verb ``completion``: scripts with which a shell completes verbs, options and models."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import Any, Dict, List

from localproviders._redact import one_line
from localproviders.cli import options, verbs
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS
from localproviders.cli.verbs import Verb
from localproviders.config import Config
from localproviders.discovery import discover
from localproviders.errors import ProviderError

_BASH = r"""# completion of localproviders for bash: load it with "source FILE"
_localproviders() {
  local word="${COMP_WORDS[COMP_CWORD]}" before="" line="${COMP_LINE:0:COMP_POINT}" found
  ((COMP_CWORD > 0)) && before="${COMP_WORDS[COMP_CWORD-1]}"
  # bash splits words at colons, but the names of models contain colons.
  [[ "$line" == *[[:space:]] ]] && word="" || word="${line##*[[:space:]]}"
  [[ "$line" =~ (^|[[:space:]])(-m|--model)[[:space:]]+[^[:space:]]*$ ]] && before="-m"
  COMPREPLY=()
  case "$before" in
    -m|--model) found="$(localproviders completion models 2>/dev/null)" ;;
@VALUES@
    *) case "${COMP_WORDS[1]} ${COMP_WORDS[2]}" in
@OPTIONS@
      *) found="@VERBS@" ;;
    esac ;;
  esac
  local IFS=$' \t\n' prefix="${word%"${word##*:}"}" each
  for each in $(compgen -W "$found" -- "$word"); do COMPREPLY+=("${each#"$prefix"}"); done
}
complete -o default -F _localproviders localproviders
"""

_ZSH = r"""#compdef localproviders
# completion of localproviders for zsh: save it as _localproviders in a folder of $fpath
_localproviders() {
  local before="${words[CURRENT-1]}" found
  case "$before" in
    -m|--model) found=(${(f)"$(localproviders completion models 2>/dev/null)"}) ;;
@VALUES@
    *) case "${words[2]} ${words[3]}" in
@OPTIONS@
      *) found=(@VERBS@) ;;
    esac ;;
  esac
  compadd -a found || _files
}
compdef _localproviders localproviders
"""

_FISH = """# completion of localproviders for fish: save it in ~/.config/fish/completions
function __localproviders_after
  set -l words (commandline -opc)
  string match -q -- $argv "$words[2..-1] "
end
complete -c localproviders -n __fish_use_subcommand -f -a '@VERBS@'
@OPTIONS@
"""


def _add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "shell",
        metavar="SHELL",
        choices=("bash", "zsh", "fish", "models"),
        help='bash, zsh or fish; "models" lists the names that the scripts complete',
    )


def _run(arguments: Namespace, run: Run) -> int:
    if arguments.shell == "models":
        for name in _models():
            run.output.write_line(name)
    else:
        run.output.write(_WRITERS[arguments.shell]())
    return SUCCESS


def _models() -> List[str]:
    """Return the aliases, and ``SERVER/MODEL`` for each model found, or [] after an error."""
    try:
        config = Config.load()
        found = discover([*config.endpoints], locality=config.locality)  # type: ignore[arg-type]  # checked by `Config`
    except ProviderError:
        return []
    names = [f"{s.name}/{model.name}" for s in found.servers for model in s.models]
    # A name with a space cannot be completed: the scripts separate names by white space.
    return [name for name in [*config.aliases, *map(one_line, names)] if len(name.split()) == 1]


def _actions() -> Dict[str, List[argparse.Action]]:
    """Return the options of each verb."""
    found = {}
    for name in verbs.ENTRIES:
        parser = Parser(name)
        verbs.load(name).add_arguments(parser)
        options.add_shared(parser)
        found[name] = [action for action in parser._actions if action.option_strings]
    return found


def _words(actions: List[argparse.Action]) -> List[str]:
    return [word for action in actions for word in action.option_strings]


def _values(actions: Dict[str, List[argparse.Action]]) -> Dict[str, List[str]]:
    """Return the possible values of each option that accepts only certain values."""
    found: Dict[str, List[str]] = {}
    for each in actions.values():
        for action in each:
            choices: Any = action.choices
            if choices:
                found["|".join(action.option_strings)] = [str(choice) for choice in choices]
    return found


def _first_words() -> str:
    return " ".join(dict.fromkeys(name.split()[0] for name in (*verbs.ENTRIES, "help")))


def _seconds() -> Dict[str, List[str]]:
    """Return the second words of verbs of two words."""
    found: Dict[str, List[str]] = {}
    for name in verbs.ENTRIES:
        first, _, second = name.partition(" ")
        if second:
            found.setdefault(first, []).append(second)
    return found


def _cases(form: str) -> str:
    actions = _actions()
    lines = []
    for name, each in actions.items():
        pattern = f"{name}*" if " " in name else f"{name} *"
        words = form.format(" ".join(_words(each)))
        lines.append(f'      "{pattern[:-1]}"*) found={words} ;;')
    for first, seconds in _seconds().items():
        lines.append(f'      "{first} "*) found={form.format(" ".join(seconds))} ;;')
    return "\n".join(lines)


def _value_cases(form: str) -> str:
    pairs = _values(_actions()).items()
    return "\n".join(f"    {names}) found={form.format(' '.join(v))} ;;" for names, v in pairs)


def _script(template: str, form: str) -> str:
    return (
        template.replace("@VALUES@", _value_cases(form))
        .replace("@OPTIONS@", _cases(form))
        .replace("@VERBS@", _first_words())
    )


def _fish() -> str:
    lines = []
    for name, actions in _actions().items():
        seen = f'__localproviders_after "{name} *"'
        for action in actions:
            words = [
                f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"
                for word in action.option_strings
            ]
            value = _fish_value(action)
            lines.append(f"complete -c localproviders -n '{seen}' {' '.join(words)}{value}")
    for first, seconds in _seconds().items():
        seen = f'__localproviders_after "{first} "'
        lines.append(f"complete -c localproviders -n '{seen}' -f -a '{' '.join(seconds)}'")
    return _FISH.replace("@VERBS@", _first_words()).replace("@OPTIONS@", "\n".join(lines))


def _fish_value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if "--model" in action.option_strings:
        return " -x -a '(localproviders completion models 2>/dev/null)'"
    choices: Any = action.choices
    return f" -x -a '{' '.join(map(str, choices))}'" if choices else " -r"


_WRITERS = {
    "bash": lambda: _script(_BASH, '"{}"'),
    "zsh": lambda: _script(_ZSH, "({})"),
    "fish": _fish,
}

VERBS = {
    "completion": Verb(
        "Write a script with which a shell completes verbs, options and the names of models.",
        "localproviders completion bash > completion.sh",
        _add_arguments,
        _run,
    )
}
