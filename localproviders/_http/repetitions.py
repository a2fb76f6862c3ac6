"""Recognise an answer that the server ended because the model repeated itself."""

from __future__ import annotations

from typing import Optional

from localproviders.errors import ProviderError, RepetitionError, StreamInterruptedError

# A server ends an answer because of repetitions only after more repetitions than the first number
# (docs/reference/ollama.md, "Streaming"). No usual token has more characters than the second.
_MANY_TIMES, _LONGEST_TOKEN = 30, 64


def find_repetition(text: str) -> Optional[int]:
    """Return the index at which the repetitions at the end of a text begin, or None.

    These are 30 blanks or more, or the last 30 repetitions of any other piece of at most 64
    characters.
    """
    end = len(text.rstrip())
    if len(text) - end >= _MANY_TIMES:
        return end
    for length in range(1, min(_LONGEST_TOKEN, len(text) // _MANY_TIMES) + 1):
        tail = text[-length * _MANY_TIMES :]
        if tail[length:] == tail[:-length]:
            return len(text) - len(tail)
    return None


def name_repetition(error: ProviderError, text: str) -> ProviderError:
    """Return a `RepetitionError` if the server ended an answer because of repetitions.

    The body of such an answer is complete, but its last record is missing. In all other cases, the
    given error is returned unchanged: if the connection was cut, repetitions at the end of the text
    are a coincidence.

    Args:
        error: The error of the stream.
        text: The text of the answer up to the error.
    """
    is_cut_off = not isinstance(error, StreamInterruptedError) or error.retryable
    if is_cut_off or find_repetition(text) is None:
        return error
    return RepetitionError(
        "the model repeated the same piece of text again and again, until the server ended the"
        " answer",
        hint="set repeat_penalty, such as 1.1, change the prompt, or use a larger model",
    )
