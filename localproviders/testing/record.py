"""Real traffic in a file: recorded through a server in between, replayed without the real one.

The file holds a JSON object a line: the request without its secrets, and the answer as it
went over the wire. Prompts and answers are in it: they are what was recorded.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Tuple, Union
from urllib.parse import urlsplit

from localproviders.testing.scripted import (
    LOOK_S,
    Exchange,
    ScriptedServer,
    Step,
    http_answer,
    hung_up,
)

_REDACTED = "**********"

# Headers that carry secrets, in either direction.
_SECRET_HEADERS = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
)

# A shorter key, such as "test", is a placeholder, and stands in ordinary words.
_SHORTEST_SECRET = 8

# Headers that are about one connection, or that would compress the recording.
_OWN_HEADERS = ("connection", "keep-alive", "accept-encoding", "host", "content-length")

_PIECE = 64 * 1024


class Recorder(ScriptedServer):
    """A server that passes everything on to a real one, and writes down what was said.

    Use it in a ``with`` block, and its `url` in the place of the real address. Each
    exchange is appended to the file when its answer has ended; one that was broken off is
    kept as far as it went. Keys, tokens and cookies are replaced wherever they stand; one of
    less than eight characters only in its header.

    Args:
        path: The file; it is made, or added to.
        upstream: Address of the real server, such as ``http://127.0.0.1:11434``.
        secrets: Further texts that must not be in the file.
    """

    def __init__(
        self, path: Union[str, Path], upstream: str, *, secrets: Iterable[str] = ()
    ) -> None:
        super().__init__(self._pass_on)
        self._path = Path(path)
        self._upstream = urlsplit(upstream)
        self._secrets = tuple(secrets)

    def _pass_on(self, exchange: Exchange) -> List[Step]:
        return [self._relay, lambda e: e.close()]

    def _relay(self, exchange: Exchange) -> None:
        pieces: List[bytes] = []
        try:
            with self._connect() as sock:
                sock.sendall(self._request(exchange))
                sock.settimeout(LOOK_S)
                while not exchange.stopping.is_set():
                    try:
                        piece = sock.recv(_PIECE)
                    except socket.timeout:
                        if hung_up(exchange.sock):
                            raise ConnectionResetError from None
                        continue
                    if not piece:
                        break
                    pieces.append(piece)
                    exchange.sock.sendall(piece)
        finally:
            self._write(exchange, b"".join(pieces))

    def _connect(self) -> socket.socket:
        host = self._upstream.hostname or "127.0.0.1"
        tls = self._upstream.scheme == "https"
        port = self._upstream.port or (443 if tls else 80)
        sock = socket.create_connection((host, port))
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host) if tls else sock

    def _request(self, exchange: Exchange) -> bytes:
        kept = {n: v for n, v in exchange.headers.items() if n not in _OWN_HEADERS}
        headers = {
            **kept,
            "host": self._upstream.netloc,
            "content-length": str(len(exchange.body)),
            "connection": "close",
        }
        lines = [f"{exchange.method} {self._upstream.path.rstrip('/')}{exchange.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + exchange.body

    def _write(self, exchange: Exchange, answer: bytes) -> None:
        secrets = [*self._secrets, *_secrets_of(exchange.headers)]
        line = {
            "method": exchange.method,
            "path": _redact(exchange.path, secrets),
            "headers": {
                name: _REDACTED if name in _SECRET_HEADERS else _redact(value, secrets)
                for name, value in exchange.headers.items()
            },
            "body": _redact(exchange.body.decode("utf-8", "surrogateescape"), secrets),
            "answer": _as_text(_redact_answer(answer, secrets)),
        }
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class Replayer(ScriptedServer):
    """A server that answers from a file that a `Recorder` wrote.

    Use it in a ``with`` block. Equal requests (method, path, and the same JSON) get their
    answers in the order of the file, the last one again and again. A request that is not
    in the file gets status 501, and the answer says so.

    Args:
        path: The file.
        secrets: The texts that the `Recorder` was told to take out.

    Raises:
        ValueError: The file holds no recording.
    """

    def __init__(self, path: Union[str, Path], *, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        # Before anything listens: a file that is no recording leaves nothing behind.
        self._answers: Dict[Tuple[str, str, str], List[bytes]] = {}
        for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), start=1):
            try:
                entry = json.loads(line)
                key = _key(entry["method"], entry["path"], entry["body"])
                self._answers.setdefault(key, []).append(_from_text(entry["answer"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: no recording ({error})") from None
        super().__init__(self._recorded)

    def _recorded(self, exchange: Exchange) -> List[Step]:
        # What is compared has lost its secrets, as the recording has.
        secrets = [*self._secrets, *_secrets_of(exchange.headers)]
        body = _redact(exchange.body.decode("utf-8", "surrogateescape"), secrets)
        path = _redact(exchange.path, secrets)
        answers = self._answers.get(_key(exchange.method, path, body))
        if answers is None:
            said = f"{exchange.method} {exchange.path} with this body was not recorded"
            return [http_answer({"error": said}, status="501 Not Implemented")]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [answer, lambda e: e.close()]


def _key(method: str, path: str, body: str) -> Tuple[str, str, str]:
    # A body that is no JSON is compared as it is.
    with contextlib.suppress(ValueError):
        body = json.dumps(json.loads(body), sort_keys=True)
    return method, path, body


def _secrets_of(headers: Mapping[str, str]) -> List[str]:
    found = [value for name, value in headers.items() if name in _SECRET_HEADERS]
    found += [value.partition(" ")[2] for value in found]
    return [secret for secret in found if len(secret) >= _SHORTEST_SECRET]


def _redact(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _REDACTED)
    return text


def _redact_answer(answer: bytes, secrets: Iterable[str]) -> bytes:
    """Take secrets out without changing a length: the framing counts bytes."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    for name in _SECRET_HEADERS:
        line = re.compile(rb"(?im)^(" + re.escape(name.encode()) + rb":[ \t]*)([^\r\n]*)")
        head = line.sub(rb"\1" + _REDACTED.encode(), head)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        data = secret.encode("utf-8", "surrogateescape")
        head, body = (part.replace(data, b"*" * len(data)) for part in (head, body))
    return head + separator + body


def _as_text(data: bytes) -> Any:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _from_text(text: Any) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else base64.b64decode(text["base64"])
