"""The fake Ollama answers other clients as the real server does, and refuses what it refuses."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import requests

from localproviders import AuthenticationError, OllamaProvider, OpenAICompatibleProvider, ToolCall
from localproviders.testing import FakeModel, FakeOllama, Reply
from localproviders.testing.ollama import library, v1_requests, vectors
from localproviders.testing.ollama import text as text_routes

MESSAGES = [{"role": "user", "content": "Hi there"}]
CHAT: Dict[str, Any] = {"model": "m", "stream": False, "messages": MESSAGES}
GENERATE: Dict[str, Any] = {"model": "m", "stream": False, "prompt": "Hi there"}
CALL = ToolCall(id="call_1", name="weather", arguments={"city": "Oslo"})
MODELS = [
    "m",
    FakeModel(name="thinker", abilities=("chat", "completion", "thinking")),
    FakeModel(name="eyes", abilities=("chat", "completion", "vision")),
    FakeModel(name="vectors", abilities=("embeddings",)),
]


class Client:
    """A client that sends plain requests to a fake."""

    def __init__(self, fake: FakeOllama) -> None:
        self.fake = fake
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, path: str, body: Any, **more: Any) -> requests.Response:
        """Send a body: bytes, pieces of bytes, or a value that is written as JSON."""
        raw = isinstance(body, (bytes, Iterator))
        data = body if raw else json.dumps(body)
        return self._session.post(self.fake.url + path, data=data, **more)

    def get(self, path: str) -> requests.Response:
        """Send a request without a body."""
        return self._session.get(self.fake.url + path)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeOllama(MODELS) as fake:
        made = Client(fake)
        yield made
        made.close()
        assert fake.errors == []


def records(answer: requests.Response) -> List[Any]:
    return [json.loads(line) for line in answer.content.splitlines()]


def events(answer: requests.Response) -> List[Any]:
    texts = [line[len(b"data: ") :] for line in answer.content.splitlines() if line]
    return [text.decode() if text == b"[DONE]" else json.loads(text) for text in texts]


# --- models ---------------------------------------------------------------------------------


def test_each_model_has_a_digest_and_copies_have_the_same(client: Client) -> None:
    client.post("/api/copy", {"source": "m", "destination": "copied"})
    client.post("/api/copy", {"source": "copied", "destination": "again"})
    client.post("/api/create", {"model": "made", "from": "m", "system": "Be brief."})
    client.post("/api/copy", {"source": "made", "destination": "made-copied"})
    rows = client.get("/api/tags").json()["models"]
    digests = {row["name"].partition(":")[0]: row["digest"] for row in rows}
    assert digests["m"] == digests["copied"] == digests["again"]
    assert digests["made"] == digests["made-copied"] != digests["m"]
    assert len(set(digests.values())) == len({row["size"] for row in rows}) == len(MODELS) + 1
    client.post("/api/chat", CHAT)
    assert client.get("/api/ps").json()["models"][0]["digest"] == digests["m"]


def test_a_pull_replaces_a_model_that_was_created(client: Client) -> None:
    client.post("/api/pull", {"model": "gemma3:270m"})
    digest = client.get("/api/tags").json()["models"][0]["digest"]
    client.post("/api/create", {"model": "gemma3:270m", "from": "m", "system": "Be brief."})
    assert client.get("/api/tags").json()["models"][0]["digest"] != digest
    client.post("/api/pull", {"model": "gemma3:270m"})
    assert client.get("/api/tags").json()["models"][0]["digest"] == digest


def test_a_creation_reports_the_pull_of_its_source_and_then_its_own_work(client: Client) -> None:
    adapter = b"GGUF adapter"
    digest = f"sha256:{hashlib.sha256(adapter).hexdigest()}"
    client.post(f"/api/blobs/{digest}", adapter)
    fields = {"from": "gemma3:270m", "adapters": {"a.gguf": digest}, "quantize": "Q8_0"}
    answer = client.post("/api/create", {"model": "made", **fields})
    found = [record["status"].partition(" ")[0] for record in records(answer)]
    steps = [status for status, before in zip(found, ["", *found]) if status != before]
    assert " ".join(steps) == (
        "pulling verifying writing parsing quantizing using creating writing success"
    )


def test_a_creation_from_an_unknown_model_leaves_nothing(client: Client) -> None:
    answer = client.post("/api/create", {"model": "made", "from": "nope", "quantize": "Q8_0"})
    assert [*records(answer)[0]] == ["status"] and [*records(answer)[1]] == ["error"]
    assert len(records(answer)) == 2
    assert client.fake.parts == {}


def test_an_upload_in_chunks_is_read(client: Client) -> None:
    pieces = [b"GG", b"UF", b"x" * 100_000]
    path = f"/api/blobs/sha256:{hashlib.sha256(b''.join(pieces)).hexdigest()}"
    statuses = [client.post(path, iter(pieces)).status_code for _ in range(2)]
    assert statuses == [201, 200]  # the second upload is not needed
    assert client.fake.blobs == {path.rpartition("/")[2]: b"GGUFxxxx"}
    wrong = client.post(path, iter([b"other"]))
    assert (wrong.status_code, "digest mismatch" in wrong.text) == (400, True)


def test_a_fake_with_a_key_refuses_requests_without_it() -> None:
    with FakeOllama(api_key="k" * 9) as fake:
        for provider_class, url in (
            (OllamaProvider, fake.url),
            (OpenAICompatibleProvider, fake.base_url),
        ):
            make: Any = provider_class
            with make(url, api_key="wrong-key") as provider:
                with pytest.raises(AuthenticationError, match="unauthorized"):
                    provider.list_models()
            with make(url, api_key="k" * 9) as provider:
                assert len(provider.list_models()) == 2


# --- fields of responses --------------------------------------------------------------------


def test_a_tool_call_is_counted(client: Client) -> None:
    client.fake.usual = Reply(text="", tool_calls=(CALL,))
    whole = client.post("/api/chat", CHAT).json()
    assert whole["eval_count"] == 3
    assert whole["message"]["tool_calls"][0]["function"]["name"] == "weather"
    streamed = records(client.post("/api/chat", {**CHAT, "stream": True}))
    assert streamed[-1]["eval_count"] == 3
    # A call that is cut is not sent, and only the reason shows that there was one.
    cut = client.post("/api/chat", {**CHAT, "options": {"num_predict": 2}}).json()
    assert ("tool_calls" in cut["message"], cut["done_reason"]) == (False, "length")


def test_a_limit_counts_the_reasoning(client: Client) -> None:
    client.fake.usual = Reply(text="one two", thinking="let me think")
    body = {**CHAT, "model": "thinker"}
    for limit, thinking, text in ((2, "let me", ""), (4, "let me think", "one")):
        answer = client.post("/api/chat", {**body, "options": {"num_predict": limit}}).json()
        found = answer["message"]
        assert (found["thinking"], found["content"]) == (thinking, text)
        assert (answer["eval_count"], answer["done_reason"]) == (limit, "length")
    unthinking = client.post("/api/chat", {**body, "think": False}).json()["message"]
    assert unthinking == {"role": "assistant", "content": "one two"}


def test_a_reply_with_thinking_needs_a_model_that_thinks() -> None:
    with pytest.raises(ValueError, match="model 'm' cannot think"):
        with FakeOllama(MODELS) as fake:
            client = Client(fake)
            fake.reply_with(Reply(thinking="hm"))
            answer = client.post("/api/chat", CHAT)
            assert (answer.status_code, "cannot think" in answer.text) == (500, True)
            client.close()


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_log_probabilities_have_an_entry_for_each_token(client: Client, path: str) -> None:
    body = {**CHAT, **GENERATE, "logprobs": True, "top_logprobs": 2}
    whole = client.post(path, body).json()
    assert len(whole["logprobs"]) == whole["eval_count"] == 3
    assert [entry["token"] for entry in whole["logprobs"]] == ["Hello", " there,", " friend."]
    assert bytes(whole["logprobs"][0]["bytes"]) == b"Hello"
    assert [len(entry["top_logprobs"]) for entry in whole["logprobs"]] == [2, 2, 2]
    *streamed, last = records(client.post(path, {**body, "stream": True, "top_logprobs": 0}))
    assert [record["logprobs"][0]["token"] for record in streamed] == [
        "Hello",
        " there,",
        " friend.",
    ]
    assert "top_logprobs" not in streamed[0]["logprobs"][0]
    assert "logprobs" not in last
    assert "logprobs" not in client.post(path, {**CHAT, **GENERATE}).json()


def test_a_generation_returns_its_context(client: Client) -> None:
    first = client.post("/api/generate", GENERATE).json()
    assert len(first["context"]) == first["prompt_eval_count"] + first["eval_count"] == 5
    second = {**GENERATE, "prompt": "More", "context": first["context"]}
    *_, last = records(client.post("/api/generate", {**second, "stream": True}))
    assert (last["prompt_eval_count"], len(last["context"])) == (6, 9)
    assert "context" not in client.post("/api/generate", {**GENERATE, "raw": True}).json()
    raw = client.post("/api/generate", {**second, "raw": True})
    assert raw.json() == {"error": "raw mode does not support template, system, or context"}


def test_each_record_has_its_own_time(client: Client) -> None:
    for path in ("/api/chat", "/api/generate"):
        times = [r["created_at"] for r in records(client.post(path, {"model": "m", **_streamed()}))]
        assert times == sorted(set(times))


def _streamed() -> Dict[str, Any]:
    return {"messages": MESSAGES, "prompt": "Hi"}


# --- refusals -------------------------------------------------------------------------------

_TYPE = "json: cannot unmarshal {} into Go struct field {} of type {}"
_IMAGE = [{"role": "user", "content": "x", "images": ["AAAA"]}]


def _with_part(part: Dict[str, Any]) -> Dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x", **part}]}


#: A path, the fields that replace those of a good request, a status, and the text of the error.
REFUSED: List[Tuple[str, Any, int, str]] = [
    ("chat", b"", 400, "missing request body"),
    ("chat", b'{"model":', 400, "unexpected EOF"),
    ("chat", b'{"model": "m', 400, "unexpected EOF"),
    ("chat", b"nonsense", 400, "invalid character 'n' looking for beginning of value"),
    ("chat", b'{"a": NaN}', 400, "invalid character 'N' looking for beginning of value"),
    ("chat", b'{"a" 1}', 400, "invalid character '1' after object key"),
    ("chat", b"[]", 400, "json: cannot unmarshal array into Go value of type api.ChatRequest"),
    ("chat", {"model": None}, 400, "model is required"),
    ("chat", {"model": 5}, 400, _TYPE.format("number", "ChatRequest.model", "string")),
    (
        "chat",
        {"messages": "hi"},
        400,
        _TYPE.format("string", "ChatRequest.messages", "[]api.Message"),
    ),
    (
        "chat",
        {"messages": ["hi"]},
        400,
        _TYPE.format("string", "ChatRequest.messages", "api.Message"),
    ),
    (
        "chat",
        _with_part({"content": [1]}),
        400,
        _TYPE.format("array", "ChatRequest.messages.content", "string"),
    ),
    ("chat", _with_part({"images": ["data:x"]}), 400, "illegal base64 data at input byte 4"),
    (
        "chat",
        _with_part({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
        400,
        "Value looks like object, but can't find closing '}' symbol",
    ),
    (
        "chat",
        {"options": []},
        400,
        _TYPE.format("array", "ChatRequest.options", "map[string]interface {}"),
    ),
    ("chat", {"keep_alive": []}, 400, "Unsupported type: '[]interface {}'"),
    (
        "chat",
        {"think": "huge"},
        400,
        'invalid think value: "huge" (must be "high", "medium", "low", "max", true, or false)',
    ),
    ("chat", {"think": True}, 400, '"m" does not support thinking'),
    ("chat", {"top_logprobs": 50}, 400, "top_logprobs must be between 0 and 20"),
    ("chat", {"options": {"num_predict": "5"}}, 500, 'option "num_predict" must be of type integer'),
    ("chat", {"options": {"num_ctx": "5"}}, 500, 'option "num_ctx" must be of type integer'),
    (
        "chat",
        {"options": {"temperature": "hot"}},
        500,
        'option "temperature" must be of type float32',
    ),
    ("chat", {"options": {"stop": "x"}}, 500, 'option "stop" must be of type array'),
    (
        "chat",
        {"format": "yaml"},
        500,
        'invalid format: "\\"yaml\\""; expected "json" or a valid JSON Schema object',
    ),
    ("chat", {"messages": _IMAGE}, 400, "registry.ollama.ai/library/m:latest does not support vision"),
    ("chat", {"model": "vectors"}, 400, '"vectors" does not support chat'),
    ("chat", {"model": "nope"}, 404, "model 'nope' not found"),
    ("generate", {"model": "nope"}, 404, "model 'nope' not found"),
    ("generate", {"model": ""}, 404, "model '' not found"),
    ("generate", {"model": "vectors"}, 400, '"vectors" does not support generate'),
    ("generate", {"model": "vectors", "prompt": ""}, 400, '"vectors" does not support generate'),
    ("generate", {"prompt": 5}, 400, _TYPE.format("number", "GenerateRequest.prompt", "string")),
    ("embed", {"model": "nope"}, 404, 'model "nope" not found, try pulling it first'),
    ("embed", {"input": 5}, 400, "invalid input type"),
    ("embed", {"input": [1, 2]}, 400, "invalid input type"),
    (
        "embed",
        {"dimensions": "8"},
        400,
        _TYPE.format("string", "EmbedRequest.dimensions", "int"),
    ),
    ("embeddings", {"prompt": 5}, 400, _TYPE.format("number", "EmbeddingRequest.prompt", "string")),
    ("show", {"model": "nope"}, 404, "model 'nope:latest' not found"),
    ("show", {"verbose": "x"}, 400, _TYPE.format("string", "ShowRequest.verbose", "bool")),
    ("create", {"parameters": 5}, 400, _TYPE.format(
        "number", "CreateRequest.parameters", "map[string]interface {}"
    )),
    ("copy", {}, 400, 'source "" is invalid'),
]  # fmt: skip


def test_what_ollama_refuses_is_refused_in_its_words(client: Client) -> None:
    good: Dict[str, Any] = {**CHAT, **GENERATE, "input": "x"}
    for verb, given, status, text in REFUSED:
        body = given if isinstance(given, bytes) else {**good, **given}
        answer = client.post(f"/api/{verb}", body)
        assert (answer.status_code, answer.json()) == (status, {"error": text}), (verb, given)


@pytest.mark.slow
def test_no_value_in_a_request_breaks_the_fake(client: Client) -> None:
    values = (5, True, "x", [], [1], [{}], {}, {"a": 1}, None)
    shapes: Dict[str, Any] = {
        "chat": text_routes.CHAT,
        "generate": text_routes.GENERATE,
        "embed": vectors.EMBED,
        "create": library.CREATE,
        "v1/chat/completions": v1_requests.CHAT,
    }
    for verb, fields in shapes.items():
        path = f"/{verb}" if verb.startswith("v1") else f"/api/{verb}"
        for field in (*fields, "messages", "top_logprobs"):
            for value in values:
                client.post(path, {**CHAT, **GENERATE, "input": "x", field: value})
                assert client.fake.errors == [], (path, field, value)


def test_what_ollama_accepts_is_accepted(client: Client) -> None:
    for verb, given in (
        ("chat", {"think": False, "format": "", "keep_alive": None, "unknown": [1]}),
        ("chat", {"model": "eyes", "messages": _IMAGE}),
        ("chat", {"model": "thinker", "think": "max"}),
        ("chat", {"options": {"num_predict": 2.5, "temperature": 1, "seed": None, "unknown": {}}}),
        ("chat", {"format": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}}),
        ("generate", {"format": "json", "num_predict": "x"}),
    ):
        body: Dict[str, Any] = {**CHAT, **GENERATE, **given}
        answer = client.post(f"/api/{verb}", body)
        assert answer.status_code == 200, (verb, given, answer.text)
    behind = json.dumps(CHAT).encode() + b" and more"  # only the first value is read
    assert client.post("/api/chat", behind).status_code == 200


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "nonsense"}, "Unrecognized schema: "),
        ({"properties": {"a": True}}, "Unrecognized schema: true"),
        ({"items": {"pattern": "x"}}, "Pattern must start with '^' and end with '$'"),
        ({"$ref": "#/$defs/A", "$defs": {}}, "Error resolving ref #/$defs/A: A not in {}"),
    ],
)
def test_a_schema_that_cannot_become_a_grammar_is_refused(
    client: Client, schema: Any, words: str
) -> None:
    answer = client.post("/api/chat", {**CHAT, "format": schema})
    error = json.loads(answer.json()["error"])["error"]
    assert (answer.status_code, error["code"]) == (400, 400)
    assert error["message"].startswith(f"JSON schema conversion failed:\n{words}")


# --- OpenAI's dialect -----------------------------------------------------------------------


def test_v1_lists_models(client: Client) -> None:
    rows = client.get("/v1/models").json()["data"]
    assert [row["id"] for row in rows] == [
        "m:latest",
        "thinker:latest",
        "eyes:latest",
        "vectors:latest",
    ]
    one = client.get("/v1/models/m")
    assert one.headers["Content-Type"] == "application/json"
    assert one.json() == {**rows[0], "id": "m"}
    missing = client.get("/v1/models/nope")
    assert (missing.status_code, missing.json()) == (
        404,
        _v1_error("model 'nope:latest' not found", "not_found_error"),
    )
    assert client.get("/v1/models/a%2Fb").text == "404 page not found"
    client.fake.models.clear()
    assert client.get("/v1/models").json() == {"object": "list", "data": None}


def _v1_error(text: str, type_: str = "invalid_request_error") -> Dict[str, Any]:
    return {"error": {"message": text, "type": type_, "param": None, "code": None}}


def test_v1_chats(client: Client) -> None:
    client.fake.reply_with(
        Reply(thinking="hm", text="Hello you"), Reply(tool_calls=(CALL,), text="")
    )
    first = client.post("/v1/chat/completions", {"model": "thinker", "messages": MESSAGES}).json()
    assert first["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello you", "reasoning": "hm"},
            "finish_reason": "stop",
        }
    ]
    assert first["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    call = client.post("/v1/chat/completions", {"model": "m", "messages": MESSAGES}).json()
    assert call["id"] != first["id"]
    assert call["choices"][0]["finish_reason"] == "tool_calls"
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert call["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_1", "index": 0, "type": "function", "function": function}
    ]


def test_v1_streams(client: Client) -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi there"}]}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 2,
        "logprobs": True,
    }
    *made, last, numbers, end = events(client.post("/v1/chat/completions", body))
    deltas = [record["choices"][0]["delta"] for record in made]
    assert deltas == [{"role": "assistant", "content": "Hello"}, {"content": " there,"}]
    assert made[0]["choices"][0]["logprobs"]["content"][0]["token"] == "Hello"
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert (numbers["choices"], numbers["usage"], end) == ([], usage, "[DONE]")
    assert "usage" not in last
    client.fake.repeat_guard = True
    client.fake.usual = "ha " * 40
    assert "[DONE]" not in events(client.post("/v1/chat/completions", {**body, "max_tokens": None}))


def test_v1_completes(client: Client) -> None:
    body: Dict[str, Any] = {"model": "m", "prompt": "Once", "stop": "x", "max_tokens": 2}
    whole = client.post("/v1/completions", body).json()
    assert (whole["object"], whole["id"][:5]) == ("text_completion", "cmpl-")
    assert whole["choices"] == [{"text": "Hello there,", "index": 0, "finish_reason": "length"}]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *made, numbers, end = events(client.post("/v1/completions", {**body, **options}))
    assert [record["choices"][0]["text"] for record in made] == ["Hello", " there,", ""]
    assert [record["usage"]["total_tokens"] for record in made] == [0, 0, 0]
    assert (numbers["usage"]["total_tokens"], end) == (3, "[DONE]")
    load = client.post("/v1/completions", {**body, "prompt": ""}).json()
    assert load["choices"] == [{"text": "", "index": 0, "finish_reason": "load"}]


def test_v1_makes_vectors(client: Client) -> None:
    client.fake.poison("bad")
    for given, rows in (("a", 1), (["a", "b"], 2), ("", 1)):
        body = {"model": "vectors", "input": given, "dimensions": 4}
        answer = client.post("/v1/embeddings", body).json()
        assert [len(row["embedding"]) for row in answer["data"]] == [4] * rows
    answer = client.post("/v1/embeddings", {**body, "encoding_format": "base64"}).json()
    assert isinstance(answer["data"][0]["embedding"], str)
    assert client.post("/v1/embeddings", {**body, "input": ["a", "bad"]}).status_code == 500


#: A path, the fields that replace those of a good request, and the text of the error.
REFUSED_V1: List[Tuple[str, Dict[str, Any], str]] = [
    ("chat/completions", {"messages": []}, "[] is too short - 'messages'"),
    ("chat/completions", {"messages": [{"content": 5}]}, "invalid message content type: float64"),
    ("chat/completions", {"messages": [{"content": [5]}]}, "invalid message format"),
    (
        "chat/completions",
        {"temperature": "hot"},
        _TYPE.format("string", "ChatCompletionRequest.temperature", "float64"),
    ),
    (
        "chat/completions",
        {"reasoning_effort": "huge"},
        "invalid reasoning value: 'huge' (must be \"high\", \"medium\", \"low\", \"max\", or \"none\")",
    ),
    ("chat/completions", {"reasoning_effort": "low"}, '"m" does not support thinking'),
    (
        "chat/completions",
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
        "invalid image input",
    ),
    (
        "completions",
        {"prompt": ["a", "b"]},
        _TYPE.format("array", "CompletionRequest.prompt", "string"),
    ),
    ("embeddings", {"input": []}, "invalid input"),
    ("embeddings", {"input": [[1, 2]]}, "invalid input"),
    (
        "embeddings",
        {"encoding_format": "hex"},
        "Invalid value for 'encoding_format' = hex. Supported values: [\"float\", \"base64\"].",
    ),
]  # fmt: skip


def test_what_v1_refuses_is_refused_in_its_words(client: Client) -> None:
    good = {"model": "m", "messages": MESSAGES, "prompt": "x", "input": "x"}
    for path, given, text in REFUSED_V1:
        answer = client.post(f"/v1/{path}", {**good, **given})
        assert (answer.status_code, answer.json()) == (400, _v1_error(text)), (path, given)
    for path in ("responses", "messages"):  # docs/testing.md names the routes that are missing
        assert client.post(f"/v1/{path}", good).text == "404 page not found"


def test_the_sdk_speaks_v1_with_the_fake(client: Client) -> None:
    fake = client.fake
    with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
        fake.reply_with("Fine.", Reply(text="", tool_calls=(CALL,)))
        assert provider.chat("Hi").text == "Fine."
        (call,) = provider.chat("Hi").tool_calls
        assert (call.name, call.arguments) == (CALL.name, CALL.arguments)
        assert len(provider.embed(["a", "b"], model="vectors").embeddings) == 2
        assert "m:latest" in [info.name for info in provider.list_models()]


def test_faults_apply_to_v1_too(client: Client) -> None:
    body = {"model": "m", "messages": MESSAGES, "stream": True}
    client.fake.break_next("comments and pings")
    client.post("/api/chat", body)  # this answer has lines and no events, so the fault waits
    assert b"\n:" in client.post("/v1/chat/completions", body).content
    assert b"\n:" not in client.post("/v1/chat/completions", body).content
