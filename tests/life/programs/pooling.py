"""Sends one provider to a pool of processes, and compares what comes back with its own."""

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
from tests.life.programs.report import say
from tests.life.serving import reply

_QUESTIONS = [f"question {number}" for number in range(6)]

_ONCE = RetryPolicy(attempts=1)

# Different in each call, here as there.
_OWN_TIMES = ("elapsed_s", "message")


def _failure(call: Callable[[], Any]) -> ProviderError:
    try:
        call()
    except ProviderError as error:
        return error
    raise SystemExit("that should have failed")


def _facts(error: ProviderError) -> Dict[str, Any]:
    facts = dict(vars(error))
    if isinstance(error, LimitError):
        facts = {name: value for name, value in facts.items() if name not in _OWN_TIMES}
    for name, value in facts.items():
        if name == "errors":  # of single texts
            facts[name] = {index: _facts(inner) for index, inner in value.items()}
    return {"class": type(error), "code": error.exit_code, **facts}


def _calls(provider: OpenAICompatibleProvider) -> Dict[str, Callable[..., Any]]:
    """What fails, each in its own way, by the question that makes the server do so."""
    chats = ("busy", "cut", "missing", "too long", "no key", "garbage", "error inside")
    return {
        **dict.fromkeys(chats, provider.chat),
        "silent": partial(provider.chat, timeout=0.2),
        "ragged": provider.embed,
    }


def _elsewhere(url: str) -> Dict[str, OpenAICompatibleProvider]:
    return {
        "nobody there": OpenAICompatibleProvider("127.0.0.1:1", model="m", retry=_ONCE),
        "another place": OpenAICompatibleProvider("http://10.0.0.1:9", model="m", retry=_ONCE),
        "a literal key": OpenAICompatibleProvider(
            url, model="m", api_key="literal-key", retry=_ONCE
        ),
    }


def main(url: str, method: str) -> None:
    key = SecretString.from_env("LIFE_KEY")
    provider = OpenAICompatibleProvider(url, model="m", api_key=key, retry=_ONCE)
    provider.chat(_QUESTIONS[0])  # what it keeps from here must not get into the pool
    context = multiprocessing.get_context(method)
    with provider, ProcessPoolExecutor(2, mp_context=context) as pool:
        answers = list(pool.map(provider.chat, _QUESTIONS))
        request = CompletionRequest(messages=(Message.user("a request"),))
        answers.append(pool.submit(provider.complete, request).result(20))
        right = [answer.text for answer in answers] == [
            *map(reply, _QUESTIONS),
            reply("a request"),
        ]
        vectors = pool.submit(provider.embed, ["a", "b"]).result(20)
        right &= vectors == provider.embed(["a", "b"])
        right &= pool.submit(provider.list_models).result(20) == provider.list_models()
        say([right, _compare(provider, url, pool)])


def _compare(
    provider: OpenAICompatibleProvider, url: str, pool: ProcessPoolExecutor
) -> List[List[Any]]:
    """Give for each failure its class here, and whether the one from the pool is the same."""
    compared = []
    for asked, call in _calls(provider).items():
        here = _failure(lambda call=call, asked=asked: call(asked))  # type: ignore[misc]  # mypy infers no type for a default
        there = _failure(pool.submit(call, asked).result)
        compared.append([asked, type(here).__name__, _facts(here) == _facts(there)])
    for name, other in _elsewhere(url).items():
        there = _failure(pool.submit(other.chat, "Hi").result)
        compared.append([name, type(there).__name__, there.provider == other.name])
    return compared
