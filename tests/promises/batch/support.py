"""A fake server that knows which rows it was asked about, and processes that run a batch."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional
from typing import Counter as Counts

from localproviders.testing import Exchange, FakeOllama

ROOT = Path(__file__).parents[3]


class AskedServer(FakeOllama):
    """A fake Ollama server that counts the chats about each row.

    Attributes:
        asked: Number of chats for each text.
        on_chat: Function that is called with the number of each chat; None does nothing.
    """

    def __init__(self) -> None:
        super().__init__(["llama3.2"])
        self.asked: Counts[str] = Counter()
        self.on_chat: Optional[Callable[[int], None]] = None
        self._count_lock = threading.Lock()
        self.usual = self._reply

    def _reply(self, exchange: Exchange) -> str:
        body = json.loads(exchange.body)
        text = str(body["messages"][-1]["content"])
        with self._count_lock:
            self.asked[text] += 1
            number = sum(self.asked.values()) if self.on_chat is not None else 0
        self.exchanges.clear()  # thousands of them would fill the memory of the test
        if self.on_chat is not None:
            self.on_chat(number)
        return f"answer to {text}"


def write_rows(path: Path, count: int) -> List[str]:
    """Write a source with this many rows; return their ids."""
    ids = [f"row-{number}" for number in range(count)]
    lines = [json.dumps({"id": name, "messages": f"text {name}"}) for name in ids]
    path.write_text("\n".join(lines) + "\n")
    return ids


class Runner:
    """Starts processes that run the same batch."""

    def __init__(self, folder: Path, url: str, **options: Any) -> None:
        self.output = folder / "out.jsonl"
        self.options: Dict[str, Any] = {
            "source": str(folder / "in.jsonl"),
            "output": str(self.output),
            "url": url,
            **options,
        }

    @contextlib.contextmanager
    def started(self, **more: Any) -> Iterator[subprocess.Popen[str]]:
        """Start a process; end it after the block."""
        command = [sys.executable, "-m", "tests.promises.batch.programs.run"]
        process = subprocess.Popen(
            [*command, json.dumps({**self.options, **more})],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def finish(self, **more: Any) -> Dict[str, Any]:
        """Run until the process ends by itself; return its report."""
        with self.started(**more) as process:
            out, error = process.communicate(timeout=600)
        assert out, error
        report: Dict[str, Any] = json.loads(out.splitlines()[-1])
        assert process.returncode == report["exit_code"], error
        return report

    def ids(self) -> Counts[str]:
        """Return how often each id is in the output."""
        lines = self.output.read_text().splitlines()
        return Counter(json.loads(line)["custom_id"] for line in lines)
