"""`docs/configuration.md` agrees with the code."""

from __future__ import annotations

import re
from typing import Any, Dict, List

import pytest

from localproviders import ConfigurationError, kinds
from localproviders.config.keys import (
    ANY,
    KEYS,
    OTHER_VARIABLES,
    PREFIX,
    PROJECT,
    Key,
    keys_of_kinds,
)
from localproviders.config.project_file import CHECKS
from localproviders.kinds import ProviderKind
from localproviders.types import Limits, RetryPolicy
from tests.support.docs import ROOT, Block, blocks
from tests.unit.config.conftest import Machine

#: The keys for all servers, then the keys for some provider kinds.
_KEYS = (*KEYS, *keys_of_kinds())
_PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
_BLOCKS = [block for block in blocks("toml") if block.page.name == "configuration.md"]


def rows() -> List[str]:
    """Return the rows of the table of keys, made from the keys in the code."""
    return [
        f"| `{key.dotted}` | {key.default} | {f'`{key.variable}`' if key.variable else 'none'} "
        f"| {key.project} | {key.meaning} | `{key.example}` |"
        for key in _KEYS
    ]


def _rows_of(heading: str) -> List[str]:
    section = _PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_the_table_of_the_page_is_the_table_of_the_code() -> None:
    assert _rows_of("The keys") == rows()


def _kind_row(kind: ProviderKind) -> str:
    keys = [f"`{key.name}`" + (" (required)" if key.is_required else "") for key in kind.keys]
    hosts = [f"for `{host}`" for host in kind.key_hosts]
    cells = ([kind.default_address], [kind.address_variable], kind.key_variables)
    address, variable, secrets = [[f"`{cell}`" for cell in each if cell] for each in cells]
    told = [", ".join(each) or "none" for each in (address, variable, [*secrets, *hosts], keys)]
    return f"| `{kind.name}` | {kind.title} | {' | '.join(told)} |"


def test_the_page_has_each_kind_of_the_registry() -> None:
    assert _rows_of("Kinds") == [_kind_row(kind) for kind in kinds.registered()]


def test_the_page_says_what_each_word_about_a_project_means() -> None:
    told = _rows_of("A project's file")
    keys: Dict[str, str] = {}
    for word in PROJECT:
        dotted = dict.fromkeys(_short(key) for key in _KEYS if key.project == word)
        keys[word] = ", ".join(f"`{each}`" for each in dotted)
    assert told == [f"| `{word}` | {PROJECT[word]} | {keys[word]} |" for word in PROJECT]


def _short(key: Key) -> str:
    """Return the path of a key, the same for the limits of one server and of all servers."""
    is_number = key.path[-2:-1] in (("limits",), ("retry",))
    return ".".join(key.path[-2:]) if is_number else key.dotted


def test_each_word_about_a_project_has_a_check_and_a_key() -> None:
    assert set(CHECKS) == set(PROJECT) == {key.project for key in _KEYS}


def test_no_secret_and_no_place_is_a_matter_of_a_project() -> None:
    free = {key.dotted for key in _KEYS if key.project not in ("no", "own")}
    assert free == {
        *("model", "strategy", "locality", "fallback", "aliases.NAME"),
        *(f"limits.{limit}" for limit in vars(Limits())),
        *("retry.attempts", "servers.NAME.retry.attempts", "servers.NAME.model"),
        *(f"servers.NAME.limits.{limit}" for limit in vars(Limits())),
        *("servers.NAME.locality", "servers.NAME.max_tokens"),
    }


#: Lines without which a key is an error.
_NEEDED = {
    "proxies": "locality = 'any'\n",
    "username": "password = 'p'\n",
    "password": "username = 'u'\n",
}


@pytest.mark.parametrize("key", _KEYS, ids=lambda key: key.dotted)
def test_each_example_is_taken_where_it_belongs(machine: Machine, key: Any) -> None:
    machine.environ.update({"EXAMPLE_API_KEY": "sk-1", "EXAMPLE_PASSWORD": "p"})
    path = [part if part != ANY else "x" for part in key.path]
    name = key.example.split(" =")[0]
    extra = "" if path[0] != "servers" else "[servers.x]\n"
    if path[0] == "servers" and name not in ("kind", "gguf"):
        kind = "anthropic" if name == "max_tokens" else "ollama"
        extra += f"kind = '{kind}'\n" + _NEEDED.get(name, "")
    if path[0] == "fallback_locality":
        extra = "[aliases]\ncareful = ['ollama/a', 'openai/b']\n"
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
        key.path[-1]: float(key.default) for key in _KEYS if key.path[0] in ("limits", "retry")
    }
    assert told == {**vars(Limits()), **vars(RetryPolicy())}


@pytest.mark.parametrize("block", _BLOCKS, ids=str)
def test_each_file_of_the_page_is_taken(machine: Machine, block: Block) -> None:
    machine.environ.update({"EXAMPLE_API_KEY": "sk-1", "EXAMPLE_PASSWORD": "p"})
    _, *rest = _PAGE[: _PAGE.index(block.text)].split("A project's file:")
    if rest:
        machine.user(_BLOCKS[0].text.replace("/srv/team", str(machine.work.parent / "team")))
    write = machine.project if rest else machine.user
    if "trusted_folders = [" in "".join(rest):
        with pytest.raises(ConfigurationError, match="is a new server, which"):
            write(block.text)
            machine.load()
        machine.user(_BLOCKS[0].text.replace("/srv/team", str(machine.work)))
    write(block.text)
    assert machine.load().servers


def test_the_profile_of_the_page_closes_every_server(machine: Machine) -> None:
    machine.environ.update({"EXAMPLE_API_KEY": "sk-1", "EXAMPLE_PASSWORD": "p"})
    machine.user(_BLOCKS[0].text)
    assert {one.locality for one in machine.load().servers} == {"loopback", "any"}
    closed = machine.load(profile="confidential")
    assert {one.locality for one in closed.servers} == {"loopback"}


def test_each_variable_with_our_prefix_is_known() -> None:
    known = {key.variable for key in _KEYS} | OTHER_VARIABLES
    named = set()
    for path in [
        *ROOT.glob("localproviders/**/*.py"),
        *ROOT.glob("docs/*.md"),
        ROOT / ".ci" / "run",
    ]:
        named |= set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", path.read_text("utf-8")))
    # The servers of examples, and a misspelt variable.
    for server in ("_GPU_BOX_", "_BOX_", "_STUDIO_", "_LMSTUDIO_", "_ANTHROPIC_", "_OLLAMA_"):
        known |= {str(each).replace("_NAME_", server) for each in known}
    known |= {"LOCALPROVIDERS_MODLE"}
    assert named - known == set()
