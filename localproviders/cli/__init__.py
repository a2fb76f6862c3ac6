"""The command ``localproviders``: chooses the verb, runs it, and returns the exit code."""

from __future__ import annotations

import gc
import sys
from errno import EMFILE
from typing import TYPE_CHECKING, Any, List, Optional

from localproviders.cli import verbs
from localproviders.cli.output import Output, discard_unwritable_output, print_error
from localproviders.cli.usage import (
    INTERRUPTED,
    OTHER,
    OUTPUT,
    SUCCESS,
    USAGE,
    OutputError,
    Stopped,
)
from localproviders.errors import ProviderError

if TYPE_CHECKING:  # a page of help needs neither argparse nor a run
    from argparse import Namespace

    from localproviders.cli.run import Run


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command, and return its exit code (docs/command.md lists them).

    Only the answer is written to standard output. An error is one line on standard error, which
    ends with a hint: what to try next. If the reader of a pipe has closed it, this is no error.

    Args:
        argv: The arguments after the name of the command; None means those of this process.
    """
    started = _Started()
    if argv is None:  # no caller shares this process
        gc.set_threshold(_OBJECTS)
    exit_code = _exit_code(sys.argv[1:] if argv is None else list(argv), started)
    if started.run is not None:
        started.run.record_end(exit_code)
    if argv is None:
        gc.freeze()  # otherwise, Python would search all objects for garbage at exit
    return exit_code


def _exit_code(words: List[str], started: _Started) -> int:
    """Run the command, print an error as one line, and return the exit code."""
    try:
        return _run_or_stop(words, started)
    except ProviderError as error:
        from localproviders.cli.next_steps import line_of  # only an error needs it

        print_error(line_of(error, started.name, started.model))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Stopped as stopped:
        if stopped.message:
            print_error(f"{started.name}: {stopped.message}")
        return stopped.exit_code
    except BrokenPipeError:  # the reader of the pipe has closed it
        return SUCCESS
    except OutputError as error:
        print_error(f"{started.name}: {error}")
        return OUTPUT
    except OSError as error:
        print_error(_line_of_system(started.name, error))
        return USAGE
    except MemoryError:
        print_error(f"{started.name}: there is not enough memory (hint: free -h)")
        return OTHER
    finally:
        discard_unwritable_output()


# The garbage collector runs each time the program has made this many new objects. With Python's
# default, it would run more than a hundred times during the import of a verb's modules, although
# the import makes no garbage.
_OBJECTS = 50_000


class _Started:
    """Facts about the running verb, for the lines on standard error.

    Attributes:
        name: Name of the command with its verb.
        model: The value of ``--model``; None if the option was not given.
        run: The run of the verb; None for a page of help.
    """

    def __init__(self) -> None:
        self.name = "localproviders"
        self.model: Optional[str] = None
        self.run: Optional[Run] = None


def _run_or_stop(words: List[str], started: _Started) -> int:
    """Run the command. If a signal ended it, always raise the exception of the signal.

    Code that the signal interrupts can replace this exception by another one: for example, Python
    3.11 raises `RuntimeError` if a class was being created.
    """
    try:
        return _run(words, started)
    except BaseException as error:
        cause: Optional[BaseException] = error
        while cause is not None and not isinstance(cause, (Stopped, KeyboardInterrupt)):
            cause = cause.__cause__ or cause.__context__
        if cause is None or cause is error:
            raise
        raise cause.with_traceback(None) from None


def _run(words: List[str], started: _Started) -> int:
    if not words or words[0] in ("-h", "--help", "--version", "help"):
        return _print_page(words)
    if words[1:] in (["-h"], ["--help"]) and verbs.page_of(words[0]):
        return _print_page(["help", words[0]])
    name, rest = verbs.split(words)
    started.name = f"localproviders {name}"
    verb = verbs.load(name)
    arguments = _parse(name, verb, rest)
    if arguments is None:
        return SUCCESS
    started.model = getattr(arguments, "model", None)
    from localproviders.cli.run import Run  # a page of help needs no run

    started.run = run = Run(name, arguments, is_resumable=verb.is_resumable)
    with run:
        return verb.run(arguments, run)


def _parse(name: str, verb: verbs.Verb, words: List[str]) -> Optional[Namespace]:
    """Parse the arguments of a verb. If they ask for the page of help, print it and return None."""
    from localproviders.cli.parser import ShowHelp  # the version needs no parser

    try:
        found: Namespace = _parser(name, verb).parse_args(words)
    except ShowHelp as page:
        _print(str(page))
        return None
    return found


def _parser(name: str, verb: verbs.Verb) -> Any:
    from localproviders.cli.options import add_shared  # a list of verbs needs no options
    from localproviders.cli.parser import Parser  # a list of verbs needs no parser

    parser = Parser(name, verb.description, verb.example)
    verb.add_arguments(parser)
    add_shared(parser)
    return parser


def _print_page(words: List[str]) -> int:
    """Print the version, the list of verbs, or a page of help."""
    if not words:
        print_error(verbs.page().rstrip("\n"))
        return USAGE
    if words[0] == "--version":
        from localproviders._version import __version__  # only --version needs it

        _print(f"{__version__}\n")
    elif words[0] != "help" or len(words) == 1:
        _print(verbs.page())
    elif words[1:] == ["options"]:
        from localproviders.cli.options import page  # a list of verbs needs no options

        _print(page())
    elif len(words) == 2 and verbs.page_of(words[1]):
        _print(verbs.page_of(words[1]) or "")
    else:
        name, _ = verbs.split(words[1:])
        _print(_parser(name, verbs.load(name)).format_help())
    return SUCCESS


def _print(text: str) -> None:
    output = Output()
    output.open()
    output.write(text)


def _line_of_system(name: str, error: OSError) -> str:
    from localproviders._redact import one_line  # only an error needs it

    hint = "ulimit -n 1024" if error.errno == EMFILE else "localproviders doctor"
    where = f"{error.filename!r}: " if error.filename else ""
    return one_line(f"{name}: {where}{error.strerror or error} (hint: {hint})")
