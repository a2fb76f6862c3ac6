"""The error texts with which servers refuse the fields that this package adds to requests."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Dict, List, Tuple

import pytest

from localproviders._http_provider.sending import SYSTEM_MESSAGES, OwnField, refused
from localproviders.openai_compatible.wire.errors import explain_answer
from localproviders.openai_compatible.wire.own_fields import of_path
from localproviders.openai_compatible.wire.requests import completion_payload, embed_payload
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest, EmbeddingRequest
from tests.support.docs import ROOT


def _error(message: str, **facts: Any) -> Dict[str, Any]:
    return {"error": {"message": message, **facts}}


def _forbidden(*place: Any, text: str = "Extra inputs are not permitted") -> Dict[str, Any]:
    return {"type": "extra_forbidden", "loc": ["body", *place], "msg": text, "input": "x"}


_OPENAI = {"type": "invalid_request_error"}

# The refused field, the status, and the body of the response. The comments name the servers.
_REFUSALS: List[Tuple[str, int, Any]] = [
    # OpenAI and Azure
    ("stream_options", 400, _error("Unrecognized request argument supplied: stream_options", **_OPENAI)),
    ("stream_options", 400, _error("Unknown parameter: 'stream_options'.", param="stream_options",
                                   code="unknown_parameter", **_OPENAI)),
    ("stream_options", 400, _error("Unsupported parameter: 'stream_options' is not supported with this model.",
                                   param="stream_options", code="unsupported_parameter", **_OPENAI)),
    ("stream_options", 400, _error("Unsupported parameter", param="stream_options",
                                   code="unsupported_parameter", **_OPENAI)),
    ("stream_options", 400, {"detail": "Extra parameters ['stream_options'] are not allowed when extra-parameters "
                                       "is not set or set to be 'error'."}),
    ("stream", 400, _error("Unsupported value: 'stream' does not support true with this model. Only the default "
                           "(false) value is supported.", param="stream", code="unsupported_value", **_OPENAI)),
    ("stream", 400, _error("Unsupported value: 'stream' does not support true with this model. Supported values "
                           "are: false.", param="stream", code="unsupported_value", **_OPENAI)),
    ("stream", 400, _error("Your organization must be verified to stream this model. Please go to: "
                           "https://platform.openai.com/settings/organization/general and click on Verify "
                           "Organization.", param="stream", code="unsupported_value", **_OPENAI)),
    # Groq, Cerebras
    ("stream_options", 400, _error("property 'stream_options' is unsupported, did you mean 'stream'?", **_OPENAI)),
    ("stream_options", 400, _error("property 'stream_options' is unsupported", **_OPENAI)),
    ("reasoning_content", 400, _error("'messages.2' : for 'role:assistant' the following must be satisfied"
                                      "[('messages.2' : property 'reasoning_content' is unsupported)]", **_OPENAI)),
    ("reasoning_content", 400, {"message": "messages.2.assistant.reasoning_content: property "
                                           "'messages.2.assistant.reasoning_content' is unsupported",
                                "type": "invalid_request_error", "param": "validation_error",
                                "code": "wrong_api_format"}),
    ("stream", 422, {"message": "stream: property 'stream' is unsupported", "code": "wrong_api_format"}),
    # Mistral, and other servers made with FastAPI
    ("stream_options", 422, {"detail": [_forbidden("stream_options")]}),
    ("stream_options", 422, {"object": "error", "message": {"detail": [_forbidden("stream_options")]},
                             "type": "invalid_request_error", "param": None, "code": None}),
    ("stream_options", 422, {"detail": [_forbidden("stream_options", "include_usage")]}),
    ("stream_options", 422, {"detail": [_forbidden("stream_options", text="extra fields not permitted")]}),
    ("reasoning_content", 422, {"detail": [_forbidden("messages", 1, "assistant", "reasoning_content")]}),
    ("reasoning_content", 422, {"object": "error", "message": {"detail": [
        _forbidden("messages", 1, "assistant", "reasoning_content"),
        _forbidden("messages", 3, "assistant", "reasoning_content")]}}),
    ("reasoning_content", 400, _error("Extra inputs are not permitted: reasoning_content")),
    ("encoding_format", 422, {"detail": [_forbidden("encoding_format")]}),
    ("encoding_format", 422, {"detail": [{"type": "literal_error", "loc": ["body", "encoding_format"],
                                          "msg": "Input should be 'float'", "input": "base64"}]}),
    ("stream", 422, {"detail": [{"type": "literal_error", "loc": ["body", "stream"],
                                 "msg": "Input should be False", "input": True}]}),
    ("stream", 422, {"detail": [_forbidden("stream")]}),
    ("stream", 400, {"detail": "Streaming is not supported"}),
    # DeepSeek
    ("reasoning_content", 400, _error(
        "The reasoning_content is an intermediate result for display purposes only and will not be included in the "
        "context for inference. Please remove the reasoning_content from your message to reduce network traffic.",
        **_OPENAI)),
    # vLLM
    ("encoding_format", 400, {"object": "error", "message": "base64 encoding is not currently supported",
                              "type": "BadRequestError", "param": None, "code": 400}),
    ("stream_options", 400, {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', "
                             "'stream_options'), 'msg': 'Extra inputs are not permitted', 'input': {}}]",
                             "type": "BadRequestError", "code": 400}),
    ("stream_options", 400, {"object": "error", "message": "Stream options can only be defined when `stream=True`.",
                             "type": "BadRequestError", "code": 400}),
    # Servers in Rust: TGI, text-embeddings-inference, mistral.rs
    ("encoding_format", 422, "Failed to deserialize the JSON body into the target type: encoding_format: unknown "
                             "variant `base64`, expected `float` at line 1 column 60"),
    ("encoding_format", 422, "Failed to deserialize the JSON body into the target type: unknown field "
                             "`encoding_format`, expected one of `input`, `model` at line 1 column 40"),
    ("stream_options", 422, "Failed to deserialize the JSON body into the target type: unknown field "
                            "`stream_options`, expected one of `model`, `messages`, `stream`"),
    ("reasoning_content", 422, "Failed to deserialize the JSON body into the target type: messages[1]: unknown field "
                               "`reasoning_content`, expected one of `role`, `content`"),
    ("encoding_format", 400, _error("encoding_format must be omitted or set to 'float'",
                                    code="unsupported_encoding_format")),
    # Servers in Go, Java and C#
    ("stream_options", 400, _error('json: unknown field "stream_options"')),
    ("encoding_format", 400, _error('json: unknown field "encoding_format"')),
    ("stream_options", 400, _error('Unrecognized field "stream_options" (class Request), not marked as ignorable')),
    ("stream_options", 400, _error("Unrecognized property: streamOptions")),
    ("encoding_format", 400, {"message": "Only the float encoding format is supported."}),
    ("stream", 405, _error("Streaming is not available on this endpoint")),
    ("stream", 501, _error("streaming is not implemented", type="not_supported_error")),
    ("stream", 501, "Streaming not supported"),
    # Gemini
    ("stream_options", 400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
        'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.'}}]),
    ("encoding_format", 400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
        'Invalid JSON payload received. Unknown name "encoding_format": Cannot find field.'}}]),
    # llama-cpp-python, as the text of an exception
    ("stream_options", 500, _error("create_chat_completion() got an unexpected keyword argument 'stream_options'",
                                   type="internal_server_error")),
    ("stream", 500, _error("NotImplementedError: streaming is not supported")),
    # GPT4All, foundry-local, small servers
    ("stream", 400, _error("The parameter stream is not supported.")),
    ("stream", 400, _error("stream must be false")),
    ("stream", 400, _error("'stream' must be false or omitted")),
    ("stream", 400, _error("stream=true is not supported yet")),
    ("stream", 400, _error("This endpoint doesn't support streaming")),
    ("stream", 400, _error("model 'm' does not support streaming")),
    ("stream", 400, _error("Model m cannot stream")),
    ("stream", 400, _error("Only non-streaming requests are supported")),
    ("stream", 400, _error("This server only supports stream=false")),
    ("stream", 400, _error("Please set stream to false")),
    ("stream", 400, _error("Streaming responses aren't supported.")),
    ("stream", 400, _error("Streaming is disabled on this server")),
    ("stream", 400, _error("Streamed responses are unsupported")),
    ("stream", 400, _error("Unrecognized request argument supplied: stream")),
    ("stream", 400, _error("Unsupported parameter", param="stream", code="unsupported_parameter")),
    ("stream", 404, _error("stream is not supported for this deployment")),
    ("stream", 422, "Failed to deserialize the JSON body into the target type: unknown field `stream`"),
    ("stream", 400, _error("unable to stream with this backend")),
    ("stream", 400, _error("Tools are not supported in streaming mode")),
    # Proxies of other services: litellm, new-api, OpenRouter
    ("stream_options", 400, _error("litellm.UnsupportedParamsError: cohere does not support parameters: "
                                   "['stream_options'], for model=command-r")),
    ("stream_options", 400, _error("Unknown parameter: 'stream_options'. (request id: 20240806214436917505976)")),
    ("stream_options", 400, {"stream_options": ["Unknown field."]}),
    ("stream_options", 400, {"errors": {"stream_options": ["This field is not allowed."]}}),
    ("stream_options", 400, {"title": "Bad Request", "detail": "Additional property stream_options is not allowed"}),
    ("stream_options", 400, _error("Additional properties are not allowed ('stream_options' was unexpected)")),
    ("stream_options", 400, _error("include_usage unsupported")),
    ("stream_options", 400, _error("不支持参数 stream_options")),
    ("stream", 400, _error("该模型不支持流式输出")),
    ("stream", 400, _error("不支持 stream 模式")),
    ("reasoning_content", 400, _error("messages[1]: Unrecognized key(s) in object: 'reasoning_content'")),
    ("reasoning_content", 400, _error("Additional properties are not allowed ('reasoning_content' was unexpected)")),
]  # fmt: skip

# The status, and the text, which refuses no field of ours.
_OTHERS: List[Tuple[int, Any]] = [
    (400, _error("The `reasoning_content` in the thinking mode must be passed back to the API.")),
    (400, _error("Missing `reasoning_content` field in the assistant message at message index 1.")),
    (400, _error("reasoning_content is required for tool calls while the model thinks")),
    (400, _error("thinking is enabled but assistant message 1 does not provide reasoning_content")),
    (400, _error("Unsupported parameter: 'top_k'", param="top_k", code="unsupported_parameter")),
    (400, _error("This response_format type is unavailable now")),
    (400, _error("This model's maximum context length is 4096 tokens, and streaming does not change that")),
    (400, _error("upstream is not available")),
    (400, _error("the stream of tokens ended")),
    (400, _error("bitstreams are not supported")),
    (400, ""),
    (401, _error("stream_options is not supported without a key")),
    (404, _error("The model `m` does not exist; streaming is not supported", code="model_not_found")),
    (429, _error("stream_options is not supported")),
    (503, _error("streaming is not supported while the model is loading")),
    (500, _error("the server failed while it read stream_options")),
    (500, _error("Internal Server Error: stream")),
    (500, _error("no vectors: base64")),
]  # fmt: skip


def _all_fields() -> List[OwnField]:
    return [*of_path("/chat/completions"), *of_path("/embeddings")]


def _refused(status: int, body: Any) -> List[str]:
    text = body if isinstance(body, str) else json.dumps(body)
    return [field.name for field in refused(explain_answer(status, text, {}), _all_fields())]


@pytest.mark.sample(37)
@pytest.mark.parametrize(("name", "status", "body"), _REFUSALS)
def test_a_refusal_names_the_field(name: str, status: int, body: Any) -> None:
    assert _refused(status, body) == [name]


@pytest.mark.sample(35)
@pytest.mark.parametrize(
    ("name", "body"), sorted({(n, json.dumps(b)) for n, s, b in _REFUSALS if s == 400})
)
@pytest.mark.parametrize("status", [404, 405, 406, 415, 422])
def test_any_status_of_a_refusal_will_do(name: str, body: str, status: int) -> None:
    assert _refused(status, json.loads(body)) == [name]


@pytest.mark.parametrize(("status", "body"), _OTHERS)
def test_another_error_refuses_no_field(status: int, body: Any) -> None:
    assert _refused(status, body) == []


def test_one_refusal_may_name_several_fields() -> None:
    places = ["stream_options"], ["messages", 1, "assistant", "reasoning_content"]
    body = {"detail": [_forbidden(*place) for place in places]}
    assert _refused(422, body) == ["stream_options", "reasoning_content"]


@pytest.mark.parametrize("word", ["stream ", "not ", "stream_optio ", "reasoning_content requir "])
def test_a_long_text_is_searched_quickly(word: str) -> None:
    # The patterns nearly match, again and again.
    error = explain_answer(400, json.dumps(_error(word * 500)), {})
    started = time.process_time()
    refused(error, _all_fields())
    assert time.process_time() - started < 1


def _chat(**extra: Any) -> Dict[str, Any]:
    messages = [
        Message.user("Hi"),
        Message(role="assistant", content="Ho", thinking="hm"),
        Message.user("Hi"),
    ]
    request = CompletionRequest(messages=messages, extra_body=extra)
    return completion_payload(request, "m")[1]


def _field(name: str) -> OwnField:
    return next(field for field in _all_fields() if field.name == name)


@pytest.mark.parametrize(
    ("name", "gone"),
    [("stream", {"stream", "stream_options"}), ("stream_options", {"stream_options"})],
)
def test_a_field_is_removed(name: str, gone: Any) -> None:
    payload = _chat()
    assert _field(name).leave_out(payload)
    assert payload == {key: value for key, value in _chat().items() if key not in gone}
    assert not _field(name).leave_out(payload)


def test_thinking_is_removed_from_every_message() -> None:
    payload = _chat()
    assert _field("reasoning_content").leave_out(payload)
    assert payload["messages"][1] == {"role": "assistant", "content": "Ho"}
    assert {**payload, "messages": 0} == {**_chat(), "messages": 0}
    assert not _field("reasoning_content").leave_out(payload)


def test_the_encoding_is_removed() -> None:
    payload = embed_payload(EmbeddingRequest(texts=["a"]), "m")
    assert _field("encoding_format").leave_out(payload)
    assert payload == {"model": "m", "input": ["a"]}


def test_every_field_that_the_caller_did_not_give_is_in_the_table() -> None:
    ours = {*_chat()} - {"model", "messages"}
    keys = {key for field in of_path("/v1/chat/completions") for key in field.keys}
    # The caller's limit of tokens is only sent under another name.
    assert ours == keys - {"messages", "max_tokens", "max_completion_tokens"}
    ours = {*embed_payload(EmbeddingRequest(texts=["a"]), "m")} - {"model", "input"}
    assert ours == {key for field in of_path("/v1/embeddings") for key in field.keys}
    assert of_path("/models") == ()


def test_the_page_lists_the_fields() -> None:
    page = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
    section = page.partition("## Fields that servers refuse\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    # System messages have a section of their own.
    fields = [field for field in _all_fields() if field is not SYSTEM_MESSAGES]
    assert sorted(listed) == sorted(field.name for field in fields)
