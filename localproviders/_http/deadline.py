"""Deadline and cancellation of a call.

Each call of a provider's public method makes one `Call`. Before every read and write, the socket
asks the `Call` how long this step may take. So no thread needs to watch the time. In measurements,
a step ended at most 11 ms after its limit.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from typing import Callable, Dict, NamedTuple, Optional

from localproviders._interrupts import is_callers
from localproviders.errors import CancelledError, LimitError, ProviderError
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Limits, describe

# Seconds to wait for the end of the body after the last record. The connection can be kept only
# if the body ends. A longer wait is not worth it, because a new connection takes about a
# millisecond.
DRAIN_S = 0.05

# Seconds to wait for the body of an error response. The body only has the reason: the status
# already shows that the server refused the request.
REASON_S = 5.0

# Longest wait in seconds for one system call, whose timeout may have at most 2**31 milliseconds.
_LONGEST_WAIT_S = 2_000_000.0


class Stop(Exception):  # noqa: N818  # a signal inside the package, translated before users see it
    """A limit expired, or the call was cancelled.

    This class derives directly from Exception. urllib3 and requests wrap `OSError` and their
    own exceptions in other classes, but let an exception of an unknown class pass unchanged.

    Attributes:
        limit: Name of the limit, or None for a cancelled call.
        limit_s: Value of the limit in seconds.
    """

    def __init__(self, limit: Optional[str] = None, limit_s: float = 0.0) -> None:
        super().__init__(limit, limit_s)
        self.limit = limit
        self.limit_s = limit_s


class _RunningLimit(NamedTuple):
    """A running limit: its name, its length in seconds, and the time at which it ends."""

    limit: str
    limit_s: float
    ends_at: float


class Phase(NamedTuple):
    """A phase of a call, and the limit that applies to it in addition to `total_s`.

    Attributes:
        limit: Name of the limit that starts with this phase. Errors report this name. None
            means that only `total_s` applies.
        fixed_s: Length of the limit in seconds; None uses the value in the call's `Limits`.
        bounds_silence: Whether each single read or write is limited to `idle_s`.
    """

    limit: Optional[str] = None
    fixed_s: Optional[float] = None
    bounds_silence: bool = False


#: Connecting to the server.
CONNECTING = Phase("connect_s")
#: Sending the request, over a connection that is open.
SENDING = Phase(bounds_silence=True)
#: Waiting for the first token. `load_s` is added if the server may load a model first.
AWAITING = Phase("first_token_s")
#: Receiving the response.
ANSWERING = Phase(bounds_silence=True)
#: Waiting for a transfer, such as a download. Only a report of progress restarts this limit.
#: Otherwise a server that repeats the same numbers could keep the call alive for ever.
TRANSFERRING = Phase("idle_s")
#: Waiting for the server, which works without sending anything. This may take as long as loading
#: a model.
WORKING = Phase("load_s")
#: Working or pausing in this process, without waiting for the server.
LOCAL_WORK = Phase()
#: Reading the body of an error response.
EXPLAINING = Phase("reason", REASON_S)
#: Waiting for the end of the body after the last record.
DRAINING = Phase("drain", DRAIN_S)


class Call:
    """Deadline and cancellation state of one public call.

    The limit `total_s` runs from the start to the end of the call. At most one other limit runs
    at the same time: the limit of the current phase. In some phases, `idle_s` also limits each
    single read and write.

    Args:
        limits: The five limits.
        cancel: A token that cancels the call, or None.
        clock: Returns the time in seconds, which never decreases. Tests pass a fake clock.
    """

    def __init__(
        self,
        limits: Limits,
        cancel: Optional[CancelToken] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.started: float = clock()
        self.cancelled: bool = False
        #: Called after a failed attempt with its error, its number, and the seconds until the
        #: next attempt.
        self.on_retry: Optional[Callable[[ProviderError, int, float], None]] = None
        #: Called when a connection is open, with the seconds that connecting took. The number is
        #: None for a connection from the pool.
        self.on_connected: Optional[Callable[[Optional[float]], None]] = None
        #: Called at the first token with the seconds since the start of the call.
        self.on_first_token: Optional[Callable[[float], None]] = None
        #: Whether the next attempt must open a new connection, because a pooled connection had
        #: been closed by the server.
        self.fresh = False
        #: Whether the connection of the current attempt is open. This attribute and the next two
        #: decide which error a broken connection raises, and whether the request is sent again.
        self.connected: bool = False
        #: Whether the connection came from the pool.
        self.reused = False
        #: Whether at least one byte of the response has arrived.
        self.got_bytes = False
        #: Whether the current request may make the server load a model before it responds.
        self.may_load = True
        #: Time at which the last byte of the request was sent; None before that time.
        self.sent_at: Optional[float] = None
        #: The names in responses that differ from the requested name of the model. The value says
        #: whether the model list has both names for one model. Each name is looked up only once.
        self.other_names: Dict[str, bool] = {}
        #: Id by which the server's log names the last request; None if its response has no id.
        self.request_id: Optional[str] = None
        #: Called by `cancel` after the sockets are shut down, to end a wait that uses no socket.
        self.on_cancel: Optional[Callable[[], None]] = None
        self.token = cancel
        self._process = os.getpid()
        # Reentrant, because a signal handler may cancel in the thread that holds the lock.
        self._lock = threading.RLock()
        self._sockets: set[socket.socket] = set()
        self._total_limit = _RunningLimit("total_s", limits.total_s, self.started + limits.total_s)
        self._phase_limit = self._nearest_limit = self._total_limit
        self._step_limit_s: Optional[float] = None
        self._connecting_since = self.started
        if cancel is not None:
            cancel._subscribe(self.cancel)

    def limits_left(self) -> Limits:
        """Return limits for another request within this call; their total is the remaining time."""
        # At least 1 ms, because `Limits` refuses zero. If the total has expired, the request
        # fails at its first step.
        left = max(self._total_limit.ends_at - self.clock(), 0.001)
        return self.limits.replace(total_s=left)

    def listing_limits(self) -> Limits:
        """Return limits for a request for facts about the server; their total is at most 30 s."""
        limits = self.limits_left()
        return limits.replace(total_s=min(limits.total_s, LISTING_TOTAL_S))

    # --- phases ---------------------------------------------------------------------------

    def enter(self, phase: Phase) -> None:
        """Begin a phase. Its limit starts, and replaces the limit of the phase before it."""
        limit, fixed_s, bounds_silence = phase
        now, limits = self.clock(), self.limits
        running = self._total_limit
        if phase is AWAITING:
            self.sent_at = now
            # The client cannot see when the server stops loading and starts generating. So one
            # limit covers both.
            seconds = limits.first_token_s + (limits.load_s if self.may_load else 0.0)
            running = _RunningLimit("first_token_s", seconds, now + seconds)
        elif limit is not None:
            seconds = getattr(limits, limit) if fixed_s is None else fixed_s
            running = _RunningLimit(limit, seconds, now + seconds)
        if phase is CONNECTING:
            self._connecting_since = now
        elif phase is SENDING:
            self.connected = True
        self._step_limit_s = limits.idle_s if bounds_silence else None
        self._start_limit(running)

    def report_connected(self) -> None:
        """Report to the listener that a connection is open: a new one, or one from the pool."""
        if self.on_connected is not None:
            self.on_connected(None if self.reused else self.clock() - self._connecting_since)

    def exclude(self, seconds: float) -> None:
        """Extend the phase's limit by time spent in the caller's code; `total_s` is unchanged."""
        if self._phase_limit is not self._total_limit:
            self._start_limit(
                self._phase_limit._replace(ends_at=self._phase_limit.ends_at + seconds)
            )

    def _start_limit(self, limit: _RunningLimit) -> None:
        self._phase_limit = limit
        # Computed here, once for each phase, because `left` runs before each read and write.
        total = self._total_limit
        self._nearest_limit = limit if limit.ends_at < total.ends_at else total

    # --- checking the limits --------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Seconds since the call began."""
        return self.clock() - self.started

    def left(self) -> Optional[float]:
        """Return the seconds that the next step may take; None means no limit.

        Raises:
            Stop: A limit has expired, or the call was cancelled.
        """
        if self.cancelled:
            raise Stop
        nearest = self._nearest_limit
        left = nearest.ends_at - self.clock()
        if left <= 0:
            raise Stop(nearest.limit, nearest.limit_s)
        if self._step_limit_s is not None and self._step_limit_s < left:
            left = self._step_limit_s
        if left < _LONGEST_WAIT_S:
            return left
        return None if left == math.inf else _LONGEST_WAIT_S

    def look(self) -> None:
        """Check the limits during long work in this process, such as parsing.

        Raises:
            LimitError: A limit has expired.
            CancelledError: The call was cancelled.
        """
        try:
            self.left()
        except Stop as stop:
            raise stopped(stop, self) from None

    def timed_out(self) -> Stop:
        """Return the `Stop` for a step that has used all the time that `left` allowed."""
        # Cancelling a call shuts its sockets down, which can also end a step early.
        if self.cancelled:
            return Stop()
        # `left` returned the smaller of two values: the rest of the nearest limit, and `idle_s`.
        # If the nearest limit has not expired, `idle_s` ended the step. The tolerance of 1 ms
        # is needed because timers may fire a little early.
        if self._step_limit_s is not None and self._nearest_limit.ends_at - self.clock() > 0.001:
            return Stop("idle_s", self._step_limit_s)
        return Stop(self._nearest_limit.limit, self._nearest_limit.limit_s)

    # --- waiting without a socket ---------------------------------------------------------

    def wait_for(self, event: threading.Event, seconds: float = math.inf) -> bool:
        """Wait for an event for at most `seconds`; return whether the event was set.

        Raises:
            Stop: A limit expired, or the call was cancelled.
        """
        # This wait uses no socket that `cancel` could shut down. So `cancel` sets the event.
        self.on_cancel = event.set
        try:
            left = self.left()
            was_set = event.wait(min(seconds, _LONGEST_WAIT_S if left is None else left))
            self.left()  # raises if `cancel` set the event
        finally:
            self.on_cancel = None
        return was_set

    def pause(self, seconds: float) -> None:
        """Sleep for `seconds`. Only `total_s` and `cancel` end the sleep early.

        Raises:
            Stop: `total_s` expired, or the call was cancelled.
        """
        self.enter(LOCAL_WORK)
        self.wait_for(threading.Event(), seconds)

    # --- cancellation ---------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel the call, from any thread. Its sockets are shut down, so a blocked read ends."""
        if self._belongs_to_parent:
            # Shutting the socket down would end the parent's connection. And the lock may be
            # held for ever, by a thread that does not exist in this process.
            self.cancelled = True
            return
        with self._lock:
            self.cancelled = True
            for sock in self._sockets:
                shut_down(sock)
            wake = self.on_cancel
        # `wake` is called after our lock is released, because the event that it sets has a lock,
        # too.
        if wake is not None:
            wake()

    def attach(self, sock: socket.socket) -> None:
        """Register a socket that `cancel` shuts down.

        Raises:
            Stop: The call was cancelled already.
        """
        # The lock is held for both steps. Otherwise `cancel` could run between them, and miss
        # this socket.
        with self._lock:
            self._sockets.add(sock)
            if self.cancelled:
                shut_down(sock)
                raise Stop

    def detach(self, sock: Optional[socket.socket] = None) -> None:
        """Unregister a socket, or by default all sockets, so that another call may use it."""
        # Usually no socket is registered any longer, and the lock is not needed.
        if not self._sockets or self._belongs_to_parent:
            return
        with self._lock:
            # Uses a copy of the set, because a set cannot be subtracted from itself.
            self._sockets.difference_update(self._sockets.copy() if sock is None else {sock})

    def finish(self) -> None:
        """End the call. It is unregistered from its cancel token, which may live much longer."""
        self.detach()
        if self.token is not None:
            self.token._unsubscribe(self.cancel)

    @property
    def _belongs_to_parent(self) -> bool:
        """Whether the parent of this process made the call, before a fork.

        The parent then owns the connection. The lock cannot be used either: a thread that does
        not exist in the child may have held it at the time of the fork.
        """
        return self._process != os.getpid()


