"""No error shows a key or a prompt in its text, in its frames or in its pickle."""

from __future__ import annotations

import errno
import gzip
import json
import os
import pickle
import signal
import threading
import zlib
from typing import Any, Callable, Dict, List, Mapping

import pytest

from localproviders import (
    CancelToken,
    CompletionRequest,
    EmbeddingRequest,
    Message,
    ProviderError,
    ToolCall,
    TransportError,
)
from localproviders._http import connection
from localproviders._http import socket as bounded_socket
from localproviders._http.socket import BoundedSocket
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.fake_time import FakeTime
from tests.support.locality import (
    ANSWER,
    CALLS,
    KEY,
    PROMPT,
    PROVIDERS,
    Authority,
    after_model_list,
    frames_of,
    good,
    lines_with,
    make,
    visible_text,
)

_LISTING = ("list_models", "supports_model", "model_capabilities")
_ASKING = (
    "chat", "stream", "complete", "embed", "decide", "rerank", "parse", "run_tools", "stream_tools"
)  # fmt: skip
_CALLS: Mapping[str, Callable[..., Any]] = {
    **CALLS,
    "parse": lambda provider: provider.parse(PROMPT, {"type": "object"}),
    "rerank": lambda provider: provider.rerank(PROMPT, ["one", f"{PROMPT} two"]),
    "run_tools": lambda provider: provider.run_tools(PROMPT, [_look_up]),
    "stream_tools": lambda provider: provider.stream_tools(PROMPT, [_look_up]).result(),
}

# Each provider with each call that sends something. OllamaProvider refuses `rerank` itself.
_SENDING = [
    (kind, ask) for kind in PROVIDERS for ask in _CALLS if (kind, ask) != ("ollama", "rerank")
]


def _look_up(name: str) -> str:
    """Find a person."""
    return name


def _assert_clean(error: BaseException) -> None:
    seen = visible_text(error)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(error, protocol)
        seen += f"\n{data!r}\n{visible_text(pickle.loads(data))}"
    if isinstance(error, ProviderError):
        seen += f"\n{json.dumps(error.to_dict(), default=repr)}"
    for secret in (KEY, KEY[:9], PROMPT):
        assert lines_with(secret, seen) == []


# --- faults of a server -------------------------------------------------------------------


def _quotation(exchange: Exchange) -> bytes:
    """Return the key and the request body, which the server repeats in its response."""
    return b"%s %s" % (exchange.headers.get("authorization", "").encode(), exchange.body)


def _quoting(exchange: Exchange) -> Dict[str, Any]:
    return {"error": {"message": _quotation(exchange).decode(), "type": "invalid_request_error"}}


def _beginning(exchange: Exchange) -> str:
    """Return a message with the beginnings of key and prompt, as servers shorten a key."""
    prompt = PROMPT[:20] if PROMPT.encode() in exchange.body else ""
    return f"bad key {KEY[:12]}**** for {prompt}..."


def _ended(answer: bytes) -> List[Any]:
    return [answer, lambda exchange: exchange.close()]


def _raw(head: bytes, body: bytes = b"") -> List[Any]:
    return _ended(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head, body))


