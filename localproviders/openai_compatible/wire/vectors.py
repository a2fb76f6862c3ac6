"""Parser of the vectors in an embedding response of OpenAI's dialect."""

from __future__ import annotations

import binascii
import sys
from array import array
from typing import Any, Optional, Sequence

from localproviders._dialect.common import Vectors, check_vectors, checked, unexpected
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.values import index_of, text
from localproviders._http.framing import Look, Tally, no_look
from localproviders.errors import EmbeddingError
from localproviders.openai_compatible.wire.responses import usage_in
from localproviders.types.responses import ServerTimings


def parse_vectors(
    data: Any, rules: Sequence[Rule], texts: Optional[int] = None, look: Look = no_look
) -> Vectors:
    """Read an embedding response; return its vectors in the order of their `index`.

    Each vector is a base64 string or a list of numbers.

    Args:
        data: JSON of the response.
        rules: Rules that translate the server's error texts.
        texts: Number of vectors that the response must have; None accepts any number.
        look: Function that checks the limits of the call, called between two vectors.

    Raises:
        ProviderError: The response is an error, or has no vectors or the wrong
            number of them; or a limit of the call expired, or the call was cancelled.
    """
    data = checked(data, rules)
    items = data.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        unexpected("'data' list")
    if texts is not None:
        check_vectors(len(items), texts)
    # If the index is missing, the position counts: servers written in Go omit an index of zero.
    indexes = (item.get("index") for item in items)
    order = [
        position if index is None else index_of(index) for position, index in enumerate(indexes)
    ]
    if sorted(map(repr, order)) != sorted(map(repr, range(len(items)))):
        raise EmbeddingError("the indexes of the vectors in the response are not 0, 1, 2 and so on")
    tally = Tally("vectors", len(items), look)
    places = sorted(range(len(items)), key=lambda place: order[place] or 0)
    rows = [_vector(items[place].get("embedding"), tally) for place in places]
    return Vectors(rows, text(data.get("model")), usage_in(data), ServerTimings())


def _vector(value: Any, tally: Tally) -> Sequence[float]:
    tally.add()
    if isinstance(value, (list, array)):
        return value
    if not isinstance(value, str):
        raise EmbeddingError("a vector in the response is neither a list nor base64")
    try:
        packed = array("f", _unpacked(value))
    except ValueError:
        raise EmbeddingError("a vector in the response is not valid base64") from None
    if sys.byteorder == "big":
        packed.byteswap()  # the server sends little-endian numbers
    return packed


def _unpacked(text: str) -> bytes:
    """Decode base64 strictly.

    `base64.b64decode` with `validate` does the same, but reads and copies the text once more. For a
    body of vectors, this takes a fifth of the total time.

    Raises:
        ValueError: The text is not base64.
    """
    # This call ignores characters that do not belong to base64, so the length is checked below.
    found = binascii.a2b_base64(text)
    digits = text[:-2] + text[-2:].rstrip("=")
    if len(text) % 4 or len(found) != len(digits) * 3 // 4:
        raise ValueError("a character that does not belong to base64")
    return found
