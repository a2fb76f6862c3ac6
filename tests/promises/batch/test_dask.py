"""A dask cluster of four worker processes, of which one is killed in the middle.

It runs only where the package `distributed` is installed.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from localproviders import OllamaProvider, batch
from tests.promises.batch.support import AskedServer, write_rows

distributed: Any = pytest.importorskip("distributed", reason="needs the package distributed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX"),
    # The cluster is not ours.
    pytest.mark.filterwarnings("default"),
]


def test_a_killed_worker_of_a_cluster_costs_no_row(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 400)
    output = tmp_path / "out.jsonl"
    options: Any = {"n_workers": 4, "threads_per_worker": 1, "dashboard_address": None}
    with AskedServer() as server, distributed.LocalCluster(**options) as cluster:
        with distributed.Client(cluster) as client:
            pids = list(client.run(os.getpid).values())
            assert len({*pids}) == 4
            server.on_chat = lambda number: (
                os.kill(pids[0], signal.SIGKILL) if number == 150 else None
            )
            with OllamaProvider(server.url, model="llama3.2") as provider:
                report = batch.run(
                    tmp_path / "in.jsonl",
                    output,
                    provider,
                    executor=client.get_executor(),
                    concurrency=8,
                )
    assert (report.succeeded, report.failed) == (400, 0)
    found = Counter(record.id for record in batch.read(output))
    assert found == Counter(ids)
    assert sum(server.asked.values()) <= 400 + 8
