"""The fields of a request that the options set."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from localproviders.cli import options
from localproviders.cli.parser import Parser
from localproviders.cli.requests import (
    request_fields,
    user_message,
    with_instruction,
    without_system,
)
from localproviders.cli.usage import UsageError
from tests.unit.cli.test_chat import PNG


def _arguments(*words: str, left_out: List[str] = []) -> Namespace:  # noqa: B006  # not changed
    parser = Parser("test")
    options.add_request(parser, *left_out)
    options.add_shared(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ([], {}),
        (["--system", "S"], {"system": "S"}),
        (["--system", ""], {"system": ""}),
        (["--max-tokens", "7"], {"max_tokens": 7}),
        (["--temperature", "0"], {"temperature": 0.0}),
        (["--seed", "0"], {"seed": 0}),
        (["--expect-digest", "abcdef012345"], {"expect_digest": "abcdef012345"}),
        (["--thinking", "on"], {"thinking": True}),
        (["--thinking", "off"], {"thinking": False}),
        (["--thinking", "low"], {"thinking": "low"}),
    ],
)
def test_options_and_their_fields(words: List[str], fields: Dict[str, Any]) -> None:
    assert request_fields(_arguments(*words)) == fields


def test_a_grammar_is_the_text_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "g.gbnf"
    path.write_text('root ::= "ä"', encoding="latin-1")
    words = ["--grammar", str(path), "--encoding", "latin-1"]
    assert request_fields(_arguments(*words)) == {"grammar": 'root ::= "ä"'}
    with pytest.raises(UsageError, match=r"byte 10 is not valid utf-8"):
        request_fields(_arguments(*words[:2]))


def test_options_that_a_verb_does_not_have() -> None:
    found = _arguments("--seed", "1", left_out=["--system", "--image", "--thinking"])
    assert request_fields(found) == {"seed": 1}


def test_a_conversation_has_the_system_message_itself() -> None:
    fields = request_fields(_arguments("--system", "S", "--seed", "1"))
    assert without_system(fields) == {"seed": 1}


def test_a_message_has_the_images(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(PNG)
    message = user_message(_arguments("--image", str(path), "--image", str(path)), "Hi")
    assert (message.role, message.content) == ("user", "Hi")
    assert [image.data for image in message.images] == [PNG, PNG]
    assert user_message(_arguments(), "Hi").images == ()


@pytest.mark.parametrize("name", ["none.png", ".", "text.png"])
def test_an_image_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UsageError, match="cannot be read as an image"):
        user_message(_arguments("--image", str(tmp_path / name)), "Hi")


@pytest.mark.parametrize(
    ("instruction", "text", "prompt"),
    [("a", "b", "a\n\nb"), ("", "b", "b"), ("a", "", "a"), ("", "", "")],
)
def test_the_instruction_comes_before_the_input(instruction: str, text: str, prompt: str) -> None:
    assert with_instruction(instruction, text) == prompt
