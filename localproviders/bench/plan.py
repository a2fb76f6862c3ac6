"""`Plan`: the measurements to make."""

from __future__ import annotations

from typing import Any, Tuple

from localproviders._record import Record, record
from localproviders.errors import ConfigurationError

# Smallest and largest value of each number in a plan. A shorter prompt consists mostly of the chat
# template, and an answer of one token has no speed.
_RANGES = {
    "lengths": (32, 1_000_000),
    "at_once": (1, 64),
    "rounds": (1, 100),
    "max_tokens": (2, 4096),
    "loads": (0, 20),
}
_MOST_CELLS = 16


@record
class Plan(Record):
    """The measurements to make, and how often each is repeated.

    Attributes:
        lengths: Prompt lengths in tokens. They are approximate: the results have the counts of the
            server. If the tuple is empty, no prompt length is measured.
        at_once: Numbers of requests that run at the same time. Each request has a prompt of the
            smallest length in `lengths`, or of 128 tokens if `lengths` is empty.
        rounds: How often each prompt length and each number of requests is measured.
        max_tokens: Maximum number of tokens of an answer.
        loads: How often the model is unloaded and loaded again; 0 leaves it in memory.

    The plan sorts the tuples `lengths` and `at_once`, and removes repeated numbers. Each tuple may
    have at most 16 numbers. The allowed numbers are 32 to 1,000,000 for a length, 1 to 64 for
    `at_once`, 1 to 100 for `rounds`, 2 to 4096 for `max_tokens`, and 0 to 20 for `loads`.

    Raises:
        ConfigurationError: A number is not a whole number in its range, or nothing is measured.
    """

    lengths: Tuple[int, ...] = (128, 512, 1024, 2048)
    at_once: Tuple[int, ...] = (1, 2, 4, 8)
    rounds: int = 5
    max_tokens: int = 64
    loads: int = 3

    def __post_init__(self) -> None:
        for name in ("lengths", "at_once"):
            object.__setattr__(self, name, _checked_tuple(name, getattr(self, name)))
        for name in ("rounds", "max_tokens", "loads"):
            _check(name, getattr(self, name))
        if not self.lengths and not self.at_once and not self.loads:
            raise ConfigurationError(
                "the plan measures nothing", hint="name a prompt length, such as 128"
            )

    @classmethod
    def quick(cls) -> Plan:
        """Return a plan with two lengths, two numbers of requests, and two rounds.

        Its results show the order of magnitude. `compare` needs more rounds to call a change
        ``faster`` or ``slower``.
        """
        return cls(lengths=(128, 512), at_once=(1, 2), rounds=2, max_tokens=32, loads=1)

    @property
    def steps(self) -> int:
        """Number of steps that `measure` reports.

        Each load is a step. In each round, each length and each number of requests is a step.
        """
        return self.loads + (len(self.lengths) + len(self.at_once)) * self.rounds

    @property
    def at_once_length(self) -> int:
        """Length in tokens of the prompts that are sent at the same time."""
        return self.lengths[0] if self.lengths else 128


def _checked_tuple(name: str, values: Any) -> Tuple[int, ...]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise ConfigurationError(f"{name} is {values!r}, and must be a tuple of whole numbers")
    found = tuple(values)
    for value in found:
        _check(name, value)
    if len(found) > _MOST_CELLS:
        raise ConfigurationError(
            f"{name} has {len(found)} numbers, and may have at most {_MOST_CELLS}"
        )
    return tuple(sorted(set(found)))


def _check(name: str, value: Any) -> None:
    least, most = _RANGES[name]
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= most:
        raise ConfigurationError(
            f"{name} has the value {value!r}, and must be a whole number from {least} to {most}"
        )
