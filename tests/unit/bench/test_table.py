from __future__ import annotations

from localproviders.bench import Cell, Environment, Results, compare, comparison_table, to_table
from tests.support.bench import figure, results


def _widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_the_table_has_every_figure_and_fits_into_80_columns() -> None:
    table = to_table(results())
    assert _widest(table) <= 80
    assert "llama3.2 (context window 4096) on Ollama 0.40.5" in table
    assert "load: 2.55 (2.50-2.60) s" in table
    row = next(line for line in table.splitlines() if line.strip().startswith("515"))
    assert row.split() == [
        "515",
        "0.653",
        "(0.640-0.666)",
        "816",
        "(800-832)",
        "56.0",
        "(54.9-57.1)",
    ]
    assert "- prompt of 8192 tokens: it does not fit" in table
    assert "Medians of 5 rounds (lowest-highest)." in table


def test_the_table_is_plain_ascii_where_the_names_are() -> None:
    assert (
        to_table(results()).isascii() and comparison_table(compare(results(), results())).isascii()
    )


def test_large_and_long_values_keep_the_width() -> None:
    long = "x" * 200
    environment = Environment(model=long, server=long, processor=long, rounds=2)
    figures = {
        name: figure(123456.7, 999999.0)
        for name in ("first_token_s", "prompt_tokens_per_s", "generation_tokens_per_s")
    }
    cells = (Cell(kind="prompt", size=128, figures=figures, notes=("y" * 300, "z " * 100)),)
    made = Results(environment=environment, cells=cells)
    assert _widest(to_table(made)) <= 80
    assert "562k (123k-1000k)" in to_table(made)
    assert _widest(comparison_table(compare(made, made))) <= 80


def test_a_note_of_several_cells_is_written_once() -> None:
    cells = [Cell(kind="prompt", size=size, notes=("why",)) for size in (128, 512)]
    cells += [Cell(kind="at_once", size=1, notes=("why", "else"))]
    table = to_table(Results(cells=tuple(cells)))
    assert "- prompts of 128, 512 tokens; 1 at once: why\n- 1 at once: else" in table


def test_unknown_facts_are_left_out() -> None:
    table = to_table(Results(cells=(Cell(kind="load"), Cell(kind="prompt", size=128))))
    assert "None" not in table
    assert "unknown model on unknown server" in table and "load: not measured" in table
    assert "   about 128 " in table


def test_the_clock_is_named() -> None:
    def words(*clocks: str) -> str:
        cells = tuple(
            Cell(kind="prompt", size=64, clock=clock, figures={"prompt_tokens_per_s": figure(1)})
            for clock in clocks
        )
        return " ".join(to_table(Results(cells=cells)).split())

    assert "the token counts and the clock of the server" in words("server")
    client = words("client")
    assert "Speeds are computed from the token counts of the server and the clock of this" in client
    assert "Some speeds are computed from" in words("server", "client")


def test_a_server_on_another_machine_is_named() -> None:
    remote = " ".join(to_table(results(is_local=False)).split())
    assert "The server is on another machine; the machine in these results is the client." in remote


def test_the_comparison_marks_clear_changes_and_names_differences() -> None:
    found = comparison_table(compare(results(), results(speed=2, model="qwen3")))
    assert _widest(found) <= 80
    assert "8 at once, all, tokens/s 143 286 2.00 x faster" in " ".join(found.split())
    assert "Differs:\n- model: llama3.2 before, qwen3 now" in found
    assert "No verdict" not in found
    assert "No verdict: the spreads overlap" in comparison_table(compare(results(), results()))


def test_results_without_a_common_figure_are_told_apart() -> None:
    found = comparison_table(compare(results(), Results()))
    assert found.startswith("The two results have no figure in common.")
    assert "Not compared:\n- only before: load: load s" in found
