"""The verbs of ``batch``: the options, the outputs, the exit codes, and early ends."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from localproviders import batch, cli
from localproviders.testing import FakeLlamaCpp, FakeModel, FakeOllama, Refusal, Reply
from tests.promises.batch.support import AskedServer, write_rows
from tests.support.next_tokens import NextTokens
from tests.unit.cli.support import run, start

_TABLE = "id,text\na,The order is late\nb,Thank you\n"
_QUESTIONS = {"angry": "Is the customer angry?", "topic": ["billing", "support"]}
_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AskedServer]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text(_TABLE)
    with AskedServer() as server:
        yield server


def _words(server: FakeOllama, source: str = "in.csv", output: str = "out.jsonl") -> List[str]:
    host = f"ollama={server.url}"
    return ["batch", "run", source, "-o", output, "-m", "llama3.2", "--host", host]


def _chats(server: FakeOllama, *more: str) -> int:
    return cli.main([*_words(server), "--template", "Answer: {text}", *more])


def _lines(path: str = "out.jsonl") -> List[Dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_each_row_gets_an_answer_and_the_report_is_one_line(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _chats(fake, "--ordered", "--concurrency", "2", "--grace", "1s") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("2 of 2 rows succeeded")
    assert shown.err == ""
    answers = [(each.id, each.response.text) for each in batch.read("out.jsonl")]
    texts = {"a": "The order is late", "b": "Thank you"}
    assert answers == [(name, f"answer to Answer: {text}") for name, text in texts.items()]


def test_the_same_command_asks_no_row_twice_and_quiet_shows_nothing(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _chats(fake, "-q") == _chats(fake, "-q") == 0
    assert capsys.readouterr() == ("", "")
    assert sum(fake.asked.values()) == 2
    assert _chats(fake, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["succeeded"], report["skipped"]) == (2, 2, 2)


def test_other_arguments_are_refused_without_force(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _chats(fake) == 0
    assert _chats(fake, "--temperature", "0.5") == 2
    error = capsys.readouterr().err
    assert "temperature" in error
    assert "--force" in error
    assert _chats(fake, "--temperature", "0.5", "--force") == 0


def test_a_table_of_standard_input_becomes_a_table(fake: AskedServer, tmp_path: Path) -> None:
    words = _words(fake, "-", "out.csv")
    template = ["--template", "Answer: {text}", "--input", "csv", "--ordered"]
    done = run(*words, *template, stdin=_TABLE.encode(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[1]["answer"] == "answer to Answer: Thank you"


def test_rows_that_failed_are_asked_again(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    usual, fake.usual = fake.usual, Refusal(status=400)
    assert _chats(fake) == 12
    error = capsys.readouterr().err
    assert "2 of 2 rows failed" in error
    assert "--retry-failed" in error
    assert {line["error"]["code"] for line in _lines()} == {"RequestRejectedError"}
    fake.usual = usual
    assert _chats(fake, "--retry", "LimitError") == 12
    assert not fake.asked
    assert _chats(fake, "--retry", "LimitError,RequestRejectedError") == 0
    assert sum(fake.asked.values()) == 2


def test_max_failures_stops_the_run(fake: AskedServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.usual = Refusal(status=400)
    assert _chats(fake, "--max-failures", "10%", "--concurrency", "1") == 13
    assert "too many rows failed" in capsys.readouterr().err


def test_a_deadline_stops_the_run_which_goes_on_later(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    usual, fake.usual = fake.usual, Reply(text="late", pause_s=60)
    assert _chats(fake, "--deadline", "1s", "--grace", "0") == 13
    assert "the deadline has passed" in capsys.readouterr().err
    fake.usual = usual
    assert _chats(fake) == 0


def test_status_has_the_exit_code_of_the_run(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["batch", "status", "out.jsonl"]) == 2
    assert _chats(fake) == 0
    capsys.readouterr()
    assert cli.main(["batch", "status", "out.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["succeeded"] == 2


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.journal"])
def test_a_changed_file_has_its_own_exit_code(
    name: str, fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _chats(fake) == 0
    data = bytearray(Path(name).read_bytes())
    data[len(data) // 2] ^= 1
    Path(name).write_bytes(data)
    for words in (["batch", "status", "out.jsonl"], _words(fake)):
        assert cli.main(words) == 15
        assert "IntegrityError" in capsys.readouterr().err


def test_shards_are_merged(fake: AskedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_STEP", "2")
    template = ["--template", "Answer: {text}"]
    assert cli.main([*_words(fake, output="1.jsonl"), *template, "--shard", "1/2"]) == 0
    assert cli.main(["batch", "merge", "1.jsonl", "-o", "all.jsonl"]) == 2
    assert cli.main([*_words(fake, output="2.jsonl"), *template, "--shard", "slurm"]) == 0
    assert cli.main(["batch", "merge", "1.jsonl", "2.jsonl", "-o", "all.jsonl"]) == 0
    assert [each.id for each in batch.read("all.jsonl")] == ["a", "b"]
    assert set(fake.asked.values()) == {1}


def test_check_names_the_rows_that_cannot_be_sent(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.jsonl").write_text('{"messages": "Hi"}\n{"mesages": "Hi"}\n')
    assert cli.main(["batch", "check", "in.csv", "--template", "{text}"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(["batch", "check", "rows.jsonl"]) == 12
    shown = capsys.readouterr()
    assert shown.out.startswith("row 1: it must have one of the fields messages")
    assert "1 rows cannot be sent" in shown.err
    assert not fake.asked


def test_questions_are_asked_of_each_row(fake: AskedServer) -> None:
    Path("questions.json").write_text(json.dumps(_QUESTIONS))
    with FakeLlamaCpp([FakeModel(name="nimble", abilities=("decision",))]) as server:
        words = ["batch", "run", "in.csv", "-o", "out.csv", "--questions", "questions.json"]
        more = ["-m", "nimble", "--host", f"llamacpp={server.url}", "--method", "systemone"]
        assert cli.main([*words, *more]) == 0
        assert sum(each.path == "/v1/systemone" for each in server.exchanges) == 2
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["topic"] for row in rows} <= {"billing", "support"}
    assert {row["error"] for row in rows} == {""}


def test_a_chat_model_decides_with_logprobs(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("questions.json").write_text(json.dumps({"angry": "Is the customer angry?"}))
    words = ["batch", "run", "in.csv", "-o", "out.csv", "--questions", "questions.json"]
    with NextTokens("openai", {"A": 0.3, "B": 0.1, "x": 0.6}).serve() as server:
        host = f"openai-compatible={server.url}/v1"
        more = ["-m", "m", "--host", host, "--method", "logprobs"]
        assert cli.main([*words, *more, "--min-mass", "0.3"]) == 0
        assert cli.main([*words, *more, "--min-mass", "0.5"]) == 2
        assert "min_mass" in capsys.readouterr().err
        words[4] = "refused.csv"
        assert cli.main([*words, *more, "--min-mass", "0.5"]) in (0, 12)
    assert Path("out.csv").read_text() != Path("refused.csv").read_text()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--rate", "10"], "write 10/s"),
        (["--rate", "0/s"], "write 10/s"),
        (["--shard", "9/8"], "write slurm, parallel/8, or 3/8"),
        (["--shard", "slurm"], "SLURM_PROCID"),
        (["--shard", "parallel/8"], "PARALLEL_SEQ"),
        (["--concurrency", "0"], "no whole number"),
        (["--max-failures", "101%"], "write 5%"),
        (["--retry", "LimitEror"], "'LimitError'"),
        (["--retry", "LimitError", "--retry-failed"], "not allowed with"),
        (["--encoding", "latin-1"], "iconv"),
        (["--questions", "none.json"], "none.json"),
        (["--template", "{txt}"], "no column 'txt'"),
        (["--id-field", "txt"], "no column 'txt'"),
        (["-o", "-"], "-o results.jsonl"),
        (["-o", "out.txt"], ".jsonl"),
    ],
)
def test_an_option_that_cannot_be_used(
    more: List[str], words: str, fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _chats(fake, *more) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not fake.asked


def test_options_of_a_chat_do_not_fit_questions(
    fake: AskedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("questions.json").write_text(json.dumps(_QUESTIONS))
    words = ["--questions", "questions.json", "--max-tokens", "5"]
    assert cli.main([*_words(fake), *words]) == 2
    assert "--max-tokens cannot be used with --questions" in capsys.readouterr().err


def test_parallel_numbers_the_shards(
    fake: AskedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARALLEL_SEQ", "2")
    assert _chats(fake, "--shard", "parallel/2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1


def test_a_running_run_holds_the_output(fake: AskedServer, tmp_path: Path) -> None:
    fake.on_chat = lambda number: codes.append(second()) if number == 1 else None

    def second() -> int:
        words = [*_words(fake), "--template", "Answer: {text}"]
        return run(*words, cwd=tmp_path).returncode

    codes: List[int] = []
    assert _chats(fake, "--concurrency", "1") == 0
    assert codes == [75]


@_POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 13), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_rows_in_flight_and_the_same_command_goes_on(
    number: int, code: int, fake: AskedServer, tmp_path: Path
) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 200)
    words = [*_words(fake, "in.jsonl"), "--concurrency", "4"]
    process = start(*words, cwd=tmp_path)
    fake.on_chat = lambda count: process.send_signal(number) if count == 50 else None
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.count(b"\n")) == (code, 1), error
    assert b"run the same command again" in error
    asked = sum(fake.asked.values())
    assert asked == batch.status("out.jsonl").succeeded < 200
    assert run(*words, cwd=tmp_path).returncode == 0
    assert Counter(line["custom_id"] for line in _lines()) == Counter(ids)
    assert set(fake.asked.values()) == {1}


@_POSIX
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGTERM, 13, b"run the same command again"), (signal.SIGINT, 130, b"")],
)
def test_a_signal_before_the_first_request_has_the_same_exit_code(
    number: int, code: int, words: bytes, fake: AskedServer, tmp_path: Path
) -> None:
    process = start(*_words(fake, "-"), cwd=tmp_path, stdin=subprocess.PIPE)
    while not (tmp_path / "out.jsonl.lock").exists():  # then the rows are read
        assert process.poll() is None
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert words in error
    assert run(*_words(fake, "-"), cwd=tmp_path, stdin=b'"Hi"\n').returncode == 0


def test_a_deadline_while_the_rows_are_read(fake: AskedServer, tmp_path: Path) -> None:
    process = start(*_words(fake, "-"), "--deadline", "1s", cwd=tmp_path, stdin=subprocess.PIPE)
    assert process.wait(60) == 13
    assert b"the deadline has passed" in process.stderr.read()
    process.communicate()


def test_several_hosts_share_the_rows(fake: AskedServer, tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 40)
    meeting = threading.Barrier(2)  # both servers have a request at the same time
    with AskedServer() as other:
        for server in (fake, other):
            server.on_chat = lambda count: meeting.wait(20) and None if count == 1 else None
        more = ["--host", f"ollama={other.url}", "--concurrency", "4"]
        assert cli.main([*_words(fake, "in.jsonl"), *more]) == 0
        asked = fake.asked + other.asked
        assert fake.asked
        assert other.asked
    assert asked == Counter(f"text {name}" for name in ids)


@_POSIX
def test_a_second_signal_ends_the_run_at_once(fake: AskedServer, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", 20)
    process: Any = None

    def on_chat(count: int) -> None:
        if count == 2:
            process.send_signal(signal.SIGTERM)
        if count == 3:
            process.send_signal(signal.SIGINT)

    fake.on_chat = on_chat
    words = [*_words(fake, "in.jsonl"), "--concurrency", "3", "--grace", "1h"]
    process = start(*words, cwd=tmp_path)
    process.communicate(timeout=60)
    # If both signals wait for Python, it calls the handler of SIGINT first, so SIGTERM is second.
    assert process.returncode in (13, 130, 143)
    fake.on_chat = None
    assert run(*words, cwd=tmp_path).returncode == 0


@_POSIX
def test_a_killed_run_goes_on(fake: AskedServer, tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 200)
    words = [*_words(fake, "in.jsonl"), "--concurrency", "4"]
    for moment in (20, 90, 150):
        process = start(*words, cwd=tmp_path)
        fake.on_chat = lambda count, p=process, m=moment: p.kill() if count >= m else None
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    fake.on_chat = None
    assert run(*words, cwd=tmp_path).returncode == 0
    assert Counter(line["custom_id"] for line in _lines()) == Counter(ids)
    assert sum(fake.asked.values()) - 200 <= 3 * 4
