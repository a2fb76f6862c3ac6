"""The results of a measurement: the environment, and the cells with the figures.

There is a cell for each prompt length, for each number of simultaneous requests, and for loading
the model.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Tuple

from localproviders._record import FrozenDict, Record, field, loads, loads_each, record
from localproviders._redact import each_on_one_line
from localproviders._signatures import Self

#: The kinds of cells, in the order of the tables: loading the model, a prompt of some length, and
#: several requests at the same time.
KINDS = ("load", "prompt", "at_once")

#: The names of the figures, in the order of the tables. True marks a figure that is better if it is
#: higher. All figures are in seconds, or in tokens per second.
METRICS: Mapping[str, bool] = {
    "load_s": False,
    "first_token_s": False,
    "prompt_tokens_per_s": True,
    "generation_tokens_per_s": True,
    "total_tokens_per_s": True,
}


@record
class Figure(Record):
    """The values of one figure, one for each round.

    Attributes:
        values: The values, in the order of the rounds. There is at least one.

    Raises:
        ValueError: There is no value, or one is not a finite number of at least 0.
    """

    values: Tuple[float, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, (str, bytes)) or not isinstance(self.values, (tuple, list)):
            raise ValueError(f"values is {self.values!r}, and must be a list of numbers")
        self._keep_as_tuples("values")
        if not self.values:
            raise ValueError("a figure has no values")
        for value in self.values:
            if not is_number(value):
                raise ValueError(f"the value {value!r} is not a finite number of at least 0")

    @property
    def median(self) -> float:
        """The median of the values."""
        ranked, middle = sorted(self.values), len(self.values) // 2
        if len(ranked) % 2:
            return ranked[middle]
        return (ranked[middle - 1] + ranked[middle]) / 2

    @property
    def low(self) -> float:
        """The lowest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest value."""
        return max(self.values)

    def to_dict(self) -> Dict[str, Any]:
        """Return the median, the lowest and the highest value, and all values."""
        return {
            "median": self.median,
            "low": self.low,
            "high": self.high,
            "values": list(self.values),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a figure from the key ``values`` of a dictionary that `to_dict` returned.

        Raises:
            ValueError: There are no values, or one is not a finite number of at least 0.
        """
        return cls(values=data.get("values", ()) if isinstance(data, Mapping) else ())


