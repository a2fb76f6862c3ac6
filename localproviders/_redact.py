"""Text that is safe to show: one line, no control characters, no prompt.

Names and sentences of servers, models and files appear in logs, terminals and errors. They must
not be able to forge a line of a log or move a cursor. Some servers also repeat the complete request
in an error response. Users copy errors into logs, tickets and pickles, where no prompt may appear.
The module does no input or output.
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, Iterator, List, Sequence, Set

# A pattern for C0 and C1 control characters, line and paragraph separators, marks that change the
# direction of text, and surrogates, which no encoder accepts. `str.isprintable` is False for each
# of these characters, so it serves as a fast check. `re` compiles the pattern when a text first
# needs it.
_UNSAFE = "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]"

# Maximum length of a text for users, in characters. A server may send a model name of megabytes,
# and a warning or a line of a log may quote this name at every call. The longest texts of this
# package have a few thousand characters.
_MAX_LENGTH = 10_000


def one_line(text: str) -> str:
    r"""Return the text with control characters and direction marks as visible escapes.

    A line feed becomes the two characters ``\n``, and an escape character becomes the four
    characters ``\x1b``. Printable text in any script is returned unchanged.
    """
    return text if text.isprintable() else re.sub(_UNSAFE, _escape, text)


def printable(text: str) -> str:
    r"""Return the text with control characters as visible escapes, except line feeds and tabs."""
    return text if text.isprintable() else re.sub(_UNSAFE, _escape_in_prose, text)


def each_on_one_line(value: Any) -> Any:
    """Return a string, or each string of a tuple, as one line; return other values unchanged.

    A line has at most 10,000 characters. A longer text is cut, and ends in three dots.
    """
    if isinstance(value, str):
        line = one_line(value[: _MAX_LENGTH + 1])
        return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 3]}..."
    return tuple(map(each_on_one_line, value)) if isinstance(value, tuple) else value


def shortened(text: str, max_length: int = 100) -> str:
    """Return the text as one line of at most `max_length` characters.

    A longer text is cut, and ends in three dots.
    """
    line = one_line(text[: max_length + 1])
    return line if len(line) <= max_length else f"{line[: max_length - 3]}..."


# Number of characters at the beginning of a page in which the title is searched, and maximum length
# of the title. A longer title is cut.
_MAX_PAGE, _MAX_TITLE = 20_000, 120


def count_with_noun(number: int, one: str, many: str = "") -> str:
    """Return a count with its noun: in the singular, or in the plural, which mostly adds an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def title_of(page: str) -> str:
    """Return the title of a page of HTML on one line, shortened, or an empty string."""
    from html import unescape  # imports a large table, which only a page of HTML needs

    found = re.search(r"<title[^<>]{0,200}>([^<]{1,1000})", page[:_MAX_PAGE], re.IGNORECASE)
    words = unescape(found.group(1)).split() if found else ()
    return " ".join(words)[:_MAX_TITLE]


def not_json(text: str, reason: object) -> str:
    """Return the error message for a response that is not JSON.

    Args:
        text: The text of the response.
        reason: The error of the JSON parser. It is shown unless the text is a web page.
    """
    if not re.match(r"\s*<(!doctype|html|head)\b", text, re.IGNORECASE):
        return f"the response is not JSON: {reason}"
    title, message = title_of(text), "the response is a web page and not JSON"
    return f"{message}: {title!r}" if title else message


def on_screen(lines: Sequence[str], max_lines: int = 24) -> str:
    """Return lines as one text that fits on a screen.

    The text has at most `max_lines` lines of at most 100 characters. If there are more lines, the
    last line says how many are left out.
    """
    left_out = len(lines) - max_lines + 1
    shown = [*lines[: max_lines - 1], f"... and {left_out} more"] if left_out > 1 else lines
    # The mark is three full stops, because a terminal's encoding may lack the ellipsis character.
    return "\n".join(map(shortened, shown))


def in_markdown(text: str, max_length: int = 200) -> str:
    """Return the text as one line that Markdown shows literally, also inside a table."""
    line = shortened(text, max_length)
    return re.sub(r"^[#+=:-]|[&<>|\\`*_~$\[\]]", lambda found: f"&#{ord(found.group())};", line)


