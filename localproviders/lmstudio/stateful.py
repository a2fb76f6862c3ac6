"""Conversations that LM Studio keeps (lmstudio-api §2.10, §3.4, §6.7)."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
)

from localproviders._http.deadline import Call
from localproviders._http.stream import ChunkParser, Stream
from localproviders._http.transport import Payload
from localproviders._record import did_you_mean
from localproviders.errors import ConfigurationError
from localproviders.lmstudio import wire
from localproviders.lmstudio.listings import Listings
from localproviders.provider import bare
from localproviders.types.answer import CompletionChunk, CompletionResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.media import Image
from localproviders.types.message import Message
from localproviders.types.request import CompletionRequest

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: What to say in one turn: a text, or texts and images in their order.
Parts = Union[str, Sequence[Union[str, Image]]]


class StatefulFields(TypedDict, total=False):
    """The fields of `CompletionRequest` that LM Studio's own chat takes."""

    temperature: Optional[float]
    top_p: Optional[float]
    top_k: Optional[int]
    min_p: Optional[float]
    repeat_penalty: Optional[float]
    max_tokens: Optional[int]
    thinking: Union[bool, str, None]
    context_length: Optional[int]
    allow_other_model: bool


class Stateful(Listings):
    """LM Studio's own chat, in the generation that has it."""

    def stateful_chat(
        self,
        text: Parts,
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        images: Sequence[Image] = (),
        previous_response_id: Optional[str] = None,
        store: bool = True,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[StatefulFields],
    ) -> CompletionResponse:
        """Say something in a conversation that the server keeps (0.4.0 and newer).

        Only what is new is sent; the answer's `response_id` continues from here, and any
        earlier one continues from there. It is streamed on the wire and collected, as
        `chat` is. The server gives no `finish_reason`: an answer as long as `max_tokens`
        gets a warning, which is inferred. `server_timings.load_s` is there if this call
        loaded the model. Tools and JSON Schemas this route does not take: see `chat`.

        Args:
            text: What to say: a text, or texts and images in their order.
            model: Key, variant or copy in memory; None takes the provider's.
            system: How the model is to behave. Whether the server remembers that of the
                turn before is not documented: give it each time.
            images: Pictures that go behind the text.
            previous_response_id: The `response_id` of the answer to continue from; None
                begins a conversation.
            store: False lets the server keep nothing: the answer has no `response_id`.
                Otherwise it keeps it for 30 days (lmstudio-api §6.7).
            timeout: See the class.
            cancel: See the class.
            fields: Those of `CompletionRequest` that `StatefulFields` names.
                `temperature`, `top_p` and `min_p` go up to 1; `thinking` is True, False, or
                one of ``low``, ``medium``, ``high``, as the model allows;
                `context_length` counts if this call loads the model.

        Raises:
            ConfigurationError: A value is not what this route takes.
            UnsupportedError: The server is too old.
            CapabilityError: The model does not take this `thinking`, as its list entry says.
            RequestRejectedError: The server keeps no answer of that id, or takes no such
                field.
            WrongModelError: Another model answers.
            StreamInterruptedError: The answer stopped before its last event.
            ValueError: There is nothing to say, or a field's value is impossible.
            TypeError: There is no such field.
            ProviderError: As for `stream_completion`.
        """
        try:
            stream = self.stateful_stream(
                text,
                model=model,
                system=system,
                images=images,
                previous_response_id=previous_response_id,
                store=store,
                timeout=timeout,
                cancel=cancel,
                **fields,
            )
        finally:
            del text, system, images, fields  # a traceback with locals shows no prompt of ours
        with stream:
            return stream.result()

    def stateful_stream(
        self,
        text: Parts,
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        images: Sequence[Image] = (),
        previous_response_id: Optional[str] = None,
        store: bool = True,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[StatefulFields],
    ) -> Stream:
        """Say something in a conversation that the server keeps, and get it as it comes.

        The arguments are those of `stateful_chat`. Beside text and thinking, chunks tell in
        `progress` how far the server is with ``loading the model`` and ``reading the
        prompt``; they have no text. The last chunk has usage and `response_id`.

        Raises:
            ProviderError: As for `stateful_chat`; what comes later, while iterating.
        """
        try:
            request = _request(text, model, system, images, fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del text, system, images, fields  # as above
        wire.check_fields(request)
        _check_id(previous_response_id)
        chosen = self._model(request.model, timeout, cancel)
        warnings: List[str] = []

        def question(call: Call) -> Tuple[str, Dict[str, Any], ChunkParser]:
            self._need("stateful_chat", "0.4", call)
            payload = wire.chat_payload(
                self._with_reasoning(request, chosen, call),
                chosen,
                previous_response_id=previous_response_id,
                store=store,
            )
            parser = wire.EventParser(self.settings.max_json_depth, self._rules)
            return wire.CHAT_PATH, Payload(payload), parser

        return self._streamed(
            "stateful_stream", request, chosen, warnings, question, timeout=timeout, cancel=cancel
        )

    def _with_reasoning(
        self, request: CompletionRequest, model: str, call: Call
    ) -> CompletionRequest:
        """Put `thinking` in the server's word, where the model's entry allows it."""
        if request.thinking is None:
            return request
        known = self._capabilities_of(model, call)
        return request.replace(thinking=wire.reasoning(request.thinking, known))

    def _check_answer(
        self, request: CompletionRequest, model: str, chunk: CompletionChunk, call: Call
    ) -> Optional[str]:
        warning = super()._check_answer(request, model, chunk, call)
        most = request.max_tokens
        if warning is None and most is not None and wire.may_be_cut(chunk, most):
            return f"the answer is as long as max_tokens={most} allows: it may be cut (inferred)"
        return warning


def _request(
    text: Parts,
    model: Optional[str],
    system: Optional[str],
    images: Sequence[Image],
    fields: Mapping[str, Any],
) -> CompletionRequest:
    """Make a request that carries one turn: a message for each part."""
    known = list(StatefulFields.__annotations__)
    for name in fields:
        if name not in known:
            raise TypeError(f"there is no field {name!r} here{did_you_mean(name, known)}")
    parts: List[Union[str, Image]] = [text] if isinstance(text, str) else list(text)
    parts += images
    if not all(isinstance(part, (str, Image)) for part in parts):
        raise ValueError("what to say is made of texts and Image values")
    said = [
        Message.user(part) if isinstance(part, str) else Message.user("", images=[part])
        for part in parts
        if part != ""
    ]
    if not said:
        raise ValueError("the text is empty; there is nothing to answer")
    head = [] if system is None else [Message.system(system)]
    return CompletionRequest(model=model, messages=(*head, *said), **fields)


def _check_id(response_id: Optional[str]) -> None:
    if response_id is not None and not str(response_id).startswith("resp_"):
        raise ConfigurationError(
            "previous_response_id begins with 'resp_' (lmstudio-api §2.10)",
            hint="pass the response_id of an answer of stateful_chat that was stored",
        )
