"""The inputs of a verb."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, List, Optional, Tuple

import pytest

from localproviders import ConfigurationError
from localproviders._template import Template
from localproviders.cli.inputs import (
    Input,
    as_text,
    has_many_inputs,
    has_piped_input,
    read_inputs,
    read_text,
)
from localproviders.cli.usage import UsageError
from tests.unit.cli.support import ROOT


def _arguments(
    *text: str,
    file: Tuple[str, ...] = (),
    input: Optional[str] = None,  # as the option is called
    encoding: str = "utf-8",
    no_input: bool = False,
) -> Namespace:
    return Namespace(
        text=list(text), file=list(file), input=input, encoding=encoding, no_input=no_input
    )


def _read(path: Path, content: bytes, **options: Any) -> List[Tuple[str, Any]]:
    path.write_bytes(content)
    found = read_inputs(_arguments(file=(str(path),), **options))
    return [(each.name.replace(str(path), "F"), each.value) for each in found]


def test_the_words_are_one_text() -> None:
    assert list(read_inputs(_arguments("a", "b"))) == [Input("the text", "a b")]


def test_a_text_and_a_file_exclude_each_other_unless_the_text_is_an_instruction(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("body")
    given = _arguments("a", file=(str(path),))
    with pytest.raises(UsageError, match="cannot be used together"):
        list(read_inputs(given))
    assert [each.value for each in read_inputs(given, is_piped_in=True)] == ["body"]


def test_each_file_is_one_input(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{name}\n\n{name}\n")
    files = (str(tmp_path / "a"), str(tmp_path / "b"))
    assert [each.value for each in read_inputs(_arguments(file=files))] == ["a\n\na\n", "b\n\nb\n"]


@pytest.mark.parametrize(
    ("name", "form", "content", "values"),
    [
        ("a.txt", None, b"one\ntwo\n", [("F", "one\ntwo\n")]),
        ("a.txt", None, b"\xef\xbb\xbfone", [("F", "one")]),
        ("a.txt", "lines", b"one\r\n\n  \ntwo", [("line 1 of F", "one"), ("line 4 of F", "two")]),
        ("a.txt", "lines", b"\xef\xbb\xbfone", [("line 1 of F", "one")]),
        ("a.jsonl", None, b'{"a": 1}\n\n"b"\n', [("line 1 of F", {"a": 1}), ("line 3 of F", "b")]),
        ("A.JSONL", None, b"[1]", [("line 1 of F", [1])]),
        ("a.csv", None, b"a,b\n1,\"x,\ny\"\n", [("row 1 of F", {"a": "1", "b": "x,\ny"})]),
        ("a.tsv", None, b"a\tb\n1\t2\n\n3\t4", [("row 1 of F", {"a": "1", "b": "2"}),
                                                 ("row 2 of F", {"a": "3", "b": "4"})]),
        ("a.csv", "text", b"a,b\n", [("F", "a,b\n")]),
        ("a.csv", "lines", b"a,b\n", [("line 1 of F", "a,b")]),
    ],
)  # fmt: skip
def test_formats(
    tmp_path: Path, name: str, form: Optional[str], content: bytes, values: Any
) -> None:
    assert _read(tmp_path / name, content, input=form) == values


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "F is empty"),
        ("a.txt", b" \n", "F is empty"),
        ("a.txt", b"abc\xff", "F: byte 3 is not valid utf-8"),
        ("a.jsonl", b'"a"\n"\xff"\n', "F: byte 5 is not valid utf-8"),
        ("a.jsonl", b"", "F has no rows"),
        ("a.jsonl", b"{}\nnope\n", "line 2 of F is not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 of F is not JSON"),
        ("a.csv", b"a,b\n", "F has no rows"),
        ("a.csv", b"a,b\n1,2,3\n", "row 1 of F has 3 cells, and the header has 2"),
        ("a.csv", b"a,b\n1,2\n3\n", "row 2 of F has 1 cell, and the header has 2"),
        ("a.csv", b"a,a\n1,2\n", "the header of F has the column 'a' twice"),
        ("a.csv", b'a\n"1', "line 2 of F is no csv"),
    ],
)
def test_bad_content_names_its_place(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        list(read_inputs(_arguments(file=(str(path),))))
    assert said in str(caught.value).replace(str(path), "F")


@pytest.mark.parametrize("name", ["missing", ".", "a\0b"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_inputs(_arguments(file=(str(tmp_path / name),))))
    with pytest.raises(UsageError, match="cannot be read"):
        read_text(str(tmp_path / name), "utf-8")


def test_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert _read(path, "ä\nö".encode("latin-1"), encoding="iso8859-1") == [("F", "ä\nö")]
    lines = _read(path, "ä\nö".encode("utf-16"), encoding="utf-16", input="lines")
    assert [value for _, value in lines] == ["ä", "ö"]


class TestAsText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [("a", "a"), ({"text": "a", "b": "c"}, "a"), ({"body": "a"}, "a")],
    )
    def test_without_a_template(self, value: Any, text: str) -> None:
        assert as_text(Input("row 1", value), None) == text

    @pytest.mark.parametrize("value", [1, None, [], {}, {"a": "b", "c": "d"}, {"text": 1}])
    def test_no_text(self, value: Any) -> None:
        with pytest.raises(
            UsageError, match=r"row 1 is no text .hint: say what to send: --templat"
        ):
            as_text(Input("row 1", value), None)

    def test_with_a_template(self) -> None:
        template = Template("Sort {text}")
        assert as_text(Input("row 1", "a"), template) == "Sort a"
        assert as_text(Input("row 1", {"text": "b", "c": 1}), template) == "Sort b"
        with pytest.raises(ConfigurationError, match=r"row 1 has no value for \{text\}"):
            as_text(Input("row 1", {"a": "b"}), template)


_SCRIPT = """
import sys
from argparse import Namespace
from localproviders.cli.inputs import has_piped_input
print(has_piped_input(Namespace(no_input=len(sys.argv) > 1)), file=sys.stderr)
"""


def _is_piped(stdin: Any, *words: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *words],
        stdin=stdin,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    return done.stderr == b"True\n"


def test_a_pipe_and_a_file_are_piped_input(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    assert _is_piped(reader)
    assert not _is_piped(reader, "--no-input")
    os.close(reader)
    os.close(writer)
    (tmp_path / "a").touch()
    with open(tmp_path / "a", "rb") as file:
        assert _is_piped(file)
    assert not _is_piped(subprocess.DEVNULL)


def test_standard_input_without_a_descriptor(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not has_piped_input(_arguments())
    with pytest.raises(UsageError, match="standard input is closed"):
        list(read_inputs(_arguments()))
    with pytest.raises(UsageError, match="--no-input"):
        list(read_inputs(_arguments(no_input=True)))


@pytest.mark.parametrize("words", [("",), (" ",), ("", "")])
def test_an_empty_text_does_not_read_standard_input(words: Tuple[str, ...]) -> None:
    for is_piped_in in (False, True):
        with pytest.raises(UsageError, match="the text is empty"):
            list(read_inputs(_arguments(*words), is_piped_in=is_piped_in))
    assert not has_many_inputs(_arguments(*words, input="lines"))


def test_a_line_ends_at_a_line_feed_in_every_encoding(tmp_path: Path) -> None:
    text = "one\x85two\x0cthree\x1cfour\r\nfive"
    for encoding in ("utf-8", "latin-1", "utf-16"):
        found = _read(tmp_path / "a", text.encode(encoding), input="lines", encoding=encoding)
        assert [value for _, value in found] == ["one\x85two\x0cthree\x1cfour", "five"]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_no_json(word: str, tmp_path: Path) -> None:
    content = f'{{"id": {word}, "text": "a"}}'.encode()
    with pytest.raises(UsageError, match=f"line 1 of .* is not JSON: {word} is no value"):
        _read(tmp_path / "a.jsonl", content)


def test_the_next_step_after_a_file_that_cannot_be_read_is_a_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_text(f"{tmp_path}/a b; c", "utf-8")
    assert caught.value.hint == f"ls -ld '{tmp_path}/a b; c'"


def test_half_of_a_surrogate_pair_names_its_place(tmp_path: Path) -> None:
    content = b'{"text": "\\ud83d\\ude00"}\n{"text": "a\\ud83d"}\n'
    with pytest.raises(UsageError, match=r"line 2 of .* it has half of a surrogate pair"):
        _read(tmp_path / "a.jsonl", content)
    with pytest.raises(UsageError, match="the text is not valid in the encoding") as caught:
        list(read_inputs(_arguments("a\udcff"), is_piped_in=True))
    assert "--encoding" in (caught.value.hint or "")
