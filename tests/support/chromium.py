"""A headless Chromium, controlled through the pipe of its debugging protocol."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

PROGRAM: Optional[str] = shutil.which("chromium") or shutil.which("chromium-browser")

#: The reason for which tests with a browser are skipped, or None.
WHY_MISSING: Optional[str] = None if PROGRAM else "chromium is not installed"

# Chromium reads commands from the file descriptor 3 and writes its answers to 4.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--proxy-server=127.0.0.1:9",  # whatever the browser itself would load
)


class Browser:
    """A browser with one tab. `events` has everything that the tab reported."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer, self._last_id, self._session = b"", 0, ""
        self.events: List[Dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Dict[str, Any]:
        """Send a command, and return its result. Events before it are kept."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._last_id:
                assert "error" not in found, found
                result: Dict[str, Any] = found["result"]
                return result
            self.events.append(found)

    def _read(self) -> Dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._answers, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: Dict[str, Any] = json.loads(message)
        return found

    def wait_for(self, method: str) -> Dict[str, Any]:
        """Return the next event of this name."""
        while True:
            found = self._read()
            self.events.append(found)
            if found.get("method") == method:
                return found

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Open a file in a window of this width, with a light or dark colour scheme."""
        self.events.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media="screen", features=features)
        self.send("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def named(self, method: str) -> List[Dict[str, Any]]:
        """Return the parameters of all events of this name since the page was opened."""
        return [each["params"] for each in self.events if each.get("method") == method]


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser whose profile is in this folder, and end it with all its processes."""
    assert PROGRAM is not None
    commands, answers = os.pipe(), os.pipe()
    environ = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _START, str(commands[0]), str(answers[1]), PROGRAM),
            *(*_OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"),
        ],
        pass_fds=(commands[0], answers[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        start_new_session=True,
    )
    os.close(commands[0])
    os.close(answers[1])
    try:
        yield Browser(commands[1], answers[0])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(commands[1])
        os.close(answers[0])
