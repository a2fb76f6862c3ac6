"""`batch.run` from its arguments to its output."""

from __future__ import annotations

import errno
import inspect
import json
import os
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any, Callable, List

import pytest

from localproviders import (
    CompletionRequest,
    ConfigurationError,
    LockHeldError,
    ModelNotFoundError,
    OllamaProvider,
    ProviderError,
    RequestRejectedError,
    UnreachableError,
    batch,
)
from localproviders._lock import Lock
from localproviders.batch import BatchRecord, coordinator
from localproviders.batch.sources import SourcePath
from localproviders.testing import FakeOllama, Refusal, Reply
from tests.unit.batch.support import Ollama, chats, lines_of


def test_each_row_has_one_line(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    report = ollama.run(chats(20), output, temperature=0)
    assert (report.rows, report.succeeded, report.failed, report.exit_code) == (20, 20, 0, 0)
    assert report.usage.completion_tokens == 60
    assert report.bound_by in ("server", "source", "preparation")
    assert Counter(line["custom_id"] for line in lines_of(output)) == Counter(
        f"r{number}" for number in range(20)
    )
    assert sorted(ollama.texts()) == sorted(f"text {number}" for number in range(20))


def test_the_same_call_asks_nothing_again(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(5), output)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report = ollama.run(chats(5), output)
    assert (report.succeeded, report.skipped, report.asked_again) == (5, 5, 0)
    assert report.bound_by is None
    assert len(ollama.texts()) == 5
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_all_kinds_of_rows(ollama: Ollama, tmp_path: Path) -> None:
    ollama.server.models.append(ollama.server.make_model("tev1"))
    rows: List[Any] = [
        "a chat",
        {"id": "p", "prompt": "Once"},
        {"id": "e", "text": "vector", "model": "nomic-embed-text"},
        {"id": "d", "state": "x", "questions": {"q": "Is it?"}, "model": "tev1"},
        {"id": "r", "query": "q", "documents": ["a"]},
    ]
    report = ollama.run(rows, tmp_path / "out.jsonl")
    assert (report.succeeded, report.failed) == (4, 1)
    found = {record.id: record for record in batch.read(tmp_path / "out.jsonl")}
    assert found["0"].response.text == found["p"].response.text == "Hello there, friend."
    assert len(found["e"].vector) > 1
    assert found["d"].decisions["q"].kind == "yes_no"
    assert type(found["r"].error).__name__ == "UnsupportedError"


def test_a_failed_row_is_asked_again_only_on_request(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    def refuse_two(exchange: Any) -> Any:
        text = json.loads(exchange.body)["messages"][-1]["content"]
        if text in ("text 1", "text 3"):
            return Refusal(status="400 Bad Request", body={"error": "no"})
        return Reply()

    ollama.server.usual = refuse_two
    report = ollama.run(chats(5), output)
    assert (report.succeeded, report.failed, report.exit_code) == (3, 2, 12)
    assert len(lines_of(output)) == 5
    ollama.server.usual = Reply()
    assert ollama.run(chats(5), output).failed == 2
    assert ollama.run(chats(5), output, retry_failed=UnreachableError).failed == 2
    assert len(ollama.texts()) == 5
    report = ollama.run(chats(5), output, retry_failed=[RequestRejectedError])
    assert (report.succeeded, report.failed, report.asked_again) == (5, 0, 2)
    assert sorted(ollama.texts()[5:]) == ["text 1", "text 3"]
    assert [line["custom_id"] for line in lines_of(output)] == ["r0", "r1", "r2", "r3", "r4"]
    assert batch.status(output).succeeded == 5


def test_a_row_that_fails_for_a_moment_is_sent_twice(ollama: Ollama, tmp_path: Path) -> None:
    busy = Refusal(status="503 Service Unavailable", body={"error": "server busy"})
    ollama.server.reply_with(busy)
    report = ollama.run(chats(3), tmp_path / "out.jsonl", concurrency=1)
    assert (report.succeeded, report.failed, report.asked_again) == (3, 0, 1)
    assert Counter(ollama.texts()) == {"text 0": 2, "text 1": 1, "text 2": 1}


def test_changed_and_removed_rows(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    rows = chats(6)
    ollama.run(rows, output)
    rows[2]["messages"] = "changed"
    ollama.server.usual = Reply(text="new")
    report = ollama.run(rows[:5], output)
    assert (report.rows, report.succeeded, report.skipped, report.changed) == (5, 5, 4, 2)
    assert report.asked_again == 0
    texts = {record.id: record.response.text for record in batch.read(output)}
    assert texts == {**dict.fromkeys(["r0", "r1", "r3", "r4"], "Hello there, friend."), "r2": "new"}
    assert len(lines_of(output)) == 5


def test_new_rows_are_added(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(3), output)
    report = ollama.run(chats(8), output)
    assert (report.succeeded, report.skipped, report.changed) == (8, 3, 0)
    assert len(ollama.texts()) == len(lines_of(output)) == 8


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"temperature": 1}, "temperature"),
        ({"model": "other"}, "model"),
        ({"template": "{id}"}, "template"),
        ({"system": "x"}, "system"),
        ({"compact": True}, "compact"),
        ({"questions": {"q": "Is it?"}}, "questions"),
    ],
)
def test_another_run_does_not_mix_its_results(
    more: Any, name: str, ollama: Ollama, tmp_path: Path
) -> None:
    ollama.server.models.append(ollama.server.make_model("other"))
    output = tmp_path / "out.jsonl"
    ollama.run(chats(2), output)
    content = output.read_bytes()
    with pytest.raises(ConfigurationError, match=f"other arguments: {name}"):
        ollama.run(chats(3), output, **more)
    assert output.read_bytes() == content
    assert len(ollama.texts()) == 2


