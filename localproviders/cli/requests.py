"""Makes the fields of a request from the options of the command."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from shlex import quote
from typing import Any, Dict, List, Mapping

from localproviders.cli.inputs import read_text
from localproviders.cli.usage import UsageError
from localproviders.types.messages import Image, Message

_THINKING: Mapping[str, Any] = {"on": True, "off": False}
#: Options with the names of the request fields that they set.
_SAME = ("system", "max_tokens", "temperature", "seed", "expect_digest")


def request_fields(arguments: Namespace) -> Dict[str, Any]:
    """Return the request fields of the options in `options.REQUEST`, without the images.

    Raises:
        UsageError: The file of ``--grammar`` cannot be read.
    """
    given = {name: getattr(arguments, name, None) for name in _SAME}
    fields = {name: value for name, value in given.items() if value is not None}
    if getattr(arguments, "thinking", None) is not None:
        fields["thinking"] = _THINKING.get(arguments.thinking, arguments.thinking)
    if getattr(arguments, "grammar", None) is not None:
        fields["grammar"] = read_text(arguments.grammar, arguments.encoding)
    return fields


def without_system(fields: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the fields without the system message, which a conversation adds itself."""
    return {name: value for name, value in fields.items() if name != "system"}


def user_message(arguments: Namespace, text: str) -> Message:
    """Return the message of the user: the text, with the images of ``--image``.

    Raises:
        UsageError: An image cannot be read.
    """
    return Message.user(text, images=images_of(arguments))


def images_of(arguments: Namespace) -> List[Image]:
    """Return the images of ``--image``.

    Raises:
        UsageError: An image cannot be read.
    """
    images = []
    for path in arguments.image:
        try:
            images.append(Image.from_path(Path(path)))
        except (OSError, ValueError) as error:
            # The part of the message after the semicolon is advice for Python code.
            words = getattr(error, "strerror", None) or str(error).partition(";")[0]
            raise UsageError(
                f"{path!r} cannot be read as an image: {words}", hint=f"file {quote(path)}"
            ) from None
    return images


def with_instruction(instruction: str, text: str) -> str:
    """Return the prompt: the text of the command line, a blank line, then the input."""
    return "\n\n".join(filter(None, (instruction, text)))
