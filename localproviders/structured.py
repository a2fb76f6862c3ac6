"""Structured output: send a JSON schema, and return the answer as a checked Python value."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._dialect.common import is_refused, is_too_long, parse_written_json
from localproviders._dialect.refused_schemas import (
    WARNING,
    in_words,
    refused_key,
    refuses_schema,
    schema_keys,
)
from localproviders._dialect.thinking import is_only_thinking, only_thinking_hint
from localproviders._dialect.written_json import values_in_words, without_fence
from localproviders._http.framing import LARGE, Look, weigh
from localproviders._http.repetitions import find_repetition
from localproviders._interrupts import is_injected
from localproviders._record import CONTENT, Record, field, record
from localproviders._shared_deadline import SharedDeadline, SupportsComplete
from localproviders.errors import (
    AnswerTooLargeError,
    ProtocolError,
    ProviderError,
    RepetitionError,
    SchemaError,
)
from localproviders.schema import build, check, schema_of
from localproviders.schema.strict import closed
from localproviders.types.inputs import at_least_one
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionResponse, Parsed

# Maximum nesting of the JSON in an answer.
_MAX_DEPTH = 100
# Maximum weight of the JSON in an answer, in the unit of `framing.MOST_WEIGHT`. An answer of a
# hundred thousand tokens weighs less. Checking a value of this weight takes approximately a second.
_MAX_WEIGHT = 250_000
# Name of the only property of the object that contains a wrapped value.
_WRAPPER_KEY = "value"
_WORDS_WARNING = "the answer has words before or after its JSON; they were ignored"


def parse(
    provider: SupportsComplete,
    request: CompletionRequest,
    response_type: Any,
    *,
    max_attempts: int,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> Parsed[Any]:
    """Send a request until an answer follows the schema, at most `max_attempts` times.

    If the server ended an answer because the model repeated itself, the answer counts as an answer
    that does not follow the schema.

    Args:
        provider: The provider that sends the requests.
        request: The request, without a schema.
        response_type: A type, or a JSON schema.
        max_attempts: The maximum number of requests.
        timeout: The limits of the call. The total limit covers all requests.
        cancel: A token that cancels the call, or None.

    Raises:
        ValueError: An argument is invalid.
        SchemaError: No answer followed the schema, or an answer was cut off or refused. Its cause
            is a `RepetitionError` if the server ended the last answer because the model repeated
            itself.
        ProviderError: A request failed.
    """
    max_attempts = at_least_one("max_attempts", max_attempts)
    form = _form_of(response_type)
    request = request.replace(response_schema=form.sent)
    attempt = 0
    with SharedDeadline(provider, timeout, cancel, verb="parse") as shared:
        while True:
            attempt += 1
            try:
                request, response = _send(shared, request)
            except RepetitionError as error:
                if attempt == max_attempts:
                    raise _repetition_error(error, attempt) from error
                request = _after_repetition(request, error)
                continue
            reading = _read(response, form, shared.check)
            _check_limits(shared, response)
            if reading.has_words:
                response = _with_warning(response, _WORDS_WARNING)
            if not reading.reasons:
                return Parsed(value=reading.value, response=response, attempts=attempt)
            if reading.is_cut_off or reading.is_refused or attempt == max_attempts:
                raise _schema_error(reading, response, attempt, request)
            request = _with_correction(request, response.message, reading.reasons)


class _Form(NamedTuple):
    """The form that an answer must have, as schemas.

    Attributes:
        response_type: The type, or the schema, that the caller passed.
        schema: The schema of the type, against which the answer is checked.
        sent: The schema in the request, which always describes an object.
        is_wrapped: Whether the answer is an object whose only property has the value.
    """

    response_type: Any
    schema: Dict[str, Any]
    sent: Mapping[str, Any]
    is_wrapped: bool


def _form_of(response_type: Any) -> _Form:
    schema = schema_of(response_type)
    # A schema that refers to its own root ("#") is not wrapped, because its references would then
    # mean the wrapper.
    is_sendable = schema.get("type") == "object" or '"#"' in json.dumps(schema, default=str)
    sent: Mapping[str, Any] = schema if is_sendable else _wrap(schema)
    # A JSON Schema of the caller may allow further properties on purpose. A type allows none.
    if not isinstance(response_type, Mapping):
        sent = closed(sent)
    return _Form(response_type, schema, sent, is_wrapped=not is_sendable)


def _wrap(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the schema of an object whose only property has the given schema.

    It is needed because OpenAI's own service accepts only an object at the root of a schema.
    """
    inner = dict(schema)
    definitions: Dict[str, Any] = {
        name: inner.pop(name) for name in ("$defs", "definitions") if name in inner
    }
    return {
        "type": "object",
        "properties": {_WRAPPER_KEY: inner},
        "required": [_WRAPPER_KEY],
        "additionalProperties": False,
        **definitions,
    }


