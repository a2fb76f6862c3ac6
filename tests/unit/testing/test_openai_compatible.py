"""The fake servers of the OpenAI dialect accept, refuse and answer as the real ones do."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple

import pytest
import requests

from localproviders import ToolCall
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOpenAICompatible,
    Reply,
)
from localproviders.testing.fake import vector_of

_HI = [{"role": "user", "content": "Hi"}]
_CALL = ToolCall(id="one", name="weather", arguments={"city": "Oslo", "days": 2})
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
_SEEING = FakeModel(name="seeing", abilities=("chat", "vision"))


def post(fake: Any, path: str, body: Any) -> Any:
    """Send a request; return the JSON of the answer, or the status and the error."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(fake.url + path, json={"model": fake.models[0].name, **body})
    if answer.status_code == 200:
        return answer.json()
    error = answer.json()["error"]
    return answer.status_code, error if isinstance(error, str) else error["message"]


def chat(fake: Any, path: str = "/v1/chat/completions", **fields: Any) -> Any:
    return post(fake, path, {"messages": _HI, **fields})


def stream(fake: Any, path: str = "/v1/chat/completions", **fields: Any) -> List[Any]:
    """Return the records of a streamed answer, without the last one."""
    with requests.Session() as session:
        session.trust_env = False
        body = {"model": fake.models[0].name, "messages": _HI, "stream": True, **fields}
        answer = session.post(fake.url + path, json=body)
    *records, end = answer.text.strip().split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(record[len("data: ") :]) for record in records]


def _deltas(records: List[Any]) -> List[Any]:
    return [choice["delta"] for record in records for choice in record["choices"]]


def _message(content: Any, **more: Any) -> Dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **more}]}


# --- llama.cpp: measured on build b11549 --------------------------------------------------------

_NUMBER = "[json.exception.type_error.302] type must be number, but is string"
_FIELDS: List[Tuple[Dict[str, Any], int, str]] = [
    ({"temperature": "hot"}, 400, f"Field 'temperature': {_NUMBER}"),
    ({"max_tokens": "5"}, 400, f"Field 'max_tokens': {_NUMBER}"),
    ({"stream": 1}, 400, "type must be boolean, but is number"),
    ({"n": 2}, 400, "Field 'n': Value must be between 1 <= value <= 1, but got 2"),
    ({"top_logprobs": 2}, 400, "top_logprobs requires logprobs to be set to true"),
    ({"tool_choice": "any"}, 400, "Invalid tool_choice: any"),
    ({"tools": 5}, 500, "Expected 'tools' to be an array, got 5"),
    ({"response_format": {"type": "yaml"}}, 400, "but got: yaml"),
    ({"messages": "hi"}, 400, "Expected 'messages' to be an array"),
    ({"messages": ["hi"]}, 400, "All non-assistant messages must contain 'content'"),
    ({"messages": [{"content": "x"}]}, 500, "Missing 'role' in message"),
    (_message([5]), 400, "unsupported content[].type"),
    (_message(5), 400, "Expected 'content' to be a string or an array"),
    (_message([{"type": "text"}]), 500, "key 'text' not found"),
    (_message([_IMAGE]), 500, "image input is not supported"),
    (_message([{"type": "input_audio"}]), 500, "audio input is not supported"),
]


def test_llama_cpp_refuses_fields() -> None:
    with FakeOpenAICompatible() as fake:
        for fields, status, words in _FIELDS:
            found, message = chat(fake, **fields)
            assert found == status, fields
            assert words in message, fields
        assert post(fake, "/v1/chat/completions", {}) == (400, "'messages' is required")
        assert chat(fake, messages=[], temperature=None, n=1)["usage"]["prompt_tokens"] == 0
    with FakeOpenAICompatible([_SEEING]) as fake:
        assert chat(fake, **_message([_IMAGE]))["choices"]


