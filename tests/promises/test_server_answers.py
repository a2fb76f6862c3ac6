"""Answers as servers of many kinds send them: each is read in full, or is one typed error."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple

import pytest

import localproviders
from localproviders import (
    CompletionRequest,
    CompletionResponse,
    LMStudioProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    Tool,
)
from localproviders.testing import ScriptedServer
from localproviders.testing.faults.fault import chunk
from localproviders.testing.scripted import Exchange, Step, http_answer
from tests.support.recordings import DATA

_FOLDER = DATA / "server_answers"


def _beside(model: str) -> Mapping[str, Any]:
    """Return the answers to questions beside the call, which are the same for every case."""
    return {
        "/api/version": {"version": "0.32.15"},
        "/api/tags": {"models": [{"name": model, "model": model}]},
        "/api/show": {"capabilities": ["completion", "tools", "thinking"], "details": {}},
        "/api/v1/models": {"models": [{"key": model, "type": "llm"}]},
    }


_TOOLS = (
    Tool(
        name="weather",
        description="The weather.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}},
    ),
    Tool(name="clock", description="The time.", parameters={"type": "object", "properties": {}}),
)


class Case(NamedTuple):
    """One answer of the data: its README has the fields of `said`."""

    name: str
    said: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Case {self.name}>"


def _cases() -> Iterable[Any]:
    for path in sorted(_FOLDER.glob("*.json")):
        for name, said in json.loads(path.read_text("utf-8"))["cases"].items():
            yield pytest.param(Case(name, said), id=name)


_CASES = list(_cases())


def _model(case: Case) -> str:
    return str(case.said.get("model", "m"))


def _server(case: Case, one_byte_writes: bool) -> ScriptedServer:
    said = case.said

    def script(exchange: Exchange) -> List[Step]:
        if exchange.path != said["path"]:
            return [http_answer(_beside(_model(case))[exchange.path])]
        pieces = [piece.encode("utf-8") for piece in said["body"]]
        is_chunked = len(pieces) > 1
        length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(pieces[0])}"
        lines = [f"HTTP/1.1 {said['status']} .", *said["headers"], length]
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        body = [*map(chunk, pieces), b"0\r\n\r\n"] if is_chunked else pieces
        return [head + b"".join(body)]

    return ScriptedServer(script, one_byte_writes=one_byte_writes)


def _provider(case: Case, server: ScriptedServer) -> Any:
    options: Dict[str, Any] = {
        "model": _model(case),
        "retry": RetryPolicy(attempts=1),
    }
    if case.said["provider"] == "openai_compatible":
        return OpenAICompatibleProvider(server.url + "/v1", **options)
    kinds: Mapping[str, Any] = {"ollama": OllamaProvider, "lmstudio": LMStudioProvider}
    return kinds[case.said["provider"]](server.url, **options)


def _request(case: Case) -> CompletionRequest:
    if case.said["call"] == "complete":
        return CompletionRequest(prompt="Hi", allow_other_model=True)
    return CompletionRequest(messages=[Message.user("Hi")], tools=_TOOLS, allow_other_model=True)


def _streamed(provider: Any, request: CompletionRequest) -> CompletionResponse:
    """Return the answer of a stream, whose chunks must have the same content."""
    with provider.stream_completion(request) as stream:
        chunks = list(stream)
        answer: CompletionResponse = stream.result()
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert "".join(chunk.thinking for chunk in chunks) == (answer.thinking or "")
    assert [call for chunk in chunks for call in chunk.tool_calls] == list(answer.tool_calls)
    return answer


def _results(case: Case, provider: Any) -> Iterable[Any]:
    """Make the call in each of its forms; yield each answer or error."""
    calls: Dict[str, Any] = {
        "embed": [lambda: provider.embed(["a", "b"])],
        "list": [provider.list_models],
    }
    forms = [
        lambda: provider.complete(_request(case)),
        lambda: _streamed(provider, _request(case)),
    ]
    for call in calls.get(case.said["call"], forms):
        try:
            yield call()
        except ProviderError as error:
            yield error


def _facts(result: Any) -> Dict[str, Any]:
    """Return the fields of an answer that the data name."""
    if isinstance(result, list):
        return {"models": [model.name for model in result]}
    usage = [result.usage.prompt_tokens, result.usage.completion_tokens]
    if not isinstance(result, CompletionResponse):
        # The vectors have single precision.
        return {
            "vectors": [pytest.approx(vector, rel=1e-6) for vector in result.embeddings],
            "usage": usage,
        }
    return {
        "text": result.text,
        "thinking": result.thinking or "",
        "tool_calls": [[call.name, dict(call.arguments)] for call in result.tool_calls],
        "finish_reason": result.finish_reason,
        "usage": usage,
    }


def _check_error(right: Mapping[str, Any], error: Any) -> None:
    assert isinstance(error, ProviderError), f"an answer instead of an error: {error!r}"
    assert type(error) is getattr(localproviders, right["error"])
    assert error.partial == right.get("partial", "")
    for name in ("server_message", "message"):
        assert right.get(name, "") in (getattr(error, name) or "")


def _check_answer(right: Mapping[str, Any], answer: Any) -> None:
    if isinstance(answer, ProviderError):
        raise AssertionError("an error instead of an answer") from answer
    absent = {"thinking": "", "tool_calls": [], "usage": [None, None]} if "text" in right else {}
    assert {**absent, **right} == _facts(answer)


@pytest.mark.sample(50)
@pytest.mark.parametrize("one_byte_writes", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("case", _CASES)
def test_an_answer_of_a_server_is_read_as_it_is_meant(case: Case, one_byte_writes: bool) -> None:
    right = case.said["right"]
    with _server(case, one_byte_writes) as server, _provider(case, server) as provider:
        for result in _results(case, provider):
            check = _check_error if "error" in right else _check_answer
            check(right, result)


def test_there_are_fifty_answers() -> None:
    assert len(_CASES) == 50
