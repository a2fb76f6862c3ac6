"""Write a new output in the order of the rows, from an earlier output or from several parts.

A run does this at its end if its output has lines that no longer count, such as the error of a row
that was sent again. `merge` does it with the outputs of all shards. The new files have other names
until they are complete. Then they are renamed: first the output, and then its journal. If the
process is killed in between, the next run sees which of the two renames is missing.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from operator import gt
from typing import BinaryIO, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from localproviders.batch.audit import blocks_of, records_of
from localproviders.batch.bits import Bits
from localproviders.batch.journal import CHANGED, IN_FAILURES, IN_OUTPUT, MARKS, JournalRecord
from localproviders.batch.paths import RunPaths, sync_folder
from localproviders.batch.store import Entry, Store
from localproviders.errors import IntegrityError

# An entry of the index, which says where the line of a row is: index of the part plus 1, state of
# the row, digest of its content, offset and length of the line, tokens of prompt and answer.
_PLACE = struct.Struct("<IIQQIII")
_BLOCK = 1024


class Part(NamedTuple):
    """One of the outputs whose lines go into the new output. It was checked before.

    Attributes:
        paths: The paths of its files.
        records: Number of records in its journal.
    """

    paths: RunPaths
    records: int


def in_order(
    parts: Sequence[Part], rows: int, folder: Optional[str], *, failures: bool = False
) -> Iterator[Entry]:
    """Yield the last line of each row, in the order of the rows.

    Args:
        parts: The outputs.
        rows: Number of rows.
        folder: Folder for a temporary file; None uses the system's temporary folder.
        failures: Whether lines in the files of failures are used, too.

    Raises:
        IntegrityError: A row is in two parts.
    """
    with contextlib.ExitStack() as stack:
        yield from open_in_order(parts, rows, folder, stack, failures=failures)


def open_in_order(
    parts: Sequence[Part],
    rows: int,
    folder: Optional[str],
    stack: contextlib.ExitStack,
    *,
    failures: bool = False,
) -> Iterator[Entry]:
    """Open all files, and return an iterator over the entries that `in_order` yields.

    Args:
        parts: The outputs.
        rows: Number of rows.
        folder: Folder for a temporary file; None uses the system's temporary folder.
        stack: Closes the files after the last entry.
        failures: Whether lines in the files of failures are used, too.

    Raises:
        IntegrityError: A row is in two parts.
    """
    states = (*IN_OUTPUT, *IN_FAILURES) if failures else IN_OUTPUT
    index = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115  # stack owns it
    _write_index(parts, index, states)
    files = [_files_of(part.paths, failures, stack) for part in parts]
    return _entries(index, rows, files)


def _entries(
    index: BinaryIO, rows: int, files: Sequence[Tuple[BinaryIO, Optional[BinaryIO]]]
) -> Iterator[Entry]:
    index.seek(0)
    for row in range(rows):
        data = index.read(_PLACE.size)
        if len(data) == _PLACE.size and any(data):
            yield _entry(row, data, files)


def _files_of(
    paths: RunPaths, failures: bool, stack: contextlib.ExitStack
) -> Tuple[BinaryIO, Optional[BinaryIO]]:
    output = stack.enter_context(open(paths.output, "rb"))  # noqa: SIM115  # the stack closes it
    if not (failures and os.path.exists(paths.failures)):
        return output, None
    other = stack.enter_context(open(paths.failures, "rb"))  # noqa: SIM115  # the stack closes it
    return output, other


def _entry(row: int, data: bytes, files: Sequence[Tuple[BinaryIO, Optional[BinaryIO]]]) -> Entry:
    part, state, digest, offset, length, prompt, completion = _PLACE.unpack(data)
    output, failures = files[part - 1]
    file = output if failures is None or state in IN_OUTPUT else failures
    file.seek(offset)
    return Entry(row, digest, state, file.read(length), prompt, completion, part - 1)


def _write_index(parts: Sequence[Part], index: BinaryIO, states: Sequence[int]) -> None:
    """Write the index: for each row number, an entry that says where the row's last line is."""
    seen = Bits()
    for number, part in enumerate(parts, 1):
        own = Bits()
        for record in records_of(part.paths.journal, 0, part.records):
            if record.state in states and own.add(record.row) and not seen.add(record.row):
                raise IntegrityError(
                    f"row {record.row} is in {part.paths.output!r} and in another part",
                    path=part.paths.output,
                    hint="merge each part once",
                )
            data = _place_of(number, record, states)
            if data:
                index.seek(record.row * _PLACE.size)
                index.write(data)


