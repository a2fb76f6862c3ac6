"""Messages and images: allowed and refused values."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Dict

import pytest

from localproviders.types import Audio, Image, Message, ToolCall
from localproviders.types.messages import as_messages

_PNG = b"\x89PNG\r\n\x1a\n...."
_KINDS = [
    (_PNG, "image/png"),
    (b"\xff\xd8\xff\xe0....", "image/jpeg"),
    (b"GIF89a....", "image/gif"),
    (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
]
_CALL = ToolCall(id="c1", name="f")


@pytest.mark.parametrize(("data", "kind"), _KINDS)
def test_the_type_of_an_image_is_read_from_its_bytes(data: bytes, kind: str) -> None:
    assert Image.from_bytes(data) == Image(data=data, media_type=kind)
    image = Image.from_bytes(data)
    assert base64.b64decode(image.base64) == data
    assert image.data_uri == f"data:{kind};base64,{image.base64}"
    assert Image.from_data_uri(image.data_uri) == image


@pytest.mark.parametrize("data", [b"", b"BM....", b"RIFF\x00\x00\x00\x00WAVE", b"/etc/passwd"])
def test_bytes_of_no_known_image_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        Image.from_bytes(data)


def test_a_given_type_is_believed_but_no_data_is_never_an_image() -> None:
    assert Image.from_bytes(b"BM..", "image/bmp").media_type == "image/bmp"
    with pytest.raises(ValueError):
        Image.from_bytes(b"", "image/png")


def test_a_file_is_read_only_from_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_PNG)
    assert Image.from_path(tmp_path / "a.png").data == _PNG
    with pytest.raises(TypeError, match=r"pathlib\.Path"):
        Image.from_path(str(tmp_path / "a.png"))  # type: ignore[arg-type]  # under test
    with pytest.raises(OSError):
        Image.from_path(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("data", "kind", "short"),
    [
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav", "wav"),
        (b"ID3\x04....", "audio/mpeg", "mp3"),
        (b"\xff\xfb\x90d", "audio/mpeg", "mp3"),
    ],
)
def test_the_type_of_sound_is_read_from_its_bytes(data: bytes, kind: str, short: str) -> None:
    sound = Audio.from_bytes(data)

    assert (sound.media_type, sound.format) == (kind, short)
    assert Audio.from_dict(sound.to_dict()) == sound


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8\xff", b"OggS", _PNG])
def test_bytes_of_no_known_sound_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a WAV or MP3"):
        Audio.from_bytes(data)


def test_sound_is_read_only_from_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3....")
    assert Audio.from_path(tmp_path / "a.mp3").data == b"ID3...."
    with pytest.raises(TypeError, match=r"pathlib\.Path"):
        Audio.from_path(str(tmp_path / "a.mp3"))  # type: ignore[arg-type]  # under test


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a.png",
        "http://h/a.png",
        "data:text/plain;base64,YQ==",
        "data:image/png,YQ==",
        "data:image/png;base64",
        "data:image/png;base64,Y",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,",
    ],
)
def test_what_is_no_image_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError):
        Image.from_data_uri(uri)


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        (Message.system("s"), {"role": "system", "content": "s"}),
        (Message.user("u"), {"role": "user", "content": "u"}),
        (Message.assistant("a"), {"role": "assistant", "content": "a"}),
        (Message.assistant(), {"role": "assistant"}),
        (Message.assistant(tool_calls=[_CALL]), {"role": "assistant", "tool_calls": (_CALL,)}),
        (
            Message.tool("r", call=_CALL),
            {"role": "tool", "content": "r", "tool_call_id": "c1", "tool_name": "f"},
        ),
        (
            Message.user("u", images=[Image.from_bytes(_PNG)]),
            {"role": "user", "content": "u", "images": (Image.from_bytes(_PNG),)},
        ),
    ],
)
def test_each_constructor_makes_its_message(made: Message, fields: Dict[str, Any]) -> None:
    assert made == Message(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"role": "robot"}, "role is 'robot'"),
        ({"role": "user", "content": b"x"}, "content is bytes"),
        ({"role": "user", "content": [{"type": "text"}]}, "content is list"),
        ({"role": "user", "images": ["/etc/passwd"]}, "images takes paths"),
        ({"role": "user", "images": "a.png"}, "images takes paths"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "a tool call has no name"),
    ],
)
def test_an_impossible_message_is_a_value_error(fields: Dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Message(**fields)


_USER = Message.user("hi")


@pytest.mark.parametrize(
    "given", ["hi", _USER, [_USER], (_USER,), [{"role": "user", "content": "hi"}], iter([_USER])]
)
def test_every_form_of_one_message_means_the_same(given: Any) -> None:
    assert as_messages(given) == (_USER,)


def test_a_system_text_goes_in_front() -> None:
    assert as_messages("hi", "s") == (Message.system("s"), _USER)


@pytest.mark.parametrize(
    "given", [[], (), [{}], [{"role": "x"}], [{"role": "user", "text": "x"}], ["hi"]]
)
def test_what_is_no_conversation_is_a_value_error(given: Any) -> None:
    with pytest.raises(ValueError):
        as_messages(given, "s")


def test_text_that_looks_like_a_path_stays_text() -> None:
    (message,) = as_messages("/etc/passwd")
    assert (message.content, message.images) == ("/etc/passwd", ())


def test_the_arguments_of_a_call_are_an_object_and_no_json_text() -> None:
    with pytest.raises(ValueError, match="arguments is str, and must be a dictionary"):
        ToolCall(id="a", name="f", arguments='{"x": 1}')  # type: ignore[arg-type]  # the point


def test_an_image_in_a_dictionary_may_be_a_value_or_its_dictionary() -> None:
    image = Image.from_bytes(_PNG)
    for item in (image, image.to_dict()):
        assert as_messages([{"role": "user", "content": "x", "images": [item]}]) == (
            Message.user("x", images=[image]),
        )
    called = {"role": "assistant", "tool_calls": (_CALL, _CALL.to_dict())}
    assert as_messages([called])[0].tool_calls == (_CALL, _CALL)


@pytest.mark.parametrize("images", [["scan.png"], "scan.png"])
def test_a_path_in_a_dictionary_is_no_image(images: Any) -> None:
    with pytest.raises(ValueError) as caught:
        as_messages([{"role": "user", "content": "x", "images": images}])
    assert str(caught.value) == (
        "images takes paths, bytes and Image values: write Path(text) for a file, "
        "base64.b64decode(text), or Image.from_data_uri(text); "
        + ("it is one str" if images == "scan.png" else "an item is str")
    )


def test_the_result_of_a_tool_needs_its_call() -> None:
    with pytest.raises(ValueError) as caught:
        Message.tool("rain", "weather")  # type: ignore[arg-type]  # under test
    expected = "call is str, and must be a ToolCall: pass one of answer.tool_calls"
    assert str(caught.value) == expected
