"""Repeated ids are found in constant memory."""

from __future__ import annotations

import random
from typing import List

import pytest

from localproviders.batch import ids
from localproviders.batch.ids import IdCheck, hash_of


def _repeated(names: List[str]) -> List[str]:
    check = IdCheck()
    for name in names:
        check.add(name)
    found = check.repeated()
    check.close()
    return sorted({name for name in names if hash_of(name) in found})


def test_different_ids_are_not_repeated() -> None:
    assert _repeated([f"row-{number}" for number in range(5000)]) == []


def test_repeated_ids_are_found() -> None:
    assert _repeated(["a", "b", "c", "b", "a", "d"]) == ["a", "b"]


def test_ids_on_the_disk_are_compared_with_those_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "_BLOCK", 2)
    names = [f"row-{number}" for number in range(20_000)]
    names += ["row-7", "row-19999", "row-12345"]
    random.Random(3).shuffle(names)
    assert _repeated(names) == ["row-12345", "row-19999", "row-7"]


def test_any_text_can_be_an_id() -> None:
    assert _repeated(["\ud800", "", "\0", "\ud800"]) == ["\ud800"]
