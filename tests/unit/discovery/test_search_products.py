"""Each program is told by its own greeting, and never by that of another program."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import pytest

from localproviders import Discovery, FoundServer, OpenAICompatibleProvider, cli, discover
from localproviders.config.values import ConfiguredAddress
from localproviders.discovery import candidates, search
from localproviders.openai_compatible import recognition
from localproviders.openai_compatible.wire.products import PRODUCTS
from localproviders.testing import Exchange, FakeLlamaCpp, FakeOllama, ScriptedServer, http_answer
from localproviders.testing.products import FORBIDDEN, GREETINGS, FakeProduct
from tests.support.fake_time import FakeTime
from tests.unit.discovery.support import closed_port, find_server, needs_ipv6, timed_search

#: The programs that are still told if they demand a key: a path with a sign stays open.
_TOLD_WITHOUT_KEY = {
    *("llama.cpp", "llama.cpp router", "llamafile", "llama-swap", "vLLM", "TabbyAPI", "LocalAI"),
    *("KoboldCpp", "KoboldCpp with Ollama's text", "Docker Model Runner", "LiteLLM", "Open WebUI"),
    "Text Embeddings Inference",
}


@contextlib.contextmanager
def _all(**options: Any) -> Iterator[Dict[str, FakeProduct]]:
    """Start a fake of each program."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(FakeProduct(name, **options)) for name in sorted(GREETINGS)
        }


def _search(fakes: Mapping[str, FakeProduct]) -> Dict[str, FoundServer]:
    """Return the server that one search finds for each program."""
    found = discover([fake.url + fake.prefix for fake in fakes.values()], timeout_s=60.0)
    by_port = {server.endpoint.split(":")[2].split("/")[0]: server for server in found.servers}
    return {name: by_port[str(fake.port)] for name, fake in fakes.items()}


def _check_requests(fakes: Mapping[str, FakeProduct]) -> None:
    for name, fake in fakes.items():
        paths = [exchange.path[len(fake.prefix) :] for exchange in fake.exchanges]
        assert {exchange.method for exchange in fake.exchanges} == {"GET"}
        assert not any("authorization" in exchange.headers for exchange in fake.exchanges)
        assert not [path for path in paths if path.startswith(FORBIDDEN) or "?" in path], name
        assert len(paths) == len(set(paths)), f"{name} was asked for a path twice"


def _address(server: FoundServer, fake: FakeProduct) -> Tuple[str, str]:
    """Return the kind of a server, and its address. llama.cpp has a provider of its own."""
    if server.product == "llama.cpp":
        return "llamacpp", fake.base_url[: -len("/v1")]
    return "openai-compatible", fake.base_url


@pytest.mark.parametrize("prefix", ["", "/llm"])
def test_each_greeting_is_told_apart_in_one_search(prefix: str) -> None:
    with _all(prefix=prefix) as fakes:
        found = _search(fakes)
        _check_requests(fakes)

    for name, server in found.items():
        greeting = fakes[name].greeting
        assert server.product == greeting.product, name
        assert (server.state, server.reason) == ("available", ""), name
        assert (server.kind, server.endpoint) == _address(server, fakes[name]), name
        assert server.models and server.evidence, name
    assert "/health" not in [each.path[len(prefix) :] for each in fakes["LiteLLM"].exchanges]


@pytest.mark.parametrize("prefix", ["", "/llm"])
def test_no_program_takes_the_name_of_another_one_if_a_key_is_needed(prefix: str) -> None:
    with _all(prefix=prefix, api_key="the-key") as fakes:
        found = _search(fakes)
        _check_requests(fakes)

    for name, server in found.items():
        expected = GREETINGS[name].product if name in _TOLD_WITHOUT_KEY else None
        has_list = GREETINGS[name].has_list
        assert server.product == expected, name
        assert server.kind == _address(server, fakes[name])[0], name
        assert (server.state == "needs a key") is has_list, name
    assert "/health" not in [each.path[len(prefix) :] for each in fakes["LiteLLM"].exchanges]


