"""Running servers are found, named and listed; an empty result is valid."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import threading
from typing import Any, Iterator, List, Tuple

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    Discovery,
    LMStudioProvider,
    LoadedModel,
    OllamaProvider,
    OpenAICompatibleProvider,
    UnsupportedError,
    discover,
)
from localproviders.discovery import candidates, probe, search
from localproviders.discovery.results import what_to_do
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
)
from tests.support.timing import GRACE_S
from tests.unit.discovery.support import (
    LMStudioOnIPv6,
    OllamaOnIPv6,
    closed_port,
    find_server,
    needs_ipv6,
    timed_search,
)

_PORTS = candidates.usual_ports()
_REASON = why_unsupported() or why_missing()
needs_engine = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))


def test_servers_at_unix_sockets_are_found_and_told_apart(socket_path: str) -> None:
    with FakeOpenAICompatible(["m"], unix=socket_path) as one:
        with FakeOpenAICompatible(["m"], unix=socket_path.replace("s.sock", "s.2")) as two:
            with FakeOllama(["m"], unix=f"{socket_path}3") as three:
                urls = [one.url, f"{two.url}:/v1", three.url, f"unix://{socket_path}4"]
                found = discover(urls, refresh=True)
                servers = {server.endpoint: server for server in found.servers}
                for url in (one.url_of("/v1"), two.url_of("/v1"), three.url):
                    assert servers[url].state == "available"
                    with servers[url].make_provider(model="m") as provider:
                        assert provider.chat("Hi").text

    assert servers[three.url].kind == servers[three.url].name == "ollama"
    assert servers[one.url_of("/v1")].name == "openai-compatible-s"
    assert servers[two.url_of("/v1")].name == "openai-compatible-s-2"
    missing = servers[f"unix://{socket_path}4"]
    assert missing.state == "unavailable"
    assert "there is no UNIX socket" in missing.reason


def test_the_variable_of_a_kind_may_name_a_unix_socket(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeOllama(["m"], unix=socket_path) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        found = discover(refresh=True)
        assert [s.name for s in found.servers if s.endpoint == server.url] == ["ollama"]
        with OllamaProvider(model="m") as provider:
            assert provider.chat("Hi").text
            assert provider.settings.endpoint_origin == "OLLAMA_HOST"


@pytest.fixture
def open_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAICompatibleProvider]:
    """Start a real engine without a key, like a llama-server that was started without one."""
    launch = LocalEngine._launch
    # The engine accepts a request without a key if its key is empty.
    monkeypatch.setattr(LocalEngine, "_launch", lambda engine, _: launch(engine, ""))
    with LocalEngine("chat", context_length=512) as provider:
        yield provider


@needs_engine
@pytest.mark.engine
def test_a_real_engine_and_both_fakes_are_named_rightly(
    open_engine: OpenAICompatibleProvider,
) -> None:
    endpoint = open_engine.settings.endpoint
    with FakeOllama() as ollama, FakeLMStudio() as studio:
        found, _ = timed_search(endpoint.url, ollama.url, studio.url, timeout_s=30.0)

    assert [(server.name, server.endpoint, server.state) for server in found.servers] == [
        ("llamacpp", endpoint.url, "available"),
        ("ollama", ollama.url, "available"),
        ("lmstudio", studio.url, "available"),
    ]
    assert [model.name for model in found.servers[0].models] == ["chat"]
    assert [model.name for model in found.servers[0].loaded] == ["chat"]
    assert (found.servers[0].version or "").startswith("b")
    assert [server.product for server in found.servers] == ["llama.cpp", "Ollama", "LM Studio"]


@pytest.mark.slow
@needs_engine
@pytest.mark.engine
def test_a_real_engine_with_a_key_is_named_and_used_with_it() -> None:
    with LocalEngine("chat", context_length=512) as engine:
        server = find_server(engine.settings.endpoint.url)
        with server.make_provider(api_key=engine.settings.api_key, model="chat") as provider:
            text = provider.chat("Hi", max_tokens=5, timeout=60).text

    assert (server.kind, server.state) == ("llamacpp", "needs a key")
    assert (server.product, server.evidence) == (
        "llama.cpp",
        ("GET /: status 415, Server: llama.cpp",),
    )
    assert text


def test_each_server_tells_its_version_its_models_and_what_is_in_memory() -> None:
    loaded = [FakeModel(name="there", loaded=True), FakeModel(name="on-disk")]
    with FakeOllama(loaded) as ollama, FakeLMStudio(loaded) as studio:
        with FakeOpenAICompatible(["some-model"]) as other:
            found = discover([ollama.url, studio.url, other.base_url])

    one, two, three = found.servers
    assert (one.kind, one.version, one.generation) == ("ollama", "0.40.5", None)
    assert [model.name for model in one.models] == ["there:latest", "on-disk:latest"]
    assert [model.name for model in one.loaded] == ["there:latest"]
    assert (two.kind, two.version, two.generation) == ("lmstudio", None, "0.4")
    assert [model.name for model in two.models] == ["there", "on-disk"]
    assert [model.name for model in two.loaded] == ["there"]
    assert [model.name for model in three.models] == ["some-model"]
    for server in found.servers:
        assert {model.provider for model in (*server.models, *server.loaded)} == {server.name}
        assert server.latency_s is not None and 0 < server.latency_s < 1


@pytest.mark.parametrize(
    ("generation", "told"), [("0.4", "0.4"), ("0.3", "0.3"), ("0.3.5", "older")]
)
def test_the_generation_of_lm_studio_is_told_by_its_lists(generation: str, told: str) -> None:
    with FakeLMStudio(generation=generation) as server:
        found = find_server(server.url)

    assert (found.kind, found.generation, found.state) == ("lmstudio", told, "available")
    assert len(found.models) == 2


def test_an_address_may_name_an_api_below_it() -> None:
    with FakeOllama() as ollama, FakeLMStudio() as studio:
        found = discover([f"{ollama.url}/v1", f"{studio.url}/api/v1/"])

    assert [server.endpoint for server in found.servers] == [ollama.url, studio.url]


def test_a_second_server_of_a_kind_has_its_port_in_its_name() -> None:
    with FakeOllama(["a"]) as one, FakeOllama(["b"]) as two, FakeLMStudio() as studio:
        found = discover([two.url, one.url, studio.url])

    names = [server.name for server in found.servers]
    assert names == ["ollama", f"ollama-{one.port}", "lmstudio"]
    assert found.servers[1].models[0].provider == f"ollama-{one.port}"


def test_servers_that_are_ready_come_first_and_others_in_the_order_given() -> None:
    with FakeOpenAICompatible(api_key="k") as shut, FakeOllama() as ollama:
        with FakeLMStudio() as studio:
            nobody = f"http://127.0.0.1:{closed_port()}"
            found = discover([nobody, shut.url, studio.url, ollama.url])

    assert [server.kind for server in found.servers] == [
        "lmstudio",
        "ollama",
        "openai-compatible",
        "unknown",
    ]
    assert [probe.outcome for probe in found.tried] == [
        "nothing",
        "needs a key",
        "available",
        "available",
    ]


# --- the usual places ----------------------------------------------------------------------


@pytest.fixture
def ollama() -> Any:
    with FakeOllama() as server:
        yield server


def test_the_usual_ports_are_asked_on_both_loopback_addresses(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = closed_port()
    monkeypatch.setattr(
        candidates, "usual_ports", lambda: {port: "nobody", ollama.port: "an Ollama"}
    )

    found = discover()

    assert [server.endpoint for server in found.servers] == [ollama.url]
    assert [probe.endpoint for probe in found.tried] == [
        f"http://127.0.0.1:{port}",
        f"http://[::1]:{port}",
        ollama.url,
        f"http://[::1]:{ollama.port}",
    ]


def test_the_usual_ports_are_those_of_the_documentation_and_none_speaks_websocket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "usual_ports", lambda: _PORTS)

    ports = {place.endpoint.port for place in candidates.candidates(None)}

    assert ports == {
        *(11434, 1234, 9931, 8080, 8000, 30000, 5001, 5000, 1337, 12434, 13305, 4891, 7997),
        *(9997, 4000),
    }
    assert {place.endpoint.host for place in candidates.candidates(None)} == {"127.0.0.1", "::1"}
    assert not ports & set(candidates.avoided_ports())


def test_the_variable_of_ollama_is_an_address_that_somebody_gave(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{ollama.port}")
    assert [server.name for server in discover().servers] == ["ollama"]

    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{closed_port()}")
    (server,) = discover().servers
    assert (server.kind, server.state) == ("unknown", "unavailable")


def test_a_host_alone_stands_for_the_usual_ports_there(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        candidates, "usual_ports", lambda: {closed_port(): "nobody", ollama.port: "an Ollama"}
    )

    found = discover(["localhost"])

    assert [server.endpoint for server in found.servers] == [f"http://localhost:{ollama.port}"]


def test_what_nobody_named_and_is_no_model_server_is_tried_and_not_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedServer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>") as server:
        monkeypatch.setattr(candidates, "usual_ports", lambda: {server.port: "somebody"})
        found = discover()

    assert found.servers == ()
    assert found.tried[0].outcome == "unavailable"
    assert found.tried[0].latency_s is not None


@pytest.mark.parametrize("port", candidates.avoided_ports())
def test_the_websocket_ports_of_lm_studio_are_never_asked(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was asked")

    monkeypatch.setattr(probe._AddressProbe, "run", never)

    found = discover([f"http://127.0.0.1:{port}"])

    assert [probe.outcome for probe in found.tried] == ["not asked"]
    assert "WebSocket" in found.servers[0].reason


# --- both loopback addresses ---------------------------------------------------------------


@needs_ipv6
@pytest.mark.parametrize("names", [["localhost", "127.0.0.1", "[::1]"], ["[::1]", "127.0.0.1"]])
def test_one_server_at_both_loopback_addresses_counts_once(
    names: List[str], ollama: FakeOllama
) -> None:
    with OllamaOnIPv6(port=ollama.port):
        found = discover([f"http://{name}:{ollama.port}" for name in names])

    assert [server.name for server in found.servers] == ["ollama"]
    assert found.servers[0].endpoint == f"http://{names[0]}:{ollama.port}"
    assert [probe.outcome for probe in found.tried] == ["available"] * len(names)
    assert f"the same server as at http://{names[0]}" in found.tried[1].reason


@needs_ipv6
def test_two_servers_at_the_two_loopback_addresses_are_two(ollama: FakeOllama) -> None:
    with OllamaOnIPv6(["other"], port=ollama.port):
        found = discover([ollama.url, f"http://[::1]:{ollama.port}"])

    assert [server.name for server in found.servers] == ["ollama", f"ollama-{ollama.port}"]


@needs_ipv6
def test_a_server_that_was_not_shown_the_key_at_one_address_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LM_API_TOKEN", "the-token")
    with FakeLMStudio(api_key="the-token") as server:
        monkeypatch.setattr(candidates, "usual_ports", lambda: {server.port: "LM Studio"})
        with LMStudioOnIPv6(api_key="the-token", port=server.port):
            found = discover([server.url])

    assert [(one.name, one.state) for one in found.servers] == [("lmstudio", "available")]


# --- what is done with a result ------------------------------------------------------------


def test_a_found_server_makes_the_provider_of_its_kind() -> None:
    with FakeOllama() as ollama, FakeLMStudio() as studio, FakeOpenAICompatible() as other:
        found = discover([ollama.url, studio.url, other.url])
        kinds = (OllamaProvider, LMStudioProvider, OpenAICompatibleProvider)
        for server, kind in zip(found.servers, kinds):
            with server.make_provider(model=server.models[0].name, timeout=30) as provider:
                assert isinstance(provider, kind)
                assert provider.name == server.name
                assert provider.settings.endpoint.url == server.endpoint
                assert provider.chat("Hi").text == "Hello there, friend."


def test_a_provider_is_made_with_whole_settings_or_another_name() -> None:
    with FakeOllama() as ollama:
        server = find_server(ollama.url)
    settings = OllamaProvider(ollama.url, name="mine").settings

    assert server.make_provider(name="other").name == "other"
    assert server.make_provider(settings=settings).name == "mine"


def test_an_unknown_server_makes_no_provider() -> None:
    server = find_server(f"http://127.0.0.1:{closed_port()}")

    with pytest.raises(UnsupportedError, match="there is no provider for http"):
        server.make_provider()


def test_a_result_pickles_and_goes_through_json() -> None:
    with FakeOllama([FakeModel(name="m", loaded=True)]) as ollama, FakeLMStudio() as studio:
        found = discover([ollama.url, studio.url])

    assert pickle.loads(pickle.dumps(found)) == found
    assert Discovery.from_dict(found.to_dict()).servers[0].models == found.servers[0].models
    assert found.found_at.tzinfo is not None


def test_a_result_explains_what_was_found(ollama: FakeOllama) -> None:
    port = closed_port()

    found = discover([ollama.url, f"http://127.0.0.1:{port}"])
    told = found.explain()
    ready = found.servers[0]
    warm = LoadedModel(name=ready.models[0].name, provider="ollama")

    # The text never says that nothing is loaded, because not every server reports it.
    assert f"ollama 0.40.5 at {ollama.url}: available; 2 models\n" in told
    warmed = found.replace(servers=(ready.replace(loaded=(warm,)),)).explain()
    assert f"ollama 0.40.5 at {ollama.url}: available; 2 models, 1 loaded\n" in warmed
    one = found.replace(servers=(ready.replace(models=ready.models[:1]),)).explain()
    assert f"ollama 0.40.5 at {ollama.url}: available; 1 model\n" in one
    assert f"no server listens at http://127.0.0.1:{port}" in told
    assert "ollama serve" not in told


def test_nothing_at_all_is_a_result_that_says_what_was_tried_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = closed_port()
    monkeypatch.setattr(candidates, "usual_ports", lambda: {port: "nobody"})

    found, _ = timed_search(timeout_s=30.0)

    assert found.servers == ()
    told = found.explain()
    assert told.startswith("No server is ready.\n")
    assert f"no server listens at http://127.0.0.1:{port}, http://[::1]:{port}" in told
    for words in ("ollama serve", "lms server start", "LocalEngine", "discover(["):
        assert words in told
    hint = what_to_do(found)
    assert f"no server listens at http://127.0.0.1:{port}, http://[::1]:{port}; run `ollama" in hint
    assert "\n" not in hint


# --- what is kept --------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_is_not_a_closed_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = socket.getaddrinfo

    def unknown(host: str, *args: Any, **how: Any) -> Any:
        if host == "foo":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = discover(["foo", "http://foo:1"], locality="any")
    told = found.explain()

    assert told.count("- foo: the host name cannot be resolved: Name or service not known") == 1
    assert "no server listens at http://foo" not in told
    assert "the host name cannot be resolved" in found.servers[-1].reason
    assert "foo: the host name cannot be resolved" in what_to_do(found)


def test_a_result_is_kept_until_it_is_refreshed_or_too_old(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover([ollama.url])
    asked = len(ollama.exchanges)

    assert discover([ollama.url]) is first
    assert len(ollama.exchanges) == asked
    second = discover([ollama.url], refresh=True)
    assert second is not first
    assert discover([ollama.url]) is second
    monkeypatch.setattr(search, "CACHED_S", 0.0)
    assert discover([ollama.url]) is not second


def test_another_search_is_not_given_the_result_of_this_one(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover([ollama.url])

    assert len(discover([ollama.url, f"http://127.0.0.1:{closed_port()}"]).servers) == 2
    assert discover([ollama.url], locality="private") is not first
    monkeypatch.setenv("LOCALPROVIDERS_LOCALITY", "any")
    assert discover([ollama.url]) is not first


@pytest.mark.sample(1)
@pytest.mark.parametrize("path", ["", "/v1", "/anything"])
def test_what_use_has_disproved_is_forgotten(path: str, ollama: FakeOllama) -> None:
    with FakeLMStudio() as studio:
        first, other = discover([ollama.url]), discover([studio.url])

        search.forget(ollama.url + path)

        assert discover([ollama.url]) is not first
        assert discover([studio.url]) is other


def test_a_search_without_a_ready_server_is_not_kept() -> None:
    with FakeOllama() as server:
        url, port = server.url, server.port
    assert discover([url]).servers[0].state == "unavailable"
    with FakeOllama(port=port):
        assert discover([url]).servers[0].state == "available"


def test_a_result_is_not_shared_over_a_fork(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover([ollama.url])
    monkeypatch.setattr("os.getpid", lambda: -1)

    assert discover([ollama.url]) is not first


def test_no_more_results_are_kept_than_any_program_needs(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_MOST_CACHED", 2)
    for number in range(5):
        discover([ollama.url, f"http://127.0.0.1:{41343 if number else 52993}"][: number + 1])

    assert 0 < len(search._cache) <= 2


# --- threads, cancelling, bad arguments ----------------------------------------------------


def test_no_thread_and_no_connection_is_left_behind(ollama: FakeOllama) -> None:
    discover([ollama.url, f"http://127.0.0.1:{closed_port()}"])

    names = {thread.name for thread in threading.enumerate()}
    assert "localproviders-discovery" not in names
    assert ollama.wait_for_connections(0, GRACE_S)


def test_where_no_thread_can_be_started_the_caller_looks_alone(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "localproviders-discovery":
            raise RuntimeError("can't start new thread")
        plain(thread)

    silence = ScriptedServer(lambda _: [lambda exchange: exchange.hold()])
    with FakeLMStudio() as studio, silence as silent:
        monkeypatch.setattr(threading.Thread, "start", start)
        found = discover([ollama.url, studio.url])
        # The threads of the servers run already; only those of the search cannot start.
        timed_search(*(f"{silent.url}/{number}" for number in range(8)), timeout_s=0.4)

    assert [server.kind for server in found.servers] == ["ollama", "lmstudio"]


def test_a_search_is_cancelled_from_another_thread() -> None:
    token, came = CancelToken(), threading.Event()

    def silence(exchange: Any) -> Any:
        came.set()
        return [lambda exchange: exchange.hold()]

    def cancel() -> None:
        came.wait(60)
        token.cancel()

    with ScriptedServer(silence) as server:
        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(CancelledError):
            timed_search(server.url, timeout_s=60.0, cancel=token)
        canceller.join()
        assert server.wait_for_connections(0, GRACE_S)
    assert token._listeners == set()


def test_a_search_with_a_thrown_token_asks_nobody(ollama: FakeOllama) -> None:
    token = CancelToken()
    token.cancel()

    with pytest.raises(CancelledError):
        discover([ollama.url], cancel=token)
    assert ollama.exchanges == []


def test_a_fault_of_ours_in_a_thread_comes_out(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(search, "probe_address", broken)

    with pytest.raises(ZeroDivisionError):
        discover([ollama.url])


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_probe_that_is_late_outside_of_a_fingerprint_function_blames_none(
    ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch, is_asked: bool
) -> None:
    end, plain = threading.Event(), probe.probe_address

    def hangs(*arguments: Any) -> probe.ProbeResult:
        found = plain(*arguments) if is_asked else None
        assert end.wait(60)
        return found or plain(*arguments)

    monkeypatch.setattr(search, "probe_address", hangs)
    monkeypatch.setattr(search, "_GRACE_S", 0.1)
    try:
        (server,) = discover([ollama.url], timeout_s=0.2).servers
    finally:
        end.set()
    assert server.reason == "the probe of this address did not end in time"


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), True, "1", None])
def test_an_impossible_limit_is_refused(timeout_s: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout_s must be"):
        discover([], timeout_s=timeout_s)


def test_impossible_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text: Any = "http://127.0.0.1:8080"
    with pytest.raises(ConfigurationError, match="endpoints must be a list"):
        discover(text)
    nothing: Any = [None]
    with pytest.raises(ConfigurationError, match="an endpoint must be a string, but is a NoneType"):
        discover(nothing)
    with pytest.raises(ConfigurationError, match="the scheme of the address is 'ftp'"):
        discover(["ftp://127.0.0.1"])
    with pytest.raises(ConfigurationError, match="credentials"):
        discover(["http://me:secret@127.0.0.1:8080"])
    moon: Any = "moon"
    with pytest.raises(ConfigurationError, match="there is no locality 'moon'"):
        discover(["http://127.0.0.1:8080"], locality=moon)
    monkeypatch.setenv("LOCALPROVIDERS_LOCALITY", "moon")
    with pytest.raises(ConfigurationError, match="there is no locality 'moon'") as caught:
        discover(["http://127.0.0.1:8080"])
    assert "LOCALPROVIDERS_LOCALITY" in str(caught.value.hint)


def test_an_impossible_variable_of_ollama_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "ftp://box")
    with pytest.raises(ConfigurationError, match="OLLAMA_HOST: the scheme of the address is 'ftp'"):
        discover()


@pytest.mark.parametrize("urls", [("127.0.0.1", "[::1]"), ("localhost", "127.0.0.1")])
def test_two_given_addresses_where_nobody_listens_are_both_told(urls: Tuple[str, str]) -> None:
    port = closed_port()

    found = discover([f"http://{host}:{port}" for host in urls])

    assert [server.endpoint for server in found.servers] == [f"http://{u}:{port}" for u in urls]
    assert not any("same server" in probe.reason for probe in found.tried)


# Prints the modules that threads import during a search, and then the kinds that it found.
_IMPORTS_OF_A_SEARCH = """
import sys, threading
from localproviders import discover

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print(name)

sys.meta_path.insert(0, Watch())
found = discover(sys.argv[1:])
print(*sorted(server.kind for server in found.servers if server.endpoint in sys.argv))
"""


@pytest.mark.sample(0)
def test_no_thread_of_a_search_imports_a_module() -> None:
    with FakeOllama() as ollama, FakeLMStudio() as lmstudio, FakeOpenAICompatible() as other:
        urls = [ollama.url, lmstudio.url, f"{other.url}/v1"]
        command = [sys.executable, "-c", _IMPORTS_OF_A_SEARCH, *urls]
        done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["lmstudio", "ollama", "openai-compatible"]
