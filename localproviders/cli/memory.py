"""The verbs ``load`` and ``unload``: load a model into memory, or remove it from memory."""

from __future__ import annotations

import math
from argparse import Namespace

from localproviders.cli import options
from localproviders.cli.parser import Parser
from localproviders.cli.progress import PERCENT
from localproviders.cli.run import Run
from localproviders.cli.targets import target_of
from localproviders.cli.usage import SUCCESS
from localproviders.cli.values import duration_or_zero, whole
from localproviders.cli.verbs import Verb
from localproviders.types.models import Progress


def _keep_alive(text: str) -> float:
    return math.inf if text == "forever" else duration_or_zero(text)


def _add_load(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model, or SERVER/MODEL")
    parser.add_argument(
        "--context-length", metavar="N", type=whole(1), help="context window, in tokens"
    )
    parser.add_argument(
        "--keep-alive",
        metavar="TIME",
        type=_keep_alive,
        help="time in memory after the last request: 10m, 2h, forever",
    )
    parser.add_argument(
        "--check-memory",
        action="store_true",
        help="fail if less memory is free than the model needs",
    )
    options.add_server(parser)


def _run_load(arguments: Namespace, run: Run) -> int:
    target = target_of(run, arguments.model)
    with run.progress(100, PERCENT) as meter:

        def report(progress: Progress) -> None:
            done = None if progress.fraction is None else 100 * progress.fraction
            meter.set(done, step=progress.status)

        loaded = target.provider.load(
            target.model,
            context_length=arguments.context_length,
            keep_alive=arguments.keep_alive,
            check_memory=True if arguments.check_memory else None,
            on_progress=report,
        )
    if arguments.json:
        run.output.write_json(loaded.to_dict())
    else:
        window = f", context {loaded.context_length}" if loaded.context_length else ""
        took = f" in {loaded.load_s:.1f} s" if loaded.load_s else ""
        run.output.write_line(f"loaded {loaded.provider}/{loaded.name}{took}{window}")
    run.warn_all(loaded.warnings)
    return SUCCESS


def _add_unload(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model, or SERVER/MODEL")
    options.add_server(parser)


def _run_unload(arguments: Namespace, run: Run) -> int:
    target = target_of(run, arguments.model)
    target.provider.unload(target.model)
    if arguments.json:
        run.output.write_json({"unloaded": str(target)})
    else:
        run.output.write_line(f"unloaded {target}")
    return SUCCESS


VERBS = {
    "load": Verb(
        "Load a model into the memory of its server, and wait until the load is complete.",
        "localproviders load ollama/llama3.2 --keep-alive 2h",
        _add_load,
        _run_load,
    ),
    "unload": Verb(
        "Remove a model from memory. Without SERVER/ before its name, it is removed from the "
        "memory of every server that has it.",
        "localproviders unload ollama/llama3.2",
        _add_unload,
        _run_unload,
    ),
}
