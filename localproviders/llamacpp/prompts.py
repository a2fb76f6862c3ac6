"""The routes of llama.cpp that count the tokens of a prompt, or render it, without an answer."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Optional, Tuple

from localproviders._dialect.label_prompts import LabelTokens
from localproviders._http.deadline import Call
from localproviders._http.transport import Transport
from localproviders._http_provider.sending import Sending
from localproviders._token_estimate import has_media
from localproviders.errors import ModelNotFoundError, ProviderError, ServerBusyError
from localproviders.llamacpp.wire.requests import COUNT_PATH, count_payload, parse_count, quiet
from localproviders.openai_compatible.prompt_routes import (
    REFUSALS,
    PromptRoutes,
    count_by_template,
    means_no_route,
)
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import TokenCount

_BY_CHAT = f"the server's {COUNT_PATH}"
_BY_TEMPLATE = "the server's /apply-template and /tokenize"


class Prompts(PromptRoutes):
    """Client of llama.cpp's routes that count the tokens of a prompt, or render it.

    The count is the length of the prompt of a chat with the same arguments, including tools and
    images. Old servers have no route for this. On them, the template is rendered and its tokens are
    counted, which works for texts and tools only. A router does not load a model just to count.

    Args:
        transport: The provider's transport.
        send: Function that returns the `Sending` of a request, for a model and a call.
    """

    def __init__(self, transport: Transport, send: Callable[..., Sending]) -> None:
        self._send = send
        self._server = transport
        self._is_known = self._has_token_texts = self._counts_chats = True
        self._labels: Dict[Tuple[str, str], LabelTokens] = {}

    def can_count(self, request: CompletionRequest) -> bool:
        """Return whether it is worth asking the server to count this request."""
        return self._counts_chats or not has_media(request)

    def count(self, request: CompletionRequest, model: str, call: Call) -> Optional[TokenCount]:
        """Return the server's count; None if the server cannot count this request.

        Raises:
            ServerBusyError: The server is busy.
            ModelNotFoundError: The server does not have the model.
            ProviderError: The server cannot be reached; or JSON cannot express a value of the
                request; or a limit expired, or the call was cancelled.
        """
        try:
            if self._counts_chats:
                try:
                    return _exact(self._count_chat(request, model, call), _BY_CHAT)
                except ProviderError as error:
                    if not means_no_route(error):
                        raise
                    self._counts_chats = False
            if has_media(request):
                return None
            ask = partial(self._ask, model, call)
            return _exact(count_by_template(ask, request, model), _BY_TEMPLATE)
        except (ServerBusyError, ModelNotFoundError):
            raise
        except REFUSALS:
            return None

    def _count_chat(self, request: CompletionRequest, model: str, call: Call) -> int:
        payload = partial(count_payload, request, model)
        tokens: int = self._ask(model, call, quiet(COUNT_PATH), payload, parse_count)
        return tokens


def _exact(tokens: int, method: str) -> TokenCount:
    return TokenCount(tokens=tokens, source="exact", detail=method)
