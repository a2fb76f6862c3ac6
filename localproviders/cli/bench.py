"""The verb `bench`: measures the speed of a model, and compares it with an older measurement."""

from __future__ import annotations

import argparse
import os
from typing import Any, Optional, Tuple

from localproviders.errors import ConfigurationError

# Seconds of the deadline of the run that remain for writing the results.
_WRITING_S = 2.0
_WRITING_SHARE = 0.1

_DEFAULT_DEADLINE_S = 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench` to its parser."""
    parser.description = (
        "Measure how fast a model runs on this machine: load time, time to the first token, and"
        " speeds at several prompt lengths and with several requests at once. The model is"
        " unloaded and loaded again, unless --loads 0 is set. Example: localproviders bench"
        " -m llama3.2 --quick -o speed.html"
    )
    parser.add_argument(
        "--compare", metavar="FILE", help="compare with the results in this JSONL file"
    )
    parser.add_argument("--quick", action="store_true", help="few sizes and two rounds")
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


def run(arguments: argparse.Namespace, run: Any) -> int:
    """Measure, print the table, and write the results to the output file if one is named.

    Raises:
        ConfigurationError: An option has an impossible value, or a file cannot be used. Nothing was
            measured.
        ProviderError: Nothing could be measured.
    """
    from localproviders.bench import (  # imports the providers
        compare,
        comparison_table,
        measure,
        read_results,
        to_jsonl,
        to_page,
        to_table,
    )

    write = _writer_of(arguments.output, to_jsonl, to_page)
    _check_output(arguments.output, arguments.force)
    before = None if arguments.compare is None else read_results(arguments.compare)
    plan = _plan(arguments)
    with run.provider(arguments) as provider, run.progress(None, "step") as progress:
        results = measure(
            provider,
            plan=plan,
            deadline_s=_deadline(arguments.deadline),
            timeout=arguments.timeout,
            on_progress=lambda step: progress.report(step.done, step.total, step.title),
        )
    if write is not None:
        run.output.write_file(arguments.output, write(results, before).encode("utf-8"))
    texts = [to_jsonl(results).rstrip("\n") if arguments.json else to_table(results)]
    if before is not None and not arguments.json:
        texts.append(comparison_table(compare(before, results)))
    run.output.write_line("\n\n".join(texts))
    return 0


def _plan(arguments: argparse.Namespace) -> Any:
    from localproviders.bench import Plan  # imports the providers

    named = ("rounds", "lengths", "at_once", "max_tokens", "loads")
    given = {name: getattr(arguments, name) for name in named}
    plan = Plan.quick() if arguments.quick else Plan()
    return plan.replace(**{name: value for name, value in given.items() if value is not None})


def _writer_of(path: Optional[str], to_jsonl: Any, to_page: Any) -> Any:
    """Return a function of the new and the old results, by the suffix of the output file."""
    if path is None:
        return None
    writers = {
        ".jsonl": lambda results, before: to_jsonl(results),
        ".html": lambda results, before: to_page(results, before),
    }
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in writers:
        raise ConfigurationError(
            f"the output {path!r} ends in {suffix or 'no suffix'!r}",
            hint="bench writes FILE.html (a page) or FILE.jsonl (for --compare)",
        )
    return writers[suffix]


def _check_output(path: Optional[str], force: bool) -> None:
    """Check before the measurement that the output file does not exist."""
    if path is not None and not force and os.path.lexists(path):
        raise ConfigurationError(
            f"the output {path!r} exists", hint="add --force to replace it, or name another file"
        )


def _deadline(deadline_s: Optional[float]) -> float:
    """Return the deadline of the measurement, which leaves time to write the results."""
    if deadline_s is None:
        return _DEFAULT_DEADLINE_S
    return deadline_s - min(_WRITING_S, deadline_s * _WRITING_SHARE)


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _counts(text: str) -> Tuple[int, ...]:
    """Parse whole numbers with commas between them; an empty text is no number."""
    return tuple(_count(each) for each in text.split(",") if each.strip())
