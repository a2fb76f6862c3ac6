"""Servers with odd answers are recognised, or reported as unusable, within the limit."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from types import SimpleNamespace
from typing import Any, Callable, Iterable, List, Mapping, NamedTuple, Optional

import pytest

from localproviders.discovery import search
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
    Step,
    http_answer,
)
from tests.support.fake_time import FakeTime
from tests.support.locality import SilentListener
from tests.support.recordings import (
    LMSTUDIO,
    dialect_exchange,
    needs_lmstudio_samples,
    ollama_answer,
)
from tests.support.timing import GRACE_S
from tests.unit.discovery.support import find_server, timed_search

_HTML = http_answer("<!doctype html><title>A page</title>", content_type="text/html")
_LIST = {"object": "list", "data": [{"id": "m", "object": "model"}]}
_SILENT = [lambda exchange: exchange.hold()]
_NOT_FOUND = http_answer({"detail": "Not Found"}, status="404 Not Found")

#: Responses of a server: one for every path, or by path, the last of them for all other paths.
_Paths = Mapping[str, Any]


def _scripted(paths: _Paths) -> Callable[[Exchange], Iterable[Step]]:
    def script(exchange: Exchange) -> Iterable[Step]:
        said = paths.get(exchange.path, paths.get("*", _NOT_FOUND))
        if isinstance(said, bytes):
            return [said]
        return said if isinstance(said, list) else [http_answer(said)]

    return script


def _everywhere(said: Any) -> _Paths:
    return {"*": said}


def _drip(head: bytes, piece: bytes, every_s: float = 0.02) -> List[Step]:
    return [head, lambda exchange: exchange.drip(piece, every_s)]


_OK = b"HTTP/1.1 200 OK\r\n"
_ENDLESS = _OK + b"Content-Type: text/html\r\n\r\n"
_DEEP = http_answer("[" * 100_000 + "]" * 100_000)


class Row(NamedTuple):
    """A server, and the expected result of a probe."""

    paths: _Paths
    state: str
    reason: str
    kind: str = "unknown"
    #: Time limit of the search; short if the server uses all of it.
    timeout_s: float = 30.0


_NO_LIST = "has no list of models"
_LATE = "the server began to answer, but did not finish within 0.4 s"

ROWS: Mapping[str, Row] = {
    # --- nothing to use ---
    "silence": Row(
        _everywhere(_SILENT),
        "unavailable",
        "the server accepts connections, but did not answer within 0.4 s",
        timeout_s=0.4,
    ),
    "garbage": Row(_everywhere(b"\x16\x03\x01 hello\r\n\r\n"), "unavailable", "is not HTTP"),
    "a banner of SSH": Row(_everywhere(b"SSH-2.0-OpenSSH_9.9\r\n"), "unavailable", "is not HTTP"),
    "a web page everywhere": Row(_everywhere(_HTML), "unavailable", "JSON"),
    "a page that is not there": Row({}, "unavailable", "Not Found"),
    "redirects": Row(
        _everywhere(
            http_answer(status="302 Found", headers=[("Location", "http://192.0.2.1/v1/models")])
        ),
        "unavailable",
        "the server redirects (status 302), but redirects are not followed",
    ),
    "headers that drip": Row(
        _everywhere(_drip(_OK, b"X: y\r\n")), "unavailable", _LATE, timeout_s=0.4
    ),
    "a body that drips": Row(
        _everywhere(_drip(_ENDLESS, b"x")), "unavailable", _LATE, timeout_s=0.4
    ),
    "a list that drips": Row(
        {"/v1/models": _drip(_ENDLESS, b" ")}, "unavailable", _LATE, timeout_s=0.4
    ),
    "an endless page": Row(
        _everywhere(_drip(_ENDLESS + b"x" * 65536, b"x" * 65536)),
        "unavailable",
        _LATE,
        timeout_s=0.4,
    ),
    "a closed connection": Row(
        _everywhere([lambda exchange: exchange.close()]), "unavailable", "without a response"
    ),
    "a reset connection": Row(
        _everywhere([lambda exchange: exchange.reset()]), "unavailable", "without a response"
    ),
    "another protocol": Row(
        _everywhere(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
        "unavailable",
        "switches to another protocol",
    ),
    "an error everywhere": Row(
        _everywhere(http_answer("no", status="500 Internal Server Error")), "unavailable", "no"
    ),
    "a busy gateway": Row(
        _everywhere(http_answer("<html>", status="503 Service Unavailable")),
        "unavailable",
        "a web page",
    ),
    "JSON nested too deeply": Row(_everywhere(_DEEP), "unavailable", "deep"),
    "an empty object everywhere": Row(_everywhere({}), "unavailable", _NO_LIST),
    "data that is no list of models": Row(
        _everywhere({"data": [{"id": "a"}]}), "unavailable", _NO_LIST
    ),
    "a list of other things": Row(
        _everywhere({"object": "list", "data": [1]}), "unavailable", _NO_LIST
    ),
    "an API with a version": Row(
        {"/api/version": {"version": "0.32.6"}, "/api/tags": {"models": []}, "/": {"ok": True}},
        "unavailable",
        "Not Found",
    ),
    "a greeting that is nearly LM Studio's": Row(
        {"/lmstudio-greeting": {"lmstudio": "true"}}, "unavailable", "Not Found"
    ),
    "LM Studio's greeting on every path": Row(
        _everywhere({"lmstudio": True}), "unavailable", _NO_LIST
    ),
    "LM Studio's word for a missing path on every path": Row(
        _everywhere({"error": "Unexpected endpoint or method. (GET /)"}), "unavailable", _NO_LIST
    ),
    "Ollama's greeting on every path": Row(
        _everywhere(http_answer("Ollama is running", content_type="text/plain")),
        "unavailable",
        "JSON",
    ),
    "words that would draw on the terminal": Row(
        _everywhere(http_answer("\x1b[2J\r\nall\u202e is\twell", status="500 Oops")),
        "unavailable",
        r"the server says: \x1b[2J\r\nall\u202e is\twell",
    ),
    # --- a key ---
    "a page that wants a password": Row(
        _everywhere(http_answer("<html>", status="401 Unauthorized")), "needs a key", "a web page"
    ),
    "an API that wants a key": Row(
        _everywhere(http_answer({"detail": "Not authenticated"}, status="401 Unauthorized")),
        "needs a key",
        "",
    ),
    "vLLM with a key": Row(
        {
            "/v1/models": http_answer({"error": "Unauthorized"}, status="401 Unauthorized"),
            "/version": {"version": "0.11.0"},
        },
        "needs a key",
        "Unauthorized",
        "openai-compatible",
    ),
    "LM Studio with a key": Row(
        _everywhere(
            http_answer(
                {
                    "error": {
                        "type": "invalid_request",
                        "code": "invalid_api_key",
                        "message": "An LM Studio API token is required",
                    }
                },
                status="401 Unauthorized",
            )
        ),
        "needs a key",
        "set LM_API_TOKEN",
        "lmstudio",
    ),
    # --- not yet, or not wholly ---
    "Ollama without its lists": Row(
        {
            "/": http_answer("Ollama is running", content_type="text/plain"),
            "/api/tags": _SILENT,
        },
        "degraded",
        f"the models could not be listed: {_LATE}",
        "ollama",
        timeout_s=0.4,
    ),
    "Ollama that does not tell what is loaded": Row(
        {
            "/": http_answer("Ollama is running", content_type="text/plain"),
            "/api/tags": {"models": [{"name": "m"}]},
            "/api/version": {"version": "0.1.0"},
            "/api/ps": _SILENT,
        },
        "degraded",
        _LATE,
        "ollama",
        timeout_s=0.4,
    ),
    "LM Studio without its lists": Row(
        {"/lmstudio-greeting": {"lmstudio": True}, "*": _SILENT},
        "degraded",
        f"the models could not be listed: {_LATE}",
        "lmstudio",
        timeout_s=0.4,
    ),
    "LM Studio whose lists fail": Row(
        {
            "/lmstudio-greeting": {"lmstudio": True},
            "*": http_answer("no", status="500 Internal Server Error"),
        },
        "degraded",
        "the models could not be listed: the server says: no",
        "lmstudio",
    ),
    # --- good enough ---
    "Ollama from before it told what is loaded": Row(
        {
            "/": http_answer("Ollama is running", content_type="text/plain"),
            "/api/tags": {"models": [{"name": "m"}]},
            "*": http_answer("404 page not found", status="404 Not Found"),
        },
        "available",
        "",
        "ollama",
    ),
    "a list without its type": Row(
        {"/v1/models": {"data": [{"id": "m", "object": "model"}]}},
        "available",
        "",
        "openai-compatible",
    ),
    "a list, and another greeting than LM Studio's": Row(
        {"/v1/models": _LIST, "/lmstudio-greeting": {"lmstudio": "no"}},
        "available",
        "",
        "openai-compatible",
    ),
    "an empty list": Row(
        {"/v1/models": {"object": "list", "data": None}}, "available", "", "openai-compatible"
    ),
    "a list behind a web page": Row(
        {"/v1/models": _LIST, "*": _HTML}, "available", "", "openai-compatible"
    ),
    "a list behind an endless page": Row(
        {"/v1/models": _LIST, "/": _drip(_ENDLESS, b"x" * 65536, every_s=0)},
        "available",
        "",
        "openai-compatible",
    ),
    "a list whose version never comes": Row(
        {"/v1/models": _LIST, "/props": _SILENT},
        "available",
        "",
        "openai-compatible",
        timeout_s=0.4,
    ),
    "Ollama's greeting, and only the dialect's list": Row(
        {"/": http_answer("Ollama is running", content_type="text/plain"), "/v1/models": _LIST},
        "available",
        "",
        "openai-compatible",
    ),
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", ROWS)
def test_an_odd_server_is_told_as_what_it_is(
    name: str, fake_clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=fake_clock))
    row = ROWS[name]
    with ScriptedServer(_scripted(row.paths)) as server:
        found = find_server(server.url, row.timeout_s)
        assert server.wait_for_connections(0, GRACE_S)

    assert (found.kind, found.state) == (row.kind, row.state)
    assert row.reason in found.reason
    assert bool(row.reason or row.state == "needs a key") == bool(found.reason)
    assert {exchange.method for exchange in server.exchanges} <= {"GET"}


def test_a_port_that_nobody_serves_is_told_as_silent(
    fake_clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=fake_clock))
    with SilentListener() as listener, fake_clock.silent_port(int(listener.url.rpartition(":")[2])):
        found = find_server(listener.url, 0.3)

        assert listener.was_reached
    assert (found.kind, found.state) == ("unknown", "unavailable")
    assert found.reason == "the server accepts connections, but did not answer within 0.3 s"


def test_a_version_is_one_short_line() -> None:
    paths = {"/v1/models": _LIST, "/props": {"build_info": "\x1b[31mb1\n" * 1000}}
    with ScriptedServer(_scripted(paths)) as server:
        version = find_server(server.url).version or ""

    assert version.startswith(r"\x1b[31mb1\n\x1b[31mb1") and len(version) <= 300


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse what does not fit")
def test_where_no_connection_comes_about_nobody_listens() -> None:
    """Windows behaves like this at a closed port, because it repeats the attempt to connect."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than the queue holds
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        found, _ = timed_search(url, timeout_s=0.3)

    assert [(server.kind, server.state) for server in found.servers] == [("unknown", "unavailable")]
    assert [probe.outcome for probe in found.tried] == ["nothing"]
    assert found.tried[0].reason == "no connection within 0.3 s"


