"""The verb ``decide``: questions about texts and rows, thresholds, rows that fail."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

import pytest

from localproviders import Decisions, cli
from localproviders.testing import (
    Exchange,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    Refusal,
    Reply,
)
from tests.unit.cli.support import run, start

_YES = ("--yes-no", "Is it spam?")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLlamaCpp]:
    monkeypatch.chdir(tmp_path)
    models = [FakeModel(name="nimble", abilities=("decision",), context_length=50), "chatter"]
    with FakeLlamaCpp(models) as server:
        yield server


def _decide(fake: FakeLlamaCpp, *words: str) -> int:
    host = f"llamacpp={fake.url}"
    return cli.main(["decide", "-m", "nimble", "--host", host, *words])


def _sent(fake: FakeLlamaCpp) -> List[Any]:
    return [each.json for each in fake.exchanges if each.path == "/v1/systemone"]


def _lines(text: str) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_text_is_one_line_of_json(fake: FakeLlamaCpp) -> None:
    fake.usual = Reply(decisions={"yes_no": 0.25})
    words = ("decide", "-m", "nimble", "--host", f"llamacpp={fake.url}", *_YES)
    done = run(*words, "Buy", "now")

    assert (done.returncode, done.stderr) == (0, b"")
    (line,) = _lines(done.stdout.decode())
    assert Decisions.from_dict(line)["yes_no"].probability == 0.25
    assert line["answers"]["yes_no"]["answer"] is False
    assert "input" not in line
    (sent,) = _sent(fake)
    assert sent["state"] == "Buy now"


def test_inline_questions_have_the_names_of_their_kinds(fake: FakeLlamaCpp, capsys: Any) -> None:
    assert _decide(fake, "x", "--choice", "Which?", "--options", 'a , "b, c"') == 0
    assert _decide(fake, "x", "--score", "How?", "--levels", "low,mid,high") == 0

    choice, score = _lines(capsys.readouterr().out)
    assert list(choice["answers"]["choice"]["probabilities"]) == ["a", "b, c"]
    assert list(score["answers"]["score"]["probabilities"]) == ["low", "mid", "high"]


_FILE = {
    "angry": "Is she angry?",
    "team": ["sales", "support"],
    "urgent": {"kind": "score", "question": "How urgent?", "levels": ["low", "high"]},
    "paid": {"kind": "yes_no", "question": "Paid?", "yes": "there is a receipt"},
}


def test_a_file_has_questions_of_all_forms(fake: FakeLlamaCpp, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "q.json").write_text(json.dumps(_FILE), encoding="utf-8")
    assert _decide(fake, "x", "--questions", "q.json") == 0

    (line,) = _lines(capsys.readouterr().out)
    kinds = {name: answer["kind"] for name, answer in line["answers"].items()}
    assert kinds == {"angry": "yes_no", "team": "choice", "urgent": "score", "paid": "yes_no"}
    assert "there is a receipt" in json.dumps(_sent(fake))


def test_rows_are_states_and_have_names_and_ids(
    fake: FakeLlamaCpp, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "a.csv").write_text("id,title\nk7,One\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(
        '{"custom_id": 0, "n": [1, null]}\n"text"\n', encoding="utf-8"
    )
    (tmp_path / "c.txt").write_text("A file.", encoding="utf-8")
    assert _decide(fake, *_YES, "-f", "a.csv", "-f", "b.jsonl", "-f", "c.txt") == 0

    lines = _lines(capsys.readouterr().out)
    assert [(line.get("input"), line.get("id")) for line in lines] == [
        ("row 1 of a.csv", "k7"),
        ("line 1 of b.jsonl", 0),
        ("line 2 of b.jsonl", None),
        ("c.txt", None),
    ]
    states = [sent["state"] for sent in _sent(fake)]
    assert states[2:] == ["text", "A file."]
    assert [json.loads(s) if isinstance(s, str) else s for s in states[:2]] == [
        {"id": "k7", "title": "One"},
        {"custom_id": 0, "n": [1, None]},
    ]


def test_a_template_makes_texts_of_rows(fake: FakeLlamaCpp, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,title\n7,One\n", encoding="utf-8")
    assert _decide(fake, *_YES, "-f", "a.csv", "--template", "Title: {title}") == 0
    assert [sent["state"] for sent in _sent(fake)] == ["Title: One"]


def test_rows_of_a_pipe_are_answered_before_it_ends(fake: FakeLlamaCpp) -> None:
    words = ("decide", "-m", "nimble", "--host", f"llamacpp={fake.url}", *_YES)
    with start(*words, "--input", "lines", stdin=subprocess.PIPE) as process:
        for number in range(1, 4):
            process.stdin.write(f"text {number}\n".encode())
            process.stdin.flush()
            line = json.loads(process.stdout.readline())
            assert line["input"] == f"line {number} of standard input"
        process.stdin.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")


# --- thresholds ----------------------------------------------------------------------------

#: By name: the question, the probabilities, and thresholds with their exit codes.
_THRESHOLDS: Mapping[str, Any] = {
    "yes": (_YES, {"yes_no": 0.8}, {"0.8": 0, "yes_no=0.8": 0, "0.81": 14, "1": 14, "0": 0}),
    "the chosen option": (
        ("--choice", "Which?", "--options", "a,b,c"),
        {"choice": {"a": 0.2, "b": 0.7, "c": 0.1}},
        {"0.7": 0, "0.71": 14, ".5": 0},
    ),
    "the score": (
        ("--score", "How?", "--levels", "a,b,c"),
        {"score": {"a": 0.0, "b": 0.5, "c": 0.5}},
        {"1.5": 0, "1.6": 14, "2": 14},
    ),
}


@pytest.mark.parametrize("case", _THRESHOLDS)
def test_the_exit_code_says_whether_a_threshold_is_reached(
    fake: FakeLlamaCpp, capsys: Any, case: str
) -> None:
    question, decisions, codes = _THRESHOLDS[case]
    fake.usual = Reply(decisions=decisions)
    for least, code in codes.items():
        assert (least, _decide(fake, "x", *question, "--threshold", least)) == (least, code)
    said = capsys.readouterr()
    assert len(_lines(said.out)) == len(codes)
    assert said.err == ""


def test_a_refused_question_is_below_every_threshold(capsys: Any) -> None:
    with FakeLMStudio([FakeModel(name="m", abilities=("decision",))]) as fake:
        fake.usual = Reply(decisions={"yes_no": None})
        host = f"lmstudio={fake.url}"
        words = ["decide", "-m", "m", "--host", host, "--method", "decisions", "x", *_YES]
        assert [cli.main(words), cli.main([*words, "--threshold", "0"])] == [0, 14]
    said = capsys.readouterr()
    assert [line["answers"]["yes_no"]["refused"] for line in _lines(said.out)] == [True, True]
    assert said.err == ""


def test_every_input_and_every_named_question_must_reach_its_threshold(
    fake: FakeLlamaCpp, tmp_path: Path
) -> None:
    (tmp_path / "q.json").write_text('{"a": "A?", "b": "B?"}', encoding="utf-8")
    (tmp_path / "in.jsonl").write_text('"one"\n"two"\n', encoding="utf-8")
    words = ("--questions", "q.json", "-f", "in.jsonl")
    both = ("--threshold", "a=0.5", "--threshold", "b=0.4")
    good = Reply(decisions={"a": 0.9, "b": 0.4})

    fake.reply_with(good, good)
    assert _decide(fake, *words, *both) == 0
    fake.reply_with(Reply(decisions={"a": 0.9, "b": 0.3}), good)
    assert _decide(fake, *words, *both) == 14
    fake.reply_with(Reply(decisions={"a": 0.9, "b": 0.3}), good)
    assert _decide(fake, *words, "--threshold", "a=0.5") == 0


# --- failures ------------------------------------------------------------------------------


def test_a_row_that_fails_is_a_line_and_the_others_go_on(
    fake: FakeLlamaCpp, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps("one") + "\n" + json.dumps("long " * 90) + '\n"three"\n""\n', encoding="utf-8"
    )
    assert _decide(fake, *_YES, "-f", "a.jsonl", "-o", "out.jsonl", "--threshold", "0") == 12

    lines = _lines((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    errors = [line.get("error", {}).get("error") for line in lines]
    assert errors == [None, "ContextOverflowError", None, "ConfigurationError"]
    assert [line["input"] for line in lines][1] == "line 2 of a.jsonl"
    said = capsys.readouterr()
    assert said.err == (
        "localproviders decide: 2 of 4 inputs failed (hint: grep '\"error\": {' out.jsonl)\n"
    )
    found = subprocess.run(
        ["grep", "-c", '"error": {', "out.jsonl"], stdout=subprocess.PIPE, check=True
    )
    assert found.stdout == b"2\n"


def test_a_single_text_that_fails_has_the_exit_code_of_its_error(
    fake: FakeLlamaCpp, capsys: Any
) -> None:
    assert _decide(fake, "long " * 90, *_YES) == 9
    said = capsys.readouterr()
    assert said.out == "" and "ContextOverflowError" in said.err


def test_another_error_ends_the_run_and_names_the_row(
    fake: FakeLlamaCpp, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "a.jsonl").write_text('"one"\n"two"\n"three"\n', encoding="utf-8")
    fake.reply_with(Reply(), Refusal(status="500 Internal Server Error", body={"error": "no"}))

    assert _decide(fake, *_YES, "-f", "a.jsonl") == 7
    said = capsys.readouterr()
    assert len(_lines(said.out)) == 1
    assert "line 2 of a.jsonl: " in said.err and said.err.count("\n") == 1
    assert len(_sent(fake)) == 2


def test_a_small_mass_is_a_failed_row(fake: FakeLlamaCpp, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.jsonl").write_text('"walrus"\n"two"\n', encoding="utf-8")

    def answer(exchange: Exchange) -> Reply:
        share = 0.4 if "walrus" in json.dumps(exchange.json) else 0.1
        return Reply(first_token={"A": share, "B": share, " hm": 0.2})

    fake.usual = answer
    words = ("-m", "chatter", "--method", "logprobs", *_YES, "-f", "a.jsonl")
    assert _decide(fake, *words) == 12
    assert _decide(fake, *words, "--min-mass", "0.1") == 0
    first, second, *_ = _lines(capsys.readouterr().out)
    assert "error" not in first and second["error"]["error"] == "CapabilityError"


def test_a_chat_model_needs_the_option_for_chat_models(fake: FakeLlamaCpp, capsys: Any) -> None:
    assert _decide(fake, "x", "-m", "chatter", *_YES) == 8
    assert "add --method logprobs" in capsys.readouterr().err


def test_an_image_goes_with_the_text(fake: FakeLlamaCpp, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    fake.models[0] = FakeModel(name="nimble", abilities=("decision", "vision"))
    assert _decide(fake, "A photo", *_YES, "--image", "a.png") == 0
    assert len(_sent(fake)[0]["images"]) == 1


# --- bad input -----------------------------------------------------------------------------

#: By name: the arguments, and words of the error.
_WRONG = {
    "no question": (["x"], "--yes-no"),
    "two questions": (["x", *_YES, "--score", "y"], "not allowed with argument"),
    "no options": (["x", "--choice", "Which?"], "--choice needs --options"),
    "no levels": (["x", "--score", "Which?"], "--score needs --levels"),
    "options without a choice": (["x", *_YES, "--options", "a,b"], "--options needs --choice"),
    "one option": (["x", "--choice", "W?", "--options", "a"], "there must be at least 2 options"),
    "an empty option": (["x", "--choice", "W?", "--options", "a,,b"], "one of the options is emp"),
    "an option twice": (["x", "--choice", "W?", "--options", "a,a"], "occurs twice"),
    "an open quote": (["x", "--choice", "W?", "--options", 'a,"b'], "is no list"),
    "an empty question": (["x", "--yes-no", " "], "question is empty"),
    "no method": (["x", *_YES, "--method", "guess"], "--method"),
    "a mass above 1": (["x", *_YES, "--min-mass", "2"], "'2' is no number from 0 to 1"),
    "a threshold above 1": (["x", *_YES, "--threshold", "1.1"], "a number from 0 to 1"),
    "a threshold in percent": (["x", *_YES, "--threshold", "80%"], "a number from 0 to 1"),
    "a threshold below 0": (["x", *_YES, "--threshold=-1"], "a number from 0 to 1"),
    "a threshold nan": (["x", *_YES, "--threshold", "nan"], "a number from 0 to 1"),
    "a misspelt name": (["x", "--questions", "q.json", "--threshold", "angri=1"], "mean 'angry'"),
    "no name": (["x", "--questions", "q.json", "--threshold", "1"], "--threshold angry=1"),
    "a missing file": (["x", "--questions", "nope.json"], "'nope.json' cannot be read"),
    "a row that is a list": ([*_YES, "-f", "list.jsonl"], "line 1 of list.jsonl is no text"),
    "an empty row": ([*_YES, "-f", "empty.jsonl"], "line 1 of empty.jsonl is an empty object"),
    "no JSON": ([*_YES, "-f", "torn.jsonl"], "line 1 of torn.jsonl is not JSON"),
    "no UTF-8": ([*_YES, "-f", "latin.txt"], "byte 2 is not valid utf-8"),
    "an empty file": ([*_YES, "-f", "void.txt"], "void.txt is empty"),
    "no field": ([*_YES, "-f", "a.csv", "--template", "{c}"], "row 1 of a.csv has no value"),
    "no input": ([*_YES, "--no-input"], "--no-input forbids reading standard input"),
    "an existing output": (["x", *_YES, "-o", "a.csv"], "'a.csv' exists already"),
    "an option of chat": (["x", *_YES, "--temperature", "1"], "unknown option --temperature"),
    "an empty model": (["x", *_YES, "-m", ""], "'' is empty: write a value"),
}
_FILES = {
    "q.json": b'{"angry": "A?", "b": "B?"}',
    "list.jsonl": b"[1]\n",
    "empty.jsonl": b"{}\n",
    "torn.jsonl": b'{"a": \n',
    "latin.txt": b"ab\xe9",
    "void.txt": b" \n",
    "a.csv": b"a,b\n1,2\n",
}


@pytest.mark.parametrize("case", _WRONG)
def test_wrong_arguments_are_one_line(
    fake: FakeLlamaCpp, tmp_path: Path, capsys: Any, case: str
) -> None:
    for name, content in _FILES.items():
        (tmp_path / name).write_bytes(content)
    words, expected = _WRONG[case]

    assert _decide(fake, *words) == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert _sent(fake) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == _FILES


#: By name: the content of the file of ``--questions``, and words of the error.
_NO_QUESTIONS = {
    "a list": ('["a"]', "must be a JSON object from names to questions"),
    "nothing": ("{}", "has no question"),
    "a number": ('{"a": 1}', "question 'a': a question is int"),
    "no kind": ('{"a": {"question": "A?"}}', "question 'a': kind is None"),
    "an unknown field": ('{"a": {"kind": "yes_no", "text": "A?"}}', "has no field 'text'"),
    "one option": ('{"a": ["x"]}', "there must be at least 2 options"),
    "a name twice": ('{"a": "A?", "a": "B?"}', "the key 'a' occurs twice"),
    "no JSON": ("{", "line 1, column 2"),
}


@pytest.mark.parametrize("case", _NO_QUESTIONS)
def test_a_file_without_questions_is_one_line(
    fake: FakeLlamaCpp, tmp_path: Path, capsys: Any, case: str
) -> None:
    text, words = _NO_QUESTIONS[case]
    (tmp_path / "q.json").write_text(text, encoding="utf-8")

    assert _decide(fake, "x", "--questions", "q.json") == 2
    said = capsys.readouterr()
    assert words in said.err and "q.json" in said.err
    assert (said.out, said.err.count("\n"), _sent(fake)) == ("", 1, [])
