"""Several system messages reach a model whose chat template accepts only one."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Dict, List

import pytest

from localproviders import LocalProvider, Message, ProviderError, RequestRejectedError
from localproviders.telemetry import CallEvent
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.locality import PROVIDERS, good, make

_SAID = "Jinja Exception: System message must be at the beginning."

#: Refusals of real templates and servers.
_REFUSALS = [
    (
        "500 Internal Server Error",
        {"error": {"code": 500, "message": _SAID, "type": "server_error"}},
    ),
    ("400 Bad Request", {"error": {"message": _SAID[17:], "type": "BadRequestError", "code": 400}}),
    ("404 Not Found", {"error": _SAID[17:]}),
    ("400 Bad Request", {"error": "Conversation roles must alternate user/assistant/user/..."}),
    ("400 Bad Request", {"error": {"message": "only one system message is allowed"}}),
]

#: Other texts of refusals. Most are of templates, the last three of Mistral's API and of gateways.
_MORE_TEXTS = [
    "Only the first message can have the role 'system'",
    "System messages are only allowed at the beginning of the conversation",
    "After the optional system message, conversation roles must alternate user/assistant",
    "multiple system messages are not supported",
    "the system prompt must come first",
    "Unexpected role 'system' after role 'user'",
    "'system' role is only allowed at the start",
    "system message (index 3) must be the first message",
]

#: Errors about something else, which mention the system message.
_OTHER_TEXTS = [
    "the system prompt is too long; start a new conversation",
    "the first part of the system message must be text",
    "system message contains a token that is not allowed at the beginning of a text",
    "the system message content is empty: first character missing",
    "cannot process: only one image per request; the system message has 2",
    "system message template: parse error at the start",
    "the system prompt cache could not be started",
    'invalid JSON near "You are a system. First, read"',
]

_LATE = [
    Message.system("one"),
    Message.user("a"),
    Message.assistant("b"),
    Message.system("two"),
    Message.user("c"),
]


def _chats(server: ScriptedServer) -> List[Any]:
    return [each.json["messages"] for each in server.exchanges if each.method == "POST"]


def _strict(status: str, body: Any) -> Any:
    """Return a script that refuses each system message after the first message."""

    def script(exchange: Exchange) -> List[Any]:
        messages = exchange.json["messages"] if exchange.method == "POST" else []
        late = [each for each in messages[1:] if each["role"] == "system"]
        return [http_answer(body, status=status)] if late else good(exchange)

    return script


@pytest.mark.parametrize("kind", PROVIDERS)
def test_refused_system_messages_are_sent_as_one_with_a_warning(kind: str) -> None:
    for status, body in _REFUSALS:
        with ScriptedServer(_strict(status, body)) as server, make(kind, server) as provider:
            first = provider.chat(_LATE)
            second = provider.chat(_LATE)
            plain = provider.chat([Message.system("one"), Message.user("a")])
        roles = [[each["role"] for each in messages] for messages in _chats(server)]
        joined = ["system", "user", "assistant", "user"]

        assert roles == [[each.role for each in _LATE], joined, joined, ["system", "user"]]
        assert _chats(server)[1][0]["content"] == "one\n\ntwo"
        [warning] = first.warnings
        assert "refuses these system messages, so they were sent as one message" in warning
        assert (second.warnings, plain.warnings) == (first.warnings, ())
        assert (first.attempts, second.attempts) == (2, 1)


def test_only_a_refusal_of_system_messages_causes_a_second_request() -> None:
    for text in (*_MORE_TEXTS, *_OTHER_TEXTS):
        script = _strict("400 Bad Request", {"error": text})
        with ScriptedServer(script) as server, make("openai", server) as provider:
            with contextlib.suppress(ProviderError):
                provider.chat(_LATE)
        assert len(_chats(server)) == (2 if text in _MORE_TEXTS else 1), text


def test_every_form_of_a_call_joins_refused_system_messages() -> None:
    def tool() -> str:
        return "x"

    forms: Dict[str, Any] = {
        "stream": lambda provider: provider.stream(_LATE).result(),
        "tools": lambda provider: provider.run_tools(_LATE, [tool]),
    }
    for form in forms.values():
        with ScriptedServer(_strict(*_REFUSALS[0])) as server, make("openai", server) as provider:
            form(provider)
        assert [len(messages) for messages in _chats(server)] == [5, 4]


def _template(exchange: Exchange) -> List[Any]:
    """Answer the routes of a server that renders prompts, as strictly as `_strict`."""
    if exchange.path == "/tokenize" and "content" in exchange.json:
        return [http_answer({"tokens": [1, 2, 3]})]
    late = [each for each in exchange.json["messages"][1:] if each["role"] == "system"]
    if late:
        return [http_answer(_REFUSALS[0][1], status=_REFUSALS[0][0])]
    if exchange.path in ("/apply-template", "/tokenize"):
        return [http_answer({"prompt": "<p>", "count": 3})]
    if "_debug_render_only" in exchange.json:
        info = {"_debug_info": {"rendered_template": "<p>"}}
        return [http_answer({"model": exchange.json["model"], "done": True, **info})]
    return good(exchange)


def test_rendering_and_counting_join_refused_system_messages() -> None:
    with ScriptedServer(_template) as server, make("openai", server) as provider:
        assert provider.render(_LATE) == "<p>"
        count = provider.count_tokens(_LATE)
        provider.chat(_LATE)
    assert (count.tokens, count.source) == (3, "exact")
    # The refusal is remembered for all routes, which use the same template.
    assert [len(e.json.get("messages", ())) for e in server.exchanges] == [5, 4, 4, 0, 4]


def test_counting_alone_joins_them_too() -> None:
    def only_count(exchange: Exchange) -> List[Any]:
        if exchange.path == "/apply-template":
            return [http_answer({"error": "not found"}, status="404 Not Found")]
        return _template(exchange)

    for script, lengths in ((_template, [5, 4, 0]), (only_count, [5, 5, 4])):
        with ScriptedServer(script) as server, make("openai", server) as provider:
            assert provider.count_tokens(_LATE).source == "exact"
        assert [len(e.json.get("messages", ())) for e in server.exchanges] == lengths


def test_ollama_renders_joined_system_messages() -> None:
    def script(exchange: Exchange) -> List[Any]:
        return _template(exchange) if exchange.path == "/api/chat" else good(exchange)

    with ScriptedServer(script) as server, make("ollama", server) as provider:
        assert provider.render(_LATE) == "<p>"
        provider.chat(_LATE)
    assert [len(messages) for messages in _chats(server) if len(messages) > 1] == [5, 4, 4]


def _in_stream(kind: str, error: Any) -> Any:
    """Return a script that answers a late system message with a 200 whose record is the error."""
    record = {"error": error}
    is_ollama = kind == "ollama"
    body = json.dumps(record) + "\n" if is_ollama else f"data: {json.dumps(record)}\n\n"
    media = "application/x-ndjson" if is_ollama else "text/event-stream"

    def script(exchange: Exchange) -> List[Any]:
        messages = exchange.json["messages"] if exchange.method == "POST" else []
        late = [each for each in messages[1:] if each["role"] == "system"]
        return [http_answer(body, headers=[("Content-Type", media)])] if late else good(exchange)

    return script


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_refusal_in_the_first_record_is_sent_again_too(kind: str) -> None:
    events: List[CallEvent] = []
    forms: List[Any] = [
        lambda provider: provider.chat(_LATE),
        lambda provider: provider.stream(_LATE).result(),
        lambda provider: provider.run_tools(_LATE, []).response,
    ]
    for form in forms:
        for error in (_SAID, {"message": _SAID, "code": 500}):
            script = _in_stream(kind, error)
            with ScriptedServer(script) as server:
                with make(kind, server, listeners=[events.append]) as provider:
                    first, second = form(provider), form(provider)
            assert [len(messages) for messages in _chats(server)] == [5, 4, 4]
            [warning] = first.warnings
            assert "refuses these system messages, so they were sent as one message" in warning
            assert (second.warnings, first.text) == (first.warnings, second.text)
            assert (first.attempts, second.attempts) == (2, 1)
    assert [e.kind for e in events].count("failed") == 0
    assert [e.kind for e in events].count("retried") == len(forms) * 2


def test_a_local_provider_sends_it_again_too() -> None:
    with ScriptedServer(_in_stream("openai", _SAID)) as server:
        with make("openai", server) as inner, LocalProvider([inner]) as provider:
            assert provider.chat(_LATE, model="m").attempts == 2
            assert provider.stream(_LATE, model="m").result().attempts == 1


def test_a_second_refusal_in_the_first_record_is_the_error() -> None:
    refusal = http_answer(f'data: {{"error": "{_SAID}"}}\n\n')
    with ScriptedServer(refusal) as server, make("openai", server) as provider:
        for _ in range(2):
            with pytest.raises(ProviderError, match="must be at the beginning"):
                provider.chat(_LATE)
    assert [len(messages) for messages in _chats(server)] == [5, 4, 5, 4]


def test_a_refusal_after_text_is_an_error_with_the_text() -> None:
    chunk = '{"model": "m", "choices": [{"index": 0, "delta": {"content": "So"}}]}'
    refusal = http_answer(f'data: {chunk}\n\ndata: {{"error": "{_SAID}"}}\n\n')
    with ScriptedServer(refusal) as server, make("openai", server) as provider:
        with pytest.raises(ProviderError, match="must be at the beginning") as caught:
            provider.chat(_LATE)
    assert caught.value.partial == "So"
    assert len(_chats(server)) == 1


def test_a_refusal_is_remembered_for_the_model_only() -> None:
    with ScriptedServer(_strict(*_REFUSALS[0])) as server, make("openai", server) as provider:
        provider.chat(_LATE)
        provider.chat(_LATE, model="other", allow_other_model=True)
    assert [len(messages) for messages in _chats(server)] == [5, 4, 5, 4]


def test_system_messages_that_cannot_be_joined_stay_an_error() -> None:
    refusal = http_answer(_REFUSALS[0][1], status=_REFUSALS[0][0])
    begins_well: List[Any] = [Message.system("one"), Message.user("a")]
    extra = {"extra_body": {"messages": [{"role": "system", "content": "x"}] * 2}}
    cases: List[Any] = [(begins_well, {}), (begins_well, extra), ("a", {})]
    for messages, more in cases:
        with ScriptedServer(refusal) as server, make("openai", server) as provider:
            with pytest.raises(ProviderError, match="must be at the beginning"):
                provider.chat(messages, **more)
        assert len(_chats(server)) == 1


def test_a_second_refusal_is_the_error() -> None:
    refusal = http_answer(_REFUSALS[3][1], status=_REFUSALS[3][0])
    with ScriptedServer(refusal) as server, make("openai", server) as provider:
        with pytest.raises(RequestRejectedError, match="must alternate"):
            provider.chat(_LATE)
    assert len(_chats(server)) == 2


# --- the argument `system` --------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_argument_joins_a_system_message_at_the_beginning(kind: str) -> None:
    history: List[Any] = [Message.system("a"), Message.user("x")]
    with ScriptedServer(good) as server, make(kind, server) as provider:
        response = provider.chat(history, system="b")
        provider.stream([{"role": "developer", "content": "a"}, history[1]], system="b").result()
        provider.chat([history[1], history[0], history[1]], system="b")
    said = [[(m["role"], m["content"]) for m in messages] for messages in _chats(server)]

    assert said[0] == said[1] == [("system", "b\n\na"), ("user", "x")]
    assert [role for role, _ in said[2]] == ["system", "user", "system", "user"]
    assert response.warnings == ()
    assert history[0].content == "a"
