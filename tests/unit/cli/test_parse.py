"""The verb ``parse``: answers as JSON that follows a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from localproviders import cli
from localproviders.testing import FakeOllama, Reply
from tests.unit.cli.support import run

_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
_ANSWER = '{"name": "Zoë"}'


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.json").write_text(json.dumps(_SCHEMA), encoding="utf-8")
    with FakeOllama() as server:
        server.usual = _ANSWER
        yield server


def _parse(fake: FakeOllama, *words: str) -> int:
    host = f"ollama={fake.url}"
    schema = [] if "--schema" in words else ["--schema", "s.json"]
    return cli.main(["parse", "-m", "llama3.2", "--host", host, *schema, *words])


def _prompts(fake: FakeOllama) -> List[str]:
    return [each.json["messages"][-1]["content"] for each in fake.exchanges if each.body]


def test_a_value_is_one_line_of_json(fake: FakeOllama, tmp_path: Path) -> None:
    words = ("parse", "-m", "llama3.2", "--host", f"ollama={fake.url}", "--schema", "s.json")
    done = run(*words, "Who", "is it?", stdin=b"A letter.", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("utf-8") == _ANSWER + "\n"
    assert _prompts(fake) == ["Who is it?\n\nA letter."]
    (sent,) = [each.json for each in fake.exchanges if each.body]
    assert sent["format"] == _SCHEMA


def test_with_json_the_line_has_the_response_too(fake: FakeOllama, capsys: Any) -> None:
    assert _parse(fake, "Who?", "--json", "--no-input") == 0

    line = json.loads(capsys.readouterr().out)
    assert line["value"] == {"name": "Zoë"}
    assert line["response"]["text"] == _ANSWER


def test_each_row_is_one_line(fake: FakeOllama, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    fake.reply_with('{"name": "one"}', '{"name": "two"}')

    assert _parse(fake, "Who?", "-f", "a.csv", "--template", "{a}-{b}") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"name": "one"},
        {"name": "two"},
    ]
    assert _prompts(fake) == ["Who?\n\n1-2", "Who?\n\n3-4"]


def test_a_schema_whose_root_is_no_object_gives_the_bare_value(
    fake: FakeOllama, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "n.json").write_text('{"type": "integer"}', encoding="utf-8")
    fake.usual = '{"value": 7}'
    assert _parse(fake, "How many?", "--no-input", "--schema", "n.json") == 0
    assert capsys.readouterr().out == "7\n"


def test_a_wrong_answer_is_asked_again_as_often_as_said(fake: FakeOllama, capsys: Any) -> None:
    fake.reply_with('{"nam": 1}')
    assert _parse(fake, "Who?", "--no-input") == 0
    assert len(_prompts(fake)) == 2

    fake.reply_with('{"nam": 1}')
    assert _parse(fake, "Who?", "--no-input", "--max-attempts", "1") == 10
    said = capsys.readouterr().err
    assert "SchemaError: no answer followed the schema in 1 attempt" in said
    assert "answer.name" in said or "'name'" in said
    assert "--max-attempts" in said and "error.reasons" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("keys", "more"), [(6, "; 1 more reason"), (7, "; 2 more reasons")])
def test_five_reasons_are_shown_and_the_others_are_counted(
    fake: FakeOllama, capsys: Any, keys: int, more: str
) -> None:
    wrong = {f"key{number}": 1 for number in range(keys - 1)}  # "name" is missing, too
    fake.usual = json.dumps(wrong)
    assert _parse(fake, "Who?", "--no-input", "--max-attempts", "1") == 10
    assert f"{more} [model" in capsys.readouterr().err


def test_an_answer_that_was_cut_off_names_the_option(fake: FakeOllama, capsys: Any) -> None:
    fake.usual = Reply(text='{"name": "Z', finish_reason="length")
    assert _parse(fake, "Who?", "--no-input", "--max-tokens", "3") == 10
    assert "a larger --max-tokens" in capsys.readouterr().err


def test_a_failed_row_is_named_and_a_file_is_not_there(
    fake: FakeOllama, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "a.jsonl").write_text('"one"\n"two"\n', encoding="utf-8")
    fake.reply_with(_ANSWER, "no", "no", "no")

    assert _parse(fake, "-f", "a.jsonl", "-o", "out.jsonl") == 10
    assert "line 2 of a.jsonl: no answer followed the schema" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "s.json"]


#: By name: the content of the file of ``--schema``, and words of the error.
_NO_SCHEMAS = {
    "no JSON": ('{"type": "object"', "line 1, column 18"),
    "a list": ('["name"]', "a JSON Schema is an object"),
    "an example": ('{"name": "Ann"}', "has no keyword of JSON Schema, only 'name'"),
    "a wrong type": ('{"type": "box"}', "it must be one of string, number"),
    "a wrong reference": ('{"$ref": "#/nope"}', '"#/nope", which does not exist'),
    "an unsupported keyword": (
        '{"type": "array", "unevaluatedItems": false}',
        "which is not supported",
    ),
    "a key twice": ('{"type": "object", "type": "string"}', "'type' occurs twice"),
    "too deep": ("[" * 100_000, "nested too deeply"),
    "empty": (" \n", "is empty"),
}


@pytest.mark.parametrize("case", _NO_SCHEMAS)
def test_a_file_that_is_no_schema_is_one_line(
    fake: FakeOllama, tmp_path: Path, capsys: Any, case: str
) -> None:
    text, words = _NO_SCHEMAS[case]
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")

    assert _parse(fake, "Who?", "--schema", "bad.json", "-o", "out") == 2
    said = capsys.readouterr()
    assert words in said.err and "bad.json" in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert fake.exchanges == []
    assert not (tmp_path / "out").exists()


#: By name: the arguments, and words of the error.
_WRONG = {
    "a missing schema file": (["Who?", "--schema", "nope.json"], "'nope.json' cannot be read"),
    "a schema that is not UTF-8": (
        ["Who?", "--schema", "a b.json"],
        "(hint: iconv -f latin1 -t utf-8 'a b.json')",
    ),
    "no attempts": (["Who?", "--max-attempts", "0"], "'0' is no whole number of at least 1"),
    "a missing field": (["-f", "a.csv", "--template", "{c}"], "row 1 of a.csv has no value for"),
    "a missing file": (["-f", "nope.txt"], "'nope.txt' cannot be read"),
    "an option of chat": (["Who?", "--grammar", "x"], "unknown option --grammar"),
    "an image that is none": (
        ["Who?", "--image", "a.csv", "--no-input"],
        "is not a PNG, JPEG, GIF or WebP image (hint: file a.csv)",
    ),
    "no image": (["Who?", "--image", "nope.png", "--no-input"], "cannot be read as an image"),
}


@pytest.mark.parametrize("case", _WRONG)
def test_wrong_arguments_are_one_line(
    fake: FakeOllama, tmp_path: Path, capsys: Any, case: str
) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "a b.json").write_bytes(b'"\xe9"')
    words, expected = _WRONG[case]

    assert _parse(fake, *words, "-o", "out") == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not any(each.path == "/api/chat" for each in fake.exchanges)
    assert not (tmp_path / "out").exists()


def test_the_schema_is_required(capsys: Any) -> None:
    assert cli.main(["parse", "Who?"]) == 2
    assert "--schema" in capsys.readouterr().err
