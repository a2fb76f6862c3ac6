"""The verbs ``batch run``, ``status``, ``merge`` and ``check``: one result for each row of a file.

If a run ends early, the same command, run again, continues it. For this reason, the output of a
run that ended early is kept, and after a signal, requests in flight get time to finish.
"""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from typing import Any, Dict, Optional

from localproviders._redact import count_with_noun
from localproviders.cli import options
from localproviders.cli.batch_values import concurrency, failures, rate, retried, shard
from localproviders.cli.output import print_error
from localproviders.cli.parser import Parser
from localproviders.cli.questions import add_method, read_question_file
from localproviders.cli.requests import request_fields
from localproviders.cli.run import Run
from localproviders.cli.usage import (
    LIMIT,
    OUTPUT,
    SOME_FAILED,
    STOPPED,
    SUCCESS,
    TERMINATED,
    Stopped,
    UsageError,
)
from localproviders.cli.values import duration_or_zero, filled
from localproviders.cli.verbs import Verb
from localproviders.types.limits import CancelToken

# `localproviders.batch` has many modules, and a page of help needs none of them.

_SOURCE = "file (.jsonl, .csv, .tsv), or - for standard input"
_FORMS = ("jsonl", "csv", "tsv")
#: Seconds that requests in flight get to finish if a run ends early.
_GRACE_S = 10.0
# The line on standard error, by the exit code of an unsuccessful run. `{folder}` is the folder of
# the output.
_ENDS: Dict[int, str] = {
    SOME_FAILED: "{failed} of {rows} rows failed (hint: run the same command with --retry-failed)",
    STOPPED: "stopped: {stopped} (hint: run the same command again to continue)",
    OUTPUT: "the disk is full (hint: df -h {folder}; then run the same command again)",
}
_REASONS: Dict[Optional[str], str] = {
    "deadline": "the deadline has passed",
    "failures": "too many rows failed",
    "cancelled": "a signal ended the run",
    None: "rows have no result yet",
}


# --- arguments --------------------------------------------------------------------------------


def _add_rows(parser: Parser) -> Any:
    """Add the source, and the options that say how its rows are read."""
    group = parser.add_argument_group("rows")
    group.add_argument("source", metavar="IN", type=filled, help=_SOURCE)
    group.add_argument(
        "--id-field", metavar="F", type=filled, help="column or field that has the id of a row"
    )
    group.add_argument(
        "--questions", metavar="FILE", help="JSON file: an object of questions by name"
    )
    group.add_argument("--template", metavar="TEXT", help="text for each row: 'Sort {title}'")
    words = "jsonl, csv or tsv, instead of the suffix's format"
    group.add_argument("--input", choices=_FORMS, metavar="FORMAT", help=words)
    return group


def _add_run(parser: Parser) -> None:
    rows = _add_rows(parser)
    rows.add_argument(
        "--shard", metavar="K/N", type=shard, help="only part K of N; or slurm, or parallel/N"
    )
    group = parser.add_argument_group("run")
    add_method(group)
    group.add_argument(
        "--concurrency",
        metavar="N",
        type=concurrency,
        default="auto",
        help="number of requests in flight, or auto",
    )
    group.add_argument("--rate", metavar="N/s", type=rate, help="most requests per second")
    group.add_argument("--ordered", action="store_true", help="results in the order of the rows")
    group.add_argument("--compact", action="store_true", help="only the id and the answer")
    group.add_argument(
        "--max-failures",
        metavar="N|P%",
        type=failures,
        help="stop if more rows than this have failed",
    )
    again = group.add_mutually_exclusive_group()
    again.add_argument("--retry-failed", action="store_true", help="ask again for rows that failed")
    again.add_argument(
        "--retry",
        metavar="CLASS,...",
        type=retried,
        help="ask again only after errors of these classes",
    )
    group.add_argument(
        "--grace",
        metavar="TIME",
        type=duration_or_zero,
        default=_GRACE_S,
        help="time to finish requests at an early end (10s)",
    )
    options.add_model(parser)
    options.add_unlisted_request(parser, "--image")


