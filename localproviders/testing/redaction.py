"""Replace secrets in recorded requests and responses, in every spelling in which they occur."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Iterable, Iterator, List, Mapping
from urllib.parse import quote

from localproviders._credentials import is_key_header
from localproviders.secret import Unseen
from localproviders.testing.secret_parts import mask_parts

REDACTED = "**********"

# Number of characters of the shortest secret that is replaced. A shorter API key, such as "test",
# is a placeholder. It is not replaced, because ordinary words can contain it.
_SHORTEST_SECRET = 8

# A header line, with any space before the colon, and with its continuation lines.
_HEADER = re.compile(rb"(?m)^([\w.-]+)([ \t]*:[ \t]*)([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/\d\.\d 1\d\d")
_LAST_CHUNK = b"\r\n0\r\n"
# The bytes between the data of two chunks of a body.
_CHUNK_BOUNDARY = rb"\r\n[0-9A-Fa-f]{1,8}(?:;[^\r\n]*)?\r\n"
_BOUNDARY_OR_BYTE = re.compile(rb"(" + _CHUNK_BOUNDARY + rb")|.", re.DOTALL)


def secrets_of(headers: Mapping[str, str]) -> List[str]:
    """Return the secrets in the headers of a request: whole values, and the secret parts of values.

    Secrets of fewer than eight characters are left out.
    """
    found = [
        Unseen(part)
        for name in filter(is_key_header, headers)
        for part in _secret_parts(headers[name])
    ]
    return [secret for secret in found if len(secret) >= _SHORTEST_SECRET]


def _secret_parts(value: str) -> Iterator[str]:
    yield value
    scheme, _, credentials = value.partition(" ")
    yield credentials.strip()
    for pair in value.split(";"):  # a cookie has several pairs
        yield pair.partition("=")[2].strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credentials, validate=True).decode("utf-8", "replace")
        except binascii.Error:
            return
        yield pair
        yield pair.partition(":")[2]


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace the secrets in a text, even if they are escaped in JSON or in an address.

    In the strings of JSON, also replace parts of secrets. A part has at least eight characters.
    """
    known = [Unseen(secret) for secret in secrets]
    for secret in _spellings(known):
        text = text.replace(secret, REDACTED)
    return mask_parts(text.encode("utf-8", "surrogateescape"), known).decode(
        "utf-8", "surrogateescape"
    )


def redact_answer(answer: bytes, secrets: Iterable[str]) -> bytes:
    """Replace secrets in a response. The body keeps the length that the framing announces."""
    end = _end_of_heads(answer)
    head, body = _without_secret_headers(answer[:end]), answer[end:]
    content, last, trailers = body.rpartition(_LAST_CHUNK)
    if last and b"chunked" in head.lower():
        body = content + last + _without_secret_headers(trailers)
    known = [Unseen(secret) for secret in secrets]
    for secret in _spellings(known):
        data = Unseen(secret).encode("utf-8", "surrogateescape")
        head = head.replace(data, b"*" * len(data))
        body = _replace_in_chunks(body, data)
    return head + _mask_in_chunks(body, known)


def _spellings(secrets: Iterable[str]) -> List[Unseen]:
    """Return all spellings of the secrets, such as escaped ones, the longest first."""
    found = set()
    for secret in map(Unseen, secrets):
        found |= {secret, quote(secret, errors="replace"), quote(secret, "", errors="replace")}
        found |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return sorted(map(Unseen, filter(None, found)), key=lambda each: (-len(each), str(each)))


def _end_of_heads(answer: bytes) -> int:
    """Return the position of the body, after the heads of interim responses and the final head."""
    start = 0
    while True:
        found = _BLANK_LINE.search(answer, start)
        if found is None:
            return len(answer)
        if not _INTERIM.match(answer, start):
            return found.end()
        start = found.end()


def _without_secret_headers(head: bytes) -> bytes:
    def line(found: re.Match[bytes]) -> bytes:
        value = REDACTED.encode() if is_key_header(found[1].decode("latin-1")) else found[3]
        return found[1] + found[2] + value

    return _HEADER.sub(line, head)


def _replace_in_chunks(body: bytes, data: bytes) -> bytes:
    """Replace each occurrence of `data` with asterisks, even if it is split across chunks."""
    pattern = (rb"(?:" + _CHUNK_BOUNDARY + rb")?").join(
        re.escape(data[i : i + 1]) for i in range(len(data))
    )
    return re.sub(
        pattern, lambda found: _BOUNDARY_OR_BYTE.sub(lambda part: part[1] or b"*", found[0]), body
    )


def _mask_in_chunks(body: bytes, secrets: Iterable[str]) -> bytes:
    """Mask parts of the secrets, even in a string of JSON that is split across chunks."""
    pieces = re.split(rb"(" + _CHUNK_BOUNDARY + rb")", body)
    masked, start = mask_parts(b"".join(pieces[::2]), secrets), 0
    for at in range(0, len(pieces), 2):
        end = start + len(pieces[at])
        pieces[at], start = masked[start:end], end
    return b"".join(pieces)
