"""How long a call may still take, and how it is ended from outside.

One `Call` is made for each public call. The socket asks it before every read and write;
nothing here waits, and no thread is needed (transport-facts: late by 11 ms at the most).
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from typing import Callable, NamedTuple, Optional

from localproviders.errors import CancelledError, LimitError, ProviderError
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Limits, describe

# After the last record, the end of the body is awaited so long that the connection can be
# kept; closing costs a millisecond, so waiting longer would not pay.
DRAIN_S = 0.05

# A refusal is known by its status; its reason may take so long, and no longer.
REASON_S = 5.0

# The system's calls take no more than 2**31 milliseconds.
_LONGEST_WAIT_S = 2_000_000.0


class Stop(Exception):  # noqa: N818  # not an error of ours: the reason a read ends
    """A limit fired, or the call was cancelled.

    A plain exception on purpose: urllib3 and requests rewrap OSErrors and their own.

    Attributes:
        limit: Name of the limit, or None for a cancelled call.
        limit_s: Its value.
    """

    def __init__(self, limit: Optional[str] = None, limit_s: float = 0.0) -> None:
        super().__init__(limit, limit_s)
        self.limit = limit
        self.limit_s = limit_s


class _Clock(NamedTuple):
    """A limit that is running, its seconds, and when it ends."""

    limit: str
    limit_s: float
    end: float


class Call:
    """The clock and the switch of one call.

    Args:
        limits: The five limits.
        cancel: A token that ends the call, or None.
        clock: Seconds that never run backwards; tests pass their own.
    """

    def __init__(
        self,
        limits: Limits,
        cancel: Optional[CancelToken] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.started = clock()
        self.cancelled = False
        #: Told of a failed attempt: its error, its number, the seconds before the next one.
        self.on_retry: Optional[Callable[[ProviderError, int, float], None]] = None
        #: Told of a connection: the seconds that it took, None where it was kept.
        self.on_connected: Optional[Callable[[Optional[float]], None]] = None
        #: Told of the first token: the seconds since the call began.
        self.on_first_token: Optional[Callable[[float], None]] = None
        #: Set for a repetition on a fresh connection, after a kept one had died.
        self.fresh = False
        #: Whether there was a connection, it had served before, and any byte came on it.
        self.connected = False
        self.reused = False
        self.got_bytes = False
        #: Whether what is asked may make the server load a model first.
        self.may_load = True
        #: When the whole request was out; None before that.
        self.sent_at: Optional[float] = None
        #: What else `cancel` is to do: set while no socket can be woken.
        self.on_cancel: Optional[Callable[[], None]] = None
        self.token = cancel
        self._process = os.getpid()
        self._lock = threading.RLock()  # a signal handler may cancel while it is held
        self._sockets: set[socket.socket] = set()
        self._total = _Clock("total_s", limits.total_s, self.started + limits.total_s)
        self._running = self._nearest = self._total
        self._step: Optional[float] = None
        self._connecting_since = self.started
        if cancel is not None:
            cancel._subscribe(self.cancel)

    def limits_left(self) -> Limits:
        """Give the limits of a question asked while this call goes on: what is left of them."""
        left = max(self._total.end - self.clock(), 0.001)
        return self.limits.replace(total_s=left)

    # --- phases ---------------------------------------------------------------------------

    def connecting(self) -> None:
        """Start the clock of `connect_s`."""
        self._phase("connect_s", self.limits.connect_s)
        if self.on_connected is not None:
            self._connecting_since = self.clock()

    def sending(self) -> None:
        """Bound silence while the request goes out: there is a connection now."""
        self.connected = True
        self._phase(None, math.inf, step=self.limits.idle_s)

    def tell_connected(self) -> None:
        """Tell whoever listens of the connection that `connecting` has led to, or was kept."""
        if self.on_connected is not None:
            self.on_connected(None if self.reused else self.clock() - self._connecting_since)

    def awaiting(self) -> None:
        """Start the clock of the first token; loading counts into it, where that may be."""
        self.sent_at = self.clock()
        load_s = self.limits.load_s if self.may_load else 0.0
        self._phase("first_token_s", load_s + self.limits.first_token_s)

    def answering(self) -> None:
        """From now on bound the silence between two pieces."""
        self._phase(None, math.inf, step=self.limits.idle_s)

    def moving(self) -> None:
        """Bound the time until something moves on: what says nothing new stops no clock."""
        self._phase("idle_s", self.limits.idle_s)

    def working(self) -> None:
        """Bound what the server does on its own, in silence: it takes as long as a load."""
        self._phase("load_s", self.limits.load_s)

    def alone(self) -> None:
        """Bound by nothing but the total what this side does, while no server is waited for."""
        self._phase(None, math.inf)

    def outside(self, seconds: float) -> None:
        """Take what the caller did meanwhile off the running clocks, but for the total."""
        if self._running is not self._total:
            self._start(self._running._replace(end=self._running.end + seconds))

    def explaining(self) -> None:
        """Wait for the reason of a refusal, not long."""
        self._phase("reason", REASON_S)

    def draining(self) -> None:
        """Wait a moment for the end of the body, no longer."""
        self._phase("drain", DRAIN_S)

    def _phase(self, name: Optional[str], seconds: float, step: Optional[float] = None) -> None:
        self._step = step
        self._start(self._total if name is None else _Clock(name, seconds, self.clock() + seconds))

    def _start(self, clock: _Clock) -> None:
        self._running = clock
        # Chosen here and not where it is asked for: before each read and write.
        self._nearest = clock if clock.end < self._total.end else self._total

    # --- asking ---------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Seconds since the call began."""
        return self.clock() - self.started

    def left(self) -> Optional[float]:
        """Give the seconds that the next wait may take; None is for ever.

        Raises:
            Stop: A limit has passed already, or the call was cancelled.
        """
        if self.cancelled:
            raise Stop
        nearest = self._nearest
        left = nearest.end - self.clock()
        if left <= 0:
            raise Stop(nearest.limit, nearest.limit_s)
        if self._step is not None and self._step < left:
            left = self._step
        if left < _LONGEST_WAIT_S:
            return left
        return None if left == math.inf else _LONGEST_WAIT_S

    def timed_out(self) -> Stop:
        """Say which limit ended a wait that was bounded by `left`."""
        if self.cancelled:
            return Stop()
        # The wait ended because of the silence if the nearest clock is still running.
        if self._step is not None and self._nearest.end - self.clock() > 0.001:
            return Stop("idle_s", self._step)
        return Stop(self._nearest.limit, self._nearest.limit_s)

    # --- waiting without a socket ---------------------------------------------------------

    def wait_for(self, event: threading.Event, seconds: float = math.inf) -> bool:
        """Wait for an event, so long at the most; say whether it came.

        Raises:
            Stop: A limit fired, or the call was cancelled.
        """
        self.on_cancel = event.set
        try:
            left = self.left()
            came = event.wait(min(seconds, _LONGEST_WAIT_S if left is None else left))
            self.left()  # raises where it was the cancelling that woke us
        finally:
            self.on_cancel = None
        return came

    def pause(self, seconds: float) -> None:
        """Do nothing for a while; only the total and cancelling end it earlier.

        Raises:
            Stop: The total is over, or the call was cancelled.
        """
        self.alone()
        self.wait_for(threading.Event(), seconds)

    # --- ending from outside --------------------------------------------------------------

    def cancel(self) -> None:
        """End the call from any thread: its sockets are shut down, so its reader wakes."""
        if self._is_the_parents:
            self.cancelled = True
            return
        with self._lock:
            self.cancelled = True
            for sock in self._sockets:
                shut_down(sock)
            wake = self.on_cancel
        if wake is not None:
            wake()

    def attach(self, sock: socket.socket) -> None:
        """Name a socket that `cancel` is to wake.

        Raises:
            Stop: The call was cancelled before.
        """
        with self._lock:
            self._sockets.add(sock)
            if self.cancelled:
                shut_down(sock)
                raise Stop

    def detach(self, sock: Optional[socket.socket] = None) -> None:
        """Forget a socket, or all: it is about to serve somebody else."""
        if not self._sockets or self._is_the_parents:
            return
        with self._lock:
            self._sockets.difference_update(self._sockets.copy() if sock is None else {sock})

    def over(self) -> None:
        """Say that the call has ended: the token lets go of it."""
        self.detach()
        if self.token is not None:
            self.token._unsubscribe(self.cancel)

    @property
    def _is_the_parents(self) -> bool:
        """Whether this is a forked child: the connection is not its own.

        The lock may be held by a thread that the child does not have.
        """
        return self._process != os.getpid()