# --- batch run --------------------------------------------------------------------------------


def _run(arguments: Namespace, run: Run) -> int:
    given = _given(arguments)
    end = _End(run)
    with run.progress(None, "rows") as meter:

        def on_progress(report: Any) -> None:
            end.begin()
            meter.set(report.succeeded + report.failed, report.rows, _step_of(report))
            run.record_batch(report)

        try:
            report = _answer_all(arguments, run, given, on_progress, end.cancel)
        except Stopped as stopped:  # before the first request
            if stopped.exit_code in (TERMINATED, LIMIT):
                reason = "deadline" if stopped.exit_code == LIMIT else "cancelled"
                stopped.exit_code = STOPPED
                stopped.message = _ENDS[STOPPED].format(stopped=_REASONS[reason])
            raise
    _show(run, report)
    return end.exit_code_of(report)


def _step_of(report: Any) -> str:
    """Return the facts about a running batch that stand beside its progress."""
    facts = (
        report.failed and f"{report.failed} failed",
        report.bound_by and f"bound by the {report.bound_by}",
    )
    return ", ".join(fact for fact in facts if fact)


def _given(arguments: Namespace) -> Dict[str, Any]:
    """Check the options, and return the arguments of `batch.run` for some of them."""
    _output_of(arguments)
    if arguments.source == "-" and arguments.no_input:
        raise UsageError("--no-input forbids reading the rows from standard input")
    fields = request_fields(arguments)
    if arguments.questions is not None and set(fields) - {"expect_digest"}:
        name = next(name for name in fields if name != "expect_digest").replace("_", "-")
        raise UsageError(f"--{name} cannot be used with --questions, which sends no chats")
    return {**fields, **_rules(arguments)}


def _output_of(arguments: Namespace) -> str:
    path = arguments.output
    if path is None or path == "-":
        raise UsageError(
            "the results need a file, from which a later run can continue",
            hint="add -o results.jsonl",
        )
    return str(path)


def _rules(arguments: Namespace) -> Dict[str, Any]:
    if arguments.encoding != "utf-8":
        raise UsageError(
            "the rows must be in UTF-8",
            hint=f"iconv -f {arguments.encoding} -t utf-8 {shlex.quote(arguments.source)} > NEW",
        )
    path = arguments.questions
    return {
        "template": arguments.template,
        "id_field": arguments.id_field,
        "questions": None if path is None else read_question_file(path),
    }


def _source_of(arguments: Namespace) -> Any:
    from localproviders.batch.sources import SourcePath  # a page of help does not need it

    if arguments.source == "-" and sys.stdin is None:
        raise UsageError("standard input is closed", hint="add < FILE")
    return SourcePath(arguments.source, arguments.input)


def _answer_all(
    arguments: Namespace, run: Run, given: Dict[str, Any], on_progress: Any, cancel: CancelToken
) -> Any:
    from localproviders import batch  # a page of help does not need it

    return batch.run(
        _source_of(arguments),
        arguments.output,
        run.provider(),
        method=arguments.method,
        min_mass=arguments.min_mass,
        concurrency=arguments.concurrency,
        rate_per_s=arguments.rate,
        ordered=arguments.ordered,
        compact=arguments.compact,
        shard=arguments.shard,
        deadline_s=run.left_s,
        grace_s=arguments.grace,
        max_failures=arguments.max_failures,
        retry_failed=arguments.retry or arguments.retry_failed,
        force=arguments.force,
        on_progress=on_progress,
        timeout=arguments.timeout,
        cancel=cancel,
        **given,
    )


