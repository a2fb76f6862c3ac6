"""The `localproviders` command: parses arguments and prints."""

from __future__ import annotations

import argparse
import os
import sys
from typing import List, Optional

from localproviders._version import __version__
from localproviders.errors import ProviderError

_INTERRUPTED = 130


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command line, and give its exit status.

    A `ProviderError` becomes a line on standard error, its hint another, and its
    `exit_code` the status; an interrupt gives 130.
    """
    arguments = _parser().parse_args(argv)
    _show_every_letter()
    try:
        status: int = arguments.run(arguments)
        print(end="", flush=True)  # here a reader that has gone is still ours to handle
    except ProviderError as error:
        _complain(f"localproviders: {type(error).__name__}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has gone; Python would complain again while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _show_every_letter() -> None:
    """Write what the locale has no letter for as an escape, instead of failing."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _complain(text: str) -> None:
    if sys.stderr is not None:  # without one, print would take the standard output
        print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localproviders", description="Language models on your own machine."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="command", required=True)

    demo = commands.add_parser("demo", help="let a real small model answer, here and now")
    demo.add_argument("question", nargs="?", default="What is the capital of France?")
    demo.add_argument("--install", action="store_true", help="install the engine if it is missing")
    demo.set_defaults(run=_demo)

    discover = commands.add_parser(
        "discover", help="say which servers run here, and what they have"
    )
    discover.add_argument(
        "address", nargs="*", help="ask there, too, such as http://127.0.0.1:8081"
    )
    discover.set_defaults(run=_discover)

    engine = commands.add_parser("engine", help="the embedded engine")
    verbs = engine.add_subparsers(metavar="verb", required=True)
    install = verbs.add_parser("install", help="install the engine and its two small models")
    install.add_argument(
        "--if-supported", action="store_true", help="succeed where the engine cannot run at all"
    )
    install.set_defaults(run=_install)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from localproviders.cli.demo import run  # loads the engine

    run(arguments.question, install_missing=arguments.install)
    return 0


def _discover(arguments: argparse.Namespace) -> int:
    from localproviders.cli.found import run  # loads every provider

    run(arguments.address)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    import subprocess

    from localproviders.engine import install, why_unsupported

    unsupported = why_unsupported()
    if unsupported and arguments.if_supported:
        print(f"skipped: {unsupported}")
        return 0
    try:
        install()
    except subprocess.CalledProcessError as error:
        _complain(f"localproviders: pip ended with status {error.returncode}")
        return 1
    return 0
