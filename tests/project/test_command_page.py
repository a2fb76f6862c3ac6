"""The page about the command: its blocks run in a shell, its tables name all options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from localproviders.cli import verbs
from localproviders.cli.options import INPUT, MODEL, REQUEST
from localproviders.cli.parser import Parser
from localproviders.testing import FakeLlamaCpp, FakeModel, FakeOllama
from tests.support.docs import ROOT, Block, blocks

PAGE = ROOT / "docs" / "command.md"
BLOCKS = [block for block in blocks("sh") if block.page == PAGE]

_Shell = Callable[[str], Any]

#: The files that the blocks read.
FILES = {
    "letter.txt": "Dear Ms Ng, I was charged twice in May. Please send 12 euros back.",
    "notes.txt": "The pump is loud.\nThe invoice is overdue.\nA puppy plays outside.\n",
    "mails.csv": "id,title,body\n1,Refund,I was charged twice!\n2,Thanks,It works now.\n",
    "city.json": '{"type": "object", "properties": {"name": {"type": "string"}}}',
    "questions.json": '{"angry": "Is the customer angry?", "topic": ["billing", "support"]}',
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[_Shell]:
    """Return a function that runs a script, with the command and two fake servers."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    program = tmp_path / "bin" / "localproviders"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m localproviders "$@"\n')
    program.chmod(0o755)
    models = ["llama3.2", "nomic-embed-text", FakeModel(name="nimble", abilities=("decision",))]
    with FakeOllama(models) as ollama, FakeLlamaCpp(["my-reranker"]) as llamacpp:
        ollama.usual = '{"name": "Oslo"}'
        env = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "OLLAMA_HOST": ollama.url,
            "LOCALPROVIDERS_SERVERS_LLAMACPP_ENDPOINT": llamacpp.url,
        }

        def run(text: str) -> subprocess.CompletedProcess[bytes]:
            pipe = subprocess.PIPE
            return subprocess.run(
                ["/bin/sh", "-e", "-c", text], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
                stdout=pipe, stderr=pipe, timeout=120, check=False,
            )  # fmt: skip

        yield run


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_runs_in_a_shell(block: Block, shell: _Shell, tmp_path: Path) -> None:
    done = shell(block.text)
    assert (done.returncode, done.stderr) == (0, b"")
    for name in re.findall(r"(?:> |-o |--ids )([a-z]+\.[a-z0-9]+)", block.text):
        assert (tmp_path / name).stat().st_size > 0


_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
_ROWS = dict(_ROW.findall(PAGE.read_text("utf-8")))
_SHARED = {option.names[-1] for option in (*MODEL, *REQUEST, *INPUT)} | {"--help"}


@pytest.mark.parametrize("name", ["parse", "decide", "embed", "rerank"])
def test_the_table_names_the_options_of_a_verb(name: str) -> None:
    parser = Parser(name)
    verbs.load(name).add_arguments(parser)
    own = {each for each in parser.option_names() if each.startswith("--")} - _SHARED
    assert set(re.findall(r"--[a-z-]+", _ROWS[name])) == own


@pytest.mark.parametrize("name", ["parse", "decide", "embed", "rerank"])
def test_a_page_of_help_has_at_most_40_lines_of_80_columns(name: str) -> None:
    command = [sys.executable, "-m", "localproviders", "help", name]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    page = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env).stdout.decode()
    lines = page.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert f"  localproviders {name} " in page.partition("example:\n")[2]
