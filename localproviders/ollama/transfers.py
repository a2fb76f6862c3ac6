"""Transfers of models: pull, push, create, copy and delete.

A transfer reports its progress. Only a report of further progress restarts the idle limit. An
interrupted pull continues where it stopped. Files of a new model are uploaded under their
digests (docs/reference/ollama.md, "Blobs").
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from typing import Any, Callable, Dict, Generator, Iterable, Mapping, Optional, Tuple, TypeVar

from localproviders._http.deadline import (
    LOCAL_WORK,
    TRANSFERRING,
    WORKING,
    Call,
    Stop,
    sleep,
    stopped,
)
from localproviders._http.framing import MOST_STEPS, NDJSONDecoder, Tally, decode, looks_cut
from localproviders._http.retry import backoff_s, cut_off
from localproviders._http.transport import Body, Payload, Transport, encode
from localproviders._http.upload import PIECE, Upload, changed, open_file, read_piece
from localproviders._http_provider.call_runner import CallRunner
from localproviders.errors import (
    ConfigurationError,
    LimitError,
    ModelError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    ServerBusyError,
    ServerError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.ollama.catalog import Catalog
from localproviders.ollama.memory import Memory
from localproviders.ollama.wire.errors import refuse_without_pull
from localproviders.ollama.wire.library import (
    Recipe,
    Sources,
    blob_path,
    check_done,
    check_sources,
    copy_payload,
    create_payload,
    delete_payload,
    refuse_push,
    transfer_payload,
)
from localproviders.ollama.wire.responses import SUCCESS, is_file_transfer, parse_progress
from localproviders.settings import Settings
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout, describe
from localproviders.types.models import ModelInfo, OnProgress, Progress

T = TypeVar("T")

_RUN_AGAIN = "the server may have been stopped or restarted: check it, and run the transfer again"


class Transfers:
    """The calls that pull, push, create, copy and delete models.

    A transfer has no total limit unless the caller sets one. It fails if it makes no progress
    for `idle_s`. Work that the server does without reports, such as checking a digest, may take
    `load_s` (docs/reference/ollama.md, "Progress").

    Args:
        runner: Runner of the calls.
        catalog: Catalog that reads the details of the new model after a transfer.
        memory: `Memory` object that unloads a model before it is deleted.
        forget: Function that clears the provider's cached facts about models.
    """

    def __init__(
        self, runner: CallRunner, catalog: Catalog, memory: Memory, forget: Callable[[], None]
    ) -> None:
        self._runner = runner
        self._memory = memory
        self._transport = runner.transport
        self._settings = runner.settings
        self._catalog = catalog
        self._forget = forget

    def pull(
        self,
        model: str,
        insecure: bool,
        on_progress: Optional[OnProgress],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> ModelInfo:
        """Download a model and return its details."""
        body = encode(transfer_payload(model, insecure))

        def work(call: Call) -> ModelInfo:
            self._transfer("pull", body, on_progress, call)
            return self._catalog.info_after(model, call)

        return self._change("pull", model, work, timeout, cancel)

    def push(
        self,
        model: str,
        insecure: bool,
        on_progress: Optional[OnProgress],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> None:
        """Upload a model; raise `LocalityError` unless `locality` is ``any``."""
        body = encode(transfer_payload(model, insecure))

        def work(call: Call) -> None:
            if self._settings.locality != "any":
                raise refuse_push(model, self._settings.locality)
            self._transfer("push", body, on_progress, call)

        self._runner.run(
            work,
            operation="push",
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=math.inf,
        )

    def create(
        self,
        model: str,
        recipe: Recipe,
        sources: Sources,
        on_progress: Optional[OnProgress],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> ModelInfo:
        """Create a model and return its details."""
        check_sources(recipe, sources)

        def work(call: Call) -> ModelInfo:
            uploads = BlobUploads(self._transport, call, on_progress)
            digests = {what: uploads.upload(files) for what, files in sources.items()}
            payload = create_payload(model, recipe, digests)
            body = encode(Payload(payload))
            del payload  # a traceback with local variables must not show its texts
            try:
                self._transfer("create", body, on_progress, call, resumes=False)
            except ModelNotFoundError as error:
                error.add_context(model=recipe.from_model)  # `model` is the name of the new model
                raise
            return self._catalog.info_after(model, call)

        return self._change("create", model, work, timeout, cancel, texts=lambda: recipe.texts)

    def copy(
        self, source: str, destination: str, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> None:
        """Add a second name to a model."""
        payload = copy_payload(source, destination)
        self._change(
            "copy",
            source,
            lambda call: self._send("POST", "/api/copy", payload, source, call),
            timeout,
            cancel,
            total_s=LISTING_TOTAL_S,
        )

    def delete(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> None:
        """Delete a model, after a request to unload it."""
        payload = delete_payload(model)

        def work(call: Call) -> None:
            # If the server cannot unload the model, the model is deleted nevertheless.
            with contextlib.suppress(ModelError, ServerError, ConfigurationError):
                self._memory.release(model, call)
            self._send("DELETE", "/api/delete", payload, model, call)

        self._change(
            "delete",
            model,
            work,
            timeout,
            cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- steps ------------------------------------------------------------------------------

    def _transfer(
        self,
        verb: str,
        body: Body,
        on_progress: Optional[OnProgress],
        call: Call,
        *,
        resumes: bool = True,
    ) -> None:
        transfer = Transfer(self._transport, self._settings, call, resumes=resumes)
        transfer.run(f"/api/{verb}", body, on_progress)

    def _send(self, method: str, path: str, payload: Any, model: str, call: Call) -> None:
        """Send a request about an installed model. Its successful response is empty."""
        # Described in docs/reference/ollama.md, "Copy and delete".
        try:
            answer = self._transport.open(method, path, call=call, body=encode(Payload(payload)))
            text = decode(answer.read_all(self._settings.max_body_bytes))
            check_done(text, self._settings.max_json_depth, call.look)
        except ModelNotFoundError as error:
            refuse_without_pull(error)
            raise

    def _change(
        self,
        operation: str,
        model: str,
        work: Callable[[Call], T],
        timeout: Timeout,
        cancel: Optional[CancelToken],
        *,
        total_s: float = math.inf,
        texts: Callable[[], Iterable[str]] = tuple,
    ) -> T:
        """Run a call that changes models; clear cached facts afterwards, even if it failed."""
        try:
            return self._runner.run(
                work,
                operation=operation,
                model=model,
                timeout=timeout,
                cancel=cancel,
                total_s=total_s,
                texts=texts,
            )
        finally:
            self._forget()


# Longer statuses and digests are cut to this length before they are stored. A server may send
# texts of any length, which must not fill the memory.
_LONGEST_KEY = 200


class ProgressDetector:
    """A detector of progress in the reports of a transfer, over all its attempts.

    Ollama reports every 60 ms even if no byte has arrived, and its counts fall when it repeats
    a part of a file (docs/reference/ollama.md, "Progress"). A report alone is therefore not
    progress.
    """

    def __init__(self) -> None:
        #: Whether this attempt got more bytes of a file than every attempt before it.
        self.got_further: bool = False
        self._most_bytes: Dict[str, int] = {}
        self._seen: Dict[Tuple[str, Optional[str]], int] = {}
        self._phases = Tally("steps of a transfer", MOST_STEPS)

    def begin(self) -> None:
        """Begin another attempt.

        Its first report counts as progress, even if the attempt before it had more bytes.
        """
        self._seen = {}
        self.got_further = False

    def shows_progress(self, progress: Progress) -> bool:
        """Return whether a report shows progress over the earlier reports of this attempt.

        Raises:
            AnswerTooLargeError: The reports name more files and statuses than any model has.
                Each new one counts as progress, so `idle_s` would never end such a transfer.
        """
        done = progress.completed_bytes or 0
        digest = progress.digest and progress.digest[:_LONGEST_KEY]
        if digest is not None and done > self._most_bytes.get(digest, 0):
            self._most_bytes[digest] = done
            self.got_further = True
        phase = (progress.status[:_LONGEST_KEY], digest)
        if done <= self._seen.get(phase, -1):
            return False
        if phase not in self._seen:
            self._phases.add()
        self._seen[phase] = done
        return True


class Transfer:
    """A pull, a push or a creation: one request, which may be repeated after an interruption.

    It fails after too many attempts in a row without progress. A report of further bytes restarts
    the limit `idle_s`. Reports without further bytes do not, however many arrive. Between files
    the server works without reports: it checks a digest, or quantizes. This takes minutes for a
    large file, and is limited by `load_s` instead.

    Args:
        transport: Transport that sends the requests.
        settings: Settings with the maximum sizes and the retry policy.
        call: Call whose limits apply.
        resumes: Whether an interrupted transfer is requested again. The server then continues
            where it stopped (docs/reference/ollama.md, "Disconnecting").
    """

    def __init__(
        self, transport: Transport, settings: Settings, call: Call, *, resumes: bool
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._call = call
        self._resumes = resumes
        self._detector = ProgressDetector()
        self._opened = False
        self._attempts_without_progress = 0
        self._attempt_number = 1

    def run(self, path: str, body: Body, on_progress: Optional[OnProgress]) -> None:
        """Send the request, call `on_progress` with each report, and return on success.

        Raises:
            ProviderError: The transfer failed, or stopped making progress too often. The
                connection is closed.
        """
        with contextlib.closing(self._reports(path, body)) as reports:
            for progress in reports:
                if on_progress is not None:
                    began = self._call.clock()
                    on_progress(progress)
                    self._call.exclude(self._call.clock() - began)

    def _reports(self, path: str, body: Body) -> Generator[Progress, None, None]:
        while True:
            self._detector.begin()
            try:
                yield from self._attempt(path, body)
                return
            except ProviderError as error:
                failure = _explain_stall(error, resumes=self._resumes)
            self._prepare_retry(failure)

    def _attempt(self, path: str, body: Body) -> Generator[Progress, None, None]:
        answer = self._transport.open(
            "POST", path, call=self._call, body=body, accept="application/x-ndjson"
        )
        self._opened = True
        # Only a line has a maximum size, not the body: a long download has very many reports,
        # and none of them is kept.
        decoder = NDJSONDecoder(self._settings.max_line_bytes)
        try:
            ended = False
            while not ended:
                piece = answer.read()
                ended = not piece
                for record in decoder.end() if ended else decoder.feed(piece):
                    progress = self._parse(record, ended)
                    if progress.status == SUCCESS:
                        answer.finish()
                        yield progress
                        return
                    self._restart_limit(progress)
                    yield progress
            raise cut_off("the reports ended before the server reported success", _RUN_AGAIN)
        finally:
            answer.close()

    def _parse(self, record: str, at_end: bool) -> Progress:
        try:
            depth = self._settings.max_json_depth
            return parse_progress(record, depth, self._call.look)
        except ProtocolError:
            # The record does not end with a newline. The connection may have been lost in the
            # middle of it.
            if at_end and looks_cut(record):
                raise cut_off("the reports ended in the middle of a record", _RUN_AGAIN) from None
            raise

    def _restart_limit(self, progress: Progress) -> None:
        if not self._detector.shows_progress(progress):
            return
        if is_file_transfer(progress):
            self._call.enter(TRANSFERRING)
        else:
            self._call.enter(WORKING)

    def _prepare_retry(self, failure: ProviderError) -> None:
        """Wait before the next attempt; raise the error if no further attempt is allowed."""
        policy, call = self._settings.retry, self._call
        self._attempts_without_progress = (
            0 if self._detector.got_further else self._attempts_without_progress + 1
        )
        wait_s = backoff_s(policy, max(self._attempts_without_progress, 1))
        may_retry = self._resumes and policy.attempts > 1 and self._retry_may_help(failure)
        has_time = wait_s < call.limits.total_s - call.elapsed_s
        if not may_retry or self._attempts_without_progress >= policy.attempts or not has_time:
            raise failure from failure.__cause__
        if call.on_retry is not None:
            call.on_retry(failure, self._attempt_number, wait_s)
        self._attempt_number += 1
        sleep(call, wait_s)

    def _retry_may_help(self, failure: ProviderError) -> bool:
        """Return whether the same request may make progress after this error.

        The transport has already retried errors that occurred before the response began.
        """
        if isinstance(failure, UnreachableError):
            return self._opened  # the server answered before, so it may be restarting
        if isinstance(failure, LimitError):
            return failure.limit == "idle_s"
        in_mid_stream = isinstance(failure, ServerError) and not isinstance(
            failure, ServerBusyError
        )
        return isinstance(failure, StreamInterruptedError) or (in_mid_stream and failure.retryable)


def _explain_stall(error: ProviderError, *, resumes: bool) -> ProviderError:
    """Return the error. If `idle_s` expired, return an error that says what the user can do."""
    error.__traceback__ = None
    if not isinstance(error, LimitError) or error.limit != "idle_s":
        return error
    then = "run the transfer again: it continues where it stopped"
    return LimitError(
        f"the transfer made no progress for {describe(error.limit_s)}",
        hint="check the network of the machine where Ollama runs, then "
        f"{then if resumes else 'create the model again'}; idle_s limits the time without progress",
        limit=error.limit,
        limit_s=error.limit_s,
        elapsed_s=error.elapsed_s,
        retryable=True,
    )


class BlobUploads:
    """Uploader for files that the server does not have yet.

    Args:
        transport: Transport that sends the requests.
        call: Call whose limits apply.
        on_progress: Function that is called after each piece of a file is read or sent.
    """

    def __init__(self, transport: Transport, call: Call, on_progress: Optional[OnProgress]) -> None:
        self._transport = transport
        self._call = call
        self._on_progress = on_progress

    def upload(self, files: Mapping[str, str]) -> Dict[str, str]:
        """Upload files to the server and return their digests by name.

        Raises:
            ConfigurationError: A file cannot be read, is empty, or changes during the upload.
            ProviderError: The server cannot be reached, or did not accept a file; or a limit
                expired, or the call was cancelled.
        """
        return {name: self._upload(name, path) for name, path in files.items()}

    def _upload(self, name: str, path: str) -> str:
        size = _size(path)
        digest = "sha256:" + self._digest(name, path, size)
        if not self._is_on_server(digest):
            report = self._reporter(f"uploading {name}", digest, size)
            try:
                self._send(digest, Upload(path, size, report))
            except StreamInterruptedError:
                # The server closes the connection if another client uploaded the same file in the
                # meantime (docs/reference/ollama.md, "Blobs").
                if not self._is_on_server(digest):
                    raise
        return digest

    def _send(self, digest: str, upload: Upload) -> None:
        path = blob_path(digest)
        self._transport.open("POST", path, call=self._call, body=upload).read_all(PIECE)

    def _digest(self, name: str, path: str, size: int) -> str:
        """Return the SHA-256 digest of a file. The URL of its upload contains the digest."""
        report = self._reporter(f"reading {name}", None, size)
        found, read = hashlib.sha256(), 0
        self._call.enter(LOCAL_WORK)
        with open_file(path) as file:
            for piece in iter(lambda: read_piece(file, path), b""):
                self._check_limits()
                found.update(piece)
                read += len(piece)
                report(read)
        if read != size:
            raise changed(path)
        return found.hexdigest()

    def _check_limits(self) -> None:
        try:
            self._call.left()
        except Stop as stop:
            raise stopped(stop, self._call) from None

    def _is_on_server(self, digest: str) -> bool:
        """Return whether the server has this blob.

        This is checked before an upload, because a server that has the blob closes the
        connection without reading the body (docs/reference/ollama.md, "Blobs").
        """
        try:
            self._transport.open("HEAD", blob_path(digest), call=self._call).release()
        except ProviderError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _reporter(self, status: str, digest: Optional[str], size: int) -> Callable[[int], None]:
        def report(done: int) -> None:
            if self._on_progress is not None:
                self._on_progress(
                    Progress(
                        status=status,
                        digest=digest,
                        completed_bytes=done,
                        total_bytes=size,
                        fraction=min(done / size, 1.0),
                    )
                )

        return report


def _size(path: str) -> int:
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
    if not size:
        raise ConfigurationError(f"the file {path!r} is empty", hint="pass a GGUF file")
    return size
