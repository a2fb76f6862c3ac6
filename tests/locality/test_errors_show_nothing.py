"""Whatever fails, neither key nor prompt is in the error, in its frames, or in its pickle."""

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
    LinkError,
    Message,
    ProviderError,
    ToolCall,
)
from localproviders._http import connection, reading
from localproviders._http.connection import BoundedSocket
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.locality.support import (
    ANSWER,
    CALLS,
    KEY,
    PROMPT,
    PROVIDERS,
    Authority,
    find,
    frames_of,
    good,
    make,
    only_asking,
    shown,
)

_LISTING = ("list_models", "supports_model", "model_capabilities")
_ASKING = ("chat", "stream", "complete", "embed", "parse", "run_tools")
_CALLS: Mapping[str, Callable[..., Any]] = {
    **CALLS,
    "parse": lambda provider: provider.parse(PROMPT, {"type": "object"}),
    "run_tools": lambda provider: provider.run_tools(PROMPT, [_look_up]),
}


def _look_up(name: str) -> str:
    """Look somebody up."""
    return name


def _assert_clean(error: BaseException) -> None:
    seen = shown(error)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(error, protocol)
        seen += f"\n{data!r}\n{shown(pickle.loads(data))}"
    if isinstance(error, ProviderError):
        seen += f"\n{json.dumps(error.to_dict(), default=repr)}"
    for secret in (KEY, KEY[:9], PROMPT):
        assert find(secret, seen) == []


# --- what a server does -------------------------------------------------------------------


def _told(exchange: Exchange) -> bytes:
    """Everything that the server was told, to be repeated."""
    return b"%s %s" % (exchange.headers.get("authorization", "").encode(), exchange.body)


def _quoting(exchange: Exchange) -> Dict[str, Any]:
    return {"error": {"message": _told(exchange).decode(), "type": "invalid_request_error"}}


def _beginning(exchange: Exchange) -> str:
    """Shorten what was told, as servers do with a key."""
    prompt = PROMPT[:20] if PROMPT.encode() in exchange.body else ""
    return f"bad key {KEY[:12]}**** for {prompt}..."


def _ended(answer: bytes) -> List[Any]:
    return [answer, lambda exchange: exchange.close()]


def _raw(head: bytes, body: bytes = b"") -> List[Any]:
    return _ended(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head, body))


_SERVERS: Mapping[str, Callable[[Exchange], List[Any]]] = {
    "closes": lambda e: [lambda x: x.close()],
    "speaks no HTTP": lambda e: _ended(_told(e) + b"\r\n\r\n"),
    "echoes a status line": lambda e: _ended(b"HTTP/1.1 " + _told(e) + b"\r\n\r\n"),
    "echoes a version": lambda e: _ended(b"HTTP/9.9 200 " + _told(e) + b"\r\n\r\n"),
    "echoes as a header": lambda e: _raw(_told(e), b"{"),
    "echoes as a length": lambda e: _raw(b"Content-Length: " + _told(e)),
    "echoes two lengths": lambda e: _raw(b"Content-Length: 1\r\nContent-Length: 2"),
    "echoes as a chunk": lambda e: _raw(b"Transfer-Encoding: chunked", _told(e) + b"\r\n"),
    "has headers without end": lambda e: _raw(b"X: " + _told(e) * 1000),
    "quotes in a 401": lambda e: [http_answer(_quoting(e), status="401 Unauthorized")],
    "quotes in a 400": lambda e: [http_answer(_quoting(e), status="400 Bad Request")],
    "quotes in a 422": lambda e: [
        http_answer(
            {"detail": [{"type": "missing", "input": _told(e).decode()}]},
            status="422 Unprocessable Entity",
        )
    ],
    "quotes in words": lambda e: [http_answer(_told(e), status="500 No")],
    "quotes a beginning": lambda e: [http_answer(_beginning(e), status="403 Forbidden")],
    "quotes in a page": lambda e: [http_answer(b"<html>" + _told(e), status="502 Bad Gateway")],
    "quotes under 200": lambda e: [http_answer(_quoting(e))],
    "quotes a model": lambda e: [
        http_answer({"error": f"model '{_told(e).decode()}' not found"}, status="404 Not Found")
    ],
    "quotes what it cannot": lambda e: [
        http_answer({"error": f"{_told(e).decode()} does not support this"}, status="400 No")
    ],
    "quotes in a header": lambda e: [
        http_answer(
            {"error": "wait"},
            status="429 Too Many",
            headers=[("Retry-After", PROMPT), ("WWW-Authenticate", KEY)],
        )
    ],
    "redirects": lambda e: [
        http_answer(_told(e), status="302 Found", headers=[("Location", "/" + KEY)])
    ],
    "sends broken JSON": lambda e: [http_answer(b'{"x": "' + _told(e))],
    "sends JSON of another kind": lambda e: [http_answer([_told(e).decode()])],
    "sends no UTF-8": lambda e: [http_answer(b"\xff" + _told(e))],
    "sends deep JSON": lambda e: [http_answer(b"[" * 200 + _told(e))],
    "sends too much": lambda e: [http_answer(_told(e) + b" " * 200_000)],
    "sends false gzip": lambda e: [http_answer(_told(e), headers=[("Content-Encoding", "gzip")])],
    "sends cut gzip": lambda e: [
        http_answer(gzip.compress(_told(e))[:-9], headers=[("Content-Encoding", "gzip")])
    ],
    "sends a strange encoding": lambda e: [
        http_answer(zlib.compress(_told(e)), headers=[("Content-Encoding", "br")])
    ],
    "cuts": lambda e: _raw(b"Content-Length: 99999", _told(e)),
    "stalls": lambda e: [b"HTTP/1.1 200 OK\r\n\r\n" + _told(e), lambda x: x.hold()],
}


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("server_that", _SERVERS)
def test_no_error_of_any_call_shows_them(kind: str, server_that: str) -> None:
    failing = _SERVERS[server_that]
    with ScriptedServer(failing) as server:
        with make(kind, server, api_key=KEY, timeout=0.2, max_body_bytes=100_000) as provider:
            for ask in _LISTING:
                with pytest.raises(ProviderError) as caught:
                    _CALLS[ask](provider)
                _assert_clean(caught.value)
    with ScriptedServer(lambda e: only_asking(failing(e))(e)) as server:
        with make(kind, server, api_key=KEY, timeout=0.2, max_body_bytes=100_000) as provider:
            for ask in _ASKING:
                with pytest.raises(ProviderError) as caught:
                    _CALLS[ask](provider)
                _assert_clean(caught.value)


