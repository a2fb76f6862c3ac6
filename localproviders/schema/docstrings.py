"""What a docstring says: its summary, and each parameter's words, in three styles."""

from __future__ import annotations

import inspect
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

# The sections in which parameters are described, and others that end a description.
_PARAMETERS = ("args", "arguments", "parameters", "params", "attributes", "keyword args",
               "keyword arguments", "other parameters")  # fmt: skip
_OTHERS = ("returns", "return", "yields", "yield", "raises", "example", "examples", "note",
           "notes", "warning", "warnings", "see also", "references", "todo", "warns")  # fmt: skip

_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*)|$)")
_NUMPY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_REST = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword|ivar|var)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)"
)
_REST_FIELD = re.compile(r":\w+(?:\s+[^:]*)?:")


class Docstring(NamedTuple):
    """What was found: the text before any section, and the words for each parameter."""

    summary: str
    parameters: Dict[str, str]


def docstring_of(thing: Any) -> Docstring:
    """Read the docstring of a function or class; empty where it has none of its own."""
    text = thing.__doc__
    if not isinstance(text, str) or _is_made_up(thing, text):
        return Docstring("", {})
    return read_docstring(text)


def read_docstring(text: str) -> Docstring:
    """Read Google's, NumPy's and reST's style, mixed as they may be."""
    summary: List[str] = []
    found: Dict[str, str] = {}
    lines = inspect.cleandoc(text).splitlines()
    at = 0
    in_summary = True
    while at < len(lines):
        title, underlined = _section(lines, at)
        field = _REST.match(lines[at].strip())
        if field:
            block, at = _indented(lines, at + 1, _indent(lines[at]))
            found[field.group(1)] = _joined([field.group(2), *block])
            in_summary = False
        elif title or _REST_FIELD.match(lines[at].strip()):
            in_summary = False
            at += 2 if underlined else 1
            if title in _PARAMETERS:
                entries, at = (_numpy if underlined else _google)(lines, at)
                found.update(entries)
        else:
            summary.extend([lines[at]] if in_summary else [])
            at += 1
    return Docstring("\n".join(summary).strip(), found)


def _is_made_up(thing: Any, text: str) -> bool:
    """Tell whether Python wrote the text: it does for dataclasses, named tuples and enums."""
    name = getattr(thing, "__name__", "")
    return text.startswith(f"{name}(") or text == "An enumeration."


def _section(lines: List[str], at: int) -> Tuple[Optional[str], bool]:
    """Give the section that starts on this line, and whether it is underlined."""
    word = lines[at].strip().lower()
    known = (*_PARAMETERS, *_OTHERS)
    if word.endswith(":") and word[:-1] in known:
        return word[:-1], False
    after = lines[at + 1].strip() if at + 1 < len(lines) else ""
    if word in known and len(after) >= 3 and set(after) == {"-"}:
        return word, True
    return None, False


def _google(lines: List[str], at: int) -> Tuple[Dict[str, str], int]:
    """Read ``name (type): words`` lines, indented below the title."""
    found: Dict[str, str] = {}
    block, after = _indented(lines, at, 0)
    outer = min((_indent(line) for line in block if line.strip()), default=0)
    name = ""
    for line in block:
        entry = _GOOGLE.match(line.strip()) if _indent(line) == outer else None
        if entry:
            name = entry.group(1)
            found[name] = entry.group(2) or ""
        elif name:
            found[name] = _joined([found[name], line])
    return found, after


def _numpy(lines: List[str], at: int) -> Tuple[Dict[str, str], int]:
    """Read ``name : type`` lines, each with its words indented below."""
    found: Dict[str, str] = {}
    while at < len(lines) and not _section(lines, at)[0]:
        entry = _NUMPY.match(lines[at].strip())
        at += 1
        if entry:
            block, at = _indented(lines, at, 0)
            for name in entry.group(1).split(","):
                found[name.strip(" *")] = _joined(block)
    return found, at


def _indented(lines: List[str], at: int, outer: int) -> Tuple[List[str], int]:
    """Give the lines from here that are indented more than `outer`, and where they end."""
    end = at
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > outer):
        end += 1
    return lines[at:end], end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: List[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())
