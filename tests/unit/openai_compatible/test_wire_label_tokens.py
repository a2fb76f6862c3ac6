"""The tokens of labels in llama.cpp's response, and the fields that restrict an answer to them."""

from __future__ import annotations

import json

import pytest

from localproviders.errors import ProviderError
from localproviders.openai_compatible.wire.label_tokens import (
    bias_fields,
    labels_payload,
    parse_label_tokens,
)
from tests.support.recordings import DATA


def test_each_label_is_on_a_line_of_its_own_with_and_without_a_blank() -> None:
    payload = labels_payload(["A", "B"], "m")

    assert payload == {"model": "m", "content": "\nA\n A\nB\n B", "with_pieces": True}


def test_tokens_are_found_by_their_text() -> None:
    pieces = ["\n", "A", "\n", " A", "\n", "Q", "X", "\n", " QX", [195], "B"]
    tokens = [{"id": 100 + index, "piece": piece} for index, piece in enumerate(pieces)]

    found = parse_label_tokens({"tokens": tokens}, ["A", "B", "QX"])

    # "QX" is one token only after a blank, so it is no label: the model may write it otherwise.
    assert found == {"A": (101, 103), "B": (110,)}


def test_the_recorded_tokens_have_texts() -> None:
    raw = (DATA / "decisions" / "logprobs" / "tokenize_pieces.response.bin").read_bytes()
    data = json.loads(raw.partition(b"\r\n\r\n")[2])
    label = data["tokens"][0]["piece"]

    assert parse_label_tokens(data, [label]) == {label: (data["tokens"][0]["id"],)}


@pytest.mark.parametrize(
    "data",
    [
        {"count": 3, "max_model_len": 4096, "tokens": [9259, 1902, 5]},  # vLLM
        {"tokens": []},
        {"tokens": None},
        {"error": "not found"},
        [],
    ],
)
def test_a_response_of_another_kind_is_an_error(data: object) -> None:
    with pytest.raises(ProviderError):
        parse_label_tokens(data, ["A"])


def test_the_bias_is_equal_and_the_samplers_change_no_ratio() -> None:
    assert bias_fields([7, 9]) == {
        "logit_bias": {"7": 100, "9": 100},
        "post_sampling_probs": True,
        "samplers": ["temperature"],
    }
