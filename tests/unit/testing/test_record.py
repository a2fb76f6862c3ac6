"""Replayed traffic has the responses of the recorded server, and contains no secret."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Callable, List
from urllib.parse import quote

import pytest
import requests

from localproviders import (
    AuthenticationError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    LMStudioProvider,
    Message,
    OllamaProvider,
    ProviderError,
    RequestRejectedError,
    StreamInterruptedError,
    ToolCall,
)
from localproviders._credentials import is_key_header
from localproviders.testing import (
    FakeLMStudio,
    FakeOllama,
    Recorder,
    Replayer,
    Reply,
    ScriptedServer,
)
from localproviders.testing.redaction import redact, redact_answer, secrets_of
from localproviders.testing.secret_parts import mask_parts
from tests.support.timing import GRACE_S


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


def test_a_server_at_a_unix_socket_is_recorded(tmp_path: Path, socket_path: str) -> None:
    file = tmp_path / "traffic.jsonl"
    with FakeOllama(unix=socket_path) as real, Recorder(file, real.url) as server:
        with OllamaProvider(server.url, model="llama3.2") as provider:
            text = provider.chat("Hi").text
        assert real.exchanges[-1].headers["host"] == "localhost"

    with Replayer(file) as server, OllamaProvider(server.url, model="llama3.2") as provider:
        assert provider.chat("Hi").text == text


def test_what_was_not_recorded_is_said(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text("")
    with Replayer(file) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(RequestRejectedError, match="was not recorded") as caught:
            provider.list_models()
        assert (caught.value.status, caught.value.retryable) == (400, False)
        assert len(server.exchanges) == 1


def test_a_replay_begins_again_after_rewind(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    with FakeOllama() as real, Recorder(file, real.url) as server:
        real.reply_with("one", "two")
        with OllamaProvider(server.url, model="llama3.2") as provider:
            texts = [provider.chat("Hi").text, provider.chat("Hi").text]

    with Replayer(file) as server, OllamaProvider(server.url, model="llama3.2") as provider:
        for _ in range(2):
            assert [provider.chat("Hi").text, provider.chat("Hi").text] == texts
            server.rewind()


@pytest.mark.parametrize("line", ["{", "[]", '{"method": "GET"}', '"x"', "[" * 200_000])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1: not a recording"):
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


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + _HEAD + b"Set-Cookie: s=hush-hush\r\n\r\n",
        _HEAD + b"Set-Cookie: a=b;\r\n s=hush-hush\r\n\r\n",
        _HEAD + b"Set-Cookie : s=hush-hush\r\n\r\n",
        _HEAD + b"X-Auth-Token: hush-hush\r\n\r\n",
        _CHUNKED + b"2\r\n{}\r\n0\r\nSet-Cookie: s=hush-hush\r\n\r\n",
        _CHUNKED + b"5\r\nhush-\r\n4;x=y\r\nhush\r\n0\r\n\r\n",
    ],
)
def test_no_framing_hides_a_secret_of_an_answer(answer: bytes) -> None:
    redacted = redact_answer(answer, ["hush-hush"])
    assert b"hush" not in redacted
    assert redacted.partition(b"\r\n\r\n")[2].count(b"\r\n") <= answer.count(b"\r\n")


def test_chunks_keep_their_lengths() -> None:
    redacted = redact_answer(_CHUNKED + b"5\r\nhush-\r\n4\r\nhush\r\n0\r\n\r\n", ["hush-hush"])
    assert redacted == _CHUNKED + b"5\r\n*****\r\n4\r\n****\r\n0\r\n\r\n"


@pytest.mark.parametrize("spell", [str, json.dumps, quote, lambda text: quote(text, "")])
def test_no_spelling_hides_a_secret(spell: Callable[[str], str]) -> None:
    secret = 'pässwört/"lang"'
    assert "lang" not in redact(spell(secret), [secret])
    assert b"lang" not in redact_answer(_HEAD + b"\r\n" + spell(secret).encode(), [secret])


def test_a_key_in_pieces_or_cut_off_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    key = "sk-super-secret-1234567890"
    said = Reply(text="It is sk-super-secret-", thinking="sk- super-secret- 1234567890")
    with FakeLMStudio(api_key=key) as real, Recorder(file, real.url) as server:
        with LMStudioProvider(server.url, model="qwen/qwen3-4b", api_key=key) as provider:
            real.usual = said
            first = provider.chat("Which key?")
            provider.chat([Message.user("Which?"), first.message, Message.user(key[-9:])])
            real.usual = lambda _: Reply(
                text="", tool_calls=(ToolCall(id="1", name="f", arguments={"k": key}),)
            )
            provider.chat("Call.")

    written = file.read_text()
    assert "super-se" not in written and "67890" not in written
    assert all(json.loads(line)["answer"] for line in written.splitlines())


def _stream(*texts: str) -> bytes:
    """Return a stream with these texts, each in a chunk and an event of its own."""
    events = [b"data: " + json.dumps({"id": 1, "text": text}).encode() + b"\n\n" for text in texts]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    return _CHUNKED + chunked + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (_stream("a hu", "sh-", "hush", " b"), ["a **", "***", "****", " b"]),
        (_stream(*"hush-hush!"), [*"*" * 9, "!"]),
        (_stream("hush-hus", "h is it"), ["*" * 8, "* is it"]),
        (_stream("ush-hush"), ["*" * 8]),
        (_stream("hush-hu", "-sh"), ["hush-hu", "-sh"]),
    ],
)
def test_the_pieces_of_a_secret_are_masked(answer: bytes, left: List[str]) -> None:
    redacted = redact_answer(answer, ["hush-hush"])
    texts = re.findall(r'"text": "(.*?)"', redacted.decode())
    assert texts == left
    assert len(redacted) == len(answer)


@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_masked_escape_is_still_json(is_ascii: bool) -> None:
    secret = 'ä"ö\\ü\n1234567890'
    body = json.dumps({"a": secret[:12] + "!"}, ensure_ascii=is_ascii).encode()
    masked = json.loads(mask_parts(body, [secret]))["a"]
    assert set(masked) == {"*", "!"}
    assert mask_parts(body[:-5], [secret]).count(b"*") > 0  # a body that was cut in the string
    assert mask_parts(b'{"a": 1234567890, "b": "12345"}', [secret]).count(b"*") == 0


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("authorization", "Basic " + base64.b64encode(b"me:hush-hush").decode()),
        ("cookie", "theme=dark; session=hush-hush"),
        ("authorization", "bearer  hush-hush"),
        ("x-goog-api-key", "hush-hush"),
        ("x-auth-token", "hush-hush"),
        ("my_secret", "hush-hush"),
    ],
)
def test_the_secret_part_of_a_header_is_known(header: str, value: str) -> None:
    assert is_key_header(header) and "hush-hush" in secrets_of({header: value})


def test_ordinary_headers_are_kept() -> None:
    answer = _HEAD + b"x-ratelimit-remaining-tokens: 149984\r\nWWW-Authenticate: Bearer\r\n\r\nok"
    assert redact_answer(answer, []) == answer


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


def cancel_once_asked(server: FakeOllama, token: CancelToken) -> None:
    until = time.monotonic() + GRACE_S
    while "/api/chat" not in [e.path for e in server.exchanges] and time.monotonic() < until:
        time.sleep(0.001)
    token.cancel()


def test_a_client_that_leaves_lets_the_real_server_go(tmp_path: Path) -> None:
    with FakeOllama() as real, Recorder(tmp_path / "traffic.jsonl", real.url) as server:
        real.break_next("silence")
        with OllamaProvider(server.url, model="llama3.2") as provider:
            token = CancelToken()
            leaver = threading.Thread(target=cancel_once_asked, args=(real, token))
            leaver.start()
            with pytest.raises(CancelledError):
                provider.chat("Hi", cancel=token)
            leaver.join()
        assert real.exchanges[-1].client_gone.wait(GRACE_S)


# --- the file, which holds prompts -----------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
needs_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give a file to another user"
)
_NOWHERE = "http://127.0.0.1:1"


def _record(file: Path) -> str:
    with FakeOllama() as real, Recorder(file, real.url) as server:
        with OllamaProvider(server.url, model="llama3.2") as provider:
            provider.chat("a private prompt")
    return file.read_text("utf-8")


@posix
def test_a_new_file_is_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert "private prompt" in _record(tmp_path / "traffic.jsonl")
    finally:
        os.umask(before)
    assert (tmp_path / "traffic.jsonl").stat().st_mode & 0o777 == 0o600


@posix
def test_a_file_that_is_there_keeps_its_lines_and_rights(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    before = _record(file)
    file.chmod(0o644)
    assert _record(file).startswith(before)
    assert file.stat().st_mode & 0o777 == 0o644


@posix
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_not_followed(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "target"
    if there:
        target.write_text("theirs")
    link = tmp_path / "traffic.jsonl"
    link.symlink_to(target)
    with pytest.raises(ConfigurationError, match="symbolic link") as caught:
        Recorder(link, _NOWHERE)
    assert str(link) in caught.value.message
    assert target.exists() is there and (not there or target.read_text() == "theirs")


@posix
def test_a_link_that_comes_later_is_not_followed(tmp_path: Path) -> None:
    link, target = tmp_path / "traffic.jsonl", tmp_path / "target"
    with pytest.raises(ConfigurationError, match="symbolic link"):
        with FakeOllama() as real, Recorder(link, real.url) as server:
            link.unlink()
            link.symlink_to(target)
            with OllamaProvider(server.url, model="llama3.2") as provider:
                provider.chat("a private prompt")
    assert not target.exists()


@posix
def test_a_pipe_is_refused_in_time(tmp_path: Path) -> None:
    pipe = tmp_path / "traffic.jsonl"
    os.mkfifo(str(pipe))
    with pytest.raises(OSError, match="No such device"):
        Recorder(pipe, _NOWHERE)
    reader = os.open(str(pipe), os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ConfigurationError, match="not a regular file"):
            Recorder(pipe, _NOWHERE)
    finally:
        os.close(reader)


@needs_root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text("")
    os.chown(file, 65534, -1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        Recorder(file, _NOWHERE)
    assert file.read_text() == ""


def test_a_body_that_is_nested_too_deep_is_compared_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    entry = {
        "method": "POST",
        "path": "/x",
        "body": "[" * 200_000,
        "answer": "HTTP/1.1 204 No\r\n\r\n",
    }
    file.write_text(json.dumps(entry) + "\n")
    with Replayer(file) as server:  # the line is accepted
        assert server.url
