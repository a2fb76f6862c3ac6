"""Transfers: their reports, what counts as movement, and going on where one stopped."""

from __future__ import annotations

import contextlib
from typing import Dict, Generator, Optional, Tuple

from localproviders._http.deadline import Call, rest
from localproviders._http.framing import NDJSONDecoder
from localproviders._http.retry import backoff_s
from localproviders._http.transport import Body, Transport
from localproviders.errors import (
    BusyError,
    LimitError,
    ProviderError,
    ServerError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.ollama import wire
from localproviders.settings import Settings
from localproviders.types.limits import describe
from localproviders.types.progress import OnProgress, Progress


class Watch:
    """Tells movement from noise in the reports of a transfer, over all its attempts. Pure.

    Ollama reports every 60 ms whether or not a byte has come (ollama-api §3.5), and counts
    down again when it repeats a part of a file: a report alone is no movement.
    """

    def __init__(self) -> None:
        #: Whether this attempt has brought more of some file than any before it.
        self.got_further = False
        self._most: Dict[str, int] = {}
        self._seen: Dict[Tuple[str, Optional[str]], int] = {}

    def begin(self) -> None:
        """Begin another attempt. Where it starts, behind the last one, counts as movement."""
        self._seen = {}
        self.got_further = False

    def moved(self, progress: Progress) -> bool:
        """Take a report; say whether it tells of more than this attempt has told before."""
        done = progress.completed_bytes or 0
        if progress.digest is not None and done > self._most.get(progress.digest, 0):
            self._most[progress.digest] = done
            self.got_further = True
        phase = (progress.status, progress.digest)
        moved = done > self._seen.get(phase, -1)
        if moved:
            self._seen[phase] = done
        return moved


class Transfer:
    """A pull, a push or a creation: one request, repeated as long as that helps.

    A report of bytes that move starts the clock of `idle_s` anew; bytes that stand still let
    it run out, however many lines come. The server's own work between them (checking a
    digest, quantizing) is silent and takes minutes on large files; it may take `load_s`.

    Args:
        transport: Sends.
        settings: Sizes, and how often to repeat.
        call: The call whose limits bound it.
        resumes: Whether what came to a halt is asked for again; the server then goes on where
            it stopped (§3.8).
    """

    def __init__(
        self, transport: Transport, settings: Settings, call: Call, *, resumes: bool
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._call = call
        self._resumes = resumes
        self._watch = Watch()
        self._opened = False
        self._fruitless = 0
        self._number = 1

    def run(self, path: str, body: Body, on_progress: Optional[OnProgress]) -> None:
        """Send it, tell of each report, and return when the server says success.

        Raises:
            ProviderError: It failed, or stood still too often. The connection is closed.
        """
        with contextlib.closing(self._reports(path, body)) as reports:
            for progress in reports:
                if on_progress is not None:
                    began = self._call.clock()
                    on_progress(progress)
                    self._call.outside(self._call.clock() - began)

    def _reports(self, path: str, body: Body) -> Generator[Progress, None, None]:
        while True:
            self._watch.begin()
            try:
                yield from self._attempt(path, body)
                return
            except ProviderError as error:
                failure = _named(error)
            self._prepare_next(failure)

    def _attempt(self, path: str, body: Body) -> Generator[Progress, None, None]:
        answer = self._transport.open(
            "POST", path, call=self._call, body=body, accept="application/x-ndjson"
        )
        self._opened = True
        # No bound on the whole: a day's download has many reports, and none is kept.
        decoder = NDJSONDecoder(self._settings.max_line_bytes)
        try:
            ended = False
            while not ended:
                piece = answer.read()
                ended = not piece
                for record in decoder.end() if ended else decoder.feed(piece):
                    progress = wire.parse_progress(record, self._settings.max_json_depth)
                    if progress.status == wire.SUCCESS:
                        answer.finish()
                        yield progress
                        return
                    self._bound(progress)
                    yield progress
            raise StreamInterruptedError("the server stopped reporting before it said success")
        finally:
            answer.close()

    def _bound(self, progress: Progress) -> None:
        if not self._watch.moved(progress):
            return
        if wire.transfers(progress):
            self._call.moving()
        else:
            self._call.working()

    def _prepare_next(self, failure: ProviderError) -> None:
        """Wait for the next attempt, or raise what ended the last one."""
        policy, call = self._settings.retry, self._call
        self._fruitless = 0 if self._watch.got_further else self._fruitless + 1
        wait_s = backoff_s(policy, max(self._fruitless, 1))
        again = self._resumes and policy.attempts > 1 and self._may_help(failure)
        fits = wait_s < call.limits.total_s - call.elapsed_s
        if not again or self._fruitless >= policy.attempts or not fits:
            raise failure from failure.__cause__
        if call.on_retry is not None:
            call.on_retry(failure, self._number, wait_s)
        self._number += 1
        rest(call, wait_s)

    def _may_help(self, failure: ProviderError) -> bool:
        """Whether the same request may get further. Opening it has been repeated already."""
        if isinstance(failure, UnreachableError):
            return self._opened  # the server may be starting anew
        if isinstance(failure, LimitError):
            return failure.limit == "idle_s"
        in_mid_stream = isinstance(failure, ServerError) and not isinstance(failure, BusyError)
        return isinstance(failure, StreamInterruptedError) or (in_mid_stream and failure.retryable)


def _named(error: ProviderError) -> ProviderError:
    """Say of a limit that it was the bytes that stood still."""
    error.__traceback__ = None
    if not isinstance(error, LimitError) or error.limit != "idle_s":
        return error
    return LimitError(
        f"the transfer stood still for {describe(error.limit_s)}",
        hint="look at the network of the machine where Ollama runs, and run it again: it goes on"
        " where it stopped; idle_s is how long it may stand still",
        limit=error.limit,
        limit_s=error.limit_s,
        elapsed_s=error.elapsed_s,
        retryable=True,
    )
