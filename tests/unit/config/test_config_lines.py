"""An error names the line of a key, or the line of its table, or no line."""

from __future__ import annotations

import time
from typing import Dict, Optional

import pytest

from localproviders.config.files import _lines_of
from tests.unit.config.conftest import Machine

_FILE = """\
# locality = "comment"
locality = "private" # strategy = "first"
limits.total_s = 9
limits = {}
[ aliases ] # [not.this]
fast = [ # [in.a.list]
  "locality = 1",
  "b", # strategy = 2
]
"a.b" = ["x = 'y'"]
'c d' = ["["]
[servers . box]
kind = "ollama"
retry = {attempts = 2}
[servers.'other'.limits]
\ttotal_s = 3
[servers.other]
kind = 'ollama'
"""
_EXPECTED: Dict[str, int] = {
    "locality": 2, "limits.total_s": 3, "aliases.fast": 6, "aliases.a.b": 10, "aliases.c d": 11,
    "servers.box.kind": 13, "servers.box.retry.attempts": 14, "servers.other.limits.total_s": 16,
    "servers.other.kind": 18, "servers.other": 15,
}  # fmt: skip


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("key", _EXPECTED)
def test_a_key_has_the_line_that_it_stands_in(machine: Machine, key: str, ends: str) -> None:
    machine.user(_FILE.replace("limits = {}\n", "\n").replace("\n", ends))
    assert machine.load().origin_of(key).line == _EXPECTED[key]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('model = """\nlocality = "any"\n"""\nlocality = "loopback"', None),
        ("model = '''\nlocality = \"any\"\n'''\nlocality = \"loopback\"", None),
        ('"loc\\u0061lity" = "loopback"', None),
    ],
)
def test_where_it_is_not_certain_there_is_no_line(
    machine: Machine, text: str, line: Optional[int]
) -> None:
    machine.user(text)
    origin = machine.load().origin_of("locality")
    assert origin.kind == "file" and origin.line is line


def test_a_key_that_is_not_found_has_the_line_of_its_table(machine: Machine) -> None:
    machine.user('\n[servers.ollama]\n"mod\\u0065l" = "m"')
    assert machine.load().origin_of("servers.ollama.model").line == 2


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "text",
    [
        *("a" + " " * 1_000_000, '"' * 1_000_000, "[" + " \t" * 500_000, "a" * 1_000_000),
        f"[{'.'.join('a' * 900)}]\n" + "b = 1\n" * 20_000,
    ],
    ids=lambda text: text[:3],
)
def test_a_long_text_takes_no_long_time(text: str) -> None:
    started = time.process_time()
    assert _lines_of(text) == {}
    assert time.process_time() - started < 1.0