_SERVERS: Mapping[str, Callable[[Exchange], List[Any]]] = {
    "closes": lambda e: [lambda x: x.close()],
    "speaks no HTTP": lambda e: _ended(_quotation(e) + b"\r\n\r\n"),
    "echoes a status line": lambda e: _ended(b"HTTP/1.1 " + _quotation(e) + b"\r\n\r\n"),
    "echoes a version": lambda e: _ended(b"HTTP/9.9 200 " + _quotation(e) + b"\r\n\r\n"),
    "echoes as a header": lambda e: _raw(_quotation(e), b"{"),
    "echoes as a length": lambda e: _raw(b"Content-Length: " + _quotation(e)),
    "echoes two lengths": lambda e: _raw(b"Content-Length: 1\r\nContent-Length: 2"),
    "echoes as a chunk": lambda e: _raw(b"Transfer-Encoding: chunked", _quotation(e) + b"\r\n"),
    "has headers without end": lambda e: _raw(b"X: " + _quotation(e) * 1000),
    "quotes in a 401": lambda e: [http_answer(_quoting(e), status="401 Unauthorized")],
    "quotes in a 400": lambda e: [http_answer(_quoting(e), status="400 Bad Request")],
    "quotes in a 422": lambda e: [
        http_answer(
            {"detail": [{"type": "missing", "input": _quotation(e).decode()}]},
            status="422 Unprocessable Entity",
        )
    ],
    "quotes in words": lambda e: [http_answer(_quotation(e), status="500 No")],
    "quotes a beginning": lambda e: [http_answer(_beginning(e), status="403 Forbidden")],
    "quotes in a page": lambda e: [
        http_answer(b"<html>" + _quotation(e), status="502 Bad Gateway")
    ],
    "quotes under 200": lambda e: [http_answer(_quoting(e))],
    "quotes a model": lambda e: [
        http_answer(
            {"error": f"model '{_quotation(e).decode()}' not found"}, status="404 Not Found"
        )
    ],
    "quotes what it cannot": lambda e: [
        http_answer({"error": f"{_quotation(e).decode()} does not support this"}, status="400 No")
    ],
    "quotes in a header": lambda e: [
        http_answer(
            {"error": "wait"},
            status="429 Too Many",
            headers=[("Retry-After", PROMPT), ("WWW-Authenticate", KEY)],
        )
    ],
    "redirects": lambda e: [
        http_answer(_quotation(e), status="302 Found", headers=[("Location", "/" + KEY)])
    ],
    "sends broken JSON": lambda e: [http_answer(b'{"x": "' + _quotation(e))],
    "sends JSON of another kind": lambda e: [http_answer([_quotation(e).decode()])],
    "sends no UTF-8": lambda e: [http_answer(b"\xff" + _quotation(e))],
    "sends deep JSON": lambda e: [http_answer(b"[" * 200 + _quotation(e))],
    "sends too much": lambda e: [http_answer(_quotation(e) + b" " * 200_000)],
    "sends false gzip": lambda e: [
        http_answer(_quotation(e), headers=[("Content-Encoding", "gzip")])
    ],
    "sends cut gzip": lambda e: [
        http_answer(gzip.compress(_quotation(e))[:-9], headers=[("Content-Encoding", "gzip")])
    ],
    "sends a strange encoding": lambda e: [
        http_answer(zlib.compress(_quotation(e)), headers=[("Content-Encoding", "br")])
    ],
    "cuts": lambda e: _raw(b"Content-Length: 99999", _quotation(e)),
    "stalls": lambda e: [b"HTTP/1.1 200 OK\r\n\r\n" + _quotation(e), lambda x: x.hold()],
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("server_that", _SERVERS)
def test_no_error_of_any_call_shows_key_or_prompt(
    kind: str, server_that: str, fake_clock: FakeTime
) -> None:
    failing = _SERVERS[server_that]
    with ScriptedServer(failing) as server:
        with make(kind, server, api_key=KEY, timeout=0.2, max_body_bytes=100_000) as provider:
            for ask in _LISTING:
                with pytest.raises(ProviderError) as caught:
                    _CALLS[ask](provider)
                _assert_clean(caught.value)
    with ScriptedServer(lambda e: after_model_list(failing(e))(e)) as server:
        with make(kind, server, api_key=KEY, timeout=0.2, max_body_bytes=100_000) as provider:
            for ask in _ASKING:
                with pytest.raises(ProviderError) as caught:
                    _CALLS[ask](provider)
                _assert_clean(caught.value)


# --- errors within a stream ------------------------------------------------------------------------


def _record(kind: str, content: Any = "so far ") -> str:
    if kind == "ollama":
        return json.dumps({"model": "m", "message": {"content": content}, "done": False}) + "\n"
    chunk = {"model": "m", "choices": [{"delta": {"content": content}}]}
    return f"data: {json.dumps(chunk)}\n\n"


def _framed(kind: str, record: str) -> str:
    return record + "\n" if kind == "ollama" else f"data: {record}\n\n"


_RECORDS: Mapping[str, Callable[[Exchange], str]] = {
    "an error": lambda e: json.dumps(_quoting(e)),
    "an error in words": lambda e: json.dumps({"error": _quotation(e).decode()}),
    "broken JSON": lambda e: '{"a": ' + json.dumps(_quotation(e).decode()),
    "another type": lambda e: json.dumps([_quotation(e).decode()]),
    "a number as text": lambda e: json.dumps(
        {"model": "m", "done": False, "message": {"content": 7}, "x": _quotation(e).decode(),
         "choices": [{"delta": {"content": 7}}]}
    ),
    "a false tool call": lambda e: json.dumps(
        {"model": "m", "done": False, "message": {"tool_calls": [_quotation(e).decode()]},
         "choices": [{"delta": {"tool_calls": [_quotation(e).decode()]}}]}
    ),
    "a long line": lambda e: json.dumps(_quotation(e).decode() * 2000),
}  # fmt: skip


@pytest.mark.sample(13)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("record", _RECORDS)
def test_no_error_within_a_stream_shows_key_or_prompt(kind: str, record: str) -> None:
    media = "application/x-ndjson" if kind == "ollama" else "text/event-stream"

    def script(exchange: Exchange) -> List[Any]:
        body = _record(kind) + _framed(kind, _RECORDS[record](exchange))
        return [http_answer(body, content_type=media, chunked=True)]

    with ScriptedServer(lambda e: after_model_list(script(e))(e)) as server:
        with make(kind, server, api_key=KEY, max_line_bytes=100_000) as provider:
            for ask in ("chat", "stream"):
                with pytest.raises(ProviderError) as caught:
                    _CALLS[ask](provider)
                _assert_clean(caught.value)
                assert caught.value.partial == "so far "


_OTHER_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "stop": {"stop": [PROMPT]},
    "extra_body": {"extra_body": {"system": PROMPT, "options": {"more": [{"deep": PROMPT}]}}},
}


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("field", _OTHER_FIELDS)
def test_no_error_shows_the_texts_of_other_fields(kind: str, field: str) -> None:
    def echo(exchange: Exchange) -> List[bytes]:
        return [http_answer({"error": exchange.body.decode()}, status="400 Bad Request")]

    with ScriptedServer(lambda e: after_model_list(echo(e))(e)) as server:
        with make(kind, server, api_key=KEY) as provider:
            with pytest.raises(ProviderError) as caught:
                provider.chat("Hello", **_OTHER_FIELDS[field])
            _assert_clean(caught.value)


