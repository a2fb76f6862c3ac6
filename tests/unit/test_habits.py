"""Habits from other clients: each wrong line is answered with the line to write."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
import warnings
from array import array
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Tuple
from unittest import mock

import pytest

import localproviders
from localproviders import (
    CompletionChunk,
    CompletionResponse,
    EmbeddingResponse,
    Image,
    Limits,
    LMStudioProvider,
    LoadedModel,
    Message,
    ModelInfo,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    Parsed,
    Progress,
    RetryPolicy,
    Tool,
    ToolCall,
    ToolRun,
    ToolStep,
    _habits,
    errors,
    types,
)
from localproviders.testing import FakeLMStudio, FakeOllama, FakeOpenAICompatible
from localproviders.types import Decision, Decisions, RankedDocument, Ranking, TokenCount, Usage

_MESSAGE = Message.user("hi")
_CALL = ToolCall(id="1", name="weather", arguments={"city": "Paris"})
_ANSWER = CompletionResponse(text="Hi", model="m", provider="p")
_CHUNK = CompletionChunk(text="Hi")
_VECTORS = EmbeddingResponse(
    vectors=(array("f", [1, 2]), array("f", [3, 4])), model="m", provider="p"
)
_RUN = ToolRun(messages=(_MESSAGE, _ANSWER.message), responses=(_ANSWER,))
_STEP = ToolStep(call=_CALL, content="18C")
_MODEL = ModelInfo(name="m", provider="p")
_LOADED = LoadedModel(name="m", provider="p")
_DECISIONS = Decisions(
    model="m",
    provider="p",
    answers={
        "angry": Decision(
            name="angry", kind="yes_no", source="systemone", probabilities={"yes": 1.0, "no": 0.0}
        )
    },
)
_RANKING = Ranking(
    results=(RankedDocument(index=0, score=0.5, document="a"),), model="m", provider="p"
)
_COUNT = TokenCount(tokens=3, source="exact")


class _Label(str, Enum):
    SPAM = "spam"


def _parsed(value: Any) -> Any:
    return Parsed(value=value, response=_ANSWER)


_CITY = _parsed(SimpleNamespace(name="Paris"))

#: The line of a script, with `it` for the value; the value; and words of the error.
_LINES: List[Tuple[str, Any, str]] = [
    ("it['message']['content']", _ANSWER, "write .text for the text, .message for the message"),
    ("it['choices'][0]", _ANSWER, "write .text for the text"),
    ("it.choices[0].message", _ANSWER, "write .text for the text"),
    ("it.choices[0].message.tool_calls[0].function", _ANSWER, "each with .name and .arguments"),
    ("it.candidates[0]", _ANSWER, "write .text for the text"),
    ("it['response']", _ANSWER, "did you mean 'text'?"),
    ("it['replies'][0]", _ANSWER, "did you mean 'text'?"),
    ("it['text']", _ANSWER, "write .text"),
    ("it['usage']", _ANSWER, "write .usage"),
    ("it['eval_count']", _ANSWER, "did you mean 'usage'?"),
    ("it[0]['generated_text']", _ANSWER, "the text is .text"),
    ("it['no such key']", _ANSWER, "the text is .text"),
    ("it[b'x']", _ANSWER, "the text is .text"),
    ("dict(it)", _ANSWER, ".to_dict() makes a dictionary"),
    ("list(it)", _ANSWER, "the text is .text"),
    ("[each for each in it]", _ANSWER, "the text is .text"),
    ("'Hi' in it", _ANSWER, "the text is .text"),
    ("len(it)", _ANSWER, "the text is .text"),
    ("it + 'x'", _ANSWER, "the text is .text"),
    ("'x' + it", _ANSWER, "the text is .text"),
    ("it.strip()", _ANSWER, "write .text.strip"),
    ("it.lower()", _ANSWER, "write .text.lower"),
    ("it.id", _ANSWER, "did you mean 'response_id'?"),
    ("it.total_tokens", _ANSWER, "write .usage.total_tokens"),
    ("it.usage_metadata.prompt_token_count", _ANSWER, "did you mean 'usage'?"),
    ("it.stop_reason", _ANSWER, "did you mean 'finish_reason'?"),
    ("it.reasoning_content", _ANSWER, "did you mean 'thinking'?"),
    ("it.parsed", _ANSWER, "call parse(messages, City)"),
    ("it.role", _ANSWER, "write .message.role"),
    ("it.model_dump()", _ANSWER, "did you mean 'to_dict'?"),
    ("it.json()", _ANSWER, "did you mean 'to_dict'?"),
    ("it['message']['content']", _CHUNK, "write .text for the text"),
    ("it.choices[0].delta.content", _CHUNK, "write .text for the text"),
    ("it.delta", _CHUNK, "write .text for the text"),
    ("it.message.content", _CHUNK, "write .text for the text"),
    ("len(it)", _CHUNK, "the text is .text"),
    ("it + it", _CHUNK, "the text is .text"),
    ("it.rstrip()", _CHUNK, "write .text.rstrip"),
    ("it['embeddings'][0]", _VECTORS, "write .embeddings"),
    ("it['data'][0]['embedding']", _VECTORS, "did you mean 'vectors'?"),
    ("it.data[0].embedding", _VECTORS, "did you mean 'vectors'?"),
    ("it['embedding']", _VECTORS, "write .vectors[0]"),
    ("it.shape", _VECTORS, "did you mean 'to_numpy'?"),
    ("it.tolist()", _VECTORS, "did you mean 'to_numpy'?"),
    ("it['content']", _MESSAGE, "write .content"),
    ("it['text']", _MESSAGE, "did you mean 'content'?"),
    ("dict(it)", _MESSAGE, ".to_dict() makes a dictionary"),
    ("it.upper()", _MESSAGE, "write .content.upper"),
    ("it['function']['name']", _CALL, "write .name and .arguments, which is a dictionary"),
    ("it.function.arguments", _CALL, "leave json.loads out"),
    ("it['arguments']", _CALL, "write .arguments"),
    ("it.input", _CALL, "did you mean 'arguments'?"),
    ("it['name']", _MODEL, "write .name"),
    ("it['model']", _MODEL, "did you mean 'name'?"),
    ("it.id", _MODEL, "did you mean 'name'?"),
    ("it.size", _MODEL, "write .capabilities, with .size_bytes"),
    ("it.vision", _MODEL, "write .capabilities.vision"),
    ("it.size_vram", _LOADED, "did you mean 'vram_bytes'?"),
    ("it['model']", _LOADED, "did you mean 'name'?"),
    ("it['status']", Progress(status="s"), "write .status"),
    ("it.get('completed')", Progress(status="s"), "did you mean 'to_dict'?"),
    ("it['total']", Progress(status="s"), "did you mean 'total_bytes'?"),
    ("it['prompt_tokens']", Usage(), "write .prompt_tokens"),
    ("it.input_tokens", Usage(), "did you mean 'prompt_tokens'?"),
    ("dict(it)", Usage(), ".to_dict() makes a dictionary"),
    ("it[0]", _COUNT, "the number is .tokens"),
    ("it.count", _COUNT, "did you mean 'tokens'?"),
    ("it['results'][0]", _RANKING, "write .results"),
    ("it.data[0]", _RANKING, "did you mean 'results'?"),
    ("it[0].relevance_score", _RANKING, "did you mean 'score'?"),
    ("it.angry", _DECISIONS, "write ['angry']"),
    ("it['angry'].label", _DECISIONS, "write .answer; .probabilities has the probability"),
    ("it['angry'].noul", _DECISIONS, "did you mean 'probability'?"),
    ("it['angry']['probability']", _DECISIONS, "write .probability"),
    ("it[0]['document']['text']", _RANKING, "write .document"),
    ("it[0].text", _RANKING, "did you mean 'document'?"),
    ("it['messages']", _RUN, "write .messages"),
    ("it.output", _RUN, "did you mean 'text'?"),
    ("it.usage", _RUN, "the last answer is .response"),
    ("it.choices", _RUN, "the text is .text"),
    ("it[-1]", _RUN, ".messages, .responses and .steps are tuples"),
    ("len(it)", _RUN, ".messages, .responses and .steps are tuples"),
    ("it.strip()", _RUN, "write .text.strip"),
    ("it.result", _STEP, "write .content"),
    ("it.name", _STEP, "write .call.name"),
    ("it.name", _CITY, "write .value.name"),
    ("it['name']", _CITY, "write .value.name"),
    ("it.model_dump()", _CITY, "did you mean 'to_dict'?"),
    ("it.choices[0]", _CITY, "did you mean 'value'?"),
    ("it.no_such_field", _CITY, "the value is .value"),
    ("it.usage", _CITY, "write .response.usage"),
    ("it['icd']", _parsed({"icd": "K35"}), "write .value['icd']"),
    ("it.icd", _parsed({"icd": "K35"}), "write .value['icd']"),
    ("it.items()", _parsed({"icd": "K35"}), "write .value.items"),
    ("it[0]", _parsed([1]), "write .value[0]"),
    ("[each for each in it]", _parsed([1]), "the value is .value"),
    ("len(it)", _parsed([1]), "the value is .value"),
    ("it.upper()", _parsed("a"), "write .value.upper"),
    ("it + 1", _parsed(1), "the value is .value"),
    ("1 + it", _parsed(1), "the value is .value"),
    ("it > 1", _parsed(1), "the value is .value"),
    ("float(it)", _parsed(1), "the value is .value"),
    ("int(it)", _parsed(1), "the value is .value"),
]


@pytest.mark.parametrize(
    ("line", "value", "words"), _LINES, ids=[f"{type(row[1]).__name__} {row[0]}" for row in _LINES]
)
def test_a_line_of_another_client_is_answered_with_the_line_to_write(
    line: str, value: Any, words: str
) -> None:
    with pytest.raises((AttributeError, TypeError)) as caught:
        eval(line, {"it": value})
    assert words in str(caught.value)


_OF_A_PROVIDER: Dict[str, str] = {
    "it.with_structured_output(int)": "call parse(text, City)",
    "it.bind_tools([])": "call run_tools(text, [function])",
    "it.invoke('x')": "did you mean 'chat'?",
    "it.embed_documents([])": "call embed(texts), whose result has the vectors in .vectors",
    "it.embed_query('x')": "call embed(texts)",
    "it.embeddings.create(input='x')": "call embed(texts)",
    "it.encode('x')": "call embed(texts)",
    "it.chat.completions.create(messages=[])": "call chat(messages)",
    "it.completions.create()": "did you mean 'chat'?",
    "it.responses.create()": "did you mean 'chat'?",
    "it.messages.create()": "did you mean 'chat'?",
    "it.models.list()": "call list_models()",
    "it.models.generate_content()": "chat(messages)",
    "it.beta.chat": "call parse(messages, City)",
    "it.stream_chat('x')": "did you mean 'stream'?",
    "it.ainvoke('x')": "asyncio.to_thread",
    "it.batch([])": "ThreadPoolExecutor",
    "it.tokenize('x')": "did you mean 'count_tokens'?",
    "it.chats.create()": "keep the messages in a list",
    "it('x', max_new_tokens=3)": "is not callable; call its method chat(messages)",
    "it.run('x')": "did you mean 'chat'?",
    "it.run_sync('x', output_type=int)": "call chat(text), or write parse(text, City).value",
    "it.create_partial(messages='x')": "write parse(text, City).value",
    "it.select(['a', 'b'])": "write parse(text, Literal['yes', 'no']).value",
    "it.chat.complete(messages='x')": "call chat(messages), or stream(messages)",
    "it.chat.parse(messages='x')": "call chat(messages), or stream(messages)",
    "it('Anna is 30', int)": "or write parse(text, City).value",
}


@pytest.mark.parametrize("line", _OF_A_PROVIDER)
def test_a_method_of_another_client_is_answered_with_the_method_here(line: str) -> None:
    servers = (OllamaProvider(), LMStudioProvider(), OpenAICompatibleProvider("http://127.0.0.1:9"))
    for it in servers:
        with pytest.raises((AttributeError, TypeError)) as caught:
            eval(line, {"it": it})
        assert _OF_A_PROVIDER[line] in str(caught.value)


_IMPORTS: Dict[str, str] = {
    "from localproviders import tool": "pass the function itself",
    "from localproviders import Client": "did you mean 'OllamaProvider'?",
    "from localproviders import ChatOllama": "did you mean 'OllamaProvider'?",
    "from localproviders import OpenAI": "did you mean 'OpenAICompatibleProvider'?",
    "from localproviders import ConnectionError": "did you mean 'UnreachableError'?",
    "from localproviders import Timeout": "did you mean 'LimitError'?",
    "from localproviders import RateLimitError": "did you mean 'ServerBusyError'?",
    "from localproviders import APIConnectionError": "did you mean 'UnreachableError'?",
    "from localproviders import NotFoundError": "did you mean 'ModelNotFoundError'?",
    "from localproviders import ResponseError": "did you mean 'ProviderError'?",
    "from localproviders import chat": ".chat(text)",
    "from localproviders import generate": ".chat(text)",
    "from localproviders import completion": ".chat(text)",
    "from localproviders import embed": ".embed(texts)",
    "from localproviders import LLM": "did you mean 'LocalEngine'?",
    "from localproviders import Llama": "did you mean 'LocalEngine'?",
    "from localproviders import pipeline": "create_default_provider()",
    "from localproviders import HumanMessage": "did you mean 'Message'?",
    "from localproviders import ModelInof": "did you mean 'ModelInfo'?",
    "from localproviders.errors import RateLimitError": "did you mean 'ServerBusyError'?",
    "from localproviders.errors import ProviderEror": "did you mean 'ProviderError'?",
    "from localproviders.types import ChatMessage": "did you mean 'Message'?",
    "from localproviders.testing import FakeOlama": "did you mean 'FakeOllama'?",
}


@pytest.mark.parametrize("line", _IMPORTS)
def test_an_import_of_another_client_is_answered_with_the_name_here(line: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(line, {})
    assert str(caught.value).startswith("cannot import name")
    assert _IMPORTS[line] in str(caught.value)


def test_a_name_that_is_not_here_is_no_attribute() -> None:
    for module in (localproviders, errors, types):
        for name in ("tool", "Client", "RateLimitError", "ChatMessage", "nonsense"):
            assert not hasattr(module, name)
            assert getattr(module, name, None) is None
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        exec("from localproviders import nonsense", {})


def test_no_name_in_the_tables_is_a_module_or_a_name_of_the_package() -> None:
    words = " ".join([*_habits.OTHER_PUBLIC_NAMES.values(), *(r[0] for r in _habits.PUBLIC_ADVICE)])
    for name in words.split():
        assert name not in localproviders.__all__, name
        assert importlib.util.find_spec(f"localproviders.{name}") is None, name


def test_the_names_to_write_exist() -> None:
    assert {*_habits.OTHER_PUBLIC_NAMES} <= {*localproviders.__all__}
    assert {*_habits.POSITION_ADVICE} <= {*localproviders.__all__}
    known = {*types.__all__, "ModelProvider", "Stream"}
    assert {kind for row in _habits.ATTRIBUTE_ADVICE for kind in row[1].split()} <= known
    for name in _habits.OTHER_METHODS:
        assert hasattr(OllamaProvider(), name), name
    for words, kind, _ in _habits.ATTRIBUTE_ADVICE:
        if kind == "ModelProvider":
            assert [name for name in words.split() if hasattr(ModelProvider, name)] == []


@pytest.mark.parametrize("cls", [Tool, Message, Image, Limits, RetryPolicy, ToolCall])
def test_a_constructor_without_names_says_what_to_write(cls: Any) -> None:
    with pytest.raises(TypeError) as caught:
        cls(len)
    assert str(caught.value).startswith(f"{cls.__name__}() takes keyword arguments only")
    assert _habits.POSITION_ADVICE.get(cls.__name__, "") in str(caught.value)


def test_the_vectors_are_a_sequence() -> None:
    first, second = _VECTORS
    assert len(_VECTORS) == 2
    assert _VECTORS[0] is first
    assert _VECTORS[-1] is second
    assert _VECTORS[:1] == (first,)
    assert second in _VECTORS
    with pytest.raises(IndexError):
        _VECTORS[2]


def test_a_ranking_is_a_sequence() -> None:
    assert _RANKING[0] is _RANKING.results[0]
    assert _RANKING[:1] == _RANKING.results


def test_the_vectors_become_a_matrix() -> None:
    numpy = pytest.importorskip("numpy")
    assert numpy.array(_VECTORS).tolist() == [[1, 2], [3, 4]]
    assert numpy.array(_VECTORS).dtype == numpy.float32
    assert numpy.asarray(_VECTORS, dtype="float64").dtype == numpy.float64
    assert numpy.array([_ANSWER, _ANSWER]).shape == (2,)


def test_no_view_of_the_vectors_is_made() -> None:
    with pytest.raises(ValueError, match="only by copying"):
        _VECTORS.__array__(copy=False)


_EQUAL: List[Tuple[Any, Any, str]] = [
    (_ANSWER, "Hi", "never equals a str: compare .text"),
    (_RUN, "Hi", "never equals a str: compare .text"),
    (_parsed("benign"), "benign", "never equals a str: compare .value"),
    (_parsed(False), False, "never equals a bool: compare .value"),
    (_parsed(_Label.SPAM), "spam", "never equals a str: compare .value"),
    (_parsed([1]), [1], "never equals a list: compare .value"),
]


@pytest.mark.parametrize(("value", "other", "words"), _EQUAL)
def test_a_comparison_with_the_content_is_false_with_a_warning(
    value: Any, other: Any, words: str
) -> None:
    with pytest.warns(RuntimeWarning, match=words) as caught:
        assert (value == other) is False
    assert caught[0].filename == __file__


def test_other_comparisons_are_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (_ANSWER, _RUN, _parsed(1), _parsed(None), _CHUNK, _MESSAGE, _VECTORS):
            assert value == mock.ANY
            assert value != None  # noqa: E711  # the comparison is under test
            assert value != object()
        assert _CHUNK != "Hi"
        assert _ANSWER != 1


@pytest.mark.parametrize("value", [False, True, 0, "", "a", [], {}, None])
def test_the_truth_of_a_parsed_value_with_a_truth_value_is_an_error(value: Any) -> None:
    with pytest.raises(TypeError, match=r"the value is \.value"):
        bool(_parsed(value))


@pytest.mark.parametrize("value", [_ANSWER, _CHUNK, _RUN, _MESSAGE, _CITY])
def test_other_values_are_true(value: Any) -> None:
    assert value


def test_the_content_can_be_formatted() -> None:
    assert f"{_ANSWER:>4}" == "  Hi"
    assert f"{_CHUNK:<4}|" == "Hi  |"
    assert f"{_parsed(2.0):.3f} {_parsed('a')}" == "2.000 a"


def _lists() -> Iterator[List[Any]]:
    with FakeOllama() as fake, OllamaProvider(fake.url) as ollama:
        ollama.load("llama3.2")
        yield ollama.list_models()
        yield ollama.loaded_models()
    with FakeLMStudio() as studio_fake, LMStudioProvider(studio_fake.url) as studio:
        yield studio.list_models()
        yield studio.loaded_models()
    with FakeOpenAICompatible() as other_fake:
        with OpenAICompatibleProvider(other_fake.base_url) as other:
            yield other.list_models()


def test_a_list_of_models_is_a_list_that_answers_habits() -> None:
    for found in _lists():
        for line in ("it['models']", "it.data", "it.models", "it['data'][0]"):
            with pytest.raises((AttributeError, TypeError), match="leave"):
                eval(line, {"it": found})
        assert isinstance(found, list)
        assert type(pickle.loads(pickle.dumps(found))) is list
        assert not hasattr(found, "no_such_name")
        assert found[:] == found
        assert json.dumps([each.to_dict() for each in found])


def test_a_stream_says_where_the_text_is() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as provider:
        streams: List[Any] = [provider.stream("Hi"), provider.stream_tools("Hi", [])]
        for stream in streams:
            for line in ("it.choices", "it['message']", "it.text_stream", "it[0]", "it.usage"):
                with pytest.raises((AttributeError, TypeError), match=r"each chunk has a \.text"):
                    eval(line, {"it": stream})
            with pytest.raises(AttributeError, match="did you mean 'result'"):
                eval("it.get_final_message()", {"it": stream})
            stream.close()


_KEYWORDS: List[Tuple[str, str, str]] = [
    ("chat", "n", "call it again for another one"),
    ("chat", "best_of", "call it again for another one"),
    ("chat", "do_sample", "temperature=0"),
    ("chat", "config", "temperature=0"),
    ("chat", "generation_kwargs", "temperature=0"),
    ("chat", "history", "as one list"),
    ("chat", "user_prompt", "did you mean 'messages'?"),
    ("chat", "contents", "did you mean 'messages'?"),
    ("chat", "system_instruction", "did you mean 'system'?"),
    ("chat", "streaming_callback", "call stream()"),
    ("chat", "callbacks", "listeners=[function]"),
    ("chat", "guided_json", "response_schema"),
    ("chat", "extra_headers", "to the provider"),
    ("stream", "stop_strings", "did you mean 'stop'?"),
    ("embed", "documents", "did you mean 'texts'?"),
    ("chat", "model_settings", "temperature=0"),
    ("chat", "message_history", "as one list"),
    ("chat", "regex", "response_schema"),
    ("embed", "embedding_types", "to_numpy()"),
    ("chat", "num_ctx", "did you mean 'context_length'? Ollama sets it"),
    ("chat", "n_ctx", "LM Studio has load(model, context_length=8192)"),
    ("chat", "response_model", "parse(text, City).value"),
    ("chat", "stream", "each with a .text"),
    ("embed", "normalize_embeddings", "to_numpy()"),
]


@pytest.mark.parametrize(("verb", "keyword", "words"), _KEYWORDS)
def test_an_argument_of_another_client_is_answered(verb: str, keyword: str, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(OllamaProvider(), verb)("Hi", **{keyword: 1})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("top_k", "did you mean 'top_n'?"),
        ("passages", "did you mean 'documents'?"),
        ("return_documents", "each result has its .document"),
    ],
)
def test_an_argument_of_another_ranker_is_answered(keyword: str, words: str) -> None:
    rerank: Any = OpenAICompatibleProvider("http://127.0.0.1:9/v1", model="m").rerank
    with pytest.raises(TypeError) as caught:
        rerank("q", ["a"], **{keyword: 1})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "own"), [("max_tool_rounds", "max_rounds"), ("handle_tool_error", "on_tool_error")]
)
def test_an_argument_of_another_agent_is_answered(keyword: str, own: str) -> None:
    run: Any = OllamaProvider().run_tools
    with pytest.raises(TypeError, match=f"did you mean '{own}'"):
        run("Hi", [], **{keyword: 1})


def test_a_callback_of_another_agent_is_answered_with_the_function_for_steps() -> None:
    provider: Any = OllamaProvider()
    for verb in (provider.run_tools, provider.stream_tools):
        with pytest.raises(TypeError, match="pass on_step=function, which is called with a Tool"):
            verb("Hi", [], callback=print)
    with pytest.raises(TypeError, match="leave it out; the provider takes listeners"):
        provider.chat("Hi", callback=print)


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("system_prompt", "to each call"),
        ("model_kwargs", "to each call"),
        ("context_window", "context_length=8192 to each call"),
        ("num_ctx", "LM Studio has load(model, context_length=8192)"),
        ("port", 'host="http://127.0.0.1:11434"'),
        ("n_gpu_layers", "leave it out"),
        ("http_client", "leave it out"),
        ("streaming", "call stream()"),
        ("request_timeout", "did you mean 'timeout'?"),
        ("model_path", "did you mean 'model'?"),
    ],
)
def test_an_argument_of_another_constructor_is_answered(keyword: str, words: str) -> None:
    make: Any = OllamaProvider
    with pytest.raises(TypeError) as caught:
        make(**{keyword: 1})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "keyword", "words"),
    [
        (LMStudioProvider, "port", "write the port in the address, as in host="),
        (OpenAICompatibleProvider, "port", 'base_url="http://127.0.0.1:8080/v1"'),
        (OpenAICompatibleProvider, "n_ctx", "set the context window when you start the server"),
    ],
)
def test_an_argument_is_answered_for_the_kind(make: Any, keyword: str, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        make("127.0.0.1", **{keyword: 1})
    assert words in str(caught.value)


def _make(**given: Any) -> None:
    OllamaProvider(**given)


def _chat(**given: Any) -> None:
    OllamaProvider().chat("Hi", **given)


def _embed(**given: Any) -> None:
    OllamaProvider().embed("Hi", **given)


def _limits(**given: Any) -> None:
    Limits(**given)


@pytest.mark.parametrize(
    ("call", "given", "words"),
    [
        (_make, {"temperature": 0, "num_predict": 64}, "pass max_tokens=100 to each call"),
        (_chat, {"stream": True, "num_predict": 64}, "did you mean 'max_tokens'?"),
        (_chat, {"prompt": "x", "num_predict": 64}, "did you mean 'max_tokens'?"),
        (_embed, {"normalize": True, "dims": 64}, "did you mean 'dimensions'?"),
        (_limits, {"total": 1, "read": 2}, "did you mean 'idle_s'?"),
    ],
)
def test_one_error_answers_all_unknown_arguments(
    call: Any, given: Dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError) as caught:
        call(**given)
    text = str(caught.value)
    first, second = given
    assert f"unexpected keyword {first!r}" in text
    assert f"and {second!r}" in text
    assert words in text


def test_only_the_first_unknown_arguments_are_answered() -> None:
    with pytest.raises(TypeError) as caught:
        _chat(**{f"unknown_{number}": number for number in range(9)})
    assert str(caught.value).count("unknown_") == 3


@pytest.mark.parametrize("value", ["spam", _Label.SPAM, 3, 2.5, True])
def test_a_key_that_is_a_parsed_value_is_not_found_with_a_warning(value: Any) -> None:
    parsed = _parsed(value)
    with pytest.warns(RuntimeWarning, match=r"compare \.value with it"):
        assert parsed not in {value}
    with pytest.warns(RuntimeWarning, match=r"compare \.value with it"), pytest.raises(KeyError):
        assert {value: 1}[parsed]
    assert {parsed: 1}[_parsed(value)] == 1


def test_only_an_error_imports_the_tables() -> None:
    code = (
        "import sys; from localproviders import OllamaProvider, Message, CompletionResponse\n"
        "p = OllamaProvider(); Message.user('x'); hasattr(p, '__iter__'); repr(p)\n"
        "assert 'localproviders._habits' not in sys.modules, 1\n"
        "hasattr(p, 'invoke'); assert 'localproviders._habits' in sys.modules, 2"
    )
    parent = Path(localproviders.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=str(parent))
