"""docs/configuration.md says what the code does."""

from __future__ import annotations

import re
from typing import Any, Dict, List

import pytest

from localproviders.config.keys import ANY, KEYS, OTHERS, PREFIX
from localproviders.types import Limits, RetryPolicy
from tests.config.conftest import Machine
from tests.docs_support import ROOT, Block, blocks

_PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
_BLOCKS = blocks("toml")


def rows() -> List[str]:
    """Write the table of keys out of the code's own."""
    return [
        f"| `{key.dotted}` | {key.default} | {f'`{key.variable}`' if key.variable else 'none'} "
        f"| {'yes' if key.in_project else 'no'} | {key.meaning} | `{key.example}` |"
        for key in KEYS
    ]


def test_the_table_of_the_page_is_the_table_of_the_code() -> None:
    told = [line for line in _PAGE.splitlines() if line.startswith("| `")]
    assert told == rows()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.dotted)
def test_each_example_is_taken_where_it_belongs(machine: Machine, key: Any) -> None:
    machine.environ["EXAMPLE_API_KEY"] = "sk-1"
    path = [part if part != ANY else "x" for part in key.path]
    name = key.example.split(" =")[0]
    extra = "" if path[0] != "servers" else "[servers.x]\n"
    if path[0] == "servers" and name not in ("kind", "gguf"):
        extra += "kind = 'ollama'\n" + ("locality = 'any'\n" if name == "proxies" else "")
    if path[0] == "fallback":
        extra = ""
        machine.system("[servers.gpu-box]\nkind = 'ollama'\n")
    tables = path[:-1]
    table = f"[{'.'.join(tables)}]\n" if tables and path[:-1] != ["servers", "x"] else ""
    machine.user(f"{extra}{table}{key.example}\n")
    found = machine.load()
    written = ".".join([*path[:-1], name])
    assert found.origin_of(written).kind == "file"


def test_the_defaults_of_the_numbers_are_those_of_their_records() -> None:
    told: Dict[str, float] = {
        key.path[-1]: float(key.default) for key in KEYS if key.path[0] in ("limits", "retry")
    }
    assert told == {**vars(Limits()), **vars(RetryPolicy())}


@pytest.mark.parametrize("block", _BLOCKS, ids=str)
def test_each_file_of_the_page_is_taken(machine: Machine, block: Block) -> None:
    machine.environ["EXAMPLE_API_KEY"] = "sk-1"
    before = _PAGE[: _PAGE.index(block.text)].rstrip("`tom\n").splitlines()[-1]
    write = machine.project if before.startswith("A project's file") else machine.user
    write(block.text)
    assert machine.load().servers


def test_the_profile_of_the_page_closes_every_server(machine: Machine) -> None:
    machine.environ["EXAMPLE_API_KEY"] = "sk-1"
    machine.user(_BLOCKS[0].text)
    assert {one.locality for one in machine.load().servers} == {"loopback", "any"}
    closed = machine.load(profile="confidential")
    assert {one.locality for one in closed.servers} == {"loopback"}


def test_each_variable_with_our_prefix_is_known() -> None:
    known = {key.variable for key in KEYS} | OTHERS
    named = set()
    for path in [
        *ROOT.glob("localproviders/**/*.py"),
        *ROOT.glob("docs/*.md"),
        ROOT / ".ci" / "run",
    ]:
        named |= set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", path.read_text("utf-8")))
    assert named - known == set()


@pytest.mark.parametrize("row", [key for key in KEYS if not key.in_project], ids=str)
def test_the_page_lists_what_a_project_may_not_have(row: Any) -> None:
    section = _PAGE.split("## A project's file")[1].split("\n## ")[0]
    assert f"`{row.path[-1]}`" in section