# --- before anything is sent --------------------------------------------------------------


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://127.0.0.1:1", {}),
        ("https://127.0.0.1:1", {}),
        ("http://10.0.0.1:9", {}),
        ("http://10.0.0.1:9", {"locality": "private"}),
        ("http://*x:9", {}),
        ("https://127.0.0.1:1", {"ca_bundle": "/no/such/file"}),
        ("https://127.0.0.1:1", {"client_cert": "/no/such/file"}),
    ],
)
def test_no_error_before_a_request_shows_key_or_prompt(kind: str, url: str, options: Any) -> None:
    with make(kind, url, api_key=KEY, **options) as provider:
        for call in _CALLS.values():
            with pytest.raises(ProviderError) as caught:
                call(provider)
            _assert_clean(caught.value)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("tls", ["untrusted", "none"])
def test_no_error_of_a_handshake_shows_key_or_prompt(
    kind: str, tls: str, authority: Authority
) -> None:
    with ScriptedServer(good, tls=authority.context()) as server:
        url = server.url if tls == "untrusted" else server.url.replace("https", "http")
        with make(kind, url, api_key=KEY, timeout=5) as provider:
            for call in _CALLS.values():
                with pytest.raises(ProviderError) as caught:
                    call(provider)
                _assert_clean(caught.value)


_CALL = ToolCall(id="c", name="f", arguments={"a": object()})
_IMPOSSIBLE: Mapping[str, Callable[[Any], Any]] = {
    "a value that is no JSON": lambda p: p.chat(PROMPT, extra_body={"a": object()}),
    "a number that is no JSON": lambda p: p.stream(PROMPT, extra_body={"a": float("nan")}),
    "a call that is no JSON": lambda p: p.chat([Message.assistant(PROMPT, [_CALL])]),
    "an unknown field": lambda p: p.chat(PROMPT, temprature=1),
    "an impossible field": lambda p: p.stream(PROMPT, system=PROMPT, max_tokens=-1),
    "an impossible role": lambda p: p.chat([{"role": "x", "content": PROMPT}]),
    "an unknown key": lambda p: p.chat([{"role": "user", "contents": PROMPT}]),
    "a missing key": lambda p: p.chat([{"content": PROMPT}]),
    "no message": lambda p: p.stream([PROMPT]),
    "an image that is none": lambda p: p.chat(
        [{"role": "user", "content": PROMPT, "images": [{"data": "x", "media_type": "y"}]}]
    ),
    "an empty text": lambda p: p.embed([PROMPT, ""]),
    "no text": lambda p: p.embed([PROMPT, 7]),
    "impossible dimensions": lambda p: p.embed(PROMPT, dimensions=0),
    "an impossible limit": lambda p: p.chat(PROMPT, timeout=-1),
    "no model": lambda p: p.chat(PROMPT, model=""),
}


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("what", _IMPOSSIBLE)
def test_no_error_of_wrong_arguments_shows_key_or_prompt(kind: str, what: str) -> None:
    model = None if what == "no model" else "m"
    with ScriptedServer(good) as server:
        with make(kind, server, api_key=KEY, model=model) as provider:
            with pytest.raises((ProviderError, ValueError, TypeError)) as caught:
                _IMPOSSIBLE[what](provider)
            _assert_clean(caught.value)

    assert all(exchange.method == "GET" for exchange in server.exchanges)


