"""Every block of README and docs does what it says; every link leads somewhere."""

from __future__ import annotations

import ast
import base64
import configparser
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set, Tuple

import pytest

import localproviders
from localproviders import (
    CallEvent,
    CompletionRequest,
    CompletionResponse,
    DependencyError,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    errors,
)
from localproviders._address import parse_endpoint
from localproviders.cli import main as command
from localproviders.discovery import forget
from localproviders.discovery.candidates import avoided_ports, usual_ports
from localproviders.exporters.measures import METRICS
from localproviders.openai_compatible.wire.products import PRODUCTS
from localproviders.schema.keywords import KEYWORDS
from localproviders.testing import Exchange, FakeAnthropic, FakeModel, Refusal, Reply
from localproviders.types import Limits, Message
from tests.support.docs import PAGES, ROOT, Block, Servers, blocks, running
from tests.support.fake_time import FakeTime

PYTHON = blocks("python")
SHELL = blocks("sh")
TOML = blocks("toml")  # tests/unit/config loads them
# Conversations on a terminal, which tests/project/test_command.py runs.
CONSOLE = blocks("console")

_PACKAGE = ROOT / "localproviders"

# Addresses of real servers in the pages.
ADDRESSES = ("https://api.example.com", "http://127.0.0.1:8080")
OLLAMA_ADDRESSES = ("http://127.0.0.1:11434", "http://127.0.0.1:11435")

