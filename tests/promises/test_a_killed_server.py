"""A server is killed during a stream: the next call falls back, and logs and metrics report it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from localproviders import LocalProvider, OllamaProvider, StreamInterruptedError
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.exporters import LogListener, TextfileExporter
from localproviders.provider import ModelProvider
from localproviders.testing import FakeOllama
from tests.support.locality import PROMPT

_REASON = why_unsupported() or why_missing()

_SERVER = """
import sys
from localproviders.testing import FakeOllama, Reply
with FakeOllama(["rare"]) as fake:
    fake.reply_with(Reply(text="word " * 5000, pause_s=0.05))
    print(fake.url, flush=True)
    sys.stdin.read()
"""


class Victim(NamedTuple):
    """A server in a separate process that a test kills.

    Attributes:
        provider: Its provider.
        model: A model that no other server has.
        kill: Kills the process.
        endless: Arguments of a call whose response does not end before that.
    """

    provider: ModelProvider
    model: str
    kill: Callable[[], None]
    endless: Mapping[str, Any]


@contextlib.contextmanager
def _fake() -> Iterator[Victim]:
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def kill() -> None:
            process.kill()
            process.wait()

        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            yield Victim(OllamaProvider(url, name="rare"), "rare", kill, {})
        finally:
            kill()


@contextlib.contextmanager
def _engine() -> Iterator[Victim]:
    engine = LocalEngine("chat")
    endless = {"max_tokens": 8000, "extra_body": {"grammar": 'root ::= "a"+'}}
    with engine as provider:

        def kill() -> None:
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            # Wait for its end: a dying process may still accept a connection, and the error of the
            # next call would be another one.
            os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)

        yield Victim(provider, "chat", kill, endless)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "victim",
    [
        _fake,
        pytest.param(
            _engine,
            marks=[
                pytest.mark.engine,
                pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
            ],
        ),
    ],
)
def test_the_next_call_falls_back_and_is_logged_and_counted(
    victim: Callable[[], contextlib.AbstractContextManager[Victim]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "nightly.prom"
    listeners = (LogListener(), TextfileExporter(file))
    with victim() as rare, FakeOllama(["common"]) as fake, LocalProvider(
        [OllamaProvider(fake.url), rare.provider],
        aliases={"best": (rare.model, "ollama/common")},
        model="best",
        listeners=listeners,
    ) as local, caplog.at_level(logging.WARNING, "localproviders"):
        with local.stream(PROMPT, **rare.endless) as story:
            assert next(chunk for chunk in story if chunk.text).text
            rare.kill()
            with pytest.raises(StreamInterruptedError) as caught:
                list(story)
        assert caught.value.retryable  # the same call succeeds after a restart
        assert (
            caught.value.partial
        )  # a response that has begun is not requested from another server
        answer = local.chat(PROMPT)
        again = local.chat(PROMPT)

    assert (answer.provider, answer.model) == ("ollama", "common")
    (tried,) = [each for each in answer.tried if each.provider == rare.provider.name]
    assert (tried.model, tried.error) == (rare.model, "UnreachableError")
    assert again.provider == "ollama"

    (message,) = [record.getMessage() for record in caplog.records]
    assert rare.provider.name in message and "continuing with ollama" in message
    assert PROMPT not in message

    families = text_string_to_metric_families(file.read_text("utf-8"))
    (fallback,) = [
        sample
        for family in families
        for sample in family.samples
        if sample.name == "localproviders_fallbacks_total"
    ]
    assert fallback.value == 1
    assert (fallback.labels["provider"], fallback.labels["to_provider"]) == (
        rare.provider.name,
        "ollama",
    )
