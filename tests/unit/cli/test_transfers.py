"""The verbs ``pull``, ``push``, ``create``, ``copy`` and ``delete``."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import pytest

from localproviders.cli import transfers
from localproviders.cli.progress import BYTES, Meter
from localproviders.discovery import forget
from localproviders.testing import FakeLlamaCpp, FakeLMStudio, FakeModel, FakeOllama
from localproviders.types.models import Progress
from tests.support.model_command import at_terminal, call, run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    with FakeOllama([FakeModel(name="llama3.2"), FakeModel(name="other")]) as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        yield fake


@pytest.fixture
def found(ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLMStudio]:
    """LM Studio beside Ollama; a search finds both, and no other server of this machine."""
    with FakeLMStudio() as lmstudio:
        ports = {lmstudio.port: "LM Studio"}
        monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", lambda: ports)
        forget()
        yield lmstudio


def _names(fake: FakeOllama) -> List[str]:
    return sorted(model.name for model in fake.models)


def test_pull_waits_until_the_model_is_there(ollama: FakeOllama) -> None:
    done = run("pull", "ollama/qwen3:0.6b")
    assert (done.code, done.out, done.err) == (0, "pulled ollama/qwen3:0.6b, 2.02 GB\n", "")
    assert "qwen3:0.6b" in _names(ollama)


def test_pull_as_json_is_the_model(ollama: FakeOllama, capsys: Capture) -> None:
    done = call(capsys, "pull", "ollama/qwen3:0.6b", "--json")
    assert done.json["name"] == "qwen3:0.6b"


def test_pull_on_the_first_server_that_can(found: FakeLMStudio, capsys: Capture) -> None:
    assert call(capsys, "pull", "qwen3:0.6b").out.startswith("pulled ollama/qwen3:0.6b")


def test_an_option_that_only_some_servers_have(
    ollama: FakeOllama, found: FakeLMStudio, capsys: Capture
) -> None:
    assert call(capsys, "pull", "ollama/qwen3:0.6b", "--insecure").code == 0
    assert any(b"insecure" in each.body for each in ollama.exchanges)
    done = call(capsys, "pull", "ollama/qwen3:0.6b", "--quantization", "Q8_0")
    assert done.code == 2 and "no --quantization" in done.err
    done = call(capsys, "pull", "qwen3:0.6b", "--insecure")
    assert done.code == 2 and "SERVER/qwen3:0.6b" in done.err


def test_push_needs_permission_to_leave_the_machine(ollama: FakeOllama, capsys: Capture) -> None:
    ollama.models.append(FakeModel(name="me/mine"))
    refused = call(capsys, "push", "ollama/me/mine")
    assert refused.code == 3 and "--locality any" in refused.err and not ollama.pushed
    done = call(capsys, "push", "ollama/me/mine", "--locality", "any")
    assert (done.code, done.out) == (0, "pushed ollama/me/mine\n")
    assert [name.partition(":")[0] for name in ollama.pushed] == ["me/mine"]


class TestCreate:
    def test_from_a_model(self, ollama: FakeOllama, capsys: Capture) -> None:
        words = ["--from", "ollama/llama3.2", "--system", "Arr", "--parameter", "num_ctx=8192"]
        stops = ["--parameter", "stop=a", "--parameter", "stop=b"]
        done = call(capsys, "create", "ollama/pirate", *words, *stops)
        assert done.code == 0 and done.out.startswith("made ollama/pirate")
        (made,) = ollama.made.values()
        assert made["from"] == "llama3.2" and made["system"] == "Arr"
        assert made["parameters"] == {"num_ctx": 8192, "stop": ["a", "b"]}

    def test_from_a_file(self, ollama: FakeOllama, capsys: Capture, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(b"GGUF and more")
        (tmp_path / "t.txt").write_text("{{ .Prompt }}", encoding="utf-8")
        words = ["-f", str(tmp_path / "m.gguf"), "--template-file", str(tmp_path / "t.txt")]
        assert call(capsys, "create", "ollama/mine", *words).code == 0
        (made,) = ollama.made.values()
        assert list(made["files"]) == ["m.gguf"] and made["template"] == "{{ .Prompt }}"

    def test_an_existing_model_is_replaced_only_with_force(
        self, ollama: FakeOllama, capsys: Capture
    ) -> None:
        words = ["create", "ollama/other", "--from", "llama3.2"]
        refused = call(capsys, *words)
        assert refused.code == 2 and "--force" in refused.err and not ollama.made
        assert call(capsys, *words, "--force").code == 0

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--from", "llama3.2", "-f", "x.gguf"],
            ["-f", "missing.gguf"],
            ["-f", "a/x.gguf", "-f", "b/x.gguf"],
            ["--from", "llama3.2", "--parameter", "num_ctx"],
            ["--from", "llama3.2", "--parameter", "=1"],
            ["--from", "llama3.2", "--template-file", "missing.txt"],
        ],
    )
    def test_wrong_input_creates_nothing(
        self, words: List[str], ollama: FakeOllama, capsys: Capture
    ) -> None:
        done = call(capsys, "create", "ollama/new", *words)
        assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
        assert not ollama.made and _names(ollama) == ["llama3.2", "other"]


class TestCopy:
    def test_it_adds_a_name_on_the_same_server(self, ollama: FakeOllama, capsys: Capture) -> None:
        done = call(capsys, "copy", "ollama/llama3.2", "ollama/backup")
        assert (done.code, done.out) == (0, "copied ollama/llama3.2 to ollama/backup\n")
        assert any(name.startswith("backup") for name in _names(ollama))

    def test_another_model_is_replaced_only_with_force(
        self, ollama: FakeOllama, capsys: Capture
    ) -> None:
        refused = call(capsys, "copy", "ollama/llama3.2", "other")
        assert refused.code == 2 and "--force" in refused.err
        assert call(capsys, "copy", "ollama/llama3.2", "other", "--force").code == 0


class TestDelete:
    def test_with_yes_it_does_not_ask(self, ollama: FakeOllama) -> None:
        done = run("delete", "ollama/other", "--yes")
        assert (done.code, done.out, done.err) == (0, "deleted ollama/other\n", "")
        assert _names(ollama) == ["llama3.2"]

    def test_without_a_terminal_and_yes_nothing_is_sent(self, ollama: FakeOllama) -> None:
        done = run("delete", "ollama/other")
        assert (done.code, done.out) == (2, "") and "--yes" in done.err
        assert ollama.exchanges == []

    @pytest.mark.parametrize(
        ("typed", "is_deleted"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\x04", False)]
    )
    def test_a_person_is_asked(self, typed: str, is_deleted: bool, ollama: FakeOllama) -> None:
        done = at_terminal("delete", "ollama/other", typed=typed)
        assert "Delete ollama/other (2.02 GB)? [y/N] " in done.out
        assert done.code == (0 if is_deleted else 2)
        assert ("other" not in _names(ollama)) is is_deleted
        assert ("nothing was deleted" in done.out) is not is_deleted

    def test_no_input_never_asks(self, ollama: FakeOllama) -> None:
        done = at_terminal("delete", "ollama/other", "--no-input", typed="y\n")
        assert done.code == 2 and "[y/N]" not in done.out and "other" in _names(ollama)

    def test_a_missing_model_is_an_error_before_the_question(self, ollama: FakeOllama) -> None:
        done = at_terminal("delete", "ollama/nope", typed="y\n")
        assert done.code == 8 and "[y/N]" not in done.out

    def test_a_router_of_llamacpp_can_delete_too(self, capsys: Capture) -> None:
        with FakeLlamaCpp(["ggml-org/gemma-3-4b-it-GGUF:Q4_K_M", "other"]) as fake:
            name = fake.models[0].name
            done = call(capsys, "delete", name, "--yes", "--host", f"llamacpp={fake.url}")
            assert (done.code, done.out) == (0, f"deleted llamacpp/{name}\n")
            assert [model.name for model in fake.models] == ["other"]


class TestTheServer:
    @pytest.mark.parametrize("verb", ["push", "delete", "copy", "create"])
    def test_a_server_that_lacks_the_verb(
        self, verb: str, found: FakeLMStudio, capsys: Capture
    ) -> None:
        more = {"delete": ["--yes"], "copy": ["x"], "create": ["--from", "y"]}.get(verb, [])
        name = found.models[0].name
        done = call(capsys, verb, name, *more, "--host", f"lmstudio={found.url}")
        assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
        assert f"UnsupportedError: lmstudio cannot {verb} models; " in done.err
        assert "Ollama" in done.err

    def test_the_only_server_that_has_the_verb_and_the_model(
        self, found: FakeLMStudio, ollama: FakeOllama, capsys: Capture
    ) -> None:
        assert call(capsys, "copy", "llama3.2", "backup").out.endswith("to ollama/backup\n")
        done = call(capsys, "copy", found.models[0].name, "backup2")
        assert done.code == 8 and "ollama/llama3.2" in done.err

    def test_two_servers_with_the_model_are_ambiguous(
        self, ollama: FakeOllama, capsys: Capture
    ) -> None:
        with FakeOllama([FakeModel(name="other")]) as second:
            hosts = ["--host", f"ollama={ollama.url}", "--host", f"ollama={second.url}"]
            done = call(capsys, "delete", "other", "--yes", *hosts)
            assert (done.code, done.out) == (2, "")
            assert "ollama/other, ollama-2/other" in done.err
            assert _names(second) == ["other"] and "other" in _names(ollama)

    def test_no_server_that_has_the_verb(self, found: FakeLMStudio, capsys: Capture) -> None:
        hosts = ["--host", f"lmstudio={found.url}", "--host", f"lmstudio={found.url}"]
        done = call(capsys, "create", "new", "--from", "x", *hosts)
        assert done.code == 2 and "the servers on this machine cannot" in done.err


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([("pulling manifest", None, None, None)], (0.0, None)),
        ([("a", "x", 5, 10), ("a", "x", 10, 10), ("b", "y", 1, 20)], (11, 30)),
        ([("a", "x", 5, None)], (5, 5)),
        ([("a", "x", 9, 10), ("a", "x", 2, 10)], (2, 10)),
    ],
)
def test_the_bytes_of_all_files_are_added(
    reports: List[Tuple[str, Optional[str], Optional[int], Optional[int]]],
    expected: Tuple[float, Optional[float]],
) -> None:
    meter = Meter("t", None, BYTES)
    report = transfers.TransferMeter(meter)
    for status, digest, done, total in reports:
        report(Progress(status=status, digest=digest, completed_bytes=done, total_bytes=total))
    assert (meter.done, meter.total) == expected
    assert meter.step == reports[-1][0]