# --- one request ---------------------------------------------------------------------------


def _send(
    shared: SharedDeadline, request: CompletionRequest
) -> Tuple[CompletionRequest, CompletionResponse]:
    """Send a request; if the server refuses its schema, send it again with the schema as text.

    The refusal is remembered for the provider and the model. The result has the request that was
    answered, and its response.
    """
    if request.response_schema is None:
        return request, _with_warning(shared.send(request))
    known = shared.provider._refused
    # A request without a model uses the model of the provider. Refusals of this request are stored
    # under an empty name, because the name None would mean all models.
    model, refused = request.model or "", None
    if not (known and known.has(model, *schema_keys(request))):
        try:
            return request, shared.send(request)
        except ProviderError as error:
            if not refuses_schema(error):
                raise
            refused = refused_key(error, request)
    spoken = in_words(request)
    try:
        response = _with_warning(shared.send(spoken))
    except RepetitionError:  # the server has accepted the request
        if refused is not None:
            known.add(model, refused)
        raise
    if refused is None:
        return spoken, response
    known.add(model, refused)
    return spoken, response.replace(attempts=response.attempts + 1)


def _with_warning(response: CompletionResponse, warning: str = WARNING) -> CompletionResponse:
    return response.replace(warnings=(*response.warnings, warning))


# --- one answer ----------------------------------------------------------------------------


@record
class _Reading(Record):
    """The result of reading an answer.

    It is a record, because tracebacks with local variables show the repr of a record, which
    contains no content.

    Attributes:
        value: The value of the answer; meaningless if there are reasons.
        reasons: The reasons why the answer does not follow the schema; empty if it does.
        is_cut_off: True if the answer was cut off before its JSON was complete. The answer to
            another request would be cut off, too.
        is_refused: True if the server refused to answer. The text of the response is then not an
            answer, even if it follows the schema.
        is_only_thinking: True if the model wrote its reasoning, but no answer.
        has_words: True if there was other text before or after the JSON value.
    """

    value: Any = field(default=None, metadata=CONTENT)
    reasons: Tuple[str, ...] = field(default=(), metadata=CONTENT)
    is_cut_off: bool = False
    is_refused: bool = False
    is_only_thinking: bool = False
    has_words: bool = False


def _read(response: CompletionResponse, form: _Form, look: Look) -> _Reading:
    if is_refused(response.finish_reason):
        return _Reading(reasons=("answer: was refused by the server",), is_refused=True)
    is_cut_off = is_too_long(response.finish_reason)
    text = without_fence(response.text, may_be_open=not is_cut_off)
    if not text:
        reason, thought = _reason_for_no_text(response), is_only_thinking(response)
        return _Reading(reasons=(reason,), is_cut_off=is_cut_off, is_only_thinking=thought)
    try:
        value = _parse_json(text, look)
    except ProtocolError as error:
        # If the answer was cut off, more JSON could have followed.
        found = None if is_cut_off else _read_in_words(response.text, form, look)
        return found or _Reading(reasons=(error.message,), is_cut_off=is_cut_off)
    except AnswerTooLargeError as error:
        return _Reading(reasons=(error.message,), is_cut_off=is_cut_off)
    return _read_value(value, form)


def _parse_json(text: str, look: Look) -> Any:
    if len(text) > LARGE:
        weigh(text, most=_MAX_WEIGHT, look=look)
    return parse_written_json(text, _MAX_DEPTH, look)


def _read_in_words(text: str, form: _Form, look: Look) -> Optional[_Reading]:
    """Read the only JSON value in an answer with other text; return None if there is none."""
    for part in values_in_words(text, only_object=form.schema.get("type") == "object"):
        try:
            value = _parse_json(part, look)
        except (AnswerTooLargeError, ProtocolError):
            continue
        return _read_value(value, form).replace(has_words=True)
    return None


