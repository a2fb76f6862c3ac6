"""Batches over the real engine, killed three times: each row has one result at the end."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from localproviders import LlamaCppProvider, batch
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from tests.promises.batch.support import Runner

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
    pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX"),
]

_KILLS = 3


def _write(path: Path, rows: List[Dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _run_with_kills(runner: Runner, rows: int) -> Dict[str, Any]:
    """Kill the run after parts of the rows, and then finish it."""
    for part in range(1, _KILLS + 1):
        with runner.started(progress=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip().isdigit() and int(line) >= rows * part // (_KILLS + 1):
                    process.kill()
                    break
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert batch.status(runner.output).succeeded < rows
    return runner.finish()


def _options(engine: LlamaCppProvider) -> Dict[str, Any]:
    key = engine.settings.api_key
    return {
        "kind": "llamacpp",
        "model": engine.list_models()[0].name,
        "api_key": None if key is None else key.reveal(),
    }


def test_five_hundred_classifications(tmp_path: Path) -> None:
    rows: List[Dict[str, Any]] = [
        {"id": f"r{n}", "state": f"Order {n} {'was charged twice' if n % 2 else 'is late'}."}
        for n in range(500)
    ]
    rows = [{**row, "method": "logprobs", "min_mass": 0.0} for row in rows]
    _write(tmp_path / "in.jsonl", rows)
    questions = {"team": ["billing", "shipping"]}
    with LocalEngine("chat", context_length=4096) as engine:
        url = engine.settings.endpoint.url
        runner = Runner(tmp_path, url, questions=questions, **_options(engine))
        report = _run_with_kills(runner, 500)
    assert (report["succeeded"], report["rows"]) == (500, 500)
    assert runner.ids() == dict.fromkeys((f"r{n}" for n in range(500)), 1)
    for record in batch.read(runner.output):
        assert record.decisions["team"].choice in ("billing", "shipping")


def test_two_thousand_embeddings(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"text number {n}"} for n in range(2000)]
    _write(tmp_path / "in.jsonl", rows)
    with LocalEngine("embedding") as engine:
        runner = Runner(tmp_path, engine.settings.endpoint.url, **_options(engine))
        report = _run_with_kills(runner, 2000)
        expected = engine.embed(["text number 7"])[0]
    assert (report["succeeded"], report["rows"]) == (2000, 2000)
    assert runner.ids() == dict.fromkeys((f"r{n}" for n in range(2000)), 1)
    found = {record.id: record for record in batch.read(runner.output)}
    similarity = sum(a * b for a, b in zip(found["r7"].vector, expected))
    assert similarity > 0.99