def test_a_server_with_tls_is_told_to_speak_no_plain_http_and_the_other_way_round() -> None:
    with FakeOllama() as server:
        found = find_server(server.url.replace("http:", "https:"))

    assert (found.kind, found.state) == ("unknown", "unavailable")
    assert "TLS" in found.reason


def test_an_address_beyond_the_locality_is_not_asked() -> None:
    found = find_server("http://192.0.2.7:11434")

    assert (found.kind, found.state) == ("unknown", "unavailable")
    assert found.reason.startswith('192.0.2.7 is not loopback, and locality is "loopback"; ')
    assert 'to allow it, pass locality="any"' in found.reason


def test_a_name_that_does_not_exist_is_told() -> None:
    found = find_server("http://nowhere.invalid:11434", locality="any")

    assert (found.kind, found.state) == ("unknown", "unavailable")
    assert found.reason.startswith(("the host name cannot be resolved", "no connection within"))


def test_a_silent_server_does_not_delay_the_others_beyond_the_limit(
    fake_clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=fake_clock))

    def until_the_other_is_found(exchange: Exchange) -> None:
        """Wait for the last request to the other server, because the silence advances the clock."""
        while "/api/ps" not in [asked.path for asked in ollama.exchanges]:
            assert not exchange.stopping.wait(0.001)
        assert ollama.wait_for_connections(0, GRACE_S)

    silence = [until_the_other_is_found, *_SILENT]
    with ScriptedServer(_scripted(_everywhere(silence))) as silent, FakeOllama() as ollama:
        found, _ = timed_search(silent.url, ollama.url, timeout_s=2.0)

    assert [(server.kind, server.state) for server in found.servers] == [
        ("ollama", "available"),
        ("unknown", "unavailable"),
    ]


