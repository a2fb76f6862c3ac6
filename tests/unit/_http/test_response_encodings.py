"""Compressed and chunked bodies are read whole, in whichever of the allowed ways they are written."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Tuple

import pytest

from localproviders import ProtocolError, ProviderError
from localproviders.testing import ScriptedServer, http_answer
from tests.support.locality import after_model_list, make

_BODY = b"".join(
    json.dumps({"model": "m", "message": {"content": word}, "done": word == "!"}).encode() + b"\n"
    for word in ["Hello", ", ", "world", "!"]
)
_HALVES = _BODY[:70], _BODY[70:]


def _raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


_MEMBERS = gzip.compress(_HALVES[0]) + gzip.compress(_HALVES[1])
_GOOD = {
    "one member": ("gzip", gzip.compress(_BODY)),
    "two members": ("gzip", _MEMBERS),
    "a member for each byte": (
        "x-gzip",
        b"".join(gzip.compress(_BODY[at : at + 1]) for at in range(len(_BODY))),
    ),
    "an empty member first": ("gzip", gzip.compress(b"") + gzip.compress(_BODY)),
    "empty members between": (
        "gzip",
        gzip.compress(_HALVES[0]) + gzip.compress(b"") * 9 + gzip.compress(_HALVES[1]),
    ),
    "zeros between members": (
        "gzip",
        gzip.compress(_HALVES[0]) + b"\0" * 7 + gzip.compress(_HALVES[1]) + b"\0" * 9,
    ),
    "other bytes behind": ("gzip", _MEMBERS + b"garbage\x1f\x8b"),
    "zlib": ("deflate", zlib.compress(_BODY)),
    "raw": ("deflate", _raw(_BODY)),
    "raw, stored": ("Deflate ", zlib.compress(_BODY, 0)[2:-4]),
    "gzip called deflate": ("deflate", gzip.compress(_BODY)),
}
_BAD = {
    "a second member that is cut": ("gzip", _MEMBERS[:-40]),
    "a second member of which one byte came": (
        "gzip",
        gzip.compress(_HALVES[0]) + b"\x1f",
    ),
    "a second member that is damaged": ("gzip", _MEMBERS[:-60] + b"\xff" * 60),
    "the first member alone": ("gzip", gzip.compress(_HALVES[0])),
    "raw that is cut": ("deflate", _raw(_BODY)[:-5]),
    "other bytes in place of the second": ("gzip", gzip.compress(_HALVES[0]) + b"xx"),
    "members without end": ("gzip", gzip.compress(b"") * 60_000),
}


def _ask(encoding: str, body: bytes, size: int) -> str:
    headers = [("Content-Encoding", encoding)]
    kind = "application/x-ndjson"
    answer = http_answer(body, content_type=kind, headers=headers, chunked=True, chunk_size=size)
    with ScriptedServer(after_model_list(answer)) as server, make("ollama", server) as provider:
        return str(provider.chat("hi").text)


@pytest.mark.parametrize("size", [1, 20, 100_000])
@pytest.mark.parametrize("sent", _GOOD.values(), ids=_GOOD)
def test_a_compressed_body_is_read_whole(sent: Tuple[str, bytes], size: int) -> None:
    assert _ask(*sent, size) == "Hello, world!"


@pytest.mark.parametrize("size", [7, 100_000])
@pytest.mark.parametrize("sent", _BAD.values(), ids=_BAD)
def test_a_compressed_body_that_is_not_whole_is_an_error(
    sent: Tuple[str, bytes], size: int
) -> None:
    with pytest.raises(ProviderError):
        _ask(*sent, size if len(sent[1]) < 10_000 else 100_000)


def test_bytes_behind_the_data_have_a_limit() -> None:
    with pytest.raises(ProtocolError, match="hold no data"):
        _ask("gzip", gzip.compress(_HALVES[0]) + b"x" * 2_000_000, 100_000)


@pytest.mark.parametrize(
    "header", ["chunked ", "\tchunked\t", "CHUNKED", "Chunked  ", " chunked \t "]
)
@pytest.mark.parametrize("size", ["%x", "%X", "%016x", "%020X", "%032x", "%064x"])
def test_a_chunked_body_is_read_however_it_is_written(header: str, size: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding:{header}"
    lines = [head.encode() + b"\r\n\r\n"]
    for at in range(0, len(_BODY), 42):
        piece = _BODY[at : at + 42]
        lines.append((size % len(piece)).encode() + b"\r\n" + piece + b"\r\n")
    lines.append((size % 0).encode() + b"\r\n\r\n")

    script = after_model_list(b"".join(lines))
    with ScriptedServer(script) as server, make("ollama", server) as provider:
        assert provider.chat("hi").text == "Hello, world!"
        assert provider.chat("hi").text == "Hello, world!"
    assert len({exchange.connection for exchange in server.exchanges}) == 1
