"""One server that answers every provider, every call there is, and what a leak looks like."""

from __future__ import annotations

import json
import socket
import ssl
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional
from urllib.parse import urlsplit

import trustme

from localproviders import (
    CompletionRequest,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
)
from localproviders._backend import HTTPProvider
from localproviders.testing import Exchange, ScriptedServer, http_answer

PROVIDERS: Mapping[str, Callable[..., HTTPProvider]] = {
    "ollama": OllamaProvider,
    "lmstudio": LMStudioProvider,
    "openai": OpenAICompatibleProvider,
}

ONCE = RetryPolicy(attempts=1)
AGAIN = RetryPolicy(first_wait_s=0)

KEY = "sk-hunter2-0123456789abcdef"
PROMPT = "Mr Smith of Harrow has a tumour"
ANSWER = "It is to be removed on Friday"

CALLS: Mapping[str, Callable[[HTTPProvider], Any]] = {
    "list_models": lambda provider: provider.list_models(),
    "chat": lambda provider: provider.chat(PROMPT),
    "stream": lambda provider: provider.stream(PROMPT).result(),
    "complete": lambda provider: provider.complete(CompletionRequest(prompt=PROMPT)),
    "embed": lambda provider: provider.embed([PROMPT]),
    "supports_model": lambda provider: provider.supports_model("m"),
    "model_capabilities": lambda provider: provider.model_capabilities("m"),
}


def _sse(choice: Dict[str, Any]) -> bytes:
    record = json.dumps({"model": "m", "choices": [{**choice, "finish_reason": "stop"}]})
    events = f"data: {record}\n\ndata: [DONE]\n\n"
    return http_answer(events, content_type="text/event-stream", chunked=True)


def _ndjson(**said: Any) -> bytes:
    record = {"model": "m", "done": True, "done_reason": "stop", **said}
    return http_answer(record, content_type="application/x-ndjson", chunked=True)


#: What a well-behaved server says, by path; enough for every call of every provider.
GOOD: Mapping[str, bytes] = {
    "/api/tags": http_answer({"models": [{"name": "m:latest"}]}),
    "/api/show": http_answer({"capabilities": ["completion"]}),
    "/api/chat": _ndjson(message={"content": ANSWER}),
    "/api/generate": _ndjson(response=ANSWER),
    "/api/embed": http_answer({"model": "m", "embeddings": [[1.0]]}),
    "/api/v1/models": http_answer({"models": [{"type": "llm", "key": "m"}]}),
    "/v1/models": http_answer({"data": [{"id": "m"}]}),
    "/v1/chat/completions": _sse({"delta": {"content": ANSWER}}),
    "/v1/completions": _sse({"text": ANSWER}),
    "/v1/embeddings": http_answer({"model": "m", "data": [{"embedding": [1.0]}]}),
}


def good(exchange: Exchange) -> List[bytes]:
    """Answer as a server does with which all is well; a proxy is told the whole address."""
    return [GOOD[urlsplit(exchange.path).path]]


def only_asking(answer: Any) -> Callable[[Exchange], List[Any]]:
    """Give the lists, and these steps to every other request."""
    steps = [answer] if isinstance(answer, bytes) or callable(answer) else answer
    return lambda exchange: good(exchange) if exchange.path == "/api/tags" else steps


def make(kind: str, server: Any, **options: Any) -> HTTPProvider:
    """Make a provider of this kind for a server, or for an address."""
    url = server.url if isinstance(server, ScriptedServer) else server
    suffix = "/v1" if kind == "openai" else ""
    return PROVIDERS[kind](url + suffix, **{"model": "m", "retry": ONCE, **options})


# --- leaks --------------------------------------------------------------------------------


def chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and everything that it says it came from."""
    seen: Dict[int, BaseException] = {}
    todo: List[Any] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in seen:
            continue
        seen[id(link)] = link
        todo += [link.__cause__, link.__context__]
        yield link


def frames_of(error: BaseException, where: str = "") -> Iterator[str]:
    """Give the frames below the tests, with their locals."""
    made = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in made.stack:
        name = frame.filename.replace("\\", "/")
        if "/tests/" not in name and where in name:
            yield f"{name}:{frame.lineno} {frame.name} {frame.locals}"


def held(root: Any) -> Iterator[Any]:
    """Give the plain values that hang on an object, however deep."""
    seen: Dict[int, Any] = {}
    todo = [root]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, (str, bytes, bytearray)):
            yield value
        elif isinstance(value, Mapping):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            todo += value
        elif not isinstance(value, (type, type(traceback), type(held))):
            todo += [getattr(value, "__dict__", {}), getattr(value, "args", ())]


def shown(error: BaseException) -> str:
    """Give all that can be seen of an error: texts, frames with locals, what it holds."""
    seen: List[str] = []
    for link in chain(error):
        seen += [str(link), repr(link), *frames_of(link)]
        seen += [str(value) for value in held([link.__dict__, link.args])]
    return "\n".join(seen)


def find(secret: str, text: str) -> List[str]:
    """Give the lines that hold a secret, shortened: what a failing test shows."""
    return [line[:2000] for line in text.splitlines() if secret in line]


# --- certificates -------------------------------------------------------------------------


class Authority:
    """A certificate authority with its files.

    Attributes:
        made: trustme's own.
        bundle: Path of its certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.made = trustme.CA()
        self.folder = folder
        self.bundle = self.write("authority.pem", self.made.cert_pem.bytes())

    def write(self, name: str, data: bytes) -> str:
        """Write a file beside the others and give its path."""
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def context(self, *names: str, asks: Optional[Authority] = None, **how: Any) -> ssl.SSLContext:
        """Give a server's context; `asks` is the authority that clients must be known to."""
        return server_context(
            self.made.issue_cert(*(names or ("127.0.0.1", "localhost")), **how), asks
        )


def server_context(certificate: Any, asks: Optional[Authority] = None) -> ssl.SSLContext:
    """Give a server's context for a certificate of trustme's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if asks is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        asks.made.configure_trust(context)
    return context


class Nobody:
    """A port at which nobody may come: it counts who does, and answers none."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Nobody:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def came(self) -> bool:
        """Whether anybody has connected."""
        self._listener.setblocking(False)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True
