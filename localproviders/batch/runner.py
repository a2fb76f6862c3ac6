"""`run`: answers all rows of a source, and goes on where an earlier run has stopped."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Optional, Tuple, Union

from localproviders._signatures import Unpack, show_keywords
from localproviders.batch.arguments import (
    Arguments,
    RetryFailed,
    checked_shard,
    fixed_concurrency,
    retried_classes,
    without_none,
)
from localproviders.batch.coordinator import OnProgress
from localproviders.batch.file_run import FileRun
from localproviders.batch.object_run import run_with_object
from localproviders.batch.pacing import MaxFailures, check_positive, most_failures
from localproviders.batch.paths import PathLike, RunPaths
from localproviders.batch.recorder import Sink
from localproviders.batch.report import BatchReport
from localproviders.batch.rows import RowRules
from localproviders.batch.sources import Source
from localproviders.provider import ModelProvider
from localproviders.types.inputs import model_name
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.questions import Questions, check_mass, check_method
from localproviders.types.requests import (
    CompletionRequest,
    ModelLike,
    RequestFields,
    check_field_names,
)


@show_keywords(RequestFields, CompletionRequest)
def run(  # the arguments are checked one after the other
    source: Source,
    sink: Union[PathLike, Sink],
    provider: ModelProvider,
    *,
    template: Optional[str] = None,
    id_field: Optional[str] = None,
    questions: Optional[Questions] = None,
    method: Optional[str] = None,
    min_mass: Optional[float] = None,
    model: Optional[ModelLike] = None,
    system: Optional[str] = None,
    concurrency: Union[int, str] = "auto",
    rate_per_s: Optional[float] = None,
    executor: Optional[Executor] = None,
    ordered: bool = False,
    compact: bool = False,
    shard: Optional[Tuple[int, int]] = None,
    deadline_s: Optional[float] = None,
    grace_s: float = 10,
    max_failures: MaxFailures = None,
    retry_failed: RetryFailed = False,
    force: bool = False,
    on_progress: Optional[OnProgress] = None,
    timeout: Timeout = None,
    cancel: Optional[CancelToken] = None,
    **fields: Unpack[RequestFields],
) -> BatchReport:
    """Ask a model about all rows of a source, and write one result for each row.

    A run may be ended at any moment, even by a kill or a power failure. The same call then goes
    on: rows with an answer are not asked again. While it runs, the rows that have failed are in a
    file beside the output. At the end, each row of the source is in the output exactly once, with
    its answer or its last error. A row whose error is retryable is sent twice; if both fail, the
    next run asks it again, unless this run has handled all rows.

    Beside an output ``out.jsonl`` are ``out.jsonl.journal`` (the record of all results, with
    checksums), ``.manifest`` (the arguments and the models), ``.failures`` and ``.lock``.

    A row is a line of OpenAI's batches (``custom_id``, ``method``, ``url``, ``body``), or a short
    line with one of these fields: ``messages`` (a chat), ``prompt`` (text that the model
    continues), ``text`` (an embedding), ``state`` (a decision), or ``query`` with ``documents`` (a
    ranking). Fields of requests, such as ``temperature``, may stand beside them. A row that is only
    a text is a chat, or a state if there are `questions`. A row that cannot be read gets an error
    as its result.

    Args:
        source: A path with the suffix ``.jsonl``, ``.csv`` or ``.tsv``; ``-`` for standard input;
            or an iterable of texts and mappings, which is read once, before the first request.
        sink: A path with the suffix ``.jsonl``, ``.csv`` or ``.npy``, or an object with the
            methods of `Sink`.
        provider: The provider. Several hosts are one ``LocalProvider(strategy="balanced")``.
        template: A text in which ``{column}`` stands for a field of the row. The result is a
            chat, or a state if there are `questions`.
        id_field: The column with the id of a row. None uses ``id`` or ``custom_id``, or else the
            number of the row.
        questions: Questions about each state, as in `decide`.
        method: How rows with a state are decided, as in `decide`, if they do not say it.
        min_mass: Least mass of the answers to these rows, as in `decide`, if they do not say it;
            None is 0.5.
        model: Model of the rows that name none; None is the provider's model.
        system: System message of the chats.
        concurrency: Number of requests in flight, or ``"auto"``, which finds the number for each
            host during the run.
        rate_per_s: Highest number of requests that are started in a second; None is no limit.
        executor: An executor of `concurrent.futures`. None makes threads, which end with the run.
            If the executor has other processes, the provider is sent there as a pickle.
        ordered: Whether the results have the order of the rows. An answer then waits for the
            earlier ones.
        compact: Whether the lines have only the id and the answer.
        shard: Number of this part, counted from 1, and number of all parts: ``(3, 8)``.
        deadline_s: Seconds after which the run ends; None is no limit.
        grace_s: Seconds for the requests in flight if the run ends early.
        max_failures: Number of failed rows, or a part of all rows such as ``"5%"``, after which
            the run ends; None is no limit. Without a limit, the run also ends after 100 rows in a
            row that no server accepted.
        retry_failed: True asks rows again whose last result is an error; classes of errors ask
            only the rows with these errors again.
        force: True continues an output of a run with other arguments or models, and replaces a
            file that is no output of a run.
        on_progress: Function that is called with the report so far: before the first request, a
            few times in a second, and at the end.
        timeout: Seconds for each row, or a `Limits` value; None is the provider's limits.
        cancel: A token that ends the run with a report.
        fields: Further fields of `CompletionRequest`, such as ``temperature=0``, for rows that do
            not have them.

    Returns:
        The numbers of the run. `BatchReport.stopped` says whether rows are left.

    Raises:
        ConfigurationError: An argument or the source cannot be used, an id occurs twice, or the
            output belongs to a run with other arguments. Nothing was sent.
        LockHeldError: Another process writes to this output.
        IntegrityError: The output or the journal was changed.
        ModelNotFoundError: The server does not have the model.
        UnreachableError: No server answers at the start.
        TypeError: A field of a request is unknown.
        ValueError: A question, `method` or `min_mass` is malformed.
    """
    if fields:
        check_field_names(fields, run)
    given = without_none(fields)
    for name, value in (("model", model_name(model)), ("system", system)):
        if value is not None:
            given[name] = value
    mass = None if min_mass is None else check_mass(min_mass)
    decision = without_none({"method": check_method(method), "min_mass": mass})
    check_positive("rate_per_s", rate_per_s)
    check_positive("deadline_s", deadline_s)
    check_positive("grace_s", grace_s, zero=True)
    most_failures(max_failures, 1)
    arguments = Arguments(
        source=source,
        provider=provider,
        rules=RowRules(template, id_field, questions, given, decision),
        fixed=fixed_concurrency(concurrency),
        rate_per_s=rate_per_s,
        executor=executor,
        ordered=bool(ordered),
        compact=bool(compact),
        shard=checked_shard(shard),
        deadline_s=deadline_s,
        grace_s=grace_s,
        max_failures=max_failures,
        retried=retried_classes(retry_failed),
        force=bool(force),
        on_progress=on_progress,
        timeout=timeout,
        cancel=cancel,
    )
    if isinstance(sink, (str, os.PathLike)):
        return FileRun(arguments, RunPaths(sink)).run()
    return run_with_object(arguments, sink)