# --- calls that are cancelled or interrupted ------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
def test_no_cancelled_call_shows_key_or_prompt(kind: str) -> None:
    token = CancelToken()
    steps: List[Any] = [lambda _: token.cancel(), lambda e: e.hold()]
    asks: List[Callable[..., Any]] = [
        lambda p: p.chat(PROMPT, cancel=token),
        lambda p: p.stream(PROMPT, cancel=token),
        lambda p: p.complete(CompletionRequest(prompt=PROMPT), cancel=token),
        lambda p: p.embed(EmbeddingRequest(texts=(PROMPT,)), cancel=token),
    ]
    with ScriptedServer(after_model_list(steps)) as server, make(
        kind, server, api_key=KEY
    ) as provider:
        for ask in asks:
            with pytest.raises(ProviderError) as caught:
                ask(provider)
            _assert_clean(caught.value)


@pytest.mark.parametrize(("kind", "ask"), _SENDING)
def test_no_error_of_sending_shows_key_or_prompt(
    kind: str, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> Any:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(BoundedSocket, "bounded", lost)
    with ScriptedServer(good) as server, make(kind, server, api_key=KEY) as provider:
        with pytest.raises(TransportError) as caught:
            _CALLS[ask](provider)
    _assert_clean(caught.value)


def _interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.sample(17)
@pytest.mark.parametrize(("kind", "ask"), _SENDING)
@pytest.mark.parametrize("where", ["connecting", "sending", "waiting", "reading"])
def test_no_frame_of_this_package_shows_key_or_prompt_after_an_interrupt(
    kind: str, ask: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C passes unchanged with all its frames, so those of this package must hold neither."""
    if where == "connecting":
        monkeypatch.setattr(connection.resolve, "connect", _interrupted)
    if where == "sending":
        monkeypatch.setattr(BoundedSocket, "bounded", _interrupted)
    if where == "waiting":
        monkeypatch.setattr(bounded_socket._RawReader, "readinto", _interrupted)
    if where == "reading":
        monkeypatch.setattr(connection._HTTPResponse, "read1", _interrupted)
        monkeypatch.setattr(connection._HTTPResponse, "read", _interrupted)
        monkeypatch.setattr(bounded_socket.Reader, "buffered", _interrupted)
    with ScriptedServer(good) as server, make(kind, server, api_key=KEY) as provider:
        with pytest.raises(KeyboardInterrupt) as caught:
            _CALLS[ask](provider)
        # Frames of http.client hold the sent bytes; this package cannot change them.
        frames = "\n".join(frames_of(caught.value, "/localproviders/"))

    assert "_http/" in frames
    assert lines_with(KEY[:9], frames) == []
    assert lines_with(PROMPT, frames) == []


def test_no_frame_shows_key_or_prompt_after_a_real_interrupt() -> None:
    def script(exchange: Exchange) -> List[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return [lambda e: e.hold()]

    with ScriptedServer(script) as server, make("openai", server, api_key=KEY) as provider:
        with pytest.raises(KeyboardInterrupt) as caught:
            provider.chat(PROMPT, timeout=60)
            threading.Event().wait(60)  # the signal may come late to this thread
        frames = "\n".join(frames_of(caught.value, "/localproviders/"))

    assert lines_with(KEY[:9], frames) == []
    assert lines_with(PROMPT, frames) == []


# --- the text so far ------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
def test_only_the_attribute_partial_shows_the_text_so_far(kind: str) -> None:
    media = "application/x-ndjson" if kind == "ollama" else "text/event-stream"
    cut = http_answer(_record(kind, ANSWER), content_type=media)
    with ScriptedServer(after_model_list(_ended(cut))) as server, make(kind, server) as provider:
        with pytest.raises(ProviderError) as caught:
            provider.chat(PROMPT)
    error = caught.value

    assert error.partial == ANSWER
    assert ANSWER not in f"{error}{error!r}{error.args}"
    assert lines_with(ANSWER, "\n".join(frames_of(error))) == []
