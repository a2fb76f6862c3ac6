"""The options that several verbs share, in groups."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from localproviders.cli.parser import Parser
from localproviders.cli.values import (
    digest,
    duration,
    duration_or_zero,
    encoding,
    filled,
    number,
    whole,
)


class Option(NamedTuple):
    """An option: its names, its description, and the arguments of ``add_argument``."""

    names: Tuple[str, ...]
    help: str
    arguments: Mapping[str, Any]


def _option(*names: str, help: str, **arguments: Any) -> Option:  # as in argparse
    return Option(names, help, arguments)


_LOCALITIES = ("loopback", "private", "any")

#: Options that choose the model and its server.
MODEL = (
    _option("-m", "--model", metavar="MODEL", type=filled, help="model, alias or SERVER/MODEL"),
    _option(
        "--host",
        metavar="[KIND=]ADDRESS",
        type=filled,
        action="append",
        default=[],
        help="server; repeatable: the servers share the work",
    ),
    _option("--profile", metavar="NAME", type=filled, help="profile of the configuration"),
    _option(
        "--locality",
        choices=_LOCALITIES,
        metavar="PLACE",
        help="where prompts may go: loopback, private or any",
    ),
)

#: Options that set the fields of each request.
REQUEST = (
    _option("--system", metavar="TEXT", help="system message"),
    _option("--image", metavar="FILE", action="append", default=[], help="image; repeatable"),
    _option("--max-tokens", metavar="N", type=whole(1), help="longest answer, in tokens"),
    _option("--temperature", metavar="T", type=number(0, 10), help="0 is the least random"),
    _option("--seed", metavar="N", type=whole(0), help="seed of the random choices"),
    _option(
        "--thinking",
        metavar="HOW",
        choices=("on", "off", "low", "medium", "high"),
        help="on, off, low, medium or high",
    ),
    _option("--grammar", metavar="FILE", help="grammar that the answer must follow (GBNF)"),
    _option(
        "--expect-digest",
        metavar="HEX",
        type=digest,
        help="refuse a model file with another digest",
    ),
)

#: Options that choose the inputs.
INPUT = (
    _option(
        "-f",
        "--file",
        metavar="FILE",
        action="append",
        default=[],
        help="read a file; - is standard input",
    ),
    _option(
        "--input",
        choices=("text", "lines", "jsonl", "csv", "tsv"),
        metavar="FORMAT",
        help="lines, jsonl, csv or tsv: each row is an input",
    ),
    _option("--template", metavar="TEXT", help="text for each row, as in 'Sort {title}'"),
)

#: Options that every verb has, for its output and its run.
SHARED: Dict[str, Option] = {
    "--json": _option("--json", action="store_true", help="write JSON"),
    "-o FILE": _option("-o", "--output", metavar="FILE", type=filled, help="write to a new file"),
    "--force": _option("--force", action="store_true", help="replace an existing file"),
    "-q": _option("-q", "--quiet", action="store_true", help="write only errors to standard error"),
    "-v": _option("-v", "--verbose", action="store_true", help="log each call to standard error"),
    "--color WHEN": _option(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        metavar="WHEN",
        help="auto, always or never; auto obeys NO_COLOR",
    ),
    "--progress HOW": _option(
        "--progress",
        choices=("auto", "bar", "lines", "none"),
        default="auto",
        metavar="HOW",
        help="auto, bar, lines or none",
    ),
    "--encoding NAME": _option(
        "--encoding",
        default="utf-8",
        type=encoding,
        metavar="NAME",
        help="encoding of input and output (default: utf-8)",
    ),
    "--no-input": _option(
        "--no-input", action="store_true", help="never read standard input, never ask"
    ),
    "--timeout TIME": _option(
        "--timeout", metavar="TIME", type=duration, help="limit for each call: 90, 90s, 10m, 2h"
    ),
    "--deadline TIME": _option(
        "--deadline", metavar="TIME", type=duration, help="limit for the whole run"
    ),
    "--lock FILE": _option(
        "--lock",
        metavar="FILE",
        type=filled,
        help="run only if no other run holds this lock (exit code 75)",
    ),
    "--lock-wait TIME": _option(
        "--lock-wait",
        metavar="TIME",
        type=duration_or_zero,
        default=0.0,
        help="longest wait for the lock (default: 0)",
    ),
    "--jitter TIME": _option(
        "--jitter",
        metavar="TIME",
        type=duration_or_zero,
        default=0.0,
        help="first wait a random time, at most TIME",
    ),
    "--metrics-file FILE": _option(
        "--metrics-file",
        metavar="FILE",
        type=filled,
        help="write metrics of the calls for node_exporter (.prom)",
    ),
}


def add_model(parser: Parser) -> None:
    """Add the options that choose the model and its server."""
    _add(parser, "model and server", MODEL)


def add_server(parser: Parser) -> None:
    """Add the options that choose the server of a model that is an argument of the verb."""
    _add(parser, "servers", MODEL[1:])


def add_place(parser: Parser) -> None:
    """Add ``--profile`` and ``--locality``, for a verb that needs no model and no ``--host``."""
    _add(parser, "servers", MODEL[2:])


def add_request(parser: Parser, *left_out: str) -> None:
    """Add the options of a request, except some.

    Args:
        parser: The parser.
        *left_out: Names of the options that the verb does not have, such as ``--image``.
    """
    shown = [option for option in REQUEST if option.names[-1] not in left_out]
    _add(parser, "request", tuple(shown))


def add_some_of_request(parser: Parser, *names: str) -> None:
    """Add some of the options of a request.

    Args:
        parser: The parser.
        *names: Names of the options, such as ``--image``.
    """
    _add(parser, "request", tuple(option for option in REQUEST if option.names[-1] in names))


def add_unlisted_request(parser: Parser, *left_out: str) -> None:
    """Add the options of a request, except some, without listing them on the page of help."""
    for option in REQUEST:
        if option.names[-1] not in left_out:
            parser.add_argument(*option.names, help=SUPPRESS, **option.arguments)


def add_input(parser: Parser) -> None:
    """Add the options that choose the inputs."""
    _add(parser, "input", INPUT)


def add_shared(parser: Parser) -> None:
    """Add the options that every verb has. The page of help lists only their names."""
    parser.shared = list(SHARED)
    for option in SHARED.values():
        parser.add_argument(*option.names, help=SUPPRESS, **option.arguments)


def page() -> str:
    """Return the page of help about the options that every verb has."""
    parser = Parser("options")
    _add(parser, "every verb has these options", tuple(SHARED.values()))
    _, _, lines = parser.format_help().partition("\n\n")
    return lines


def _add(parser: Parser, title: str, options: Tuple[Option, ...]) -> None:
    group = parser.add_argument_group(title)
    for option in options:
        group.add_argument(*option.names, help=option.help, **option.arguments)
