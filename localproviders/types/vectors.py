"""The vectors of an embedding response, as a sequence and as a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple, overload

from localproviders._did_you_mean import refuse_item
from localproviders._signatures import Vector
from localproviders.errors import DependencyError

if TYPE_CHECKING:
    import numpy
    from typing_extensions import TypeAlias

    Matrix: TypeAlias = "numpy.ndarray[Any, Any]"
else:
    Matrix = Any  # numpy is optional


class VectorSequence:
    """The base class of `EmbeddingResponse`: a sequence of its vectors."""

    vectors: Tuple[Vector, ...]

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[Vector]:
        return iter(self.vectors)

    @overload
    def __getitem__(self, index: int) -> Vector: ...
    @overload
    def __getitem__(self, index: slice) -> Tuple[Vector, ...]: ...

    def __getitem__(self, index: Any) -> Any:
        return refuse_item(self, index) if isinstance(index, str) else self.vectors[index]

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Matrix:
        if copy is False:
            raise ValueError("the vectors can become an array only by copying them")
        return self.to_numpy() if dtype is None else self.to_numpy().astype(dtype)

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        return len(self.vectors[0])

    @property
    def embeddings(self) -> List[List[float]]:
        """The vectors as lists of floats. Each access makes new lists."""
        return [list(vector) for vector in self.vectors]

    def to_numpy(self) -> Matrix:
        """Return a copy of the vectors as one float32 matrix, with a row for each text.

        Raises:
            DependencyError: numpy is not installed.
        """
        try:
            import numpy as np
        except ImportError:
            raise DependencyError(
                "to_numpy needs numpy, which is not installed", hint="python -m pip install numpy"
            ) from None
        matrix = np.empty((len(self.vectors), self.dimensions), dtype=np.float32)
        for row, vector in enumerate(self.vectors):
            matrix[row] = np.frombuffer(vector, dtype=np.float32)
        return matrix
