"""Read all facts of an examination, within one time limit. Only requests without prompts are sent.

The servers are asked at the same time, each in its own thread. If a part of the machine cannot be
read, the reason is recorded in `Facts.failures`.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar

from localproviders._http_provider.free_memory import free_bytes
from localproviders._interrupts import is_callers
from localproviders._parallel import ParallelWork
from localproviders._redact import one_line
from localproviders.config.cascade import Config
from localproviders.config.check import find_problems
from localproviders.discovery import Discovery, discover
from localproviders.doctor import asking, machine
from localproviders.doctor.facts import Facts, Failure
from localproviders.errors import ConfigurationError, ProviderError
from localproviders.types.requests import Locality

T = TypeVar("T")
# The name of a part of the machine, the function that reads it, and the result if that fails.
_Part = Tuple[str, Callable[[], Any], Any]

#: Seconds for all requests, and for the commands that print API keys, together.
DEFAULT_TIMEOUT_S = 10.0
# The share of the remaining time that reading the configuration may take. Later, the first requests
# to servers may take the same share of the time that is then left.
_SHARE = 0.5
# On a busy machine, reading a part may take this many seconds longer than its limit.
_GRACE_S = 1.0


class _Reader:
    """Reads the parts of the machine in threads, and collects the failures.

    Args:
        timeout_s: Seconds for all parts.
    """

    def __init__(self, timeout_s: float) -> None:
        self._ends_at = time.monotonic() + timeout_s
        self.failures: List[Failure] = []

    def left_s(self) -> float:
        """Return the seconds that are left; at least 0.01."""
        return max(self._ends_at - time.monotonic(), 0.01)

    def read(self, part: str, work: Callable[[], T], default: T) -> T:
        """Return the result of a function, or the default if it fails."""
        (result,) = self.read_all([(part, work, default)], self.left_s())
        found: T = result
        return found

    def read_all(self, parts: Sequence[_Part], seconds: float) -> Any:
        """Run functions at the same time; return their results, or the defaults of those that fail.

        If a function does not return in time, its thread is not stopped. It is a daemon thread, so
        it does not keep the program running.

        Args:
            parts: For each function the name of the part, the function, and the default.
            seconds: The time limit.
        """
        # Each function has its own thread: one that does not return must not delay the others.
        works: List[ParallelWork[Any]] = [ParallelWork([part[1]], 1) for part in parts]
        for work in works:
            work.start()
        until = min(time.monotonic() + seconds, self._ends_at) + _GRACE_S
        results = zip(works, parts)
        return [self._take(work, name, default, until) for work, (name, _, default) in results]

    def _take(self, work: ParallelWork[Any], part: str, default: Any, until: float) -> Any:
        def wait(ended: Any) -> None:
            if not ended.wait(max(until - time.monotonic(), 0)):
                raise TimeoutError("it did not end in time")

        try:
            return work.take(wait)
        except Exception as error:
            if is_callers(error):
                raise
            self.failures.append(Failure(part, one_line(f"{type(error).__name__}: {error}")))
            return default


def read_facts(
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    locality: Optional[Locality] = None,
    profile: Optional[str] = None,
    root: Path = Path("/"),
    now: Optional[datetime] = None,
    localhost: Callable[[], Tuple[str, ...]] = machine.resolve_localhost,
) -> Facts:
    """Read all facts about this machine, its servers and the configuration.

    The configuration is read as `Config.load` reads it; this runs the commands that print API keys.
    The servers of the search and of the configuration are asked for their lists of models. No model
    is loaded, and no prompt is sent. The parts that cannot be read are in `Facts.failures`.

    Args:
        timeout_s: Seconds for all requests and commands together.
        locality: Where requests may go; None uses the configured locality.
        profile: Name of the profile of the configuration; None uses ``LOCALPROVIDERS_PROFILE``.
        root: The directory that contains ``proc`` and ``sys``.
        now: The time; None uses the clock.
        localhost: Function that returns the addresses of ``localhost``.

    Raises:
        ConfigurationError: `timeout_s` is not a finite number above 0.
    """
    reader = _Reader(_checked(timeout_s))
    kernel: Dict[str, str] = reader.read("kernel", lambda: machine.read_kernel(root), {})
    config, config_errors = _read_config(reader, locality, profile)
    facts = Facts(
        environ=dict(os.environ),
        platform=sys.platform,
        now=now or datetime.now(timezone.utc),
        directory=_current_directory(),
        kernel=kernel,
        config=config,
        config_errors=config_errors,
    )
    seconds = reader.left_s() * _SHARE
    parts = _parts(facts, seconds, root, localhost)
    asks: List[_Part] = [
        (f"server {each.name}", partial(asking.ask_server, each, seconds), None)
        for each in asking.named_servers(config, facts.environ)
    ]
    results = reader.read_all([*parts, *asks], seconds)
    found: Dict[str, Any] = {part[0]: result for part, result in zip(parts, results)}
    found["search"], found["search_error"] = found["search"]
    asked = tuple(filter(None, results[len(parts) :]))
    return _with_models(replace(facts, asked=asked, **found), reader)


def _checked(timeout_s: float) -> float:
    is_number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
    if not is_number or not 0 < timeout_s < math.inf:
        raise ConfigurationError(
            f"timeout_s must be a finite number of seconds above 0, but is {timeout_s!r}",
            hint=f"leave it out: the default is {DEFAULT_TIMEOUT_S:g} s",
        )
    return float(timeout_s)


def _parts(
    facts: Facts, seconds: float, root: Path, localhost: Callable[[], Tuple[str, ...]]
) -> List[_Part]:
    """Return the parts that are read at the same time. Each has the name of a field of `Facts`."""
    kernel, environ, directory = facts.kernel, facts.environ, facts.directory
    return [
        ("search", lambda: _search(facts.config, seconds), (None, None)),
        ("localhost", localhost, None),
        ("disks", lambda: machine.read_disks(environ, _home(environ)), ()),
        ("netstat", lambda: machine.read_netstat(kernel, seconds), ""),
        ("free_memory_bytes", lambda: free_bytes(root), None),
        ("packages", machine.read_packages, {}),
        ("modules", lambda: machine.read_modules(directory), {}),
        ("locks", lambda: machine.read_locks(directory, kernel), ()),
        ("paths", lambda: machine.read_paths(environ), {}),
    ]


def _home(environ: Mapping[str, str]) -> Optional[Path]:
    text = environ.get("USERPROFILE" if sys.platform == "win32" else "HOME") or ""
    return Path(text) if os.path.isabs(text) else None


def _current_directory() -> Optional[str]:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the directory was deleted
        return None


def _read_config(
    reader: _Reader, locality: Optional[Locality], profile: Optional[str]
) -> Tuple[Optional[Config], Tuple[ProviderError, ...]]:
    """Return the configuration, or all problems that make it invalid."""

    def load() -> Tuple[Optional[Config], Tuple[ProviderError, ...]]:
        try:
            return Config.load(profile=profile, locality=locality), ()
        except ProviderError as error:
            problems: List[ProviderError] = [*find_problems(profile=profile)] or [error]
            return None, tuple(each.with_traceback(None) for each in problems)

    seconds = reader.left_s() * _SHARE
    found: Tuple[Optional[Config], Tuple[ProviderError, ...]]
    (found,) = reader.read_all([("configuration", load, (None, ()))], seconds)
    return found


def _search(
    config: Optional[Config], seconds: float
) -> Tuple[Optional[Discovery], Optional[ProviderError]]:
    """Search this machine and the configured addresses; return the result or the error."""
    locality = asking.locality_of(config)
    places = [] if config is None else [*config.endpoints, *config.project_endpoints]
    found: List[Optional[ProviderError]] = []
    # If a file that the configuration names for a server is missing, the whole search fails. So
    # search again without the configured addresses. Another finding reports the missing file.
    for endpoints in (places, []):
        try:
            return discover(endpoints, timeout_s=seconds, refresh=True, locality=locality), None
        except ProviderError as error:
            found.append(error.with_traceback(None))
            is_configured = bool(endpoints) and isinstance(error, ConfigurationError)
            if not is_configured:
                break
    return None, found[-1]


def _with_models(facts: Facts, reader: _Reader) -> Facts:
    """Add the facts about models, which need a second request to some servers."""
    wanted = asking.wanted_models(facts)
    questions = asking.model_questions(facts, wanted, reader.left_s())
    parts = [(f"models of {name}", ask, ()) for name, ask in questions]
    lists = reader.read_all(parts, reader.left_s())
    models = tuple(model for each in lists for model in each)
    return replace(facts, wanted=wanted, models=models, failures=tuple(reader.failures))
