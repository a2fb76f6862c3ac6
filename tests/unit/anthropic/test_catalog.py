"""The lists of models, and the local servers whose route ``/v1/messages`` ignores some fields."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest

from localproviders import (
    AnthropicProvider,
    AuthenticationError,
    Message,
    ModelNotFoundError,
    ProtocolError,
    RetryPolicy,
    ServerBusyError,
    UnsupportedError,
)
from localproviders.anthropic.wire.servers import SERVICE, recognise
from localproviders.testing import Exchange, FakeAnthropic, ScriptedServer, http_answer
from tests.support.messages import body_of
from tests.support.recordings import dialect_exchange

_ONCE = RetryPolicy(attempts=1)


def _listed(owner: str) -> Dict[str, Any]:
    return {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]}


_LISTS: Dict[str, Any] = {
    "llamacpp": json.loads(body_of(dialect_exchange("models", "anthropic")[1])),
    "ollama": _listed("library"),
    "lmstudio": _listed("organization_owner"),
    "another": _listed("vllm"),
}
_NAMES = {
    "llamacpp": "llama.cpp's /v1/messages",
    "ollama": "Ollama's /v1/messages",
    "lmstudio": "LM Studio's /v1/messages",
    "another": "this server's /v1/messages",
}


class Local(NamedTuple):
    """A server with the route, and its provider."""

    server: ScriptedServer
    provider: AnthropicProvider

    @property
    def paths(self) -> List[str]:
        """The paths of all requests."""
        return [each.path.partition("?")[0] for each in self.server.exchanges]

    @property
    def sent(self) -> Any:
        """The body of the last request."""
        return self.server.exchanges[-1].json


@contextlib.contextmanager
def serve(kind: str, text: str = "Yes.", count: Optional[int] = None) -> Iterator[Local]:
    """Start a local server of a kind. It counts tokens if there is a count."""
    message = {
        "type": "message",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path.startswith("/v1/models"):
            return [http_answer(_LISTS[kind])]
        if exchange.path == "/v1/messages":
            return [http_answer(message)]
        if count is not None:
            return [http_answer({"input_tokens": count})]
        return [http_answer(b"404 page not found", status="404 X", content_type="text/plain")]

    with ScriptedServer(script) as server:
        options: Any = {"model": "m", "max_tokens": 3000, "retry": _ONCE}
        with AnthropicProvider(server.url, **options) as provider:
            yield Local(server, provider)


def look(city: str) -> str:
    """Look."""
    return city


_ANY_KIND = pytest.mark.parametrize("kind", sorted(_LISTS))
_THINKING_IGNORED = ("llamacpp", "lmstudio")
_NO_BUDGETS = ("llamacpp", "lmstudio", "ollama")


@_ANY_KIND
def test_a_plain_chat_asks_no_local_server_what_it_is(kind: str) -> None:
    with serve(kind) as local:
        assert local.provider.chat("Hi", temperature=0, top_k=4, tools=[look]).text == "Yes."
        assert local.paths[-1] == "/v1/messages"
        assert (local.sent["temperature"], local.sent["top_k"]) == (0, 4)


#: Field, value, and the kinds of servers that ignore it.
_IGNORED: List[Any] = [
    ("response_schema", {"type": "object"}, tuple(_LISTS)),
    ("thinking", True, _THINKING_IGNORED),
    ("thinking", False, _THINKING_IGNORED),
    ("thinking", "low", _THINKING_IGNORED),
    ("thinking_budget", 2000, _NO_BUDGETS),
    ("tool_choice", "required", ("ollama",)),
    ("tool_choice", "none", _NO_BUDGETS),
    ("tool_choice", "other", tuple(_LISTS)),
]


@_ANY_KIND
@pytest.mark.parametrize(("name", "value", "kinds"), _IGNORED)
def test_a_field_that_a_local_server_ignores_is_refused_or_left_out(
    kind: str, name: str, value: Any, kinds: Any
) -> None:
    def other() -> str:
        """Look elsewhere."""
        return ""

    fields: Any = {name: value, "tools": [look, other]}
    with serve(kind) as local:
        if kind not in kinds:
            assert local.provider.chat("Hi", **fields).warnings == ()
            return
        with pytest.raises(UnsupportedError, match=name) as caught:
            local.provider.chat("Hi", **fields)
        assert f"{_NAMES[kind]} ignores it" in str(caught.value.hint)
        (warning,) = local.provider.chat("Hi", strict=False, **fields).warnings
        assert name in warning and "left out" in warning
        keys = {"response_schema": "output_config", "thinking_budget": "thinking"}
        assert keys.get(name, name) not in local.sent
        assert local.paths.count("/v1/models") <= 2


@_ANY_KIND
def test_the_only_tool_can_be_forced_where_any_can(kind: str) -> None:
    with serve(kind) as local:
        if kind == "ollama":
            with pytest.raises(UnsupportedError, match="tool_choice"):
                local.provider.chat("Hi", tools=[look], tool_choice="look")
            return
        local.provider.chat("Hi", tools=[look], tool_choice="look")
        assert local.sent["tool_choice"] == {"type": "any"}


@_ANY_KIND
@pytest.mark.parametrize("strict", [False, True])
def test_a_document_is_refused_and_never_dropped(kind: str, strict: bool) -> None:
    with serve(kind) as local:
        with pytest.raises(UnsupportedError, match="does not read documents") as caught:
            local.provider.chat(Message.user("Hi", documents=[b"a text"]), strict=strict)
        assert "into the text" in str(caught.value.hint)
        assert "/v1/messages" not in local.paths


@_ANY_KIND
def test_parse_writes_the_schema_in_words_and_checks(kind: str) -> None:
    with serve(kind, text='{"n": 4}') as local:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        assert local.provider.parse("How many?", schema).value == {"n": 4}
        assert "JSON Schema" in local.sent["messages"][0]["content"]
        assert "output_config" not in local.sent


def test_ollama_has_its_own_forms_of_thinking() -> None:
    with serve("ollama") as local:
        for value, fields in (
            (True, {"thinking": {"type": "enabled", "budget_tokens": 1500}}),
            (False, {"thinking": {"type": "disabled"}}),
            ("high", {"output_config": {"effort": "high"}}),
        ):
            local.provider.chat("Hi", thinking=value)
            found = {key: local.sent.get(key) for key in ("thinking", "output_config")}
            assert {key: each for key, each in found.items() if each} == fields


def test_a_count_is_exact_where_the_server_counts_and_else_an_estimate() -> None:
    with serve("llamacpp", count=7) as local:
        found = local.provider.count_tokens("Hi", tools=[look])
        assert (found.tokens, found.source) == (7, "exact")
        assert set(local.sent) == {"model", "messages", "tools"}
    with serve("ollama") as local:
        assert local.provider.count_tokens("Hi").source == "rough"
        local.provider.chat("a question")
        assert local.provider.count_tokens("Hi").source == "calibrated"


def test_the_server_is_asked_once_what_it_is() -> None:
    with serve("ollama") as local:
        for _ in range(3):
            local.provider.chat("Hi", thinking=False)
        local.provider.list_models()
        assert local.paths.count("/v1/models") == 2


@_ANY_KIND
def test_a_local_list_and_a_local_model_are_read(kind: str) -> None:
    name = "gemma3-270m" if kind == "llamacpp" else "m"
    with serve(kind) as local:
        assert [info.name for info in local.provider.list_models()] == [name]
        assert local.provider.model_info(name).provider == "anthropic"
        with pytest.raises(ModelNotFoundError):
            local.provider.model_info("nope")


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ({"object": "list", "data": None}, "Ollama's /v1/messages"),
        (
            {"object": "list", "data": [{"id": "me/model:latest", "owned_by": "me"}]},
            "Ollama's /v1/messages",
        ),
        ({"object": "list", "data": []}, "this server's /v1/messages"),
        ({"data": [{"type": "model", "id": "claude"}], "has_more": False}, SERVICE.name),
        ({"data": [], "has_more": False}, SERVICE.name),
        ({"error": "no"}, SERVICE.name),
        ([], SERVICE.name),
        (None, SERVICE.name),
    ],
)
def test_a_server_is_recognised_by_its_list(listed: Any, name: str) -> None:
    assert recognise(listed).name == name


@pytest.mark.parametrize(
    ("status", "error"),
    [("401 X", AuthenticationError), ("503 X", ServerBusyError), ("404 X", None)],
)
def test_a_list_that_fails_ends_the_call_if_the_prompt_would_fail_too(
    status: str, error: Any
) -> None:
    message = {"type": "message", "model": "m", "content": [], "stop_reason": "end_turn"}

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path.startswith("/v1/models"):
            return [http_answer({"error": {"message": "no"}}, status=status)]
        return [http_answer(message)]

    with ScriptedServer(script) as server:
        with AnthropicProvider(server.url, model="m", retry=_ONCE, max_tokens=9) as provider:
            if error is None:
                provider.chat("Hi", response_schema={"type": "object"})
                assert server.exchanges[-1].json["output_config"]["format"]["type"] == "json_schema"
                return
            with pytest.raises(error):
                provider.chat("Hi", response_schema={"type": "object"})


# --- pages ----------------------------------------------------------------------------------------


def test_all_pages_of_a_long_list_are_read() -> None:
    names = [f"claude-{number}" for number in range(2050)]
    with FakeAnthropic(names) as fake, AnthropicProvider(fake.url) as provider:
        assert [info.name for info in provider.list_models()] == names
        paths = [each.path for each in fake.exchanges]
    assert paths == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=claude-999",
        "/v1/models?limit=1000&after_id=claude-1999",
    ]


@pytest.mark.parametrize("number", [1, 2])
def test_pages_without_an_end_are_an_error(number: int) -> None:
    def script(exchange: Exchange) -> List[bytes]:
        last = f"m{len(server.exchanges) % number}"
        models = [{"type": "model", "id": last}]
        return [http_answer({"data": models, "has_more": True, "last_id": last})]

    with ScriptedServer(script) as server, AnthropicProvider(server.url) as provider:
        with pytest.raises(ProtocolError, match="have no end"):
            provider.list_models()
        assert len(server.exchanges) == number + 1


def test_a_model_has_its_facts_with_the_words_of_the_server() -> None:
    with FakeAnthropic() as fake, AnthropicProvider(fake.url) as provider:
        found = provider.model_info("claude-haiku-4-5-20251001")
        known = found.capabilities
        assert (found.name, known.max_context_length) == ("claude-haiku-4-5", 200_000)
        assert (known.vision, known.structured_output, known.embeddings) == (True, True, False)
        assert known.thinking_levels == ("on", "off")
        detail = "GET /v1/models: capabilities.image_input.supported is true"
        assert known.evidence["vision"].detail == detail
        levels = provider.model_info("claude-opus-4-8").capabilities.thinking_levels
        assert levels == ("on", "off", "low", "medium", "high", "xhigh", "max")
        assert found.modified_at is not None
