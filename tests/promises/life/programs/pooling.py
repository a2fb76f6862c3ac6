"""Sends a provider to a pool of processes, and compares results and errors with local ones."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, Callable, Dict, List

from localproviders import (
    CompletionRequest,
    LimitError,
    Message,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    SecretString,
)
from tests.promises.life.programs.report import send_result
from tests.promises.life.serving import reply

_QUESTIONS = [f"question {number}" for number in range(6)]

_ONCE = RetryPolicy(attempts=1)

# Attributes of an error that differ in each call.
_VARYING = ("elapsed_s", "message")


def _failure(call: Callable[[], Any]) -> ProviderError:
    try:
        call()
    except ProviderError as error:
        return error
    raise SystemExit("the call did not fail")


def _facts(error: ProviderError) -> Dict[str, Any]:
    facts = dict(vars(error))
    if isinstance(error, LimitError):
        facts = {name: value for name, value in facts.items() if name not in _VARYING}
    for name, value in facts.items():
        if name == "errors":  # the errors of single texts
            facts[name] = {index: _facts(inner) for index, inner in value.items()}
    return {"class": type(error), "code": error.exit_code, **facts}


def _calls(provider: OpenAICompatibleProvider) -> Dict[str, Callable[..., Any]]:
    """Return a failing call for each question to which the server responds with a fault."""
    chats = ("busy", "cut", "missing", "too long", "no key", "garbage", "error inside")
    return {
        **dict.fromkeys(chats, provider.chat),
        "silent": partial(provider.chat, timeout=0.2),
        "ragged": provider.embed,
    }


def _other_providers(url: str) -> Dict[str, OpenAICompatibleProvider]:
    return {
        "no server": OpenAICompatibleProvider("127.0.0.1:1", model="m", retry=_ONCE),
        "outside": OpenAICompatibleProvider("http://10.0.0.1:9", model="m", retry=_ONCE),
        "a literal key": OpenAICompatibleProvider(
            url, model="m", api_key="literal-key", retry=_ONCE
        ),
    }


def main(url: str, method: str) -> None:
    key = SecretString.from_env("LIFE_KEY")
    provider = OpenAICompatibleProvider(url, model="m", api_key=key, retry=_ONCE)
    provider.chat(_QUESTIONS[0])  # its kept connection must not be sent to the pool
    context = multiprocessing.get_context(method)
    with provider, ProcessPoolExecutor(2, mp_context=context) as pool:
        answers = list(pool.map(provider.chat, _QUESTIONS))
        request = CompletionRequest(messages=(Message.user("a request"),))
        answers.append(pool.submit(provider.complete, request).result(120))
        right = [answer.text for answer in answers] == [
            *map(reply, _QUESTIONS),
            reply("a request"),
        ]
        vectors = pool.submit(provider.embed, ["a", "b"]).result(120).embeddings
        right &= vectors == provider.embed(["a", "b"]).embeddings
        right &= pool.submit(provider.list_models).result(120) == provider.list_models()
        send_result([right, _compare(provider, url, pool)])


def _compare(
    provider: OpenAICompatibleProvider, url: str, pool: ProcessPoolExecutor
) -> List[List[Any]]:
    """Return the class of each local error, and whether the error from the pool is equal."""
    compared = []
    for asked, call in _calls(provider).items():
        here = _failure(lambda call=call, asked=asked: call(asked))  # type: ignore[misc]  # mypy infers no type for a default
        there = _failure(pool.submit(call, asked).result)
        compared.append([asked, type(here).__name__, _facts(here) == _facts(there)])
    for name, other in _other_providers(url).items():
        there = _failure(pool.submit(other.chat, "Hi").result)
        compared.append([name, type(there).__name__, there.provider == other.name])
    return compared
