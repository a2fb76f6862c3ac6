"""Any error response, with any status, body and headers, is one typed error."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from localproviders._dialect.error_answers import (
    Words,
    explain,
    from_words,
    read_words,
)
from localproviders._dialect.values import retry_after
from localproviders.lmstudio.wire import errors as studio_errors
from localproviders.ollama.wire import errors as ollama_errors
from localproviders.openai_compatible.wire import errors as dialect_errors
from tests.promises.fuzz.promises import check_error, fits
from tests.promises.fuzz.records import REFUSALS
from tests.support.depth import examples
from tests.support.pieces import as_json, json_values, mutated

RULES = {
    "ollama": ollama_errors.RULES,
    "dialect": dialect_errors.RULES,
    "lmstudio": studio_errors.RULES,
}

# Pieces of the servers' error messages, because the rules look for combinations of them.
_MESSAGES = st.lists(
    st.sampled_from(
        ["model ", "'m' ", "not found", "request (3010 tokens)", "(1024 tokens)", " exceeds the "
         "available context size ", "input (2002 tokens) is too large to process", "current batch "
         "size: 512", "n_keep: 13055>= n_ctx: 4096", "Trying to keep the first 5000 tokens ",
         " context length of only 4096 tokens", "exceed_context_size", "does not support", "\n",
         "server busy", "loading model", "<html>", "9" * 19, "٣ tokens", " ", "option x must be"]
    ),
    max_size=8,
).map("".join)  # fmt: skip
_bodies = (
    json_values.map(as_json)
    | mutated(REFUSALS).map(as_json)
    | _MESSAGES
    | _MESSAGES.map(lambda text: as_json({"error": text}))
    | _MESSAGES.map(lambda text: as_json({"error": {"message": text, "type": "t"}}))
    | st.text()
)


def check_words(words: Any) -> None:
    assert isinstance(words, Words)
    assert fits(words.text, str)
    assert fits(words.kind, str)
    assert words.prompt_tokens is None or fits(words.prompt_tokens, int)
    assert words.context_length is None or fits(words.context_length, int)


@examples(200)
@given(body=mutated(REFUSALS), rules=st.sampled_from(sorted(RULES)))
def test_an_error_message_is_found_or_not(body: Any, rules: str) -> None:
    words = read_words(body)
    if words is not None:
        check_words(words)
        check_error(from_words(words, RULES[rules]))


_DATE_PARTS = ["Mon,", "Mon", "2 Jan 2026", "Jan", "03:04:05", "3:4", "GMT", "-0000", "+9999", "99",
             "+99999999", "9999", "31 Dec 9999 23:59:59", "-2359", "1", "0", " ", ",", ":", "."]  # fmt: skip
_retries = st.text(max_size=12) | st.lists(st.sampled_from(_DATE_PARTS), max_size=7).map(" ".join)


@examples(400)
@given(value=_retries)
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_retry_after_is_seconds_or_none(value: str) -> None:
    found = retry_after(value)

    assert found is None or (fits(found, float) and found >= 0)


@examples(400)
@given(
    status=st.integers(100, 999),
    text=_bodies,
    retry=_retries,
    rules=st.sampled_from(sorted(RULES)),
)
@example(
    503, '{"error": {"message": "exceed_context_size", "n_ctx": 1%s}}' % ("0" * 4000), "", "ollama"
)
def test_any_error_response_is_explained(status: int, text: str, retry: str, rules: str) -> None:
    error = explain(status, text, {"Retry-After": retry}, RULES[rules])

    check_error(error)
    assert len(str(error)) < 3_000
