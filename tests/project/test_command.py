"""The command: its pages of help, and the shell blocks about it in the pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, List

import pytest

from localproviders.cli import main, options, verbs
from localproviders.cli.parser import Parser
from localproviders.cli.usage import UsageError
from localproviders.testing import FakeModel
from tests.support.docs import PAGES, ROOT, Block, Servers, blocks, running
from tests.support.shell import environment, run_shell
from tests.support.terminal import WHY_NOT, Terminal

#: Verbs whose examples need internet, the engine or an end, with the test that runs them.
_ELSEWHERE = {
    "demo": "tests/unit/cli/test_demo.py",
    "engine install": "tests/unit/cli/test_engine.py",
}

_BLOCKS = [block for block in blocks("sh") if "localproviders " in block.text]


@pytest.fixture
def servers() -> Iterator[Servers]:
    with running() as found:
        found.ollama.models += [
            FakeModel(name="nimble", abilities=("decision",)),
            FakeModel(name="me/llama3.2"),
            FakeModel(name="nomic-embed-text", abilities=("embeddings",)),
        ]
        found.llamacpp.models.append(FakeModel(name="my-reranker", abilities=("rerank",)))
        yield found


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(verbs.ENTRIES))
def test_a_page_of_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    page = capsys.readouterr().out
    assert main(["help", *name.split()]) == 0
    assert capsys.readouterr().out == page
    lines = page.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"usage: localproviders {name}")
    assert "example:" in lines


@pytest.mark.parametrize("name", [name for name in verbs.ENTRIES if name not in _ELSEWHERE])
def test_the_example_of_a_page_runs(name: str, servers: Servers, tmp_path: Path) -> None:
    done = run_shell(verbs.load(name).example, tmp_path, environment(servers, tmp_path))
    assert done.returncode == 0, done.stderr


def test_the_other_examples_are_run_by_a_test_that_exists() -> None:
    for name, path in _ELSEWHERE.items():
        assert name in verbs.ENTRIES
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("name", list(verbs.ENTRIES))
def test_each_verb_has_a_row_in_the_page(name: str) -> None:
    assert re.search(rf"^\| `{name}\b", _page("command.md"), re.MULTILINE)


def test_each_module_of_a_verb_exists_and_has_it() -> None:
    folder = ROOT / "localproviders" / "cli"
    assert [
        each.module
        for each in verbs.ENTRIES.values()
        if not (folder / f"{each.module}.py").exists()
    ] == []
    for name in verbs.ENTRIES:
        assert verbs.load(name).description


def _commands(text: str) -> List[str]:
    return re.findall(r"^localproviders ([a-z-]+(?: [a-z-]+)?)", text, re.MULTILINE)


@pytest.mark.parametrize("text", [block.text for block in _BLOCKS])
def test_a_shell_block_names_existing_verbs(text: str) -> None:
    for words in _commands(text):
        try:
            verbs.split(words.split())
        except UsageError as error:
            pytest.fail(str(error))


_COMMAND_BLOCKS: List[Block] = [b for b in _BLOCKS if b.page.name in ("command.md", "batch.md")]


@pytest.mark.parametrize("block", _COMMAND_BLOCKS, ids=str)
def test_a_block_of_the_pages_about_the_command_runs(
    block: Block, servers: Servers, tmp_path: Path
) -> None:
    done = run_shell(block.text, tmp_path, environment(servers, tmp_path))
    assert done.returncode == 0, done.stderr
    for name in re.findall(r"(?:> |-o |--ids )([a-z_]+\.[a-z0-9]+)", block.text):
        assert (tmp_path / name).stat().st_size > 0


_ROWS = dict(re.findall(r"^\| `([a-z -]+)` \| .+ \|(.*)\|$", _page("command.md"), re.MULTILINE))
_GROUPS = (*options.MODEL, *options.REQUEST, *options.INPUT, *options.SHARED.values())
_SHARED = {name for option in _GROUPS for name in option.names} | {"--help"}


@pytest.mark.parametrize("name", list(verbs.ENTRIES))
def test_the_row_of_a_verb_names_its_own_options(name: str) -> None:
    parser = Parser(name)
    verbs.load(name).add_arguments(parser)
    names = {each for each in parser.option_names() if each.startswith("--")}
    named = set(re.findall(r"--[a-z-]+", _ROWS[name]))
    assert names - _SHARED <= named <= names


_TALKS = [b for b in blocks("console") if b.text.startswith("$ localproviders chat ")]


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.parametrize("block", _TALKS, ids=str)
def test_a_conversation_of_a_page(block: Block, servers: Servers, tmp_path: Path) -> None:
    command, _, shown = block.text.partition("\n")
    env = {**environment(servers, tmp_path), "TERM": "dumb"}
    with Terminal(["/bin/sh", "-c", command[2:]], env, cwd=tmp_path) as terminal:
        for prompt, line in re.findall(r"^(> |\.\.\. )(.*)$", shown, re.MULTILINE):
            terminal.expect(prompt)
            terminal.type(line)
            terminal.expect("\n")
        assert terminal.end() == 0
    assert terminal.shown == shown


def test_the_pages_have_a_conversation_on_a_terminal() -> None:
    assert _TALKS


def test_the_page_has_every_exit_code() -> None:
    table = _page("command.md")
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 74, 75, 129, 130, 143):
        assert re.search(rf"^\| {code} \|", table, re.MULTILINE), code
    assert PAGES
