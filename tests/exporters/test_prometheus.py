"""What Prometheus' own library reads out of the file, and out of the registry."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import re
import signal
import threading
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from localproviders import OllamaProvider
from localproviders.errors import BusyError, ConfigurationError, DependencyError
from localproviders.exporters import PrometheusExporter, TextfileExporter, textformat
from localproviders.exporters.measures import CALLS, METRICS
from localproviders.telemetry import Span
from localproviders.testing import FakeOllama
from tests.exporters.support import FACTS, call, everything

library = pytest.importorskip("prometheus_client", reason="needs the extra prometheus")
parser = pytest.importorskip("prometheus_client.parser", reason="needs the extra prometheus")

_Values = Dict[Tuple[str, Tuple[Tuple[str, str], ...]], float]


def _values(families: Any) -> _Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _read(path: Path) -> _Values:
    return _values(parser.text_string_to_metric_families(path.read_text("utf-8")))


def _sum(values: _Values, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (n, ls), value in values.items() if n == name and wanted <= set(ls))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "script.prom"


def test_the_file_is_what_prometheus_own_library_would_write(path: Path) -> None:
    registry = library.CollectorRegistry()
    everything(TextfileExporter(path), PrometheusExporter(registry))
    found, expected = _read(path), _values(registry.collect())
    assert found.keys() == expected.keys()
    assert all(value == pytest.approx(expected[key]) for key, value in found.items())
    families = {f.name: f for f in parser.text_string_to_metric_families(path.read_text("utf-8"))}
    for metric in METRICS:
        family = families[re.sub("_total$", "", metric.name)]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_the_numbers_are_those_of_the_calls(path: Path) -> None:
    everything(TextfileExporter(path))
    found = _read(path)
    assert _sum(found, "localproviders_calls_total") == 3
    assert _sum(found, "localproviders_calls_total", error="") == 1
    assert _sum(found, "localproviders_calls_total", error="BusyError") == 1
    assert _sum(found, "localproviders_retries_total", error="BusyError") == 1
    assert _sum(found, "localproviders_fallbacks_total", to_provider="lmstudio") == 1
    assert _sum(found, "localproviders_overflows_total") == 1
    assert _sum(found, "localproviders_tokens_total", type="input") == 7
    assert _sum(found, "localproviders_tokens_total", type="output") == 3
    assert _sum(found, "localproviders_first_token_seconds_bucket", le="0.1") == 0
    assert _sum(found, "localproviders_first_token_seconds_bucket", le="0.25") == 1
    assert _sum(found, "localproviders_call_duration_seconds_count") == 3


def test_counters_go_on_from_run_to_run(path: Path) -> None:
    for _ in range(3):
        call(TextfileExporter(path))
    assert _sum(_read(path), "localproviders_calls_total") == 3
    assert _sum(_read(path), "localproviders_first_token_seconds_sum") == 0.75


def test_times_are_those_of_the_last_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for now in (100.0, 300.0, 200.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        call(TextfileExporter(path))
    assert _sum(_read(path), "localproviders_last_success_timestamp_seconds") == 300


def _work(path: str) -> None:
    exporter = TextfileExporter(path)
    for _ in range(10):
        call(exporter)


def test_processes_and_threads_that_share_a_file_lose_no_count(path: Path) -> None:
    pytest.importorskip("fcntl", reason="this system has no locks to wait for")
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_work, args=(str(path),)) for _ in range(2)]
    threads = [threading.Thread(target=_work, args=(str(path),)) for _ in range(2)]
    for worker in [*others, *threads]:
        worker.start()
    for worker in [*others, *threads]:
        worker.join(60)
    assert _sum(_read(path), "localproviders_calls_total") == 40


def test_a_reader_never_sees_half_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = TextfileExporter(path)
    call(exporter)
    before = path.read_text("utf-8")

    def broken(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", broken)
    call(exporter)
    assert path.read_text("utf-8") == before
    assert os.listdir(path.parent) == ["script.prom"]
    monkeypatch.undo()
    call(exporter)
    assert _sum(_read(path), "localproviders_calls_total") == 3  # what could not be written, too


def test_a_file_that_cannot_be_written_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = TextfileExporter(path)
    path.write_text("something else\n", encoding="utf-8")
    call(exporter)
    call(exporter)
    told = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [record.getMessage() for record in told] == [f"{path} could not be written: ValueError"]


def test_others_may_read_the_file_as_far_as_the_umask_goes(path: Path) -> None:
    before = os.umask(0o022)
    try:
        call(TextfileExporter(path))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o640)
    call(TextfileExporter(path))
    assert path.stat().st_mode & 0o777 == 0o640


def test_any_text_can_be_a_label(path: Path) -> None:
    models = ['a "quoted" \\ model\nof lines', "{}", "a,b=c", "\u2028", "é"]
    for _ in range(2):
        for model in models:
            call(TextfileExporter(path, {"script": 'x"y'}), model=model)
    found = _read(path)
    for model in models:
        assert _sum(found, "localproviders_calls_total", model=model, script='x"y') == 2


def test_what_a_signal_handler_tells_while_the_file_is_written_is_in_the_next_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, plain = TextfileExporter(path), textformat.write
    monkeypatch.setattr("localproviders.exporters.prometheus._LOCK_S", 0.01)

    def interrupted(samples: textformat.Samples) -> str:
        monkeypatch.setattr(textformat, "write", plain)
        call(exporter)
        return plain(samples)

    monkeypatch.setattr(textformat, "write", interrupted)
    call(exporter)
    call(exporter)
    assert _sum(_read(path), CALLS.name) == 3


def test_a_name_that_utf_8_cannot_write_is_one_sample(path: Path) -> None:
    exporter, registry = TextfileExporter(path, {"script": "\udc80"}), library.CollectorRegistry()
    for _ in range(2):
        call(exporter, PrometheusExporter(library.CollectorRegistry()), model="\udc80x")
    calls = [x for x in path.read_text("utf-8").splitlines() if x.startswith(f"{CALLS.name}{{")]
    assert len(calls) == 1 and calls[0].endswith(" 2")
    call(PrometheusExporter(registry), model="\udc80x")
    assert b'model="?x"' in library.generate_latest(registry)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_waits_for_no_lock_and_counts_its_own(path: Path) -> None:
    exporter = TextfileExporter(path)
    Span((exporter,), **FACTS).retried(BusyError("m"), 1, 0.5)  # counted, not yet written
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with exporter._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that hangs is killed
        call(exporter)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert status == 0
    call(exporter)
    assert _sum(_read(path), "localproviders_calls_total") == 2
    assert _sum(_read(path), "localproviders_retries_total") == 1


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-Inf"])
def test_a_file_whose_numbers_cannot_count_on_is_refused(path: Path, number: str) -> None:
    path.write_text(f'localproviders_calls_total{{model="m"}} {number}\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="line 1 is no number"):
        TextfileExporter(path)


def test_a_text_comes_back_as_it_went() -> None:
    samples: textformat.Samples = {
        ("localproviders_calls_total", (("model", "\\n"),)): 1.0,
        ("localproviders_call_duration_seconds_sum", ()): 0.1,
    }
    assert textformat.parse(textformat.write(samples)) == samples


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("script.txt", {}, "does not end in .prom"),
        ("nowhere/script.prom", {}, "cannot be written"),
        ("taken.prom", {}, "holds something else: line 2"),
        ("script.prom", {"model": "x"}, "one of the exporter's own"),
        ("script.prom", {"le": "x"}, "one of the exporter's own"),
        ("script.prom", {"a-b": "x"}, "is no label"),
        ("script.prom", {"a": 1}, "is no label"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    tmp_path: Path, name: str, labels: Any, words: str
) -> None:
    taken = "# TYPE node_load1 gauge\nnode_load1 0.5\n"
    (tmp_path / "taken.prom").write_text(taken, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        TextfileExporter(tmp_path / name, labels)
    assert (tmp_path / "taken.prom").read_text("utf-8") == taken
    assert os.listdir(tmp_path) == ["taken.prom"]


def test_a_link_counts_as_the_place_that_it_leads_to(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "link.prom"
    link.symlink_to(tmp_path / "nowhere" / "script.prom")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        TextfileExporter(link)
    link.unlink()
    link.symlink_to(path)
    call(TextfileExporter(link))
    assert link.is_symlink()
    assert _sum(_read(path), CALLS.name) == 1


def test_a_textfile_travels_with_its_provider(path: Path) -> None:
    provider = OllamaProvider(listeners=[TextfileExporter(path, {"script": "x"})])
    (copied,) = pickle.loads(pickle.dumps(provider)).settings.listeners
    assert (copied.path, copied.labels) == (str(path), {"script": "x"})


def test_a_real_call_is_counted(path: Path) -> None:
    with FakeOllama() as server:
        exporter = TextfileExporter(path)
        with OllamaProvider(server.url, model="llama3.2", listeners=[exporter]) as ollama:
            response = ollama.chat("Hi there")
    found = _read(path)
    assert _sum(found, "localproviders_tokens_total", type="output") == (
        response.usage.completion_tokens
    )


# --- the registry -----------------------------------------------------------------------


def test_one_registry_takes_one_exporter() -> None:
    registry = library.CollectorRegistry()
    PrometheusExporter(registry)
    with pytest.raises(ConfigurationError, match="Duplicated"):
        PrometheusExporter(registry)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(DependencyError) as caught:
        PrometheusExporter()
    assert 'the extra "prometheus"' in str(caught.value.hint)


def test_an_error_shows_no_words(path: Path) -> None:
    call(TextfileExporter(path), error=BusyError("private words"))
    assert "private" not in path.read_text("utf-8")
    kinds: List[str] = re.findall(r'error="(\w+)"', path.read_text("utf-8"))
    assert kinds == ["BusyError"]
