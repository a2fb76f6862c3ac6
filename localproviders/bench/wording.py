"""Numbers and facts as short texts, for the table and the page."""

from __future__ import annotations

from typing import Dict, Iterator, List, Optional, Sequence

from localproviders._redact import shortened
from localproviders.bench.comparison import title_of
from localproviders.bench.results import KINDS, Cell, Environment, Figure, Results

_LONGEST_NAME = 60
# Pairs of a lower bound, and the digits after the point for numbers of at least this bound. The
# bounds are the smallest numbers that are shown as 100, 10 and 1.
_DIGITS = ((99.95, 0), (9.995, 1), (0.9995, 2))


def number(value: float) -> str:
    """Return a number with about three significant digits: ``0.153``, ``1230``, ``45.3k``."""
    if value >= 9999.5:
        return f"{number(value / 1000)}k"
    digits = next((digits for least, digits in _DIGITS if value >= least), 3)
    return f"{value:.{digits}f}"


def duration(value_s: float) -> str:
    """Return a duration in seconds, or in milliseconds if it is below one second."""
    return f"{number(value_s)} s" if value_s >= 0.9995 else f"{value_s * 1000:.0f} ms"


def spread(figure: Figure) -> str:
    """Return the lowest and the highest value; empty for a single value."""
    if len(figure.values) < 2:
        return ""
    return f"{number(figure.low)}-{number(figure.high)}"


def model_line(environment: Environment) -> str:
    """Return the name of the model with its most important facts, in one line."""
    window = environment.context_length
    facts = [
        environment.parameter_size,
        environment.quantization,
        f"context window {window}" if window is not None else None,
    ]
    known = ", ".join(filter(None, facts))
    name = shortened(environment.model or "unknown model", _LONGEST_NAME)
    return f"{name} ({shortened(known)})" if known else name


def server_line(environment: Environment) -> str:
    """Return the server's name and version, in one line."""
    words = [environment.server or "unknown server", environment.server_version]
    return shortened(" ".join(filter(None, words)))


def machine_line(environment: Environment) -> str:
    """Return the facts about this machine, in one line."""
    facts: List[Optional[str]] = [
        environment.processor or environment.machine,
        f"{environment.cpu_count} CPUs" if environment.cpu_count is not None else None,
        size_of(environment.memory_bytes, "of memory"),
        environment.system,
    ]
    return ", ".join(filter(None, facts)) or "unknown machine"


def size_of(number_of_bytes: Optional[int], of: str = "") -> Optional[str]:
    """Return a number of bytes in GB, or in MB if it is small; None for None."""
    if number_of_bytes is None:
        return None
    is_large = number_of_bytes >= 1e9
    size = number_of_bytes / (1e9 if is_large else 1e6)
    return f"{size:.1f} {'GB' if is_large else 'MB'} {of}".strip()


def notes_of(results: Results) -> Iterator[str]:
    """Yield each note of the cells once; the titles of the cells with this note precede it."""
    cells: Dict[str, List[Cell]] = {}
    for cell in results.cells:
        for note in cell.notes:
            cells.setdefault(note, []).append(cell)
    for note, noted in cells.items():
        yield f"{_titles(noted)}: {note}"


def _titles(cells: Sequence[Cell]) -> str:
    """Return the titles of several cells: ``prompts of 128, 512 tokens; 1, 2 at once``."""
    titles = []
    for kind in KINDS:
        sizes = [cell.size for cell in cells if cell.kind == kind]
        if len(sizes) == 1:
            titles.append(title_of(kind, sizes[0]))
        elif sizes:
            several = ", ".join(map(str, sizes))
            titles.append(
                f"prompts of {several} tokens" if kind == "prompt" else f"{several} at once"
            )
    return "; ".join(titles)


def rounds_of(results: Results) -> str:
    """Return how many rounds were measured: ``5 rounds``, or ``3 to 5 rounds``.

    Loading the model does not count, because it has its own number of repetitions.
    """
    cells = [cell for cell in results.cells if cell.kind != "load"] or results.cells
    counts = {len(figure.values) for cell in cells for figure in cell.figures.values()}
    if not counts or counts == {1}:
        return "1 round" if counts else "no rounds"
    few = "" if len(counts) == 1 else f"{min(counts)} to "
    return f"{few}{max(counts)} rounds"


def remarks(results: Results) -> Iterator[str]:
    """Yield the sentences about the method that hold for all figures of these results."""
    if results.environment.is_local is False:
        yield "The server is on another machine; the machine in these results is the client."
    clocks = {cell.clock for cell in results.cells} - {None}
    if "server" in clocks:
        yield "Speeds are computed from the token counts and the clock of the server."
    if "client" in clocks:
        which = "Some speeds" if len(clocks) > 1 else "Speeds"
        yield (
            f"{which} are computed from the token counts of the server and the clock of this"
            " machine, so the time for the prompt includes the time for the first token."
        )
    yield "The time to the first token is measured by the client, from the start of the request."
