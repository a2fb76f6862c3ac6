"""Results as one page of HTML with charts. The page needs no script and no other file."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import Iterator, List, Optional, Sequence, Tuple

from localproviders.bench.comparison import Change, Comparison, compare, title_of
from localproviders.bench.plots import Chart, Series, draw
from localproviders.bench.results import Cell, Environment, Figure, Results
from localproviders.bench.style import STYLE
from localproviders.bench.wording import (
    duration,
    machine_line,
    notes_of,
    number,
    remarks,
    rounds_of,
    server_line,
    size_of,
    spread,
)

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
"""

# The headings of the figures in tables: the name, and the unit in a line of its own.
_HEADINGS = {
    "first_token_s": ("First token", "s"),
    "prompt_tokens_per_s": ("Prompt", "tokens/s"),
    "generation_tokens_per_s": ("Answer", "tokens/s"),
    "total_tokens_per_s": ("All together", "tokens/s"),
}
_OF_PROMPTS = ("first_token_s", "prompt_tokens_per_s", "generation_tokens_per_s")
_OF_GROUPS = ("first_token_s", "generation_tokens_per_s", "total_tokens_per_s")
_NAMES = {
    "load_s": "time, s",
    "first_token_s": "first token, s",
    "prompt_tokens_per_s": "prompt, tokens/s",
    "generation_tokens_per_s": "answer, tokens/s",
    "total_tokens_per_s": "all together, tokens/s",
}


def to_page(results: Results, before: Optional[Results] = None) -> str:
    """Return results as one page of HTML.

    The page has the most important figures, a chart of the time to the first token against the
    length of the prompt, a chart of the tokens per second against the number of simultaneous
    requests, and tables with the same numbers. The charts are inline SVG and show the spread of the
    rounds. The page is light or dark as the browser prefers, and contains no script and no address
    of another file. All texts from servers are escaped.

    Args:
        results: The results.
        before: Older results to compare with. The charts then also have lines for the older
            results, and the page has a table of the changes.
    """
    environment = results.environment
    model = environment.model or "Unknown model"
    parts = [
        _HEAD.format(title=escape(f"{model}: speed"), style=STYLE),
        *_header(environment, model),
        *_keys(results),
        '<div class="charts">',
        *_prompts(results, before),
        *_groups(results, before),
        "</div>",
    ]
    if before is not None:
        parts += _comparison(compare(before, results), before.environment)
    return "\n".join([*parts, *_about(results), "</main>\n</body>\n</html>\n"])


def _header(environment: Environment, model: str) -> Iterator[str]:
    facts = [environment.parameter_size, environment.quantization]
    if environment.context_length is not None:
        facts.append(f"context window of {environment.context_length} tokens")
    known = ", ".join(filter(None, facts))
    known = f"{known[0].upper()}{known[1:]}. " if known else ""
    yield "<header>"
    yield '<p class="kind">Speed of a language model</p>'
    yield f"<h1>{escape(model)}</h1>"
    yield f'<p class="lead">{escape(known)}'
    yield f"On {escape(server_line(environment))}; {escape(machine_line(environment))}.</p>"
    yield "</header>"


# --- the most important figures -----------------------------------------------------------------


def _keys(results: Results) -> Iterator[str]:
    yield '<dl class="keys">'
    for title, value, unit, context in _key_figures(results):
        yield f"<div><dt>{escape(title)}</dt>"
        yield f'<dd class="big">{escape(value)} <span class="unit">{escape(unit)}</span></dd>'
        yield f'<dd class="small">{escape(context)}</dd></div>'
    yield "</dl>"