def _check_limits(shared: SharedDeadline, response: CompletionResponse) -> None:
    """Raise an error with the answer's text if a limit expired while the answer was read."""
    try:
        shared.check()
    except ProviderError as error:
        error.add_context(partial=response.text)
        raise


def _reason_for_no_text(response: CompletionResponse) -> str:
    if response.tool_calls:
        return "answer: is empty, because the model called a tool"
    cause = ", because max_tokens ended it" if is_too_long(response.finish_reason) else ""
    thinking = "; the model wrote only thinking" if is_only_thinking(response) else ""
    return f"answer: is empty{cause}{thinking}"


def _read_value(value: Any, form: _Form) -> _Reading:
    path = "answer"
    # A server that ignores the schema may return the value without the wrapper.
    if form.is_wrapped and isinstance(value, dict) and list(value) == [_WRAPPER_KEY]:
        path, value = f"answer.{_WRAPPER_KEY}", value[_WRAPPER_KEY]
    reasons = check(value, form.schema, name=path)
    if reasons:
        return _Reading(reasons=tuple(reasons))
    try:
        return _Reading(value=build(form.response_type, value))
    except Exception as error:  # the type may run the user's code, which may raise any error
        if is_injected(error) or isinstance(error, (MemoryError, RecursionError)):
            raise  # asking the model again would not help
        refusal = (
            str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        )
        return _Reading(reasons=tuple(refusal.split("\n")))  # one reason per line


# --- the next attempt ----------------------------------------------------------------------


def _with_correction(
    request: CompletionRequest, answer: Message, reasons: Sequence[str]
) -> CompletionRequest:
    """Return the request with two more messages: the refused answer, and the reasons."""
    # The message repeats the schema, because the model may not have seen the schema: Ollama makes a
    # grammar from it and does not show it (docs/reference/ollama.md, "Structured output"). A schema
    # that was sent as text is in the conversation already.
    schema = request.response_schema
    request_again = (
        ("Answer again with nothing but JSON that follows the schema.",)
        if schema is None
        else (
            "Answer again with nothing but JSON that follows this schema:",
            json.dumps(schema, ensure_ascii=False, default=str),
        )
    )
    correction = "\n".join(
        (
            "This answer does not follow the schema:",
            *(f"- {reason}" for reason in reasons),
            *request_again,
        )
    )
    # The tool calls are removed, because servers refuse a conversation with a tool call that has no
    # result.
    answer = answer.replace(tool_calls=())
    return request.replace(messages=(*request.messages, answer, Message.user(correction)))


def _after_repetition(request: CompletionRequest, error: RepetitionError) -> CompletionRequest:
    """Return the request with two more messages: the answer without repetitions, and the reason.

    The repetitions are left out, because a model continues them if it reads them.
    """
    answer = Message.assistant(error.partial[: find_repetition(error.partial)])
    return _with_correction(request, answer, (f"answer: {error.message}",))


def _repetition_error(error: RepetitionError, attempts: int) -> SchemaError:
    return SchemaError(
        _failed_attempts(attempts),
        hint=error.hint,
        reasons=(f"answer: {error.message}",),
        provider=error.provider,
        model=error.model,
        endpoint=error.endpoint,
        partial=error.partial,
    )


def _failed_attempts(attempts: int) -> str:
    return (
        f"no answer followed the schema in {attempts} {'attempt' if attempts == 1 else 'attempts'}"
    )


def _schema_error(
    reading: _Reading, response: CompletionResponse, attempts: int, request: CompletionRequest
) -> SchemaError:
    message = _failed_attempts(attempts)
    if reading.is_cut_off:
        message = "the answer was cut off before its JSON was complete"
    if reading.is_refused:
        message = f"the server refused to answer (finish reason {response.finish_reason!r})"
    if reading.is_only_thinking:
        message += ", because the model wrote only thinking"
    return SchemaError(
        message,
        hint=_hint(reading, request),
        reasons=reading.reasons,
        provider=response.provider,
        model=request.model or response.model,
        partial=response.text,
    )


def _hint(reading: _Reading, request: CompletionRequest) -> str:
    if reading.is_refused:
        return "change the prompt, or use another model"
    if reading.is_only_thinking:
        return only_thinking_hint(request)
    if reading.is_cut_off:
        limit = "" if request.max_tokens is None else f", which is {request.max_tokens},"
        return f"raise max_tokens{limit} or context_length"
    hint = "read the reasons in error.reasons, and the last answer in error.text"
    return f"{hint}; {WARNING}" if request.response_schema is None else hint
