"""JSON in the text of an answer: inside a Markdown fence, or between words."""

from __future__ import annotations

import re
from typing import Iterator, Optional

_FENCE = re.compile(r"`+|~{3,}")
_FENCES = re.compile(r"`{3,}|~{3,}")
_LINE_END = re.compile(r"\r\n|\r|\n")
# The first line of a fence, such as `json`, `JSON title="x"` or `{.json}`.
_INFO = re.compile(r"(?!(?:true|false|null)\s*$)[A-Za-z][^{\[]*|\{\s*\.[\w\s.=-]*\}")
# The name of a language before the JSON, on the same line.
_LANGUAGE = re.compile(r"\s*(?!(?:true|false|null)\b)[A-Za-z][\w.+/-]*:?")


def without_fence(text: str, *, may_be_open: bool) -> str:
    """Return the content of the Markdown fence around a text, stripped of blanks at both ends.

    A text without such a fence is returned, also stripped of blanks at both ends.

    Args:
        text: The text.
        may_be_open: Whether the end of the fence may be missing.
    """
    text = text.strip().lstrip("\ufeff")
    fence = _FENCE.match(text)
    if fence is None:
        return text
    mark, content = fence.group(), text[fence.end() :].rstrip()
    if content.endswith(mark):
        return _without_info(content[: -len(mark)])
    return _without_info(content) if may_be_open else text


def _without_info(content: str) -> str:
    line_end = _LINE_END.search(content)
    first = content[: line_end.start()] if line_end else ""
    if line_end and _INFO.fullmatch(first.strip()):
        return content[line_end.end() :].strip()
    language = _LANGUAGE.match(content)
    return content[language.end() if language else 0 :].strip()


def values_in_words(text: str, *, only_object: bool) -> Iterator[str]:
    """Yield each part of a text that may be the only JSON value in it. The caller parses the part.

    A part is yielded only if the words around it contain no other JSON value, not even an
    incomplete one. Nothing is yielded for a text with two values, because the caller cannot know
    which of them is the answer.

    Args:
        text: A text with words before or after its JSON.
        only_object: Whether to look only for an object. If false, a list and any value in a fence
            are also yielded.
    """
    found = _between(text, "{", "}")
    if found is not None:
        yield found
    if only_object or "{" in text or "}" in text:
        return
    found = _between(text, "[", "]")
    if found is not None:
        yield found
    parts = _FENCES.split(text)
    if len(parts) == 3:
        yield _without_info(parts[1])


def _between(text: str, begin: str, end: str) -> Optional[str]:
    """Return the part from the first opening bracket to the last closing one.

    All brackets before the part must be in pairs, and so must all brackets after it. If they are
    not, the result is None: the part is inside another value, or there is a second value, which is
    incomplete.
    """
    first, last = text.find(begin), text.rfind(end)
    if first == -1 or last < first:
        return None
    around = (text[:first], text[last + 1 :])
    has_pairs = all(side.count(a) == side.count(b) for side in around for a, b in ("{}", "[]"))
    return text[first : last + 1] if has_pairs else None