def _key_figures(results: Results) -> Iterator[Tuple[str, str, str, str]]:
    for cell in results.of_kind("load"):
        if "load_s" in cell.figures:
            value, _, unit = duration(cell.figures["load_s"].median).partition(" ")
            yield "Load the model", value, unit, "from the disk or the operating system's cache"
    prompts = [cell for cell in results.of_kind("prompt") if cell.figures]
    for cell in prompts[:1]:
        if "first_token_s" in cell.figures:
            value, _, unit = duration(cell.figures["first_token_s"].median).partition(" ")
            yield "First token", value, unit, f"after a prompt of {_tokens(cell)} tokens"
    for cell in prompts[-1:]:
        yield from _speed("Reads a prompt", cell, "prompt_tokens_per_s")
    for cell in prompts[:1]:
        yield from _speed("Writes an answer", cell, "generation_tokens_per_s")
    groups = [cell for cell in results.of_kind("at_once") if "total_tokens_per_s" in cell.figures]
    if groups:
        best = max(groups, key=lambda cell: cell.figures["total_tokens_per_s"].median)
        value = number(best.figures["total_tokens_per_s"].median)
        context = f"{best.size} at once, including the time to read the prompts"
        yield "All requests together", value, "tokens/s", context


def _speed(title: str, cell: Cell, metric: str) -> Iterator[Tuple[str, str, str, str]]:
    if metric in cell.figures:
        context = f"with a prompt of {_tokens(cell)} tokens"
        yield title, number(cell.figures[metric].median), "tokens/s", context


def _tokens(cell: Cell) -> str:
    return f"about {cell.size}" if cell.prompt_tokens is None else str(cell.prompt_tokens)


# --- the charts and their tables ----------------------------------------------------------------


def _prompts(results: Results, before: Optional[Results]) -> Iterator[str]:
    cells = results.of_kind("prompt")
    if not cells:
        return
    points = _points(cells, "first_token_s")
    old = _points(before.of_kind("prompt"), "first_token_s") if before else []
    yield "<section>"
    yield "<h2>Time to the first token</h2>"
    yield '<p class="hint">A longer prompt takes longer to read.'
    yield "Each bar reaches from the lowest to the highest value of all rounds.</p>"
    series = [Series("before", "old", old)] if old else []
    # Labels of values would cover the older line.
    now = Series("now" if old else "", "one", points, has_values=not old)
    series += [now] if points else []
    if series:
        yield draw(
            Chart(
                name="first",
                title="Time to the first token against the length of the prompt",
                description=_in_words(points, "{:g} tokens: {} s"),
                x_label="Length of the prompt (tokens)",
                y_label="Seconds",
                series=series,
            )
        )
    sizes = [_tokens(cell) for cell in cells]
    yield _table("Prompts of several lengths", "Tokens", sizes, cells, _OF_PROMPTS)
    yield "</section>"


def _groups(results: Results, before: Optional[Results]) -> Iterator[str]:
    cells = results.of_kind("at_once")
    if not cells:
        return
    total = _points(cells, "total_tokens_per_s")
    each = _points(cells, "generation_tokens_per_s")
    old = _points(before.of_kind("at_once"), "total_tokens_per_s") if before else []
    yield "<section>"
    yield "<h2>Several requests at the same time</h2>"
    yield '<p class="hint">Simultaneous requests share the machine. The figure for'
    yield "all requests together includes the time for reading the prompts.</p>"
    series = [Series("all, before", "old", old)] if old else []
    series += [Series("each request", "two", each)] if each else []
    series += [Series("all together", "one", total)] if total else []
    if series:
        yield draw(
            Chart(
                name="total",
                title="Tokens per second against the number of simultaneous requests",
                description=_in_words(total, "{:g} at once: {} tokens per second"),
                x_label="Requests at the same time",
                y_label="Tokens per second",
                series=series,
                is_doubling=True,
            )
        )
    sizes = [str(cell.size) for cell in cells]
    yield _table("Requests at the same time", "At once", sizes, cells, _OF_GROUPS)
    yield "</section>"


def _points(cells: Sequence[Cell], metric: str) -> List[Tuple[float, Figure]]:
    return [
        (float(cell.prompt_tokens or cell.size) if cell.kind == "prompt" else float(cell.size), f)
        for cell in cells
        for f in (cell.figures.get(metric),)
        if f is not None
    ]


def _in_words(points: Sequence[Tuple[float, Figure]], form: str) -> str:
    return "; ".join(form.format(x, number(figure.median)) for x, figure in points)


