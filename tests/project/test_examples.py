"""Every example runs as a script, against a loopback server."""

from __future__ import annotations

import contextlib
import runpy
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

from localproviders.engine import LocalEngine, why_missing
from localproviders.engine.models import RECIPES, open_model, path_of
from tests.support.docs import ROOT, Servers, running

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# The arguments that each example runs with; a test below checks that no example is missing.
ARGUMENTS = {
    "any_server.py": [],
    "cancel_from_thread.py": ["0.2"],
    "choose_model.py": ["tools"],
    "cloud_switch.py": [],
    "embeddings_nearest.py": [],
    "lmstudio_chat.py": [],
    "lmstudio_conversation.py": [],
    "ollama_chat.py": ["llama3.2"],
    "pull_with_progress.py": ["qwen3:0.6b"],
    "stream_to_file.py": ["answer.txt", "Why is the sky blue?"],
    "structured.py": ["letter.txt"],
    "tools.py": [],
}

EXPECTED = {
    "any_server.py": "ollama / llama3.2: The sky scatters blue.",
    "cancel_from_thread.py": "cancelled; the text so far has",
    "choose_model.py": "llama3.2:latest: tools=True (reported: POST /api/show",
    "cloud_switch.py": "ollama / llama3.2: The sky scatters blue.",
    "embeddings_nearest.py": "Either party may end this contract",
    "lmstudio_chat.py": "The sky scatters blue.\n[4 tokens in",
    "lmstudio_conversation.py": "> And how high is it?\nThe sky scatters blue.",
    "ollama_chat.py": "The sky scatters blue.\n[llama3.2, 11 tokens, finish reason: stop]",
    "pull_with_progress.py": "] 100%\nverifying sha256 digest",
    "stream_to_file.py": "",
    "structured.py": '{"sender": "Oslo", "date": "Oslo", "topics": ["Oslo"], "wants_answer": true}',
    "tools.py": "[list_files({'pattern': 'Oslo'}): done]\nThe sky scatters blue.",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Servers]:
    monkeypatch.chdir(str(tmp_path))
    for name in ("CHAT_BASE_URL", "CHAT_MODEL", "LOCALPROVIDERS_LOCALITY", "LM_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running() as servers:
        monkeypatch.setenv("OLLAMA_HOST", servers.ollama.url)
        monkeypatch.setenv("LOCALPROVIDERS_MODEL", "ollama/llama3.2")
        monkeypatch.setattr("localproviders.lmstudio.provider._PORT", servers.lmstudio.port)
        yield servers


def run(name: str, arguments: List[str], monkeypatch: pytest.MonkeyPatch) -> int:
    path = str(ROOT / "examples" / name)
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES} == {*ARGUMENTS, "local_engine.py"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_has_a_main(path: object) -> None:
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert len(text.splitlines()) < 41
    assert "\ndef main() -> " in text


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_example(
    name: str,
    server: Servers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("letter.txt").write_text("Dear all.", encoding="utf-8")
    assert run(name, ARGUMENTS[name], monkeypatch) == 0
    assert EXPECTED[name] in capsys.readouterr().out


def test_the_file_is_complete_and_no_temporary_file_is_left(
    server: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    assert run("stream_to_file.py", ["out.txt", "Why?"], monkeypatch) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {  # type: ignore[attr-defined]
        "out.txt": "The sky scatters blue."
    }


@pytest.mark.usefixtures("fake_clock")
def test_cron_gets_the_exit_code_of_the_error(
    server: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # a closed port
    assert run("stream_to_file.py", ["out.txt", "Why?"], monkeypatch) == 5
    assert "cannot be reached" in capsys.readouterr().err


def test_environment_variables_switch_to_a_cloud_service(
    server: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAT_BASE_URL", server.openai.base_url)
    monkeypatch.setenv("CHAT_MODEL", "some-model")
    monkeypatch.setenv("CHAT_API_KEY", "a-test-key")
    assert run("cloud_switch.py", [], monkeypatch) == 0
    assert "openai-compatible / some-model: The sky scatters blue." in capsys.readouterr().out
    exchange = server.openai.exchanges[0]
    assert exchange.path == "/v1/chat/completions"
    assert exchange.headers["authorization"] == "Bearer a-test-key"
    assert exchange.json["model"] == "some-model"


_ENDPOINT, _KIND = "LOCALPROVIDERS_SERVERS_{}_ENDPOINT", "LOCALPROVIDERS_SERVERS_{}_KIND"

#: The variables with which the same script asks another server, and the beginning of its output.
#: The words in braces stand for the addresses of the fake servers.
_ANYWHERE: List[Tuple[Dict[str, str], str]] = [
    ({"LOCALPROVIDERS_MODEL": "ollama/llama3.2"}, "ollama / llama3.2"),
    ({"LOCALPROVIDERS_MODEL": "lmstudio/qwen/qwen3-4b"}, "lmstudio / qwen/qwen3-4b"),
    (
        {
            "LOCALPROVIDERS_MODEL": "openai-compatible/some-model",
            _ENDPOINT.format("OPENAI_COMPATIBLE"): "{openai}",
        },
        "openai-compatible / some-model",
    ),
    (
        {
            "LOCALPROVIDERS_MODEL": "gpu-box/some-model",
            _ENDPOINT.format("GPU_BOX"): "{openai}",
            _KIND.format("GPU_BOX"): "openai-compatible",
        },
        "gpu-box / some-model",
    ),
    (
        {
            "LOCALPROVIDERS_MODEL": "box/llama3.2",
            _ENDPOINT.format("BOX"): "{ollama}",
            _KIND.format("BOX"): "ollama",
        },
        "box / llama3.2",
    ),
    (
        {"LOCALPROVIDERS_MODEL": "llamacpp/my-model", _ENDPOINT.format("LLAMACPP"): "{llamacpp}"},
        "llamacpp / my-model",
    ),
]


@pytest.mark.parametrize(("variables", "expected"), _ANYWHERE)
def test_one_script_asks_any_server_by_the_environment_alone(
    server: Servers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: Dict[str, str],
    expected: str,
) -> None:
    addresses = {"openai": server.openai.base_url, "ollama": server.ollama.url}
    addresses["llamacpp"] = server.llamacpp.url
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(**addresses))
    assert run("any_server.py", [], monkeypatch) == 0
    assert capsys.readouterr().out == f"{expected}: The sky scatters blue.\n"


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(why_missing() is not None, reason=str(why_missing()))
@pytest.mark.parametrize("kind", ["llamacpp", "openai-compatible", "gguf"])
def test_the_same_script_asks_the_engine(
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        if kind == "gguf":
            file = stack.enter_context(open_model(RECIPES["chat"], tmp_path))
            model = path_of(file)
        else:
            settings = stack.enter_context(LocalEngine("chat")).settings
            assert settings.api_key is not None and settings.model is not None
            model, name = settings.model, kind.upper().replace("-", "_")
            address = settings.endpoint.at("" if kind == "llamacpp" else "/v1")
            prefix = f"LOCALPROVIDERS_SERVERS_{name}"
            monkeypatch.setenv(f"{prefix}_ENDPOINT", address)
            monkeypatch.setenv(f"{prefix}_API_KEY", settings.api_key.reveal())
        monkeypatch.setenv("LOCALPROVIDERS_MODEL", f"{kind}/{model}")
        assert run("any_server.py", [], monkeypatch) == 0
    name, _, text = capsys.readouterr().out.partition(": ")
    assert name.startswith(f"{kind} / ") and text.strip()


@pytest.mark.slow
@pytest.mark.engine
def test_the_engine_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from localproviders import DependencyError

    try:
        assert run("local_engine.py", [], monkeypatch) == 0
    except DependencyError as error:
        pytest.skip(str(error))
    assert "2 vectors of 384 numbers" in capsys.readouterr().out