_NAMED = {"type": "function", "function": {"name": "f"}}
_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
#: Malformed choices of a tool, and the words of the refusal.
_CHOICES: List[Tuple[Any, Any, str]] = [
    ({}, _TOOLS, "Missing required parameter: 'tool_choice.type'."),
    ({"type": "tool"}, _TOOLS, "Invalid value: 'tool'. Supported values are: 'function'."),
    ({"type": "function"}, _TOOLS, "Missing required parameter: 'tool_choice.function'."),
    ({"type": "function", "name": "f"}, _TOOLS, "required parameter: 'tool_choice.function'."),
    ({**_NAMED, "function": {}}, _TOOLS, "required parameter: 'tool_choice.function.name'."),
    ({**_NAMED, "function": {"name": 5}}, _TOOLS, "parameter: 'tool_choice.function.name'."),
    ({**_NAMED, "function": {"name": "g"}}, _TOOLS, "Tool choice 'g' not found in 'tools'"),
    (["f"], _TOOLS, "Invalid type for 'tool_choice': expected a string or an object"),
    (5, _TOOLS, "Invalid type for 'tool_choice'"),
    (True, _TOOLS, "Invalid type for 'tool_choice'"),
]


def test_a_malformed_choice_of_a_tool_is_refused_as_openai_refuses_it() -> None:
    with FakeOpenAICompatible() as fake:
        for choice, tools, words in _CHOICES:
            for path in ("/v1/chat/completions", "/v1/completions"):
                body = {"tool_choice": choice, "tools": tools, "prompt": "Hi", **_message("Hi")}
                found, message = post(fake, path, body)
                assert found == 400, choice
                assert words in message, choice
        for choice in ("auto", "none", "required", None, _NAMED):
            assert chat(fake, tool_choice=choice, tools=_TOOLS)["choices"], choice


def test_llama_cpp_has_a_second_name_for_the_limit_of_an_answer() -> None:
    with FakeOpenAICompatible() as fake:
        for fields in ({"max_completion_tokens": 2}, {"max_tokens": 2}, {"n_predict": 2}):
            answer = chat(fake, **fields)
            assert answer["choices"][0]["finish_reason"] == "length", fields
            assert answer["usage"]["completion_tokens"] == 2, fields
        assert chat(fake, max_tokens=-1)["choices"][0]["finish_reason"] == "stop"


