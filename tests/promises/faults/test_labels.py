"""Each fault of a chat ends a decision by labels as it ends the same chat."""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

import pytest

from localproviders import CapabilityError, Choice, Limits, ProviderError, RetryPolicy
from localproviders._http_provider import HTTPProvider
from localproviders.testing import FakeServer, Reply
from localproviders.testing.faults import FAULTS, Fault
from tests.promises.faults.bench import BACKENDS, MAX_BYTES, PROMPT
from tests.support.fake_time import fake_time

_LIMITS = Limits(connect_s=5, load_s=0, first_token_s=5, idle_s=5, total_s=12)
_QUESTIONS = {"team": Choice("Which team?", ["sales", "billing"])}


# These faults need a request that is larger than the buffers between client and server.
_LARGE = "refused while the request is sent"


def _cases() -> List[Tuple[str, Fault]]:
    return [
        (name, fault)
        for name in ("ollama", "openai")
        for fault in FAULTS
        if BACKENDS[name].streams_as in fault.kinds and not fault.name.startswith(_LARGE)
    ]


def _chat(provider: HTTPProvider) -> Any:
    return provider.chat(
        PROMPT, max_tokens=1, temperature=0, top_logprobs=20, thinking=False, strict=False
    )


def _decide(provider: HTTPProvider) -> Any:
    return provider.decide(PROMPT, _QUESTIONS, method="logprobs")


def _end(name: str, server: FakeServer, fault: Fault, call: Callable[[HTTPProvider], Any]) -> Any:
    """Return the result of a call, or its error, and check that the next call works."""
    provider = BACKENDS[name].provider(
        server.url + ("/v1" if name == "openai" else ""),
        model="chat-model",
        retry=RetryPolicy(first_wait_s=0),
        max_line_bytes=MAX_BYTES,
        max_body_bytes=MAX_BYTES,
        timeout=_LIMITS,
    )
    with provider:
        call(provider)
        server.break_next(fault, times=None, path=_PATHS[name])
        try:
            result = call(provider)
        except ProviderError as error:
            result = error
        server.heal()
        call(provider)
    return result


_PATHS = {"ollama": "/api/chat", "openai": "/v1/chat/completions"}


@pytest.mark.sample(30)
@pytest.mark.parametrize(("name", "fault"), _cases(), ids=lambda each: getattr(each, "name", each))
def test_a_fault_ends_a_decision_as_it_ends_a_chat(name: str, fault: Fault) -> None:
    with fake_time(), BACKENDS[name].start() as server:
        server.usual = Reply(first_token={"A": 0.6, "B": 0.3})
        chat = _end(name, server, fault, _chat)
        decided = _end(name, server, fault, _decide)

    if isinstance(chat, ProviderError):
        assert type(decided) is type(chat), decided
        assert PROMPT not in f"{decided} {decided!r} {decided.to_dict()}"
        assert (decided.provider, decided.model) == (chat.provider, chat.model)
    else:
        # A fault can take the log-probabilities, or move them.
        good = isinstance(decided, CapabilityError) or decided["team"].choice == "sales"
        assert good, decided
