"""By what a server is told: greetings, lists and refusals (lmstudio-api §5.3)."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional

from localproviders._http.answer import Answer
from localproviders._http.framing import parse_json
from localproviders._values import mapping, word
from localproviders.errors import AuthenticationError, BusyError, ProviderError

# The largest is llama.cpp's /props, with the template of its model.
_GREETING_BYTES = 1024 * 1024
_DEPTH = 100

# A reason and a version are for a line.
_LONGEST_WORDS = 300

# Only LM Studio says so, on every path that it does not have (lmstudio-api §4.3).
_UNEXPECTED = "Unexpected endpoint or method"


class Reply(NamedTuple):
    """What came of a question.

    Attributes:
        text: The beginning of the answer; empty where it was refused.
        error: The refusal.
    """

    text: str = ""
    error: Optional[ProviderError] = None

    @property
    def json(self) -> Mapping[str, Any]:
        """The object that it is; an empty one for anything else."""
        try:
            return mapping(parse_json(self.text, _DEPTH))
        except ProviderError:
            return {}


def in_one_line(words: str) -> str:
    """Make a server's words fit for a line of a terminal, whatever they are."""
    plain = "".join(letter if letter.isprintable() else " " for letter in words[:_LONGEST_WORDS])
    return " ".join(plain.split())


def beginning(answer: Answer) -> str:
    """Read as much as a greeting can be; the rest of a page is not waited for.

    Raises:
        ProviderError: The connection broke, or a limit fired. It is closed.
    """
    text = bytearray()
    try:
        while len(text) < _GREETING_BYTES:
            piece = answer.read()
            if not piece:
                answer.release()
                break
            text += piece
    finally:
        answer.close()
    return text.decode("utf-8", "replace")


def is_lmstudio(greeting: Reply) -> bool:
    """Whether LM Studio has answered ``/lmstudio-greeting``, in whatever version (§5.3, §1.3)."""
    if greeting.error is not None:
        said = greeting.error.server_message or ""
        return isinstance(greeting.error, AuthenticationError) and "LM Studio" in said
    said = word(greeting.json.get("error")) or ""
    return greeting.json.get("lmstudio") is True or _UNEXPECTED in said


def is_loading(error: ProviderError) -> bool:
    """Whether a refusal says that the model is still being loaded, as llama.cpp's does."""
    return isinstance(error, BusyError) and error.loading


def is_list(data: Any) -> bool:
    """Whether this is the dialect's list, and not anybody's object with data in it."""
    listed = mapping(data)
    items = listed.get("data")
    if listed.get("object") == "list" and items is None:
        return True  # Ollama and others, without models (ollama-api §2.20)
    if not isinstance(items, list) or not all(word(mapping(item).get("id")) for item in items):
        return False
    typed = bool(items) and all(mapping(item).get("object") == "model" for item in items)
    return listed.get("object") == "list" or typed