# The first bytes of a PNG file, which are all that is looked at.
PICTURE = b"\x89PNG\r\n\x1a\n and more"


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Servers]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.txt").write_text("Nothing happened.", encoding="utf-8")
    (tmp_path / "model.gguf").write_bytes(b"GGUF and more")
    (tmp_path / "scan.png").write_bytes(PICTURE)
    (tmp_path / "inbox").mkdir()
    for name in ("one", "two"):
        (tmp_path / "inbox" / f"{name}.txt").write_text(f"Text {name}.", encoding="utf-8")
    terminated = signal.getsignal(signal.SIGTERM)
    with running() as servers:
        servers.ollama.models += [
            FakeModel(name="gemma3:4b", abilities=("chat", "completion", "vision")),
            FakeModel(name="nimble", abilities=("decision",)),
            FakeModel(name="qwen3:8b", abilities=("chat", "completion", "tools", "thinking")),
        ]
        servers.openai.models.append(FakeModel(name="my-reranker", abilities=("rerank",)))
        monkeypatch.setenv("OLLAMA_HOST", servers.ollama.url)
        monkeypatch.setenv("EXAMPLE_API_KEY", "a-test-key")
        monkeypatch.delenv("DEPLOYED", raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setattr("localproviders.lmstudio.provider._PORT", servers.lmstudio.port)
        monkeypatch.setattr("localproviders.lmstudio.downloads.WAITS_S", (0.01, 0.01))
        monkeypatch.setattr("localproviders.llamacpp.provider._PORT", servers.llamacpp.port)
        monkeypatch.setattr("localproviders.llamacpp.router.WAITS_S", (0.01, 0.01))
        monkeypatch.setattr("localproviders.anthropic.provider.ADDRESS", servers.anthropic.url)
        for service in ("openai", "openrouter"):
            place = parse_endpoint(servers.openai.base_url, default_port=80)
            monkeypatch.setattr(f"localproviders.{service}.provider._DEFAULT", place)
        ports = {servers.lmstudio.port: "LM Studio", servers.openai.port: "somebody"}
        monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", lambda: ports)
        forget()
        yield servers
    signal.signal(signal.SIGTERM, terminated)  # the scripts of cron jobs have set their own


def run(block: Block, server: Servers, old: str = "", new: str = "") -> None:
    """Execute a block as a script, at the line where it stands in its page."""
    assert old in block.text
    text = block.text.replace(old, new) if old else block.text
    for address in ADDRESSES:
        text = text.replace(address, server.openai.url)
    for address in OLLAMA_ADDRESSES:
        text = text.replace(address, server.ollama.url)
    # As a user's own file: not with what this one imports from __future__.
    code = compile("\n" * block.line + text, str(block.page), "exec", dont_inherit=True)
    exec(code, {"__name__": "__main__"})


def the_block(words: str) -> Block:
    (found,) = [block for block in PYTHON if words in block.text]
    return found


def test_there_are_blocks_in_every_page_that_shows_how() -> None:
    assert {block.page.name for block in PYTHON} >= {
        "README.md",
        "chat.md",
        "cron.md",
        "engine.md",
        "models.md",
        "reliability.md",
        "setup.md",
        "structured.md",
        "tools.md",
        "troubleshooting.md",
    }
    fences = sum(len(re.findall(r"^ *```\w", p.read_text("utf-8"), re.MULTILINE)) for p in PAGES)
    assert fences == sum(map(len, (PYTHON, SHELL, TOML, INDENTED, CONSOLE)))


# Shell blocks inside lists.
INDENTED = [
    match.group(1)
    for page in PAGES
    for match in re.finditer(r"^ +```sh\n(.*?)^ +```$", page.read_text("utf-8"), re.M | re.S)
]


#: Packages that the recipes of docs/batch.md use.
_OTHER_PACKAGES = ("distributed", "pandas", "polars")


@pytest.mark.sample(40)
@pytest.mark.parametrize(
    "block", [block for block in PYTHON if "LocalEngine" not in block.text], ids=str
)
def test_block_runs(block: Block, server: Servers) -> None:
    try:
        run(block, server)
    except DependencyError as error:  # an exporter's package
        pytest.skip(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _OTHER_PACKAGES:
            raise
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.engine
@pytest.mark.parametrize(
    "block", [block for block in PYTHON if "LocalEngine" in block.text], ids=str
)
def test_block_runs_with_the_engine(block: Block, server: Servers) -> None:
    try:
        run(block, server)
    except DependencyError as error:
        pytest.skip(str(error))


#: Has the limits of a block fire at once, and its repetitions come without a pause.
_AT_ONCE = """
import pytest
from tests.support.fake_time import fake_time

@pytest.fixture(autouse=True)
def _without_waiting():
    with fake_time():
        yield
"""


@pytest.mark.sample(0)
@pytest.mark.parametrize("block", [b for b in PYTHON if "\ndef test_" in b.text], ids=str)
def test_block_is_a_test_that_passes(block: Block, tmp_path: Path) -> None:
    (tmp_path / "test_block.py").write_text(block.text, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(_AT_ONCE, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=str(tmp_path), env=env, timeout=300)
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert re.search(r"\d+ passed", said)


# --- what the blocks claim beside running --------------------------------------------------


def test_the_first_block_prints_two_answers_and_two_figures(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("vectors = ollama.embed"), server)
    answers = "The sky scatters blue.\nThe sky scatters blue."
    assert capsys.readouterr().out == f"{answers}\n2 vectors; angry: 50%\n"


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


def test_what_is_recorded_of_a_failure_repeats_no_letter(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ollama.usual = '{"age": "I was born in May."}'
    run(the_block("def safe_facts"), server)
    said = capsys.readouterr().out
    assert "born" not in said
    assert said.count("'error': 'SchemaError', 'reasons': 1, 'exit_code': 10") == 2


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
    run(the_block("class Claim"), server)
    assert f"`{capsys.readouterr().out.strip()}`" in told
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


def test_a_limit_keeps_the_text_so_far(
    server: Servers, capsys: pytest.CaptureFixture[str], fake_clock: FakeTime
) -> None:
    server.ollama.break_next("body stalled")
    run(the_block("error.limit_s"), server)
    said = capsys.readouterr().out
    assert said == "idle_s of 30 s ran out; so far: The\n"


@pytest.mark.usefixtures("fake_clock")
def test_another_error_ends_with_its_exit_code(
    server: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # a closed port
    with pytest.raises(SystemExit) as caught:
        run(the_block("error.limit_s"), server)
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
    run(the_block("count = server.count_tokens"), server)
    expected = "7 exact the server's /apply-template and /tokenize\n"
    assert capsys.readouterr().out == expected


def test_a_prompt_is_printed_as_the_model_reads_it(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("ollama.render"), server)
    assert capsys.readouterr().out == "Be brief. Why is the sky blue?\n"


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
    run(the_block("provider.keep_loaded"), server)
    said = capsys.readouterr().out
    assert said.startswith("2048 ") and said.endswith("\n[]\n")


def test_a_model_is_downloaded_and_kept_for_a_block(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("keep_loaded(info.name"), server)
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


@pytest.mark.usefixtures("fake_clock")
def test_a_server_that_died_is_forgotten_and_the_next_one_asked(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("for server in discover().servers:\n    print("), server)
    server.ollama.stop()
    run(the_block("forget(server.endpoint)"), server)
    told = capsys.readouterr().out.splitlines()[3:]
    assert told[0].startswith("ollama the server cannot be reached")
    assert told[1] == "The sky scatters blue."


@pytest.mark.usefixtures("fake_clock")
def test_the_job_that_fails_leaves_its_failure_behind(
    server: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = the_block('TextfileExporter("nightly.prom"')
    run(block, server)
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # a closed port
    with pytest.raises(SystemExit) as caught:
        run(block, server)
    assert caught.value.code == 5
    told = (tmp_path / "nightly.prom").read_text("utf-8")
    labels = 'script="nightly",provider="ollama",model="llama3.2",operation="chat"'
    assert f'localproviders_calls_total{{{labels},error=""}} 1\n' in told
    assert f'localproviders_calls_total{{{labels},error="UnreachableError"}} 1\n' in told
    rules = _page("telemetry.md").split("\n```\n")[1]
    for name in re.findall(r"localproviders_\w+", rules):
        assert f"\n{name}{{{labels}}} 1" in told


# --- the page of chats ----------------------------------------------------------------------


def test_a_conversation_sends_its_history(server: Servers) -> None:
    run(the_block("You are a patient teacher."), server)
    asked = server.ollama.exchanges[-1].json["messages"]
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
    assert asked[2]["content"] == "The sky scatters blue."


def test_dictionaries_are_messages_and_messages_dictionaries(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("history.json"), server)
    assert capsys.readouterr().out == "['system', 'user', 'assistant']\n"
    saved = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))
    answer = Message.assistant("The sky scatters blue.")
    assert [Message.from_dict(message) for message in saved][-1] == answer


def test_an_image_is_sent_with_its_question(server: Servers) -> None:
    run(the_block("What is in this image?"), server)
    (message,) = server.ollama.exchanges[-1].json["messages"]
    assert message["images"] == [base64.b64encode(PICTURE).decode()]


def test_a_cancelled_call_keeps_the_text_so_far(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("token.cancel"), server)
    assert capsys.readouterr().out.startswith("cancelled; the text so far: more more")


def test_an_overlong_prompt_is_accepted_with_its_loss(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block('overflow="truncate"'), server)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "5002 tokens in a window of 4096"
    assert told[1].startswith("The sky scatters blue. ('the server has probably cut ")
    sent = [exchange.json for exchange in server.ollama.exchanges if exchange.method == "POST"]
    assert [body["truncate"] for body in sent if "truncate" in body] == [False, True]


def _first_cells(page: str, title: str) -> List[str]:
    """Return the names in the first column of the first table below a title."""
    section = _page(page).split(f"## {title}\n")[1].split("\n## ")[0]
    table = section[section.index("\n|") :].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_the_table_of_request_fields_is_complete() -> None:
    fields = [field.name for field in dataclasses.fields(CompletionRequest)]
    assert _first_cells("chat.md", "Every request field") == fields


def test_the_table_of_request_fields_has_their_defaults() -> None:
    section = _page("chat.md").split("## Every request field\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    told = {row[0].strip("| `"): row[3].strip("`") for row in rows}
    request = CompletionRequest(prompt="one")
    for name in ("overflow", "strict", "allow_other_model"):
        assert told.pop(name) == str(getattr(request, name))
    assert set(told.values()) == {"the provider's `model", "none", "not sent", "empty"}
    unsent = [name for name, words in told.items() if words == "not sent" and name != "stop"]
    assert [name for name in unsent if getattr(request, name) is not None] == []


def test_the_table_of_an_answer_is_complete() -> None:
    fields = {field.name for field in dataclasses.fields(CompletionResponse)}
    told = _first_cells("chat.md", "The answer")
    assert len(told) == len(set(told))
    assert set(told) == fields | {"message"}


# --- the pages of cron jobs and of troubles ------------------------------------------------


def test_the_cron_job_leaves_a_summary_and_its_metrics(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block("summary.prom"), server)
    assert (tmp_path / "summary.txt").read_text(encoding="utf-8") == "The sky scatters blue."
    assert 'script="summary"' in (tmp_path / "summary.prom").read_text(encoding="utf-8")
    assert not (tmp_path / "summary.txt.new").exists()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(text="Half a", finish_reason="length"), "the answer is cut or empty"),
        (Reply(text="", thinking="Hm.", finish_reason="length"), "the answer is cut or empty"),
        (Reply(text="\n"), "the answer is cut or empty"),
    ],
    ids=["half", "only thoughts", "empty"],
)
def test_the_cron_job_replaces_no_summary_by_half_an_answer(
    server: Servers,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    told: str,
) -> None:
    (tmp_path / "summary.txt").write_text("yesterday's", encoding="utf-8")
    server.ollama.usual = reply
    thinks = ("chat", "completion", "thinking")
    server.ollama.models[:] = [each.replace(abilities=thinks) for each in server.ollama.models]
    with pytest.raises(SystemExit) as caught:
        run(the_block("summary.prom"), server)
    assert caught.value.code == 10
    assert capsys.readouterr().err == (
        f"no summary: AnswerError: {told} (hint: raise max_tokens)\n"
    )
    assert (tmp_path / "summary.txt").read_text(encoding="utf-8") == "yesterday's"


def test_the_cron_job_ends_with_one_line_if_its_metrics_file_is_unusable(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "summary.prom").write_text("my own samples 1\n", encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        run(the_block("summary.prom"), server)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("no summary: ConfigurationError: ") and said.count("\n") == 1


@pytest.mark.parametrize("title", ["summary.prom", "inbox.prom"])
@pytest.mark.parametrize("variable", [None, "any"])
def test_no_variable_lets_a_cron_job_send_its_texts_away(
    title: str,
    variable: Optional[str],
    server: Servers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://192.0.2.7:11434")
    if variable is not None:
        monkeypatch.setenv("LOCALPROVIDERS_LOCALITY", variable)
    with pytest.raises(SystemExit) as caught:
        run(the_block(f'"{title}"'), server)
    assert caught.value.code == 3


@pytest.mark.sample(1)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM for a process")
@pytest.mark.parametrize(("title", "words"), [("summary", "no summary"), ("inbox", "ended")])
def test_a_cron_job_that_gets_sigterm_writes_its_metrics(
    server: Servers, tmp_path: Path, title: str, words: str
) -> None:
    asked = threading.Event()

    def slow(_: Exchange) -> Reply:
        asked.set()
        return Reply(text="more " * 2000, pause_s=0.02)

    server.ollama.usual = slow
    script = tmp_path / "job.py"
    script.write_text(the_block(f'"{title}.prom"').text, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=str(tmp_path), env=env, stderr=subprocess.PIPE
    ) as job:
        try:
            assert asked.wait(60)
            job.send_signal(signal.SIGTERM)
            _, said = job.communicate(timeout=60)
        finally:
            job.kill()
    assert job.returncode == 130, said
    assert said.decode().startswith(f"{words}: CancelledError: ") and said.count(b"\n") == 1
    samples = (tmp_path / f"{title}.prom").read_text(encoding="utf-8")
    assert 'error="CancelledError"} 1\n' in samples
    assert not (tmp_path / "summary.txt").exists()


def test_the_job_of_many_calls_writes_each_summary_and_its_status(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(the_block('"inbox.prom"'), server)
    for name in ("one", "two"):
        written = (tmp_path / "inbox" / f"{name}.summary").read_text(encoding="utf-8")
        assert written == "The sky scatters blue."
    samples = (tmp_path / "inbox_job.prom").read_text(encoding="utf-8")
    assert samples.startswith("inbox_job_status 0\ninbox_job_end_timestamp_seconds ")
    metrics = (tmp_path / "inbox.prom").read_text(encoding="utf-8")
    assert 'operation="load",error=""} 1\n' in metrics
    assert 'operation="chat",error=""} 2\n' in metrics
    assert capsys.readouterr() == ("", "")
    rules = _page("cron.md").split("## Metrics\n")[1].split("\n## ")[0]
    for name in re.findall(r"inbox_job_\w+", rules):
        assert f"{name} " in samples


def test_the_job_of_many_calls_goes_on_after_the_failure_of_one_text(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ollama.reply_with(Refusal(status="500 Internal Server Error", body={"error": "no"}))
    with pytest.raises(SystemExit) as caught:
        run(the_block('"inbox.prom"'), server)
    assert caught.value.code == 7
    said = capsys.readouterr().err
    assert said.startswith(f"{Path('inbox', 'one.txt')}: ServerError: ") and said.count("\n") == 1
    assert not (tmp_path / "inbox" / "one.summary").exists()
    assert (tmp_path / "inbox" / "two.summary").exists()
    assert (tmp_path / "inbox_job.prom").read_text("utf-8").startswith("inbox_job_status 7\n")


def test_the_job_of_many_calls_ends_where_every_text_would_fail(
    server: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ollama.models[:] = [FakeModel(name="another")]
    with pytest.raises(SystemExit) as caught:
        run(the_block('"inbox.prom"'), server)
    assert caught.value.code == 8
    assert capsys.readouterr().err.startswith("ended: ModelNotFoundError: ")
    metrics = (tmp_path / "inbox.prom").read_text(encoding="utf-8")
    assert 'operation="load",error="ModelNotFoundError"} 1\n' in metrics


def test_the_job_of_many_calls_ends_with_its_time(
    server: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(the_block('"inbox.prom"'), server, "JOB_S = 1700", "JOB_S = 0")
    assert caught.value.code == 6
    assert capsys.readouterr().err.startswith("no time for ")


@pytest.mark.usefixtures("fake_clock")
def test_the_cron_job_that_fails_says_why_in_one_line_and_in_its_status(
    server: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "summary.txt").write_text("yesterday's", encoding="utf-8")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # no server listens there
    with pytest.raises(SystemExit) as caught:
        run(the_block("summary.prom"), server)
    assert caught.value.code == 5
    told = capsys.readouterr().err
    assert told.startswith("no summary: UnreachableError: ") and told.count("\n") == 1
    assert (tmp_path / "summary.txt").read_text(encoding="utf-8") == "yesterday's"


def test_the_page_of_cron_jobs_has_every_exit_code() -> None:
    section = _page("cron.md").split("## Exit codes\n")[1].split("\n## ")[0]
    told = {
        int(n) for cell in re.findall(r"^\| (\d[\d, ]*) \|", section, re.M) for n in cell.split(",")
    }
    real = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ProviderError)
    }
    assert real <= told
    assert told - real == {0, 124, 137}


def test_the_page_of_troubles_names_errors_that_exist_and_misses_none() -> None:
    page = _page("troubleshooting.md")
    titles = "\n".join(re.findall(r"^### (.+)$", page, re.MULTILINE))
    named = set(re.findall(r"\b(\w+Error)\b", titles)) - {"ModuleNotFoundError", "TypeError"}
    real = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ProviderError)
    }
    roots = {"ProviderError", "TransportError", "ModelError", "AnswerError"}
    assert named == real - roots


#: Parts of this package's own messages by which a reader finds a title of that page.
SEARCHED = (
    "the server cannot be reached",
    "the embedded engine",
    "no TOML parser",
    "is not HTTP",
    "the server redirects",
    "the server has no model",
    "no model was named",
    "does not support",
    "there is no option",
    "no token within",
    "ran out",
    "is not loopback",
    "runs in the cloud",
    "in the clear",
    "a proxy",
    "the server does not speak TLS",
)


@pytest.mark.sample(0)
def test_the_page_of_troubles_quotes_messages_that_exist() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in _PACKAGE.rglob("*.py")]
    constants = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)
    ]
    texts = "\n".join(node.value for node in constants if isinstance(node.value, str))
    titles = "\n".join(re.findall(r"^### (.+)$", _page("troubleshooting.md"), re.MULTILINE))
    assert [words for words in SEARCHED if words not in titles] == []
    generated = ("is not loopback",)
    assert [words for words in SEARCHED if words not in texts and words not in generated] == []


# --- tables --------------------------------------------------------------------------------


def test_the_table_of_limits_is_true() -> None:
    rows = re.findall(r"^\| `(\w+_s)` \| (\d+) s \|", _page("reliability.md"), re.MULTILINE)
    assert {name: float(value) for name, value in rows} == vars(Limits())


def test_the_table_of_usual_ports_is_true_and_complete() -> None:
    page = _page("discovery.md")
    ports = [int(port) for port in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert ports == list(usual_ports())
    for port in avoided_ports():
        assert str(port) in page


def test_the_table_of_products_is_true_and_complete() -> None:
    section = _page("discovery.md").split("| `product` |")[1].split("\n\n")[0]
    told: Dict[str, str] = {}
    for line in section.splitlines()[2:]:
        names, path = line.strip("| ").split(" | ")
        root = re.match(r"`(/.*?)`", path)
        told.update({name: root.group(1) if root else "" for name in re.findall(r"`(.+?)`", names)})
    assert told.pop("Ollama") == told.pop("LM Studio") == ""
    assert told == {product.name: product.roots[0] for product in PRODUCTS}
    reference = _page("reference/discovery.md")
    for name, path in told.items():
        root = f"`{re.escape(path)}`" if path else "none"
        assert re.search(rf"^\| {re.escape(name)} \| .* {root}", reference, re.MULTILINE), name


def test_the_table_of_exit_codes_is_true_and_complete() -> None:
    told = {}
    for line in _page("reliability.md").splitlines():
        match = re.match(r"^\| (`\w+Error`.*?) \| .* \| (\d+) \|$", line)
        if match:
            told.update({n: int(match.group(2)) for n in re.findall(r"`(\w+)`", match.group(1))})
    roots = {"ProviderError", "TransportError", "ServerError", "ModelError", "AnswerError"}
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


def test_every_module_of_the_table_exists_and_none_is_missing() -> None:
    table = [line for line in _page("architecture.md").splitlines() if re.match(r"\| \d", line)]
    told = {name for line in table for name in re.findall(r"`([\w/.]+)`", line.split("|")[2])}
    real = {path.name for path in _PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    real |= {path.parent.name + "/" for path in _PACKAGE.glob("*/__init__.py")}
    assert told == real


def _folders() -> Dict[str, Set[str]]:
    found: Dict[str, Set[str]] = {}
    for path in _PACKAGE.glob("*/**/*.py"):
        if path.name != "__init__.py":
            package = f"{path.parent.relative_to(_PACKAGE).as_posix()}/"
            found.setdefault(package, set()).add(path.name)
    return found


@pytest.mark.parametrize("package", sorted(_folders()))
def test_every_module_of_a_package_is_described(package: str) -> None:
    lines = _page("architecture.md").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `{package}` |")]
    assert set(re.findall(r"`(\w+\.py)`", row)) == _folders()[package]


@pytest.mark.parametrize("title", ["The path of a chat", "Where to look"])
def test_what_the_architecture_points_to_exists(title: str) -> None:
    section = _page("architecture.md").split(f"## {title}\n")[1].split("\n## ")[0]
    named = set(re.findall(r"(?<![\w/>])(\w[\w/]*\.py)\b", section))
    # Beside another path a name stands alone; a server's wire has no server's name before it.
    real = [path.as_posix() for path in _PACKAGE.rglob("*.py")]
    assert len(named) > 8
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in real)] == []
    code = "".join(path.read_text(encoding="utf-8") for path in _PACKAGE.rglob("*.py"))
    for name in re.findall(r"`(\w+)`", section):
        assert re.search(rf"\b{name}\b", code), name


@pytest.mark.parametrize(
    ("title", "provider"),
    [("From `ollama`", OllamaProvider), ("From `openai`", OpenAICompatibleProvider)],
)
def test_the_names_for_scripts_of_other_clients_exist(title: str, provider: type) -> None:
    section = _page("migrating.md").split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    for code in re.findall(r"`([^`]+)`", " ".join(row[1] for row in rows)):
        for name in re.findall(r"(?<![\w.\"])([A-Z][a-z]\w+)\b(?![\w\"])", code):
            assert name in {"Path", "True", "Type"} or hasattr(localproviders, name), code
        for name in re.findall(r"(?<![\w.])(?:client\.)?([a-z_]\w+)\(", code):
            assert hasattr(provider, name), code
        for name in re.findall(r"(?<![\w.])answer\.(\w+)", code):
            assert name in {field.name for field in dataclasses.fields(CompletionResponse)} | {
                "message"
            }, code


def _usual_faults() -> List[Tuple[str, str]]:
    section = _page("testing.md").split("## Faults")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \| .* \| `(\w+)` \|$", section, re.MULTILINE)


@pytest.mark.usefixtures("fake_clock")
@pytest.mark.parametrize(("fault", "error"), _usual_faults())
def test_a_usual_fault_has_the_error_that_the_page_names(
    server: Servers, fault: str, error: str
) -> None:
    server.ollama.break_next(fault, times=None)
    with OllamaProvider(model="llama3.2") as provider, pytest.raises(ProviderError) as caught:
        provider.chat("Hi")
    assert type(caught.value).__name__ == error


def test_every_knob_of_the_fakes_exists(server: Servers) -> None:
    section = _page("testing.md").split("## Knobs")[1].split("\n## ")[0]
    things = {
        "all": server.openai,
        "FakeOllama": server.ollama,
        "FakeLMStudio": server.lmstudio,
        "FakeLlamaCpp": server.llamacpp,
        "FakeAnthropic": FakeAnthropic,
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
    assert command([*words[3:], "--help"]) == 0  # parses everything before it
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
    assert named == {"test", "dev", "prometheus", "opentelemetry"}
    assert named <= set(setup["options.extras_require"])


def test_other_commands_are_well_known() -> None:
    known = {
        "localproviders",
        "git",
        "python",
        "ollama",
        "lms",
        "export",
        "cp",
        "chmod",
        "strace",
        "unshare",
    }
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
