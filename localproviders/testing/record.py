"""Record real traffic to a file through a proxy, and replay it without the real server.

Each line of the file is a JSON object with a request and its response, without secrets. The file
contains the prompts and the model's answers in clear text.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import stat
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple, Union
from urllib.parse import urlsplit

from localproviders._address import parse_endpoint
from localproviders._credentials import is_key_header
from localproviders.errors import ConfigurationError
from localproviders.secret import Sealed, Unseen
from localproviders.testing.redaction import (
    REDACTED,
    redact,
    redact_answer,
    secrets_of,
)
from localproviders.testing.scripted import (
    LOOK_S,
    Exchange,
    ScriptedServer,
    Step,
    http_answer,
    hung_up,
)

# Request headers that the recorder does not forward. `_request` sets most of them again for the
# connection to the real server. With "accept-encoding", the real server could compress the
# response.
_OWN_HEADERS = ("connection", "keep-alive", "accept-encoding", "host", "content-length")

_PIECE = 64 * 1024


class Recorder(ScriptedServer):
    """A server that forwards every request to a real server, and records request and response.

    Use it in a ``with`` block, and use its `url` instead of the real address. Each request is
    appended to the file, together with its response, when the response has ended. If the connection
    breaks, the part of the response that has arrived is recorded.

    API keys, tokens and cookies in the headers of a request are secrets. They are replaced in the
    whole request and in the response, even if they are escaped in JSON or in the address. A secret
    of fewer than eight characters is replaced only in its header. In the strings of JSON, each part
    of a secret is replaced, too, if the part has at least eight characters. Such a part is found
    even if it is divided among several records of a stream. Secrets in the headers of the response,
    such as cookies, are replaced only in these headers. Secrets are not found in a compressed
    response, nor in the log-probabilities of single tokens.

    Args:
        path: The file. If the file exists, the recording is appended. A new file is readable only
            by this user.
        upstream: Address of the real server, such as ``http://127.0.0.1:11434`` or
            ``unix:///run/llama.sock``.
        secrets: Further strings that must not be in the file.

    Raises:
        ConfigurationError: The file is a symbolic link, is not a regular file, or belongs to
            another user; or the address of a UNIX socket is invalid.
        OSError: The file cannot be written.
    """

    def __init__(
        self, path: Union[str, Path], upstream: str, *, secrets: Iterable[str] = ()
    ) -> None:
        given, secrets = Sealed(secrets), ()
        # The address and the file are checked before the server listens, so that an invalid address
        # or file leaves no socket open.
        self._socket_path = ""
        if upstream.startswith("unix:"):
            endpoint = parse_endpoint(upstream, default_port=80)
            upstream, self._socket_path = endpoint.request_url, endpoint.socket_path
        self._upstream = urlsplit(upstream)
        self._path = Path(path)
        _append(self._path, "")
        super().__init__(self._forward)
        self._secrets = tuple(map(Unseen, given.cell_contents))

    def _forward(self, exchange: Exchange) -> List[Step]:
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
        if self._socket_path:
            return _connect_to_socket(self._socket_path)
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
        secrets = [*self._secrets, *secrets_of(exchange.headers)]
        line = {
            "method": exchange.method,
            "path": redact(exchange.path, secrets),
            "headers": {
                name: REDACTED if is_key_header(name) else redact(value, secrets)
                for name, value in exchange.headers.items()
            },
            "body": redact(exchange.body.decode("utf-8", "surrogateescape"), secrets),
            "answer": _as_text(redact_answer(answer, secrets)),
        }
        with self._lock:
            _append(self._path, json.dumps(line) + "\n")


class Replayer(ScriptedServer):
    """A server that replays the responses from a file of a `Recorder`.

    Use it in a ``with`` block. Equal requests (same method, path and JSON) receive their
    responses in the order of the file; the last response is repeated. `rewind` starts from the
    beginning again. A request that is not in the file receives status 400 with an explanation.

    Args:
        path: The file.
        secrets: The same strings as the `secrets` of the `Recorder`.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a recording.
    """

    def __init__(self, path: Union[str, Path], *, secrets: Iterable[str] = ()) -> None:
        given, secrets = Sealed(secrets), ()
        self._secrets = tuple(map(Unseen, given.cell_contents))
        # The file is read before the server listens, so that an invalid file leaves no socket open.
        self._answers: Dict[Tuple[str, str, str], List[bytes]] = {}
        self._replayed: Counter[Tuple[str, str, str]] = Counter()
        for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), start=1):
            try:
                entry = json.loads(line)
                key = _request_key(entry["method"], entry["path"], entry["body"])
                self._answers.setdefault(key, []).append(_from_text(entry["answer"]))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not a recording ({error})") from None
        super().__init__(self._recorded_steps)

    def rewind(self) -> None:
        """Begin again, so that each request receives the first of its recorded responses next."""
        with self._lock:
            self._replayed.clear()

    def _recorded_steps(self, exchange: Exchange) -> List[Step]:
        # Replace the secrets before the comparison, because the recording does not contain them.
        secrets = [*self._secrets, *secrets_of(exchange.headers)]
        body = redact(exchange.body.decode("utf-8", "surrogateescape"), secrets)
        path = redact(exchange.path, secrets)
        key = _request_key(exchange.method, path, body)
        answers = self._answers.get(key)
        if answers is None:
            # Clients do not retry status 400, and show the text of an error in this form.
            message = f"{exchange.method} {path} with this body was not recorded"
            error = {"message": message, "type": "invalid_request_error", "code": 400}
            return [http_answer({"error": error}, status="400 Bad Request")]
        with self._lock:
            number, self._replayed[key] = self._replayed[key], self._replayed[key] + 1
        return [answers[min(number, len(answers) - 1)], lambda e: e.close()]


def _connect_to_socket(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _append(path: Path, text: str) -> None:
    """Append text to a file of this user. Only this user can read a new file."""
    with open(str(path), "a", encoding="utf-8", opener=_open_own) as file:
        file.write(text)


def _open_own(path: str, flags: int) -> int:
    # O_NOFOLLOW refuses a symbolic link; without O_NONBLOCK, opening a named pipe would block.
    # Windows has neither flag.
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | safe, 0o600)
    except OSError:
        if os.path.islink(path):
            raise _refusal(path, "is a symbolic link") from None
        raise
    status = os.fstat(descriptor)
    is_own = os.name != "posix" or status.st_uid == os.geteuid()
    if is_own and stat.S_ISREG(status.st_mode):
        return descriptor
    os.close(descriptor)
    raise _refusal(path, "is not a regular file" if is_own else "belongs to another user")


def _refusal(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"cannot record to {path!r}, because it {why}", hint="choose the name of a new file"
    )


def _request_key(method: str, path: str, body: str) -> Tuple[str, str, str]:
    # The order of keys in a JSON body makes no difference. Other bodies are compared unchanged.
    with contextlib.suppress(ValueError, RecursionError):
        body = json.dumps(json.loads(body), sort_keys=True)
    return method, path, body


def _as_text(data: bytes) -> Any:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _from_text(text: Any) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else base64.b64decode(text["base64"])
