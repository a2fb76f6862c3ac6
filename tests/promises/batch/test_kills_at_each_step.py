"""A process is killed before each single change of a file; then the same run goes on."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import struct
from array import array
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from localproviders import (
    CompletionRequest,
    CompletionResponse,
    ConfigurationError,
    EmbeddingError,
    EmbeddingRequest,
    EmbeddingResponse,
    OllamaProvider,
    RequestRejectedError,
    batch,
)
from localproviders.batch import appending
from localproviders.types.models import ModelInfo

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

_KILLED = 77


class _Answering(OllamaProvider):
    """A provider that needs no server: it answers each text with a text, or a vector, of its own.

    Attributes:
        bad: Texts that it rejects.
    """

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", model="m")
        self.bad: List[str] = []

    def model_info(self, model: Any, **_: Any) -> ModelInfo:
        return ModelInfo(name=str(model), provider="ollama", digest="d" * 64)

    def complete(self, request: CompletionRequest, *_: Any, **__: Any) -> CompletionResponse:
        text = str(request.messages[-1].content)
        if text in self.bad:
            raise RequestRejectedError(f"{text} is bad")
        return CompletionResponse(text=f"<{text}>", model="m", provider="ollama")

    def embed(self, request: Any, *_: Any, **__: Any) -> EmbeddingResponse:
        assert isinstance(request, EmbeddingRequest)
        vectors = tuple(array("f", [float(text), 0.0]) for text in request.texts)
        errors = {
            index: RequestRejectedError(f"{text} is bad")
            for index, text in enumerate(request.texts)
            if text in self.bad
        }
        if not errors:
            return EmbeddingResponse(vectors=vectors, model="m", provider="ollama")
        good = {index: vectors[index] for index in range(len(vectors)) if index not in errors}
        raise EmbeddingError("some are bad", errors=errors, embedded=good)


def _run_and_kill(work: Callable[[], object], steps: int) -> bool:
    """Do some work in a forked process, which is killed before a change of a file.

    Args:
        work: The work.
        steps: Number of changes before the kill.

    Returns:
        False if the work made fewer changes, and ended.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _kill_after(steps)
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitpid(pid, 0)[1] >> 8
    assert code in (0, _KILLED)
    return code == _KILLED


