"""The switch of thinking: servers that refuse it, and servers that ignore it."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import pytest

from localproviders import (
    CompletionResponse,
    LMStudioProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
)
from localproviders.testing import ScriptedServer, http_answer
from localproviders.testing.scripted import Exchange

_FIELD = "chat_template_kwargs"

REFUSALS: Dict[str, Tuple[Any, str]] = {
    "OpenAI": (
        {"error": {"message": f"Unrecognized request argument supplied: {_FIELD}"}},
        "400 Bad Request",
    ),
    "OpenAI, new model": (
        {
            "error": {
                "message": f"Unknown parameter: '{_FIELD}'.",
                "type": "invalid_request_error",
                "param": _FIELD,
                "code": "unknown_parameter",
            }
        },
        "400 Bad Request",
    ),
    "Mistral": (
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", _FIELD],
                        "msg": "Extra inputs are not permitted",
                        "input": {"enable_thinking": False},
                    }
                ]
            },
        },
        "422 Unprocessable Entity",
    ),
    "Gemini": (
        [
            {
                "error": {
                    "code": 400,
                    "message": f'Invalid JSON payload received. Unknown name "{_FIELD}": '
                    "Cannot find field.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "400 Bad Request",
    ),
    "a server that reads only some switches": (
        {"error": "enable_thinking is not supported by this model"},
        "400 Bad Request",
    ),
    "vLLM with Mistral's tokenizer": (
        {
            "object": "error",
            "message": "chat_template is not supported for Mistral tokenizers.",
            "type": "BadRequestError",
            "code": 400,
        },
        "400 Bad Request",
    ),
}


def _refusing(refusal: Tuple[Any, str], bodies: List[Dict[str, Any]]) -> ScriptedServer:
    def script(exchange: Exchange) -> List[bytes]:
        bodies.append(exchange.json)
        if _FIELD in exchange.json:
            return [http_answer(refusal[0], status=refusal[1])]
        choice = {"index": 0, "delta": {"content": "Oslo"}, "finish_reason": "stop"}
        body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
        return [http_answer(body.encode(), content_type="text/event-stream")]

    return ScriptedServer(script)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_switch_is_an_error_that_names_the_other_switches(name: str) -> None:
    bodies: List[Dict[str, Any]] = []
    with _refusing(REFUSALS[name], bodies) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(ProviderError) as caught:
                provider.chat("Which?", thinking=False)

    assert len(bodies) == 1
    for words in ("thinking='none'", "extra_body", "strict=False"):
        assert words in str(caught.value.hint)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_switch_is_left_out_if_the_request_is_not_strict(name: str) -> None:
    bodies: List[Dict[str, Any]] = []
    with _refusing(REFUSALS[name], bodies) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            answers = [provider.chat("Which?", thinking=False, strict=False) for _ in range(2)]
            with provider.stream("Which?", thinking=False, strict=False) as stream:
                answers.append(stream.result())

    assert [answer.text for answer in answers] == ["Oslo"] * 3
    assert [_FIELD in body for body in bodies] == [True, False, False, False]
    assert [answer.attempts for answer in answers] == [2, 1, 1]
    for answer in answers:
        (warning,) = answer.warnings
        assert "refuses thinking" in warning


def test_arguments_of_the_template_that_the_caller_passes_are_never_left_out() -> None:
    bodies: List[Dict[str, Any]] = []
    extra = {_FIELD: {"builtin_tools": []}}
    with _refusing(REFUSALS["OpenAI"], bodies) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(ProviderError):
                provider.chat("Which?", thinking=False, strict=False, extra_body=extra)

    assert [body[_FIELD] for body in bodies] == [{"enable_thinking": False, "builtin_tools": []}]


_LEVEL_UNKNOWN = "Unsupported parameter: 'reasoning_effort' is not supported."
_VALUE_UNKNOWN = "Invalid value for reasoning_effort: expected one of 'low', 'high'"


@pytest.mark.sample(3)
@pytest.mark.parametrize("said", [_LEVEL_UNKNOWN, _VALUE_UNKNOWN])
@pytest.mark.parametrize(
    ("kind", "thinking"),
    [(OpenAICompatibleProvider, "low"), (LMStudioProvider, "low"), (LMStudioProvider, False)],
)
def test_a_refused_level_is_an_error_or_left_out(kind: Any, thinking: Any, said: str) -> None:
    bodies: List[Dict[str, Any]] = []

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.method == "GET":  # LM Studio's list of models
            return [http_answer({"data": []})]
        bodies.append(exchange.json)
        if "reasoning_effort" in exchange.json:
            return [http_answer({"error": {"message": said}}, status="400 Bad Request")]
        choice = {"index": 0, "delta": {"content": "Oslo"}, "finish_reason": "stop"}
        body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
        return [http_answer(body.encode(), content_type="text/event-stream")]

    with ScriptedServer(script) as server:
        url = server.url + ("/v1" if kind is OpenAICompatibleProvider else "")
        with kind(url, model="m") as provider:
            with pytest.raises(ProviderError) as caught:
                provider.chat("Which?", thinking=thinking)
            assert "strict=False" in str(caught.value.hint)
            assert len(bodies) == 1
            answers = [provider.chat("Which?", thinking=thinking, strict=False) for _ in range(2)]

    assert [answer.text for answer in answers] == ["Oslo"] * 2
    # A refusal of one value is not remembered, because another value may be accepted.
    expected = [2, 1] if said == _LEVEL_UNKNOWN else [2, 2]
    assert [answer.attempts for answer in answers] == expected
    for answer in answers:
        (warning,) = answer.warnings
        assert "refuses thinking" in warning


def test_a_request_without_the_switch_has_the_servers_own_hint() -> None:
    refusal = http_answer({"error": "chat_template: no user message"}, status="400 Bad Request")
    with ScriptedServer(refusal) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(ProviderError) as caught:
                provider.chat("Which?")

    assert "thinking" not in str(caught.value.hint)


# --- answers with thinking that was switched off, or with nothing else -------------------------


class Answer(NamedTuple):
    """An answer of a server: its kind, its body, and its media type."""

    kind: str
    body: bytes
    media: str


def _openai(
    *deltas: Dict[str, Any], reason: str = "stop", kind: str = "openai", **more: Any
) -> Answer:
    records: List[Dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    records.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **more})
    body = b"".join(b"data: " + json.dumps(record).encode() + b"\n\n" for record in records)
    return Answer(kind, body + b"data: [DONE]\n\n", "text/event-stream")


def _whole(message: Dict[str, Any], reason: str = "stop", **more: Any) -> Answer:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    body = json.dumps({"object": "chat.completion", "choices": [choice], **more})
    return Answer("openai", body.encode(), "application/json")


def _ollama(message: Dict[str, Any], reason: str = "stop", *, streamed: bool = True) -> Answer:
    base = {"model": "m", "done": False}
    end = {"role": "assistant", "content": ""}
    last = {"model": "m", "message": end, "done": True, "done_reason": reason}
    if not streamed:
        body = json.dumps({**last, "message": {**end, **message}})
        return Answer("ollama", body.encode(), "application/json")
    first = {**base, "message": {"role": "assistant", "content": "", **message}}
    lines = [json.dumps(record) for record in (first, last)]
    return Answer("ollama", "\n".join(lines).encode() + b"\n", "application/x-ndjson")


_COUNTED = {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 9}}
ONLY_THINKING: Dict[str, Answer] = {
    "reasoning_content": _openai({"reasoning_content": "hm"}),
    "reasoning": _openai({"reasoning": "hm"}),
    "a tag": _openai({"content": "<think>hm</think>"}),
    "blanks after a tag": _openai({"content": "<think>hm</think>\n\n"}),
    "a whole body": _whole({"content": "", "reasoning_content": "hm"}),
    "a whole body with null": _whole({"content": None, "reasoning": "hm"}),
    "tokens without a text": _openai({"content": ""}, usage=_COUNTED),
    "LM Studio": _openai({"reasoning_content": "hm"}, kind="lmstudio"),
    "Ollama": _ollama({"thinking": "hm"}),
    "Ollama, a tag": _ollama({"content": "<think>hm</think>"}),
    "Ollama, a whole body": _ollama({"thinking": "hm"}, streamed=False),
}
CUT_OFF: Dict[str, Answer] = {
    "reasoning_content": _openai({"reasoning_content": "hm"}, reason="length"),
    "a tag without an end": _openai({"content": "<think>hm"}, reason="length"),
    "a whole body": _whole({"content": None, "reasoning_content": "hm"}, "length"),
    "tokens without a text": _whole({"content": ""}, "length", usage=_COUNTED),
    "LM Studio": _openai({"reasoning_content": "hm"}, kind="lmstudio", reason="length"),
    "LM Studio, a tag": _openai({"content": "<think>hm"}, kind="lmstudio", reason="length"),
    "Ollama": _ollama({"thinking": "hm"}, "length"),
    "Ollama, a tag without an end": _ollama({"content": "<think>hm"}, "length"),
    "Ollama, a whole body": _ollama({"thinking": "hm"}, "length", streamed=False),
}
ALL = {
    **{f"complete: {name}": each for name, each in ONLY_THINKING.items()},
    **{f"cut off: {name}": each for name, each in CUT_OFF.items()},
}
_CLASSES: Dict[str, Callable[..., ModelProvider]] = {
    "openai": lambda url, **options: OpenAICompatibleProvider(url + "/v1", **options),
    "lmstudio": LMStudioProvider,
    "ollama": OllamaProvider,
}
_READY = {
    "/api/tags": {"models": [{"name": "m:latest", "model": "m:latest"}]},
    "/api/show": {"capabilities": ["completion", "tools", "thinking"]},
    "/api/ps": {"models": []},
}


def ask(answer: Answer, call: Callable[[ModelProvider], Any]) -> Any:
    """Call a provider whose server gives this answer to each request."""

    def script(exchange: Exchange) -> List[bytes]:
        if answer.kind == "ollama" and exchange.path in _READY:
            return [http_answer(_READY[exchange.path])]
        if exchange.method == "GET":
            return [http_answer({"data": [{"id": "m"}]})]
        return [http_answer(answer.body, content_type=answer.media)]

    with ScriptedServer(script) as server:
        retry = RetryPolicy(attempts=1)
        with _CLASSES[answer.kind](server.url, model="m", retry=retry) as provider:
            return call(provider)


def _streamed(provider: ModelProvider) -> CompletionResponse:
    with provider.stream("Which?") as stream:
        return stream.result()


CALLS: Dict[str, Callable[[ModelProvider], CompletionResponse]] = {
    "chat": lambda provider: provider.chat("Which?"),
    "stream": _streamed,
    "run_tools": lambda provider: provider.run_tools("Which?", []).response,
}


@pytest.mark.sample(8)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ALL)
def test_an_answer_of_thinking_alone_has_a_warning(name: str, call: str) -> None:
    response = ask(ALL[name], CALLS[call])

    assert response.text.strip() == ""
    warning = response.warnings[0]
    assert "only thinking" in warning
    assert "thinking=False" in warning


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", ALL)
def test_parse_tells_thinking_alone_apart(name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        ask(ALL[name], lambda provider: provider.parse("Which?", {"type": "object"}))

    error = caught.value
    assert type(error).__name__ == "SchemaError"
    assert "only thinking" in error.message
    assert "thinking=False" in str(error.hint)
    assert "max_tokens" in str(error.hint)
    assert ("cut off" in error.message) == name.startswith("cut off")


@pytest.mark.parametrize("kind", ["openai", "lmstudio", "ollama"])
def test_the_hint_does_not_repeat_a_switch_that_was_ignored(kind: str) -> None:
    answer = (
        _ollama({"thinking": "hm"})
        if kind == "ollama"
        else _openai({"reasoning_content": "hm"}, kind=kind)
    )
    with pytest.raises(ProviderError) as caught:
        ask(answer, lambda p: p.parse("Which?", {"type": "object"}, thinking=False))

    assert "ignores that" in str(caught.value.hint)
    assert "pass thinking" not in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["openai", "lmstudio", "ollama"])
def test_thinking_that_was_switched_off_has_a_warning(kind: str) -> None:
    answer = (
        _ollama({"thinking": "hm", "content": "Oslo"})
        if kind == "ollama"
        else _openai({"reasoning_content": "hm"}, {"content": "Oslo"}, kind=kind)
    )
    response = ask(answer, lambda provider: provider.chat("Which?", thinking=False))
    (warning,) = [line for line in response.warnings if "thinking" in line]
    assert "ignores that" in warning
    assert ask(answer, lambda provider: provider.chat("Which?")).warnings == ()


def test_an_answer_without_thinking_has_no_warning() -> None:
    for answer in (
        _openai({"content": "Oslo"}),
        _openai({"content": ""}),
        _openai({"content": "<think>\n\n</think>\n\nOslo"}),
        _openai({"reasoning_content": "hm"}, {"tool_calls": [_CALL]}),
    ):
        assert ask(answer, lambda provider: provider.chat("Which?")).warnings == ()
    empty = _openai({"content": "<think>\n\n</think>\n\nOslo"})
    assert ask(empty, lambda provider: provider.chat("Which?", thinking=False)).warnings == ()


_CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