def rest(call: Call, seconds: float) -> None:
    """Wait so long.

    Raises:
        CancelledError: The call was cancelled meanwhile.
        LimitError: The total ran out.
    """
    try:
        call.pause(seconds)
    except Stop as stop:
        raise stopped(stop, call) from None


def stopped(stop: Stop, call: Call) -> ProviderError:
    """Say that a limit or the caller ended the call."""
    if stop.limit is None:
        return CancelledError("the call was cancelled")
    hint = f"raise it with timeout=Limits({stop.limit}=...)"
    message = f"{stop.limit} of {describe(stop.limit_s)} ran out after {call.elapsed_s:.3g} s"
    if stop.limit == "first_token_s":
        hint = "a cold model needs time to load: raise load_s or first_token_s"
        message = (
            f"no token within {describe(stop.limit_s)} (load_s {describe(call.limits.load_s)}"
            f" and first_token_s {describe(call.limits.first_token_s)})"
        )
    return LimitError(
        message, hint=hint, limit=stop.limit, limit_s=stop.limit_s, elapsed_s=call.elapsed_s
    )


def shut_down(sock: socket.socket) -> None:
    """Wake whoever waits on this socket; closing it would not."""
    # An error says that it is not connected any more: nobody waits.
    with contextlib.suppress(OSError):
        # Not sock.shutdown(): on an SSLSocket that drops the TLS object under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
