"""Twenty thousand texts in one call: time and memory, also with one bad text."""

from __future__ import annotations

import base64
import gc
import json
import tracemalloc
from array import array
from typing import Any, List, Mapping

import pytest

from localproviders import EmbeddingError, EmbeddingResponse
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.embedding import MODEL, PROVIDERS, provider_of

COUNT = 20_000
BAD = 12_345
# Fewer dimensions for servers that send numbers as text, because tracing each number is slow.
DIMENSIONS = {"openai": 384, "llamacpp": 384, "lmstudio": 96, "ollama": 96}

VALUES = {
    kind: array("f", (1 / (index + 3) for index in range(count)))
    for kind, count in DIMENSIONS.items()
}
# Encoded once, because memory of the server in this process counts too.
_ROWS: Mapping[str, str] = {
    kind: json.dumps(
        base64.b64encode(VALUES[kind].tobytes()).decode()
        if kind in ("openai", "llamacpp")
        else list(VALUES[kind])
    )
    for kind in VALUES
}
_REFUSED = http_answer({"error": "unsupported value: NaN"}, status="500 Internal Server Error")


def _answer(kind: str, count: int) -> bytes:
    row = _ROWS[kind]
    if kind == "ollama":
        return http_answer(f'{{"model":"{MODEL}","embeddings":[{",".join([row] * count)}]}}')
    items = ",".join(f'{{"index":{index},"embedding":{row}}}' for index in range(count))
    return http_answer(f'{{"model":"{MODEL}","data":[{items}]}}')


def _server(kind: str) -> ScriptedServer:
    tags = http_answer({"models": [{"name": f"{MODEL}:latest"}]})

    def script(exchange: Exchange) -> List[Any]:
        if exchange.method == "GET":
            return [tags]
        texts = exchange.json["input"]
        return [_REFUSED if f"text {BAD}" in texts else _answer(kind, len(texts))]

    return ScriptedServer(script)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROVIDERS)
def test_one_bad_text_of_many_is_named_and_memory_stays_small(kind: str) -> None:
    texts = [f"text {index}" for index in range(COUNT)]
    with _server(kind) as server, provider_of(kind, server.url) as provider:
        provider.embed("warm up")
        gc.collect()
        tracemalloc.start()
        try:
            with pytest.raises(EmbeddingError) as caught:
                provider.embed(texts)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    error = caught.value
    result_bytes = COUNT * DIMENSIONS[kind] * 4  # the memory of the vectors themselves

    assert list(error.failures) == [BAD]
    assert set(error.embedded) == set(range(COUNT)) - {BAD}
    assert all(vector == VALUES[kind] for vector in error.embedded.values())
    assert peak < 2 * result_bytes, f"{peak / result_bytes:.2f} times the result"


def test_a_matrix_costs_no_more_than_itself() -> None:
    numpy = pytest.importorskip("numpy")
    values = VALUES["openai"]
    response = EmbeddingResponse(
        vectors=tuple(values[:] for _ in range(2_000)), model=MODEL, provider="p"
    )
    tracemalloc.start()
    try:
        matrix = response.to_numpy()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert matrix.shape == (2_000, 384)
    assert matrix.dtype == numpy.float32
    assert numpy.array_equal(matrix[-1], numpy.array(values))
    assert peak < 1.1 * matrix.nbytes
