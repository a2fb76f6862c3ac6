"""The bytes of a journal."""

from __future__ import annotations

from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders.batch.journal import (
    HEADER_SIZE,
    RECORD_SIZE,
    Block,
    JournalRecord,
    is_intact,
    pack_header,
    pack_record,
    read_header,
    small,
    unpack_record,
)

_RUN = bytes(range(16))
_long, _short = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
_records = st.builds(
    JournalRecord,
    *(_long, _long, _long, _long, _short, _short, _short, _short),
    state=st.integers(1, 18),
    reason=st.integers(0, 5),
)


@given(_records, st.integers(0, 10**9))
def test_a_record_is_read_as_it_was_written(record: JournalRecord, index: int) -> None:
    data = pack_record(record, _RUN, index)
    assert len(data) == RECORD_SIZE
    assert unpack_record(data) == record
    assert is_intact(data, _RUN, index)


@given(_records, st.integers(0, RECORD_SIZE - 1), st.integers(1, 255))
def test_a_changed_byte_of_a_record_is_found(
    record: JournalRecord, place: int, change: int
) -> None:
    data = bytearray(pack_record(record, _RUN, 5))
    data[place] ^= change
    assert not is_intact(bytes(data), _RUN, 5)


@given(_records, st.integers(0, 10**9))
def test_a_record_cannot_be_in_another_place_or_run(record: JournalRecord, index: int) -> None:
    data = pack_record(record, _RUN, 17)
    assert is_intact(data, _RUN, index) == (index == 17)
    assert not is_intact(data, bytes(16), 17)


@given(st.lists(_records, min_size=1, max_size=9))
def test_a_block_has_the_columns_of_its_records(records: List[JournalRecord]) -> None:
    block = Block(b"".join(pack_record(each, _RUN, i) for i, each in enumerate(records)))
    assert [block[index] for index in range(len(block))] == records
    assert list(block.rows) == [each.row for each in records]
    assert list(block.digests) == [each.digest for each in records]
    assert list(block.states) == [each.state for each in records]
    assert block.tokens == [
        sum(each.prompt_tokens for each in records),
        sum(each.completion_tokens for each in records),
    ]
    last = records[-1].state
    assert block.last_of((last, 99)) == len(records) - 1
    assert block.last_of((99,)) == -1


def test_a_header() -> None:
    header = pack_header(_RUN)
    assert len(header) == HEADER_SIZE
    assert read_header(header) == _RUN
    for place in range(HEADER_SIZE):
        changed = bytearray(header)
        changed[place] ^= 1
        with pytest.raises(ValueError, match=r"it is not a journal|its header was changed"):
            read_header(bytes(changed))
    with pytest.raises(ValueError, match="it is not a journal"):
        read_header(header[:-1])


def test_numbers_that_do_not_fit_into_their_field() -> None:
    assert [small(each) for each in (None, -1, 5, 2**40)] == [0, 0, 5, 2**32 - 1]