def test_the_version_of_each_program_is_told() -> None:
    with _all() as fakes:
        versions = {name: server.version for name, server in _search(fakes).items()}

    assert {name: version for name, version in versions.items() if version} == {
        "Docker Model Runner": "v1.0.3",
        "KoboldCpp": "1.113.2",
        "KoboldCpp with Ollama's text": "1.113.2",
        "Lemonade": "9.0.4",
        "LocalAI": "v3.5.0 (abc)",
        "Open WebUI": "0.6.30",
        "OpenVINO Model Server": "2025.3",
        "SGLang": "0.5.2",
        "Text Embeddings Inference": "1.7.1",
        "llama.cpp": "b11549-0a1b2c3",
        "llama.cpp behind a proxy": "b11549-0a1b2c3",
        "llamafile": "b1500-a1b2c3d",
        "vLLM": "0.11.0",
    }


@pytest.mark.parametrize("name", ["Docker Model Runner", "Lemonade", "vLLM", "Infinity"])
def test_an_address_may_end_with_the_path_of_its_api(name: str) -> None:
    with FakeProduct(name, prefix="/llm") as fake:
        server = find_server(fake.base_url)

    assert (server.product, server.endpoint) == (name, fake.base_url)


def test_the_other_path_of_docker_model_runner_is_understood() -> None:
    with FakeProduct("Docker Model Runner") as fake:
        server = find_server(f"{fake.url}/engines/llama.cpp/v1")

    assert server.endpoint == f"{fake.url}/engines/v1"


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", sorted(set(GREETINGS) - {"Text Embeddings Inference"}))
def test_a_program_is_used_as_it_was_found(name: str) -> None:
    with FakeProduct(name, ["some-model"]) as fake:
        with find_server(fake.url).make_provider(model="some-model") as provider:
            assert isinstance(provider, OpenAICompatibleProvider)
            assert provider.chat("Hi").text == "Hello there, friend."
            assert [model.name for model in provider.list_models()] == ["some-model"]


@pytest.mark.parametrize("name", ["SGLang", "Lemonade", "OpenVINO Model Server"])
def test_the_key_of_a_configured_address_opens_the_greetings(name: str) -> None:
    with FakeProduct(name, api_key="the-key") as fake:
        address = ConfiguredAddress(fake.url, options={"api_key": "the-key"})
        server = find_server(address)

    assert (server.product, server.state) == (name, "available")


# --- many ports ----------------------------------------------------------------------------


@needs_ipv6
def test_twenty_ports_are_asked_on_both_loopback_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.ExitStack() as stack:
        fakes = [stack.enter_context(FakeProduct(name)) for name in sorted(GREETINGS)[:19]]
        ports = [*(fake.port for fake in fakes), closed_port()]
        monkeypatch.setattr(candidates, "usual_ports", lambda: dict.fromkeys(ports, "a server"))
        found, _ = timed_search(timeout_s=30.0)

    assert len(found.tried) == 40
    products = [fake.greeting.product for fake in fakes]
    assert [server.product for server in found.servers] == products, found.explain()
    assert [probe.outcome for probe in found.tried][-2:] == ["nothing", "nothing"]


def test_both_ports_of_llama_cpp_are_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert {9931, 8080} <= set(candidates.usual_ports())


# --- what a user reads ---------------------------------------------------------------------


def _explained(found: Discovery) -> List[str]:
    return found.explain().splitlines()


def test_a_search_explains_the_product_and_the_evidence() -> None:
    with FakeProduct("vLLM", ["m"]) as fake, FakeProduct("Jan", ["m"]) as jan:
        with FakeOllama(["m"]) as ollama:
            found = discover([fake.url, jan.url, ollama.url])
    lines = _explained(found)

    name = f"openai-compatible-{fake.port}"
    assert lines[:6] == [
        f"{name} (vLLM 0.11.0) at {fake.url}/v1: available; 1 model",
        "  recognised by GET /v1/models: status 200, owned_by 'vllm'",
        f"openai-compatible-{jan.port} (product unknown) at {jan.url}/v1: available; 1 model",
        "  recognised by GET /v1/models: status 200, a list of models",
        f"ollama 0.40.5 at {ollama.url}: available; 1 model",
        "  recognised by GET /: status 200, 'Ollama is running'",
    ]
    assert f"- {fake.url}: available; openai-compatible (vLLM 0.11.0) with 1 model" in lines
    assert str(found).splitlines()[0] == lines[0]
    assert "| vLLM 0\\.11\\.0 |" in found._repr_markdown_().replace("0.11.0", "0\\.11\\.0")


