"""Export of events as Prometheus metrics: to a file for node_exporter, or to a live registry."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import secrets
import stat
import threading
import time
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    TextIO,
    Tuple,
    Union,
)

from localproviders._interrupts import is_callers
from localproviders._lock import wait_for_lock
from localproviders._redact import one_line
from localproviders._signatures import exact_keywords
from localproviders.errors import ConfigurationError, DependencyError
from localproviders.exporters import measures
from localproviders.exporters.measures import (
    BATCH_METRICS,
    CALL_METRICS,
    METRICS,
    Change,
    batch_changes,
    changes,
    encodable,
    run_changes,
)
from localproviders.telemetry import CallEvent

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from localproviders.batch.report import BatchReport
else:
    CollectorRegistry = Any  # the package is optional
    BatchReport = Any  # not imported for scripts without batches

# Seconds to wait for the lock. A running process holds the lock for a few milliseconds, but a
# suspended process may hold it for ever.
_LOCK_WAIT_S = 1.0

# Maximum length in characters of a file that is read. A file with the metrics of a few hundred
# models has roughly a hundredth of this length. Another program may have written a larger file.
_MAX_FILE_LENGTH = 16 * 1024 * 1024

_TEMPORARY_NAME = re.compile(r"\.localproviders-[0-9a-f]{16}\.tmp")

_Path = Union[str, "os.PathLike[str]"]

_log = logging.getLogger("localproviders")


class TextfileExporter:
    """A listener that writes metrics to a file for the textfile collector of node_exporter.

    The file is replaced atomically at the end of each call, so a reader never sees an incomplete
    file. If a job is killed, only its last call is missing in the file. The counters continue from
    the values in the file: they never decrease, even if several runs, processes and threads share
    the file. But on Windows, and on network folders without locks, counts can be lost if several
    processes write at the same time. If the file cannot be written at the end of a call, the
    missing values are written at the end of a later call. Only the first failure of this kind is
    logged, as a warning of the logger ``localproviders``.

    Args:
        path: Path of the file. The name must end in ``.prom``. node_exporter must be allowed to
            read the file. A new file has the permissions that the umask allows.
        labels: Labels for all samples. Two files in one folder must differ in at least one label,
            such as ``{"script": "nightly"}``, because node_exporter refuses duplicate samples.
        interval_s: Seconds after a write during which the end of a call causes no other write.
            Each write takes about a millisecond. With 0, each call is written; with more, a batch
            is faster, but the calls of the last interval are missing if the job is killed or does
            not end with `record_run` or `record_batch`.

    Raises:
        ConfigurationError: The path does not end in ``.prom``, the folder does not exist or cannot
            be written to, the file is a symbolic link or has other content, a label is invalid or
            has a name that this exporter uses, or `interval_s` is not a number of at least 0.
    """

    @exact_keywords
    def __init__(
        self, path: _Path, labels: Optional[Mapping[str, str]] = None, *, interval_s: float = 0.0
    ) -> None:
        self.path: str = os.path.abspath(os.fspath(path))
        self.interval_s: float = _checked_interval(interval_s)
        _check_labels(labels or {})
        self.labels: Dict[str, str] = {
            name: encodable(value) for name, value in (labels or {}).items()
        }
        self._reset()
        self._has_warned = False
        self._check_path()

    def __call__(self, event: CallEvent) -> None:
        """Add an event to the metrics. At the end of a call, write the file."""
        self._add(changes(event))
        if event.kind in ("finished", "failed", "fell_back") and self._is_due():
            self._write()

    def record_run(self, verb: str, exit_code: int) -> None:
        """Write the end of a run of the command to the file.

        ``localproviders --metrics-file`` calls this method at the end of a run, even if the run
        called no model. The time of the last success is written only for the exit code 0, so the
        earlier time stays in the file after a failed run. If the file cannot be written, this is
        logged, as at the end of a call.

        Args:
            verb: The verb of the command, such as ``chat``. It is the value of the label ``verb``.
            exit_code: The exit code.
        """
        self._add(run_changes(verb, exit_code))
        self._write()

    def record_batch(self, report: BatchReport) -> None:
        """Write the metrics of a batch to the file: counts of rows, and what took most of its time.

        Pass this method to `batch.run` as ``on_progress``. A report during the run is written only
        if `interval_s` seconds have passed since the last write. The report at the end is always
        written. A failure to write the file is logged, like a failure after a call.

        Args:
            report: The final report, or a report during the batch.
        """
        self._add(batch_changes(report))
        is_end = report.stopped is not None or report.succeeded + report.failed >= report.rows
        if is_end or self._is_due():
            self._write()

    def _is_due(self) -> bool:
        return time.monotonic() >= self._next_write

    def _add(self, found: Iterable[Change]) -> None:
        samples = measures.samples_of(found, self.labels)
        if self._process != os.getpid():
            self._reset()
        with self._lock:
            measures.add(self._pending, samples)

    def _reset(self) -> None:
        # A forked child calls this method, too. The child counts only its own calls. It needs a new
        # lock, because a lock that another thread held during the fork would stay locked for ever.
        self._process = os.getpid()
        self._pending: measures.Samples = {}
        self._next_write = 0.0
        # The lock is reentrant, because a signal handler may make a call in the thread that holds
        # the lock.
        self._lock = threading.RLock()

    def __reduce__(self) -> Tuple[Any, ...]:
        return partial(type(self), interval_s=self.interval_s), (self.path, self.labels)

    def _check_path(self) -> None:
        if not self.path.endswith(".prom"):
            raise ConfigurationError(
                f"{self.path!r} does not end in .prom",
                hint="choose a name that ends in .prom, because node_exporter reads no other files",
            )
        if os.path.islink(self.path):
            raise ConfigurationError(
                f"{self.path!r} is a symbolic link, which another user may have put there",
                hint="pass the path of the file itself",
            )
        try:
            with _temporary_file(os.path.dirname(self.path)):
                self._read()
            _remove_orphans(os.path.dirname(self.path))
        except OSError as error:
            raise ConfigurationError(
                f"{self.path!r} cannot be written: {error.strerror or type(error).__name__}",
                hint="create the folder of the file, and allow this user to write to the folder",
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"{self.path!r} is not a file of this exporter: {error}",
                hint="choose another path, or remove the file",
            ) from None

    def _read(self) -> measures.Samples:
        try:
            with open(self.path, encoding="utf-8", newline="", opener=_open_no_link) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ValueError("it is not a regular file")
                text = file.read(_MAX_FILE_LENGTH + 1)
                if len(text) > _MAX_FILE_LENGTH:
                    raise ValueError(f"it has more than {_MAX_FILE_LENGTH:,} characters")
                return measures.parse(text)
        except FileNotFoundError:
            return {}

    def _write(self) -> None:
        self._next_write = time.monotonic() + self.interval_s
        try:
            folder = os.path.dirname(self.path)
            with self._lock, _folder_lock(folder) as is_locked:
                self._add_to_file()
                # Another process may have been killed since this exporter was created, and may have
                # left a temporary file.
                if is_locked:
                    _remove_temporary_files(folder)
        except (OSError, ValueError, OverflowError) as error:
            if not self._has_warned:
                self._has_warned = True
                path, reason = one_line(self.path), type(error).__name__
                _log.warning("%s could not be written: %s", path, reason)

    def _add_to_file(self) -> None:
        samples = self._read()
        pending, self._pending = self._pending, {}
        try:
            measures.add(samples, pending)
            _replace(self.path, measures.write(samples))
        except BaseException:
            measures.add(self._pending, pending)
            raise


class PrometheusExporter:
    """A listener that keeps metrics in a registry of ``prometheus_client``.

    Use it in scripts that Prometheus can scrape. The registry gets the same metrics of calls as the
    file of `TextfileExporter`. The script itself must start the server that Prometheus scrapes,
    with ``prometheus_client.start_http_server``.

    Args:
        registry: The registry for the metrics; None uses the global registry of the library.

    Raises:
        DependencyError: ``prometheus_client`` is not installed.
        ConfigurationError: The registry already has these metrics. Use one exporter for all
            providers.
    """

    @exact_keywords
    def __init__(self, registry: Optional[CollectorRegistry] = None) -> None:
        try:
            import prometheus_client as library
        except ImportError:
            raise DependencyError(
                "PrometheusExporter needs prometheus_client, which is not installed",
                hint='to install the extra "prometheus", run: '
                "python -m pip install prometheus_client",
            ) from None
        kinds: Mapping[str, Any] = {
            "counter": library.Counter,
            "gauge": library.Gauge,
            "histogram": library.Histogram,
        }
        registry = library.REGISTRY if registry is None else registry
        self._metrics: Dict[str, Any] = {}
        try:
            for metric in (*CALL_METRICS, *BATCH_METRICS):
                more = {"buckets": metric.buckets} if metric.buckets else {}
                self._metrics[metric.name] = kinds[metric.kind](
                    metric.name, metric.help, metric.labels, registry=registry, **more
                )
        except ValueError as error:
            raise ConfigurationError(
                f"the registry refused the metrics of this package: {error}",
                hint="create one PrometheusExporter, and pass it to all providers",
            ) from None

    def __call__(self, event: CallEvent) -> None:
        """Add an event to the metrics."""
        self._add(changes(event))

    def record_batch(self, report: BatchReport) -> None:
        """Set the metrics of a batch: counts of rows, and what took most of its time.

        Pass this method to `batch.run` as ``on_progress``.

        Args:
            report: The final report, or a report during the batch.
        """
        self._add(batch_changes(report))

    def _add(self, found: Iterable[Change]) -> None:
        for metric, labels, value in found:
            child = self._metrics[metric.name].labels(**labels)
            verbs = {"counter": "inc", "gauge": "set", "histogram": "observe"}
            getattr(child, verbs[metric.kind])(value)


def _checked_interval(interval_s: float) -> float:
    is_number = isinstance(interval_s, (int, float)) and not isinstance(interval_s, bool)
    if not is_number or not 0 <= interval_s < math.inf:
        raise ConfigurationError(
            f"interval_s is {interval_s!r}, and must be a number of at least 0",
            hint="to write the file at most once a second, pass interval_s=1",
        )
    return float(interval_s)


def _check_labels(labels: Mapping[str, str]) -> None:
    own = {name for metric in METRICS for name in metric.labels} | {"le"}
    for name, value in labels.items():
        if not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", name) or not isinstance(value, str):
            raise ConfigurationError(
                f"{name!r} with a value of type {type(value).__name__} is not a valid label",
                hint="use letters, digits and underscores in the name, and a str as the value",
            )
        if name in own:
            raise ConfigurationError(
                f"the label {name!r} is used by the exporter itself",
                hint="choose another name for the label",
            )


def _open_no_link(path: str, flags: int) -> int:
    """Open a file for reading; refuse symbolic links, and do not block on a named pipe."""
    # Windows has neither of these flags. Few users have the right to create links on Windows.
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.open(path, flags | safe)


@contextlib.contextmanager
def _temporary_file(folder: str) -> Iterator[TextIO]:
    """Create a temporary file in the folder for writing, and remove it after the ``with`` block."""
    name = os.path.join(folder, f".localproviders-{secrets.token_hex(8)}.tmp")
    # `tempfile` is not used: only the owner can read its files, but node_exporter is another user.
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        # The descriptor is opened, not the name: another user may have replaced the name with a
        # link.
        with open(
            name, "w", encoding="utf-8", errors="replace", newline="", opener=lambda *_: descriptor
        ) as file:
            yield file
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(name)


def _remove_orphans(folder: str) -> None:
    """Remove the temporary files that processes of this user left when they were killed.

    If the folder can be locked, only the process that holds the lock writes metrics to a temporary
    file. So while this process holds the lock, no other process is using such a file. This function
    can also remove the empty file with which a new exporter of another process checks the folder;
    this does no harm. Without the lock, nothing is removed.
    """
    with contextlib.suppress(OSError), _folder_lock(folder) as is_locked:
        if is_locked:
            _remove_temporary_files(folder)


def _remove_temporary_files(folder: str) -> None:
    """Remove temporary files of this user; the caller holds the lock of the folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY_NAME.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                    os.remove(entry.path)