def _table(
    caption: str, first: str, sizes: Sequence[str], cells: Sequence[Cell], metrics: Sequence[str]
) -> str:
    heads = [f'<th scope="col">{escape(first)}</th>']
    for metric in metrics:
        name, unit = _HEADINGS[metric]
        heads.append(f'<th scope="col">{name} <span class="unit">{unit}</span></th>')
    rows = []
    for size, cell in zip(sizes, cells):
        figures = "".join(_td(cell.figures.get(metric)) for metric in metrics)
        rows.append(f'<tr><th scope="row">{escape(size)}</th>{figures}</tr>')
    return (
        f"<table><caption>{escape(caption)}: median, and lowest-highest</caption>\n"
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table>"
    )


def _td(figure: Optional[Figure]) -> str:
    if figure is None:
        return "<td>-</td>"
    around = spread(figure)
    more = f' <span class="spread">{around}</span>' if around else ""
    return f"<td>{number(figure.median)}{more}</td>"


# --- the comparison -----------------------------------------------------------------------------


def _comparison(comparison: Comparison, before: Environment) -> Iterator[str]:
    yield "<section><h2>Compared with before</h2>"
    when = f" of {before.measured_at[:10]}" if before.measured_at else ""
    yield f'<p class="hint">The older results{escape(when)}. A change is marked only if'
    yield "both results have at least four rounds and their spreads do not overlap.</p>"
    yield '<table class="changes"><caption>Medians of all rounds</caption><thead><tr>'
    yield '<th scope="col">Figure</th><th scope="col">Before</th><th scope="col">Now</th>'
    yield '<th scope="col">Ratio</th></tr></thead><tbody>'
    for title, changes in groupby(comparison.changes, lambda each: title_of(each.kind, each.size)):
        yield f'<tr class="group"><th scope="colgroup" colspan="4">{escape(title)}</th></tr>'
        yield from map(_change, changes)
    yield "</tbody></table>"
    yield from _list(
        [*(f"Differs: {each}" for each in comparison.differences), *comparison.missing]
    )
    yield "</section>"


def _change(change: Change) -> str:
    ratio = "-" if change.ratio is None else f"{change.ratio:.2f}"
    style = f' class="{change.verdict}"' if change.verdict else ""
    return (
        f'<tr><th scope="row">{escape(_NAMES[change.metric])}</th>'
        f"<td>{number(change.before.median)}</td><td>{number(change.after.median)}</td>"
        f"<td{style}>{ratio} {change.verdict}</td></tr>"
    )


# --- notes and facts ----------------------------------------------------------------------------


def _about(results: Results) -> Iterator[str]:
    notes = [*notes_of(results)]
    if notes:
        yield "<section><h2>Notes</h2>"
        yield from _list(notes)
        yield "</section>"
    yield '<section><h2>Measured on</h2><dl class="facts">'
    for name, value in _facts(results.environment):
        yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    yield "</dl></section>"
    method = [f"Medians of {rounds_of(results)}."]
    method += ["Every prompt is different, so that no prompt cache helps.", *remarks(results)]
    yield f"<footer><p>{escape(' '.join(method))}</p></footer>"


def _facts(environment: Environment) -> Iterator[Tuple[str, str]]:
    pairs = (
        ("Model", environment.model),
        ("Digest", environment.digest),
        ("Architecture", environment.architecture),
        ("Size", size_of(environment.size_bytes)),
        ("On a graphics card", size_of(environment.vram_bytes)),
        ("Server", server_line(environment)),
        ("Processor", environment.processor or environment.machine),
        ("CPUs", environment.cpu_count),
        ("Memory", size_of(environment.memory_bytes)),
        ("System", environment.system),
        ("Python", environment.python),
        ("localproviders", environment.package),
        ("Time", environment.measured_at),
    )
    for name, value in pairs:
        if value is not None:
            yield name, str(value)


def _list(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield '<ul class="notes">'
        yield from (f"<li>{escape(line)}</li>" for line in lines)
        yield "</ul>"
