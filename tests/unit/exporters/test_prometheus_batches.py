"""The samples about batches, and a file that is written at most once in an interval."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Dict, Iterator

import pytest

from localproviders import ConfigurationError, OllamaProvider, batch
from localproviders.batch import BatchReport
from localproviders.exporters import PrometheusExporter, TextfileExporter, measures
from localproviders.exporters import prometheus as module
from localproviders.telemetry import CallEvent
from localproviders.testing import FakeOllama


def _read(path: Path) -> Dict[str, float]:
    samples = measures.parse(path.read_text(encoding="utf-8"))
    return {f"{name} {labels[-1][1]}": value for (name, labels), value in samples.items()}


_ENDED = CallEvent(
    kind="finished", operation="chat", provider="ollama", endpoint="http://127.0.0.1:9", call=1
)
_ROWS, _PART = "localproviders_batch_rows", "localproviders_batch_bound_by"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nightly.prom"


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dict[str, float]]:
    """Count the writes of files; ``now`` is the time."""
    found = {"now": 100.0, "writes": 0.0}
    replace = module._replace

    def counted(path: str, text: str) -> None:
        found["writes"] += 1
        replace(path, text)

    monkeypatch.setattr(module, "_replace", counted)
    monkeypatch.setattr(module.time, "monotonic", lambda: found["now"])
    return found


def test_a_report_sets_the_rows_and_the_part(path: Path) -> None:
    exporter = TextfileExporter(path)
    exporter.record_batch(BatchReport(rows=10, succeeded=6, failed=1, bound_by="server"))
    assert _read(path) == {
        f"{_ROWS} succeeded": 6,
        f"{_ROWS} failed": 1,
        f"{_ROWS} open": 3,
        f"{_PART} server": 1,
        f"{_PART} source": 0,
        f"{_PART} preparation": 0,
    }
    exporter.record_batch(BatchReport(rows=4, succeeded=4, bound_by="source"))
    found = _read(path)
    assert (found[f"{_ROWS} succeeded"], found[f"{_ROWS} open"]) == (4, 0)  # smaller than before
    assert (found[f"{_PART} server"], found[f"{_PART} source"]) == (0, 1)


def test_a_report_reaches_a_live_registry() -> None:
    library = pytest.importorskip("prometheus_client")
    registry = library.CollectorRegistry()
    PrometheusExporter(registry).record_batch(BatchReport(rows=2, succeeded=1, bound_by="server"))
    assert registry.get_sample_value(_ROWS, {"state": "open"}) == 1
    assert registry.get_sample_value(_PART, {"part": "server"}) == 1


def test_a_batch_reports_itself(path: Path, tmp_path: Path) -> None:
    metrics = TextfileExporter(path, interval_s=3600)
    rows = [{"id": str(number), "messages": "Hi"} for number in range(30)]
    with FakeOllama() as fake:
        with OllamaProvider(fake.url, model="llama3.2", listeners=[metrics]) as ollama:
            batch.run(rows, tmp_path / "out.jsonl", ollama, on_progress=metrics.record_batch)
    found = _read(path)
    assert (found[f"{_ROWS} succeeded"], found[f"{_ROWS} open"]) == (30, 0)
    assert sum(value for name, value in found.items() if "calls_total" in name) >= 30


def test_calls_are_written_once_in_an_interval(path: Path, writes: Dict[str, float]) -> None:
    exporter = TextfileExporter(path, interval_s=5)
    for _ in range(10):
        exporter(_ENDED)
    assert writes["writes"] == 1
    writes["now"] += 5
    exporter(_ENDED)
    assert writes["writes"] == 2
    assert _read(path)["localproviders_calls_total "] == 11


def test_the_end_of_a_run_and_of_a_batch_are_written_at_once(
    path: Path, writes: Dict[str, float]
) -> None:
    exporter = TextfileExporter(path, interval_s=5)
    for succeeded in (0, 1):
        exporter.record_batch(BatchReport(rows=2, succeeded=succeeded))
    assert writes["writes"] == 1
    exporter.record_batch(BatchReport(rows=2, succeeded=1, stopped="deadline"))
    exporter.record_batch(BatchReport(rows=2, succeeded=1, failed=1))
    exporter.record_run("batch run", 12)
    assert writes["writes"] == 4


def test_without_an_interval_each_call_is_written(path: Path, writes: Dict[str, float]) -> None:
    exporter = TextfileExporter(path)
    for _ in range(3):
        exporter(_ENDED)
    assert writes["writes"] == 3


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), "1", True, None])
def test_a_wrong_interval_is_refused(path: Path, value: object) -> None:
    with pytest.raises(ConfigurationError, match="at least 0"):
        TextfileExporter(path, interval_s=value)  # type: ignore[arg-type]  # a wrong value is the test


def test_a_pickle_keeps_the_interval(path: Path) -> None:
    exporter = pickle.loads(pickle.dumps(TextfileExporter(path, {"script": "a"}, interval_s=2)))
    assert (exporter.interval_s, exporter.labels) == (2, {"script": "a"})
