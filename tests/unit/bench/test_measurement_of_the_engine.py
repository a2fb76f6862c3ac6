"""A measurement of a real llama.cpp server with a real small model."""

from __future__ import annotations

import threading
from statistics import median
from typing import Any, Dict, List, Tuple

import pytest

from localproviders import CompletionResponse, LocalEngine
from localproviders.bench import Plan, from_jsonl, measure, to_jsonl, to_page, to_table
from localproviders.engine import why_missing, why_unsupported

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

_PLAN = Plan(lengths=(256, 512, 4096), at_once=(1, 2), rounds=2, max_tokens=16, loads=1)


def test_the_figures_are_those_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: List[Tuple[str, CompletionResponse]] = []
    with LocalEngine("chat") as provider:
        complete = provider.complete

        def record(request: Any, **how: Any) -> CompletionResponse:
            answer = complete(request, **how)
            answers.append((request.messages[0].content, answer))
            return answer

        monkeypatch.setattr(provider, "complete", record)
        results = measure(provider, plan=_PLAN, deadline_s=600)
        version = provider.version()

    cells = {cell.key: cell for cell in results.cells}
    # The order: two prompts for the warm-up, and then 1 + 1 + 1 + 2 requests in each round.
    assert len(answers) == 2 + 2 * 5
    rounds: Dict[int, List[CompletionResponse]] = {
        256: [answers[2][1], answers[7][1]],
        512: [answers[3][1], answers[8][1]],
    }
    for size, responses in rounds.items():
        cell = cells["prompt", size]
        counts = [answer.usage.prompt_tokens or 0 for answer in responses]
        assert cell.prompt_tokens == round(median(counts))
        assert counts == pytest.approx([size, size], rel=0.1)
        assert cell.figures["prompt_tokens_per_s"].values == pytest.approx(
            [
                ((answer.usage.prompt_tokens or 0) - (answer.usage.cached_tokens or 0))
                / (answer.server_timings.prompt_s or 0)
                for answer in responses
            ]
        )
        assert cell.clock == "server"
    assert cells["at_once", 2].figures["total_tokens_per_s"].low > 0

    # No prompt was in the cache, except for the chat template, which begins all of them.
    assert len({text.split()[0] for text, _ in answers}) == len(answers)
    cached = [answer.usage.cached_tokens or 0 for _, answer in answers[2:]]
    assert max(cached) < 256

    (note,) = cells["prompt", 4096].notes
    assert note.startswith("prompt and answer need 4112 tokens, and the context window has 2048")
    assert "unload" in cells["load", 0].notes[0]
    environment = results.environment
    assert (environment.server, environment.server_version) == ("llama.cpp's server", version)
    assert (environment.model, environment.context_length) == ("chat", 2048)
    assert from_jsonl(to_jsonl(results)) == results
    assert max(map(len, to_table(results).splitlines())) <= 80
    assert "chat" in to_page(results, results)
    assert not [each for each in threading.enumerate() if each.name == "localproviders-tool"]
