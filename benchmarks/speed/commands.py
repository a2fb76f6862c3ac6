"""The commands that are measured from start to end, and the programs to compare them with."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

from benchmarks.speed.adapters import MODEL
from benchmarks.speed.clients import BASELINE, OWN, REQUESTS

_TEXT = "Write a commit message"
#: The standard input of a chat, with the size of a small diff.
DIFF = "+    return sorted(set(names), key=str.lower)  # no name twice\n" * 64


class Command(NamedTuple):
    """A Python program with its arguments, its standard input and its environment variables.

    Attributes:
        program: The text of the program, for ``python -c``. It is not an installed script, because
            each installer writes a different script.
        arguments: Its arguments.
        text: Its standard input; empty means that it reads none.
        variables: Environment variables in addition to those that each process gets.
    """

    program: str
    arguments: List[str]
    text: str = ""
    variables: Tuple[Tuple[str, str], ...] = ()


_OWN = "import sys; from localproviders.cli import main; sys.exit(main())"
_SCRIPT = "from benchmarks.speed.script import main; main()"


def command(name: str, client: str, url: str) -> Command:
    """Return the command of a client.

    Args:
        name: ``version`` or ``chat``.
        client: Name of the client. The baseline of ``version`` is a process that does nothing.
        url: Base URL of the server.
    """
    if name == "version":
        return {BASELINE: Command("pass", []), OWN: Command(_OWN, ["--version"])}[client]
    own = ["chat", "-m", f"ollama/{MODEL}", _TEXT]
    return {
        REQUESTS: Command(_SCRIPT, ["-m", MODEL, "--url", url, _TEXT], DIFF),
        OWN: Command(_OWN, own, DIFF, (("OLLAMA_HOST", url),)),
    }[client]