@pytest.mark.parametrize("one_byte_writes", [False, True])
@pytest.mark.parametrize("kind", [FakeOllama, FakeLMStudio, FakeOpenAICompatible])
def test_how_the_bytes_are_cut_changes_nothing(kind: Any, one_byte_writes: bool) -> None:
    with kind(one_byte_writes=one_byte_writes) as server:
        found = find_server(server.url)

    expected = {
        FakeOllama: "ollama",
        FakeLMStudio: "lmstudio",
        FakeOpenAICompatible: "openai-compatible",
    }
    assert (found.kind, found.state) == (expected[kind], "available")
    assert len(found.models) == 2


def test_a_server_that_is_loading_is_degraded_and_then_available() -> None:
    loading = dialect_exchange("loading_health")[1]
    paths = {"*": loading}
    with ScriptedServer(lambda exchange: _scripted(paths)(exchange)) as server:
        first = find_server(server.url)
        paths.update({"/v1/models": dialect_exchange("models")[1], "*": _NOT_FOUND})
        second = find_server(server.url)

    assert (first.kind, first.state, first.reason) == (
        "llamacpp",
        "degraded",
        "it is loading its model",
    )
    assert (second.state, second.endpoint) == ("available", server.url + "/v1")
    assert [model.name for model in second.models] == ["gemma3-270m"]