def test_llama_cpp_leaves_out_the_empty_fields_of_a_message() -> None:
    with FakeOpenAICompatible() as fake:
        fake.reply_with("Hi.", Reply(text="", thinking="Hm.", tool_calls=(_CALL,)))
        plain, full = chat(fake), chat(fake)

    assert plain["choices"][0]["message"] == {"role": "assistant", "content": "Hi."}
    assert plain["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert (plain["timings"]["prompt_n"], plain["timings"]["predicted_n"]) == (1, 1)
    message = full["choices"][0]["message"]
    assert (message["reasoning_content"], len(message["tool_calls"])) == ("Hm.", 1)


def test_llama_cpp_sends_the_role_once_in_a_stream() -> None:
    with FakeOpenAICompatible() as fake:
        fake.reply_with(Reply(text="a b", thinking="Hm.", tool_calls=(_CALL,)))
        records = stream(fake, stream_options={"include_usage": True})
        plain = stream(fake)

    first, *others = _deltas(records)
    assert first == {"role": "assistant", "content": None}
    assert [delta for delta in others if "role" in delta] == []
    assert (records[-1]["choices"], records[-1]["usage"]["prompt_tokens"]) == ([], 1)
    assert "timings" in records[-1] and "timings" in plain[-1] and "usage" not in plain[-1]
    pieces = [d["tool_calls"][0]["function"]["arguments"] for d in others if "tool_calls" in d]
    assert json.loads("".join(pieces)) == dict(_CALL.arguments)


def test_llama_cpp_has_log_probabilities() -> None:
    with FakeOpenAICompatible() as fake:
        fake.usual = "a b"
        whole = chat(fake, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
        records = stream(fake, logprobs=True)
        text = post(fake, "/v1/completions", {"prompt": "x", "logprobs": 1})["choices"][0]
        without = post(fake, "/v1/completions", {"prompt": "x"})["choices"][0]

    assert [(entry["token"], len(entry["top_logprobs"])) for entry in whole] == [
        ("a", 2),
        (" b", 2),
    ]
    found = [r["choices"][0]["logprobs"]["content"] for r in records if "logprobs" in str(r)]
    assert [entry["token"] for (entry,) in found] == ["a", " b"]
    assert (len(text["logprobs"]["content"]), without["logprobs"]) == (2, None)


def test_llama_cpp_completes_several_prompts() -> None:
    with FakeOpenAICompatible() as fake:
        fake.reply_with("one", "two")
        answer = post(fake, "/v1/completions", {"prompt": ["a b", "c"]})
        assert [(c["index"], c["text"]) for c in answer["choices"]] == [(0, "one"), (1, "two")]
        ids = post(fake, "/v1/completions", {"prompt": [1, 2, 3]})
        assert (len(ids["choices"]), ids["usage"]["prompt_tokens"]) == (1, 3)
        streamed = stream(fake, "/v1/completions", prompt=["a", [1, 2]])
        assert {record["choices"][0]["index"] for record in streamed} == {0, 1}
        for prompt, words in (([], "must not be empty"), (5, "elements must be a string")):
            status, message = post(fake, "/v1/completions", {"prompt": prompt})
            assert (status, words in message) == (400, True), prompt
        assert post(fake, "/v1/completions", {})[0] == 400


def test_llama_cpp_embeds_token_ids() -> None:
    with FakeOpenAICompatible(
        [FakeModel(name="v", abilities=("embeddings",), context_length=3)]
    ) as fake:
        answer = post(fake, "/v1/embeddings", {"input": [[1, 2, 3], "a dog", [4]]})
        assert len(answer["data"]) == 3
        assert answer["data"][1]["embedding"] == pytest.approx(vector_of("a dog", 16))
        assert answer["usage"]["prompt_tokens"] == 6
        refusals = (
            ({"input": []}, 400, '"input" must not be empty'),
            ({}, 400, '"input" or "content" must be provided'),
            ({"input": 5}, 400, "elements must be a string"),
            ({"input": "a", "encoding_format": "hex"}, 400, "float or base64"),
            ({"input": "a b c d"}, 500, "input (4 tokens) is too large to process"),
        )
        for body, status, words in refusals:
            found, message = post(fake, "/v1/embeddings", body)
            assert (found, words in message) == (status, True), body


@pytest.mark.parametrize("server", [FakeOpenAICompatible, FakeLMStudio])
def test_no_two_answers_have_one_id(server: Any) -> None:
    with server() as fake:
        ids = [chat(fake)["id"], chat(fake)["id"], *{record["id"] for record in stream(fake)}]
    assert len(set(ids)) == len(ids) == 3


@pytest.mark.parametrize("server", [FakeOpenAICompatible, FakeLMStudio])
def test_a_tool_call_costs_tokens(server: Any) -> None:
    with server() as fake:
        fake.usual = Reply(text="", tool_calls=(_CALL, _CALL.replace(arguments={})))
        usage = chat(fake)["usage"]

    assert usage["completion_tokens"] == len(
        'weather {"city": "Oslo", "days": 2} weather {}'.split()
    )


# --- LM Studio: docs/reference/lmstudio.md ------------------------------------------------------


def test_lmstudio_refuses_fields() -> None:
    web = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    webp = {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}}
    image = "'url' field must be a base64 encoded image."
    refusals: List[Tuple[Dict[str, Any], str]] = [
        (
            {"response_format": {"type": "json_object"}},
            "'response_format.type' must be 'json_schema' or 'text'",
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
        ),
        (_message([web]), image),
        (_message([webp]), image),
        (_message([_IMAGE]), "Model does not support images"),
        ({"messages": ["hi"]}, "Invalid 'messages' in payload"),
        ({"messages": []}, "'messages' field is required"),
    ]
    with FakeLMStudio() as fake:
        for path in ("/v1/chat/completions", "/api/v0/chat/completions"):
            for fields, words in refusals:
                assert chat(fake, path, **fields) == (400, words), fields
        assert post(fake, "/v1/embeddings", {"input": [[1, 2]]})[0] == 400
    with FakeLMStudio([_SEEING]) as fake:
        assert chat(fake, **_message([_IMAGE]), tool_choice="required")["choices"]


def test_lmstudios_own_routes_check_types_and_items() -> None:
    refusals: List[Tuple[str, Dict[str, Any], str]] = [
        ("chat", {"context_length": "9"}, "Expected number, received string"),
        ("chat", {"max_output_tokens": "5"}, "Expected number, received string"),
        ("chat", {"stream": 1}, "Expected boolean, received number"),
        ("chat", {"input": [{"type": "image"}]}, '"data_url" is required'),
        ("chat", {"input": [{"type": "text"}]}, '"content" is required'),
        (
            "chat",
            {"input": [{"type": "image", "data_url": "data:image/png;base64,AAAA"}]},
            "Model does not support images",
        ),
        ("models/load", {"context_length": "9"}, "Expected number, received string"),
        ("models/load", {"flash_attention": "on"}, "Expected boolean, received string"),
    ]
    with FakeLMStudio(["m"]) as fake:
        for route, fields, words in refusals:
            body = {"model": "m", **({"input": "Hi"} if route == "chat" else {}), **fields}
            assert post(fake, f"/api/v1/{route}", body) == (400, words), fields


def test_lmstudio_keeps_the_empty_fields_of_a_message() -> None:
    with FakeLMStudio() as fake:
        fake.usual = Reply(text="a b", thinking="Hm.")
        answer, records = chat(fake), stream(fake, stream_options={"include_usage": True})

    message = answer["choices"][0]["message"]
    assert (message["tool_calls"], message["reasoning_content"]) == ([], "Hm.")
    assert answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    assert (answer["stats"], answer["system_fingerprint"]) == ({}, answer["model"])
    assert [delta.get("role") for delta in _deltas(records)] == ["assistant"] * 3 + [None]
    assert records[-1]["usage"]["completion_tokens"] == 3


def test_lmstudio_has_the_older_routes() -> None:
    models = ["pub/chat", FakeModel(name="vectors", abilities=("embeddings",))]
    with FakeLMStudio(models, generation="0.3") as fake:
        fake.usual = Reply(text="a b", tool_calls=(_CALL,))
        answer = chat(fake, "/api/v0/chat/completions")
        assert answer["stats"]["stop_reason"] == "toolCalls"
        assert answer["model_info"]["context_length"] == 4096
        assert answer["runtime"]["supported_formats"] == ["gguf"]
        text = post(fake, "/api/v0/completions", {"prompt": "x", "max_tokens": 1})
        assert (text["choices"][0]["text"], text["stats"]["stop_reason"]) == (
            "a",
            "maxPredictedTokensReached",
        )
        assert (
            len(post(fake, "/api/v0/embeddings", {"model": "vectors", "input": ["a", "b"]})["data"])
            == 2
        )
        records = stream(fake, "/api/v0/chat/completions", stream_options={"include_usage": True})
        assert [name for record in records for name in ("usage", "stats") if name in record] == []
        with requests.Session() as session:
            session.trust_env = False
            for name in ("pub/chat", "pub%2Fchat", "vectors"):
                entry = session.get(f"{fake.url}/api/v0/models/{name}").json()
                assert entry["state"] == "loaded"
            fake.generation = "0.3.5"
            assert "error" in session.get(f"{fake.url}/api/v0/models/vectors").json()
        assert "error" in chat(fake, "/api/v0/chat/completions")
