"""The client library of Prometheus can read the metrics file and the registry."""

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
from localproviders.errors import ConfigurationError, DependencyError, ServerBusyError
from localproviders.exporters import PrometheusExporter, TextfileExporter, measures
from localproviders.exporters.measures import CALL_METRICS, CALLS
from localproviders.telemetry import Span
from localproviders.testing import FakeOllama
from tests.unit.exporters.support import FACTS, emit_all_kinds, emit_call

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
    emit_all_kinds(TextfileExporter(path), PrometheusExporter(registry))
    found, expected = _read(path), _values(registry.collect())
    assert found.keys() == expected.keys()
    assert all(value == pytest.approx(expected[key]) for key, value in found.items())
    families = {f.name: f for f in parser.text_string_to_metric_families(path.read_text("utf-8"))}
    for metric in CALL_METRICS:
        family = families[re.sub("_total$", "", metric.name)]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_the_numbers_are_those_of_the_calls(path: Path) -> None:
    emit_all_kinds(TextfileExporter(path))
    found = _read(path)
    assert _sum(found, "localproviders_calls_total") == 3
    assert _sum(found, "localproviders_calls_total", error="") == 1
    assert _sum(found, "localproviders_calls_total", error="ServerBusyError") == 1
    assert _sum(found, "localproviders_retries_total", error="ServerBusyError") == 1
    assert _sum(found, "localproviders_fallbacks_total", to_provider="lmstudio") == 1
    assert _sum(found, "localproviders_overflows_total") == 1
    assert _sum(found, "localproviders_tokens_total", type="input") == 7
    assert _sum(found, "localproviders_tokens_total", type="output") == 3
    assert _sum(found, "localproviders_first_token_seconds_bucket", le="0.1") == 0
    assert _sum(found, "localproviders_first_token_seconds_bucket", le="0.25") == 1
    assert _sum(found, "localproviders_call_duration_seconds_count") == 3


def test_counters_go_on_from_run_to_run(path: Path) -> None:
    for _ in range(3):
        emit_call(TextfileExporter(path))
    assert _sum(_read(path), "localproviders_calls_total") == 3
    assert _sum(_read(path), "localproviders_first_token_seconds_sum") == 0.75


