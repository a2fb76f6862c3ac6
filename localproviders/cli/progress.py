"""The progress of long work on standard error: a bar, or a plain line every ten seconds."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from importlib import import_module
from typing import Any, Callable, List, Optional

from localproviders._redact import shortened
from localproviders.cli.output import print_error
from localproviders.errors import DependencyError

#: Seconds between two lines.
LINE_S = 10.0
#: The unit of sizes: numbers of bytes, which are shown in MB and GB.
BYTES = "B"
#: The unit of percentages: numbers from 0 to 100.
PERCENT = "%"


class Meter:
    """The progress of some work. This class shows nothing; its subclasses do.

    Use it in a ``with`` block around the work. It writes to standard error only, and an error of
    standard error does not end the work.

    Attributes:
        done: How much is done, in units.
        total: How much there is to do; None if this is not known.
        step: The current step; may be empty.

    Args:
        title: The work, such as ``localproviders pull``.
        total: How much there is to do; None if this is not known.
        unit: The unit, such as ``texts``, `BYTES` or `PERCENT`.
    """

    def __init__(self, title: str, total: Optional[float], unit: str) -> None:
        self.title = title
        self.unit = unit
        self.done: float = 0.0
        self.total = total
        self.step: str = ""

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, number: float = 1) -> None:
        """Add a number to the amount that is done."""
        self.set(self.done + number, self.total)

    def set(self, done: Optional[float], total: Optional[float] = None, step: str = "") -> None:
        """Set how much is done, how much there is to do, and the step.

        Args:
            done: How much is done; None leaves it as it is.
            total: How much there is to do; None leaves it as it is.
            step: The current step; an empty text leaves it as it is.
        """
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        self.step = shortened(step, 40) or self.step
        self._show()

    def close(self) -> None:
        """End the display. Nothing is shown afterwards."""

    def _show(self) -> None:
        """Show the progress, if it is time to show it again."""


class Lines(Meter):
    """Progress as plain lines: the first one at the first report, then one every ten seconds.

    Args:
        title: The work.
        total: How much there is to do; None if this is not known.
        unit: The unit.
        clock: Function that returns the time in seconds.
        write: Function that writes a line.
    """

    def __init__(
        self,
        title: str,
        total: Optional[float],
        unit: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = print_error,
    ) -> None:
        super().__init__(title, total, unit)
        self._clock, self._write = clock, write
        self._began_s = clock()
        self._next_s = -math.inf

    def _show(self) -> None:
        now_s = self._clock()
        if now_s >= self._next_s:
            self._next_s = now_s + LINE_S
            self._write(f"{self.title}: {', '.join(self._facts(now_s - self._began_s))}")

    def _facts(self, elapsed_s: float) -> List[str]:
        facts = [amount(self.done, self.total, self.unit), self.step]
        if elapsed_s >= 1 and self.total and 0 < self.done < self.total:
            left_s = elapsed_s / self.done * (self.total - self.done)
            facts.append(f"about {_duration(left_s)} left")
        return [fact for fact in facts if fact]


class Bar(Meter):
    """Progress as a bar of `tqdm`. The bar is removed at the end.

    Args:
        title: The work.
        total: How much there is to do; None if this is not known.
        unit: The unit.

    Raises:
        DependencyError: `tqdm` is not installed.
    """

    def __init__(self, title: str, total: Optional[float], unit: str) -> None:
        super().__init__(title, total, unit)
        is_size = unit == BYTES
        self._bar = _bar_class()(
            total=total,
            desc=title,
            unit=unit if is_size or unit == PERCENT else f" {unit}",
            unit_scale=is_size,
            file=_Stderr(),
            dynamic_ncols=True,
            leave=False,
        )

    def _show(self) -> None:
        bar = self._bar
        bar.total = self.total
        if self.step:
            bar.set_postfix_str(self.step, refresh=False)
        bar.update(self.done - bar.n)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


def make_meter(how: str, title: str, total: Optional[float], unit: str) -> Meter:
    """Return the meter of ``--progress``.

    Args:
        how: ``auto``, ``bar``, ``lines`` or ``none``. ``auto`` shows nothing if standard error is
            no terminal. On a terminal, it shows a bar if `tqdm` is installed, and otherwise lines.
        title: The work.
        total: How much there is to do; None if this is not known.
        unit: The unit.

    Raises:
        DependencyError: `how` is ``bar``, and `tqdm` is not installed.
    """
    if sys.stderr is None or how == "none":
        return Meter(title, total, unit)
    if how == "auto" and not sys.stderr.isatty():
        return Meter(title, total, unit)
    if how != "lines":
        try:
            return Bar(title, total, unit)
        except DependencyError:
            if how == "bar":
                raise
    return Lines(title, total, unit)


def amount(done: float, total: Optional[float], unit: str) -> str:
    """Return a text such as ``120 of 500 texts (24%)``, ``0.5 of 2.0 GB (24%)`` or ``24%``."""
    if unit == PERCENT:
        return f"{done:.0f}%"
    if unit == BYTES:
        large = max(done, total or 0) >= 1e9
        scale = 1e9 if large else 1e6
        done, total = done / scale, total / scale if total else None
        shown, unit = "{:.1f}", "GB" if large else "MB"
    else:
        shown = "{:.0f}"
    if not total:
        return f"{shown.format(done)} {unit}" if done else ""
    return f"{shown.format(done)} of {shown.format(total)} {unit} ({min(done / total, 1):.0%})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Stderr:
    """Standard error, without its errors: a lost display must not end the work."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def _bar_class() -> Any:
    try:
        tqdm: Any = import_module("tqdm").tqdm  # optional
    except ImportError:
        raise DependencyError(
            "a progress bar needs tqdm, which is not installed",
            hint='to install the extra "progress", run: python -m pip install tqdm;'
            " or use --progress lines",
        ) from None

    # tqdm would start a thread that watches the bars, and would make a lock for several processes.
    found: Any = type("_Bar", (tqdm,), {"monitor_interval": 0})
    found.set_lock(threading.RLock())
    return found