# --- in mid-stream ------------------------------------------------------------------------


def _record(kind: str, content: Any = "so far ") -> str:
    if kind == "ollama":
        return json.dumps({"model": "m", "message": {"content": content}, "done": False}) + "\n"
    chunk = {"model": "m", "choices": [{"delta": {"content": content}}]}
    return f"data: {json.dumps(chunk)}\n\n"


def _framed(kind: str, record: str) -> str:
    return record + "\n" if kind == "ollama" else f"data: {record}\n\n"


_RECORDS: Mapping[str, Callable[[Exchange], str]] = {
    "an error": lambda e: json.dumps(_quoting(e)),
    "an error in words": lambda e: json.dumps({"error": _told(e).decode()}),
    "broken JSON": lambda e: '{"a": ' + json.dumps(_told(e).decode()),
    "another type": lambda e: json.dumps([_told(e).decode()]),
    "a number as text": lambda e: json.dumps(
        {"model": "m", "done": False, "message": {"content": 7}, "x": _told(e).decode(),
         "choices": [{"delta": {"content": 7}}]}
    ),
    "a false tool call": lambda e: json.dumps(
        {"model": "m", "done": False, "message": {"tool_calls": [_told(e).decode()]},
         "choices": [{"delta": {"tool_calls": [_told(e).decode()]}}]}
    ),
    "a long line": lambda e: json.dumps(_told(e).decode() * 2000),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("record", _RECORDS)
def test_nor_does_an_error_in_mid_stream(kind: str, record: str) -> None:
    media = "application/x-ndjson" if kind == "ollama" else "text/event-stream"

    def script(exchange: Exchange) -> List[Any]:
        said = _record(kind) + _framed(kind, _RECORDS[record](exchange))
        return [http_answer(said, content_type=media, chunked=True)]

    with ScriptedServer(lambda e: only_asking(script(e))(e)) as server:
        with make(kind, server, api_key=KEY, max_line_bytes=100_000) as provider:
            for ask in ("chat", "stream"):
                with pytest.raises(ProviderError) as caught:
                    _CALLS[ask](provider)
                _assert_clean(caught.value)
                assert caught.value.partial == "so far "


_BESIDE: Mapping[str, Mapping[str, Any]] = {
    "stop": {"stop": [PROMPT]},
    "extra_body": {"extra_body": {"system": PROMPT, "options": {"more": [{"deep": PROMPT}]}}},
}


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("field", _BESIDE)
def test_nor_do_the_texts_beside_the_messages(kind: str, field: str) -> None:
    def echo(exchange: Exchange) -> List[bytes]:
        return [http_answer({"error": exchange.body.decode()}, status="400 Bad Request")]

    with ScriptedServer(lambda e: only_asking(echo(e))(e)) as server:
        with make(kind, server, api_key=KEY) as provider:
            with pytest.raises(ProviderError) as caught:
                provider.chat("Hello", **_BESIDE[field])
            _assert_clean(caught.value)


# --- before anything is sent --------------------------------------------------------------


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
def test_nor_does_a_call_that_is_not_sent(kind: str, url: str, options: Any) -> None:
    with make(kind, url, api_key=KEY, **options) as provider:
        for call in _CALLS.values():
            with pytest.raises(ProviderError) as caught:
                call(provider)
            _assert_clean(caught.value)


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("tls", ["untrusted", "none"])
def test_nor_one_that_ends_in_the_handshake(kind: str, tls: str, authority: Authority) -> None:
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
def test_nor_a_call_that_is_impossible(kind: str, what: str) -> None:
    model = None if what == "no model" else "m"
    with ScriptedServer(good) as server:
        with make(kind, server, api_key=KEY, model=model) as provider:
            with pytest.raises((ProviderError, ValueError, TypeError)) as caught:
                _IMPOSSIBLE[what](provider)
            _assert_clean(caught.value)

    assert all(exchange.method == "GET" for exchange in server.exchanges)


# --- ended by the caller ------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
def test_nor_one_that_is_cancelled(kind: str) -> None:
    token = CancelToken()
    steps: List[Any] = [lambda _: token.cancel(), lambda e: e.hold()]
    asks: List[Callable[..., Any]] = [
        lambda p: p.chat(PROMPT, cancel=token),
        lambda p: p.stream(PROMPT, cancel=token),
        lambda p: p.complete(CompletionRequest(prompt=PROMPT), cancel=token),
        lambda p: p.embed(EmbeddingRequest(texts=(PROMPT,)), cancel=token),
    ]
    with ScriptedServer(only_asking(steps)) as server, make(kind, server, api_key=KEY) as provider:
        for ask in asks:
            with pytest.raises(ProviderError) as caught:
                ask(provider)
            _assert_clean(caught.value)


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("ask", _CALLS)
def test_nor_one_that_breaks_while_it_is_sent(
    kind: str, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> Any:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(BoundedSocket, "bounded", lost)
    with ScriptedServer(good) as server, make(kind, server, api_key=KEY) as provider:
        with pytest.raises(LinkError) as caught:
            _CALLS[ask](provider)
    _assert_clean(caught.value)


def _interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("ask", _CALLS)
@pytest.mark.parametrize("where", ["connecting", "sending", "waiting", "reading"])
def test_nor_the_frames_of_an_interrupt(
    kind: str, ask: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C passes as it is, with all frames; ours hold neither."""
    if where == "connecting":
        monkeypatch.setattr(connection.resolve, "connect", _interrupted)
    if where == "sending":
        monkeypatch.setattr(BoundedSocket, "bounded", _interrupted)
    if where == "waiting":
        monkeypatch.setattr(reading._RawReader, "readinto", _interrupted)
    if where == "reading":
        monkeypatch.setattr(connection._HTTPResponse, "read1", _interrupted)
        monkeypatch.setattr(connection._HTTPResponse, "read", _interrupted)
        monkeypatch.setattr(reading.Reader, "receive", _interrupted)
    with ScriptedServer(good) as server, make(kind, server, api_key=KEY) as provider:
        with pytest.raises(KeyboardInterrupt) as caught:
            _CALLS[ask](provider)
        # Those of http.client hold the very bytes; they are not ours to mend.
        frames = "\n".join(frames_of(caught.value, "/localproviders/"))

    assert "_http/" in frames
    assert find(KEY[:9], frames) == []
    assert find(PROMPT, frames) == []


def test_nor_those_of_a_real_one() -> None:
    def script(exchange: Exchange) -> List[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return [lambda e: e.hold()]

    with ScriptedServer(script) as server, make("openai", server, api_key=KEY) as provider:
        with pytest.raises(KeyboardInterrupt) as caught:
            provider.chat(PROMPT, timeout=20)
            threading.Event().wait(20)  # the signal may come late to this thread
        frames = "\n".join(frames_of(caught.value, "/localproviders/"))

    assert find(KEY[:9], frames) == []
    assert find(PROMPT, frames) == []


# --- what stays readable ------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_text_so_far_is_kept_and_shown_only_there(kind: str) -> None:
    media = "application/x-ndjson" if kind == "ollama" else "text/event-stream"
    cut = http_answer(_record(kind, ANSWER), content_type=media)
    with ScriptedServer(only_asking(_ended(cut))) as server, make(kind, server) as provider:
        with pytest.raises(ProviderError) as caught:
            provider.chat(PROMPT)
    error = caught.value

    assert error.partial == ANSWER
    assert ANSWER not in f"{error}{error!r}{error.args}"
    assert find(ANSWER, "\n".join(frames_of(error))) == []
