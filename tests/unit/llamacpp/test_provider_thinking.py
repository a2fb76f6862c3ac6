"""`LlamaCppProvider` and the switch of thinking in the template of the model."""

from __future__ import annotations

import pytest

from localproviders import LlamaCppProvider
from localproviders.testing import FakeLlamaCpp, FakeModel, Reply


@pytest.mark.parametrize(("thinking", "is_warned"), [("one two", False), ("", True)])
def test_an_answer_without_thinking_has_a_warning(thinking: str, is_warned: bool) -> None:
    with FakeLlamaCpp([FakeModel(name="m", abilities=("chat", "thinking"))]) as fake:
        fake.reply_with(Reply(text="Yes.", thinking=thinking))
        with LlamaCppProvider(fake.url, model="m") as provider:
            answer = provider.chat("Hi", thinking=True)
    assert (answer.text, answer.thinking) == ("Yes.", thinking)
    assert [("the answer has no thinking" in each) for each in answer.warnings] == [
        True
    ] * is_warned
