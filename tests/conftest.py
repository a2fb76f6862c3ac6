"""Fixtures and settings for all tests: a clean environment, default signals, fixed examples."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import tempfile
from typing import Iterator, List

import pytest

from localproviders import discover
from tests.support import covering, depth
from tests.support.fake_time import FakeTime, fake_time


def pytest_configure(config: pytest.Config) -> None:
    """Choose the number of Hypothesis examples, and restore ignored signals."""
    depth.choose(slow="not slow" not in config.getoption("markexpr"))
    _restore_signals()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Mark cases as slow before pytest deselects the slow ones."""
    covering.sample(items)


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, which some tests run very often."""
    gc.collect()
    # The Hypothesis release for Python 3.8 searches for the objects that refer to its random number
    # generator, and does not find them in a frozen heap.
    if sys.version_info >= (3, 9):
        gc.freeze()


def _restore_signals() -> None:
    """Restore the default handlers of signals that this process inherited as ignored or blocked.

    A shell that starts a job with ``&`` ignores SIGINT and SIGQUIT in it, and a supervisor may
    ignore or block more. Child processes inherit that, so it is undone before the first test
    starts one. A user who starts the tests with ``nohup`` wants them to continue after SIGHUP: a
    handler that does nothing keeps them alive, and child processes get the default.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for name in ("SIGINT", "SIGQUIT", "SIGTERM", "SIGALRM", "SIGCHLD"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            own = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(number, own)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


_FOREIGN = ("OLLAMA_HOST", "OLLAMA_API_KEY", "LM_API_TOKEN", "LMSTUDIO_API_TOKEN")
_OURS = "LOCALPROVIDERS_"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The variables that configure the tests themselves were read when the tests were imported.
    ours = [name for name in os.environ if name.startswith(_OURS)]
    for name in (*_FOREIGN, *ours, *_PROXIES, *(name.lower() for name in _PROXIES)):
        monkeypatch.delenv(name, raising=False)
    # No test reads the configuration of the user of this machine.
    monkeypatch.setenv("XDG_CONFIG_HOME", os.path.abspath(os.path.join(os.sep, "nowhere")))


@pytest.fixture(autouse=True)
def _patient_search(monkeypatch: pytest.MonkeyPatch) -> None:
    # One second is enough for the servers of a user, but not on a machine whose cores are busy with
    # other tests. A test of the limit passes its own.
    monkeypatch.setitem(vars(discover)["__wrapped__"].__kwdefaults__, "timeout_s", 10.0)
    monkeypatch.setattr("localproviders.local.servers.SEARCH_S", 10.0)


@pytest.fixture
def socket_path() -> Iterator[str]:
    """Return a free path for a UNIX socket. `tmp_path` may be too long for one."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no UNIX sockets")
    with tempfile.TemporaryDirectory(prefix="lp-") as folder:
        yield os.path.join(folder, "s.sock")


@pytest.fixture
def fake_clock() -> Iterator[FakeTime]:
    """Let calls use a clock that advances only while they wait for a silent server."""
    with fake_time() as clock:
        yield clock
