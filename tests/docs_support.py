"""A loopback server that answers like Ollama, LM Studio and the dialect; blocks of Markdown."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# More characters than this do not fit the model's context window.
_WINDOW_CHARACTERS = 4_000

_TAGS = ("llama3.2:latest", "nomic-embed-text:latest")
_KEYS = ("qwen/qwen3-4b", "text-embedding-nomic-embed-text-v1.5")


class Block(NamedTuple):
    """One fenced block of a page: its language, its text, and where it starts."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str) -> List[Block]:
    """Every fenced block of this language in README and docs."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if match.group(1) == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, line, match.group(1), match.group(2)))
    return found


def ollama_chat(body: Mapping[str, Any], text: str) -> Dict[str, Any]:
    return {
        "model": body["model"],
        "created_at": "2026-11-24T00:00:00.123456789Z",
        "message": {"role": "assistant", "content": text},
        "done": False,
    }


class Handler(BaseHTTPRequestHandler):
    """Answers by path; what it does is decided by the text of the request."""

    protocol_version = "HTTP/1.1"
    server: Loopback
    body: Dict[str, Any]

    def do_GET(self) -> None:
        answers: Mapping[str, Callable[[], Any]] = {
            "/api/tags": lambda: {"models": [{"name": name, "model": name} for name in _TAGS]},
            "/api/v1/models": lambda: {"models": [_lmstudio_model(key) for key in _KEYS]},
            "/v1/models": lambda: {"object": "list", "data": [{"id": "some-model"}]},
        }
        self._note({})
        self._json(answers[self.path]())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._note(body)
        {
            "/api/show": self._show,
            "/api/chat": self._chat,
            "/api/embed": self._embed,
            "/v1/chat/completions": self._completions,
            "/v1/embeddings": self._embeddings,
        }[self.path](body)

    def _note(self, body: Dict[str, Any]) -> None:
        self.server.seen.append((self.path, dict(self.headers), body))

    # --- Ollama ---------------------------------------------------------------------------

    def _show(self, body: Mapping[str, Any]) -> None:
        info = {"general.architecture": "llama", "llama.context_length": 131072}
        self._json({"capabilities": ["completion", "tools"], "model_info": info})

    def _chat(self, body: Mapping[str, Any]) -> None:
        if len(_said(body)) > _WINDOW_CHARACTERS:
            inner = {"error": {"type": "exceed_context_size_error", "message": "too long"}}
            inner["error"].update({"n_prompt_tokens": 3010, "n_ctx": 1024})  # type: ignore[dict-item]
            return self._json({"error": json.dumps(inner)}, 400)
        self._begin("application/x-ndjson")
        for piece in self._pieces(body):
            self._chunk(json.dumps(ollama_chat(body, piece)) + "\n")
        last = {**ollama_chat(body, ""), "done": True, "done_reason": "stop"}
        last.update({"prompt_eval_count": 9, "eval_count": 3, "total_duration": 10**9})
        self._chunk(json.dumps(last) + "\n")
        self._chunk("")
        return None

    def _embed(self, body: Mapping[str, Any]) -> None:
        rows = [_vector(text) for text in body["input"]]
        self._json({"model": body["model"], "embeddings": rows, "prompt_eval_count": 3})

    # --- LM Studio and the dialect --------------------------------------------------------

    def _completions(self, body: Mapping[str, Any]) -> None:
        self._begin("text/event-stream")
        for piece in self._pieces(body):
            self._event(_delta(body, {"content": piece}))
        self._event(_delta(body, {}, "stop"))
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        self._event({"model": body["model"], "choices": [], "usage": usage})
        self._chunk("data: [DONE]\n\n")
        self._chunk("")

    def _embeddings(self, body: Mapping[str, Any]) -> None:
        rows = [
            {"object": "embedding", "index": index, "embedding": _vector(text)}
            for index, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        self._json({"object": "list", "model": body["model"], "data": rows, "usage": usage})

    # --- writing --------------------------------------------------------------------------

    def _pieces(self, body: Mapping[str, Any]) -> Iterator[str]:
        yield from ("The sky ", "scatters ", "blue.")
        if self.server.stalls:
            self.server.stopping.wait(30)
        if "million" in _said(body):
            # Long enough to be cancelled, and with an end: a test must not hang.
            until = time.monotonic() + 5
            while time.monotonic() < until and not self.server.stopping.wait(0.01):
                yield " more"

    def _begin(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, text: str) -> None:
        data = text.encode("utf-8")
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _event(self, data: Mapping[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(data)}\n\n")

    def _json(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing: tests speak through their assertions."""


class Loopback(ThreadingHTTPServer):
    """The server, on a free port, in a ``with`` block.

    Attributes:
        stalls: Say nothing more after the first pieces of an answer.
        seen: Path, headers and JSON of each request.
    """

    daemon_threads = False  # leaving the block waits for every thread

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stalls = False
        self.seen: List[Any] = []
        self.stopping = threading.Event()
        self._socks: List[socket.socket] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get_request(self) -> Any:
        sock, address = super().get_request()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socks.append(sock)
        return sock, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the tests."""

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        for sock in self._socks:
            with contextlib.suppress(OSError):  # closed already
                sock.shutdown(socket.SHUT_RDWR)
        self.server_close()


def _said(body: Mapping[str, Any]) -> str:
    return " ".join(str(message["content"]) for message in body["messages"])


def _delta(body: Mapping[str, Any], delta: Any, reason: Any = None) -> Dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"object": "chat.completion.chunk", "model": body["model"], "choices": [choice]}


def _vector(text: str) -> List[float]:
    """A vector that depends on the letters: the same words are near."""
    counts = [float(text.lower().count(letter)) for letter in "aeiourst"]
    return [*counts, 1.0]


def _lmstudio_model(key: str) -> Dict[str, Any]:
    kind = "embedding" if "embed" in key else "llm"
    return {"type": kind, "key": key, "loaded_instances": [], "max_context_length": 4096}
