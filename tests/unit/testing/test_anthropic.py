"""The fake of Anthropic's service has the limits of the real one."""

from __future__ import annotations

import pytest

from localproviders import AnthropicProvider, RequestRejectedError
from localproviders.testing import FakeAnthropic, FakeModel


@pytest.mark.parametrize(("window", "longest"), [(4096, 4096), (200_000, 64_000)])
def test_the_longest_answer_is_64000_tokens_or_a_smaller_window(window: int, longest: int) -> None:
    with FakeAnthropic([FakeModel(name="m", context_length=window)]) as fake:
        with AnthropicProvider(fake.url, model="m") as provider:
            (listed,) = provider.list_models()
            assert (listed.raw["max_input_tokens"], listed.raw["max_tokens"]) == (window, longest)
            assert provider.chat("Hi", max_tokens=longest).text
            with pytest.raises(RequestRejectedError, match=f"{longest + 1} > {longest}"):
                provider.chat("Hi", max_tokens=longest + 1)
