"""Send a request again without a field that the server refuses, or after a reload of the model.

This package adds some fields to requests by itself. A server that refuses one of them must not be
unusable for that reason. So the request is sent again once, without the field. The response then
has a warning, and the provider remembers the refusal. If a request is not strict, some of the
caller's fields are left out in the same way. Several system messages, which some chat
templates refuse, are sent as one.
"""

from __future__ import annotations

import re
from functools import partial
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Hashable,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Union,
)

from localproviders._http.deadline import Call
from localproviders._http.framing import (
    GuessingDecoder,
    NDJSONDecoder,
    SSEDecoder,
    WholeDecoder,
)
from localproviders._http.retry import Attempts
from localproviders._http.stream import ChunkParser, Decoder, Opened
from localproviders._http.transport import Body, Payload, Transport, encode
from localproviders._http_provider.cold_loads import ColdLoads, ListingProvider
from localproviders._lazy import LazyModule
from localproviders._refusals import Refusals, refuses, says
from localproviders.errors import (
    CapabilityError,
    ProviderError,
    RequestRejectedError,
    ServerError,
    UnsupportedError,
)
from localproviders.secret import Unseen
from localproviders.settings import Settings
from localproviders.types.requests import CompletionRequest

if TYPE_CHECKING:
    from localproviders._dialect import refused_schemas
else:
    refused_schemas = LazyModule("localproviders._dialect.refused_schemas")

#: Classes of errors that can mean that the server refused a field. Errors of their subclasses have
#: other meanings, so the class is compared exactly.
REFUSALS = (RequestRejectedError, CapabilityError, UnsupportedError, ServerError)

# A status 4xx already shows that the server refused the request before it did any work. Without an
# error status, or with 5xx, the error text must contain one of these phrases, which show this.
_NOT_SUPPORTED = (
    r"\bun(supported|recogni[sz]ed|known|expected|implemented)\b"
    r"|(not|n't) (yet |currently |be )*(support|permit|allow|implement|accept|recogni[sz]|enabled)"
    r"|\b(extra|invalid|no such) (input|field|param|argument)"
)


class OwnField(NamedTuple):
    """A field that this package adds to requests, and without which the server can still answer.

    Attributes:
        name: Name of the field, for the warning.
        refusal: Pattern of the error texts that refuse the field, ignoring case. The dot also
            matches a line break.
        keys: Keys of the request body that change if the field is left out. If the caller has set
            one of them, the field is the caller's.
        leave_out: Removes the field from a request body; returns whether the body had it.
        lost: Consequence for the caller, for the warning.
        combined: Pattern of the error texts that refuse only the value of the field, or the field
            only together with another field of the request. Such a refusal is not remembered.
        denial: Pattern that the error text must also match if the status is not 4xx.
        hint: The hint of an error that refuses the field, if the field is the caller's.
        done: The change to the request, for the warning.
        of_model: Whether a refusal is remembered only for the model of the request, even if the
            text does not mention a model. The refusal then applies to all routes.
    """

    name: str
    refusal: str
    keys: Tuple[str, ...]
    leave_out: Callable[[Dict[str, Any]], bool]
    lost: str
    combined: str = r"(?!)"
    denial: str = _NOT_SUPPORTED
    hint: Optional[str] = None
    done: str = "it was left out"
    of_model: bool = False

    def on(self, path: str) -> Hashable:
        """Return the key of this field in `Refusals`."""
        # Neither `name` nor the first of `keys` is unique, but both together are. For a field with
        # `of_model`, the result contains no path, because all routes use the same chat template of
        # a model.
        return None if self.of_model else path, self.name, self.keys[0]


def schema_field(keys: Tuple[str, ...], leave_out: Callable[[Dict[str, Any]], bool]) -> OwnField:
    """Return the field with the caller's response schema.

    If a server refuses this field, the schema can be written into the prompt instead.

    Args:
        keys: The keys of the request body that change if the schema is left out.
        leave_out: Moves the schema into the prompt; returns whether the body had one.
    """
    return OwnField(
        name="response_schema",
        refusal=refused_schemas.NAMES,
        keys=keys,
        leave_out=leave_out,
        lost="a message asks for it in words, and the model was not made to follow it",
        combined=refused_schemas.ABOUT_CONTENT,
        denial=refused_schemas.DENIAL,
        hint="call parse(), which writes the schema into the prompt and checks the answer, or pass "
        "strict=False, which does not check it",
    )


