"""The shell blocks of `docs/command.md` run, and its tables name the options that exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from localproviders.cli import verbs
from localproviders.cli.parser import Parser
from tests.support.docs import ROOT, Block, blocks, running

_PAGE = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
_BLOCKS = [block for block in blocks("sh") if block.page.name == "command.md"]
_GROUPS = ("Models", "Servers and settings")
_OWN = [
    name for name in verbs.ENTRIES if name in verbs.GROUPS["Models"] or name.startswith("config ")
]


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("block", _BLOCKS, ids=str)
def test_the_block_runs(block: Block, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "localproviders"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localproviders "$@"\n', "utf-8")
    command.chmod(0o755)
    (tmp_path / "work").mkdir()
    with running() as servers:
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", block.text],
            cwd=str(tmp_path / "work"),
            env={
                "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "HOME": str(tmp_path),
                "OLLAMA_HOST": servers.ollama.url,
                "LANG": "C",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=300,
        )
    assert (done.returncode, done.stderr.decode()) == (0, ""), done.stdout.decode()


def _parser(name: str) -> Parser:
    verb = verbs.load(name)
    parser = Parser(name, verb.description, verb.example)
    verb.add_arguments(parser)
    return parser


def _row(name: str) -> str:
    found: List[str] = re.findall(rf"^\| `{name}(?: [A-Z ]+)?` \|.*$", _PAGE, re.MULTILINE)
    (row,) = found
    return row


@pytest.mark.parametrize("name", _OWN)
def test_each_verb_has_a_row_with_its_own_options(name: str) -> None:
    parser = _parser(name)
    shared = {"--help", "--host", "--profile", "--locality", "--model"}
    own = {option for option in parser.option_names() if option.startswith("--")} - shared
    written = {"-f": "--file"}
    named = {written.get(each, each) for each in re.findall(r"(?<![\w-])--?[a-z-]+", _row(name))}
    assert own <= named, own - named


@pytest.mark.parametrize("name", _OWN)
def test_the_page_of_help_fits_on_a_screen(name: str) -> None:
    from localproviders.cli.options import add_shared

    parser = _parser(name)
    add_shared(parser)
    lines = parser.format_help().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert parser.example.startswith("localproviders ")
