"""One run of a verb: its limits, its lock, its output, and the servers that it uses."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from argparse import Namespace
from typing import Any, Callable, List, Optional, Set

from localproviders._redact import one_line
from localproviders.cli.output import Output, print_error
from localproviders.cli.progress import Meter, make_meter
from localproviders.cli.signals import Signals
from localproviders.cli.usage import Stopped
from localproviders.provider import ModelProvider

# During the run, the file of ``--metrics-file`` is written at most once in this many seconds.
_METRICS_S = 1.0


class Run:
    """One run of a verb, in a ``with`` block around the work.

    Before the work, it waits for ``--jitter`` and ``--lock``, and opens the output. The deadline
    begins after the jitter. Until the work has ended, the file of ``-o`` has a temporary name. If
    the work raised an exception, the incomplete file is removed.

    Attributes:
        verb: Name of the verb.
        arguments: The parsed arguments.
        output: The output.
        is_colored: Whether the output is colored.

    Args:
        verb: Name of the verb.
        arguments: The parsed arguments.
        is_resumable: Whether the verb writes the file of ``-o`` itself. If so, `output` is standard
            output.
    """

    def __init__(self, verb: str, arguments: Namespace, *, is_resumable: bool = False) -> None:
        self.verb = verb
        self.arguments = arguments
        path = None if is_resumable else arguments.output
        self.output: Output = Output(path, replace=arguments.force, encoding=arguments.encoding)
        self._outputs = [self.output]
        self._warned: Set[str] = set()
        self.is_colored: bool = self._may_color()
        self._metrics: Any = None
        self._stack = contextlib.ExitStack()
        self._signals = Signals(arguments.deadline)

    def __enter__(self) -> Run:
        self._open_metrics()  # first, so that an unusable file is reported before the run waits
        if self.arguments.jitter:
            time.sleep(random.uniform(0, self.arguments.jitter))  # noqa: S311  # no secret
        try:
            self._stack.enter_context(self._signals)
            self._take_lock()
            self.output.open()
        except BaseException:
            self.__exit__(Exception)
            raise
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        with self._stack:
            try:
                self._signals.end()
                if kind is None:
                    self._commit()
            finally:
                for output in self._outputs:
                    output.discard()

    def _commit(self) -> None:
        for output in self._outputs:
            output.sync()
        # The file of ``-o`` is renamed last: if it exists, all other files exist, too.
        for output in reversed(self._outputs):
            output.commit()

    def open_output(self, path: str) -> Output:
        """Open one more output file. It appears under `path` just before the file of ``-o`` does.

        Raises:
            UsageError: The file exists, or it cannot be made.
        """
        arguments = self.arguments
        made = Output(path, replace=arguments.force, encoding=arguments.encoding)
        made.open()
        self._outputs.append(made)
        return made

    def _may_color(self) -> bool:
        if self.arguments.output is not None and self.arguments.color != "always":
            return False
        from localproviders.cli.color import is_colored  # a page of help needs no colors

        return is_colored(self.arguments.color, sys.stdout)

    def _open_metrics(self) -> None:
        path = self.arguments.metrics_file
        if path:
            from localproviders.exporters import TextfileExporter  # only for --metrics-file

            # node_exporter refuses the same sample in two files, so each file has its own label.
            script = os.path.splitext(os.path.basename(path))[0]
            labels = {"script": script}
            self._metrics = TextfileExporter(path, labels=labels, interval_s=_METRICS_S)

    def record_end(self, exit_code: int) -> None:
        """Record in the file of ``--metrics-file`` that the run ended, if that option was given.

        Args:
            exit_code: The exit code of the command.
        """
        if self._metrics is not None:
            self._metrics.record_run(self.verb, exit_code)

    def record_batch(self, report: Any) -> None:
        """Write the numbers of a batch to the file of ``--metrics-file``, if there is one."""
        if self._metrics is not None:
            self._metrics.record_batch(report)

    def _take_lock(self) -> None:
        if self.arguments.lock:
            from localproviders._lock import Lock  # only for --lock

            self._stack.enter_context(Lock(self.arguments.lock, self.arguments.lock_wait))

    def provider(self, model: Optional[str] = None) -> ModelProvider:
        """Make the provider of ``--model`` and ``--host``; close it at the end of the run.

        No request is sent, with one exception: if ``--host`` gives an address without a kind such
        as ``ollama``, requests to this address find out which kind of server it is.

        Args:
            model: The model; None means the one of ``--model``.

        Raises:
            ProviderError: The arguments or the configuration do not name a server.
        """
        given, listeners = self.arguments, tuple(self._listeners())
        if given.host:
            from localproviders.cli.hosts import make_host_provider  # imports every provider

            made = make_host_provider(given, listeners, model or given.model)
        else:
            from localproviders._create_provider import create_provider  # reads the configuration

            made = create_provider(
                model or given.model,
                timeout=given.timeout,
                locality=given.locality,
                profile=given.profile,
                listeners=listeners,
            )
        self._stack.callback(made.close)
        return made

    def all_servers(self) -> ModelProvider:
        """Make the provider of all servers, or of those that ``-m`` or ``--host`` names.

        The provider is closed at the end of the run. No request is sent, unless ``--host`` gives an
        address without a kind: see `provider`.

        Raises:
            ProviderError: The arguments or the configuration are invalid.
        """
        from localproviders.cli.hosts import make_all  # imports every provider

        if self.arguments.host:
            return self.provider()
        made = make_all(self.arguments, tuple(self._listeners()))
        if made is None:
            return self.provider()
        self._stack.callback(made.close)
        return made

    @property
    def left_s(self) -> Optional[float]:
        """Seconds until the deadline; None if there is none."""
        return self._signals.left_s

    def hand_over(self, stop: Callable[[Stopped], object]) -> None:
        """Let the verb itself end its work after a signal or Ctrl-C: see `Signals.hand_over`."""
        self._signals.hand_over(stop)

    def progress(self, total: Optional[float], unit: str) -> Meter:
        """Return a meter for long work, which writes to standard error as ``--progress`` says.

        Use it in a ``with`` block: ``advance`` adds to the amount that is done, and ``set``
        replaces it.

        Args:
            total: How much there is to do; None if this is not known.
            unit: The unit, such as ``texts``; ``B`` for bytes, and ``%`` for a percentage.

        Raises:
            DependencyError: ``--progress bar`` was given, and `tqdm` is not installed.
        """
        how = "none" if self.arguments.quiet else self.arguments.progress
        return make_meter(how, f"localproviders {self.verb}", total, unit)

    def warn(self, text: str) -> None:
        """Write a line to standard error, unless ``--quiet`` was given."""
        if not self.arguments.quiet:
            print_error(f"localproviders {self.verb}: {one_line(text)}")

    def warn_all(self, texts: Any) -> None:
        """Write the warnings of an answer to standard error, one per line, each only once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._warned]
        if not new:
            return
        from localproviders.cli.next_steps import with_options  # only a warning needs it

        self._warned.update(new)
        for text in new:
            self.warn(f"warning: {with_options(text)}")

    def _show_warnings_of_log(self) -> None:
        """Write logged warnings to standard error, such as that of an unwritable metrics file."""
        import logging  # only for --metrics-file, which imports it anyway

        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self.warn_all([record.getMessage()])  # type: ignore[method-assign]  # a subclass would slow down each start
        logger = logging.getLogger("localproviders")
        logger.addHandler(handler)
        self._stack.callback(logger.removeHandler, handler)

    def _listeners(self) -> List[Any]:
        found: List[Any] = []
        if self._metrics is not None:
            found.append(self._metrics)
            if not self.arguments.verbose:  # --verbose shows the log with its warnings anyway
                self._show_warnings_of_log()
        if self.arguments.verbose:
            found.append(_log_to_standard_error())
        return found


def _log_to_standard_error() -> Any:
    import logging  # only for --verbose

    from localproviders.exporters import LogListener  # only for --verbose

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("localproviders").setLevel(logging.DEBUG)
    return LogListener()
