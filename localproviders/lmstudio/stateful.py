"""Conversations that the server stores: LM Studio's native chat.

The route is described in docs/reference/lmstudio.md, "Native chat" and "State".
"""

from __future__ import annotations

from typing import (
    Any,
    List,
    Mapping,
    Optional,
    Sequence,
    Union,
)

from localproviders._http.deadline import Call
from localproviders._http.transport import Payload
from localproviders._http_provider.provider import WireRequest
from localproviders.errors import ConfigurationError
from localproviders.lmstudio.catalog import Catalog, find_entry
from localproviders.lmstudio.wire.errors import RULES
from localproviders.lmstudio.wire.stateful import (
    CHAT_PATH,
    EventParser,
    chat_payload,
    reasoning_level,
)
from localproviders.secret import errors_without_frames
from localproviders.settings import Settings
from localproviders.types.inputs import model_name
from localproviders.types.messages import Image, Message
from localproviders.types.models import ModelCapabilities
from localproviders.types.requests import CompletionRequest, ModelLike, Parts


class Stateful:
    """Requests of the native chat; the server must be of generation 0.4.

    Args:
        settings: The provider's settings.
        catalog: Catalog of the server's models.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog

    def make_request(
        self,
        request: CompletionRequest,
        model: str,
        previous_response_id: Optional[str],
        store: bool,
        call: Call,
    ) -> WireRequest:
        """Return the path, the request body and the parser of one turn of a conversation."""
        self._catalog.require("stateful_chat", "0.4", call)
        payload = chat_payload(
            self._with_reasoning(request, model, call),
            model,
            previous_response_id=previous_response_id,
            store=store,
        )
        parser = EventParser(self._settings.max_json_depth, RULES, call.look)
        return CHAT_PATH, Payload(payload), parser

    def _with_reasoning(
        self, request: CompletionRequest, model: str, call: Call
    ) -> CompletionRequest:
        """Replace `thinking` with the value that the server expects.

        Raises:
            CapabilityError: The model's list entry does not allow the value.
        """
        if request.thinking is None:
            return request
        entry = find_entry(model, self._catalog.entries(call))
        capabilities = ModelCapabilities() if entry is None else entry.info.capabilities
        return request.replace(thinking=reasoning_level(request.thinking, capabilities))


@errors_without_frames
def turn(
    text: Parts,
    system: Optional[str],
    images: Optional[Sequence[Image]],
    fields: Mapping[str, Any],
    *,
    model: Optional[ModelLike],
) -> CompletionRequest:
    """Return a request for one turn, with one message for each text and image.

    Raises:
        ValueError: The turn is empty, or a value is invalid.
        TypeError: A field does not exist.
    """
    parts: List[Union[str, Image]] = [text] if isinstance(text, str) else list(text)
    parts += images or ()
    if not all(isinstance(part, (str, Image)) for part in parts):
        raise ValueError("each part of the prompt must be a str or an Image")
    messages = [
        Message.user(part) if isinstance(part, str) else Message.user("", images=[part])
        for part in parts
        if part != ""
    ]
    if not messages:
        raise ValueError("the prompt is empty: it has no text and no image")
    head = [] if system is None else [Message.system(system)]
    return CompletionRequest(model=model_name(model), messages=(*head, *messages), **fields)


def check_id(response_id: Optional[str]) -> None:
    """Check the id of the response after which the conversation continues.

    Raises:
        ConfigurationError: The id does not begin with ``resp_``.
    """
    if response_id is not None and not str(response_id).startswith("resp_"):
        raise ConfigurationError(
            "previous_response_id does not begin with 'resp_', as all ids of LM Studio do",
            hint="pass the response_id of a stored response of stateful_chat()",
        )
