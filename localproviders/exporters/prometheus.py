"""Events as Prometheus' metrics: in a file for node_exporter, or in a live registry."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Optional, Tuple, Union

from localproviders.errors import ConfigurationError, DependencyError
from localproviders.exporters import textformat
from localproviders.exporters.measures import METRICS, changes, writable
from localproviders.telemetry import CallEvent

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# Another process holds the file for some milliseconds; one that was stopped, for ever.
_LOCK_S = 1.0
_LOCK_STEP_S = 0.01

_log = logging.getLogger("localproviders")


class TextfileExporter:
    """Keeps a file of metrics for the textfile collector of Prometheus' node_exporter.

    The file is replaced as a whole at the end of each call, so its reader never sees half of
    it, and a job that is killed has told all calls but the last. What is in the file counts
    on: its counters never go backwards, however many runs, processes and threads share it.
    A file that cannot be written later is a warning of the logger ``localproviders``, once;
    what it lacks is in the next one.

    Args:
        path: The file; its name ends in ``.prom``. node_exporter must be allowed to read it:
            a new one gets the rights that the umask leaves.
        labels: Labels for every sample. Two files in one folder must differ in some, such as
            ``{"script": "nightly"}``: node_exporter refuses the same sample twice.

    Raises:
        ConfigurationError: There is no such folder, or it cannot be written to; the file holds
            something else; or a label is not one, or one of this exporter's own.
    """

    def __init__(
        self, path: Union[str, os.PathLike[str]], labels: Optional[Mapping[str, str]] = None
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        _check_labels(labels or {})
        self.labels = {name: writable(value) for name, value in (labels or {}).items()}
        self._begin()
        self._warned = False
        self._check_path()

    def __call__(self, event: CallEvent) -> None:
        """Count an event; at the end of a call, write the file."""
        found = textformat.samples_of(changes(event), self.labels)
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            textformat.add(self._pending, found)
        if event.kind in ("finished", "failed", "fell_back"):
            self._write()

    def _begin(self) -> None:
        # A forked process counts its own; and a lock that was held in the fork stays locked.
        self._process = os.getpid()
        self._pending: textformat.Samples = {}
        self._lock = threading.RLock()  # a signal handler may call while it is held

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.path, self.labels)

    def _check_path(self) -> None:
        if not self.path.endswith(".prom"):
            raise ConfigurationError(
                f"{self.path!r} does not end in .prom", hint="node_exporter reads nothing else"
            )
        try:
            with _temporary(os.path.realpath(self.path)):
                self._read()
        except OSError as error:
            raise ConfigurationError(
                f"{self.path!r} cannot be written: {error.strerror or type(error).__name__}",
                hint="make its folder, and let this user write there",
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"{self.path!r} holds something else: {error}",
                hint="choose another name, or remove the file",
            ) from None

    def _read(self) -> textformat.Samples:
        try:
            with open(self.path, encoding="utf-8", newline="") as file:
                return textformat.parse(file.read())
        except FileNotFoundError:
            return {}

    def _write(self) -> None:
        try:
            # A link's own folder is not the one that others lock.
            with self._lock, _alone(os.path.dirname(os.path.realpath(self.path))):
                self._add_to_file()
        except (OSError, ValueError) as error:
            if not self._warned:
                self._warned = True
                _log.warning("%s could not be written: %s", self.path, type(error).__name__)

    def _add_to_file(self) -> None:
        samples = self._read()
        pending, self._pending = self._pending, {}
        try:
            textformat.add(samples, pending)
            _replace(self.path, textformat.write(samples))
        except BaseException:
            textformat.add(self._pending, pending)
            raise


class PrometheusExporter:
    """Counts in a registry of ``prometheus_client``, for scripts that Prometheus can scrape.

    The metrics are those of `TextfileExporter`. Starting the server that is scraped is the
    script's own business (``prometheus_client.start_http_server``).

    Args:
        registry: Where the metrics are registered; None for the library's own.

    Raises:
        DependencyError: ``prometheus_client`` is not installed.
        ConfigurationError: The registry has these metrics already: one exporter serves all
            providers.
    """

    def __init__(self, registry: Optional[CollectorRegistry] = None) -> None:
        try:
            import prometheus_client as library
        except ImportError:
            raise DependencyError(
                "PrometheusExporter needs prometheus_client, which is not installed",
                hint='install the extra "prometheus": python -m pip install prometheus_client',
            ) from None
        kinds: Mapping[str, Any] = {
            "counter": library.Counter,
            "gauge": library.Gauge,
            "histogram": library.Histogram,
        }
        registry = library.REGISTRY if registry is None else registry
        self._metrics: Dict[str, Any] = {}
        try:
            for metric in METRICS:
                more = {"buckets": metric.buckets} if metric.buckets else {}
                self._metrics[metric.name] = kinds[metric.kind](
                    metric.name, metric.help, metric.labels, registry=registry, **more
                )
        except ValueError as error:
            raise ConfigurationError(
                f"the registry cannot take these metrics: {error}",
                hint="make one PrometheusExporter, and give it to all providers",
            ) from None

    def __call__(self, event: CallEvent) -> None:
        """Count an event."""
        for metric, labels, value in changes(event):
            child = self._metrics[metric.name].labels(**labels)
            verbs = {"counter": "inc", "gauge": "set", "histogram": "observe"}
            getattr(child, verbs[metric.kind])(value)


def _check_labels(labels: Mapping[str, str]) -> None:
    own = {name for metric in METRICS for name in metric.labels} | {"le"}
    for name, value in labels.items():
        if not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", name) or not isinstance(value, str):
            raise ConfigurationError(
                f"{name!r} with a {type(value).__name__} is no label",
                hint="a name has letters, digits and underscores; a value is text",
            )
        if name in own:
            raise ConfigurationError(
                f"the label {name!r} is one of the exporter's own", hint="choose another name"
            )


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[str]:
    """Give the name of a new file in the same folder, which is gone behind the block."""
    name = os.path.join(os.path.dirname(path), f".localproviders-{secrets.token_hex(8)}.tmp")
    # Not tempfile's: those are for their owner only, and node_exporter is another user.
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(name)


def _replace(path: str, text: str) -> None:
    """Put a text in the place of a file, so that a reader sees the old or the new one whole."""
    path = os.path.realpath(path)
    with _temporary(path) as name:
        with open(name, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(name, os.stat(path).st_mode & 0o777)
        os.replace(name, path)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep other processes that write into this folder waiting, where the system can.

    Raises:
        TimeoutError: Another one has been writing for a second.
    """
    try:
        import fcntl
    except ImportError:  # Windows: processes that end at one moment can lose a count
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # What cannot be locked, such as some shared folders, is written to all the same.
        with contextlib.suppress(_NotLockable):
            _wait_for(lambda: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)  # and with it the lock


class _NotLockable(Exception):  # noqa: N818  # no error: it is caught where it is raised
    """The file system knows no locks."""


def _wait_for(lock: Callable[[], object]) -> None:
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            lock()
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise TimeoutError from None
        except OSError:
            raise _NotLockable from None
        time.sleep(_LOCK_STEP_S)