def test_times_are_those_of_the_last_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for now in (100.0, 300.0, 200.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        emit_call(TextfileExporter(path))
    assert _sum(_read(path), "localproviders_last_success_timestamp_seconds") == 300


def _work(path: str) -> None:
    exporter = TextfileExporter(path)
    for _ in range(10):
        emit_call(exporter)


@pytest.mark.sample(0)
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
    emit_call(exporter)
    before = path.read_text("utf-8")

    def broken(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", broken)
    emit_call(exporter)
    assert path.read_text("utf-8") == before
    assert os.listdir(path.parent) == ["script.prom"]
    monkeypatch.undo()
    emit_call(exporter)
    assert (
        _sum(_read(path), "localproviders_calls_total") == 3
    )  # with the calls that could not be written before


def test_a_file_that_cannot_be_written_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = TextfileExporter(path)
    path.write_text("something else\n", encoding="utf-8")
    emit_call(exporter)
    emit_call(exporter)
    told = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [record.getMessage() for record in told] == [f"{path} could not be written: ValueError"]


def test_others_may_read_the_file_as_far_as_the_umask_goes(path: Path) -> None:
    before = os.umask(0o022)
    try:
        emit_call(TextfileExporter(path))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o640)
    emit_call(TextfileExporter(path))
    assert path.stat().st_mode & 0o777 == 0o640


def test_any_text_can_be_a_label(path: Path) -> None:
    models = ['a "quoted" \\ model\nof lines', "{}", "a,b=c", "\u2028", "é"]
    for _ in range(2):
        for model in models:
            emit_call(TextfileExporter(path, {"script": 'x"y'}), model=model)
    found = _read(path)
    for model in models:
        assert _sum(found, "localproviders_calls_total", model=model, script='x"y') == 2


def test_what_a_signal_handler_tells_while_the_file_is_written_is_in_the_next_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, plain = TextfileExporter(path), measures.write
    monkeypatch.setattr("localproviders.exporters.prometheus._LOCK_WAIT_S", 0.01)

    def interrupted(samples: measures.Samples) -> str:
        monkeypatch.setattr(measures, "write", plain)
        emit_call(exporter)
        return plain(samples)

    monkeypatch.setattr(measures, "write", interrupted)
    emit_call(exporter)
    emit_call(exporter)
    assert _sum(_read(path), CALLS.name) == 3


def test_a_name_that_utf_8_cannot_write_is_one_sample(path: Path) -> None:
    exporter, registry = TextfileExporter(path, {"script": "\udc80"}), library.CollectorRegistry()
    for _ in range(2):
        emit_call(exporter, PrometheusExporter(library.CollectorRegistry()), model="\udc80x")
    calls = [x for x in path.read_text("utf-8").splitlines() if x.startswith(f"{CALLS.name}{{")]
    assert len(calls) == 1 and calls[0].endswith(" 2")
    emit_call(PrometheusExporter(registry), model="\udc80x")
    assert b'model="?x"' in library.generate_latest(registry)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_waits_for_no_lock_and_counts_its_own(path: Path) -> None:
    exporter = TextfileExporter(path)
    Span((exporter,), **FACTS).retried(ServerBusyError("m"), 1, 0.5)  # counted, not yet written
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
        emit_call(exporter)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert status == 0
    emit_call(exporter)
    assert _sum(_read(path), "localproviders_calls_total") == 2
    assert _sum(_read(path), "localproviders_retries_total") == 1


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-Inf"])
def test_a_file_whose_numbers_cannot_count_on_is_refused(path: Path, number: str) -> None:
    path.write_text(f'localproviders_calls_total{{model="m"}} {number}\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="line 1 has a value that is not finite"):
        TextfileExporter(path)


def test_a_text_comes_back_as_it_went() -> None:
    samples: measures.Samples = {
        ("localproviders_calls_total", (("model", "\\n"),)): 1.0,
        ("localproviders_call_duration_seconds_sum", ()): 0.1,
    }
    assert measures.parse(measures.write(samples)) == samples


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with open(str(tmp_path / "huge.prom"), "wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(
        ConfigurationError, match="is not a file of this exporter: it has more than"
    ):
        TextfileExporter(tmp_path / "huge.prom")


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("script.txt", {}, "does not end in .prom"),
        ("nowhere/script.prom", {}, "cannot be written"),
        ("taken.prom", {}, "is not a file of this exporter: line 2"),
        ("script.prom", {"model": "x"}, "is used by the exporter itself"),
        ("script.prom", {"le": "x"}, "is used by the exporter itself"),
        ("script.prom", {"a-b": "x"}, "is not a valid label"),
        ("script.prom", {"a": 1}, "is not a valid label"),
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


_EMPTY = {
    "nothing": None,
    "an empty file": "",
    "a file of metrics": "localproviders_calls_total 1\n",
}


@pytest.mark.parametrize("there", _EMPTY)
def test_a_link_is_refused_wherever_it_leads_to(tmp_path: Path, path: Path, there: str) -> None:
    target, text = tmp_path / "target.prom", _EMPTY[there]
    if text is not None:
        target.write_text(text, encoding="utf-8")
    path.symlink_to(target)
    with pytest.raises(ConfigurationError, match="symbolic link"):
        TextfileExporter(path)
    assert (target.read_text("utf-8") if target.exists() else None) == text


def test_a_link_in_the_place_of_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    emit_call(TextfileExporter(tmp_path / "link" / "script.prom"))
    assert _sum(_read(tmp_path / "real" / "script.prom"), CALLS.name) == 1


def test_a_link_that_comes_later_is_not_followed(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = TextfileExporter(path)
    target = tmp_path / "target"
    target.write_text("", encoding="utf-8")
    path.symlink_to(target)
    emit_call(exporter)
    assert target.read_text("utf-8") == ""
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} could not be written: OSError"
    ]
    path.unlink()
    emit_call(exporter)
    assert _sum(_read(path), CALLS.name) == 2


def test_a_link_that_comes_between_reading_and_writing_is_replaced(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, plain = TextfileExporter(path), measures.write
    target = tmp_path / "target"
    target.write_text("theirs", encoding="utf-8")
    target.chmod(0o666)

    def planted(samples: measures.Samples) -> str:
        path.symlink_to(target)
        return plain(samples)

    monkeypatch.setattr(measures, "write", planted)
    emit_call(exporter)
    assert target.read_text("utf-8") == "theirs"
    assert not path.is_symlink()
    assert _sum(_read(path), CALLS.name) == 1
    assert path.stat().st_mode & 0o022 == 0


def test_the_temporary_file_cannot_be_swapped_for_a_link(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, plain = TextfileExporter(path), measures.write
    target = tmp_path / "target"
    target.write_text("theirs", encoding="utf-8")
    really = os.open

    def swapped(name: Any, flags: int, *more: Any, **named: Any) -> int:
        found = really(name, flags, *more, **named)
        if str(name).endswith(".tmp"):
            os.remove(name)
            os.symlink(target, name)
        return found

    monkeypatch.setattr(measures, "write", plain)
    monkeypatch.setattr(os, "open", swapped)
    emit_call(exporter)
    assert target.read_text("utf-8") == "theirs"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_in_time(path: Path) -> None:
    os.mkfifo(str(path))
    with pytest.raises(ConfigurationError, match="not a regular file"):
        TextfileExporter(path)


def test_what_a_killed_run_left_is_removed(path: Path) -> None:
    pytest.importorskip("fcntl", reason="without locks no file is known to be left")
    names = [f".localproviders-{'0' * 16}.tmp", ".localproviders-x.tmp", "other.tmp"]
    for name in names:
        (path.parent / name).write_text("half")
    emit_call(TextfileExporter(path))
    assert sorted(os.listdir(path.parent)) == [".localproviders-x.tmp", "other.tmp", path.name]


def test_what_is_left_later_is_removed_by_the_next_write(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="without locks no file is known to be left")
    exporter = TextfileExporter(path)
    half, link = (path.parent / f".localproviders-{mark * 16}.tmp" for mark in "0f")
    half.write_text("half")
    link.symlink_to(half)
    emit_call(exporter)
    assert sorted(os.listdir(path.parent)) == [link.name, path.name]


def test_what_another_process_is_writing_is_left(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="without locks no file is known to be left")
    monkeypatch.setattr("localproviders.exporters.prometheus._LOCK_WAIT_S", 0.01)
    half = path.parent / f".localproviders-{'0' * 16}.tmp"
    half.write_text("half")
    handle = os.open(str(path.parent), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        TextfileExporter(path)
    finally:
        os.close(handle)
    assert half.exists()


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
    emit_call(TextfileExporter(path), error=ServerBusyError("private words"))
    assert "private" not in path.read_text("utf-8")
    kinds: List[str] = re.findall(r'error="(\w+)"', path.read_text("utf-8"))
    assert kinds == ["ServerBusyError"]