def sleep(call: Call, seconds: float) -> None:
    """Sleep for this many seconds, within the limits of a call.

    Raises:
        CancelledError: The call was cancelled during the sleep.
        LimitError: `total_s` expired.
    """
    try:
        call.pause(seconds)
    except Stop as stop:
        raise stopped(stop, call) from None


def wait(call: Call, event: threading.Event) -> None:
    """Wait between two requests, until an event is set.

    Raises:
        CancelledError: The call was cancelled during the wait.
        LimitError: `total_s` expired.
    """
    try:
        call.enter(LOCAL_WORK)
        call.wait_for(event)
    except Stop as stop:
        raise stopped(stop, call) from None


def stopped(stop: Stop, call: Call) -> ProviderError:
    """Return the error for a call that ended because of a limit or was cancelled."""
    if stop.limit is None:
        return CancelledError("the call was cancelled")
    hint = f"to allow more time, pass timeout=Limits({stop.limit}=...)"
    message = f"{stop.limit} of {describe(stop.limit_s)} ran out after {call.elapsed_s:.3g} s"
    if stop.limit == "first_token_s":
        hint = "a cold model needs time to load: raise load_s or first_token_s"
        message = f"no token within {describe(stop.limit_s)} ({_parts(call)})"
    return LimitError(
        message, hint=hint, limit=stop.limit, limit_s=stop.limit_s, elapsed_s=call.elapsed_s
    )


def _parts(call: Call) -> str:
    """Return a text with the limits that apply together until the first token."""
    first_token = f"first_token_s {describe(call.limits.first_token_s)}"
    load = f"load_s {describe(call.limits.load_s)} and " if call.may_load else ""
    return load + first_token


def total_ended(call: Call, error: LimitError) -> ProviderError:
    """Return the error that says that the limit `total_s` of the whole call expired.

    It replaces the error of a single request of the call, because that error reports only the time
    that remained for that request.
    """
    complete = stopped(Stop("total_s", call.limits.total_s), call)
    for name in ("provider", "model", "endpoint", "partial", "request_id"):
        complete.add_context(**{name: getattr(error, name)})
    return complete


def shut_down(sock: socket.socket) -> None:
    """Shut down a socket. This wakes a thread that is blocked on it; closing it would not."""
    try:
        # `sock.shutdown()` is not used, because an SSLSocket then drops its TLS object, which the
        # reader still uses.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError as error:
        # The socket is not connected any more, so no thread is blocked on it.
        if is_callers(error):
            raise
