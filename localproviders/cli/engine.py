"""The verb ``engine install``, which installs the embedded engine."""

from __future__ import annotations

from argparse import Namespace
from typing import Callable

from localproviders.cli.output import print_error
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS
from localproviders.cli.verbs import Verb
from localproviders.engine import install, why_unsupported


def run_with_pip(work: Callable[[], object]) -> int:
    """Run a function that may start pip, and return the exit code."""
    import subprocess  # slow to import, and only the engine's verbs need it

    try:
        work()
    except subprocess.CalledProcessError as error:
        print_error(
            f"localproviders: pip ended with status {error.returncode}. The lines above say why."
            " pip needs internet, or wheels from a machine with internet (docs/engine.md). Only"
            " wheels with the hashes in engine/requirements.txt are installed. If that file has no"
            " wheel for this system and Python, the engine cannot be installed here"
        )
        return 1
    return SUCCESS


def _add_install_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--if-supported",
        action="store_true",
        help="exit with 0 if the engine cannot run on this machine",
    )


def _run_install(arguments: Namespace, run: Run) -> int:
    unsupported = why_unsupported()
    if unsupported and arguments.if_supported:
        run.output.write_line(f"skipped: {unsupported}")
        return SUCCESS
    return run_with_pip(install)


VERBS = {
    "engine install": Verb(
        "Install the embedded engine and its two small models (about 360 MB), into the "
        "environment of this Python.",
        "localproviders engine install --if-supported",
        _add_install_arguments,
        _run_install,
    )
}
