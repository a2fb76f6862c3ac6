"""The probabilities of labels: from recorded distributions, and for all distributions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, List, Mapping, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders._dialect.common import logprob_tally, parse_logprobs
from localproviders._dialect.label_probabilities import Reading, label_of, read_labels
from localproviders.errors import ProtocolError
from localproviders.types import TokenLogprob
from tests.support.recordings import DATA

_ABC = ("A", "B", "C")


def _tokens(path: Path) -> Tuple[TokenLogprob, ...]:
    """Return the log-probabilities in the response of a recording."""
    body = json.loads(path.read_bytes().partition(b"\r\n\r\n")[2])
    choices: List[Mapping[str, Any]] = body.get("choices", [{}])
    items = body.get("completion_probabilities") or choices[0]["logprobs"]["content"]
    return parse_logprobs(items, logprob_tally())


def _read(name: str, labels: Sequence[str] = _ABC) -> Reading:
    return read_labels(_tokens(DATA / "decisions" / "logprobs" / f"{name}.response.bin"), labels)


def _read_chat(name: str) -> Reading:
    return read_labels(_tokens(DATA / "openai_compatible" / f"{name}.response.bin"), _ABC)


def _shown(*entries: Tuple[str, float]) -> List[TokenLogprob]:
    """Return the first token of an answer with these alternatives, by their probabilities."""
    top = tuple(TokenLogprob(token=token, logprob=math.log(p)) for token, p in entries)
    return [top[0].replace(top=top)]


# --- recordings ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["decide_bias_completion", "decide_grammar_completion"])
def test_a_restricted_list_has_the_distribution_of_the_labels(name: str) -> None:
    found = _read(name)

    assert found.probabilities == pytest.approx((0.844488, 0.070924, 0.084588), abs=1e-6)
    assert found.mass == pytest.approx(1.0, abs=1e-6)
    assert found.missing == ()
    assert found.uncertainty == 0.0


@pytest.mark.parametrize("name", ["decide_bias_chat", "decide_grammar_chat"])
def test_the_restricted_list_of_a_chat_has_the_distribution_of_the_labels(name: str) -> None:
    found = _read_chat(name)

    assert found.probabilities == pytest.approx((0.886745, 0.030034, 0.083220), abs=1e-6)
    assert found.missing == ()


def test_the_mass_of_a_free_distribution_is_small_if_the_model_means_something_else() -> None:
    """The model is 84 % sure of A among the labels, and does not mean any of them."""
    found = _read("decide_plain_logprobs")

    assert found.mass == pytest.approx(0.0929, abs=1e-3)  # only "A" after a blank
    assert found.missing == (1, 2)
    assert [token.token for token in found.likeliest] == ["\n", " The", " ("]
    assert all(token.top == () for token in found.likeliest)


def test_the_mass_of_a_free_chat_is_small() -> None:
    found = _read_chat("decide_logprobs_chat")

    assert found.mass == pytest.approx(0.0206, abs=1e-3)
    assert found.likeliest[0].token == "\n"


def test_a_label_counts_with_and_without_a_blank_before_it() -> None:
    found = _read("decide_grammar_not_applied")

    blanks = 0.15953151881694794, 0.49556222558021545, 0.2531653940677643
    bare = 0.00159148417878896, 0.004887664224952459, 0.0024699487257748842
    sums = [a + b for a, b in zip(blanks, bare)]
    assert found.mass == pytest.approx(sum(sums), abs=1e-12)
    assert found.probabilities == pytest.approx([each / sum(sums) for each in sums], abs=1e-12)


def test_a_list_that_has_only_the_winner_leaves_nothing_for_the_others() -> None:
    found = _read("decide_temperature_0")

    assert found.probabilities == pytest.approx((1.0, 0.0, 0.0), abs=1e-6)
    assert found.missing == (1, 2)
    assert 0.0 < found.uncertainty < 1e-5


def test_the_usual_samplers_of_the_server_change_the_ratios() -> None:
    """So a request for a restricted list must set the samplers."""
    assert _read("decide_default_samplers").probabilities[0] == pytest.approx(0.9078, abs=1e-4)


# --- labels that are missing ------------------------------------------------------------------


def test_a_missing_label_has_the_probability_of_the_least_likely_token() -> None:
    found = read_labels(_shown(("A", 0.6), ("B", 0.3), ("x", 0.01)), _ABC)

    assert found.missing == (2,)
    assert found.mass == pytest.approx(0.9)
    assert found.probabilities == pytest.approx((0.6 / 0.91, 0.3 / 0.91, 0.01 / 0.91))
    assert found.uncertainty == pytest.approx(0.01 / 0.91)


def test_missing_labels_have_at_most_the_rest_of_the_probability() -> None:
    found = read_labels(_shown(("A", 0.9), ("x", 0.08)), _ABC)

    assert found.probabilities == pytest.approx((0.9 / 0.92, 0.01 / 0.92, 0.01 / 0.92), rel=1e-3)


def test_a_missing_label_is_never_the_likeliest() -> None:
    found = read_labels(_shown(("x", 0.5), ("B", 0.1)), ("A", "B", "C"))

    assert max(found.probabilities) == found.probabilities[1]
    assert found.probabilities.count(found.probabilities[1]) == 1


def test_a_list_without_any_label_has_no_mass() -> None:
    found = read_labels(_shown(("Sure", 0.7), ("\n", 0.2)), _ABC)

    assert found.mass == 0.0
    assert found.probabilities == (0.0, 0.0, 0.0)
    assert found.uncertainty == 1.0


def test_a_token_that_its_alternatives_lack_is_one_more() -> None:
    """OpenAI's API says so of `top_logprobs`."""
    first = TokenLogprob(token="B", logprob=math.log(0.2), top=_shown(("A", 0.5))[0].top)

    assert read_labels([first], ("A", "B")).probabilities == pytest.approx((5 / 7, 2 / 7))


