"""Impossible token counts of a server are not added to a counter, and break none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

from localproviders.exporters import TextfileExporter, measures
from localproviders.telemetry import CallEvent
from localproviders.testing.answers import Answer
from localproviders.testing.faults import Fault
from tests.support.asking import PROVIDERS
from tests.unit.exporters.support import FACTS

_FIELDS = ("prompt_tokens", "completion_tokens", "prompt_eval_count", "eval_count")
_IMPOSSIBLE = (-1, -(10**300), 2**63, 9 * 10**307, -5.0, 1e300)


def _counting(value: Any) -> Fault:
    """Return a fault in which each token count has this value."""

    def change(record: Dict[str, Any]) -> Dict[str, Any]:
        usage = record.get("usage")
        changed = {name: value for name in _FIELDS if name in record}
        more = {"usage": dict.fromkeys(usage, value)} if isinstance(usage, dict) else {}
        return {**record, **changed, **more}

    def spoil(answer: Answer) -> Any:
        return answer.each_changed(change).steps()

    return Fault(f"count {value}", spoil)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("fake_of", "provider_of"),
    [PROVIDERS["ollama"], PROVIDERS["openai"]],
    ids=["ollama", "openai"],
)
@pytest.mark.parametrize("value", _IMPOSSIBLE)
def test_an_impossible_count_is_none_and_the_next_one_counts(
    fake_of: Any, provider_of: Any, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "script.prom"
    counts = [_chat(fake_of, provider_of, path, each) for each in (value, value, 5)]
    assert counts == [(None, None), (None, None), (5, 5)]
    samples = measures.parse(path.read_text("utf-8"))
    tokens = [count for (name, _), count in samples.items() if name.endswith("_tokens_total")]
    assert tokens == [5, 5]
    assert [n for (name, _), n in samples.items() if name.endswith("_calls_total")] == [3]


def _chat(fake_of: Any, provider_of: Any, path: Path, value: Any) -> Tuple[Any, Any]:
    """Return the token counts of a call whose server reports this value."""
    with fake_of() as fake, provider_of(fake.url, listeners=[TextfileExporter(path)]) as provider:
        fake.break_next(_counting(value), times=None, path="/")
        usage = provider.chat("hello", model=fake.models[0].name).usage
    return usage.prompt_tokens, usage.completion_tokens


def test_a_sum_past_every_float_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = TextfileExporter(tmp_path / "script.prom")
    facts: Dict[str, Any] = {**FACTS, "kind": "finished", "prompt_tokens": 10**308}
    event = CallEvent(**facts)
    with caplog.at_level(logging.WARNING, "localproviders"):
        for _ in range(3):
            exporter(event)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
