"""A machine for the tests of an examination: its servers, files, variables and kernel files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Tuple, TypeVar

import pytest

from localproviders.discovery import forget
from localproviders.doctor import Facts, Report, diagnose, read_facts
from localproviders.testing import FakeModel, FakeOllama, ScriptedServer

Server = TypeVar("Server", bound=ScriptedServer)

#: Variables of the machine on which the tests run, which an examination would report.
FOREIGN = (
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"),
    *("container", "OLLAMA_MODELS", "OLLAMA_ORIGINS"),
)
NOW = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)
ZEROS = "0" * 24

_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def socket_line(address: str, port: int, state: str = "0A") -> str:
    """Return a line of ``/proc/net/tcp`` for an address as the kernel writes it."""
    return f"   0: {address}:{port:04X} {'0' * len(address)}:0000 {state} 00000000:00000000\n"


class Machine:
    """A machine without trouble: one Ollama with one model, and enough memory.

    Attributes:
        home: The home directory. The current directory is ``project`` in it.
        root: The directory with the kernel's files.
        ollama: The server.
        patch: Sets variables.
        changes: Facts that cannot be planted here: fields of `Facts` that replace those that were
            read, or a function that makes them.
        options: Arguments of `read_facts`.
    """

    def __init__(self, stack: ExitStack, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._stack = stack
        self.patch = patch
        self.home, self.root = folder / "home", folder / "root"
        self.work = self.home / "project"
        self.work.mkdir(parents=True, mode=0o755)
        self.ports: Dict[int, str] = {}
        self.changes: Callable[[Facts], Dict[str, Any]] = lambda _: {}
        self.options: Dict[str, Any] = {
            "timeout_s": 60.0,
            "now": NOW,
            "localhost": lambda: ("127.0.0.1", "::1"),
        }
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(self.home))
        patch.setenv("XDG_CONFIG_HOME", str(self.home / ".config"))
        patch.chdir(self.work)
        patch.setattr("localproviders.discovery.candidates.usual_ports", lambda: self.ports)
        self.write("proc/meminfo", "MemAvailable:   32000000 kB\n")
        self.write("proc/version", "Linux version 6.1.0 (debian)\n")
        self.write("proc/net/tcp", _HEAD)
        self.ollama = self.start(FakeOllama([FakeModel(name="llama3.2")]))

    def start(self, server: Server, *, usual: bool = True) -> Server:
        """Start a server; `usual` says whether the search asks its port."""
        started: ContextManager[Server] = server  # type: ignore[assignment]  # it is its own manager
        self._stack.enter_context(started)
        if usual:
            self.ports[server.port] = "a server"
        return server

    def stop(self) -> None:
        """Stop the usual server."""
        self.ollama.stop()

    def write(self, path: str, text: str) -> Path:
        """Write a file of the kernel."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="ascii")
        return file

    def listen(self, table: str, *lines: str) -> None:
        """Write the listening sockets of the kernel."""
        self.write(f"proc/net/{table}", _HEAD + "".join(lines))

    def configure(self, text: str, mode: int = 0o600) -> Path:
        """Write the configuration of the user."""
        file = self.home / ".config" / "localproviders" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        return file

    def feed(self, **changes: Any) -> None:
        """Replace facts that cannot be planted on this machine."""
        self.changes = lambda _: changes

    def facts(self) -> Facts:
        """Read the facts about this machine."""
        forget()
        facts = read_facts(root=self.root, **self.options)
        return replace(facts, **self.changes(facts))

    def examine(self, *, strict: bool = False) -> Report:
        """Examine this machine."""
        return diagnose(self.facts(), strict=strict)


def troubles_of(report: Report) -> Tuple[str, ...]:
    """Return the findings of a report that are not ``ok``, as lines."""
    return tuple(str(each) for each in report.findings if each.mark != "ok")
