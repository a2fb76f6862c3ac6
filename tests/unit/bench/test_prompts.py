from __future__ import annotations

import pytest

from localproviders.bench.prompts import Prompts, Scale, scale_of


def test_no_two_prompts_begin_alike() -> None:
    prompts = Prompts()
    made = [prompts.next(200) for _ in range(50)]
    shared = max(
        next(i for i, pair in enumerate(zip(one, other)) if pair[0] != pair[1])
        for one in made
        for other in made
        if one is not other
    )
    assert shared < 8  # less than the number at the beginning
    assert len({prompt.split(" ", 1)[1] for prompt in made}) == 50


def test_two_runs_have_different_prompts_unless_a_seed_is_given() -> None:
    assert Prompts().next(20) != Prompts().next(20)
    assert Prompts(1).next(20) == Prompts(1).next(20)


def test_a_prompt_has_the_words_and_the_task() -> None:
    prompt = Prompts().next(30)
    words, _, task = prompt.partition("\n\n")
    assert len(words.split()) == 31  # with the number
    assert task.startswith("Write")


@pytest.mark.parametrize("tokens", [128, 512, 2048])
def test_the_scale_finds_the_words_for_a_number_of_tokens(tokens: int) -> None:
    scale = scale_of(20, 50, 80, 140)  # 1.5 tokens a word, and 20 for the template
    assert scale is not None
    assert scale.base + scale.per_word * scale.words(tokens) == pytest.approx(tokens, abs=1)


def test_a_prompt_has_at_least_one_word() -> None:
    assert Scale(base=180, per_word=1).words(128) == 1


@pytest.mark.parametrize(("few", "many"), [(None, 90), (90, None), (90, 90), (90, 80)])
def test_without_counts_that_grow_there_is_no_scale(few: int, many: int) -> None:
    assert scale_of(20, few, 80, many) is None
