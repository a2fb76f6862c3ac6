"""Schemas that a server refuses: `parse` writes them into the prompt, `chat` raises an error."""

from __future__ import annotations

import contextlib
import json
import pickle
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional

import pytest

from localproviders import (
    CompletionRequest,
    Image,
    LMStudioProvider,
    LocalProvider,
    Message,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    SchemaError,
)
from localproviders.testing import ScriptedServer, http_answer
from localproviders.testing.scripted import Exchange
from tests.support.locality import PROMPT, lines_with, visible_text


@dataclass
class City:
    name: str


GOOD = '{"name": "Oslo"}'
NO_CITY = '{"name": 7}'


def _openai(text: str) -> Dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error", "code": None}}


class Refusal(NamedTuple):
    """A server's refusal of a schema.

    Attributes:
        kind: Kind of the server.
        body: The JSON of its response.
        status: The status.
        is_general: Whether the server refuses all schemas, and not only this one.
    """

    kind: str
    body: Any
    status: str = "400 Bad Request"
    is_general: bool = True


_UNPROCESSABLE = "422 Unprocessable Entity"
_FAILED = "500 Internal Server Error"

REFUSALS: Dict[str, Refusal] = {
    # All schemas are refused.
    "OpenAI, old model": Refusal(
        "openai",
        _openai(
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this "
            "model."
        ),
    ),
    "Groq": Refusal(
        "openai",
        _openai("This model does not support response format `json_schema`."),
    ),
    "DeepSeek": Refusal("openai", _openai("This response_format type is unavailable now")),
    "DeepSeek, with the place": Refusal(
        "openai",
        _openai(
            "Failed to deserialize the JSON body into the target type: response_format: "
            "response_format.type `json_schema` is unavailable now at line 1 column 12440"
        ),
        _UNPROCESSABLE,
    ),
    "TGI": Refusal(
        "openai",
        "Failed to deserialize the JSON body into the target type: response_format: unknown "
        "variant `json_schema`, expected one of `json`, `regex` at line 1 column 90",
        _UNPROCESSABLE,
    ),
    "llama.cpp, old": Refusal(
        "openai",
        _openai(
            'response_format type must be one of "text" or "json_object", but got: json_schema'
        ),
    ),
    "a gateway in front of Codex": Refusal(
        "openai", {"detail": "Unsupported parameter: response_format"}
    ),
    "FastAPI, type": Refusal(
        "openai",
        {
            "detail": [
                {
                    "type": "literal_error",
                    "loc": ["body", "response_format", "type"],
                    "msg": "Input should be 'text' or 'json_object'",
                    "input": "json_schema",
                }
            ]
        },
        _UNPROCESSABLE,
    ),
    "FastAPI, field": Refusal(
        "openai",
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'response_format'), 'msg': "
            "'Extra inputs are not permitted'}]",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "json_object only": Refusal(
        "openai", {"error": "json_schema is not supported, use json_object"}
    ),
    "not implemented": Refusal(
        "openai",
        {"error": {"message": "response_format is not supported"}},
        "501 Not Implemented",
    ),
    "structured outputs": Refusal(
        "openai", _openai("Structured outputs are not supported by this model")
    ),
    "Gemini": Refusal(
        "openai",
        [
            {
                "error": {
                    "code": 400,
                    "message": "JSON mode is not enabled for models/gemma-3-27b-it",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    "Ollama, old": Refusal(
        "ollama",
        {
            "error": "json: cannot unmarshal object into Go struct field ChatRequest.format of "
            "type string"
        },
    ),
    "Ollama, vocabulary": Refusal(
        "ollama", {"error": "failed to load model vocabulary required for format"}, _FAILED
    ),
    "Ollama, format": Refusal(
        "ollama",
        {"error": 'invalid format: "{}"; expected "json" or a valid JSON Schema object'},
        _FAILED,
    ),
    "LM Studio": Refusal("lmstudio", {"error": "'response_format.type' must be 'text'"}),
    # Only this schema is refused.
    "OpenAI": Refusal(
        "openai",
        _openai(
            "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is "
            "required to be supplied and to be false."
        ),
        is_general=False,
    ),
    "Groq, keyword": Refusal(
        "openai",
        _openai(
            "invalid schema for response format: response_format/json_schema/name: minItems is "
            "not supported"
        ),
        is_general=False,
    ),
    "llama.cpp, grammar": Refusal(
        "openai",
        {
            "error": {
                "code": 400,
                "message": "Failed to initialize samplers: failed to parse grammar",
                "type": "invalid_request_error",
            }
        },
        is_general=False,
    ),
    "llama.cpp, conversion": Refusal(
        "openai",
        {
            "error": {
                "code": 400,
                "message": 'JSON schema conversion failed:\nUnrecognized schema: {"type":"x"}',
                "type": "invalid_request_error",
            }
        },
        is_general=False,
    ),
    "vLLM, xgrammar": Refusal(
        "openai",
        {
            "object": "error",
            "message": "The provided JSON schema contains features not supported by xgrammar.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        is_general=False,
    ),
    "vLLM, guidance": Refusal(
        "openai", _openai("Grammar error: Unknown format: uri"), is_general=False
    ),
    "a grammar that fails on the server": Refusal(
        "openai",
        {"error": {"message": "Failed to compile json grammar", "code": 500}},
        _FAILED,
        is_general=False,
    ),
    "Gemini, states": Refusal(
        "openai",
        _openai("The specified schema produces a constraint that has too many states for serving."),
        is_general=False,
    ),
    "Ollama, schema": Refusal(
        "ollama", {"error": "invalid JSON schema in format"}, _FAILED, is_general=False
    ),
    "Ollama, runner": Refusal(
        "ollama",
        {"error": '{"error":{"code":400,"message":"failed to parse grammar"}}'},
        is_general=False,
    ),
    "LM Studio, grammar": Refusal(
        "lmstudio",
        {"error": "Failed to initialize samplers: failed to parse grammar"},
        _FAILED,
        is_general=False,
    ),
}
_CLASSES: Dict[str, Callable[..., ModelProvider]] = {
    "openai": lambda url, **options: OpenAICompatibleProvider(url + "/v1", **options),
    "lmstudio": LMStudioProvider,
    "ollama": OllamaProvider,
}
_READY = {
    "/api/tags": {"models": [{"name": "m:latest", "model": "m:latest"}]},
    "/api/show": {"capabilities": ["completion"], "details": {}, "model_info": {}},
    "/api/ps": {"models": []},
}


def answer(kind: str, text: str) -> bytes:
    """Return a server's answer with this text."""
    if kind == "ollama":
        message = {"role": "assistant", "content": text}
        record = {"model": "m", "message": message, "done": True, "done_reason": "stop"}
        return http_answer(json.dumps(record).encode(), content_type="application/x-ndjson")
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
    body = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\ndata: [DONE]\n\n"
    return http_answer(body, content_type="text/event-stream")


def in_stream(refusal: Refusal) -> bytes:
    """Return a refusal that arrives in a stream with status 200."""
    body = refusal.body if isinstance(refusal.body, dict) else {"error": str(refusal.body)}
    if refusal.kind == "ollama":
        return http_answer(json.dumps(body).encode(), content_type="application/x-ndjson")
    event = b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n"
    return http_answer(event, content_type="text/event-stream")


class Refusing:
    """A provider whose server refuses schemas.

    Attributes:
        provider: The provider.
        bodies: The JSON of each request to the model.
    """

    def __init__(self, provider: ModelProvider, bodies: List[Dict[str, Any]]) -> None:
        self.provider = provider
        self.bodies = bodies

    @property
    def has_schema(self) -> List[bool]:
        """Whether each request has a schema."""
        return ["response_format" in body or "format" in body for body in self.bodies]


@contextlib.contextmanager
def refusing(
    refusal: Refusal,
    *texts: str,
    refused: Callable[[Any], bool] = lambda schema: True,
    streamed: bool = False,
    **options: Any,
) -> Iterator[Refusing]:
    """Start a server that refuses schemas, and answers other requests with these texts.

    Args:
        refusal: The refusal.
        texts: The answers, one after the other. The last one is repeated.
        refused: Whether the server refuses a schema.
        streamed: Whether the refusal arrives in a stream.
        options: Options of the provider.
    """
    left, bodies = list(texts or (GOOD,)), []
    said = refusal.body if isinstance(refusal.body, str) else json.dumps(refusal.body)
    plain = http_answer(said.encode(), status=refusal.status, content_type="application/json")

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path in _READY:
            return [http_answer(_READY[exchange.path])]
        if exchange.method == "GET":  # the list of models
            return [http_answer({"data": [{"id": "m"}]})]
        body = exchange.json
        bodies.append(body)
        schema = body.get("format") or body.get("response_format", {}).get("json_schema")
        if schema is not None and refused(schema):
            return [in_stream(refusal) if streamed else plain]
        return [answer(refusal.kind, left.pop(0) if len(left) > 1 else left[0])]

    with ScriptedServer(script) as server:
        url, retry = server.url, RetryPolicy(attempts=1)
        with _CLASSES[refusal.kind](url, model="m", retry=retry, **options) as provider:
            yield Refusing(provider, bodies)


ONE_OF_EACH = [REFUSALS["Groq"], REFUSALS["LM Studio, grammar"], REFUSALS["Ollama, schema"]]


# --- parse ------------------------------------------------------------------------------------


@pytest.mark.sample(8)
@pytest.mark.parametrize("streamed", [False, True], ids=["status", "stream"])
@pytest.mark.parametrize("name", REFUSALS)
def test_parse_writes_a_refused_schema_into_the_prompt(name: str, streamed: bool) -> None:
    with refusing(REFUSALS[name], streamed=streamed) as server:
        parsed = server.provider.parse("Which?", City)

    assert (parsed.value, parsed.attempts) == (City("Oslo"), 1)
    assert parsed.response.attempts == 2
    (warning,) = parsed.response.warnings
    assert "refuses the response schema" in warning
    assert server.has_schema == [True, False]
    (message,) = server.bodies[-1]["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("Which?\n\n")
    assert '"required": ["name"]' in message["content"]


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_remembered(name: str) -> None:
    refusal = REFUSALS[name]
    other = {"type": "object", "properties": {"name": {"type": "string"}}}
    with refusing(refusal) as server:
        answers = [server.provider.parse("Which?", City).response for _ in range(3)]
        assert ["refuses the response schema" in each.warnings[0] for each in answers] == [True] * 3
        assert server.has_schema == [True, False, False, False]
        assert [each.attempts for each in answers] == [2, 1, 1]

        server.provider.parse("Which?", other)
        assert server.has_schema[4:] == ([False] if refusal.is_general else [True, False])


def test_a_refusal_for_one_model_does_not_concern_another() -> None:
    with refusing(REFUSALS["Groq"]) as server:
        server.provider.parse("Which?", City)
        server.provider.parse("Which?", City, model="other")

    assert server.has_schema == [True, False, True, False]


def test_another_schema_is_sent_after_the_refusal_of_one() -> None:
    other = {"type": "object", "properties": {"name": {"type": "string"}}}
    with refusing(
        REFUSALS["llama.cpp, grammar"], refused=lambda schema: "required" in schema["schema"]
    ) as server:
        server.provider.parse("Which?", City)
        parsed = server.provider.parse("Which?", other)

    assert server.has_schema == [True, False, True]
    assert parsed.response.warnings == ()


@pytest.mark.parametrize("refusal", ONE_OF_EACH, ids=lambda each: each.kind)
def test_an_answer_to_a_schema_in_words_is_checked(refusal: Refusal) -> None:
    with refusing(refusal, NO_CITY, GOOD) as server:
        parsed = server.provider.parse("Which?", City)

    assert (parsed.value, parsed.attempts) == (City("Oslo"), 2)
    assert server.has_schema == [True, False, False]
    first, refused, correction = server.bodies[-1]["messages"]
    assert (first["role"], refused["role"], correction["role"]) == ("user", "assistant", "user")
    assert '"required": ["name"]' in first["content"], "so the correction need not repeat it"
    assert "must be a string" in correction["content"]
    assert correction["content"].endswith("follows the schema.")


@pytest.mark.parametrize("refusal", ONE_OF_EACH, ids=lambda each: each.kind)
def test_no_answer_that_fits_is_an_error_that_names_the_refusal(refusal: Refusal) -> None:
    with refusing(refusal, NO_CITY) as server, pytest.raises(SchemaError) as caught:
        server.provider.parse("Which?", City)

    assert server.has_schema == [True, False, False, False]
    assert "refuses the response schema" in str(caught.value)


def test_a_refusal_counts_as_no_attempt() -> None:
    with refusing(REFUSALS["DeepSeek"]) as server:
        assert server.provider.parse("Which?", City, max_attempts=1).attempts == 1


def test_a_refusal_before_an_answer_that_repeats_itself_is_remembered() -> None:
    repeated = json.dumps({"choices": [{"index": 0, "delta": {"content": "no " * 60}}]})
    body = f"data: {repeated}\n\n".encode()
    answers = [
        http_answer(REFUSALS["DeepSeek"].body, status="400 Bad Request"),
        http_answer(body, content_type="text/event-stream"),
        answer("openai", GOOD),
    ]
    bodies: List[Dict[str, Any]] = []

    def script(exchange: Exchange) -> List[bytes]:
        bodies.append(exchange.json)
        return [answers.pop(0)]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            parsed = provider.parse("Which?", City)
    assert (parsed.value, parsed.attempts) == (City("Oslo"), 2)
    assert ["response_format" in body for body in bodies] == [True, False, False]


def test_the_callers_messages_are_not_changed() -> None:
    given = [
        Message.system("Be exact."),
        Message.user("Hi"),
        Message.assistant("Hello"),
        Message.user("Which?"),
    ]
    before = pickle.dumps(given)
    with refusing(REFUSALS["DeepSeek"]) as server:
        server.provider.parse(given, City)

    assert pickle.dumps(given) == before
    sent = server.bodies[-1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in sent[:3]] == ["Be exact.", "Hi", "Hello"]
    assert "JSON Schema" in sent[3]["content"]


@pytest.mark.parametrize(
    ("messages", "roles", "place"),
    [
        ([Message.system("Be exact.")], ["system"], 0),
        ([Message.user("Hi"), Message.assistant("{")], ["user", "assistant"], 0),
    ],
)
def test_the_schema_goes_to_the_last_message_of_the_user(
    messages: List[Message], roles: List[str], place: int
) -> None:
    with refusing(REFUSALS["DeepSeek"]) as server:
        server.provider.parse(messages, City)

    sent = server.bodies[-1]["messages"]
    assert [message["role"] for message in sent] == roles
    assert ["JSON Schema" in message["content"] for message in sent].index(True) == place


def test_a_wrapped_value_is_read_from_an_answer_in_words() -> None:
    with refusing(REFUSALS["DeepSeek"], '{"value": [1, 2]}') as server:
        assert server.provider.parse("Which?", List[int]).value == [1, 2]


OTHER_ERRORS: Dict[str, Any] = {
    "another field": (_openai("Unsupported parameter: top_k"), "400 Bad Request"),
    "no reason": ({}, "400 Bad Request"),
    "a key": (_openai("Incorrect API key provided: response_format"), "401 Unauthorized"),
    "overload": (_openai("response_format: too many requests"), "429 Too Many Requests"),
    "overflow": (
        _openai("maximum context length is 9 tokens; shorten response_format"),
        "400 Bad Request",
    ),
    "a failure without a denial": ({"error": "grammar: broken pipe"}, _FAILED),
}


@pytest.mark.parametrize("name", OTHER_ERRORS)
def test_another_error_is_not_taken_for_a_refusal(name: str) -> None:
    body, status = OTHER_ERRORS[name]
    with refusing(Refusal("openai", body, status)) as server, pytest.raises(ProviderError):
        server.provider.parse("Which?", City)

    assert server.has_schema == [True]


def test_a_refusal_in_words_as_well_is_an_error_and_not_remembered() -> None:
    def script(exchange: Exchange) -> List[bytes]:
        bodies.append(exchange.json)
        return [http_answer(_openai("schema: not supported"), status="400 Bad Request")]

    bodies: List[Dict[str, Any]] = []
    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            for _ in range(2):
                with pytest.raises(ProviderError):
                    provider.parse("Which?", City)

    assert ["response_format" in body for body in bodies] == [True, False] * 2


def test_the_answer_so_far_is_not_thrown_away_for_a_refusal_in_its_middle() -> None:
    choice = {"index": 0, "delta": {"content": '{"na'}, "finish_reason": None}
    records = [{"choices": [choice]}, {"error": {"message": "grammar error: invalid"}}]
    body = b"".join(b"data: " + json.dumps(record).encode() + b"\n\n" for record in records)

    bodies: List[Dict[str, Any]] = []

    def script(exchange: Exchange) -> List[bytes]:
        bodies.append(exchange.json)
        return [http_answer(body, content_type="text/event-stream")]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(ProviderError) as caught:
                provider.parse("Which?", City)

    assert (caught.value.partial, len(bodies)) == ('{"na', 1)


def test_several_servers_write_a_refused_schema_into_the_prompt_too() -> None:
    with refusing(REFUSALS["Groq"]) as server:
        local = LocalProvider([server.provider], model="m")
        found = [local.parse("Which?", City) for _ in range(2)]

    for parsed in found:
        assert parsed.value == City("Oslo")
        assert any("refuses the response schema" in line for line in parsed.response.warnings)
    assert server.has_schema.count(True) == 1


def test_a_refusal_is_no_fault_of_one_of_several_servers() -> None:
    for refusal in (REFUSALS["Groq"], REFUSALS["not implemented"], REFUSALS["Ollama, schema"]):
        with refusing(refusal) as first, refusing(refusal, name="second") as second:
            local = LocalProvider([first.provider, second.provider], model="m")
            for number in range(5):
                schema = {"type": "object", "properties": {f"n{number}": {"type": "string"}}}
                assert local.parse("Which?", schema).response.tried == ()


def test_the_error_of_the_second_request_shows_no_prompt() -> None:
    with refusing(REFUSALS["Groq"], "no JSON") as server, pytest.raises(SchemaError) as caught:
        server.provider.parse(PROMPT, City, max_attempts=1)

    assert lines_with(PROMPT, visible_text(caught.value)) == []


def test_a_provider_that_accepts_no_schema_gets_it_in_words() -> None:
    class Limited(OpenAICompatibleProvider):
        _unsupported: Mapping[str, str] = {"response_schema": "leave it out"}

    with ScriptedServer(lambda exchange: [answer("openai", GOOD)]) as server:
        with Limited(server.url + "/v1", model="m") as provider:
            parsed = provider.parse("Which?", City)

    assert parsed.value == City("Oslo")
    assert "JSON Schema" in server.exchanges[-1].json["messages"][0]["content"]


@pytest.mark.parametrize("streamed", [False, True], ids=["status", "stream"])
@pytest.mark.parametrize("refusal", ONE_OF_EACH, ids=lambda each: each.kind)
def test_parse_that_is_not_strict_does_the_same(refusal: Refusal, streamed: bool) -> None:
    with refusing(refusal, NO_CITY, GOOD, streamed=streamed) as server:
        parsed = server.provider.parse("Which?", City, strict=False)

    assert (parsed.value, parsed.attempts) == (City("Oslo"), 2)
    assert server.has_schema[:2] == [True, False]
    assert any("schema" in warning for warning in parsed.response.warnings)
    first = server.bodies[1]["messages"][-1]["content"]
    assert first.startswith("Which?") and '"required": ["name"]' in first


def test_a_picture_keeps_its_place_before_the_schema() -> None:
    picture = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
    message = Message.user("Which?", images=[picture])
    for strict in (True, False):
        with refusing(REFUSALS["DeepSeek"]) as server:
            server.provider.parse([message], City, strict=strict)
        parts = server.bodies[-1]["messages"][0]["content"]
        kinds = [part["type"] for part in parts]
        assert kinds == (["text", "image_url"] if strict else ["text", "image_url", "text"])
        assert "JSON Schema" in json.dumps(parts)


# --- chat -------------------------------------------------------------------------------------


@pytest.mark.sample(12)
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_schema_is_an_error_of_chat(name: str) -> None:
    with refusing(REFUSALS[name]) as server, pytest.raises(ProviderError) as caught:
        server.provider.chat("Which?", response_schema={"type": "object"})

    assert server.has_schema == [True]
    assert "strict=False" in str(caught.value.hint)
    assert "parse" in str(caught.value.hint)


@pytest.mark.sample(9)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_schema_is_a_warning_if_the_request_is_not_strict(
    name: str, streamed: bool
) -> None:
    schema: Optional[Dict[str, Any]] = {"type": "object", "properties": {"name": {}}}
    with refusing(REFUSALS[name], "Oslo") as server:
        if streamed:
            with server.provider.stream("Which?", response_schema=schema, strict=False) as stream:
                response = stream.result()
        else:
            response = server.provider.chat("Which?", response_schema=schema, strict=False)

    assert response.text == "Oslo"
    (warning,) = response.warnings
    assert "schema" in warning
    assert server.has_schema == [True, False]
    assert response.attempts == 2


def test_a_general_refusal_of_a_lenient_chat_is_remembered() -> None:
    with refusing(REFUSALS["Groq"]) as server:
        for _ in range(2):
            server.provider.chat("Which?", response_schema={"type": "object"}, strict=False)
        assert server.has_schema == [True, False, False]
        with pytest.raises(ProviderError):
            server.provider.chat("Which?", response_schema={"type": "object"})

    assert server.has_schema[3:] == [True]


def test_a_refusal_of_one_schema_by_a_lenient_chat_does_not_concern_others() -> None:
    with refusing(REFUSALS["llama.cpp, grammar"]) as server:
        for _ in range(2):
            server.provider.chat("Which?", response_schema={"type": "object"}, strict=False)

    assert server.has_schema == [True, False] * 2


def test_a_schema_of_the_callers_own_json_is_never_left_out() -> None:
    extra = {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}
    with refusing(REFUSALS["Groq"]) as server, pytest.raises(ProviderError):
        server.provider.chat("Which?", extra_body=extra, strict=False)

    assert server.has_schema == [True]


def test_a_text_to_continue_loses_a_refused_schema() -> None:
    request = CompletionRequest(prompt="{", response_schema={"type": "object"}, strict=False)
    with refusing(REFUSALS["Ollama, schema"]) as server:
        response = server.provider.complete(request)

    assert "response_schema" in response.warnings[0]
    assert [body["prompt"] for body in server.bodies] == ["{", "{"]
    assert server.has_schema == [True, False]
