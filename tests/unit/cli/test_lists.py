"""The verbs ``models``, ``show`` and ``ps``."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta, timezone
from typing import Iterator, List, Optional, Tuple

import pytest

from localproviders import LoadedModel, ModelCapabilities, ModelInfo
from localproviders.cli import lists
from localproviders.discovery import forget
from localproviders.testing import (
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
)
from tests.support.model_command import at_terminal, call, run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    models = [FakeModel(name="llama3.2", loaded=True), FakeModel(name="qwen3:8b")]
    with FakeOllama(models) as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        yield fake


@pytest.fixture
def servers(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tuple[FakeOllama, FakeLMStudio]]:
    """Two servers that a search finds; no other server of this machine is found."""
    with FakeLMStudio() as lmstudio:
        ports = {lmstudio.port: "LM Studio"}
        monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", lambda: ports)
        forget()
        yield ollama, lmstudio


def test_models_of_all_servers_that_are_found(
    servers: Tuple[FakeOllama, FakeLMStudio], capsys: Capture
) -> None:
    done = call(capsys, "models")
    assert done.code == 0 and done.err == ""
    names = [row[0] for row in done.rows]
    assert names[:2] == ["ollama/llama3.2:latest", "ollama/qwen3:8b"]
    assert names[2].startswith("lmstudio/")
    (row, *_) = done.rows
    assert row[1:] == ["2.02", "3.2B", "Q4_K_M", "131072", "yes", "chat,completion,tools"]


def test_the_model_of_the_configuration_hides_no_server(
    servers: Tuple[FakeOllama, FakeLMStudio], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALPROVIDERS_MODEL", "lmstudio/qwen/qwen3-4b")
    assert {row[0].split("/")[0] for row in call(capsys, "models").rows} == {"ollama", "lmstudio"}


def test_models_of_one_server(servers: Tuple[FakeOllama, FakeLMStudio], capsys: Capture) -> None:
    by_model = call(capsys, "models", "-m", "ollama/any")
    by_host = call(capsys, "models", "--host", servers[0].url)
    assert by_model.out == by_host.out
    assert len(by_model.rows) == 2


def test_models_as_one_object(ollama: FakeOllama, capsys: Capture) -> None:
    found = call(capsys, "models", "-m", "ollama/x", "--json").json
    assert [each["name"] for each in found["models"]] == ["llama3.2:latest", "qwen3:8b"]
    assert [each["loaded"] for each in found["models"]] == [True, False]
    assert found["errors"] == []


def test_a_server_that_fails_is_named_and_the_others_are_listed(
    ollama: FakeOllama, capsys: Capture
) -> None:
    words = ["--host", f"ollama={ollama.url}", "--host", "lmstudio=http://127.0.0.1:9"]
    done = call(capsys, "models", *words)
    assert done.code == 0 and len(done.rows) == 2
    assert done.err.startswith("localproviders models: warning: lmstudio is left out: ")
    found = call(capsys, "models", "--json", *words).json
    assert [each["provider"] for each in found["errors"]] == ["lmstudio"]


def test_no_server_that_answers_is_the_error_of_the_library(capsys: Capture) -> None:
    one = call(capsys, "models", "--host", "ollama=http://127.0.0.1:9")
    assert one.code == 5 and one.out == ""
    hosts = ["--host", "ollama=http://127.0.0.1:9", "--host", "lmstudio=http://127.0.0.1:9"]
    both = call(capsys, "models", *hosts)
    assert both.code == 11 and both.out == ""
    assert both.err.count("\n") == 1 and "lmstudio: " in both.err


def test_a_model_without_a_server_chooses_no_list(capsys: Capture) -> None:
    done = call(capsys, "ps", "-m", "llama3.2")
    assert (done.code, done.out) == (2, "")
    assert "-m SERVER/MODEL" in done.err


def test_an_empty_list_says_so_on_standard_error(capsys: Capture) -> None:
    with FakeOllama([]) as fake:
        done = call(capsys, "models", "--host", f"ollama={fake.url}")
        assert (done.code, done.out) == (0, "") and "no models" in done.err
        assert call(capsys, "ps", "--host", f"ollama={fake.url}").err.endswith("in memory\n")
        quiet = call(capsys, "models", "-q", "--host", f"ollama={fake.url}")
        assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_ps_lists_the_models_in_memory(ollama: FakeOllama, capsys: Capture) -> None:
    done = call(capsys, "ps", "-m", "ollama/x")
    assert done.rows == [["ollama/llama3.2:latest", "2.02", "0.00", "4096", "-"]]
    found = call(capsys, "ps", "-m", "ollama/x", "--json").json
    assert [each["name"] for each in found["models"]] == ["llama3.2:latest"]


def test_ps_of_a_server_that_cannot_list_them_is_unsupported(capsys: Capture) -> None:
    with FakeOpenAICompatible() as fake:
        done = call(capsys, "ps", "--host", f"openai-compatible={fake.base_url}")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("localproviders ps: UnsupportedError: ")


def test_a_row_names_another_instance_and_the_local_time() -> None:
    at = datetime(2024, 5, 1, 12, 30, tzinfo=timezone(timedelta(hours=3)))
    loaded = LoadedModel(name="m", provider="lmstudio", instance="m:2", expires_at=at)
    name, *_, until = lists._loaded_row(loaded)
    assert name == "lmstudio/m:2"
    assert datetime.fromisoformat(until).astimezone() == at


def test_the_name_in_a_row_is_accepted_by_the_other_verbs(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    copies = [FakeModel(name="qwen/q", instance="qwen/q:2", loaded=True)]
    with FakeLMStudio(copies) as fake:
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_LMSTUDIO_ENDPOINT", fake.url)
        ((name, *_),) = call(capsys, "ps").rows
        assert call(capsys, "unload", name).code == 0
        assert call(capsys, "ps", "--json").json["models"] == []


def test_a_cloud_model_is_marked() -> None:
    facts = ModelCapabilities(remote=True, remote_host="https://ollama.com")
    row = lists._model_row(ModelInfo(name="m", provider="ollama", capabilities=facts))
    assert row[1] == "on-https://ollama.com"


class TestShow:
    def test_every_fact_has_its_source(self, ollama: FakeOllama, capsys: Capture) -> None:
        done = call(capsys, "show", "ollama/llama3.2")
        assert done.code == 0
        facts = {line[:19].strip(): line[19:].split() for line in done.out.splitlines()[1:]}
        digest = ollama.digest_of(ollama.models[0])
        assert facts["digest"] == [digest, "reported", "-"]
        assert facts["size"][:3] == ["2.02", "GB", "reported"]
        assert facts["longest context"][:2] == ["131072", "reported"]
        assert facts["loaded context"][:2] == ["4096", "reported"]
        assert facts["loaded"][0] == "yes" and facts["template"][0] == "yes"
        assert facts["tools"][:2] == ["yes", "reported"]
        assert facts["structured output"][:2] == ["yes", "assumed"]

    def test_a_model_that_is_not_loaded(self, ollama: FakeOllama, capsys: Capture) -> None:
        found = call(capsys, "show", "ollama/qwen3:8b", "--json").json
        assert found["loaded"] is False
        assert "loaded_context_length" not in found["capabilities"]
        assert found["capabilities"]["evidence"]["tools"]["source"] == "reported"

    def test_a_model_of_any_server(
        self, servers: Tuple[FakeOllama, FakeLMStudio], capsys: Capture
    ) -> None:
        done = call(capsys, "show", "qwen/qwen3-4b", "--json")
        assert (done.json["provider"], done.json["template"]) == ("lmstudio", None)

    def test_the_template_of_llamacpp(self, capsys: Capture) -> None:
        with FakeLlamaCpp([FakeModel(name="m", loaded=True)]) as fake:
            done = call(capsys, "show", "m", "--host", f"llamacpp={fake.url}", "--json")
        assert done.json["template"] == "yes"

    def test_a_model_whose_template_is_only_the_prompt(
        self, ollama: FakeOllama, capsys: Capture
    ) -> None:
        ollama.made["llama3.2:latest"] = {"template": "{{ .Prompt }}"}
        assert call(capsys, "show", "ollama/llama3.2", "--json").json["template"] == "no"

    @pytest.mark.parametrize(("text", "expected"), [(None, None), ("", "no"), ("{{ x }}", "yes")])
    def test_a_template_that_is_not_reported_is_unknown(
        self, text: Optional[str], expected: Optional[str]
    ) -> None:
        assert lists._is_template(text) == expected

    def test_a_missing_model_names_those_there(self, ollama: FakeOllama, capsys: Capture) -> None:
        done = call(capsys, "show", "ollama/llama9")
        assert (done.code, done.out) == (8, "")
        assert done.err.count("\n") == 1
        assert "qwen3:8b" in done.err and "localproviders models" in done.err


@pytest.mark.parametrize("words", [["show"], ["show", "a", "b"], ["show", ""], ["models", "x"]])
def test_wrong_arguments_are_one_line(words: List[str], capsys: Capture) -> None:
    done = call(capsys, *words)
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1


def test_the_table_fits_into_the_terminal(ollama: FakeOllama) -> None:
    wide = run("show", "ollama/llama3.2")
    narrow = at_terminal("show", "ollama/llama3.2", columns=60)
    assert (wide.code, narrow.code) == (0, 0)
    assert max(map(len, wide.out.splitlines())) > 100 and "\x1b" not in wide.out
    lines = narrow.out.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert len(lines) == len(wide.out.splitlines())
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(
    ("words", "environ", "is_colored"),
    [([], {}, True), ([], {"NO_COLOR": "1"}, False), (["--color", "never"], {}, False)],
)
def test_a_terminal_gets_colors_unless_they_are_off(
    words: List[str], environ: dict, is_colored: bool, ollama: FakeOllama
) -> None:
    done = at_terminal("ps", "-m", "ollama/x", *words, **environ)
    assert done.code == 0 and ("\x1b[1m" in done.out) is is_colored


def test_color_always_is_for_a_pager(ollama: FakeOllama) -> None:
    assert "\x1b[1m" in run("ps", "-m", "ollama/x", "--color", "always").out


@pytest.mark.parametrize("verb", ["models", "ps"])
def test_the_timeout_holds_for_each_of_several_servers(
    verb: str, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_SILENT_ENDPOINT", address)
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_SILENT_KIND", "ollama")
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_OLLAMA_ENDPOINT", ollama.url)
        done = call(capsys, verb, "--timeout", "0.5")
    assert done.code == 0
    assert "warning: silent is left out: total_s of 0.5 s" in done.err


def test_a_host_keeps_the_limits_that_are_configured_for_it(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_OLLAMA_ENDPOINT", address)
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_OLLAMA_LIMITS_TOTAL_S", "0.5")
        done = call(capsys, "models", "--host", f"ollama={address}")
    assert "total_s of 0.5 s" in done.err
