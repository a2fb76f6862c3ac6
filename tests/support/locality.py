"""A server script for all providers, one of each call, and the search for leaked secrets."""

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
    AnthropicProvider,
    CompletionRequest,
    LlamaCppProvider,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    OpenAIProvider,
    OpenRouterProvider,
    RetryPolicy,
)
from localproviders._http_provider import HTTPProvider
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.walking import KEY as KEY
from tests.support.walking import error_chain as error_chain
from tests.support.walking import held_values as held_values

PROVIDERS: Mapping[str, Callable[..., HTTPProvider]] = {
    "ollama": OllamaProvider,
    "lmstudio": LMStudioProvider,
    "llamacpp": LlamaCppProvider,
    "openai": OpenAICompatibleProvider,
}
#: Also those that lack some of `CALLS`.
ALL_PROVIDERS: Mapping[str, Callable[..., HTTPProvider]] = {
    **PROVIDERS,
    "anthropic": AnthropicProvider,
    "openai-service": OpenAIProvider,
    "openrouter": OpenRouterProvider,
}

ONCE = RetryPolicy(attempts=1)
AGAIN = RetryPolicy(first_wait_s=0)

PROMPT = "Mr Smith of Harrow has a tumour"
ANSWER = "It is to be removed on Friday"

QUESTIONS: Mapping[str, Any] = {"ill": f"Is it true: {PROMPT}?", PROMPT: [ANSWER, PROMPT]}

CALLS: Mapping[str, Callable[[HTTPProvider], Any]] = {
    "list_models": lambda provider: provider.list_models(),
    "chat": lambda provider: provider.chat(PROMPT),
    "stream": lambda provider: provider.stream(PROMPT).result(),
    "complete": lambda provider: provider.complete(CompletionRequest(prompt=PROMPT)),
    "embed": lambda provider: provider.embed([PROMPT]),
    "decide": lambda provider: provider.decide(PROMPT, QUESTIONS),
    "decide_many": lambda provider: list(provider.decide_many([{"mail": PROMPT}], QUESTIONS)),
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


_DECISIONS = http_answer(
    {
        "model": "m",
        "answers": {
            "ill": {"type": "noul", "noul": 0.5},
            PROMPT: {"type": "choice", "probabilities": {ANSWER: 0.5, PROMPT: 0.5}},
        },
    }
)

_MESSAGE = http_answer(
    {
        "type": "message",
        "model": "m",
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
    }
)

#: A good response for each path, enough for every call of every provider.
GOOD: Mapping[str, bytes] = {
    "/api/tags": http_answer({"models": [{"name": "m:latest"}]}),
    "/api/ps": http_answer({"models": []}),
    "/api/show": http_answer({"capabilities": ["completion"]}),
    "/api/chat": _ndjson(message={"content": ANSWER}),
    "/api/generate": _ndjson(response=ANSWER),
    "/api/embed": http_answer({"model": "m", "embeddings": [[1.0]]}),
    "/api/v1/models": http_answer({"models": [{"type": "llm", "key": "m"}]}),
    "/v1/models": http_answer({"data": [{"id": "m"}]}),
    "/props": http_answer({"modalities": {"vision": True}}),
    "/v1/messages": _MESSAGE,
    "/v1/chat/completions": _sse({"delta": {"content": ANSWER}}),
    "/v1/completions": _sse({"text": ANSWER}),
    "/v1/systemone": _DECISIONS,
    "/v1/embeddings": http_answer({"model": "m", "data": [{"embedding": [1.0]}]}),
    "/v1/rerank": http_answer(
        {"results": [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": 1}]}
    ),
}


def good(exchange: Exchange) -> List[bytes]:
    """Answer a request well. The path may be an absolute URL, as a proxy receives it."""
    return [GOOD[urlsplit(exchange.path).path]]


def after_model_list(answer: Any) -> Callable[[Exchange], List[Any]]:
    """Return a script that answers Ollama's model list well and every other request like this.

    Args:
        answer: The step or the steps of the script for the other requests.
    """
    steps = [answer] if isinstance(answer, bytes) or callable(answer) else answer
    return lambda exchange: good(exchange) if exchange.path == "/api/tags" else steps


def make(kind: str, server: Any, **options: Any) -> HTTPProvider:
    """Make a provider of this kind for a scripted server or for a URL."""
    url = server.url if isinstance(server, ScriptedServer) else server
    suffix = "/v1" if kind == "openai" else ""
    return ALL_PROVIDERS[kind](url + suffix, **{"model": "m", "retry": ONCE, **options})


# --- leaks --------------------------------------------------------------------------------


def frames_of(error: BaseException, where: str = "") -> Iterator[str]:
    """Yield each frame of an error outside the tests, with its local variables.

    Args:
        error: The error.
        where: Only frames of files whose path contains this text.
    """
    made = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in made.stack:
        name = frame.filename.replace("\\", "/")
        if "/tests/" not in name and where in name:
            yield f"{name}:{frame.lineno} {frame.name} {frame.locals}"


def visible_text(error: BaseException) -> str:
    """Return all visible parts of an error and its causes: texts, frames, attributes."""
    seen: List[str] = []
    for link in error_chain(error):
        seen += [str(link), repr(link), *frames_of(link)]
        seen += [str(value) for value in held_values([link.__dict__, link.args])]
    return "\n".join(seen)


def lines_with(secret: str, text: str) -> List[str]:
    """Return the lines of a text that contain a secret, shortened for a test report."""
    return [line[:2000] for line in text.splitlines() if secret in line]


# --- certificates -------------------------------------------------------------------------


class Authority:
    """A certificate authority and its files.

    Attributes:
        made: The authority as an object of trustme.
        bundle: Path of its certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.made = trustme.CA()
        self.folder = folder
        self.bundle = self.write("authority.pem", self.made.cert_pem.bytes())

    def write(self, name: str, data: bytes) -> str:
        """Write a file into the folder of the authority and return its path."""
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def context(
        self, *names: str, client_authority: Optional[Authority] = None, **how: Any
    ) -> ssl.SSLContext:
        """Return a server context with a new certificate of this authority.

        Args:
            names: The names in the certificate; without any, those of loopback.
            client_authority: The authority that must have signed the client's certificate; None to ask
                for no client certificate.
            how: Further arguments of ``trustme.CA.issue_cert``.
        """
        return server_context(
            self.made.issue_cert(*(names or ("127.0.0.1", "localhost")), **how), client_authority
        )


def server_context(
    certificate: Any, client_authority: Optional[Authority] = None
) -> ssl.SSLContext:
    """Return a server context for a certificate of trustme.

    Args:
        certificate: The certificate of the server.
        client_authority: The authority that must have signed the client's certificate; None to ask for no
            client certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if client_authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        client_authority.made.configure_trust(context)
    return context


class SilentListener:
    """A port that accepts connections and answers nothing; it notes whether a client connected."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> SilentListener:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def was_reached(self) -> bool:
        """Whether a client has connected since the last look."""
        self._listener.setblocking(False)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True
