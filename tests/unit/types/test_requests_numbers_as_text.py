"""A number that is written as a text is refused, with the line to write."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from localproviders import (
    CompletionRequest,
    Config,
    EmbeddingRequest,
    Limits,
    LMStudioProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    discover,
)
from localproviders.config.keys import KEYS
from localproviders.types.requests import _INTEGERS, _LEAST


def _provider() -> ModelProvider:
    return OllamaProvider("http://127.0.0.1:1", model="m", retry=RetryPolicy(attempts=1))


def _studio() -> ModelProvider:
    return LMStudioProvider("http://127.0.0.1:1", model="m", retry=RetryPolicy(attempts=1))


#: For each name, a call that takes the number, and a valid text.
_NUMBERS: Dict[str, Any] = {
    **{
        f"request {name}": (lambda given: CompletionRequest(prompt="p", **given), name)
        for name in _LEAST
        if name != "keep_alive"
    },
    **{
        f"embed {name}": (lambda given: EmbeddingRequest(texts="t", **given), name)
        for name in ("dimensions", "batch_size", "batch_characters")
    },
    **{
        f"limit {name}": (lambda given: Limits(**given), name)
        for name in ("connect_s", "load_s", "first_token_s", "idle_s", "total_s")
    },
    **{
        f"retry {name}": (lambda given: RetryPolicy(**given), name)
        for name in ("attempts", "first_wait_s", "longest_wait_s")
    },
    **{
        f"settings {name}": (lambda given: OllamaProvider(**given), name)
        for name in ("max_line_bytes", "max_body_bytes", "max_json_depth")
    },
    "chat": (lambda given: _provider().chat("Hi", **given), "temperature"),
    "stream": (lambda given: _provider().stream("Hi", **given), "max_tokens"),
    "parse": (lambda given: _provider().parse("Hi", int, **given), "max_attempts"),
    "tools": (lambda given: _provider().run_tools("Hi", [], **given), "max_rounds"),
    "parallel": (lambda given: _provider().stream_tools("Hi", [], **given), "parallel"),
    "load": (lambda given: _provider().load("m", **given), "context_length"),
    "load on LM Studio": (lambda given: _studio().load("m", **given), "context_length"),
    "discover": (lambda given: discover(**given), "timeout_s"),
}
_WHOLE = {
    *_INTEGERS,
    *("attempts", "max_rounds", "max_attempts", "parallel"),
    *("max_line_bytes", "max_body_bytes", "max_json_depth"),
}


@pytest.mark.parametrize("case", _NUMBERS)
def test_the_error_has_the_line_to_write(case: str) -> None:
    take, name = _NUMBERS[case]
    for text, number in (("3", "3"), (" 2.5", "2.5")):
        with pytest.raises(ValueError, match=name) as caught:
            take({name: text})
        has_line = f": write {name}={number}" in str(caught.value)
        assert has_line == ("." not in number or name not in _WHOLE), str(caught.value)


_OF_TABLES = [key for key in KEYS if key.path[0] in ("limits", "retry")]


def _refusal(take: Any, given: Any) -> str:
    try:
        take(given)
    except ValueError as error:
        return str(error)
    except ProviderError:
        pass  # the call was sent, and no server answered
    return ""


@pytest.mark.parametrize("text", ["0", "0.0", "1", "1.5", "9" * 18])
@pytest.mark.parametrize("case", _NUMBERS)
def test_the_line_to_write_is_accepted(case: str, text: str) -> None:
    take, name = _NUMBERS[case]
    if f": write {name}={text}" in _refusal(take, {name: text}):
        if case == "discover" and float(text):
            return  # another number searches this machine
        assert _refusal(take, {name: float(text) if "." in text else int(text)}) == ""


@pytest.mark.parametrize("text", ["0", "0.0"])
def test_a_limit_of_zero_is_not_suggested(text: str) -> None:
    for name in Limits.__annotations__:
        assert (f"write {name}={text}" in _refusal(lambda g: Limits(**g), {name: text})) == (
            name == "load_s"
        )
    refusal = _refusal(lambda given: _provider().chat("Hi", **given), {"timeout": text})
    assert "timeout" in refusal or "total_s" in refusal
    assert "write" not in refusal


@pytest.mark.parametrize(
    "text", ["warm", "", "-1", "1e3", "nan", "0x10", "1_000", "\u0663", "9" * 400]
)
def test_another_text_has_no_line(text: str) -> None:
    with pytest.raises(ValueError, match="temperature is") as caught:
        CompletionRequest(prompt="p", temperature=text)  # type: ignore[arg-type]  # the mistake
    assert "write" not in str(caught.value)


def test_a_timeout_as_text_has_the_line() -> None:
    for make in (OllamaProvider, LMStudioProvider, OpenAICompatibleProvider):
        with pytest.raises(ValueError, match=r"write timeout=60\b"):
            make("http://127.0.0.1:1", timeout="60")
    with pytest.raises(ValueError, match=r"write timeout=60\b"):
        _provider().chat("Hi", timeout="60")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("key", _OF_TABLES, ids=[key.dotted for key in _OF_TABLES])
@pytest.mark.parametrize("text", ["0", "1", "1.5"])
def test_a_configuration_suggests_only_a_number_that_it_accepts(key: Any, text: str) -> None:
    table, name = key.path
    load = Config.load
    refusal = _refusal(lambda given: load(environ={}, **{table: given}), {name: text})
    number = float(text) if "." in text else int(text)
    accepts = _refusal(lambda given: load(environ={}, **{table: given}), {name: number}) == ""
    assert (f"write {text} without quotes" in refusal) == accepts


@pytest.mark.parametrize("key", ["limits.total_s", "retry.attempts"])
def test_a_configuration_says_to_write_it_without_quotes(key: str) -> None:
    table, name = key.split(".")
    with pytest.raises(ValueError, match="write 30 without quotes"):
        Config.load(environ={}, **{table: {name: "30"}})