def test_force_mixes_two_runs(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(2), output)
    assert ollama.run(chats(3), output, temperature=1, force=True).skipped == 2
    assert ollama.run(chats(3), output, temperature=1).skipped == 3
    assert ollama.run(chats(3), output, temperature=2, force=True).skipped == 3
    assert ollama.run(chats(3), output, temperature=2).skipped == 3
    assert json.loads(Path(f"{output}.manifest").read_text())["source"]["rows"] == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy"])
@pytest.mark.parametrize(("before", "after"), [((1, 2), (2, 2)), ((1, 2), None), (None, (1, 2))])
def test_the_results_of_two_parts_are_never_mixed(
    before: Any, after: Any, suffix: str, ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / f"out{suffix}"
    rows = [{"id": f"r{n}", "text": f"text {n}"} for n in range(6)]
    ollama.run(rows, output, shard=before, model="nomic-embed-text")
    content = output.read_bytes()
    for force in (False, True):
        with pytest.raises(ConfigurationError, match="shard"):
            ollama.run(rows, output, shard=after, force=force, model="nomic-embed-text")
    assert output.read_bytes() == content
    assert batch.status(output).rows == batch.status(output).succeeded


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
@pytest.mark.parametrize("beside", ["", ".failures", ".ids.jsonl"])
def test_the_source_is_never_overwritten(
    suffix: str, beside: str, ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / ("out.npy" if beside or suffix == ".tsv" else f"out{suffix}")
    source = Path(f"{output}{beside}")
    content = '{"id":"a","text":"x"}\n' if suffix == ".jsonl" else "id,text\na,b\n"
    source.write_text(content)
    other = tmp_path / f"link{suffix}"
    os.link(source, other)
    for force in (False, True):
        for path in (source, other):
            form = SourcePath(str(path), suffix[1:])
            with pytest.raises(ConfigurationError):
                ollama.run(form, output, force=force, model="nomic-embed-text")
            assert source.read_text() == content


@pytest.mark.parametrize("name", ["", "out.jsonl", "out.jsonl.journal", "out.jsonl.manifest"])
def test_files_that_cannot_be_written_are_named(
    name: str, ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(2), output)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    access, forbidden = os.access, str(tmp_path / name) if name else str(tmp_path)
    monkeypatch.setattr(
        os, "access", lambda path, *args: str(path) != forbidden and access(path, *args)
    )
    uses: List[Callable[[], object]] = [lambda: ollama.run(chats(3), output)]
    if not name:
        uses.append(lambda: batch.merge([output], tmp_path / "all.jsonl"))
    for use in uses:
        with pytest.raises(ConfigurationError, match=f"'{re.escape(forbidden)}' cannot be written"):
            use()
    assert batch.status(output).succeeded == len(list(batch.read(output))) == 2
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("done", [0, 3])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy"])
@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_full_disk_ends_a_run_at_any_step(
    name: str,
    suffix: str,
    done: int,
    ollama: Ollama,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"id": f"r{n}", "text": f"text {n}"} for n in range(6)]
    real, steps, is_full = getattr(os, name), 0, True
    while is_full:
        output, left = tmp_path / str(steps) / f"out{suffix}", [steps]
        output.parent.mkdir()
        if done:
            ollama.run(rows[:done], output, model="nomic-embed-text")

        def limited(*args: Any, left: List[int] = left) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        monkeypatch.setattr(os, name, limited)
        report = ollama.run(rows, output, model="nomic-embed-text")
        monkeypatch.setattr(os, name, real)
        is_full = left[0] < 0
        assert (report.stopped, report.exit_code) == (("disk", 74) if is_full else (None, 0))
        assert report.succeeded >= done
        again = ollama.run(rows, output, model="nomic-embed-text")
        assert (again.succeeded, again.stopped) == (6, None)
        steps += 1
    assert steps > 3


_CHANGES = {
    "fewer rows": (lambda lines: lines[:100], True),
    "no rows": (lambda lines: [], True),
    "another row": (lambda lines: [*lines[:150], lines[150].replace(b"text 150", b"other")], True),
    "more rows": (lambda lines: [*lines, lines[0].replace(b"r0", b"new")], False),
    "half a row": (lambda lines: [*lines, lines[0][:5]], False),
}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy"])
@pytest.mark.parametrize("change", _CHANGES)
def test_a_source_that_changes_during_the_run(
    change: str, suffix: str, ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_PROGRESS_S", 0)
    source, output = tmp_path / "in.jsonl", tmp_path / f"out{suffix}"
    lines = [b'{"id": "r%d", "text": "text %d"}\n' % (n, n) for n in range(200)]
    source.write_bytes(b"".join(lines))
    edit, is_error = _CHANGES[change]

    def change_once(report: batch.BatchReport) -> None:
        if report.succeeded and source.read_bytes() == b"".join(lines):
            source.write_bytes(b"".join(edit(lines)))

    options: Any = {"model": "nomic-embed-text", "concurrency": 1}
    if is_error:
        with pytest.raises(ConfigurationError, match="was changed during the run"):
            ollama.run(source, output, on_progress=change_once, **options)
        assert batch.status(output).stopped == "cancelled"
    else:
        report = ollama.run(source, output, on_progress=change_once, **options)
        assert (report.rows, report.succeeded, report.stopped) == (200, 200, None)
        assert batch.status(output).succeeded == 200
    rows = len(edit(lines))
    again = ollama.run(source, output, **options)
    assert (again.rows, again.succeeded + again.failed, again.stopped) == (rows, rows, None)
    assert again.failed == (change == "half a row")
    if suffix == ".npy":
        data = output.read_bytes()
        assert f"({rows}, {16 if rows else 0})".encode() in data[:128]
        assert len(data) == 128 + rows * 16 * 4


def test_a_symbolic_link_leads_to_the_same_output(ollama: Ollama, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link, output = tmp_path / "link.jsonl", folder / "out.jsonl"
    link.symlink_to(output)
    ollama.server.reply_with(Refusal(status="400 Bad Request", body={"error": "no"}))
    assert ollama.run(chats(3), link).failed == 1
    assert ollama.run(chats(3), output, retry_failed=True).succeeded == 3
    assert link.is_symlink()
    assert ollama.run(chats(4), link).skipped == 3
    assert batch.status(link) == batch.status(output)
    assert len(list(batch.read(link))) == 4
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["link.jsonl"]
    with Lock(f"{output}.lock"), pytest.raises(LockHeldError):
        ollama.run(chats(5), link)


def test_another_model_of_the_same_name_is_noticed(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(2), output)
    manifest = Path(f"{output}.manifest")
    digest = next(iter(json.loads(manifest.read_text())["models"].values()))
    ollama.server.models[0] = ollama.server.models[0].replace(digest="f" * 64)
    with OllamaProvider(ollama.server.url, model="llama3.2") as provider:
        with pytest.raises(ConfigurationError, match=f"has the digest ffff.*had {digest}"):
            batch.run(chats(3), output, provider)
        assert batch.run(chats(2), output, provider, force=True).skipped == 2
        assert batch.run(chats(2), output, provider).skipped == 2


def test_an_existing_file_is_not_replaced(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("precious\n")
    with pytest.raises(ConfigurationError, match="exists and is not the output of a run"):
        ollama.run(chats(2), output)
    assert output.read_text() == "precious\n"
    assert ollama.run(chats(2), output, force=True).succeeded == 2
    assert len(lines_of(output)) == 2


def test_one_process_at_a_time(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with Lock(f"{output}.lock"):
        with pytest.raises(LockHeldError) as caught:
            ollama.run(chats(2), output)
    assert caught.value.exit_code == 75
    assert ollama.texts() == []


def test_a_repeated_id_is_found_before_the_first_request(ollama: Ollama, tmp_path: Path) -> None:
    rows = [*chats(3), {"id": "r1", "messages": "again"}]
    with pytest.raises(ConfigurationError, match="'r1' occurs twice: in row 1 and in row 3"):
        ollama.run(rows, tmp_path / "out.jsonl")
    assert ollama.texts() == []
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl.lock"]


def test_a_missing_model_and_a_missing_server_are_errors_before_the_first_row(
    ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    with pytest.raises(ModelNotFoundError):
        ollama.run(chats(2), output, model="none")
    with ollama.server.down(), pytest.raises(UnreachableError):
        ollama.run(chats(2), output)
    assert not output.exists()


def test_ordered_results_have_the_order_of_the_rows(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    rows: List[Any] = [*chats(30), {"bad": 1}, {"id": "last", "messages": "x"}]
    ollama.run(rows, output, ordered=True, concurrency=8, compact=True)
    names = [line["id"] for line in lines_of(output)]
    assert names == [*(f"r{number}" for number in range(30)), "30", "last"]
    assert lines_of(output)[0] == {"id": "r0", "text": "Hello there, friend."}


def test_texts_to_embed_share_requests(ollama: Ollama, tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"text {n}"} for n in range(130)]
    rows.append({"id": "other", "text": "x", "dimensions": 8})
    ollama.server.poison("text 7")
    report = ollama.run(rows, tmp_path / "out.jsonl", model="nomic-embed-text", concurrency=1)
    assert (report.succeeded, report.failed) == (130, 1)
    sizes = [
        len(json.loads(each.body)["input"])
        for each in ollama.server.exchanges
        if each.path == "/api/embed"
    ]
    assert sizes[0] == 64
    assert sizes[-1] == 1
    assert max(sizes) == 64
    with OllamaProvider(ollama.server.url, model="nomic-embed-text") as provider:
        expected = provider.embed(["text 9"])[0]
    found = {record.id: record for record in batch.read(tmp_path / "out.jsonl")}
    assert found["r9"].vector == expected
    assert found["r7"].error is not None


def test_the_error_of_a_text_does_not_depend_on_the_texts_of_its_request(
    ollama: Ollama, tmp_path: Path
) -> None:
    for text in ("a", "b"):
        ollama.server.poison(text)
    found = []
    for number, texts in enumerate((["a"], ["a", "b"], ["a", "b", "c"])):
        output = tmp_path / f"out{number}.jsonl"
        ollama.run([{"text": text} for text in texts], output, model="nomic-embed-text")
        found += [record.error for record in batch.read(output) if record.error is not None]
    assert len(found) == 1 + 2 + 2
    assert len({type(error) for error in found}) == 1
    assert len({error.message for error in found}) == 1


def test_several_texts_in_a_row(ollama: Ollama, tmp_path: Path) -> None:
    body = {"model": "nomic-embed-text", "input": ["a", "b"]}
    row = {"custom_id": "x", "url": "/v1/embeddings", "body": body}
    ollama.run([row], tmp_path / "out.jsonl")
    (record,) = batch.read(tmp_path / "out.jsonl")
    assert len(record.value.vectors) == 2


class _Memory:
    """A sink that stores records in memory."""

    def __init__(self, *known: str) -> None:
        self.records: List[BatchRecord] = []
        self.known = {*known}

    def has(self, id: str, /) -> bool:
        return id in self.known

    def write(self, record: BatchRecord, /) -> None:
        self.records.append(record)


def test_an_object_receives_the_records(ollama: Ollama) -> None:
    sink = _Memory("r1", "r2")
    report = ollama.run([*chats(5), {"bad": 1}], sink)
    assert (report.rows, report.succeeded, report.failed, report.skipped) == (6, 5, 1, 2)
    assert sorted(record.id for record in sink.records) == ["5", "r0", "r3", "r4"]
    assert {record.error is None for record in sink.records} == {True, False}
    assert sorted(ollama.texts()) == ["text 0", "text 3", "text 4"]


def test_another_object_is_refused(ollama: Ollama) -> None:
    sink: Any = [1]
    with pytest.raises(ConfigurationError, match="sink is list, and has no method 'has'"):
        ollama.run(chats(2), sink)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": "all"}, "concurrency is 'all'"),
        ({"rate_per_s": 0}, "rate_per_s is 0"),
        ({"deadline_s": -1}, "deadline_s is -1"),
        ({"grace_s": -1}, "grace_s is -1"),
        ({"shard": (0, 8)}, r"shard is \(0, 8\)"),
        ({"shard": (9, 8)}, r"shard is \(9, 8\)"),
        ({"shard": "3/8"}, "shard is '3/8'"),
        ({"max_failures": "many"}, "max_failures is 'many'"),
        ({"retry_failed": ["UnreachableError"]}, "retry_failed has 'UnreachableError'"),
        ({"retry_failed": [ValueError]}, "retry_failed has"),
        ({"template": "{"}, "brace without a name"),
    ],
)
def test_impossible_arguments(options: Any, reason: str, ollama: Ollama, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        ollama.run(chats(2), tmp_path / "out.jsonl", **options)
    assert not (tmp_path / "out.jsonl").exists()
    assert ollama.texts() == []


def test_a_misspelt_field_is_named(ollama: Ollama, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'temprature'; did you mean 'temperature'"):
        ollama.run(chats(2), tmp_path / "out.jsonl", temprature=0)


def test_the_signature_has_the_fields_of_requests() -> None:
    names = list(inspect.signature(batch.run).parameters)
    assert names[:3] == ["source", "sink", "provider"]
    assert names[-2:] == ["timeout", "cancel"]
    fields = {name for name in names if name in CompletionRequest.__dataclass_fields__}
    assert {"temperature", "max_tokens", "response_schema", "extra_body"} <= fields


def test_a_template_and_an_id_field(ollama: Ollama, tmp_path: Path) -> None:
    source = tmp_path / "in.tsv"
    source.write_text("key\tcity\na\tBern\nb\tOslo\n")
    output = tmp_path / "out.jsonl"
    ollama.run(source, output, template="Where is {city}?", id_field="key", system="Be brief.")
    assert sorted(line["custom_id"] for line in lines_of(output)) == ["a", "b"]
    assert sorted(ollama.texts()) == ["Where is Bern?", "Where is Oslo?"]


def test_records_and_reports_of_a_run_pickle(ollama: Ollama, tmp_path: Path) -> None:
    report = ollama.run([*chats(1), {"bad": 1}], tmp_path / "out.jsonl")
    assert pickle.loads(pickle.dumps(report)) == report
    for record in batch.read(tmp_path / "out.jsonl"):
        assert pickle.loads(pickle.dumps(record)) == record


def test_the_text_of_a_report() -> None:
    report = batch.BatchReport(rows=5000, succeeded=4000, failed=2, stopped="deadline")
    assert str(report) == "4,000 of 5,000 rows succeeded, 2 failed, stopped: deadline"
    assert report.exit_code == 13
    assert report.replace(stopped="disk").exit_code == 74


def test_no_content_is_in_the_manifest(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    rows = [{"id": "a", "x": "secret row"}]
    ollama.run(rows, output, template="secret template {x}", system="secret system", stop="secret")
    text = Path(f"{output}.manifest").read_text()
    assert "secret" not in text
    facts = json.loads(text)
    assert facts["models"] == {"llama3.2": ollama.provider.model_info("llama3.2").digest}
    assert facts["servers"] == [ollama.server.url.rstrip("/")]


def test_several_hosts(tmp_path: Path) -> None:
    from localproviders import LocalProvider

    with FakeOllama(["llama3.2"]) as one, FakeOllama(["llama3.2"]) as two:
        hosts = [
            OllamaProvider(server.url, model="llama3.2", name=name)
            for server, name in ((one, "one"), (two, "two"))
        ]
        with LocalProvider(hosts, strategy="balanced", model="llama3.2") as provider:
            report = batch.run(chats(40), tmp_path / "out.jsonl", provider)
        assert report.succeeded == 40
        counts = [
            sum(each.path == "/api/chat" for each in server.exchanges) for server in (one, two)
        ]
    assert sum(counts) == 40
    assert min(counts) > 0


def test_errors_of_rows_have_no_prompt(ollama: Ollama, tmp_path: Path) -> None:
    refusal = Refusal(status="400 Bad Request", body={"error": "cannot read 'text 0'"})
    ollama.server.reply_with(refusal)
    ollama.run(chats(1), tmp_path / "out.jsonl")
    (record,) = batch.read(tmp_path / "out.jsonl")
    assert isinstance(record.error, ProviderError)
    assert "text 0" not in str(record.error)
