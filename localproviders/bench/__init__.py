"""The speed of a model on a server: measure it, write the results, compare them.

    from localproviders import OllamaProvider
    from localproviders.bench import measure, to_table

    with OllamaProvider(model="llama3.2") as ollama:
        print(to_table(measure(ollama)))

`measure` returns `Results`, which have an `Environment` and a list of cells. A `Cell` has the
figures of one prompt length, of one number of simultaneous requests, or of loading the model.
`to_table`, `to_page` and `to_jsonl` return `Results` as text. `read_results` reads a JSONL file,
and `compare` compares two `Results`.
"""

from localproviders.bench.comparison import Change, Comparison, compare
from localproviders.bench.jsonl import from_jsonl, read_results, to_jsonl
from localproviders.bench.measurement import Step, measure
from localproviders.bench.page import to_page
from localproviders.bench.plan import Plan
from localproviders.bench.results import Cell, Environment, Figure, Results
from localproviders.bench.table import comparison_table, to_table

__all__ = [
    "Cell",
    "Change",
    "Comparison",
    "Environment",
    "Figure",
    "Plan",
    "Results",
    "Step",
    "compare",
    "comparison_table",
    "from_jsonl",
    "measure",
    "read_results",
    "to_jsonl",
    "to_page",
    "to_table",
]