def _with_one_system_message(payload: Dict[str, Any]) -> bool:
    """Join the system messages into the first message; return whether the request has changed.

    Only texts are joined, in their order. Messages with other content are not changed.
    """
    messages: List[Mapping[str, Any]] = list(payload.get("messages") or [])
    system = [message for message in messages if message["role"] == "system"]
    is_text = all(set(message) == {"role", "content"} for message in system)
    if not system or not is_text or (len(system) == 1 and messages[0] is system[0]):
        return False
    if not all(isinstance(message["content"], str) for message in system):
        return False
    text = Unseen("\n\n".join(message["content"] for message in system))
    others = [message for message in messages if message["role"] != "system"]
    payload["messages"] = [{"role": "system", "content": text}, *others]
    return True


_SYSTEM = r"\bsystem['\"`]?[ -](message|prompt|role|instruction)s?\b"

#: System messages after the first message, which the chat templates of some models refuse
#: (docs/dialects.md, "System messages").
SYSTEM_MESSAGES = OwnField(
    name="these system messages",
    # An error about something else must not cause a second request. So most of these alternatives
    # require a mention of the system message, and a word for its position or for a number.
    refusal=rf"{_SYSTEM}[^.;:\n]{{0,15}}\b(must|may|should|can|only|needs?|ha(s|ve)|allowed)\b"
    r"[^.;\n]{0,40}"
    r"\b(at the (very )?(beginning|start)|(be|come|as|is) (the )?(very )?first|the first|once)\b"
    rf"|\b(multiple|several|more than one|(only|at most) (one|a single)|a single) {_SYSTEM}"
    r"|\bfirst message (must|may|should|can)\b[^.;\n]{0,30}\bsystem\b"
    r"|unexpected role ['\"]?system['\"]? after|roles must alternate",
    keys=("messages",),
    leave_out=_with_one_system_message,
    lost="the model reads all their texts before the conversation",
    denial="",
    done="they were sent as one message at the beginning",
    of_model=True,
)


def refused(error: ProviderError, fields: Iterable[OwnField]) -> Dict[OwnField, str]:
    """Return the fields that the server refuses in this error, each with the server's text.

    The text is searched as it is, although it may quote the prompt. If a quotation is mistaken for
    a refusal, the request without the field fails in the same way, and nothing is remembered.
    """
    if type(error) not in REFUSALS or not error.server_message:
        return {}
    said = Unseen(error.server_message)
    return {field: said for field in fields if refuses(error, field.refusal, field.denial)}


def hint_after(
    error: ProviderError, request: CompletionRequest, fields: Iterable[OwnField]
) -> Optional[str]:
    """Return the hint for the caller's field that the server refuses in this error, or None.

    The result is None for a request that is not strict, because it was sent again without the
    field.
    """
    found = refused(error, fields if request.strict else ())
    hints = [field.hint for field in found if getattr(request, field.name) is not None]
    return hints[-1] if hints else None


def _concerns_a_model(text: str, model: str) -> bool:
    return says(rf"\bmodels?\b|模型|(?<!\w){re.escape(model)}(?!\w)", text)


def leave_out(
    request: CompletionRequest,
    unsupported: Mapping[str, str],
    chat_only: Sequence[str],
    usual: Mapping[str, Any],
    provider: str,
) -> Tuple[CompletionRequest, List[str]]:
    """Remove the fields that a kind of server does not support, and return a warning for each.

    Args:
        request: The request of the caller.
        unsupported: The fields that are not supported, each with a hint.
        chat_only: The fields that are not supported together with a plain prompt.
        usual: Values of these fields that have the same effect as leaving the field out.
        provider: Name of the provider.

    Raises:
        UnsupportedError: The request has such a field, and its `strict` is True.
    """
    warnings, get = [], vars(request).get
    if request.prompt is not None:
        instead = "pass messages instead of prompt"
        unsupported = {**unsupported, **dict.fromkeys(chat_only, instead)}
    for name, advice in unsupported.items():
        value = get(name)
        if value is None or value == ():
            continue
        if value == usual.get(name):
            request = request.replace(**{name: None})
            continue
        message = f"{provider} does not support {name}"
        if request.strict:
            raise UnsupportedError(
                message, hint=f"{advice}; or pass strict=False", provider=provider
            )
        warnings.append(f"{message}; it was left out")
        request = request.replace(**{name: None})
    return request, warnings


_DOCUMENTS_HINT = (
    "put the text of the document into the text of the message, or use Anthropic's API, which "
    "reads documents"
)