def test_only_the_first_token_counts() -> None:
    tokens = [*_shown(("A", 0.6), ("B", 0.4)), *_shown(("B", 1.0))]

    assert read_labels(tokens, ("A", "B")).probabilities == pytest.approx((0.6, 0.4))


def test_an_answer_without_log_probabilities_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="no log-probabilities"):
        read_labels([], _ABC)


@pytest.mark.parametrize("logprob", [3.0, math.inf, math.nan])
def test_an_impossible_log_probability_is_an_error(logprob: float) -> None:
    with pytest.raises(ProtocolError, match="not a number up to 0"):
        read_labels([TokenLogprob(token="A", logprob=logprob)], _ABC)


def test_a_log_probability_may_be_rounded_to_more_than_zero() -> None:
    assert read_labels([TokenLogprob(token="A", logprob=1e-6)], _ABC).mass == 1.0


@pytest.mark.parametrize(
    "token", ["A", " A", "\nA", '"A', "(A", "A)", "**A", "A.", "\u2581A", "\u0120A", " A "]
)
def test_the_same_label_in_other_tokens(token: str) -> None:
    assert label_of(token) == "A"


@pytest.mark.parametrize("token", ["a", "AB", "Answer", "\u0410", "A1", "", " ", "("])
def test_other_tokens_are_no_label(token: str) -> None:
    assert label_of(token) not in _ABC


# --- all distributions ------------------------------------------------------------------------


@given(
    items=st.lists(
        st.fixed_dictionaries(
            {"token": st.sampled_from(["A", " B", "x", "", 7]), "logprob": st.floats() | st.none()},
            optional={"top_logprobs": st.lists(st.fixed_dictionaries(
                {"token": st.text(max_size=2), "logprob": st.floats() | st.integers()}
            ))},
        ),
        max_size=3,
    )
)  # fmt: skip
def test_odd_log_probabilities_are_read_or_an_error(items: List[Mapping[str, Any]]) -> None:
    try:
        found = read_labels(parse_logprobs(items, logprob_tally()), ("A", "B"))
    except ProtocolError:
        return
    assert all(math.isfinite(each) for each in (*found.probabilities, found.mass))
    assert found.mass == 0 or math.isclose(sum(found.probabilities), 1.0, abs_tol=1e-9)


_PIECES = st.sampled_from(["A", " A", "B", "(B", "C", " C", "D", "\n", "The", ""])


@given(
    weights=st.lists(
        st.tuples(_PIECES, st.floats(1e-300, 1.0)),
        min_size=1,
        max_size=12,
        unique_by=lambda e: e[0],
    ),
    hidden=st.floats(0.0, 1.0),
    labels=st.sampled_from([("A", "B"), _ABC, ("D", "C", "B", "A")]),
)
def test_the_probabilities_are_finite_and_their_sum_is_one(
    weights: List[Tuple[str, float]], hidden: float, labels: Sequence[str]
) -> None:
    total = sum(weight for _, weight in weights) + hidden
    found = read_labels(_shown(*((t, max(w / total, 1e-320)) for t, w in weights)), labels)

    assert 0.0 <= found.mass <= 1.0
    assert 0.0 <= found.uncertainty <= 1.0
    assert all(0.0 <= each <= 1.0 for each in found.probabilities)
    if found.mass:
        assert math.isclose(sum(found.probabilities), 1.0, abs_tol=1e-9)
    likeliest = [token.logprob for token in found.likeliest]
    assert likeliest == sorted(likeliest, reverse=True)
    for index in found.missing:
        assert found.probabilities[index] <= min(found.probabilities) + 1e-12 or not found.mass
