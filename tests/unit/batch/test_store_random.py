"""Random sequences of results, kills and changes: the files always say the same as a dictionary."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Dict, List, Tuple

from hypothesis import given, settings
from hypothesis import strategies as st

from localproviders.batch import rewriting
from localproviders.batch.audit import load_ledger
from localproviders.batch.journal import CLOSED, FAILED, RETRYABLE, SUCCEEDED, UNSETTLED
from localproviders.batch.paths import RunPaths
from localproviders.batch.store import Entry, Store

_ROWS = 12
_STATES = (SUCCEEDED, FAILED, RETRYABLE, UNSETTLED, CLOSED)
_result = st.tuples(
    st.just("add"),
    st.lists(
        st.tuples(st.integers(0, _ROWS - 1), st.sampled_from(_STATES)),
        min_size=1,
        max_size=4,
        unique_by=lambda pair: pair[0],
    ),
)
_kill = st.tuples(st.just("kill"), st.binary(max_size=60))
_change = st.tuples(st.just("change"), st.sets(st.integers(0, _ROWS - 1), max_size=3))
_end = st.tuples(st.just("end"), st.sampled_from(("deadline", "complete")))
_mark = st.tuples(st.just("mark"), st.none())
_steps = st.lists(st.one_of(_result, _kill, _change, _mark, _end))

# The state and the line of each row.
_Model = Dict[int, Tuple[int, bytes]]


def _kill_and_reopen(store: Store, rest: bytes) -> Store:
    """Leave a line without a record, and a part of a record, as a kill does."""
    store.close()
    paths = store.paths
    # After the end of a session, a mark comes before the next line.
    line = b"half a line" + rest if store.ledger.ended is None else b""
    for path, data in ((paths.output, line), (paths.journal, rest[:55])):
        with open(path, "ab") as file:
            file.write(data)
    return Store(paths, load_ledger(paths))


def _apply(store: Store, model: _Model, step: Any, number: int) -> Store:
    name, value = step
    if name == "kill":
        return _kill_and_reopen(store, value)
    if name == "mark":
        store.mark()
    elif name == "end":
        store.end(value)
        if value == "complete":
            for row in [row for row, (state, _) in model.items() if state == UNSETTLED]:
                model[row] = (CLOSED, model[row][1])
    elif name == "change":
        store.note_changed(sorted(value))
        for row in value:
            model.pop(row, None)
    else:
        entries = [
            Entry(row, row, state, b"%d %d %d\n" % (row, state, number)) for row, state in value
        ]
        store.add(entries)
        model.update({entry.row: (entry.state, entry.line) for entry in entries})
    return store


def _states(store: Store) -> Dict[int, int]:
    found = ((row, store.ledger.state_of(row)) for row in range(_ROWS))
    return {row: state for row, state in found if state}


def _final_lines(paths: RunPaths) -> Dict[int, bytes]:
    ledger = load_ledger(paths)
    parts = [rewriting.Part(paths, ledger.records)]
    return {entry.row: entry.line for entry in rewriting.in_order(parts, _ROWS, None)}


@settings(deadline=None, max_examples=60)
@given(_steps)
def test_the_files_have_the_last_result_of_each_row(steps: List[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(os.path.join(folder, "out.jsonl"))
        store = Store(paths, None)
        model: _Model = {}
        try:
            for number, step in enumerate(steps):
                store = _apply(store, model, step, number)
                assert _states(store) == {row: state for row, (state, _) in model.items()}
            store.close_failures()
            store.end("complete")
        finally:
            store.close()
        assert _final_lines(paths) == {row: line for row, (_, line) in model.items()}
        ledger = load_ledger(paths)
        assert ledger.ended == "complete"
        closed = sum(state != SUCCEEDED for state, _ in model.values())
        assert ledger.rows[CLOSED].count == closed
        assert ledger.lines - ledger.superseded == len(model)