# --- recorded ------------------------------------------------------------------------------


def test_a_recorded_ollama_is_told() -> None:
    paths = {
        "/": ollama_answer("root"),
        "/api/version": ollama_answer("version"),
        "/api/tags": ollama_answer("tags"),
        "/api/ps": ollama_answer("ps"),
        "*": ollama_answer("notfound"),
    }
    with ScriptedServer(_scripted(paths)) as server:
        found = find_server(server.url)

    assert (found.kind, found.version, found.state) == ("ollama", "0.32.15", "available")
    assert found.models
    assert found.loaded == ()  # as in the recording


@pytest.mark.sample(6)
@needs_lmstudio_samples
@pytest.mark.parametrize(
    ("path", "name", "generation"),
    [
        ("/api/v1/models", "v1-models-list-docs.json", "0.4"),
        ("/api/v1/models", "v1-models-list-one-loaded-rlmstudio-2026-03.json", "0.4"),
        ("/api/v0/models", "v0-models-list-docs.json", "0.3"),
        ("/v1/models", "openai-models-list-2-models.json", "older"),
    ],
)
@pytest.mark.parametrize("greeting", ["lmstudio-greeting.json", None])
def test_a_recorded_lm_studio_is_told(
    path: str, name: str, generation: str, greeting: Optional[str]
) -> None:
    """Versions without a greeting are recognised by their error for an unknown path."""
    unexpected = "error-200-unexpected-endpoint-ollama-tags-garage.json"
    paths = {
        "/lmstudio-greeting": _sample(greeting or unexpected),
        path: _sample(name),
        "*": _sample(unexpected),
    }
    with ScriptedServer(_scripted(paths)) as server:
        found = find_server(server.url)

    assert (found.kind, found.generation, found.state) == ("lmstudio", generation, "available")
    assert found.models


@needs_lmstudio_samples
def test_a_recorded_lm_studio_that_wants_a_token_is_told_by_its_words() -> None:
    body = (LMSTUDIO / "error-401-token-required-opencode-lmstudio-41.json").read_bytes()
    refusal = http_answer(body, status="401 Unauthorized")
    with ScriptedServer(_scripted(_everywhere(refusal))) as server:
        found = find_server(server.url)

    assert (found.kind, found.state) == ("lmstudio", "needs a key")


@needs_lmstudio_samples
def test_a_recorded_lm_studio_is_not_taken_for_ollama_whatever_it_answers() -> None:
    raw = (LMSTUDIO / "error-200-unexpected-endpoint-bugtracker-618.http").read_bytes()
    head, _, body = raw.replace(b"\r\n", b"\n").rstrip(b"\n").partition(b"\n\n")
    answer = head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body
    with ScriptedServer(_scripted(_everywhere(answer))) as server:
        found = find_server(server.url)

    assert (found.kind, found.state) == ("unknown", "unavailable")


def _sample(name: str) -> Any:
    return json.loads((LMSTUDIO / name).read_text(encoding="utf-8"))
