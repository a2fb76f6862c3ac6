"""The `localproviders` command: parses the arguments and prints the results."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Callable, List, NoReturn, Optional

from localproviders._redact import one_line
from localproviders._version import __version__
from localproviders.errors import ProviderError

_INTERRUPTED = 130


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command line, and return its exit status.

    A `ProviderError` is printed as one line on standard error, and its `exit_code` is the
    status. An `OSError`, such as a full disk, is also printed as one line; the status is 1. After
    Ctrl-C the status is 130.
    """
    arguments = _parser().parse_args(argv)
    _escape_unencodable()
    try:
        status: int = arguments.run(arguments)
        print(end="", flush=True)  # if the pipe is closed, this raises BrokenPipeError
    except ProviderError as error:
        _print_error(f"localproviders: {type(error).__name__}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of the pipe has closed it
        _discard_unwritable_output()
        return 0
    except OSError as error:
        _discard_unwritable_output()
        _print_error(f"localproviders: {one_line(str(error))}")
        return 1
    return status


def _discard_unwritable_output() -> None:
    """Discard output that cannot be written. Otherwise, Python reports it again at exit."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escape_unencodable() -> None:
    """Print characters that the locale cannot encode as escapes, instead of failing."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _print_error(text: str) -> None:
    if sys.stderr is not None:  # `print` with file=None would use the standard output
        print(text, file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are always one line, even if an argument contains line breaks."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="localproviders", description="Use language models on your own machine.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="command", required=True)

    demo = commands.add_parser(
        "demo", help="answer a question with a small model, without any server"
    )
    demo.add_argument(
        "question",
        nargs="?",
        default="What is the capital of France?",
        type=_question,
        help='the question to ask, in quotes (default: "%(default)s")',
    )
    demo.add_argument(
        "--install",
        action="store_true",
        help="install the engine first if it is missing (about 360 MB)",
    )
    demo.set_defaults(run=_demo)

    discover = commands.add_parser(
        "discover", help="list the servers on this machine and their models"
    )
    discover.add_argument(
        "address", nargs="*", help="a further address to probe, such as http://127.0.0.1:8081"
    )
    discover.set_defaults(run=_discover)

    engine = commands.add_parser("engine", help="manage the embedded engine")
    verbs = engine.add_subparsers(metavar="verb", required=True)
    install = verbs.add_parser(
        "install", help="install the engine and its two small models (about 360 MB)"
    )
    install.add_argument(
        "--if-supported",
        action="store_true",
        help="if the engine cannot run on this machine, exit with status 0",
    )
    install.set_defaults(run=_install)
    return parser


def _question(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the question is empty")
    return text


def _demo(arguments: argparse.Namespace) -> int:
    from localproviders.cli.commands import run_demo as run  # imports the engine

    return _run_with_pip(lambda: run(arguments.question, install_missing=arguments.install))


def _discover(arguments: argparse.Namespace) -> int:
    from localproviders.cli.commands import run_discover as run  # imports every provider

    run(arguments.address)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    from localproviders.engine import install, why_unsupported  # imports the engine

    unsupported = why_unsupported()
    if unsupported and arguments.if_supported:
        print(f"skipped: {unsupported}")
        return 0
    return _run_with_pip(install)


def _run_with_pip(work: Callable[[], object]) -> int:
    """Run a function that may start pip, and return the exit status."""
    import subprocess  # slow to import, and only the engine's commands need it

    try:
        work()
    except subprocess.CalledProcessError as error:
        _print_error(
            f"localproviders: pip ended with status {error.returncode}. The lines above say why."
            " pip needs internet, or wheels from a machine with internet (docs/engine.md). Only"
            " wheels with the hashes in engine/requirements.txt are installed. If that file has no"
            " wheel for this system and Python, the engine cannot be installed here"
        )
        return 1
    return 0
