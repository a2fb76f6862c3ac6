"""The verb ``bench``, which measures the speed of a model."""

from __future__ import annotations

import argparse
import os
from argparse import Namespace
from typing import Optional, Tuple

from localproviders.bench import (
    Plan,
    Results,
    compare,
    comparison_table,
    measure,
    read_results,
    to_jsonl,
    to_page,
    to_table,
)
from localproviders.bench.measurement import DEADLINE_S
from localproviders.cli import options
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.usage import UsageError
from localproviders.cli.verbs import Verb

_PAGES = (".html", ".htm")
# The measurement ends this many seconds before the deadline of the run, so that the results can
# be written. If the deadline is short, the second number is used instead: a share of the deadline.
_WRITING_S = 2.0
_WRITING_SHARE = 0.1

_DESCRIPTION = (
    "Measure how fast a model runs: load time, first token, and speeds at several prompt lengths"
    " and with several requests at the same time. The model is unloaded and loaded again, except"
    " with --loads 0. -o FILE.html writes a page with charts, and -o FILE.jsonl writes the results."
)
_EXAMPLE = """\
localproviders bench -m ollama/llama3.2 --quick -o old.jsonl
localproviders bench -m ollama/llama3.2 --quick --compare old.jsonl -o a.html"""


def _add_arguments(parser: Parser) -> None:
    """Add the options of `bench` to its parser."""
    parser.add_argument(
        "--compare", metavar="FILE", help="compare with the results in this JSONL file"
    )
    parser.add_argument(
        "--quick", action="store_true", help="only a few prompt lengths, and two rounds"
    )
    parser.add_argument(
        "--rounds", type=_count, metavar="N", help="repetitions of each measurement (default: 5)"
    )
    parser.add_argument(
        "--lengths",
        type=_counts,
        metavar="N,N",
        help="prompt lengths in tokens (default: 128,512,1024,2048)",
    )
    parser.add_argument(
        "--at-once",
        type=_counts,
        metavar="N,N",
        help="numbers of requests at the same time (default: 1,2,4,8)",
    )
    parser.add_argument(
        "--max-tokens", type=_count, metavar="N", help="most tokens of an answer (default: 64)"
    )
    parser.add_argument(
        "--loads", type=_count, metavar="N", help="how often to load the model (default: 3)"
    )
    options.add_model(parser)


def _run(arguments: Namespace, run: Run) -> int:
    """Measure, and write the table, the page or JSONL to the output.

    Raises:
        UsageError: ``--compare`` was given, but the output is JSONL.
        ConfigurationError: An option has an impossible value, or the file of ``--compare`` cannot
            be read. Nothing was measured.
        ProviderError: Nothing could be measured.
    """
    plan = _plan(arguments)
    if arguments.compare is not None and _is_jsonl(arguments):
        raise UsageError(
            "--compare cannot be used with JSONL", hint="leave --json out, or choose -o FILE.html"
        )
    before = None if arguments.compare is None else read_results(arguments.compare)
    with run.progress(plan.steps, "steps") as progress:
        results = measure(
            run.provider(),
            plan=plan,
            deadline_s=_deadline(arguments.deadline),
            timeout=arguments.timeout,
            on_progress=lambda step: progress.set(step.done),
        )
    run.output.write_line(_text(arguments, results, before).rstrip("\n"))
    return 0


def _text(arguments: Namespace, results: Results, before: Optional[Results]) -> str:
    """Return the results in the format that the suffix of the output or ``--json`` chooses."""
    if _suffix(arguments) in _PAGES:
        return to_page(results, before)
    if _is_jsonl(arguments):
        return to_jsonl(results)
    if before is None:
        return to_table(results)
    return f"{to_table(results)}\n\n{comparison_table(compare(before, results))}"


def _suffix(arguments: Namespace) -> str:
    return os.path.splitext(arguments.output or "")[1].lower()


def _is_jsonl(arguments: Namespace) -> bool:
    suffix = _suffix(arguments)
    return suffix == ".jsonl" or (arguments.json and suffix not in _PAGES)


def _plan(arguments: Namespace) -> Plan:
    named = ("rounds", "lengths", "at_once", "max_tokens", "loads")
    given = {name: getattr(arguments, name) for name in named}
    plan = Plan.quick() if arguments.quick else Plan()
    return plan.replace(**{name: value for name, value in given.items() if value is not None})


def _deadline(deadline_s: Optional[float]) -> float:
    """Return the deadline of the measurement, which leaves time to write the results."""
    if deadline_s is None:
        return DEADLINE_S
    return deadline_s - min(_WRITING_S, deadline_s * _WRITING_SHARE)


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _counts(text: str) -> Tuple[int, ...]:
    """Parse whole numbers with commas between them. An empty text has no numbers."""
    return tuple(_count(each) for each in text.split(",") if each.strip())


VERBS = {"bench": Verb(_DESCRIPTION, _EXAMPLE, _add_arguments, _run)}
