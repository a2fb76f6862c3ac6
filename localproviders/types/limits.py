"""How long a call may take, phase by phase."""

from __future__ import annotations

import math
from typing import Optional, Union

from localproviders._fields import fields_of
from localproviders._record import Record, record

# More seconds than this no float can hold.
_MOST_BITS = 1000


@record
class Limits(Record):
    """The five time limits of a call, in seconds; infinity is no limit.

    Attributes:
        connect_s: To reach the server: resolving its name, connecting, TLS.
        load_s: Added to the wait for the first token where the model may have to be
            loaded first, because a server loads in silence (ollama-api §1.6).
        first_token_s: From the end of sending to the first piece of the answer that
            says something.
        idle_s: Silence between two pieces after that, and while sending.
        total_s: Wall clock of the whole public call, retries included, whatever the
            server drips. For a stream it runs until its last record is read.

    Raises:
        ValueError: A limit is not a number above zero.
    """

    connect_s: float = 3.0
    load_s: float = 600.0
    first_token_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 1800.0

    def __post_init__(self) -> None:
        for limit in fields_of(Limits).values():
            value = getattr(self, limit.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{limit.name} is {value!r}, and must be a number of seconds")
            if isinstance(value, int) and value.bit_length() > _MOST_BITS:
                raise ValueError(f"{limit.name} is past every clock; math.inf is no limit")
            # A model that is known to be loaded needs no time to load.
            if not (value > 0 or (value == 0 and limit.name == "load_s")):
                raise ValueError(
                    f"{limit.name} is {value!r}, and must be above zero; math.inf is no limit"
                )


#: A number is the total in seconds, None inherits; see `Limits`.
Timeout = Union[float, Limits, None]

#: Asking a server what it is or has, rather than for a model's work.
LISTING_TOTAL_S = 30.0


def resolve(timeout: Timeout, inherited: Limits, total_s: Optional[float] = None) -> Limits:
    """Give the limits of one call.

    Args:
        timeout: What the caller said.
        inherited: The provider's limits.
        total_s: A total for this kind of call, where the caller said nothing.
    """
    if isinstance(timeout, Limits):
        return timeout
    if timeout is not None:
        return inherited.replace(total_s=timeout)
    if total_s is not None and total_s < inherited.total_s:
        return inherited.replace(total_s=total_s)
    return inherited


def describe(value: float) -> str:
    """Say a number of seconds, short: ``3 s``, ``0.25 s``, ``no limit``."""
    return "no limit" if math.isinf(value) else f"{value:g} s"
