"""The lists and properties of a llama.cpp server."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from localproviders import (
    CapabilityError,
    Image,
    LlamaCppProvider,
    Message,
    ModelLoadError,
    UnreachableError,
)
from localproviders.testing import Exchange, FakeLlamaCpp, FakeModel, ScriptedServer, http_answer

_PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n....")


def test_the_only_model_is_in_memory_unless_it_sleeps() -> None:
    with FakeLlamaCpp(["only"]) as fake, LlamaCppProvider(fake.url) as provider:
        (loaded,) = provider.loaded_models()
        assert (loaded.name, loaded.context_length) == ("only", 4096)
        assert provider.model_info("only").loaded is True
        fake.sleeping = True
        assert provider.loaded_models() == []
        assert provider.model_info("only").loaded is False


def test_an_image_for_a_model_that_cannot_see_is_not_sent() -> None:
    with FakeLlamaCpp(["blind"]) as fake:
        with LlamaCppProvider(fake.url, model="any-name") as provider:
            with pytest.raises(CapabilityError, match=r"modalities\.vision is false"):
                provider.chat(Message.user("What is it?", images=[_PNG]))
        assert not [each for each in fake.exchanges if each.method == "POST"]


def test_a_router_is_not_asked_to_load_a_model_for_its_facts() -> None:
    with FakeLlamaCpp(["one", "two"]) as fake, LlamaCppProvider(fake.url) as provider:
        assert provider.model_info("one").capabilities.vision is None
        assert [each.path for each in fake.exchanges] == ["/v1/models"]
        with pytest.raises(ModelLoadError):
            provider.slots("one")
        provider.load("one")
        assert provider.model_info("one").capabilities.vision is False
        assert provider.slots("one")[0]["n_ctx"] == 4096
        assert provider.properties("one")["model_alias"] == "one"
        assert provider.properties()["role"] == "router"


def _with_aliases(exchange: Exchange) -> List[bytes]:
    if exchange.path == "/v1/models":
        entry: Dict[str, Any] = {"id": "a", "aliases": ["a", "b"], "meta": {"n_ctx": 512}}
        return [http_answer({"object": "list", "data": [entry]})]
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
    return [http_answer({"model": "a", "choices": [choice]})]


def test_a_model_has_several_names() -> None:
    with ScriptedServer(_with_aliases) as server:
        with LlamaCppProvider(server.url, model="b") as provider:
            assert provider.supports_model("b")
            assert provider.model_info("b").name == "a"
            assert provider.chat("Hi").warnings == ()
            (warning,) = provider.chat("Hi", model="c").warnings
    assert "'c'" in warning


def test_a_refused_connection_names_the_old_port(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = LlamaCppProvider(retry=None)
    error = UnreachableError("refused", hint="check that the server is running")
    monkeypatch.setattr(provider._runner.transport, "json", _raising(error))
    with pytest.raises(UnreachableError) as caught:
        provider.version()
    assert "check that the server is running; " in str(caught.value.hint)
    assert "8080" in str(caught.value.hint)


def _raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_the_key_of_the_environment_is_for_the_default_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", "k1")
    default, other = LlamaCppProvider(), LlamaCppProvider("http://127.0.0.1:9932")
    assert default.settings.api_key is not None
    assert other.settings.api_key is None
    assert LlamaCppProvider(auth=("user", "word")).settings.api_key is None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:9931"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/llm/v1/", "http://127.0.0.1:8080/llm"),
        ("unix:///run/llama.sock", "unix:///run/llama.sock"),
        ("unix:///run/llama.sock:/llm/v1", "unix:///run/llama.sock:/llm"),
    ],
)
def test_the_address_is_that_of_the_server(host: Any, url: str) -> None:
    assert LlamaCppProvider(host).settings.endpoint.url == url


def test_a_thinking_model_is_told_by_its_template() -> None:
    model = FakeModel(name="m", abilities=("chat", "thinking", "vision"))
    with FakeLlamaCpp([model]) as fake, LlamaCppProvider(fake.url) as provider:
        known = provider.model_capabilities("m")
    assert (known.thinking, known.vision) == (True, True)
    assert known.evidence["thinking"].source == "inferred"