class _End:
    """The early end of a run by a signal, and its exit code.

    Before the first request, a signal raises `Stopped`, as in every verb. After that, a signal
    cancels the run. Then the requests in flight have the time of ``--grace`` to finish.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._has_begun = False
        self._stopped: Optional[Stopped] = None
        self.cancel = CancelToken()

    def begin(self) -> None:
        """Note that requests may be in flight from now on."""
        if not self._has_begun:
            self._has_begun = True
            self._run.hand_over(self._stop)

    def _stop(self, stopped: Stopped) -> None:
        self._stopped = stopped
        self.cancel.cancel()

    def exit_code_of(self, report: Any) -> int:
        """Return the exit code of a run. If it is not 0, write the reason to standard error."""
        code = int(report.exit_code)
        if code != SUCCESS:
            print_error(f"localproviders {self._run.verb}: {self._line(code, report)}")
        stopped = self._stopped
        is_own = report.stopped == "cancelled" and stopped is not None
        return stopped.exit_code if stopped and is_own and stopped.exit_code != TERMINATED else code

    def _line(self, code: int, report: Any) -> str:
        folder = os.path.dirname(self._run.arguments.output) or os.curdir
        facts = {"failed": report.failed, "rows": report.rows, "folder": shlex.quote(folder)}
        return _ENDS[code].format(stopped=_REASONS.get(report.stopped, report.stopped), **facts)


def _show(run: Run, report: Any) -> None:
    """Write a report to standard output as one line; with ``--json``, as a JSON object."""
    if run.arguments.json:
        run.output.write_json(report.to_dict())
    elif not run.arguments.quiet:
        run.output.write_line(str(report))


# --- the other verbs --------------------------------------------------------------------------


def _add_status(parser: Parser) -> None:
    parser.add_argument("path", metavar="OUT", type=filled, help="the output of a run")


def _status(arguments: Namespace, run: Run) -> int:
    from localproviders import batch  # a page of help does not need it

    report = batch.status(arguments.path)
    _show(run, report)
    return report.exit_code


def _add_merge(parser: Parser) -> None:
    parser.add_argument("parts", metavar="PART", nargs="+", help="the outputs of all shards")


def _merge(arguments: Namespace, run: Run) -> int:
    from localproviders import batch  # a page of help does not need it

    report = batch.merge(arguments.parts, _output_of(arguments), force=arguments.force)
    _show(run, report)
    return report.exit_code


def _add_check(parser: Parser) -> None:
    _add_rows(parser)


def _check(arguments: Namespace, run: Run) -> int:
    from localproviders import batch  # a page of help does not need it

    rules = _rules(arguments)
    wrong = batch.check(_source_of(arguments), **rules)
    for record in wrong:
        if arguments.json:
            run.output.write_json(record.to_dict())
        else:
            run.output.write_line(str(record.error))
    if not wrong:
        return SUCCESS
    print_error(
        f"localproviders {run.verb}: {count_with_noun(len(wrong), 'row')} cannot be sent"
        " (hint: correct each; otherwise, batch run writes an error as its result)"
    )
    return SOME_FAILED


_RUN = (
    "localproviders batch run mails.csv -o answers.csv -m ollama/llama3.2 \\\n"
    "  --template 'Sort: {title}'"
)

VERBS = {
    "batch run": Verb(
        "Ask a model about each row. If the run ends early, run the same command again to "
        "continue. The options of a request, such as --temperature, exist, too (localproviders "
        "help chat).",
        _RUN,
        _add_run,
        _run,
        is_resumable=True,
    ),
    "batch status": Verb(
        "Show how many rows of a run have an answer, failed, or have no result yet. The exit code "
        "is 0 if every row has an answer, 12 if rows failed, and 13 if rows have no result yet.",
        f"{_RUN}\nlocalproviders batch status answers.csv",
        _add_status,
        _status,
    ),
    "batch merge": Verb(
        "Join the outputs of all shards into one file, in the order of the rows.",
        "for part in 1 2; do\n"
        "  localproviders batch run mails.csv -o part$part.jsonl -m ollama/llama3.2 \\\n"
        "    --template 'Sort: {title}' --shard $part/2\n"
        "done\n"
        "localproviders batch merge part1.jsonl part2.jsonl -o all.jsonl",
        _add_merge,
        _merge,
        is_resumable=True,
    ),
    "batch check": Verb(
        "Find the rows that cannot be sent. No server is needed. The exit code is 12 if there are "
        "such rows.",
        "localproviders batch check mails.csv --template 'Sort: {title}'",
        _add_check,
        _check,
    ),
}
