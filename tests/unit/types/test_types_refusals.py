"""Arguments of a wrong type: each is refused with the name of the argument and what it must be."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Tuple, Type

import pytest

from localproviders import (
    CompletionRequest,
    ConfigurationError,
    EmbeddingRequest,
    LMStudioProvider,
    LocalProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    Tool,
)

_REQUEST = CompletionRequest(prompt="p")
_TEXT_OR = "and must be a string, a Message, or a list of messages"

_MESSAGES: Dict[str, Tuple[Any, str]] = {
    "a request": (
        _REQUEST,
        f"messages is CompletionRequest, {_TEXT_OR}: complete and stream_completion take a request",
    ),
    "a number": (3, f"messages is int, {_TEXT_OR}"),
    "nothing": (None, f"messages is NoneType, {_TEXT_OR}"),
    "bytes": (b"x", f"messages is bytes, {_TEXT_OR}"),
    "an empty dictionary": (
        {},
        'a message has no role: write {"role": "user", "content": "..."}',
    ),
}

_VERBS: Dict[str, Callable[[Any, Any], Any]] = {
    "chat": lambda provider, messages: provider.chat(messages),
    "stream": lambda provider, messages: provider.stream(messages),
    "parse": lambda provider, messages: provider.parse(messages, int),
    "run_tools": lambda provider, messages: provider.run_tools(messages, []),
    "count_tokens": lambda provider, messages: provider.count_tokens(messages),
    "render": lambda provider, messages: provider.render(messages),
}


@pytest.mark.sample(34)
@pytest.mark.parametrize("given", _MESSAGES)
@pytest.mark.parametrize("verb", _VERBS)
@pytest.mark.parametrize("local", [False, True])
def test_what_is_no_message_is_refused_in_words(verb: str, given: str, local: bool) -> None:
    messages, words = _MESSAGES[given]
    ollama = OllamaProvider("http://127.0.0.1:9", model="m")
    provider = LocalProvider([ollama]) if local else ollama
    with pytest.raises(ValueError) as caught:
        _VERBS[verb](provider, messages)
    assert str(caught.value) == words


def test_a_class_of_messages_of_its_own_is_a_list_of_them() -> None:
    class Conversation:
        messages = ("x",)

        def __iter__(self) -> Any:
            return iter([Message.user("x")])

    conversation: Any = Conversation()
    with OllamaProvider("http://127.0.0.1:9", model="m") as provider:
        assert provider.count_tokens(conversation).tokens > 0


_VALUES: Dict[str, Tuple[Callable[[Any], Any], Any, str]] = {
    "embed": (OllamaProvider(model="m").embed, 3, "texts is int, and must be a list"),
    "texts": (lambda it: EmbeddingRequest(texts=it), 3, "texts is int, and must be a list"),
    "messages": (
        lambda it: CompletionRequest(messages=it),
        Message.user("x"),
        "messages is Message, and must be a list",
    ),
    "tools": (
        lambda it: _REQUEST.replace(tools=it),
        3,
        "tools is int, and must be a list",
    ),
    "stop": (lambda it: _REQUEST.replace(stop=it), 3, "stop is int, and must be a list"),
    "images": (
        lambda it: Message(role="user", images=it),
        3,
        "images is int, and must be a list",
    ),
    "extra_body": (
        lambda it: _REQUEST.replace(extra_body=it),
        [1],
        "extra_body is list, and must be a dictionary",
    ),
    "response_schema": (
        lambda it: _REQUEST.replace(response_schema=it),
        "{}",
        "response_schema is str, and must be a dictionary: json.loads(text)",
    ),
    "parameters": (
        lambda it: Tool(name="f", parameters=it),
        [1],
        "parameters is list, and must be a dictionary: a JSON Schema",
    ),
    "the name of a tool": (lambda it: Tool(name=it), 3, "name is int, and must be text"),
    "description": (
        lambda it: Tool(name="f", description=it),
        None,
        "description is NoneType, and must be text",
    ),
    "function": (
        lambda it: Tool(name="f", function=it),
        3,
        "function is int, and must be a function",
    ),
}


@pytest.mark.parametrize("name", _VALUES)
def test_a_part_of_the_wrong_type_is_refused(name: str) -> None:
    make, given, words = _VALUES[name]
    with pytest.raises(ValueError) as caught:
        make(given)
    assert str(caught.value) == words


def test_none_is_a_field_that_is_not_sent() -> None:
    given: Any = None
    assert _REQUEST.replace(extra_body=given, stop=given, response_schema=None) == _REQUEST


@pytest.mark.parametrize("tools", [3, 2.5])
@pytest.mark.parametrize("verb", ["chat", "run_tools"])
def test_tools_that_are_no_list_are_refused(verb: str, tools: Any) -> None:
    with OllamaProvider(model="m") as provider, pytest.raises(ConfigurationError) as caught:
        getattr(provider, verb)("x", tools=tools)
    assert caught.value.message == f"tools is {type(tools).__name__}, and must be a list"


_OPTIONS: Dict[str, Tuple[Any, str]] = {
    "locality": (3, "there is no locality 3"),
    "retry": (3, "retry must be RetryPolicy(...), not int"),
    "max_line_bytes": (-1, "max_line_bytes must be a whole number above 0, not -1"),
    "max_body_bytes": ("1 MB", "max_body_bytes must be a whole number above 0, not str"),
    "max_json_depth": (math.inf, "max_json_depth must be a whole number above 0, not inf"),
    "listeners": (3, "listeners must be a list of functions"),
    "model": (3, "model must be a string, not int"),
    "name": (3, "name must be a string, not int"),
    "ca_bundle": (3, "ca_bundle must be a path, not int"),
    "client_cert": (3, "client_cert must be a path or two paths, not int"),
    "allow_plaintext_key": ("no", "allow_plaintext_key must be True or False, not str"),
    "settings": (3, "settings is int, and must be Settings(...)"),
}


@pytest.mark.parametrize("name", _OPTIONS)
@pytest.mark.parametrize("cls", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
def test_an_option_of_the_wrong_type_is_refused(cls: Type[Any], name: str) -> None:
    given, words = _OPTIONS[name]
    with pytest.raises(ConfigurationError) as caught:
        cls("http://127.0.0.1:9", **{name: given})
    assert caught.value.message == words


@pytest.mark.parametrize("listeners", [print, [3], "print"])
def test_a_listener_must_be_a_function_in_a_list(listeners: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"listeners=\[function\]"):
        OllamaProvider(listeners=listeners)


def test_providers_that_are_no_sequence_are_refused() -> None:
    given: Any = 3
    with pytest.raises(ConfigurationError, match="expected a sequence of providers, got int"):
        LocalProvider(given)
