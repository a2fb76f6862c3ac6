"""Error responses of servers are translated to the right classes of errors."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, Dict, Optional, Type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders import errors
from localproviders._dialect.error_answers import (
    Words,
    explain,
    from_words,
    read_words,
)
from localproviders._dialect.error_rules import rule
from localproviders._dialect.missing_models import not_found
from localproviders._dialect.values import retry_after
from localproviders._http.transport import encode

_RULES = (
    rule("too long", errors.ContextOverflowError, "shorten it"),
    rule("^kind_word: ", errors.CapabilityError),
    rule("too .*", errors.ModelLoadError),
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, None),
        ([], None),
        ("error", None),
        (None, None),
        ({"error": None}, None),
        ([{"error": "a"}, {"error": "b"}], None),
        ({"error": "a"}, Words(text="a")),
        ({"error": ""}, Words(text="")),
        ({"error": "a", "type": "t"}, Words(text="a", kind="t")),
        ([{"error": "a"}], Words(text="a")),
        ({"error": 5}, Words(text="5")),
        ({"error": {"message": "a", "type": "t", "code": 400}}, Words(text="a", kind="t 400")),
        ({"error": {"code": "c"}, "message": "outer"}, Words(text="outer", kind="c")),
        ({"error": {"x": 1}}, Words(text='{"x": 1}')),
        (
            {"error": {"message": "a", "n_prompt_tokens": 7, "n_ctx": 5}},
            Words(text="a", prompt_tokens=7, context_length=5),
        ),
        ({"error": '{"error":{"message":"in","code":400}}'}, Words(text="in", kind="400")),
        ({"error": '{"broken'}, Words(text='{"broken')),
        ({"error": '{"no": "error"}'}, Words(text='{"no": "error"}')),
        ({"error": "a", "done": True, "choices": []}, Words(text="a")),
    ],
)
def test_the_error_is_found_in_every_known_shape(body: Any, words: Optional[Words]) -> None:
    assert read_words(body) == words


def test_an_error_in_a_text_is_read_on_one_level_and_in_a_short_text_only() -> None:
    """Without the bound, ten levels in a text of 8 MiB took 350 MiB and much time for each level."""
    deep = json.dumps({"error": json.dumps({"error": json.dumps({"error": "in"})})})
    assert read_words(json.loads(deep)) == Words(text='{"error": "in"}')

    for size, text in ((1_000_000, "x" * 1_000_000), (1_100_000, None)):
        found = read_words({"error": json.dumps({"error": "x" * size})})
        assert found is not None
        assert (found.text == text) == (text is not None)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (300, errors.ProtocolError),
        (302, errors.ProtocolError),
        (399, errors.ProtocolError),
        (400, errors.RequestRejectedError),
        (401, errors.AuthenticationError),
        (403, errors.AuthenticationError),
        (404, errors.RequestRejectedError),
        (408, errors.ServerBusyError),
        (422, errors.RequestRejectedError),
        (429, errors.ServerBusyError),
        (500, errors.ServerError),
        (502, errors.ServerBusyError),
        (503, errors.ServerBusyError),
        (504, errors.ServerBusyError),
        (599, errors.ServerError),
    ],
)
@pytest.mark.parametrize("text", ["", "some words", '{"error": "some words"}', "[[", "<html>"])
def test_a_status_decides_where_the_words_do_not(
    status: int, cls: Type[errors.ProviderError], text: str
) -> None:
    error = explain(status, text, {}, _RULES)
    assert type(error) is cls
    assert error.status == status


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_words_decide_over_the_status_and_the_first_rule_wins(status: int) -> None:
    error = explain(status, '{"error": "this is TOO LONG"}', {}, _RULES)
    assert type(error) is errors.ContextOverflowError
    assert error.hint == "shorten it"
    assert error.server_message == "this is TOO LONG"


def test_a_rule_sees_the_kind_before_the_words() -> None:
    error = explain(400, '{"error": {"message": "m", "type": "kind_word"}}', {}, _RULES)
    assert type(error) is errors.CapabilityError
    assert error.evidence == "m"


def test_words_without_a_status_are_a_server_error() -> None:
    assert type(from_words(Words(text="odd"), ())) is errors.ServerError


def test_a_redirect_names_the_reason_and_is_not_followed() -> None:
    error = explain(302, '{"error": "too long"}', {"Location": "http://elsewhere"}, _RULES)
    assert "redirects" in str(error)


def test_a_web_page_is_named_and_not_quoted() -> None:
    error = explain(502, "\n <!DOCTYPE html><b>nginx</b>", {}, ())
    assert "web page" in str(error)
    assert "nginx" not in str(error)


def test_a_long_reason_is_cut_in_the_message_and_in_the_attribute() -> None:
    error = explain(500, "x" * 100_000, {}, ())
    assert len(str(error)) < 600
    assert len(error.server_message or "") == 2_000


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("too long: request (3010 tokens) exceeds the size (1024 tokens)", (3010, 1024)),
        ("too long: n_keep: 13055>= n_ctx: 4096", (13055, 4096)),
        ("too long: the first 5000 tokens when length of only 4096 tokens", (5000, 4096)),
        ("too long", (None, None)),
        ("too long (" + "9" * 5000 + " tokens) (1 tokens)", None),
    ],
)
def test_both_numbers_are_read_out_of_an_overflow(said: str, numbers: Any) -> None:
    error = explain(400, json.dumps({"error": said}), {}, _RULES)
    assert isinstance(error, errors.ContextOverflowError)
    if numbers is not None:
        assert (error.prompt_tokens, error.context_length) == numbers
        for number in numbers:
            assert number is None or str(number) in str(error)
            assert number is None or str(number) in error.args[0]


def test_numbers_beside_the_words_count_before_those_inside() -> None:
    body = {
        "error": {"message": "too long (1 tokens) (2 tokens)", "n_prompt_tokens": 7, "n_ctx": 5}
    }
    error = explain(400, json.dumps(body), {}, _RULES)
    assert isinstance(error, errors.ContextOverflowError)
    assert (error.prompt_tokens, error.context_length) == (7, 5)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("1.5", None),
        ("-3", None),
        ("soon", None),
        ("9" * 10, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str, seconds: Optional[float]) -> None:
    assert retry_after(value) == seconds


def test_retry_after_counts_to_a_date_ahead() -> None:
    ahead = retry_after(format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100)))
    assert ahead is not None
    assert 90 < ahead <= 100


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_when_to_come_again(status: int) -> None:
    error = explain(status, "", {"Retry-After": "7"}, ())
    assert isinstance(error, errors.ServerBusyError)
    assert error.retry_after_s == 7
    assert error.retryable


def test_a_missing_model_is_named() -> None:
    error = not_found("m", available=("a",))
    assert (error.model, error.available) == ("m", ("a",))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "type", "code", "n_ctx"]), inner)
    ),
    max_leaves=8,
)


@given(st.integers(300, 599), _JSON.map(json.dumps) | st.text(max_size=30), st.text(max_size=30))
def test_any_answer_is_explained(status: int, text: str, retry: str) -> None:
    headers: Dict[str, str] = {"Retry-After": retry}
    assert isinstance(explain(status, text, headers, _RULES), errors.ProviderError)


# --- what goes out --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_not_sent(number: float) -> None:
    with pytest.raises(ValueError):
        encode({"options": {"x": number}})


@pytest.mark.parametrize("value", ["é😀", "\u2028", '"\\\n'])
def test_text_goes_out_as_it_is(value: str) -> None:
    assert json.loads(encode({"a": value}).decode("utf-8")) == {"a": value}


def test_a_body_says_its_size_and_not_its_text() -> None:
    body = encode({"prompt": "private"})
    assert repr(body) == f"<body of {len(body)} bytes>"