def refuse_documents(request: CompletionRequest, provider: str) -> None:
    """Check that no message has a document.

    This is also done for a request that is not strict: without the document, the prompt would have
    another meaning.

    Raises:
        UnsupportedError: A message has a document.
    """
    if any(message.documents for message in request.messages):
        raise UnsupportedError(
            f"{provider} does not support documents", hint=_DOCUMENTS_HINT, provider=provider
        )


class Prepared(NamedTuple):
    """A request that is ready to be sent: its path and body, and the reader of its response."""

    path: str
    body: Body
    accept: str
    reader: Any


class SendingProvider(ListingProvider, Protocol):
    """The members of a provider that `Sending` uses."""

    settings: Settings
    _accept: str
    _transport: Transport
    _cold_loads: ColdLoads

    @property
    def _refused(self) -> Refusals:
        """The fields and schemas that the server refuses (`Refusals`)."""
        ...

    @property
    def name(self) -> str:
        """Name of the provider."""
        ...

    def _own_fields(self, path: str) -> Sequence[OwnField]:
        """Return the fields that this package adds to requests to a path, and can leave out."""
        ...

    def _reload_evicted(self, error: ProviderError, model: str, call: Call) -> Optional[str]:
        """Reload the model if it was evicted; return a warning, or None if nothing was reloaded."""
        ...


