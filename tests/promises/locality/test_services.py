"""No call to a service leaves the machine without ``locality="any"``: no byte, and no look-up."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Callable, Iterator, List, Mapping

import pytest

from localproviders import (
    AnthropicProvider,
    CompletionRequest,
    Config,
    LocalityError,
    LocalProvider,
    Message,
    ModelProvider,
    OpenAICompatibleProvider,
    OpenAIProvider,
    OpenRouterProvider,
    UnsupportedError,
    create_provider,
    discover,
    kinds,
)
from localproviders.openai_compatible.kind import KIND
from localproviders.openai_compatible.wire.services import SERVICES
from localproviders.provider import ModelProvider as Interface

_REQUEST = CompletionRequest(messages=(Message.user("Hi"),))


def _stream(provider: ModelProvider, **_: Any) -> None:
    with provider.stream("Hi") as chunks:
        list(chunks)


def _stream_completion(provider: ModelProvider) -> None:
    with provider.stream_completion(_REQUEST) as chunks:
        list(chunks)


def _stream_tools(provider: ModelProvider) -> None:
    with provider.stream_tools("Hi", [_tool]) as chunks:
        list(chunks)


def _keep_loaded(provider: ModelProvider) -> None:
    with provider.keep_loaded("m"):
        pass


def _tool(city: str) -> str:
    """Return the weather.

    Args:
        city: The city.
    """
    return city


_VERBS: Mapping[str, Callable[[ModelProvider], Any]] = {
    "chat": lambda provider: provider.chat("Hi"),
    "complete": lambda provider: provider.complete(_REQUEST),
    "stream": _stream,
    "stream_completion": _stream_completion,
    "parse": lambda provider: provider.parse("Hi", dict),
    "run_tools": lambda provider: provider.run_tools("Hi", [_tool]),
    "stream_tools": _stream_tools,
    "decide": lambda provider: provider.decide("noon", {"late": "Is it late?"}),
    "decide_many": lambda provider: list(provider.decide_many(["noon"], {"late": "Late?"})),
    "embed": lambda provider: provider.embed(["Hi"]),
    "rerank": lambda provider: provider.rerank("a", ["b", "c"]),
    "list_models": lambda provider: provider.list_models(),
    "supports_model": lambda provider: provider.supports_model("m"),
    "model_info": lambda provider: provider.model_info("m"),
    "model_capabilities": lambda provider: provider.model_capabilities("m"),
    "count_tokens": lambda provider: provider.count_tokens("Hi"),
    "render": lambda provider: provider.render("Hi"),
    "load": lambda provider: provider.load("m"),
    "keep_loaded": _keep_loaded,
    "unload": lambda provider: provider.unload("m"),
    "loaded_models": lambda provider: provider.loaded_models(),
    "pull": lambda provider: provider.pull("m"),
}
_NOT_SENT = {"close", "limits", "name"}

_SERVICES: Mapping[str, Callable[..., ModelProvider]] = {
    "anthropic": AnthropicProvider,
    "openai": OpenAIProvider,
    "openrouter": OpenRouterProvider,
    "the dialect": lambda **options: OpenAICompatibleProvider(
        "https://api.openai.com/v1", **options
    ),
    **{
        service.name: lambda name=service.name, **options: OpenAICompatibleProvider(name, **options)
        for service in KIND.services
    },
    "a region": lambda **options: OpenAIProvider("https://eu.api.openai.com/v1", **options),
    "Azure": lambda **options: OpenAIProvider(
        "https://resource.openai.azure.com/openai/v1", **options
    ),
    "created": lambda locality="loopback", **options: create_provider(
        "openai/m", locality=locality, api_key=options["api_key"]
    ),
}


@contextlib.contextmanager
def _watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[List[str]]:
    """Yield the list of all look-ups, connections and sent bytes; each of them fails."""
    seen: List[str] = []

    def forbid(what: str) -> Callable[..., Any]:
        def fail(*arguments: Any, **_: Any) -> Any:
            seen.append(what)
            raise OSError(f"{what} is forbidden in this test")

        return fail

    with monkeypatch.context() as patch:
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            patch.setattr(socket, name, forbid(name))
        for name in ("connect", "connect_ex", "send", "sendall", "sendto", "sendmsg"):
            patch.setattr(socket.socket, name, forbid(name), raising=False)
        yield seen


def test_every_verb_is_in_the_table() -> None:
    public = {name for name in dir(Interface) if not name.startswith("_")}
    assert public == set(_VERBS) | _NOT_SENT


def test_each_service_has_rules_and_a_host_that_is_known() -> None:
    named = {service.name for service in KIND.services}
    assert named | {"openai", "openrouter"} == set(SERVICES)
    for service in KIND.services:
        rules = SERVICES[service.name]
        assert any(host in service.address for host in rules.hosts)
        assert service.key_variables == (rules.key_variable,)


@pytest.mark.sample(120)
@pytest.mark.parametrize("locality", ["loopback", "private"])
@pytest.mark.parametrize("verb", _VERBS)
@pytest.mark.parametrize("service", _SERVICES)
def test_no_verb_looks_up_a_name_or_sends_a_byte(
    service: str, verb: str, locality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _SERVICES[service](model="m", api_key="sk-secret-123", locality=locality) as provider:
        with _watched(monkeypatch) as seen:
            try:
                _VERBS[verb](provider)
            except LocalityError as error:
                assert "any" in (error.hint or "")  # noqa: PT017  # another error is allowed, too
            except UnsupportedError:
                pass  # the service does not have the verb, so nothing is to be sent
            else:
                # An estimate of the number of tokens needs no server.
                assert verb == "count_tokens"
        assert seen == []


@pytest.mark.parametrize("service", _SERVICES)
def test_with_any_locality_the_name_is_looked_up(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: List[str] = []

    def unknown(host: str, *_: Any, **__: Any) -> Any:
        seen.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with _SERVICES[service](model="m", api_key="sk-secret-123", locality="any") as provider:
        with pytest.raises(ConnectionError):
            provider.chat("Hi")
        assert set(seen) == {provider.settings.endpoint.host}  # type: ignore[attr-defined]  # of HTTP


@pytest.mark.parametrize("kind", ["anthropic", "openai", "openrouter", "groq"])
def test_a_configured_service_is_refused_in_the_same_way(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.load(environ={}, servers={"cloud": {"kind": kind}}, locality="private")
    with LocalProvider(config=config) as local, monkeypatch.context() as patch:
        seen: List[str] = []
        real = socket.getaddrinfo

        def look_up(host: str, *arguments: Any, **options: Any) -> Any:
            seen.append(host)
            return real(host, *arguments, **options)

        patch.setattr(socket, "getaddrinfo", look_up)
        with pytest.raises(LocalityError):
            local.chat("Hi", model="cloud/m")
    # The search for servers of this machine looks at loopback addresses only.
    assert {host for host in seen if host not in ("127.0.0.1", "::1")} == set()


@pytest.mark.parametrize("kind", ["anthropic", "openai", "openrouter", "groq"])
def test_a_search_does_not_look_up_the_name_of_a_configured_service(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", dict)
    found = kinds.find(kind)
    address = found.default_address if found is not None else SERVICES[kind].hosts[0]
    server = {"kind": kind, "endpoint": f"https://{str(address).partition('://')[2] or address}"}
    config = Config.load(environ={}, servers={"cloud": server}, locality="private")
    with _watched(monkeypatch) as seen:
        (cloud,) = discover(config.endpoints, locality="private").servers
    assert (cloud.state, seen) == ("unavailable", [])
    assert "any" in cloud.reason
