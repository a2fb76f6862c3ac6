"""Exact token counts, from servers that offer them beside the dialect."""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Tuple

from localproviders._http.deadline import Call
from localproviders._http.transport import Explain, Transport, encode
from localproviders._tokens import has_media
from localproviders.errors import (
    AuthenticationError,
    BusyError,
    ModelError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    ServerError,
    UnsupportedError,
)
from localproviders.openai_compatible import wire
from localproviders.settings import Settings
from localproviders.types.request import CompletionRequest
from localproviders.types.tokens import TokenCount

#: Where the paths of the dialect stand, and those for counting do not.
_VERSION = "/v1"

# Statuses of a path that is not there.
_MISSING = (404, 405, 501)

# What keeps a count from coming, and is left to the prompt itself to meet.
_REFUSALS = (ServerError, ModelError, AuthenticationError, UnsupportedError)

_Way = Callable[[Transport, CompletionRequest, str, Call], int]


def _by_template(server: Transport, request: CompletionRequest, model: str, call: Call) -> int:
    """Let llama.cpp write the prompt, and take it apart."""
    body = encode(wire.conversation_payload(request, model))
    body = encode(
        wire.templated_payload(server.json("POST", "/apply-template", call=call, body=body), model)
    )
    return wire.parse_tokens(server.json("POST", "/tokenize", call=call, body=body))


def _by_messages(server: Transport, request: CompletionRequest, model: str, call: Call) -> int:
    """Let vLLM count the conversation."""
    body = encode(wire.conversation_payload(request, model))
    return wire.parse_count(server.json("POST", "/tokenize", call=call, body=body))


_WAYS: Mapping[str, _Way] = {
    "the server's /apply-template and /tokenize": _by_template,
    "the server's /tokenize": _by_messages,
}
# Older servers of these kinds leave tools out without a word.
_WITHOUT_TOOLS = (_by_messages,)


class ExactCounter:
    """Asks a server for exact counts, and remembers which ways it does not have.

    Args:
        settings: The provider's settings.
        explain: The dialect's reading of an error answer.
    """

    def __init__(self, settings: Settings, explain: Explain) -> None:
        endpoint = settings.endpoint
        self._ways: Tuple[str, ...] = ()
        if endpoint.path.endswith(_VERSION):
            # Nobody knows what stands above another path.
            endpoint = endpoint.replace(path=endpoint.path[: -len(_VERSION)])
            self._ways = tuple(_WAYS)
        self._server = Transport(settings.replace(endpoint=endpoint), explain)

    def close(self) -> None:
        """Close the kept connections."""
        self._server.close()

    def can(self, request: CompletionRequest) -> bool:
        """Say whether it is worth asking; no text shows the tokens of images and sound."""
        return bool(self._ways) and not has_media(request)

    def count(self, request: CompletionRequest, model: str, call: Call) -> Optional[TokenCount]:
        """Give the server's count, or None where it has none for this request.

        Raises:
            ProviderError: The server cannot be reached, is busy, or lacks the model; a limit
                fired, or the call was cancelled.
        """
        for name in self._ways:
            way = _WAYS[name]
            if request.tools and way in _WITHOUT_TOOLS:
                continue
            try:
                return TokenCount(
                    tokens=way(self._server, request, model, call), source="exact", detail=name
                )
            except (BusyError, ModelNotFoundError):
                raise
            except _REFUSALS as error:
                if _is_missing(error):
                    self._ways = tuple(other for other in self._ways if other != name)
        return None


def _is_missing(error: ProviderError) -> bool:
    return error.status in _MISSING or isinstance(error, (ProtocolError, UnsupportedError))