def test_the_command_prints_the_product(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeProduct("KoboldCpp", ["m"]) as fake:
        assert cli.main(["discover", fake.url]) == 0
    said = capsys.readouterr().out

    assert f"(KoboldCpp 1.113.2) at {fake.url}/v1: available; 1 model\n" in said
    assert f"- openai-compatible-{fake.port}/m\n" in said


def test_evidence_and_product_go_through_json_and_cannot_add_lines() -> None:
    server = FoundServer(
        kind="openai-compatible", name="x", endpoint="http://127.0.0.1:1/v1",
        product="a\nb", evidence=["GET /: status 200, 'x\ny'"],  # type: ignore[arg-type]
        forwards_prompts=True,
    )  # fmt: skip

    assert FoundServer.from_dict(server.to_dict()) == server
    assert (server.product, server.evidence) == (r"a\nb", (r"GET /: status 200, 'x\ny'",))
    assert "evidence=<1 item" in repr(server)


def test_a_proxy_for_other_hosts_is_marked() -> None:
    with FakeProduct("LiteLLM") as proxy, FakeProduct("vLLM") as own:
        found = discover([proxy.url, own.url])

    assert [server.forwards_prompts for server in found.servers] == [True, False]
    assert found.tried[0].reason.endswith("with 2 models; it may send prompts to other hosts")


# --- odd states ----------------------------------------------------------------------------


def _scripted(paths: Mapping[str, Any], default: Any) -> Any:
    def script(exchange: Exchange) -> Any:
        said = paths.get(exchange.path, default)
        return said if isinstance(said, list) else [said]

    return script


_LLAMA = [("Server", "llama.cpp")]
_LOADING = http_answer(
    {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},
    status="503 Service Unavailable",
    headers=_LLAMA,
)


@pytest.mark.parametrize("models", [["m"], ["m", "other"]])
def test_a_llama_cpp_is_listed_with_its_models_in_memory(models: List[str]) -> None:
    with FakeLlamaCpp(models) as fake:
        fake.loaded["m"] = 4096
        found = find_server(fake.url)

    assert [model.loaded for model in found.models] == [model == "m" for model in models]
    assert [model.name for model in found.loaded] == ["m"]


def test_a_llama_cpp_that_sleeps_has_no_model_in_memory() -> None:
    with FakeLlamaCpp(["m"]) as fake:
        fake.sleeping = True
        found = find_server(fake.url)

    assert [model.loaded for model in found.models] == [False]
    assert found.loaded == ()


def test_a_llama_cpp_that_loads_its_model_is_told() -> None:
    with ScriptedServer(_scripted({}, _LOADING)) as server:
        found = find_server(server.url)

    assert (found.product, found.state, found.reason) == (
        "llama.cpp",
        "degraded",
        "it is loading its model",
    )


def test_a_server_that_loads_its_model_behind_a_proxy_is_told() -> None:
    with ScriptedServer(_scripted({}, _LOADING.replace(b"Server: llama.cpp\r\n", b""))) as server:
        found = find_server(server.url)

    assert (found.kind, found.product, found.state, found.reason) == (
        "openai-compatible",
        None,
        "degraded",
        "it is loading its model",
    )


def test_an_unknown_server_is_asked_for_each_path_once() -> None:
    with ScriptedServer(_scripted({}, http_answer({"status": "ok"}))) as server:
        found = find_server(server.url)

    paths = [exchange.path for exchange in server.exchanges]
    assert found.kind == "unknown"
    assert sorted(paths) == sorted(set(paths))


def test_an_error_in_the_form_of_a_list_is_no_list() -> None:
    listed = {"object": "list", "data": None, "error": {"message": "the disk is full"}}
    missing = http_answer({}, status="404 Not Found")
    with ScriptedServer(_scripted({"/v1/models": http_answer(listed)}, missing)) as server:
        found = find_server(server.url)

    assert (found.kind, found.state) == ("unknown", "unavailable")
    assert "the disk is full" in found.reason


def test_a_known_program_whose_list_fails_is_degraded() -> None:
    broken = http_answer("no", status="500 Internal Server Error", headers=_LLAMA)
    with ScriptedServer(_scripted({}, broken)) as server:
        found = find_server(server.url)

    assert (found.product, found.state) == ("llama.cpp", "degraded")
    assert found.reason == "the models could not be listed: the server says: no"


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_a_known_program_with_a_prefix_that_was_not_given_is_unavailable(status: str) -> None:
    page = http_answer("{}", status=status, headers=_LLAMA)
    with ScriptedServer(_scripted({}, page)) as server:
        found = find_server(server.url)

    assert (found.product, found.state) == ("llama.cpp", "unavailable")
    assert found.reason == (
        "it has no list of models at /v1/models; if the paths of the server have a prefix, pass the"
        " address with this prefix"
    )


@pytest.mark.parametrize("path", ["/api/config", "/health/liveliness"])
def test_a_greeting_that_never_comes_does_not_hide_a_list(
    path: str, fake_clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=fake_clock))
    listed = http_answer({"object": "list", "data": [{"id": "m", "object": "model"}]})
    silence = [lambda exchange: exchange.hold()]
    missing = http_answer({}, status="404 Not Found")
    with ScriptedServer(_scripted({path: silence, "/v1/models": listed}, missing)) as server:
        found = find_server(server.url, timeout_s=0.5)

    assert (found.state, found.product, len(found.models)) == ("available", None, 1)