class Sending:
    """One request of a call, which is sent again if a change can make the server accept it.

    Args:
        provider: The provider of the call.
        model: Name of the model.
        call: The call.
        make: Makes the request: its path, its JSON, and the reader of its response. It is called
            each time the request is sent, and once more when a refusal is handled.
        given: The caller's own fields of the request body; a field that is None is not sent.
        optional: Further fields that may be left out; empty if the request is strict.

    Attributes:
        attempts: The attempts to send the request, for `Transport.open`.
    """

    def __init__(
        self,
        provider: SendingProvider,
        model: str,
        call: Call,
        make: Callable[[Call], Tuple[str, Mapping[str, Any], Any]],
        given: Mapping[str, Any] = MappingProxyType({}),
        optional: Sequence[OwnField] = (),
    ) -> None:
        self._provider, self._model, self._call, self._make = provider, model, call, make
        self._given = {key for key in given if given[key] is not None}
        self._path, self._optional = "", optional
        self._left_out: Dict[OwnField, str] = {}
        self._missing: List[OwnField] = []
        self._reloaded: Optional[str] = None
        self._has_looked = False
        self.attempts = Attempts(provider.settings.retry, call)

    def prepare(self) -> Prepared:
        """Make the request, without the fields that the server refuses.

        The first time, also find out whether the server may have to load the model.

        Raises:
            ProviderError: The request cannot be made.
        """
        path, payload, reader = self._make(self._call)
        self._path, streams = path, "stream" in payload
        known = self._provider._refused
        for field in self._ours() if known else ():
            if known.has(self._model, field.on(path)):
                self._left_out.setdefault(field, "")
        payload, self._missing = self._reduced(payload)
        if not self._has_looked:
            self._has_looked, provider, call = True, self._provider, self._call
            call.may_load = provider._cold_loads.may_load(self._model, payload, call, provider)
        is_whole = streams and not payload.get("stream")
        accept = "application/json" if is_whole else self._provider._accept
        return Prepared(path, encode(payload), accept, reader)

    def recover(self, error: ProviderError) -> None:
        """Change the request, or load its model again, so that it can be sent once more.

        Raises:
            ProviderError: The given error, because no change can help; or a limit expired.
        """
        self._remember_earlier(error)
        if self._can_leave_out(error):
            self.attempts.repeat(error)
            return
        if self._reloaded is None:
            self._call.may_load = True
            self._reloaded = self._provider._reload_evicted(error, self._model, self._call)
            if self._reloaded is not None:
                self.attempts.repeat()  # the reload has been reported to the listener
                return
        raise error

    def ask(self, server: Transport, **options: bool) -> Any:
        """Send the request until the server accepts it, and return the result of its reader.

        Args:
            server: The transport. The response is a single JSON value.
            options: Arguments of `Transport.json`.

        Raises:
            ProviderError: The request failed, and no change can help; or the reader refused the
                response.
        """
        while True:
            path, body, _, read = self.prepare()
            try:
                answer = server.json(
                    "POST", path, call=self._call, body=body, attempts=self.attempts, **options
                )
                found = read(answer)
            except ProviderError as error:
                self.recover(error)
            else:
                self._remember()
                self._provider._cold_loads.answered(self._model, None)
                return found

    def reopen(self, error: ProviderError) -> Opened:
        """Send the request of a stream again, after a refusal in the first record of the response.

        Raises:
            ProviderError: The given error, if no change of the request can help; or the new request
                failed.
        """
        server, settings = self._provider._transport, self._provider.settings
        failure = server.finish_error(error)
        while True:
            self.recover(failure)
            path, body, accept, parser = self.prepare()
            try:
                answer = server.open(
                    "POST", path, call=self._call, body=body, accept=accept, attempts=self.attempts
                )
            except ProviderError as refusal:
                failure = refusal
            else:
                usual = self._provider._accept
                return answer, make_decoder(settings, usual, answer.content_type, parser), parser

    def accepted(self) -> List[str]:
        """Remember the fields that were left out, and return the warnings for the response."""
        self._remember()
        left_out = [
            f"{self._provider.name} refuses {field.name}, so {field.done}: {field.lost}"
            for field in self._missing
        ]
        return left_out if self._reloaded is None else [*left_out, self._reloaded]

    def _remember(self) -> None:
        """Remember the refusals of the fields that were left out."""
        for field, said in self._left_out.items():
            # Without a text, the refusal was known before.
            if said and not says(field.combined, said):
                is_of_model = field.of_model or _concerns_a_model(said, self._model)
                model = self._model if is_of_model else None
                self._provider._refused.add(model, field.on(self._path))

    def _remember_earlier(self, error: ProviderError) -> None:
        """Remember earlier refusals if the server now refuses the schema of the request.

        After a refused schema, the provider's method `parse` sends another request. The remembered
        fields are left out of that request, so that the server does not refuse them again.
        """
        is_other = self._left_out and not refused(error, self._left_out)
        if is_other and refused_schemas.refuses_schema(error):
            self._remember()

    def _ours(self) -> List[OwnField]:
        """Return the fields that may be left out, without those in the caller's `extra_body`."""
        fields = (*self._provider._own_fields(self._path), *self._optional)
        return [field for field in fields if not self._given.intersection(field.keys)]

    def _can_leave_out(self, error: ProviderError) -> bool:
        """Return whether the server refuses a field that the request has and can do without.

        Such a field is left out when the request is made again.
        """
        fields = [field for field in self._ours() if field not in self._left_out]
        found = refused(error, fields)
        if not found:
            return False
        payload, _ = self._reduced(self._make(self._call)[1])
        present = {field: said for field, said in found.items() if field.leave_out(payload)}
        self._left_out.update(present)
        return bool(present)

    def _reduced(self, payload: Mapping[str, Any]) -> Tuple[Payload, List[OwnField]]:
        """Return the JSON without the fields to leave out, and the fields that were removed."""
        payload = Payload(payload)
        # The order of the provider's own fields is kept, because leaving out `stream` also removes
        # `stream_options`, which must then not be reported as a second field.
        fields = (
            [field for field in self._ours() if field in self._left_out] if self._left_out else []
        )
        return payload, [field for field in fields if field.leave_out(payload)]


# Decoders by the media type of the response.
_DECODERS: Mapping[str, Callable[[int], Union[NDJSONDecoder, SSEDecoder, WholeDecoder]]] = {
    "application/json": WholeDecoder,
    "application/x-ndjson": NDJSONDecoder,
    "text/event-stream": SSEDecoder,
    # The page of a proxy. With this decoder, the error quotes the page. With another decoder, the
    # error would say that the stream ended early.
    "text/html": WholeDecoder,
}


def make_decoder(
    settings: Settings, accept: str, content_type: str, parser: ChunkParser
) -> Decoder:
    """Return a decoder for a response.

    If the media type of the response is not the requested one, the decoder also looks at the first
    bytes, because some servers send a stream with a wrong Content-Type, or without one.

    Args:
        settings: The settings of the provider.
        accept: The requested media type.
        content_type: The media type of the response.
        parser: The parser of the response.
    """
    parser.is_single_record = False
    lines, body = settings.max_line_bytes, settings.max_body_bytes
    make = _DECODERS.get(content_type, _DECODERS[accept])
    decoder = make(body if make is WholeDecoder else lines)
    if content_type == accept:
        return decoder
    return GuessingDecoder(decoder, (lines, body), partial(setattr, parser, "is_single_record"))
