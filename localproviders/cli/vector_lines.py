"""Vectors as lines of JSON."""

from __future__ import annotations

from typing import Any, Dict

from localproviders._signatures import Vector
from localproviders.cli.inputs import Input
from localproviders.cli.output import Output
from localproviders.cli.rows import id_of
from localproviders.errors import ProviderError

# This many significant decimal digits are enough to restore every 32-bit float exactly.
_DIGITS = 9


class VectorLines:
    """Writes each vector as a line of JSON with ``id``, ``index`` and ``embedding``.

    ``id`` is left out if the input has none. The line of an input that failed has ``error`` instead
    of ``embedding``. It also has ``input``, which is the name of the input.

    Args:
        output: The output.
    """

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, index: int, found: Input, vector: Vector) -> None:
        """Write the line of a vector; raises like `Output.write`."""
        numbers = [float(f"{value:.{_DIGITS}g}") for value in vector]
        self._output.write_json({**_labels(index, found), "embedding": numbers})

    def write_failure(self, index: int, found: Input, error: ProviderError) -> None:
        """Write the line of an input that failed; raises like `Output.write`."""
        labels = {**_labels(index, found), "input": found.name}
        self._output.write_json({**labels, "error": _facts_of(error)})

    def end(self) -> None:
        """Do nothing: the lines are complete."""


def _facts_of(error: ProviderError) -> Dict[str, Any]:
    """Return the error as plain JSON types, without mappings that are empty."""
    return {name: value for name, value in error.to_dict().items() if value != {}}


def _labels(index: int, found: Input) -> Dict[str, Any]:
    found_id = id_of(found)
    return {"index": index} if found_id is None else {"id": found_id, "index": index}