def is_number(value: object) -> bool:
    """Return whether a value is a finite number of at least 0, and not a boolean."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value < math.inf


def _load_figures(data: Any) -> Dict[str, Figure]:
    if not isinstance(data, Mapping):
        raise ValueError("figures must be an object")
    return {name: Figure.from_dict(each) for name, each in data.items()}


@record
class Cell(Record):
    """The figures for a prompt length, for a number of simultaneous requests, or for loading.

    A figure that could not be measured is missing.

    Attributes:
        kind: ``load``, ``prompt`` or ``at_once``.
        size: The planned prompt length in tokens, or the number of requests that run at the same
            time; 0 for ``load``.
        figures: The figures by their names: ``load_s``, ``first_token_s``, ``prompt_tokens_per_s``,
            ``generation_tokens_per_s`` and ``total_tokens_per_s``. The last figure is the speed of
            all simultaneous requests together.
        prompt_tokens: Median number of tokens of the prompts, by the server's count; None if the
            server sent no count.
        completion_tokens: Median number of tokens of the answers, by the server's count, or None.
        cached_tokens: The highest number of tokens of a prompt that the server found in its cache,
            or None if the server reported no such tokens. Cached tokens do not count for
            ``prompt_tokens_per_s``.
        clock: ``server`` if the server measured the durations for all speeds. ``client`` if this
            package measured some of them; a prompt speed that this package measured includes the
            time of the first token. None if there are no speeds. This package always measures the
            time to the first token.
        notes: Reasons for missing figures and other remarks, each on one line.

    Raises:
        ValueError: A value has the wrong type, or a kind or the name of a figure is unknown.
    """

    kind: str
    size: int = 0
    figures: Mapping[str, Figure] = field(default_factory=FrozenDict, metadata=loads(_load_figures))
    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    cached_tokens: Optional[int] = None
    clock: Optional[str] = None
    notes: Tuple[str, ...] = field(default=(), metadata=loads(tuple))

    def __post_init__(self) -> None:
        self._keep_as_tuples("notes")
        self._put_on_one_line("notes")
        self._freeze("figures")
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, and must be one of {', '.join(KINDS)}")
        for name in ("size", "prompt_tokens", "completion_tokens", "cached_tokens"):
            value = getattr(self, name)
            is_missing = value is None and name != "size"
            if not is_missing and not (isinstance(value, int) and is_number(value)):
                raise ValueError(f"{name} is {value!r}, and must be a whole number of at least 0")
        unknown = [name for name in self.figures if name not in METRICS]
        if unknown:
            raise ValueError(f"there is no figure {unknown[0]!r}; known are {', '.join(METRICS)}")

    @property
    def key(self) -> Tuple[str, int]:
        """The kind and the size, with which cells of two results are matched."""
        return self.kind, self.size


@record
class Environment(Record):
    """The machine, the server and the model of a measurement. None means unknown.

    It has no name of the machine or of a user, no path and no address.

    Attributes:
        measured_at: Time of the measurement, in UTC, such as ``2026-11-30T21:56:49Z``.
        system: Operating system of this machine, such as ``Linux 6.1``.
        machine: Architecture of this machine, such as ``x86_64``.
        processor: Name of its processor.
        cpu_count: Number of logical processors that this process may use.
        memory_bytes: Memory of this machine.
        python: Version of Python.
        package: Version of this package.
        server: Name of the server's program, such as ``Ollama``, or of its kind.
        server_version: Version of the server, as the server reports it.
        is_local: Whether the server is on this machine. If not, the facts about this machine say
            nothing about the server.
        model: Name of the model.
        digest: Digest of the model.
        architecture: Architecture of the model, such as ``llama``.
        parameter_size: Number of parameters as the server reports it, such as ``8.0B``.
        quantization: Quantization of the model, such as ``Q4_K_M``.
        size_bytes: Size of the model's files.
        context_length: Context window of the loaded model, in tokens.
        vram_bytes: Number of bytes of the model that are in the memory of a graphics card.
        rounds: Number of planned rounds.
        max_tokens: Maximum number of tokens of an answer.
    """

    measured_at: Optional[str] = None
    system: Optional[str] = None
    machine: Optional[str] = None
    processor: Optional[str] = None
    cpu_count: Optional[int] = None
    memory_bytes: Optional[int] = None
    python: Optional[str] = None
    package: Optional[str] = None
    server: Optional[str] = None
    server_version: Optional[str] = None
    is_local: Optional[bool] = None
    model: Optional[str] = None
    digest: Optional[str] = None
    architecture: Optional[str] = None
    parameter_size: Optional[str] = None
    quantization: Optional[str] = None
    size_bytes: Optional[int] = None
    context_length: Optional[int] = None
    vram_bytes: Optional[int] = None
    rounds: Optional[int] = None
    max_tokens: Optional[int] = None

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            object.__setattr__(self, name, each_on_one_line(value))
            is_count = name.endswith(("_bytes", "_count", "_length")) or name in _COUNTS
            expected = int if is_count else bool if name == "is_local" else str
            if value is not None and type(value) is not expected:
                raise ValueError(f"{name} is {value!r}, and must be of type {expected.__name__}")


_COUNTS = ("rounds", "max_tokens")


@record
class Results(Record):
    """All results of a measurement.

    Attributes:
        environment: The machine, the server and the model.
        cells: The cells, in the order of `KINDS` and of their sizes.
    """

    environment: Environment = field(
        default_factory=Environment, metadata=loads(Environment.from_dict)
    )
    cells: Tuple[Cell, ...] = field(default=(), metadata=loads_each(Cell.from_dict))

    def __post_init__(self) -> None:
        self._keep_as_tuples("cells")

    def of_kind(self, kind: str) -> List[Cell]:
        """Return the cells of one kind, in the order of their sizes."""
        return sorted((cell for cell in self.cells if cell.kind == kind), key=lambda c: c.size)

    @property
    def is_empty(self) -> bool:
        """Whether no cell has a figure."""
        return not any(cell.figures for cell in self.cells)
