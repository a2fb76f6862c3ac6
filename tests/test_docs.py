"""Every block of README and docs does what it says; every link leads somewhere."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest

from localproviders import CallEvent, DependencyError, errors
from localproviders.cli import main as command
from localproviders.discovery import forget
from localproviders.discovery.candidates import PORTS, WEBSOCKET_PORTS
from localproviders.exporters.measures import METRICS
from localproviders.schema.keywords import KEYWORDS
from localproviders.testing import FakeModel
from localproviders.types import Limits
from tests.docs_support import PAGES, ROOT, Block, Servers, blocks, running

PYTHON = blocks("python")
SHELL = blocks("sh")
TOML = blocks("toml")  # tests/config loads them

# What a page writes for a real server, and the environment around it.
ADDRESSES = ("https://api.example.com", "http://127.0.0.1:8080")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Servers]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.txt").write_text("Nothing happened.", encoding="utf-8")
    (tmp_path / "model.gguf").write_bytes(b"GGUF and more")
    with running() as servers:
        monkeypatch.setenv("OLLAMA_HOST", servers.ollama.url)
        monkeypatch.setenv("EXAMPLE_API_KEY", "a-test-key")
        monkeypatch.delenv("DEPLOYED", raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setattr("localproviders.lmstudio.provider._PORT", servers.lmstudio.port)
        monkeypatch.setattr("localproviders.lmstudio.downloads.WAITS_S", (0.01, 0.01))
        ports = {servers.lmstudio.port: "LM Studio", servers.openai.port: "somebody"}
        monkeypatch.setattr("localproviders.discovery.candidates.PORTS", ports)
        forget()
        yield servers


def run(block: Block, server: Servers, old: str = "", new: str = "") -> None:
    """Execute a block as a script, at the line where it stands in its page."""
    assert old in block.text
    text = block.text.replace(old, new) if old else block.text
    for address in ADDRESSES:
        text = text.replace(address, server.openai.url)
    # As a user's own file: not with what this one imports from __future__.
    code = compile("\n" * block.line + text, str(block.page), "exec", dont_inherit=True)
    exec(code, {"__name__": "__main__"})


def the_block(words: str) -> Block:
    (found,) = [block for block in PYTHON if words in block.text]
    return found


def test_there_are_blocks_in_every_page_that_shows_how() -> None:
    assert {block.page.name for block in PYTHON} >= {
        "README.md",
        "models.md",
        "reliability.md",
        "setup.md",
        "structured.md",
        "tools.md",
    }
    fences = sum(len(re.findall(r"^ *```\w", p.read_text("utf-8"), re.MULTILINE)) for p in PAGES)
    assert fences == len(PYTHON) + len(SHELL) + len(TOML) + len(INDENTED)


# Shell blocks inside lists.
INDENTED = [
    match.group(1)
    for page in PAGES
    for match in re.finditer(r"^ +```sh\n(.*?)^ +```$", page.read_text("utf-8"), re.M | re.S)
]


@pytest.mark.parametrize(
    "block", [block for block in PYTHON if "LocalEngine" not in block.text], ids=str
)
def test_block_runs(block: Block, server: Servers) -> None:
    try:
        run(block, server)
    except DependencyError as error:  # an exporter's package
        pytest.skip(str(error))


@pytest.mark.engine
@pytest.mark.parametrize(
    "block", [block for block in PYTHON if "LocalEngine" in block.text], ids=str
)
def test_block_runs_with_the_engine(block: Block, server: Servers) -> None:
    try:
        run(block, server)
    except DependencyError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("block", [b for b in PYTHON if "\ndef test_" in b.text], ids=str)
def test_block_is_a_test_that_passes(block: Block, tmp_path: Path) -> None:
    (tmp_path / "test_block.py").write_text(block.text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=str(tmp_path), timeout=120)
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert re.search(r"\d+ passed", said)


# --- what the blocks claim beside running --------------------------------------------------


def test_the_first_block_prints_the_answer_twice(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("vectors = ollama.embed"), server)
    assert capsys.readouterr().out == "The sky scatters blue.\nThe sky scatters blue."


def test_the_block_with_tools_prints_answer_and_results(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("print(run.text, [step"), server)
    assert capsys.readouterr().out == "The sky scatters blue. ['12 degrees and rain in Oslo']\n"


def test_the_block_with_a_value_prints_its_fields(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("class City"), server)
    assert capsys.readouterr().out == "Oslo 7\n"


def test_a_loop_that_was_stopped_goes_on_with_what_it_has(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("Answer with what you have."), server)
    assert capsys.readouterr().out == "0 calls were run\nThe sky scatters blue.\n"


def test_the_loop_by_hand_runs_its_tool(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("Delete the file"), server)
    assert capsys.readouterr().out == "The sky scatters blue.\n"
    assert "Oslo is gone" in str(server.ollama.exchanges[-1].json)


def test_a_value_that_never_fits_shows_reasons_and_text(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ollama.usual = '{"age": -1}'
    run(the_block("SchemaError"), server)
    said = capsys.readouterr().out
    assert said.startswith("no answer followed the schema in 2 attempts ('answer.age: is -1")
    assert said.endswith('{"age": -1}\n')


def test_the_deployed_block_asks_the_service_with_its_key(
    server: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYED", "1")
    run(the_block("DEPLOYED"), server)
    (exchange,) = server.openai.exchanges
    assert exchange.path == "/v1/chat/completions"
    assert exchange.headers["authorization"] == "Bearer a-test-key"


def test_the_page_of_schemas_says_what_its_blocks_print(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("schema_of(List[Item])"), server)
    told = " ".join(_page("schemas.md").split())
    for line in capsys.readouterr().out.splitlines():
        assert f"`{line}`" in told
    run(the_block("tool_from(weather)"), server)
    expected = "weather Tell the weather of today. ['city']\n20 °C in Oslo\n"
    assert capsys.readouterr().out == expected
    run(the_block('name="dice"'), server)
    assert capsys.readouterr().out == "{'sides': 20}\n" * 2


def test_the_page_of_schemas_lists_every_keyword() -> None:
    told = _page("schemas.md").partition("Draft 2020-12:")[2].partition("It passes")[0]
    words = set(re.findall(r"`([$\w]+)`", told)) - {"true", "false"}
    assert words == set(KEYWORDS) - {"$schema", "definitions"}


def test_a_configured_value_says_where_it_stands(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("config.origin_of"), server)
    expected = f"{tmp_path / 'localproviders.toml'}, line 3\n60\n"
    assert capsys.readouterr().out == expected


def test_an_overlong_report_gives_both_numbers(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.txt").write_text("word " * 5000, encoding="utf-8")
    run(the_block("too long: a prompt of"), server)
    assert capsys.readouterr().out == "too long: a prompt of 5002, a window of 4096\n"


def test_a_limit_keeps_the_text_so_far(server: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    server.ollama.break_next("body stalled")
    run(the_block("LimitError"), server, "idle_s=30", "idle_s=0.3")
    said = capsys.readouterr().out
    assert said == "idle_s of 0.3 s ran out; so far: The\n"


def test_another_error_ends_with_its_exit_code(
    server: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(SystemExit) as caught:
        run(the_block("LimitError"), server)
    assert caught.value.code == 5


def test_the_sources_of_facts_are_printed(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("known.evidence"), server)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("tools: POST /api/show: its capabilities are completion, tools")
    assert "max_context_length = 131072: reported, POST /api/show" in said


def test_what_a_model_lacks_is_refused_with_the_servers_fact(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("Think twice."), server)
    expected = "refused: POST /api/show: its capabilities are completion, tools\n"
    assert capsys.readouterr().out == expected
    assert {exchange.path for exchange in server.ollama.exchanges} == {"/api/tags", "/api/show"}


def test_a_count_says_who_counted(server: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    run(the_block("count_tokens"), server)
    expected = "7 exact the server's /apply-template and /tokenize\n"
    assert capsys.readouterr().out == expected


def test_a_refused_place_prints_the_line_that_allows_it(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("192.0.2.7"), server)
    assert 'pass locality="any"' in capsys.readouterr().out
    assert server.ollama.exchanges == []


def test_the_bar_of_a_pull_is_drawn(server: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    run(the_block("def bar(report)"), server)
    said = capsys.readouterr().out
    assert f"[{'#' * 40}]" in said and f"[{'#' * 10:<40}]" in said
    assert "\nsuccess\nqwen3:0.6b: " in said


def test_a_missing_model_is_told_with_a_hint(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("def bar(report)"), server, "qwen3:0.6b", "nope")
    assert "the registry has no such model" in capsys.readouterr().out


def test_a_push_without_leave_prints_the_line_that_allows_it(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("ollama.push"), server)
    assert capsys.readouterr().out.count('pass locality="any"') == 1
    assert server.ollama.pushed == ["me/mine:latest"]


def test_a_resident_model_is_gone_behind_its_block(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("provider.resident"), server)
    said = capsys.readouterr().out
    assert said.startswith("2048 ") and said.endswith("\n[]\n")


def test_a_model_is_downloaded_and_kept_for_a_block(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("resident(info.name"), server)
    said = capsys.readouterr().out.splitlines()
    assert said[-2].startswith("qwen3:0.6b ") and said[-1] == "The sky scatters blue."
    assert server.ollama.loaded == {}


def test_the_page_of_discovery_finds_all_servers_and_asks_the_first(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("for server in discover().servers:\n    print("), server)
    run(the_block("if ready:"), server)
    run(the_block('print("ready")'), server)
    told = capsys.readouterr().out.splitlines()
    names = ["ollama available", "lmstudio available", f"openai-compatible-{server.openai.port} "]
    assert [line.startswith(name) for line, name in zip(told, names)] == [True] * 3
    assert told[3:] == ["The sky scatters blue.", "ready"]


def test_a_server_that_died_is_forgotten_and_the_next_one_asked(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("for server in discover().servers:\n    print("), server)
    server.ollama.stop()
    run(the_block("forget(server.endpoint)"), server)
    told = capsys.readouterr().out.splitlines()[3:]
    assert told[0].startswith("ollama the server cannot be reached")
    assert told[1] == "The sky scatters blue."


def test_the_job_that_fails_leaves_its_failure_behind(
    server: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = the_block('TextfileExporter("nightly.prom"')
    run(block, server)
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(SystemExit) as caught:
        run(block, server)
    assert caught.value.code == 5
    told = (tmp_path / "nightly.prom").read_text("utf-8")
    labels = 'script="nightly",provider="ollama",model="llama3.2",operation="stream"'
    assert f'localproviders_calls_total{{{labels},error=""}} 1\n' in told
    assert f'localproviders_calls_total{{{labels},error="UnreachableError"}} 1\n' in told
    rules = _page("telemetry.md").split("\n```\n")[1]
    for name in re.findall(r"localproviders_\w+", rules):
        assert f"\n{name}{{{labels}}} 1" in told


# --- tables --------------------------------------------------------------------------------


def test_the_table_of_limits_is_true() -> None:
    rows = re.findall(r"^\| `(\w+_s)` \| (\d+) s \|", _page("reliability.md"), re.MULTILINE)
    assert {name: float(value) for name, value in rows} == vars(Limits())


def test_the_table_of_usual_ports_is_true_and_complete() -> None:
    page = _page("discovery.md")
    assert [int(port) for port in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(PORTS)
    for port in WEBSOCKET_PORTS:
        assert str(port) in page


def test_the_table_of_exit_codes_is_true_and_complete() -> None:
    told = {}
    for line in _page("reliability.md").splitlines():
        match = re.match(r"^\| (`\w+Error`.*?) \| .* \| (\d+) \|$", line)
        if match:
            told.update({n: int(match.group(2)) for n in re.findall(r"`(\w+)`", match.group(1))})
    roots = {"ProviderError", "LinkError", "ServerError", "ModelError", "AnswerError"}
    real = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ProviderError)
    }
    assert told == {name: code for name, code in real.items() if name not in roots}


def test_the_tables_of_events_and_metrics_are_complete() -> None:
    page = _page("telemetry.md")
    first = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    fields = [field.name for field in dataclasses.fields(CallEvent)]
    kinds = re.findall(r"``(\w+)``", (CallEvent.__doc__ or "").split("operation:")[0])[-8:]
    assert sorted(told) == sorted([*fields, *kinds, *(metric.name for metric in METRICS)])


def test_every_room_of_the_table_exists_and_none_is_missing() -> None:
    table = [line for line in _page("architecture.md").splitlines() if re.match(r"\| \d", line)]
    told = {name for line in table for name in re.findall(r"`([\w/.]+)`", line.split("|")[2])}
    package = ROOT / "localproviders"
    real = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    real |= {path.parent.name + "/" for path in package.glob("*/__init__.py")}
    assert told == real


def _folders() -> Dict[str, Set[str]]:
    package = ROOT / "localproviders"
    found: Dict[str, Set[str]] = {}
    for path in package.glob("*/**/*.py"):
        if path.name != "__init__.py":
            room = f"{path.parent.relative_to(package).as_posix()}/"
            found.setdefault(room, set()).add(path.name)
    return found


@pytest.mark.parametrize("room", sorted(_folders()))
def test_every_module_of_a_room_is_described(room: str) -> None:
    lines = _page("architecture.md").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `{room}` |")]
    assert set(re.findall(r"`(\w+\.py)`", row)) == _folders()[room]


def test_every_knob_of_the_fakes_exists(server: Servers) -> None:
    section = _page("testing.md").split("## Knobs")[1].split("\n## ")[0]
    things = {
        "all": server.openai,
        "FakeOllama": server.ollama,
        "FakeLMStudio": server.lmstudio,
        "FakeModel": FakeModel(name="m"),
    }
    here, seen = things["all"], []
    for line in [line for line in section.splitlines() if line.startswith("|")][2:]:
        _, name, knobs, _ = line.split("|", 3)
        here = things.get(name.strip(" `"), here)
        found = re.findall(r"`(\w+)", knobs)
        assert [knob for knob in found if not hasattr(here, knob)] == []
        seen += found
    assert len(seen) > 20


def test_the_tests_that_hold_a_promise_exist_and_hold_something() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", _page("reliability.md"))
    assert len(named) > 10
    for name in named:
        assert "\ndef test_" in (ROOT / name).read_text(encoding="utf-8"), name


# --- shell blocks and links ----------------------------------------------------------------


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _commands() -> List[List[str]]:
    """Each command of a shell block or of the running text, as words."""
    texts = [block.text for block in SHELL] + INDENTED
    texts += [
        found for p in PAGES for found in re.findall(r"`(python -m [^`]+)`", p.read_text("utf-8"))
    ]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return [shlex.split(part) for line in lines for part in line.split(" && ")]


@pytest.mark.parametrize(
    "words",
    [words for words in _commands() if words[:3] == ["python", "-m", "localproviders"]],
    ids=" ".join,
)
def test_command_exists(words: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command([*words[3:], "--help"])  # parses everything before it
    assert caught.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_extras_exist() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    named = {
        extra
        for words in _commands()
        for word in words
        for extra in re.findall(r"\.\[(\w+)\]", word)
    }
    assert named == {"test", "prometheus", "opentelemetry"}
    assert named <= set(setup["options.extras_require"])


def test_other_commands_are_well_known() -> None:
    known = {"python", "ollama", "lms", "export"}
    assert {words[0] for words in _commands()} <= known


def _anchors(text: str) -> List[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []
