"""Names of one model, which a provider looks up in the server's list of models.

The records of the answers have log probabilities, so each of them is checked.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Sequence, Type

import pytest

from localproviders import LlamaCppProvider, LMStudioProvider, ModelProvider, WrongModelError
from localproviders.testing import Exchange, ScriptedServer, http_answer

_KINDS: Dict[str, Any] = {"llamacpp": LlamaCppProvider, "lmstudio": LMStudioProvider}
_LISTS: Dict[str, Any] = {
    "/v1/models": {"data": [{"id": "a", "aliases": ["a", "b", "c", "d", "e", "f", "g"]}]},
    "/api/v1/models": {
        "models": [{"key": "a", "type": "llm", "variants": ["b", "c", "d", "e", "f", "g"]}]
    },
}


def _record(model: str, number: int) -> Dict[str, Any]:
    content = [{"token": str(number), "logprob": -0.1 * number, "top_logprobs": []}]
    choice = {"delta": {"content": str(number)}, "logprobs": {"content": content}}
    return {"model": model, "choices": [choice]}


def _script(served: Sequence[str]) -> Callable[[Exchange], List[bytes]]:
    """Return a script whose answers have one record for each of these names."""
    records = [_record(name, number) for number, name in enumerate(served)]
    last = {"model": served[-1], "choices": [{"delta": {}, "finish_reason": "stop"}]}
    events = [json.dumps(record) for record in [*records, last]] + ["[DONE]"]
    body = "".join(f"data: {event}\n\n" for event in events).encode()

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path in _LISTS:
            return [http_answer(_LISTS[exchange.path])]
        if exchange.path == "/v1/embeddings":
            return [http_answer({"model": served[-1], "data": [{"embedding": [1.0]}]})]
        return [http_answer(body, content_type="text/event-stream")]

    return script


def _lists(server: ScriptedServer) -> int:
    return len([each for each in server.exchanges if each.path in _LISTS])


def _whole(provider: ModelProvider) -> Any:
    return provider.chat("Hi")


def _streamed(provider: ModelProvider) -> Any:
    with provider.stream("Hi") as stream:
        for _ in stream:
            pass
        return stream.result()


def _vectors(provider: ModelProvider) -> Any:
    return provider.embed("Hi")


_VERBS = [_whole, _streamed, _vectors]


@pytest.mark.parametrize("verb", _VERBS)
@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_another_name_of_a_model_is_looked_up_once(kind: str, verb: Callable[..., Any]) -> None:
    with ScriptedServer(_script(["a"] * 10)) as server:
        with _KINDS[kind](server.url, model="b") as provider:
            assert [verb(provider).warnings for _ in range(3)] == [()] * 3
        assert _lists(server) == 1


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_each_other_name_is_looked_up_once(kind: str) -> None:
    with ScriptedServer(_script("cdefcdefcdef")) as server:
        with _KINDS[kind](server.url, model="b") as provider:
            assert [verb(provider).warnings for verb in (_whole, _streamed)] == [()] * 2
        assert _lists(server) == 4


@pytest.mark.parametrize("verb", [_whole, _streamed])
def test_another_model_is_looked_up_once_in_a_call(verb: Callable[..., Any]) -> None:
    with ScriptedServer(_script(["a"] * 10)) as server:
        with LlamaCppProvider(server.url, model="x") as provider:
            (warning,) = verb(provider).warnings
        assert _lists(server) == 1
    assert warning == "requested model 'x', but the server answered with 'a'"


@pytest.mark.parametrize(("kind", "failure"), [("llamacpp", None), ("lmstudio", WrongModelError)])
def test_a_model_that_got_the_name_later_is_found(
    kind: str, failure: Type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(_script("aaa")) as server:
        with _KINDS[kind](server.url, model="b") as provider:
            with monkeypatch.context() as patch:
                for path in _LISTS:
                    patch.setitem(_LISTS, path, {"data": [], "models": []})
                if failure is None:
                    assert len(provider.chat("Hi").warnings) == 1
                else:
                    with pytest.raises(failure):
                        provider.chat("Hi")
            assert provider.chat("Hi").warnings == ()


def test_the_list_is_requested_by_another_call_than_the_answer() -> None:
    """The id of the answer's request stays, and so does its connection."""
    whole = _script("aaa")

    def script(exchange: Exchange) -> List[bytes]:
        answer = whole(exchange)[0]
        number = b"1" if exchange.method == "POST" else b"2"
        return [answer.replace(b"\r\n", b"\r\nx-request-id: request-" + number + b"\r\n", 1)]

    with ScriptedServer(script) as server, LlamaCppProvider(server.url, model="b") as provider:
        assert provider.chat("Hi").request_id == "request-1"