def _replace(path: str, text: str) -> None:
    """Replace the content of a file atomically: a reader sees the old or the new content.

    If the path is now a symbolic link, the link is replaced, not the file to which it leads.
    """
    with _temporary_file(os.path.dirname(path)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            before = os.lstat(path)
            if stat.S_ISREG(before.st_mode) and hasattr(os, "fchmod"):  # not on Windows
                os.fchmod(file.fileno(), before.st_mode & 0o777)
        file.close()  # Windows cannot rename an open file
        os.replace(file.name, path)


@contextlib.contextmanager
def _folder_lock(folder: str) -> Iterator[bool]:
    """Hold the lock of a folder during a ``with`` block, if the system supports such locks.

    Yields:
        True if this process holds the lock.

    Raises:
        TimeoutError: Another process held the lock for one second.
    """
    if os.name == "nt":  # Windows has no locks of folders: parallel writes can lose a count
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _is_locked(handle)
    finally:
        os.close(handle)  # this also releases the lock


def _is_locked(handle: int) -> bool:
    """Lock an open folder. Return False for a network folder that cannot be locked.

    Raises:
        TimeoutError: Another process held the lock for one second.
    """
    try:
        is_free = wait_for_lock(handle, _LOCK_WAIT_S)
    except OSError as error:
        if is_callers(error):
            raise
        return False
    if not is_free:
        raise TimeoutError
    return True
