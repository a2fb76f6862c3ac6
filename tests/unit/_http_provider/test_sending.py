"""A request whose field the server refuses is sent again without it, once, and this is remembered."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional

import pytest
import responses

from localproviders import (
    CallEvent,
    CompletionRequest,
    EmbeddingError,
    LimitError,
    Limits,
    LMStudioProvider,
    LocalProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    RequestRejectedError,
    RetryPolicy,
    ServerBusyError,
)
from localproviders.testing import ScriptedServer, http_answer

_SSE = "text/event-stream"


def _events(*deltas: Any, reason: str = "stop") -> bytes:
    """Return the body of a stream, with the finish reason in its last record."""
    records = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    records.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    lines = [b"data: " + json.dumps(record).encode() + b"\n\n" for record in records]
    return b"".join([*lines, b"data: [DONE]\n\n"])


def _whole(message: Any, reason: str = "stop") -> Dict[str, Any]:
    """Return the body of an answer that is not streamed."""
    return {
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }


def _holds(body: Dict[str, Any], field: str) -> bool:
    return field in body or any(field in message for message in body.get("messages", ()))


class Strict:
    """A server that refuses some fields with one text, and answers requests without them.

    Args:
        texts: The error text for each field.
        status: The status of a refusal.
        message: The message of the answers.
    """

    def __init__(
        self,
        texts: Dict[str, str],
        status: str = "400 Bad Request",
        message: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.texts, self.status, self.message = texts, status, message or {"content": "four"}
        self.server = ScriptedServer(self._script)

    @property
    def bodies(self) -> List[Dict[str, Any]]:
        """The bodies of the requests with a prompt, in their order."""
        return [each.json for each in self.server.exchanges if each.method == "POST"]

    def _script(self, exchange: Any) -> Any:
        if exchange.method == "GET":
            return [http_answer({"object": "list", "data": [{"id": "m", "object": "model"}]})]
        body = exchange.json
        for field, text in self.texts.items():
            if _holds(body, field):
                return [http_answer({"error": {"message": text}}, status=self.status)]
        if "input" in body:
            rows = [{"index": i, "embedding": [1.0, 2.0]} for i in range(len(body["input"]))]
            return [http_answer({"model": "m", "data": rows})]
        if body.get("stream"):
            return [http_answer(_events(self.message), content_type=_SSE)]
        assert exchange.headers["accept"] == "application/json"
        return [http_answer(_whole(self.message))]

    def __enter__(self) -> Strict:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def provider(self, kind: Any = OpenAICompatibleProvider, **options: Any) -> Any:
        """Return a provider for the server."""
        url = self.server.url + ("/v1" if kind is OpenAICompatibleProvider else "")
        options.setdefault("model", "m")
        return kind(url, **options)


_OPTIONS = {"stream_options": "Unrecognized request argument supplied: stream_options"}
_STREAM = {"stream": "'stream' is not supported on this server"}
_BASE64 = {"encoding_format": "base64 encoding is not currently supported"}
_THINKING = {"reasoning_content": "property 'reasoning_content' is unsupported"}
_HISTORY = [
    Message.user("Hi"),
    Message(role="assistant", content="Ho", thinking="hm"),
    Message.user("What is two and two?"),
]


def _add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


_PROMPT = CompletionRequest(prompt="Two and two is")

# How to ask, and the text of the answer.
_ASKING: Dict[str, Callable[[Any], str]] = {
    "chat": lambda provider: str(provider.chat("Hi").text),
    "result": lambda provider: str(provider.stream("Hi").result().text),
    "chunks": lambda provider: "".join(chunk.text for chunk in provider.stream("Hi")),
    "parse": lambda provider: str(provider.parse("Hi", str).response.text),
    "run_tools": lambda provider: str(provider.run_tools("Hi", [_add]).text),
}


@pytest.fixture(params=[OpenAICompatibleProvider, LMStudioProvider])
def kind(request: Any) -> Any:
    return request.param


# --- each field, on each way ----------------------------------------------------------------------


@pytest.mark.sample(9)
@pytest.mark.parametrize("how", sorted(_ASKING))
@pytest.mark.parametrize("texts", [_OPTIONS, _STREAM], ids=["stream_options", "stream"])
def test_a_refused_field_is_left_out(how: str, texts: Dict[str, str], kind: Any) -> None:
    message = {"content": '"four"'}
    with Strict(texts, message=message) as strict, strict.provider(kind) as provider:
        assert _ASKING[how](provider) == '"four"'
        bodies = strict.bodies
    assert [_holds(body, *texts) for body in bodies] == [True, False]
    gone = {"stream", "stream_options"} if texts is _STREAM else {"stream_options"}
    assert bodies[1] == {key: value for key, value in bodies[0].items() if key not in gone}


def test_a_plain_completion_is_sent_again(kind: Any) -> None:
    with Strict(_OPTIONS) as strict, strict.provider(kind) as provider:
        assert provider.complete(_PROMPT).text == "four"
        assert [body["prompt"] for body in strict.bodies] == [_PROMPT.prompt] * 2


def test_thinking_of_earlier_answers_is_left_out(kind: Any) -> None:
    with Strict(_THINKING) as strict, strict.provider(kind) as provider:
        response = provider.chat(_HISTORY)
        assert strict.bodies[1]["messages"][1] == {"role": "assistant", "content": "Ho"}
        assert strict.bodies[1]["stream_options"] == {"include_usage": True}
        assert provider.chat("Hi").warnings == ()
    assert response.text == "four"
    assert "refuses reasoning_content" in response.warnings[0]


def test_vectors_come_as_lists(kind: Any) -> None:
    with Strict(_BASE64) as strict, strict.provider(kind) as provider:
        response = provider.embed(["a", "b", "c"], batch_size=2)
        assert [len(body["input"]) for body in strict.bodies] == [2, 2, 1]
    assert response.embeddings == [[1.0, 2.0]] * 3
    assert response.attempts == 2
    assert len(response.warnings) == 1
    assert "refuses encoding_format" in response.warnings[0]


def test_several_refusals_are_answered_one_after_the_other(kind: Any) -> None:
    texts = {**_THINKING, **_OPTIONS, **_STREAM}
    with Strict(texts) as strict, strict.provider(kind) as provider:
        response = provider.chat(_HISTORY)
        assert provider.chat(_HISTORY).attempts == 1
        assert len(strict.bodies) == 5
    assert (response.text, response.attempts) == ("four", 4)
    # An answer that is not streamed has token counts without `stream_options`.
    assert [warning.split()[2] for warning in response.warnings] == [
        "stream,",
        "reasoning_content,",
    ]
    assert response.usage.prompt_tokens == 3


def test_all_fields_of_one_refusal_are_left_out_at_once() -> None:
    text = "stream_options and messages.1.reasoning_content: Extra inputs are not permitted"
    with Strict({"stream_options": text}) as strict, strict.provider() as provider:
        assert len(provider.chat(_HISTORY).warnings) == 2
        assert not _holds(strict.bodies[1], "reasoning_content")


# --- the answer -----------------------------------------------------------------------------------


def test_the_warning_names_the_field_and_the_loss() -> None:
    with Strict(_OPTIONS) as strict, strict.provider() as provider:
        response = provider.chat("Hi")
    assert response.warnings == (
        "openai-compatible refuses stream_options, so it was left out: the response may lack the "
        "token counts, without which an overflow of the context window is not noticed",
    )
    assert response.usage.prompt_tokens is None


def test_a_whole_answer_is_read_completely() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    message = {"content": "I add.", "reasoning_content": "hm", "tool_calls": [call]}
    with Strict(_STREAM, message=message) as strict, strict.provider() as provider:
        stream = provider.stream("Hi")
        chunks = list(stream)
        response = stream.result()
    assert [(chunk.text, chunk.thinking) for chunk in chunks] == [("I add.", "hm")]
    assert response.tool_calls[0].arguments == {"a": 1}
    assert (response.text, response.thinking) == ("I add.", "hm")
    assert (response.finish_reason, response.usage.prompt_tokens) == ("stop", 3)
    assert "refuses stream," in response.warnings[0]
    assert "in one piece" in response.warnings[0]


def test_thinking_tags_of_a_whole_answer_are_read() -> None:
    message = {"content": "<think>hm</think>four"}
    with Strict(_STREAM, message=message) as strict, strict.provider() as provider:
        response = provider.chat("Hi")
    assert (response.thinking, response.text) == ("hm", "four")


def test_tools_are_called_without_a_stream() -> None:
    def script(exchange: Any) -> Any:
        body = exchange.json
        if "stream" in body:
            return [http_answer({"detail": "streaming is not supported"}, status="400 Bad Request")]
        if len(body["messages"]) == 1:
            function = {"name": "_add", "arguments": '{"a": 1, "b": 2}'}
            message = {
                "content": None,
                "tool_calls": [{"id": "x", "type": "function", "function": function}],
            }
            return [http_answer(_whole(message, "tool_calls"))]
        return [http_answer(_whole({"content": body["messages"][-1]["content"]}))]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            run = provider.run_tools("Hi", [_add])
    assert run.text == "3"
    assert len(server.exchanges) == 3


# --- what is remembered ---------------------------------------------------------------------------


def test_a_refusal_is_remembered_by_one_provider(kind: Any) -> None:
    with Strict(_OPTIONS) as strict, strict.provider(kind) as provider:
        first, second = provider.chat("Hi"), provider.chat("Hi", model="m2", allow_other_model=True)
        assert (first.attempts, second.attempts) == (2, 1)
        assert first.warnings == second.warnings
        for other in (pickle.loads(pickle.dumps(provider)), strict.provider(kind)):
            with other:
                assert other.chat("Hi").attempts == 2
        assert len(strict.bodies) == 2 + 1 + 2 + 2


def test_a_refusal_about_a_model_is_remembered_for_the_model() -> None:
    texts = {"stream": "Unsupported value: 'stream' does not support true with this model."}
    with Strict(texts) as strict, strict.provider() as provider:
        attempts = [provider.chat("Hi", model=model).attempts for model in ("a", "a", "b", "b")]
    assert attempts == [2, 1, 2, 1]


def test_a_refusal_that_names_the_model_is_remembered_for_the_model() -> None:
    texts = {"stream": "llama-3:8b does not support streaming"}
    with Strict(texts) as strict, strict.provider() as provider:
        attempts = [provider.chat("Hi", model=name).attempts for name in ("llama-3:8b", "a", "b")]
    assert attempts == [2, 2, 1]


def test_a_refusal_is_remembered_for_the_route() -> None:
    with Strict(_OPTIONS) as strict, strict.provider() as provider:
        assert [provider.chat("Hi").attempts, provider.complete(_PROMPT).attempts] == [2, 2]
        assert [provider.chat("Hi").attempts, provider.complete(_PROMPT).attempts] == [1, 1]


def test_a_refusal_beside_another_field_is_not_remembered() -> None:
    texts = {"stream": "streaming is not supported together with tools"}
    with Strict(texts) as strict, strict.provider() as provider:
        assert [provider.chat("Hi").attempts for _ in range(2)] == [2, 2]


def test_a_refusal_is_remembered_only_if_it_helped() -> None:
    texts = dict(_OPTIONS)
    with Strict(texts) as strict, strict.provider() as provider:
        texts["messages"] = "no"
        with pytest.raises(RequestRejectedError, match="no"):
            provider.chat("Hi")
        texts.clear()
        assert provider.chat("Hi").warnings == ()
        assert "stream_options" in strict.bodies[-1]


def test_many_threads_share_what_is_known() -> None:
    with Strict(_OPTIONS) as strict, strict.provider() as provider:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: provider.chat("Hi"), range(40)))
        assert {answer.text for answer in answers} == {"four"}
        assert all(len(answer.warnings) == 1 for answer in answers)
        assert 40 < len(strict.bodies) <= 48


# --- what is not left out -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "extra"),
    [
        (_OPTIONS, {"stream_options": {"include_usage": False}}),
        (_STREAM, {"stream": True}),
        (_STREAM, {"stream_options": {"include_usage": True}}),
        (
            _THINKING,
            {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "b"}]},
        ),
        ({"top_k": "stream_options and top_k are not supported"}, {"stream_options": {"a": 1}}),
    ],
)
def test_a_field_of_the_caller_is_never_left_out(texts: Any, extra: Any) -> None:
    with Strict(texts) as strict, strict.provider() as provider:
        with pytest.raises(RequestRejectedError):
            provider.chat("Hi", extra_body=extra, top_k=3)
        assert len(strict.bodies) == 1


def test_a_known_refusal_does_not_take_the_caller_s_field() -> None:
    with Strict(_OPTIONS) as strict, strict.provider() as provider:
        provider.chat("Hi")
        with pytest.raises(RequestRejectedError):
            provider.chat("Hi", extra_body={"stream_options": {"include_usage": True}})


def test_a_field_that_the_caller_took_out_is_not_left_out_again() -> None:
    with Strict({"model": _OPTIONS["stream_options"]}) as strict, strict.provider() as provider:
        with pytest.raises(RequestRejectedError):
            provider.chat("Hi", extra_body={"stream_options": None})
        assert len(strict.bodies) == 1


def test_thinking_that_the_history_lacks_is_not_left_out() -> None:
    texts = {"model": _THINKING["reasoning_content"]}
    with Strict(texts) as strict, strict.provider() as provider:
        with pytest.raises(RequestRejectedError):
            provider.chat("Hi")
        assert len(strict.bodies) == 1


def test_the_second_refusal_is_the_error() -> None:
    texts = {**_OPTIONS, "model": "Unsupported parameter: 'model'"}
    with Strict(texts) as strict, strict.provider() as provider:
        with pytest.raises(RequestRejectedError, match="'model'") as caught:
            provider.chat("Hi")
        assert len(strict.bodies) == 2
    assert caught.value.status == 400
    assert caught.value.__context__ is None


def test_a_server_that_always_says_the_same_is_asked_twice() -> None:
    with Strict({"model": _OPTIONS["stream_options"]}) as strict, strict.provider() as provider:
        with pytest.raises(RequestRejectedError, match="stream_options"):
            provider.chat("Hi")
        assert len(strict.bodies) == 2


def test_a_text_that_is_refused_is_still_found() -> None:
    def script(exchange: Any) -> Any:
        body = exchange.json
        if "encoding_format" in body:
            return [http_answer({"detail": _BASE64["encoding_format"]}, status="400 Bad Request")]
        if "bad" in body["input"]:
            return [http_answer({"detail": "no"}, status="400 Bad Request")]
        rows = [{"index": i, "embedding": [1.0]} for i in range(len(body["input"]))]
        return [http_answer({"model": "m", "data": rows})]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(EmbeddingError) as caught:
                provider.embed(["a", "bad", "b"])
    assert list(caught.value.failures) == [1]
    # Until a request without the field is accepted, the field may not have been the reason.
    assert len([each for each in server.exchanges if "encoding_format" in each.json]) == 2


def test_a_failure_that_may_have_had_an_effect_is_not_repeated() -> None:
    texts = {"stream": "the stream broke"}
    for status in ("500 Internal Server Error", "200 OK"):
        with Strict(texts, status=status) as strict, strict.provider() as provider:
            with pytest.raises(Exception, match="the stream broke"):
                provider.chat("Hi")
            assert len(strict.bodies) == 1


def test_an_ollama_server_has_no_such_fields() -> None:
    # Ollama ignores unknown fields (docs/reference/ollama.md), so no field of ours can be refused.
    def script(exchange: Any) -> Any:
        if exchange.method == "GET":
            return [http_answer({"models": [{"name": "m", "model": "m"}]})]
        return [
            http_answer(
                {"error": "stream and truncate are not supported"}, status="400 Bad Request"
            )
        ]

    with ScriptedServer(script) as server, OllamaProvider(server.url, model="m") as provider:
        with pytest.raises(Exception, match="not supported"):
            provider.chat("Hi")
    assert [each.method for each in server.exchanges] == ["GET", "POST"]


# --- limits, attempts and events ------------------------------------------------------------------


def test_listeners_receive_the_retry() -> None:
    events: List[CallEvent] = []
    with Strict(_OPTIONS) as strict, strict.provider(listeners=(events.append,)) as provider:
        provider.chat("Hi")
        provider.embed("a")
    assert [(event.kind, event.attempts) for event in events if event.operation == "chat"] == [
        ("started", 1), ("connected", 1), ("retried", 1), ("connected", 2), ("first_token", 2), ("finished", 2),
    ]  # fmt: skip
    retried = next(event for event in events if event.kind == "retried")
    assert (retried.error, retried.wait_s) == ("RequestRejectedError", 0.0)


def test_the_policy_for_retries_does_not_count_it() -> None:
    with Strict(_OPTIONS) as strict, strict.provider(retry=RetryPolicy(attempts=1)) as provider:
        assert provider.chat("Hi").attempts == 2


def test_other_retries_are_added() -> None:
    statuses = ["503 Service Unavailable", "400 Bad Request", "503 Service Unavailable"]

    def script(exchange: Any) -> Any:
        if statuses:
            return [http_answer({"error": _OPTIONS["stream_options"]}, status=statuses.pop(0))]
        return [http_answer(_events({"content": "four"}), content_type=_SSE)]

    retry = RetryPolicy(attempts=3, first_wait_s=0.001)
    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m", retry=retry) as provider:
            assert provider.chat("Hi").attempts == 4
            statuses += ["503 Service Unavailable"] * 4
            with pytest.raises(ServerBusyError):
                provider.chat("Hi")
    assert len(server.exchanges) == 4 + 3


@pytest.mark.usefixtures("fake_clock")
def test_both_requests_share_one_total() -> None:
    def script(exchange: Any) -> Any:
        if "stream_options" in exchange.json:
            return [
                lambda each: each.hold(6),
                http_answer({"error": _OPTIONS["stream_options"]}, status="400 No"),
            ]
        return [
            lambda each: each.hold(6),
            http_answer(_events({"content": "four"}), content_type=_SSE),
        ]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(LimitError) as caught:
                provider.chat("Hi", timeout=Limits(total_s=10))
    assert caught.value.limit == "total_s"
    assert len(server.exchanges) == 2


@responses.activate
def test_a_mocked_server_is_asked_again() -> None:
    url = "http://127.0.0.1:9/v1/embeddings"
    responses.add(responses.POST, url, status=422, json={"detail": _BASE64["encoding_format"]})
    responses.add(responses.POST, url, json={"data": [{"index": 0, "embedding": [1.0]}]})
    with OpenAICompatibleProvider("http://127.0.0.1:9/v1", model="m") as provider:
        assert provider.embed("a").embeddings == [[1.0]]
    assert "encoding_format" not in json.loads(responses.calls[1].request.body or b"")


# --- several servers ------------------------------------------------------------------------------


def test_a_local_provider_stays_with_the_server() -> None:
    with Strict(_OPTIONS) as strict, Strict({}) as other:
        first, second = strict.provider(name="first"), other.provider(name="second")
        with LocalProvider([first, second], model="m") as local:
            response = local.chat("Hi")
            assert (response.provider, response.attempts) == ("first", 2)
            assert any("refuses stream_options" in warning for warning in response.warnings)
            assert local.chat("Hi").attempts == 1
        assert other.bodies == []


def test_a_refusal_is_remembered_if_the_server_then_refuses_something_else(kind: Any) -> None:
    texts = {**_OPTIONS, "response_format": "response_format json_schema is not supported"}
    with Strict(texts, message={"content": '"four"'}) as strict, strict.provider(kind) as provider:
        provider.parse("Hi", str)
        bodies = strict.bodies
    assert [_holds(body, "stream_options") for body in bodies] == [True, False, False]
    assert [_holds(body, "response_format") for body in bodies] == [True, True, False]