def _place_of(part: int, record: JournalRecord, states: Sequence[int]) -> bytes:
    """Return the index entry for a record; empty if the record does not change the index.

    For a row whose content has changed, the entry consists of zero bytes.
    """
    if record.state == CHANGED:
        return bytes(_PLACE.size)
    if record.state not in states:
        return b""
    tokens = (record.prompt_tokens, record.completion_tokens)
    return _PLACE.pack(part, record.state, record.digest, record.offset, record.length, *tokens)


def is_in_order(part: Part) -> bool:
    """Return whether the lines of an output have the order of the rows."""
    last = -1
    for block in blocks_of(part.paths.journal, 0, part.records):
        rows = [row for row, state in zip(block.rows, block.states) if state in IN_OUTPUT]
        if any(map(gt, [last, *rows], rows)):
            return False
        last = rows[-1] if rows else last
    return True


def fill(store: Store, entries: Iterator[Entry], head: bytes) -> int:
    """Write entries to a new store; return their number.

    Args:
        store: The new store.
        entries: The entries.
        head: The bytes at the beginning of the output.
    """
    store.put_head(head)
    count = 0
    batch: List[Entry] = []
    for entry in entries:
        batch.append(entry)
        count += 1
        if len(batch) == _BLOCK:
            store.add(batch)
            batch = []
    store.add(batch)
    return count


# --- names ------------------------------------------------------------------------------------


def beside(paths: RunPaths) -> RunPaths:
    """Return the paths of the new files beside an output."""
    return RunPaths(f"{paths.output}.new")


def put_in_place(paths: RunPaths) -> None:
    """Replace an output and its journal with the new ones beside them."""
    new = beside(paths)
    os.replace(new.output, paths.output)
    sync_folder(paths.folder)
    finish(paths)


def finish(paths: RunPaths) -> None:
    """Rename the new journal, and remove the files that are no longer needed."""
    new = beside(paths)
    os.replace(new.journal, paths.journal)
    sync_folder(paths.folder)
    for path in (new.failures, paths.failures):
        _remove(path)


def recover(paths: RunPaths) -> None:
    """Finish a replacement that was interrupted. The caller holds the lock."""
    new = beside(paths)
    if os.path.exists(new.output):  # the new output may be incomplete; the old one is still there
        remove_beside(paths)
    elif os.path.exists(new.journal):
        finish(paths)


def for_reading(paths: RunPaths) -> RunPaths:
    """Return the valid paths of an output, even if its replacement was interrupted."""
    new = beside(paths)
    if os.path.exists(new.journal) and not os.path.exists(new.output):
        found = RunPaths(paths.output)
        found.journal = new.journal
        return found
    return paths


def remove_journal(paths: RunPaths) -> None:
    """Remove the journal of an output that will be replaced by a new output and a new journal."""
    _remove(paths.journal)


def remove_beside(paths: RunPaths) -> None:
    """Remove new files that will not be used.

    The journal comes first: a new journal without a new output would be taken for the result of a
    replacement.
    """
    new = beside(paths)
    for path in (new.journal, new.output, new.failures):
        _remove(path)


def head_of(part: Part) -> bytes:
    """Return the beginning of an output before its first line, such as the names of columns."""
    for record in records_of(part.paths.journal, 0, part.records):
        if record.state in (*IN_OUTPUT, *MARKS):
            with open(part.paths.output, "rb") as file:
                return file.read(record.offset)
    return b""


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