def _kill_after(steps: int) -> None:
    left = [steps]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **options: Any) -> Any:
            if left[0] == 0:
                if call is write:  # a part of the bytes is written
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os._exit(_KILLED)
            left[0] -= 1
            return call(*args, **options)

        return change

    write = os.write
    for name in ("write", "replace", "ftruncate", "remove", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    appending._sync = counted(appending._sync)


def _texts_of(output: Path) -> Dict[str, str]:
    """Return the answer of each row by its id; for a failed row, the class of its error."""
    if output.suffix == ".csv":
        with open(output, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = [row["id"] for row in rows]
        texts = [row["answer"] or row["error"].partition(":")[0] for row in rows]
    elif output.suffix == ".npy":
        data = output.read_bytes()
        ids = Path(f"{output}.ids.jsonl").read_text().splitlines()
        names = [json.loads(line)["id"] for line in ids]
        numbers = struct.unpack_from(f"<{len(names) * 2}f", data, 128)
        assert len(data) == 128 + 8 * len(names)
        assert f"({len(names)}, 2)".encode() in data[:128]
        texts = [f"<{number:.0f}>" for number in numbers[::2]]
        errors = [json.loads(line).get("error", {}).get("code") for line in ids]
        assert [text == "<nan>" for text in texts] == [error is not None for error in errors]
        texts = [error or text for text, error in zip(texts, errors)]
    else:
        records = list(batch.read(output))
        names = [record.id for record in records]
        texts = [
            type(record.error).__name__ if record.error else record.response.text
            for record in records
        ]
    assert len({*names}) == len(names)
    return dict(zip(names, texts))


def _rows(suffix: str, count: int) -> List[Any]:
    field = "text" if suffix == ".npy" else "messages"
    return [{"id": f"r{number}", field: f"{number}"} for number in range(count)]


# Runs before the one that is killed, each with the number of its rows, the bad ones, and options.
_HISTORIES: Dict[str, List[Any]] = {
    "first": [],
    "retry": [(8, [2, 5], {})],
    "retry-some": [(8, [2, 5], {})],
    "more-rows": [(5, [2], {})],
    "fewer-rows": [(12, [2, 5, 11], {})],
    "stopped": [(8, [2, 5], {"max_failures": 0})],
    "stopped-and-more-rows": [(5, [2], {"max_failures": 0})],
}
# The other histories take too long for each test run.
_USUAL = ("first", "retry", "stopped")
# The run that is killed: the bad rows, and options.
_LAST: Dict[str, Any] = {
    "first": ([2, 5], {}),
    "retry": ([], {"retry_failed": True}),
    "retry-some": ([5], {"retry_failed": RequestRejectedError}),
    "more-rows": ([2, 5], {}),
    "fewer-rows": ([2, 5], {}),
    "stopped": ([2, 5], {}),
    "stopped-and-more-rows": ([5], {"retry_failed": True}),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("ordered", [False, True], ids=["as-they-arrive", "ordered"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy"])
@pytest.mark.parametrize(
    "history",
    [each if each in _USUAL else pytest.param(each, marks=pytest.mark.slow) for each in _HISTORIES],
)
def test_a_kill_before_any_change_of_a_file_loses_nothing(
    history: str, suffix: str, ordered: bool, tmp_path: Path
) -> None:
    bad, options = _LAST[history]
    provider = _Answering()
    expected = {f"r{number}": f"<{number}>" for number in range(8)}
    expected.update({f"r{number}": "RequestRejectedError" for number in bad})
    steps, is_killed = 0, True
    while is_killed:
        output = tmp_path / str(steps) / f"out{suffix}"
        output.parent.mkdir()

        def run(count: int, bad: List[int], options: Any, output: Path = output) -> Any:
            provider.bad[:] = [str(number) for number in bad]
            given = {"concurrency": 2, "ordered": ordered, **options}
            return batch.run(_rows(suffix, count), output, provider, **given)

        for each in _HISTORIES[history]:
            run(*each)
        is_killed = _run_and_kill(lambda: run(8, bad, options), steps)
        if output.exists():
            with contextlib.suppress(ConfigurationError):  # the run had no result yet
                assert batch.status(output).rows in {each[0] for each in _HISTORIES[history]} | {8}
        report = run(8, bad, {} if is_killed and steps % 2 else options)
        if report.failed != len(bad):  # the kill was before the first new result
            report = run(8, bad, options)
        assert (report.rows, report.succeeded, report.failed) == (8, 8 - len(bad), len(bad))
        status = batch.status(output)
        assert (status.succeeded, status.failed, status.stopped) == (8 - len(bad), len(bad), None)
        found = _texts_of(output)
        assert found == expected
        if ordered or suffix == ".npy":
            assert list(found) == list(expected)
        steps += 1
    assert steps > 10


@pytest.mark.sample(2)
@pytest.mark.parametrize("suffix", [".jsonl", ".npy"])
@pytest.mark.parametrize(
    ("history", "first"),
    [
        pytest.param([], [*range(12)], id="beginning"),
        pytest.param([(8, [2, 5], {})], [*range(20, 45)], id="replacement", marks=pytest.mark.slow),
    ],
)
def test_a_second_kill_at_the_beginning_of_the_next_run(
    history: List[Any], first: List[int], suffix: str, tmp_path: Path
) -> None:
    provider = _Answering()
    expected = {f"r{number}": f"<{number}>" for number in range(9)}
    for steps, second in itertools.product(first, range(8)):
        output = tmp_path / f"{steps}-{second}" / f"out{suffix}"
        output.parent.mkdir()

        def run(count: int, bad: List[int], options: Any, output: Path = output) -> Any:
            provider.bad[:] = [str(number) for number in bad]
            return batch.run(_rows(suffix, count), output, provider, concurrency=2, **options)

        for each in history:
            run(*each)
        _run_and_kill(lambda: run(8, [], {"retry_failed": True}), steps)
        _run_and_kill(lambda: run(9, [], {"retry_failed": True}), second)
        assert run(9, [], {"retry_failed": True}).succeeded == 9
        assert _texts_of(output) == expected
