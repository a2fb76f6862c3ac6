"""Names of other clients: the error of each one that does not exist here names the one that does."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Callable, Dict, Tuple
from unittest import mock

import pytest

import localproviders
import localproviders.testing
from localproviders import (
    CapabilityError,
    CompletionChunk,
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    LMStudioProvider,
    LocalProvider,
    Message,
    ModelInfo,
    OllamaProvider,
    OpenAICompatibleProvider,
    Parsed,
    Progress,
    ProviderError,
    ToolCall,
)
from localproviders._did_you_mean import most_similar

_MESSAGE = Message.user("hi")
_CALL = ToolCall(id="1", name="weather")

#: A name of another client, the object on which a script looks it up, and the name here.
_ATTRIBUTES: Dict[str, Tuple[Callable[[], Any], str, str]] = {
    "Client": (lambda: localproviders, "Client", "OllamaProvider"),
    "ResponseError": (lambda: localproviders, "ResponseError", "ProviderError"),
    "OpenAI": (lambda: localproviders, "OpenAI", "OpenAICompatibleProvider"),
    "APITimeoutError": (lambda: localproviders, "APITimeoutError", "LimitError"),
    "a misspelt class": (lambda: localproviders, "Mesage", "Message"),
    "a misspelt fake": (lambda: localproviders.testing, "FakeOlama", "FakeOllama"),
    "list": (OllamaProvider, "list", "list_models"),
    "ps": (LMStudioProvider, "ps", "loaded_models"),
    "generate": (OllamaProvider, "generate", "chat"),
    "apply_chat_template": (OllamaProvider, "apply_chat_template", "render"),
    "list of LM Studio": (LMStudioProvider, "list_downloaded_models", "list_models"),
    "responses": (lambda: OpenAICompatibleProvider("http://127.0.0.1:9"), "responses", "chat"),
    "show": (lambda: LocalProvider([OllamaProvider()]), "show", "model_info"),
    "status_code": (lambda: CapabilityError("no"), "status_code", "status"),
    "error": (lambda: CapabilityError("no"), "error", "message"),
    "content of a chunk": (lambda: CompletionChunk(text="a"), "content", "text"),
    "get": (lambda: _MESSAGE, "get", "to_dict"),
    "args": (lambda: _CALL, "args", "arguments"),
    "model of a list": (lambda: ModelInfo(name="m", provider="p"), "model", "name"),
    "completed": (lambda: Progress(status="pulling"), "completed", "completed_bytes"),
}


@pytest.mark.parametrize("case", _ATTRIBUTES)
def test_a_name_of_another_client_is_answered_with_the_name_here(case: str) -> None:
    make, other, own = _ATTRIBUTES[case]
    value = make()
    with pytest.raises(AttributeError) as caught:
        getattr(value, other)
    assert str(caught.value).endswith(f"has no attribute {other!r}; did you mean {own!r}?")
    assert not hasattr(value, other)


_VALUES: Tuple[Any, ...] = (
    OllamaProvider(),
    _MESSAGE,
    _CALL,
    CompletionChunk(text="a"),
    CompletionRequest(prompt="p"),
    ProviderError("m"),
)


@pytest.mark.parametrize("value", _VALUES, ids=lambda value: type(value).__name__)
def test_an_unknown_name_without_a_counterpart_is_a_plain_error(value: Any) -> None:
    with pytest.raises(AttributeError) as caught:
        value.abcdef  # noqa: B018  # looking is the test
    assert str(caught.value) == f"{type(value).__name__!r} object has no attribute 'abcdef'"


@pytest.mark.parametrize("value", _VALUES, ids=lambda value: type(value).__name__)
def test_copies_pickles_and_mocks_see_no_new_attribute(value: Any) -> None:
    for made in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(made) is type(value)
    for name in ("__iter__", "__fspath__", "__array__", "_repr_html_", "list"):
        assert not hasattr(value, name)
    with pytest.raises(TypeError):
        list(value)


@pytest.mark.parametrize("spec", [OllamaProvider, CompletionResponse, EmbeddingResponse])
def test_a_mock_of_a_class_has_only_its_attributes(spec: Any) -> None:
    with pytest.raises(AttributeError):
        mock.create_autospec(spec, instance=True).generate  # noqa: B018  # looking is the test


def test_importing_a_module_does_not_search_for_similar_names() -> None:
    with mock.patch("difflib.get_close_matches", side_effect=AssertionError):
        assert not hasattr(localproviders, "no_such_module")


def test_an_error_within_a_property_keeps_its_own_words() -> None:
    class Mine(OllamaProvider):
        @property
        def region(self) -> str:
            return str(self.no_such_thing)  # type: ignore[attr-defined]  # under test

    with pytest.raises(AttributeError, match="'Mine' object has no attribute 'no_such_thing'"):
        Mine().region  # noqa: B018  # looking is the test


def test_words_are_compared_without_their_case() -> None:
    assert most_similar("QWEN/QWEN3-4B", ["llama", "qwen/qwen3-4b"]) == "qwen/qwen3-4b"
    assert most_similar("Fast", ["FAST", "Fast", "fast"]) == "Fast"


def test_a_long_list_of_long_words_is_searched_in_part_only() -> None:
    words = ["x" * 1_000_000] + [f"word {number}" for number in range(2_000)] + ["serach"]
    assert most_similar("serach", ["x" * 1_000_000, "search"]) == "search"
    assert most_similar("serach", words) is None


_REFUSED: Dict[str, Tuple[Callable[..., Any], str, str]] = {
    "num_ctx of a provider": (OllamaProvider, "num_ctx", "context_length=8192 to each call"),
    "format of a provider": (OllamaProvider, "format", "another JSON Schema to each call"),
    "stream of a provider": (OllamaProvider, "stream", "call stream()"),
    "images of a provider": (OllamaProvider, "images", 'images=[Path("cat.png")]'),
    "base_url of a provider": (OllamaProvider, "base_url", "did you mean 'host'?"),
    "base_url of a chat": (lambda **it: OllamaProvider().chat("x", **it), "base_url", "(host)"),
    "options of a load": (lambda **it: OllamaProvider().load("m", **it), "options", "keyword"),
    "options of embed": (lambda **it: OllamaProvider().embed("x", **it), "options", "dimensions"),
    "num_ctx of embed": (lambda **it: OllamaProvider().embed("x", **it), "num_ctx", "load(model"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_an_option_of_another_client_is_answered_with_the_right_one(case: str) -> None:
    call, name, words = _REFUSED[case]
    with pytest.raises(TypeError) as caught:
        call(**{name: 1})
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["text", "content", "parsed", "output_parsed"])
def test_the_result_of_parse_names_its_value(name: str) -> None:
    parsed = Parsed(value=1, response=CompletionResponse(text="1", model="m", provider="p"))
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; did you mean 'value'"):
        getattr(parsed, name)
