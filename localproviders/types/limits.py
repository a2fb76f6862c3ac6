"""Time limits, the retry policy and the cancel token of a call."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Callable, Optional, Set, Union

from localproviders._did_you_mean import suggest_number
from localproviders._record import Record, record
from localproviders.types.inputs import plain_number

# Highest number of bits of an integer that is certainly not too large for a float.
_MAX_BITS = 1000


# The limit that is 0 if the model is certainly loaded.
_MAY_BE_ZERO = "load_s"
_OTHER_FORMS = "for several limits, pass Limits(connect_s=3, total_s=120)"


@record
class Limits(Record):
    """The five time limits of a call, in seconds; `math.inf` means no limit.

    Attributes:
        connect_s: Time to resolve the server's name, connect to the server, and negotiate TLS.
        load_s: Extra time for the first token, because servers send nothing while they load a
            model. It is not added if this package knows that the model is in memory.
        first_token_s: Time from the end of the request to the first chunk with text, thinking
            or a tool call.
        idle_s: Longest time without data. It applies between two chunks after the first chunk, and
            while the request is being sent.
        total_s: Total time of the call, including retries, even if the server continues to
            send. For a stream, this time ends when the last record has been read.

    Raises:
        ValueError: A limit is not a number above zero. Only `load_s` may be zero.
    """

    connect_s: float = 3.0
    # Servers load in silence: docs/reference/ollama.md, "Connecting".
    load_s: float = 600.0
    first_token_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 1800.0

    _names_attributes = False

    def __post_init__(self) -> None:
        for name, value in tuple(vars(self).items()):
            if type(value) is not float or not value > 0:  # most limits are floats above zero
                self._check(name, plain_number(value))

    def _check(self, name: str, value: Any) -> None:
        """Set a limit, or raise the error of `Limits`."""
        object.__setattr__(self, name, value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            more = "leave it out for the default, or pass math.inf for no limit"
            if value is not None:
                is_duration = hasattr(value, "total_seconds")
                more = "write it with .total_seconds()" if is_duration else _OTHER_FORMS
            line = suggest_number(name, value, is_positive=name != _MAY_BE_ZERO)
            raise ValueError(
                f"{name} is {value!r}, and must be a number of seconds{line or '; ' + more}"
            )
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            raise ValueError(f"{name} is too large; math.inf means no limit")
        if not (value > 0 or (value == 0 and name == _MAY_BE_ZERO)):
            raise ValueError(
                f"{name} is {value!r}, and must be above zero; math.inf means no limit"
            )


#: The timeout of a call. A number sets `Limits.total_s`. None keeps the provider's limits.
Timeout = Union[float, Limits, None]

#: Total limit in seconds of a request for metadata, such as the version or the model list.
LISTING_TOTAL_S = 30.0


def resolve(timeout: Timeout, inherited: Limits, total_s: Optional[float] = None) -> Limits:
    """Return the limits of one call.

    Args:
        timeout: The timeout that the caller passed.
        inherited: The provider's limits.
        total_s: The total limit of this kind of call. It is used if the caller passed no
            timeout and the provider's total is longer.
    """
    if isinstance(timeout, Limits):
        return timeout
    if isinstance(timeout, str):
        line = suggest_number("timeout", timeout, is_positive=True)
        if line:
            raise ValueError(f"timeout is {timeout!r}, and must be a number of seconds{line}")
    if timeout is not None:
        return inherited.replace(total_s=timeout)
    if total_s is not None and total_s < inherited.total_s:
        return inherited.replace(total_s=total_s)
    return inherited


def describe(value: float) -> str:
    """Return a short text for a number of seconds: ``3 s``, ``0.25 s``, ``no limit``."""
    return "no limit" if math.isinf(value) else f"{value:g} s"


@record
class RetryPolicy(Record):
    """The rules for sending a failed request again, within the call's `total_s`.

    A request is sent again in three cases. First, if the server could not be reached; for example,
    it refused the connection. Second, if a reused connection broke within a second after the
    request was sent, before the first byte of a response. Third, if the status is 408, 429, 502,
    503 or 504; for example, Ollama answers 503 when its queue is full.

    A request is not sent again after the first byte of a successful response, after a time limit
    expired, or after the server refused the request. Repeating a model load that timed out would
    never succeed: when the connection is closed, the server aborts the load.

    The first wait is `first_wait_s`, and each further wait is twice as long, up to
    `longest_wait_s`. Each wait is shortened by a random part of up to half, so that many clients
    do not return at the same moment. If the server sends ``Retry-After``, the wait from this
    header is used instead, lengthened by a random part of up to 10 %. If a wait is longer than the
    rest of `total_s`, the server's error is raised without waiting.

    `pull` and `push` on Ollama are downloads and uploads that the server runs itself. They are
    requested again after they broke off or stalled, because the server resumes them. For these
    methods, `attempts` counts only consecutive attempts that transferred no further byte.

    If the server reports that it is loading its model, the request is repeated until `load_s`
    expires. These repetitions do not count as attempts; but if `attempts` is 1, the request is not
    repeated.

    Attributes:
        attempts: Highest number of times that a request is sent; 1 means no retries.
        first_wait_s: Seconds before the second attempt.
        longest_wait_s: Longest wait in seconds. If the server asks for a longer wait, its error
            is raised without waiting.

    Raises:
        ValueError: `attempts` is not a whole number of at least 1, or a wait is not a finite
            number of at least 0.
    """

    # The status of a full queue: docs/reference/ollama.md, "Status codes". Aborted loads:
    # docs/reference/ollama.md, "Disconnecting".

    attempts: int = 3
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) is None:
                object.__setattr__(self, each.name, each.default)
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            line = suggest_number("attempts", self.attempts, least=1, is_whole=True)
            raise ValueError(f"attempts is {self.attempts!r}, and must be a whole number{line}")
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}, and must be at least 1")
        for name in ("first_wait_s", "longest_wait_s"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ValueError(
                    f"{name} is {value!r}, and must be a finite number of at least 0"
                    f"{suggest_number(name, value)}"
                )


class CancelToken:
    """A token that cancels every call to which it was passed, from any thread.

    One token may be passed to many calls. A token stays cancelled, so later calls with it fail
    immediately. `cancel` may be called in a signal handler.
    """

    def __init__(self) -> None:
        # There is no lock, because a signal handler could run, or the process could fork, while
        # a lock is held. A lock is not needed: `_subscribe` adds the listener before it reads the
        # flag, and `cancel` sets the flag before it reads the listeners. So if both run at the
        # same time, at least one of them calls the listener.
        self._cancelled = False
        self._listeners: Set[Callable[[], None]] = set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel the calls. Each raises `CancelledError`, whose `partial` has the text so far."""
        self._cancelled = True
        for listener in list(self._listeners):
            listener()

    def _subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.add(listener)
        if self._cancelled:
            listener()

    def _unsubscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)
