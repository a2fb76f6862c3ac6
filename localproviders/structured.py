"""Answers that are values: a schema goes out, a checked instance comes back."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._asking import Asking
from localproviders._http.framing import parse_json
from localproviders._record import CONTENT, Record, field, record
from localproviders.errors import ProviderError, SchemaError
from localproviders.schema import build, check, schema_of
from localproviders.types.answer import CompletionResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Message
from localproviders.types.outcome import Parsed
from localproviders.types.request import CompletionRequest

if TYPE_CHECKING:
    from localproviders.provider.answers import Answers

_MAX_DEPTH = 100
_WRAPPED = "value"
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


def parse(
    provider: Answers,
    request: CompletionRequest,
    response_type: Any,
    *,
    max_attempts: int,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> Parsed[Any]:
    """Ask until an answer follows the schema; see `ModelProvider.parse`."""
    if max_attempts < 1:
        raise ValueError(f"max_attempts is {max_attempts!r}, and must be at least 1")
    if request.response_schema is not None:
        raise ValueError(
            "parse makes response_schema itself; pass a schema of yours as the response_type"
        )
    form = _form_of(response_type)
    request = request.replace(response_schema=form.sent)
    attempt = 0
    with Asking(provider, timeout, cancel) as asking:
        while True:
            attempt += 1
            response = asking.ask(request)
            reading = _read(response, form)
            if not reading.reasons:
                return Parsed(value=reading.value, response=response, attempts=attempt)
            if reading.cut or attempt == max_attempts:
                raise _refused(reading, response, attempt, request)
            request = _again(request, response, reading.reasons)


class _Form(NamedTuple):
    """What is asked for.

    Attributes:
        response_type: The type.
        schema: Its schema.
        sent: The schema as it is sent: an object at its root.
    """

    response_type: Any
    schema: Dict[str, Any]
    sent: Dict[str, Any]

    @property
    def is_wrapped(self) -> bool:
        return self.sent is not self.schema


def _form_of(response_type: Any) -> _Form:
    schema = schema_of(response_type)
    # What refers to its root would refer to the wrapper.
    whole = schema.get("type") == "object" or '"#"' in json.dumps(schema, default=str)
    return _Form(response_type, schema, schema if whole else _wrapped(schema))


def _wrapped(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Put a schema into an object's: OpenAI's own service takes nothing else at the root."""
    inner = dict(schema)
    definitions: Dict[str, Any] = {
        name: inner.pop(name) for name in ("$defs", "definitions") if name in inner
    }
    return {
        "type": "object",
        "properties": {_WRAPPED: inner},
        "required": [_WRAPPED],
        "additionalProperties": False,
        **definitions,
    }


# --- one answer ----------------------------------------------------------------------------


@record
class _Reading(Record):
    """What an answer turned out to be; a record, because a local variable shows its repr.

    Attributes:
        value: The value, where there are no reasons.
        reasons: Why it does not follow the schema.
        cut: Whether it ended before its JSON was whole, so that asking again helps nothing.
    """

    value: Any = field(default=None, metadata=CONTENT)
    reasons: Tuple[str, ...] = field(default=(), metadata=CONTENT)
    cut: bool = False


def _read(response: CompletionResponse, form: _Form) -> _Reading:
    cut = response.finish_reason == "length"
    text = _without_fence(response.text)
    if not text:
        return _Reading(reasons=(_nothing(response),), cut=cut)
    try:
        value = parse_json(text, _MAX_DEPTH)
    except ProviderError as error:
        return _Reading(reasons=(error.message,), cut=cut)
    return _checked(value, form)


def _without_fence(text: str) -> str:
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    return fenced.group(1).strip() if fenced else text


def _nothing(response: CompletionResponse) -> str:
    if response.tool_calls:
        return "answer: is empty, and calls a tool instead"
    return f"answer: is empty{', and only thinking came' if response.thinking else ''}"


def _checked(value: Any, form: _Form) -> _Reading:
    path = "answer"
    # A server that ignores the schema may give the value bare.
    if form.is_wrapped and isinstance(value, dict) and list(value) == [_WRAPPED]:
        path, value = f"answer.{_WRAPPED}", value[_WRAPPED]
    reasons = check(value, form.schema, name=path)
    if reasons:
        return _Reading(reasons=tuple(reasons))
    try:
        return _Reading(value=build(form.response_type, value))
    except Exception as error:  # the type is the user's, and may raise anything
        refusal = (
            str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        )
        return _Reading(reasons=(refusal,))


# --- asking again --------------------------------------------------------------------------


def _again(
    request: CompletionRequest, response: CompletionResponse, reasons: Sequence[str]
) -> CompletionRequest:
    """Give the request with the answer, and why it was no good, behind it."""
    # The schema is in the words, because the model may not have seen it: Ollama's grammar
    # works without (ollama-api §4.4).
    correction = "\n".join(
        (
            "This answer is not what was asked for:",
            *(f"- {reason}" for reason in reasons),
            "Answer again, with JSON that follows this schema, and nothing else:",
            json.dumps(request.response_schema, ensure_ascii=False, default=str),
        )
    )
    # Calls would want results.
    answer = response.message.replace(tool_calls=())
    return request.replace(messages=(*request.messages, answer, Message.user(correction)))


def _refused(
    reading: _Reading, response: CompletionResponse, attempts: int, request: CompletionRequest
) -> SchemaError:
    what = (
        "the answer was cut before its JSON was whole"
        if reading.cut
        else f"no answer followed the schema in {attempts} "
        f"{'attempt' if attempts == 1 else 'attempts'}"
    )
    return SchemaError(
        what,
        hint="raise max_tokens, or the context window"
        if reading.cut
        else "error.reasons says why, error.text has the last answer",
        reasons=reading.reasons,
        provider=response.provider,
        model=request.model or response.model,
        partial=response.text,
    )
