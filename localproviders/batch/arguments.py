"""The arguments of a run, checked before anything is read or written."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from localproviders.batch.coordinator import OnProgress
from localproviders.batch.pacing import MaxFailures
from localproviders.batch.rows import RowRules
from localproviders.batch.sources import Source
from localproviders.errors import ConfigurationError, ProviderError
from localproviders.provider import ModelProvider
from localproviders.types.limits import CancelToken, Timeout

#: The classes of errors whose rows are sent again; True means all classes, False means none.
RetryFailed = Union[bool, Type[ProviderError], Sequence[Type[ProviderError]]]

AUTO = "auto"


class Arguments(NamedTuple):
    """The checked arguments of `run`. They have the names of its parameters, with these exceptions.

    Attributes:
        rules: The arguments that decide how rows are read.
        fixed: The fixed number of requests in flight; None if the run finds the number itself.
        retried: The classes of errors whose rows are sent again.
    """

    source: Source
    provider: ModelProvider
    rules: RowRules
    fixed: Optional[int]
    rate_per_s: Optional[float]
    executor: Optional[Executor]
    ordered: bool
    compact: bool
    shard: Optional[Tuple[int, int]]
    deadline_s: Optional[float]
    grace_s: float
    max_failures: MaxFailures
    retried: Tuple[Type[ProviderError], ...]
    force: bool
    on_progress: Optional[OnProgress]
    timeout: Timeout
    cancel: Optional[CancelToken]

    def described(self, form: str) -> Dict[str, Any]:
        """Return the arguments that affect the results, for the manifest.

        Args:
            form: The file format of the output: its suffix.
        """
        rules = self.rules
        return {
            **rules.fields,
            **rules.decision,
            "template": rules.template,
            "id_field": rules.id_field,
            "questions": rules.questions,
            "compact": self.compact,
            "shard": None if self.shard is None else "{} of {}".format(*self.shard),
            "format": form,
        }

    def rows_of_shard(self, rows: int) -> int:
        """Return how many of all rows belong to the shard."""
        if self.shard is None:
            return rows
        number, count = self.shard
        return len(range(number - 1, rows, count))


def checked_shard(shard: Any) -> Optional[Tuple[int, int]]:
    """Check the argument `shard`, and return it as a tuple.

    Raises:
        ConfigurationError: The argument is not a pair such as ``(3, 8)``.
    """
    if shard is None:
        return None
    number, count = shard if isinstance(shard, (tuple, list)) and len(shard) == _PAIR else (0, 0)
    if type(number) is not int or type(count) is not int or not 1 <= number <= count:
        raise ConfigurationError(
            f"shard is {shard!r}, and must be a pair: the number of this part, and the number "
            "of all parts",
            hint="for the third of eight parts, pass shard=(3, 8)",
        )
    return number, count


_PAIR = 2


def fixed_concurrency(concurrency: Any) -> Optional[int]:
    """Return the fixed number of requests in flight; None for ``auto``.

    Raises:
        ConfigurationError: The argument is neither ``auto`` nor a whole number of at least 1.
    """
    if concurrency == AUTO:
        return None
    if type(concurrency) is not int or concurrency < 1:
        raise ConfigurationError(
            f"concurrency is {concurrency!r}, and must be a whole number of at least 1, or 'auto'"
        )
    return int(concurrency)


def retried_classes(retry_failed: Any) -> Tuple[Type[ProviderError], ...]:
    """Return the classes of errors whose rows are sent again.

    Raises:
        ConfigurationError: The argument is neither a bool nor classes of errors.
    """
    if isinstance(retry_failed, bool) or retry_failed is None:
        return (ProviderError,) if retry_failed else ()
    given = [retry_failed] if isinstance(retry_failed, type) else list(retry_failed)
    for each in given:
        if not (isinstance(each, type) and issubclass(each, ProviderError)):
            raise ConfigurationError(
                f"retry_failed has {each!r}, and must be True, or classes of errors",
                hint="pass classes such as localproviders.errors.UnreachableError",
            )
    return tuple(given)


def without_none(given: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the items whose value is not None."""
    return {name: value for name, value in given.items() if value is not None}
