"""Two real llama.cpp servers share the work of sixteen threads, and one of them is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from localproviders import CompletionResponse, LlamaCppProvider, LocalProvider
from localproviders.engine import LocalEngine, why_missing, why_unsupported

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
    pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL"),
]

_THREADS, _CALLS = 16, 48


def test_two_engines_share_the_work_and_one_is_killed() -> None:
    engines = [LocalEngine("chat", context_length=512) for _ in range(2)]
    with engines[0] as one, engines[1] as other:
        providers = [
            LlamaCppProvider(settings=provider.settings.replace(name=name))
            for name, provider in (("one", one), ("other", other))
        ]
        local = LocalProvider(providers, model="chat", strategy="balanced", timeout=300)
        done = threading.Semaphore(0)

        def ask(number: int) -> CompletionResponse:
            answer = local.chat(f"Count from {number}.", max_tokens=6, temperature=0)
            done.release()
            return answer

        with local, ThreadPoolExecutor(_THREADS) as pool:
            shared = Counter(answer.provider for answer in pool.map(ask, range(_CALLS)))
            assert sum(shared.values()) == _CALLS
            assert abs(shared["one"] - shared["other"]) <= 0.2 * _CALLS / 2

            for _ in range(_CALLS):
                done.acquire()
            answers = [pool.submit(ask, number) for number in range(_CALLS)]
            for _ in range(_CALLS // 4):
                assert done.acquire(timeout=120)
            assert engines[0].pid is not None
            os.kill(engines[0].pid, signal.SIGKILL)
            found = [answer.result(300) for answer in answers]
        assert all(answer.text for answer in found)
        assert {answer.provider for answer in found[-_THREADS:]} == {"other"}
        assert {answer.endpoint for answer in found} == {
            provider.settings.endpoint.url for provider in providers
        }
