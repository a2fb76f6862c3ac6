"""Recorded traffic answers as the server did, and holds no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from localproviders import (
    AuthenticationError,
    LimitError,
    LMStudioProvider,
    OllamaProvider,
    ProviderError,
    ServerError,
    StreamInterruptedError,
)
from localproviders.testing import FakeLMStudio, FakeOllama, Recorder, Replayer, ScriptedServer


def test_a_replay_answers_as_the_server_did(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    with FakeOllama() as real, Recorder(file, real.url) as server:
        real.reply_with("Grün, 你好 😀", "two")
        with OllamaProvider(server.url, model="llama3.2") as provider:
            texts = [provider.chat("Hi").text, provider.chat("Hi").text]
            vectors = provider.embed("a dog", model="nomic-embed-text").embeddings
            names = [info.name for info in provider.list_models()]

    with Replayer(file) as server, OllamaProvider(server.url, model="llama3.2") as provider:
        assert [provider.chat("Hi").text, provider.chat("Hi").text] == texts
        assert provider.chat("Hi").text == texts[-1]
        assert provider.embed("a dog", model="nomic-embed-text").embeddings == vectors
        assert [info.name for info in provider.list_models()] == names


def test_what_was_not_recorded_is_said(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text("")
    with Replayer(file) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(ServerError, match="was not recorded"):
            provider.list_models()


@pytest.mark.parametrize("line", ["{", "[]", '{"method": "GET"}', '"x"'])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1: no recording"):
        Replayer(file)


def test_no_secret_is_written(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    key = "sk-lm-abcdefgh:12345678901234567890"
    with FakeLMStudio(api_key=key) as real, Recorder(file, real.url, secrets=["Alice"]) as server:
        with LMStudioProvider(server.url, model="qwen/qwen3-4b", api_key=key) as provider:
            provider.chat("My name is Alice, and my key " + key)
        with LMStudioProvider(server.url, model="x", api_key=key + "0") as provider:
            with pytest.raises(AuthenticationError):
                provider.chat("Hi")

    written = file.read_text()
    assert key not in written and "Alice" not in written
    assert json.loads(written.splitlines()[0])["headers"]["authorization"] == "**********"


def test_a_cookie_of_the_server_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=hush\r\nContent-Length: 2\r\n\r\nok"
    with ScriptedServer(lambda _: [answer, lambda e: e.close()]) as real:
        with Recorder(file, real.url) as server:
            with requests.Session() as session:
                session.trust_env = False
                assert session.get(server.url, headers={"Cookie": "mine=hush"}).text == "ok"

    assert "hush" not in file.read_text()


def test_an_answer_that_was_cut_is_replayed_cut(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    with FakeOllama() as real, Recorder(file, real.url) as server:
        real.break_next("body cut")
        with OllamaProvider(server.url, model="llama3.2") as provider:
            with pytest.raises(StreamInterruptedError) as live:
                provider.chat("Hi")
    with Replayer(file) as server, OllamaProvider(server.url, model="llama3.2") as provider:
        with pytest.raises(StreamInterruptedError) as again:
            provider.chat("Hi")

    assert again.value.partial == live.value.partial == "Hello"


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    with FakeOllama() as real, Recorder(file, real.url) as server:
        real.break_next("gzip", path="/api/tags")
        with OllamaProvider(server.url) as provider:
            names = [info.name for info in provider.list_models()]
    with Replayer(file) as server, OllamaProvider(server.url) as provider:
        assert [info.name for info in provider.list_models()] == names


def test_a_real_server_that_is_down_is_no_answer(tmp_path: Path) -> None:
    with Recorder(tmp_path / "traffic.jsonl", "http://127.0.0.1:1") as server:
        with OllamaProvider(server.url) as provider, pytest.raises(ProviderError):
            provider.list_models()


@pytest.mark.parametrize("key", ["test", "a-longer-key"])
def test_a_key_that_stands_in_the_prompt_is_replayed(tmp_path: Path, key: str) -> None:
    file = tmp_path / "traffic.jsonl"
    with FakeOllama() as real, Recorder(file, real.url, secrets=["Bob"]) as server:
        with OllamaProvider(server.url, model="llama3.2", api_key=key) as provider:
            text = provider.chat(f"this is a {key} of Bob").text
    with Replayer(file, secrets=["Bob"]) as server:
        with OllamaProvider(server.url, model="llama3.2", api_key=key) as provider:
            assert provider.chat(f"this is a {key} of Bob").text == text


def test_a_client_that_leaves_lets_the_real_server_go(tmp_path: Path) -> None:
    with FakeOllama() as real, Recorder(tmp_path / "traffic.jsonl", real.url) as server:
        real.break_next("silence")
        with OllamaProvider(server.url, model="llama3.2") as provider:
            with pytest.raises(LimitError):
                provider.chat("Hi", timeout=0.3)
        assert real.exchanges[-1].client_gone.wait(5)
