"""Stand-ins for decision models, which llama.cpp serves at ``/v1/systemone``.

No package contains a decision model in GGUF form. llama.cpp recognises one by two entries in the
metadata of its file: the type of the decision model, and the template of its questions. With these
entries, any chat model answers over the real server. The answers have the right form, but they mean
nothing.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import IO

#: Types of decision models that need no weights of their own.
TYPES = ("openjev", "lev", "nimble", "lfm2-d1")

# The header of a GGUF file: the magic word, the version, and the numbers of tensors and of entries.
_HEADER = struct.Struct("<4sIQQ")
_TEXT = 8  # the number of the type "string"
# Tensors begin at multiples of this number of bytes, which is the default of the format.
_ALIGNMENT = 32

# The server passes the state, the question and the options to the template. Options of most types
# have a `label`, whose probability the server reads. Those of "openjev" have none, and are labelled
# by their place.
_TEMPLATE = """\
{%- set places = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" -%}
Facts: {{ state if state is string else (state | tojson) }}
Task: {{ instructions if instructions is string else (instructions | tojson) }}
{%- for option in options %}
[{{ option.label or places[loop.index0] }}] {{ option.key }}
{%- if option.description %} - {{ option.description }}{% endif %}
{%- endfor %}
The right letter is"""


def make_decision_model(source: IO[bytes], target: Path, kind: str) -> None:
    """Copy a chat model to a file that llama.cpp takes for a decision model.

    The new entries are inserted before all others. A comment in the template makes them so long
    that the tensors stay aligned, so the rest of the file is copied as it is.

    Args:
        source: A GGUF file of version 3.
        target: The file to write.
        kind: One of `TYPES`.
    """
    source.seek(0)
    magic, version, tensors, entries = _HEADER.unpack(source.read(_HEADER.size))
    assert (magic, version) == (b"GGUF", 3)
    added = _entries(_architecture(source), kind)
    source.seek(_HEADER.size)
    with target.open("wb") as file:
        file.write(_HEADER.pack(magic, version, tensors, entries + 2) + added)
        shutil.copyfileobj(source, file, 1 << 20)


def _architecture(file: IO[bytes]) -> str:
    """Return the architecture, which is the first entry of the files that are used here."""
    assert _read_text(file) == "general.architecture"
    assert struct.unpack("<I", file.read(4)) == (_TEXT,)
    return _read_text(file)


def _read_text(file: IO[bytes]) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode("utf-8")


def _entries(architecture: str, kind: str) -> bytes:
    first = _entry(f"{architecture}.decision.type", kind)
    bare = len(first + _entry("tokenizer.chat_template.systemone", _TEMPLATE + "{##}"))
    comment = "{#" + "." * (-bare % _ALIGNMENT) + "#}"
    return first + _entry("tokenizer.chat_template.systemone", _TEMPLATE + comment)


def _entry(key: str, value: str) -> bytes:
    return _text(key) + struct.pack("<I", _TEXT) + _text(value)


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data
