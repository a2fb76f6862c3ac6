"""Rows in all their forms become checked requests, or errors that name the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Optional

import pytest

from localproviders import Choice, ConfigurationError, YesNo
from localproviders.batch.rows import Row, RowReader, RowRules, columns_of, filled
from localproviders.batch.sources import open_source


def _read(
    source: Any,
    *,
    template: Optional[str] = None,
    id_field: Optional[str] = None,
    questions: Optional[Mapping[str, Any]] = None,
    **fields: Any,
) -> List[Row]:
    file = open_source(source, None)
    try:
        reader = RowReader(RowRules(template, id_field, questions, fields), file)
        return [reader.read(number, raw) for number, raw in enumerate(file.raw_rows())]
    finally:
        file.close()


def _request(row: Any, **rules: Any) -> Any:
    (read,) = _read([row], **rules)
    assert read.error is None, read.error
    assert read.job is not None
    return read.job.request


def _error(row: Any, **rules: Any) -> str:
    (read,) = _read([row], **rules)
    assert isinstance(read.error, ConfigurationError)
    assert read.job is None
    return str(read.error)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("text", "chat"),
        ({"messages": "text"}, "chat"),
        ({"messages": [{"role": "user", "content": "text"}]}, "chat"),
        ({"prompt": "text"}, "completion"),
        ({"text": "text"}, "embedding"),
        ({"state": "text", "questions": {"q": "Is it?"}}, "decision"),
        ({"query": "text", "documents": ["a"]}, "rerank"),
    ],
)
def test_short_rows(row: Any, kind: str) -> None:
    (read,) = _read([row])
    assert read.job is not None
    assert read.job.kind == kind


def test_fields_of_a_row_win_over_those_of_the_run() -> None:
    rules = {"temperature": 0.5, "model": "a", "system": "Be brief."}
    request = _request({"messages": "Hi", "temperature": 0, "max_tokens": 5}, **rules)
    assert (request.temperature, request.max_tokens, request.model) == (0, 5, "a")
    assert [message.role for message in request.messages] == ["system", "user"]


def test_the_id_is_that_of_the_first_field_that_is_there() -> None:
    rows = [
        {"id": "a", "custom_id": "x", "messages": "1"},
        {"custom_id": "b", "messages": "1"},
        {"id": 7, "messages": "1"},
        {"messages": "1"},
        "1",
    ]
    assert [row.id for row in _read(rows)] == ["a", "b", "7", "3", "4"]
    assert [row.id for row in _read([{"key": "k", "messages": "1"}], id_field="key")] == ["k"]


@pytest.mark.parametrize(
    ("row", "rules", "reason"),
    [
        ({"messages": "x"}, {"id_field": "key"}, "it has no field 'key'"),
        ({"id": None, "messages": "x"}, {}, "its id is None"),
        ({"id": "", "messages": "x"}, {}, "its id is ''"),
        ({"other": "x"}, {}, "it must have one of the fields messages, prompt, text, state"),
        ({"text": "x", "prompt": "x"}, {}, "more than one of them: prompt, text"),
        ({"messages": "x", "temprature": 1}, {}, "did you mean 'temperature'?"),
        ({"messages": "x", "temperature": "hot"}, {}, "temperature is 'hot'"),
        ({"messages": ""}, {}, "the text is empty"),
        ({"text": 5}, {}, "text is int"),
        ({"text": "x"}, {"temperature": 0}, "'temperature' is not a field of a row of the kind"),
        ({"state": "x"}, {}, "it has no questions"),
        ({"query": "x"}, {}, "it has no field 'documents'"),
        ({"query": "x", "documents": []}, {}, "there is no document to rank"),
        ({"url": "/v1/chat/completions", "body": {}, "extra": 1}, {}, "'extra' is not a field"),
        ({"url": "/v1/chat/completions", "body": {}, "method": "GET"}, {}, "method is 'GET'"),
        ({"url": "/v1/images", "body": {}}, {}, "url is '/v1/images'; the known routes end in"),
        ({"a": "x"}, {"template": "{b}"}, "it has no value for {b} of the template"),
    ],
)
def test_a_row_that_cannot_be_sent_is_named(row: Any, rules: Any, reason: str) -> None:
    text = _error(row, **rules)
    assert text.startswith("row 0: ")
    assert reason in text


def test_a_template_makes_a_chat_or_a_state() -> None:
    rules = {"template": "{{{n}}} is {x}?"}
    assert _request({"n": 5, "x": "é"}, **rules).messages[0].content == "{5} is é?"
    assert _request("given", template="<{text}>").messages[0].content == "<given>"
    request = _request({"n": [1], "x": ""}, questions={"q": "Is it?"}, **rules)
    assert request.state == "{[1]} is ?"


def test_a_text_row_with_questions_is_a_state() -> None:
    request = _request("text", questions={"q": "Is it?", "c": ["a", "b"]})
    assert request.state == "text"
    assert request.questions == {"q": YesNo("Is it?"), "c": Choice("c", ["a", "b"])}


def test_a_table_with_questions_has_one_state_in_each_row(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text,day\na,hello,Monday\n")
    (row,) = _read(path, questions={"q": "Is it?"})
    assert row.job is not None
    assert row.job.request.state == {"text": "hello", "day": "Monday"}


def test_a_column_of_a_table_may_be_named_like_a_field_of_a_batch_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,title,body,url\na,Late,Where is it?,x\n")
    (row,) = _read(path, questions={"q": "Is it?"})
    assert row.job is not None
    assert row.job.request.state == {"title": "Late", "body": "Where is it?", "url": "x"}


def test_columns_that_a_table_lacks_are_an_error_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,a\n")
    for rules in ({"template": "{texte}"}, {"id_field": "texte"}):
        with pytest.raises(ConfigurationError, match="no column 'texte'; did you mean 'text'"):
            _read(path, **rules)


@pytest.mark.parametrize("template", ["{", "}", "a {} b", "{a}}"])
def test_a_brace_without_a_name_is_an_error(template: str) -> None:
    with pytest.raises(ConfigurationError, match="brace without a name"):
        columns_of(template)


def test_names_in_a_template_are_no_expressions() -> None:
    assert columns_of("{a.b} {a[0]} {a!r}") == ["a.b", "a[0]", "a!r"]
    assert filled("{a.b}", {"a.b": "x"}) == "x"
    with pytest.raises(ValueError, match="no value for"):
        filled("{a.__class__}", {"a": "x"})
