"""`run`: sends all rows of a source, and continues an earlier run that ended too early."""

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

    A run may end at any moment, even by a kill or a power failure. To continue it, make the same
    call again: rows that have an answer are not sent again. While a run goes on, the results of
    failed rows are in a file beside the output, unless `ordered` is True. At the end, each row of
    the source is in the output exactly once, with its answer or its last error. If the error of a
    row is retryable, the row is sent a second time. If the second request fails, too, and the run
    ends before all rows have a result, the next run sends the row again.

    Beside an output ``out.jsonl`` are ``out.jsonl.journal`` (a record of each result, with
    checksums), ``out.jsonl.manifest`` (the arguments and the models), ``out.jsonl.failures`` and
    ``out.jsonl.lock``.

    A row is a line of OpenAI's batch files (``custom_id``, ``method``, ``url``, ``body``), or a
    mapping with one of these fields: ``messages`` (a chat), ``prompt`` (text that the model
    continues), ``text`` (an embedding), ``state`` (a decision), or ``query`` with ``documents`` (a
    ranking). Such a mapping may also have fields of requests, such as ``temperature``. A row that
    is only a text is a chat, or, if there are `questions`, a state. If a row cannot be sent, its
    result is an error.

    Args:
        source: A path with the suffix ``.jsonl``, ``.csv`` or ``.tsv``; ``-`` for standard input;
            or an iterable of texts and mappings, which is read once, before the first request.
        sink: A path with the suffix ``.jsonl``, ``.csv`` or ``.npy``, or an object with the
            methods of `Sink`.
        provider: The provider. For several hosts, pass ``LocalProvider(strategy="balanced")``.
        template: A text in which ``{column}`` stands for a field of the row. The filled template
            is the message of a chat, or, if there are `questions`, a state.
        id_field: The column or field with the id of a row. With None, it is ``id`` or
            ``custom_id``; a row with neither has its number as its id.
        questions: Questions about each state, as in `decide`.
        method: The method of `decide` for rows with a state, if a row does not name one.
        min_mass: The `min_mass` of `decide` for rows with a state, if a row does not have one;
            None is 0.5.
        model: Model of the rows that name none; None is the provider's model.
        system: System message of the chats.
        concurrency: Number of requests in flight, for all hosts together; or ``"auto"``, which
            finds a number for each host during the run.
        rate_per_s: Highest number of requests that are started per second; None is no limit.
        executor: An executor of `concurrent.futures`. None makes threads, which end with the run.
            If the executor uses other processes, the provider is sent to them as a pickle.
        ordered: Whether the results are written in the order of the rows. A result is then held
            back until all earlier rows have theirs.
        compact: Whether the lines have only the id and the answer or error.
        shard: Number of this part, counted from 1, and the number of all parts: ``(3, 8)``.
        deadline_s: Seconds after which the run ends; None is no limit.
        grace_s: Seconds that requests in flight get to finish if the run ends early.
        max_failures: Highest number of rows that may fail in this run, or a percentage of all rows
            such as ``"5%"``. If more rows fail, the run ends. None is no limit. With and without a
            limit, the run ends after 100 consecutive rows whose errors concern all rows: no server
            is reachable, for example, or the servers refuse the API key (docs/batch.md, "How a run
            ends"). The next run sends these rows again.
        retry_failed: True sends all rows again whose last result is an error. If you pass one or
            several classes of errors, only the rows with such an error are sent again.
        force: True continues an output even if it comes from a run with other arguments or
            another model, and replaces a file that is not the output of a run. Even then, the shard
            and the columns of a table must be the same.
        on_progress: Function that is called with the report so far: before the first request, a
            few times in a second, and at the end.
        timeout: Seconds for each request, or a `Limits` value; None uses the provider's limits.
        cancel: A token that ends the run early; `run` then returns its report as usual.
        fields: Further fields of `CompletionRequest`, such as ``temperature=0``, for rows that do
            not have them.

    Returns:
        The report of the run. `BatchReport.stopped` says why it ended early, if it did.

    Raises:
        ConfigurationError: An argument or the source cannot be used, an id occurs twice, or the
            output comes from a run with other arguments. Nothing was sent.
        LockHeldError: Another process, or another thread, writes to this output.
        IntegrityError: A file of an earlier run was changed after that run.
        ModelNotFoundError: The server does not have the model. No row was sent. This is also
            true of the next four errors.
        UnreachableError: No server answers at the start.
        CertificateError: The TLS handshake fails at the start.
        AuthenticationError: The server refuses the API key at the start.
        AllFailedError: There are several servers, and none can be used at the start: each has one
            of the errors above, or a `LocalityError`.
        LocalityError: The policy `locality` forbids the server or the model.
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