#: Servers that are not model servers, or whose answer belongs to several programs.
_NOBODY: Mapping[str, Mapping[str, bytes]] = {
    "AirPlay": {
        "*": http_answer(status="403 Forbidden", headers=[("Server", "AirTunes/800.1")]),
    },
    "a version": {"/version": http_answer({"version": "0.11.0"})},
    "KServe": {"/v2": http_answer({"name": "triton", "version": "2.50", "extensions": []})},
    "Chroma": {"/api/v2/heartbeat": http_answer({"nanosecond heartbeat": 1})},
    "Weaviate": {"/v1/meta": http_answer({"version": "1.30"})},
    "healthy": {"/health": http_answer({"status": "ok"})},
    "an API like Ollama's": {
        "/api/version": http_answer({"version": "0.9"}),
        "/api/tags": http_answer({"models": []}),
    },
}


@pytest.mark.parametrize("name", sorted(_NOBODY))
def test_an_answer_of_several_programs_tells_none(name: str) -> None:
    paths = _NOBODY[name]
    missing = http_answer({"detail": "Not Found"}, status="404 Not Found")
    with ScriptedServer(_scripted(paths, paths.get("*", missing))) as server:
        found = find_server(server.url)

    assert (found.kind, found.state, found.product) == ("unknown", "unavailable", None)
    assert found.reason


# --- the kind of a program -----------------------------------------------------------------


def test_a_row_of_the_table_can_name_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is that of the kind. The list is read once, in the form of the dialect."""
    rows = [row._replace(kind="lmstudio") for row in PRODUCTS]
    monkeypatch.setattr(recognition, "PRODUCTS", tuple(rows))
    with FakeProduct("vLLM", ["m"]) as fake:
        server = find_server(fake.url)

    assert (server.kind, server.product, server.endpoint) == ("lmstudio", "vLLM", fake.url)
    assert server.evidence and [model.name for model in server.models] == ["m"]


def test_no_sign_is_a_request_that_acts() -> None:
    for product in PRODUCTS:
        for way in product.ways:
            first: Optional[str] = way[0].path
            assert first != "/health"  # LiteLLM calls every model for it: another sign comes first
            assert not any(sign.path.startswith(FORBIDDEN) for sign in way)
