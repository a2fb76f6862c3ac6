"""Warnings about answers that the limit of tokens ended before their text or their tool call."""

from __future__ import annotations

from typing import Any, Mapping, Tuple

import pytest

from localproviders import LocalProvider, ToolCallError
from localproviders.testing import FakeModel, FakeOllama, Reply
from tests.support.asking import PROVIDERS, ServedProvider, tool_call_reply
from tests.support.asking import served as served

_THINKS = FakeModel(name="m", abilities=("chat", "completion", "tools", "thinking"))


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"fine in {city}"


_BEFORE = "max_tokens=4 ended the answer before its text: raise max_tokens"
_TOOLS = "max_tokens=4 ended the answer before its text or a tool call: raise max_tokens"
_THINKING = "the answer has only thinking, and no text: pass thinking=False, or raise max_tokens"
_ONLY = "only thinking"
_PERHAPS = "max_tokens=4 ended the answer; a tool call at its end may be lost: raise max_tokens"
_ANY = "the limit of tokens ended the answer before its text: raise max_tokens or context_length"
_USUAL = "max_tokens=4096 ended the answer before its text: raise max_tokens"

#: The reply of the server, the fields of the request, and the warnings of the response.
_CASES: Mapping[str, Tuple[Reply, Mapping[str, Any], Tuple[str, ...]]] = {
    "half a call is dropped": (
        Reply(text=" ", finish_reason="length"),
        {"tools": [weather], "max_tokens": 4},
        (_TOOLS,),
    ),
    "half a call is dropped after text": (
        Reply(text="Let me see.", finish_reason="length"),
        {"tools": [weather], "max_tokens": 4},
        (_PERHAPS,),
    ),
    "half a tag of the thinking is dropped": (
        Reply(text="", finish_reason="length"),
        {"thinking": True, "max_tokens": 4},
        (_BEFORE,),
    ),
    "the thinking is cut": (
        Reply(text="", thinking="Well, well", finish_reason="length"),
        {"thinking": True, "max_tokens": 4},
        (_THINKING,),
    ),
    "the thinking is cut, and tools are offered": (
        Reply(text="", thinking="Well, well", finish_reason="length"),
        {"tools": [weather], "max_tokens": 4},
        (_THINKING,),
    ),
    "another word for the limit": (
        Reply(text=" ", finish_reason="MAX_TOKENS"),
        {"tools": [weather], "max_tokens": 4},
        (_TOOLS,),
    ),
    "a limit that the request does not have": (
        Reply(text="\n", finish_reason="length"),
        {},
        (_ANY,),
    ),
    "a text is cut": (Reply(text="Once upon", finish_reason="length"), {"max_tokens": 4}, ()),
    "an empty answer": (Reply(text=""), {"tools": [weather], "max_tokens": 4}, ()),
    "a call before the end": (
        tool_call_reply(("weather", {"city": "Oslo"})).replace(finish_reason="length"),
        {"tools": [weather], "max_tokens": 400},
        (),
    ),
}


@pytest.mark.sample(18)
@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("form", ["chat", "stream"])
@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_a_call_or_a_thought_that_was_cut_is_a_warning(kind: str, form: str, case: str) -> None:
    reply, fields, warnings = _CASES[case]
    server, provider = PROVIDERS[kind]
    with server([_THINKS]) as fake, provider(fake.url, model="m", timeout=20) as made:
        fake.reply_with(reply)
        if form == "chat":
            answer = made.chat("Hot?", strict=False, **fields)
        else:
            answer = made.stream("Hot?", strict=False, **fields).result()
    found = [each for each in answer.warnings if "ended the answer" in each or _ONLY in each]
    if kind == "anthropic" and warnings == (_ANY,):
        warnings = (_USUAL,)  # this API requires a limit
    assert len(found) == len(warnings)
    assert all(each.startswith(start) for each, start in zip(found, warnings))


def test_the_warning_reaches_the_caller_through_several_servers() -> None:
    with FakeOllama([_THINKS]) as fake:
        with LocalProvider([PROVIDERS["ollama"][1](fake.url)], model="m") as local:
            fake.reply_with(Reply(text=" ", finish_reason="length"))
            answer = local.chat("Hot?", tools=[weather], max_tokens=4)
            fake.reply_with(Reply(text=" ", finish_reason="length"))
            run = local.run_tools("Hot?", [weather], max_tokens=4)
    assert answer.warnings == run.response.warnings == (_TOOLS,)


def test_a_piece_of_a_call_that_did_arrive_stays_an_error(served: ServedProvider) -> None:
    """In the other dialects, the pieces of a call arrive, so half a call is seen."""
    if served.kind == "ollama":
        pytest.skip("Ollama sends only complete calls")
    own = {"anthropic": "a call of a tool without an end"}
    served.fake.break_next(own.get(served.kind, "a tool call never finished"))
    with pytest.raises(ToolCallError):
        served.provider.chat("Hot?", tools=[weather], max_tokens=4)
