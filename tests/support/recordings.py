"""The recorded traffic of real servers, as bytes that a test server can send again."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from localproviders.testing.scripted import chunks

DATA = Path(__file__).parents[1] / "data"

# The licence of LM Studio's published samples does not let this project copy them. They are read
# from a folder next to the project, if it exists.
_WIRE = Path(
    os.environ.get("LOCALPROVIDERS_WIRE", str(Path(__file__).parents[3] / "shared" / "wire"))
)
LMSTUDIO = _WIRE / "lmstudio"
# So are answers that public projects show.
PUBLISHED = _WIRE / "others"

needs_lmstudio_samples = pytest.mark.skipif(
    not LMSTUDIO.is_dir(), reason="LM Studio's published samples are not in this checkout"
)

needs_published_answers = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the published answers of others are not in this checkout"
)


def ollama_names() -> List[str]:
    """Return the names of the Ollama recordings."""
    return sorted(path.stem for path in (DATA / "ollama").glob("*.txt"))


def ollama_answer(name: str) -> bytes:
    """Return the response of an Ollama recording, with new chunks or a corrected length."""
    if name == "busy_503":
        text = (DATA / "ollama" / "busy_503.txt").read_text()
        found = re.search(r"503, '([^']*)', '([^']*)'", text)
        assert found
        body = found.group(2).encode()
        head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: " + found.group(1)
        return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    raw = (DATA / "ollama" / f"{name}.txt").read_bytes()
    start = raw.index(b"HTTP/1.1 ")
    head, _, body = raw[start:].replace(b"\r\n", b"\n").partition(b"\n\n")
    body = re.sub(rb"\[curl exit \d+\]\s*$", b"", body)
    if b"curl -I" in raw[:start]:
        head = re.sub(rb"Content-Length: \d+", b"Content-Length: 0", head)
    length = re.search(rb"Content-Length: (\d+)", head)
    if length:
        body = body[: int(length.group(1))]
        assert len(body) == int(length.group(1))
    if b"Transfer-Encoding: chunked" in head:
        # The recorded files end in a blank line that the server did not send.
        body = chunks(body.rstrip(b"\n") + b"\n", 1000)
    return head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body


def ollama_records(name: str) -> List[Any]:
    """Return the JSON records of an Ollama recording."""
    body = (DATA / "ollama" / f"{name}.txt").read_bytes()
    return [json.loads(line) for line in re.findall(rb"^\{.*\}$", body, re.MULTILINE)]


def dialect_names() -> List[str]:
    """Return the names of the recordings of the OpenAI dialect."""
    folder = DATA / "openai_compatible"
    return sorted(path.name.split(".")[0] for path in folder.glob("*.response.bin"))


def dialect_exchange(
    name: str, folder_name: str = "openai_compatible"
) -> Tuple[Dict[str, Any], bytes]:
    """Return the request body and the raw response of a recording of the OpenAI dialect."""
    folder = DATA / folder_name
    request = json.loads((folder / f"{name}.request.json").read_text())
    return request, (folder / f"{name}.response.bin").read_bytes()


#: Published captures of Anthropic's own service.
ANTHROPIC = _WIRE / "anthropic" / "found"

needs_anthropic_captures = pytest.mark.skipif(
    not ANTHROPIC.is_dir(), reason="the published captures of Anthropic are not in this checkout"
)


def anthropic_names() -> List[str]:
    """Return the names of the recordings of the route ``/v1/messages``."""
    return sorted(path.name.split(".")[0] for path in (DATA / "anthropic").glob("*.response.bin"))
