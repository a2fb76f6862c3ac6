"""The parser of the arguments of one verb, and its page of help."""

from __future__ import annotations

import argparse
import sys
from typing import Any, List, NoReturn, Optional, Sequence

from localproviders._did_you_mean import did_you_mean
from localproviders._redact import one_line
from localproviders.cli.usage import UsageError

# Width of a page of help, in columns. Every terminal is at least this wide.
_WIDTH = 80
_INDENT = 28


class _Formatter(argparse.HelpFormatter):
    """A formatter that does not depend on the size of the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_INDENT, width=_WIDTH)


class ShowHelp(Exception):  # noqa: N818  # no error: the user asked for help
    """Raised if the arguments ask for help. Its message is the page of help."""


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise ShowHelp(parser.format_help())


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a `UsageError` of one line, and which accepts no abbreviations.

    Args:
        verb: Name of the verb.
        description: The first paragraph of the page of help.
        example: The shell commands at the end of the page.
    """

    def __init__(self, verb: str, description: str = "", example: str = "") -> None:
        super().__init__(
            prog=f"localproviders {verb}",
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.verb = verb
        self.example = example
        #: The options that every verb has. The page of help lists only their names.
        self.shared: List[str] = []
        #: Whether the words after ``--`` are a command, which becomes the argument ``command``.
        self.takes_command = False
        self._positionals.title, self._optionals.title = "arguments", "options"
        self.add_argument("-h", "--help", action=_Help, nargs=0, help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Raise the `UsageError` for a message of argparse."""
        raise UsageError(one_line(message), hint=f"localproviders help {self.verb}")

    def parse_args(  # type: ignore[override]  # the overloads are for other namespaces
        self, args: Optional[Sequence[str]] = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parse the arguments; name the most similar option for an unknown one.

        Raises:
            UsageError: An argument is unknown, missing or invalid.
        """
        words = sys.argv[1:] if args is None else list(args)
        end = words.index("--") if self.takes_command and "--" in words else len(words)
        found: argparse.Namespace
        found, more = self.parse_known_args(words[:end], namespace)
        if not more:
            found.command = words[end + 1 :]
            return found
        unknown = next((word for word in more if word.startswith("-") and word != "-"), None)
        if unknown is None:
            takes_words = any(
                action.nargs in ("*", "+") for action in self._positionals._group_actions
            )
            rule = ": write no option between the words of a text" if takes_words else ""
            return self.error(f"unexpected argument {more[0]!r}{rule}")
        name = unknown.partition("=")[0]
        return self.error(f"unknown option {name}{did_you_mean(name, self.option_names())}")

    def option_names(self) -> List[str]:
        """Return the names of all options of the verb, such as ``--model``."""
        return [name for action in self._actions for name in action.option_strings]

    def format_help(self) -> str:
        """Return the page of help: at most 40 lines of 80 columns."""
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        for group in self._action_groups:
            shown = [a for a in group._group_actions if a.help is not argparse.SUPPRESS]
            if shown:
                formatter.start_section(group.title)
                formatter.add_arguments(shown)
                formatter.end_section()
        parts = [self._synopsis(), formatter.format_help().strip("\n"), self._shared_options()]
        text = "\n\n".join(filter(None, parts))
        example = "\n".join(f"  {line}" for line in self.example.splitlines())
        return f"{text}\n\nexample:\n{example}\n" if example else f"{text}\n"

    def _synopsis(self) -> str:
        words = [self._positional(action) for action in self._actions if not action.option_strings]
        options = ["[options]"] if self.option_names() else []
        options += ["[-- COMMAND...]"] if self.takes_command else []
        return " ".join(["usage:", self.prog, *words, *options])

    @staticmethod
    def _positional(action: argparse.Action) -> str:
        name = str(action.metavar or action.dest)
        return {None: name, "?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}.get(
            action.nargs if not isinstance(action.nargs, int) else None, name
        )

    def _shared_options(self) -> str:
        if not self.shared:
            return ""
        import textwrap  # only a page of help needs it

        return textwrap.fill(
            " ".join(self.shared),
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        ).join(["options of every verb (see: localproviders help options):\n", ""])
