"""`None` for an option means that the option is not given; one tool alone is a list of one."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import pytest

from localproviders import (
    LMStudioProvider,
    LocalEngine,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
    Tool,
)
from localproviders.testing import FakeOllama
from localproviders.types import CompletionRequest, EmbeddingRequest, Limits


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOL = Tool(name="add", description="Add two numbers.", function=add)
DICTIONARY = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def test_none_for_an_option_of_a_verb_is_not_given() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as ollama:
        for provider in (ollama, LocalProvider([ollama], model="llama3.2")):
            fake.reply_with("1")
            options: Dict[str, Any] = {"model": None, "system": None, "timeout": None}
            rounds: Dict[str, Any] = {
                "max_rounds": None,
                "on_tool_error": None,
                "on_step": None,
                "text_calls": None,
            }
            assert provider.parse("Hi", int, max_attempts=None, **options).value == 1
            assert provider.run_tools("Hi", [add], **rounds, **options).text
            assert provider.run_tools("Hi", None, **rounds).text
            assert provider.count_tokens("Hi", tools=None, **options).tokens > 0
            assert provider.render("Hi", tools=None, thinking=None, **options)
            assert provider.load(
                "llama3.2", context_length=None, keep_alive=None, on_progress=None
            ).name


def test_none_for_an_option_of_a_constructor_is_not_given() -> None:
    makers: List[Tuple[Callable[..., Any], Any]] = [
        (OllamaProvider, "http://127.0.0.1:1"),
        (LMStudioProvider, "http://127.0.0.1:1"),
        (OpenAICompatibleProvider, "http://127.0.0.1:1/v1"),
    ]
    names = (
        "name model api_key timeout locality retry ca_bundle client_cert proxies listeners"
        " allow_plaintext_key max_line_bytes max_body_bytes max_json_depth"
    ).split()
    for make, address in makers:
        assert make(address, **dict.fromkeys(names)).settings == make(address).settings
    own: Any = dict.fromkeys(
        "model aliases strategy needs name config locality listeners timeout make_breaker".split()
    )
    assert LocalProvider(None, **own).name == "local"
    numbers: Any = dict.fromkeys(["attempts", "first_wait_s", "longest_wait_s"])
    assert RetryPolicy(**numbers) == RetryPolicy()
    LocalEngine(None, context_length=None, start_timeout_s=None)  # type: ignore[arg-type]  # no value


def test_none_for_a_limit_is_refused_because_it_could_mean_two_things() -> None:
    with pytest.raises(ValueError, match="leave it out for the default"):
        Limits(total_s=None)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("one", [add, TOOL, DICTIONARY])
def test_one_tool_alone_is_a_list_of_one(one: Any) -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as ollama:
        for verb in (ollama.chat, ollama.stream, ollama.render):
            verb("Hi", tools=one)
            tools = fake.exchanges[-1].json["tools"]
            assert [tool["function"]["name"] for tool in tools] == ["add"]
        counts = [ollama.count_tokens("Hi", tools=tools).tokens for tools in (one, [one])]
        assert counts[0] == counts[1]
        if one is not DICTIONARY:
            assert ollama.run_tools("Hi", one).text


def test_a_request_takes_one_tool_alone_too() -> None:
    request = CompletionRequest(prompt="Hi", tools=TOOL)  # type: ignore[arg-type]  # the attribute
    assert request.tools == (TOOL,)


WRONG: List[Tuple[Callable[..., Any], str, str]] = [
    (lambda **k: OllamaProvider().count_tokens("Hi", **k), "num_ctx", "does not change the prompt"),
    (lambda **k: OllamaProvider().render("Hi", **k), "options", "does not change the prompt"),
    (
        lambda **k: OllamaProvider().render("Hi", **k),
        "images",
        'Message.user("What is this?", images=[Path("cat.png")])',
    ),
    (lambda **k: OllamaProvider().render("Hi", **k), "think", "did you mean 'thinking'?"),
    (lambda **k: OllamaProvider().embed("Hi", **k), "format", "leave it out"),
    (lambda **k: OllamaProvider().embed("Hi", **k), "dims", "did you mean 'dimensions'?"),
    (lambda **k: OllamaProvider().load("m", **k), "num_ctx", "did you mean 'context_length'?"),
    (lambda **k: OllamaProvider().load("m", **k), "base_url", "pass it to the provider"),
    (lambda **k: OllamaProvider().chat("Hi", **k), "max_retries", "retry=RetryPolicy(attempts="),
    (lambda **k: OllamaProvider().embed("Hi", **k), "max_retries", "retry=RetryPolicy(attempts="),
    (lambda **k: OllamaProvider().keep_loaded("m", **k), "ttl", "did you mean 'keep_alive'?"),
    (OllamaProvider, "max_retries", "pass retry=RetryPolicy(attempts=3)"),
    (OllamaProvider, "total", "did you mean 'timeout'?"),
    (LocalProvider, "max_retries", "pass it to a provider in the list"),
    (LocalProvider, "verify", "pass it to a provider in the list"),
    (LocalEngine, "base_url", "LocalEngine starts its own server"),
    (Limits, "total", "did you mean 'total_s'?"),
    (EmbeddingRequest, "input", "did you mean 'texts'?"),
]


def test_an_option_of_another_client_is_answered_with_the_right_name() -> None:
    for call, keyword, words in WRONG:
        with pytest.raises(TypeError) as caught:
            call(**{keyword: 3})
        assert f"got an unexpected keyword {keyword!r}" in str(caught.value)
        assert words in str(caught.value), keyword
