"""Taking out of a server's words what they quote from the request. Pure.

Some servers repeat the whole request in a refusal. An error goes into logs, tickets and
pickles, and a prompt must not.
"""

from __future__ import annotations

import json
import re
from typing import Iterable, Iterator, List, Set

_MARK = "[...]"

# So many characters in one piece are a quotation, and no accident of ordinary sentences.
_RUN = 16
_STEP = _RUN // 2

# A whole text may be shorter than that; one as short as this quotes nothing.
_SHORTEST = 4


def without_quotes(words: str, texts: Iterable[str]) -> str:
    """Give a server's words without what they quote from these texts.

    A quotation is 16 characters in one piece, or a whole text of at least 4, as it stands
    or as JSON writes it. Takes linear time in the texts.
    """
    spellings = list(_spellings(texts))
    words = _cut_out(words, _runs(words, spellings))
    for text in spellings:
        if len(text) < _RUN and text in words:
            words = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", lambda _: _MARK, words)
    return words


def _runs(words: str, texts: List[str]) -> Set[str]:
    """Give every run of the words that stands in a text too.

    Each holds a whole piece of the text that begins at a multiple of the piece's length:
    only beside those is it worth looking.
    """
    runs, pieces = _windows(words, _RUN), _windows(words, _STEP)
    found: Set[str] = set()
    for text in texts:
        for at in range(0, len(text) - _RUN + _STEP, _STEP):
            if text[at : at + _STEP] in pieces:
                starts = range(max(0, at - _STEP), at + 1)
                found.update(runs.intersection(text[start : start + _RUN] for start in starts))
    return found


def _windows(text: str, size: int) -> Set[str]:
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def _spellings(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        text = text.strip()
        if len(text) >= _SHORTEST:
            yield text
            written = json.dumps(text, ensure_ascii=False)[1:-1]
            if written != text:
                yield written


def _cut_out(words: str, quoted: Set[str]) -> str:
    if not quoted:
        return words
    hidden = [False] * len(words)
    for start in range(len(words) - _RUN + 1):
        if words[start : start + _RUN] in quoted:
            hidden[start : start + _RUN] = [True] * _RUN
    kept = "".join("\0" if hide else letter for hide, letter in zip(hidden, words))
    return re.sub("\0+", _MARK, kept)
