"""A fake server that knows which rows it was asked about, and processes that run a batch."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
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


def kill_at(server: AskedServer, processes: List[int], moments: List[int]) -> None:
    """Let the server kill the newest process when these numbers of chats arrive."""
    chosen = random.Random(len(moments))

    def on_chat(number: int) -> None:
        if moments and number >= moments[0] and processes:
            moments.pop(0)
            # The client is at a random point of its work when the signal arrives.
            for _ in range(chosen.randrange(20_000)):
                pass
            os.kill(processes.pop(), signal.SIGKILL)

    server.on_chat = on_chat


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
        process = subprocess.Popen(
            self._words({**self.options, **more}),
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

    def _words(self, options: Dict[str, Any]) -> List[str]:
        command = [sys.executable, "-m", "tests.promises.batch.programs.run"]
        return [*command, json.dumps(options)]

    def finish(self, **more: Any) -> Dict[str, Any]:
        """Run until the process ends by itself; return its report."""
        with self.started(**more) as process:
            out, error = process.communicate(timeout=600)
        assert out, error
        report: Dict[str, Any] = json.loads(out.splitlines()[-1])
        assert process.returncode == report.setdefault("exit_code", process.returncode), error
        return report

    def ids(self) -> Counts[str]:
        """Return how often each id is in the output."""
        lines = self.output.read_text().splitlines()
        return Counter(json.loads(line)["custom_id"] for line in lines)


class CommandRunner(Runner):
    """Starts the command ``localproviders batch run`` instead of a program in Python."""

    def _words(self, options: Dict[str, Any]) -> List[str]:
        given = dict(options)
        source, output, url = (given.pop(name) for name in ("source", "output", "url"))
        limit = given.pop("limit_bytes", None)
        words = [sys.executable, "-m", "localproviders", "batch", "run", source, "-o", output]
        words += ["-m", "llama3.2", "--host", f"ollama={url}", "--json"]
        for name, value in given.items():
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        if limit is None:
            return words
        blocks = limit // 512  # the unit of the shell
        return ["/bin/sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *words]
