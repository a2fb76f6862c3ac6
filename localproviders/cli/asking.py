"""Questions to the person at the terminal, for verbs that cannot be undone."""

from __future__ import annotations

import sys
from argparse import Namespace

from localproviders._redact import one_line
from localproviders.cli.output import print_error
from localproviders.cli.usage import UsageError


def check_may_ask(arguments: Namespace) -> None:
    """Check that ``--yes`` was given, or that a question can be asked.

    Raises:
        UsageError: ``--yes`` was not given, and no question is possible: there is no terminal, or
            ``--no-input`` was given.
    """
    if not arguments.yes and not _is_terminal(arguments):
        raise UsageError(
            "cannot ask whether to go on: there is no terminal, or --no-input was given",
            hint="add --yes to go on without the question",
        )


def confirm(arguments: Namespace, question: str) -> bool:
    """Return whether to go on: ``--yes`` was given, or the person answers with ``y`` or ``yes``.

    The question is written to standard error. The end of the input means no.

    Raises:
        UsageError: ``--yes`` was not given, and no question is possible: see `check_may_ask`.
    """
    check_may_ask(arguments)
    if arguments.yes:
        return True
    print(f"{one_line(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # Ctrl-D leaves the cursor after the question
        print_error("")
    return answer.strip().lower() in ("y", "yes")


def _is_terminal(arguments: Namespace) -> bool:
    streams = (sys.stdin, sys.stderr)
    return not arguments.no_input and all(each is not None and each.isatty() for each in streams)