# A pattern for Markdown that can do harm: HTML tags, images, links that do not lead to a web
# page, link definitions, and the TeX commands that make links or HTML. Notebooks trust the output
# of their own cells. So such Markdown in a model's answer could run scripts, or send data away in
# the address of an image, which is loaded without a click.
_ACTIVE_MARKDOWN = (
    r"<[A-Za-z/!?]|!\[|\]\((?!https?://)|\]:|\\(?:href|html|require|style|class|cssId)"
)
_FENCE = r"(?m)^[ >]*(?:```|~~~)"


def answer_in_markdown(text: str) -> str:
    """Return a model's answer as Markdown that a notebook may render.

    An answer with HTML, images or unusual links is returned as a code block, in which notebooks
    show it literally. An answer with an unclosed code block is also returned in this way, because
    everything after the answer would become part of its code block.
    """
    text = printable(text)
    is_open = len(re.findall(_FENCE, text)) % 2
    return fenced(text) if is_open or re.search(_ACTIVE_MARKDOWN, text) else text


def fenced(text: str) -> str:
    """Return the text as a Markdown code block. No fence in the text can close the block."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{printable(text)}\n{fence}"


def _escape(found: re.Match[str]) -> str:
    return repr(found.group())[1:-1]


def _escape_in_prose(found: re.Match[str]) -> str:
    return found.group() if found.group() in "\n\t" else _escape(found)


_OMISSION_MARK = "[...]"

# A sequence of this many characters that occurs in an error text and in a text of the request is a
# quotation: two different sentences do not have such a sequence in common by accident.
_RUN = 16
_STEP = _RUN // 2

# Minimum length of a complete text that counts as a quotation although it is shorter than `_RUN`.
_SHORTEST = 4


def without_prompt(error_text: str, texts: Iterable[str]) -> str:
    """Return a server's error text in which quotations of the prompt are replaced with ``[...]``.

    A quotation is a sequence of at least 16 characters from a text of the request, or a complete
    text of the request with at least 4 characters. The quotation may be unchanged, escaped as in
    JSON, or escaped as in the messages of this package. For texts of at least 16 characters, the
    time is linear in their length.

    Args:
        error_text: The server's error text.
        texts: The texts of the request.
    """
    spellings = list(_spellings(texts))
    error_text = _cut_out(error_text, _common_runs(error_text, spellings))
    for text in spellings:
        if len(text) < _RUN and text in error_text:
            error_text = re.sub(
                rf"(?<!\w){re.escape(text)}(?!\w)", lambda _: _OMISSION_MARK, error_text
            )
    return error_text


def _common_runs(error_text: str, texts: List[str]) -> Set[str]:
    """Return every sequence of 16 characters that occurs both in the error text and in a text.

    Each text of the request is split into pieces of 8 characters. A sequence of 16 contains at
    least one complete piece. So a sequence is compared only if it contains a piece that occurs in
    the error text.
    """
    runs, pieces = _substrings(error_text, _RUN), _substrings(error_text, _STEP)
    found: Set[str] = set()
    for text in texts:
        for at in range(0, len(text) - _RUN + _STEP, _STEP):
            if text[at : at + _STEP] in pieces:
                starts = range(max(0, at - _STEP), at + 1)
                found.update(runs.intersection(text[start : start + _RUN] for start in starts))
    return found


def _substrings(text: str, size: int) -> Set[str]:
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def _spellings(texts: Iterable[str]) -> Iterator[str]:
    """Yield each text as a server or this package may write it: plain, and with escapes."""
    for text in texts:
        text = text.strip()
        if len(text) >= _SHORTEST:
            written = json.dumps(text, ensure_ascii=False)[1:-1]
            in_ascii = json.dumps(text)[1:-1]
            yield from dict.fromkeys((text, written, in_ascii, one_line(text), one_line(written)))


def _cut_out(error_text: str, quoted: Set[str]) -> str:
    """Return the error text with each of the quoted sequences replaced with the mark."""
    if not quoted:
        return error_text
    hidden = [False] * len(error_text)
    for start in range(len(error_text) - _RUN + 1):
        if error_text[start : start + _RUN] in quoted:
            hidden[start : start + _RUN] = [True] * _RUN
    kept = "".join("\0" if hide else letter for hide, letter in zip(hidden, error_text))
    return re.sub("\0+", _OMISSION_MARK, kept)
