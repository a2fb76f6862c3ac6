"""The verbs of the command: the table of their modules, and the page that lists them."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._did_you_mean import did_you_mean
from localproviders.cli.usage import UsageError


class Verb(NamedTuple):
    """A verb of the command, as its module describes it in the dictionary ``VERBS``.

    Attributes:
        description: One or two sentences about the verb, for its page of help.
        example: Shell commands for the page of help, one in each line.
        add_arguments: Function that adds the arguments to a `Parser`. The type here is `Any`,
            because this module does not import the parser.
        run: Function that runs the verb with the parsed arguments and the `Run`, and returns the
            exit code.
        is_resumable: Whether the same command, run again, continues a run that ended early. Such a
            verb writes the file of ``-o`` itself, and the file is kept after an error.
    """

    description: str
    example: str
    add_arguments: Callable[[Any], None]
    run: Callable[[Any, Any], int]
    is_resumable: bool = False


class Entry(NamedTuple):
    """A row of the table of verbs: the module in `localproviders.cli`, and a summary."""

    module: str
    summary: str


_PAGE = """\
usage: localproviders VERB [arguments]

Use language models on your own machine.
{}
localproviders help VERB      the arguments of a verb, with an example
localproviders help options   the options of every verb
localproviders --version      the version
"""

#: The verbs by their group on the page of help. The modules are imported when they are needed.
GROUPS: Mapping[str, Mapping[str, Entry]] = {
    "Ask a model": {
        "chat": Entry("chat", "one answer, a filter for pipes, or a conversation"),
        "complete": Entry("complete", "continue a text as it is"),
        "parse": Entry("parse", "an answer as JSON that follows a schema"),
        "decide": Entry("decide", "questions about a text, answered with probabilities"),
        "embed": Entry("embed", "vectors of texts"),
        "rerank": Entry("rerank", "sort texts by their relevance to a query"),
        "batch run": Entry("batch", "one result for each row, even if a run is killed"),
        "batch status": Entry("batch", "how many rows of a run have a result"),
        "batch merge": Entry("batch", "join the outputs of several machines"),
        "batch check": Entry("batch", "find the rows that cannot be sent"),
    },
    "Models": {
        "models": Entry("lists", "the models of all servers"),
        "show": Entry("lists", "what is known about a model"),
        "ps": Entry("lists", "the models in memory"),
        "load": Entry("memory", "load a model into memory"),
        "unload": Entry("memory", "remove a model from memory"),
        "pull": Entry("transfers", "download a model"),
        "push": Entry("transfers", "upload a model"),
        "create": Entry("transfers", "make a model from another one or from files"),
        "copy": Entry("transfers", "give a model a second name"),
        "delete": Entry("transfers", "delete a model"),
    },
    "Servers and settings": {
        "discover": Entry("discover", "find the model servers on this machine"),
        "doctor": Entry("doctor", "find what is wrong, and how to mend it"),
        "bench": Entry("bench", "measure the speed of a model on this machine"),
        "config show": Entry("configuration", "the configuration, and where each value is from"),
        "config path": Entry("configuration", "the paths of the configuration files"),
        "config check": Entry("configuration", "check the configuration files"),
        "config init": Entry("configuration", "write a first configuration file"),
        "engine install": Entry("engine", "install the embedded engine and its models"),
        "demo": Entry("demo", "answer a question without any server"),
        "serve-fake": Entry("serve_fake", "a fake server, for the tests of scripts"),
        "completion": Entry("completion", "a script for completion in bash, zsh or fish"),
    },
}

ENTRIES: Dict[str, Entry] = {
    name: entry for group in GROUPS.values() for name, entry in group.items()
}


#: Summaries of the verbs of two words, by their first word. The page of help has one line for all
#: verbs with the same first word.
_FAMILIES: Mapping[str, str] = {
    "batch": "one result for each row of a file",
    "config": "the configuration",
}


def page() -> str:
    """Return the page that lists all verbs."""
    lines: List[str] = []
    for title, group in GROUPS.items():
        rows = dict(_row(name, entry, group) for name, entry in group.items())
        lines += ["", f"{title}:", *(f"  {name:<17} {summary}" for name, summary in rows.items())]
    return _PAGE.format("\n".join([*lines, ""]))


def _row(name: str, entry: Entry, group: Mapping[str, Entry]) -> Tuple[str, str]:
    """Return the name and the summary of a line of the page."""
    first = name.split()[0]
    if first not in _FAMILIES:
        return name, entry.summary
    seconds = ", ".join(each.split()[1] for each in group if each.startswith(f"{first} "))
    return f"{first} VERB", f"{_FAMILIES[first]}: {seconds}"


def page_of(first: str) -> Optional[str]:
    """Return the page that lists the verbs of two words with this first word, or None."""
    found = {name: each for name, each in ENTRIES.items() if name.startswith(f"{first} ")}
    lines = [f"  localproviders {name:<17} {each.summary}" for name, each in found.items()]
    return "\n".join([f"usage: localproviders {first} VERB", "", *lines, ""]) if found else None


def split(words: Sequence[str]) -> Tuple[str, List[str]]:
    """Return the verb at the beginning of a command line, and the words after it.

    Raises:
        UsageError: There is no such verb, or the second word of a verb of two words is missing.
    """
    for length in (1, 2):
        name = " ".join(words[:length])
        if name in ENTRIES:
            return name, list(words[length:])
    seconds = [name.split()[1] for name in ENTRIES if name.split()[0] == words[0] and " " in name]
    if seconds:
        raise _wrong_second(words, seconds)
    names = list(dict.fromkeys(name.split()[0] for name in ENTRIES))
    raise UsageError(
        f"there is no verb {words[0]!r}{did_you_mean(words[0], names)}",
        hint="localproviders --help",
    )


def _wrong_second(words: Sequence[str], seconds: List[str]) -> UsageError:
    known = ", ".join(f"{words[0]} {second}" for second in seconds)
    if len(words) == 1:
        hint = f"localproviders help {words[0]}"
        return UsageError(f"{words[0]!r} needs a second word: {known}", hint=hint)
    return UsageError(
        f"there is no verb {words[0]!r} {words[1]!r}{did_you_mean(words[1], seconds)}",
        hint=f"the verbs are {known}",
    )


def load(name: str) -> Verb:
    """Import the module of a verb, and return the verb."""
    module: Any = import_module(f"localproviders.cli.{ENTRIES[name].module}")
    found: Verb = module.VERBS[name]
    return found
