"""Parts of requests and responses that all dialects have in common. This module does no I/O."""

from __future__ import annotations

import re
from collections import Counter
from math import log
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._dialect.error_answers import from_words, read_words
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.values import mappings, number
from localproviders._http.framing import (
    MOST_LOGPROBS,
    MOST_MODELS,
    Look,
    Tally,
    new_decoder,
    no_look,
    parse_json,
)
from localproviders._interrupts import is_injected
from localproviders._redact import count_with_noun
from localproviders.errors import (
    AnswerTooLargeError,
    EmbeddingError,
    ProtocolError,
    ProviderError,
    ServerError,
    ToolCallError,
    UnsupportedError,
)
from localproviders.types.messages import Tool, ToolCall
from localproviders.types.models import ModelInfo
from localproviders.types.responses import ServerTimings, TokenLogprob, Usage

#: The vector of one text, or the error for that text.
Row = Union[Sequence[float], ProviderError]


class Vectors(NamedTuple):
    """The content of an embedding response; the fields are those of `EmbeddingResponse`."""

    rows: Sequence[Row]
    model: str
    usage: Usage
    server_timings: ServerTimings
    warnings: Tuple[str, ...] = ()
    truncation: str = "unknown"


def unexpected(what: str) -> NoReturn:
    """Raise the error for a response that lacks a required part.

    Args:
        what: Name of the missing part, for the message.

    Raises:
        ProtocolError: Always.
    """
    raise ProtocolError(
        f"the response has no {what}",
        hint="check that the right kind of server listens at this address",
    )


def tell_apart(models: Iterable[ModelInfo]) -> List[ModelInfo]:
    """Return the models, and set `runner` for models that have the same name as another one.

    `runner` is the program that runs the model. If the server does not name the program, `runner`
    is the format of the model's files instead.
    """
    found = list(models)
    times = Counter(info.name for info in found)
    return [
        info.replace(runner=info.capabilities.format)
        if times[info.name] > 1 and info.runner is None
        else info
        for info in found
    ]


def checked(data: Any, rules: Sequence[Rule]) -> Mapping[str, Any]:
    """Check that a JSON response is an object and reports no error, and return it.

    The HTTP status does not matter, because servers also report errors with status 200.

    Args:
        data: The parsed JSON.
        rules: The rules that choose the error class from the server's error text.

    Raises:
        ProviderError: The response reports an error, or is not an object.
    """
    words = read_words(data)
    if words is not None:
        raise from_words(words, rules)
    if not isinstance(data, dict):
        unexpected("JSON object")
    return data


def check_extra_body(extra: Mapping[str, Any]) -> None:
    """Check that `extra_body` does not make Ollama return the prompt instead of an answer.

    Args:
        extra: The caller's `extra_body`.

    Raises:
        UnsupportedError: A field of `extra` makes Ollama return the prompt.
    """
    # Described in docs/reference/ollama.md, "Rendered prompts".
    if extra.get("_debug_render_only"):
        raise UnsupportedError(
            "extra_body has '_debug_render_only', so the response would be the prompt itself",
            hint="call render() to get the prompt",
        )


def named(
    items: Sequence[Any], name_of: Callable[[Mapping[str, Any]], str], look: Look = no_look
) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a list of models, and check the limits of the call again and again.

    Entries that are not objects are skipped. Entries without a name are also skipped, because no
    request could name their models.

    Args:
        items: The entries.
        name_of: Function that returns the name of an entry, or an empty string.
        look: Function that checks the limits of the call.

    Raises:
        AnswerTooLargeError: The list has more than `MOST_MODELS` entries.
        ProtocolError: The list has entries, but none of them is an object with a name.
        ProviderError: A limit of the call expired, or the call was cancelled.
    """
    if len(items) > MOST_MODELS:
        raise AnswerTooLargeError(
            f"the list has {len(items):,} models, but at most {MOST_MODELS:,} are accepted",
            hint="check that the right kind of server listens at this address",
        )
    found = mappings(items)
    tally, is_named = Tally("models", MOST_MODELS, look), not items
    for item in found:
        tally.add()
        if name_of(item):
            is_named = True
            yield item
    if not is_named:
        unexpected("name of a model in its list")


def check_vectors(found: int, texts: int) -> None:
    """Check that a response has as many vectors as the request has texts.

    Args:
        found: Number of vectors in the response.
        texts: Number of texts in the request.

    Raises:
        EmbeddingError: The numbers differ.
    """
    if found != texts:
        raise EmbeddingError(
            f"the server returned {count_with_noun(found, 'vector')} "
            f"for {count_with_noun(texts, 'text')}"
        )


def logprob_tally(look: Look = no_look) -> Tally:
    """Return a counter for the log probabilities of one response, including alternatives."""
    return Tally("log-probabilities", MOST_LOGPROBS, look)


# Finish reasons with which a server reports that it failed, each with the servers that send it.
_FAILED = (
    "error",  # KoboldCpp, OpenRouter
    "network_error",  # Z.ai
    "insufficient_system_resource",  # DeepSeek
    "abort",  # vLLM, SGLang
    "cancelled",  # TensorRT-LLM
    "timeout",  # TensorRT-LLM
)
# If a finish reason contains one of these words, the server has dropped a tool call (Gemini).
_DROPPED_CALL = ("malformed_function_call", "unexpected_tool_call")
# Finish reasons of an answer that reached a limit of tokens, each with the servers that send it.
_TOO_LONG = (
    "length",  # most servers
    "model_length",  # Mistral
    "max_tokens",  # gateways to Anthropic's models
    "model_context_window_exceeded",  # Z.ai
)
# Finish reasons of an answer that the server refused, or from which it removed a part.
_REFUSED = (
    "refusal",  # Anthropic
    "content_filter",  # OpenAI and many others
)
# If a tool call has no field `arguments`, its arguments are in one of these fields. The
# comments name the models or services that use each field.
_OTHER_ARGUMENTS = (
    "parameters",  # Llama's models
    "input",  # Anthropic
    "args",  # Gemini
)


def check_reason(reason: Optional[str]) -> None:
    """Raise an error if the finish reason of an answer means that a part of it was lost.

    Raises:
        ServerError: The reason means that the server failed.
        ToolCallError: The reason means that the server dropped a tool call.
    """
    if not reason:
        return  # almost every record of a stream has no finish reason
    found = reason.lower()
    if found in _FAILED:
        raise ServerError(f"the server ended the answer with the finish reason {reason!r}")
    if any(name in found for name in _DROPPED_CALL):
        raise unread_calls(f"the server dropped a tool call; its finish reason is {reason!r}")


def unread_calls(message: str, calls: Sequence[Tuple[ToolCall, str]] = ()) -> ToolCallError:
    """Return the error for tool calls that the model wrote, but that could not be read.

    `run_tools` reports such calls to the model, which can then call the tools again.

    Args:
        message: The message of the error.
        calls: The known calls of the answer. Each is in a pair with the reason why it could not be
            read, or with an empty text if it could be read. A call with a reason has no arguments.
    """
    error = ToolCallError(message)
    error._calls = tuple(calls)
    return error


def is_too_long(reason: object) -> bool:
    """Return whether a finish reason means that the answer reached a limit of tokens."""
    return isinstance(reason, str) and reason.lower() in _TOO_LONG


def is_refused(reason: object) -> bool:
    """Return whether a finish reason means that the server refused the answer, or a part of it."""
    return isinstance(reason, str) and reason.lower() in _REFUSED


def arguments_of(function: Mapping[str, Any]) -> Any:
    """Return the arguments of a tool call as the server sent them; None if it sent none.

    A few servers write them in a field with another name (docs/dialects.md, "Tool calls").
    """
    found = function.get("arguments")
    # If the object also has a description, its `parameters` are the schema of the tool.
    if found is None and "description" not in function:
        found = next((function[name] for name in _OTHER_ARGUMENTS if function.get(name)), None)
    return found


def parse_record(record: str, max_depth: int, look: Look) -> Any:
    """Parse the JSON of one record of a chat.

    Servers written in Python can send an infinite log-probability, although JSON has no infinity.
    Such a number becomes null, because it must not make the whole answer fail.

    Raises:
        ProviderError: The record is not JSON, or larger than allowed; or a limit of the call
            expired, or the call was cancelled.
    """
    try:
        return parse_json(record, max_depth, look=look)
    except ProtocolError:
        if '"logprob"' not in record and '"token_logprobs"' not in record:
            raise
        return parse_json(record, max_depth, look=look, constants_as_null=True)


def parse_logprobs(items: Any, tally: Tally) -> Tuple[TokenLogprob, ...]:
    """Parse log probabilities. If `items` is not a list, the result is empty.

    Args:
        items: The list from the server's JSON.
        tally: The counter of the response.

    Raises:
        AnswerTooLargeError: The response has more than `MOST_LOGPROBS` log probabilities.
    """
    # All dialects write these entries in the same way (docs/reference/ollama.md, "Log
    # probabilities").
    return logprobs_of(mappings(items), tally) if items else ()


def logprobs_of(items: Iterable[Mapping[str, Any]], tally: Tally) -> Tuple[TokenLogprob, ...]:
    """Parse the entries of a list of log probabilities.

    An entry that is malformed, or that has no finite value, is left out.

    Args:
        items: The entries.
        tally: The counter of the response.

    Raises:
        AnswerTooLargeError: The response has more than `MOST_LOGPROBS` log probabilities.
    """
    return tuple(filter(None, (_logprob(item, tally) for item in items)))


def _logprob(item: Mapping[str, Any], tally: Tally) -> Optional[TokenLogprob]:
    tally.add()
    token, logprob = item.get("token"), number(item.get("logprob"))
    if logprob is None:
        # With `post_sampling_probs`, llama.cpp sends probabilities instead of their logarithms.
        logprob = _log(number(item.get("prob")))
    if logprob is None or not isinstance(token, str):
        return None
    return TokenLogprob(
        token=token,
        logprob=logprob,
        data=_bytes(item.get("bytes")),
        top=parse_logprobs(item.get("top_logprobs") or item.get("top_probs"), tally),
    )


def _log(probability: Optional[float]) -> Optional[float]:
    return log(probability) if probability is not None and probability > 0 else None


def _bytes(values: Any) -> Optional[bytes]:
    try:
        return bytes(values) if isinstance(values, list) else None
    except (TypeError, ValueError):
        return None


def parse_written_json(text: str, max_depth: int, look: Look) -> Any:
    """Parse JSON that a model wrote.

    Models write line breaks and tabs inside strings, where JSON requires escapes. Inside a string,
    these characters have only one possible meaning, so they are accepted.

    Args:
        text: The JSON.
        max_depth: Deepest allowed nesting.
        look: Checks the limits of the call.

    Raises:
        ProviderError: The text is not JSON, or larger than allowed; or a limit of the call
            expired, or the call was cancelled.
    """
    try:
        return parse_json(text, max_depth, look=look)
    except ProtocolError:
        # Unlike `parse_json`, the second decoder cannot replace halves of surrogate pairs. So a
        # text that may contain the escape of such a half is not decoded again.
        if not re.search(r"[\x00-\x1f]", text) or re.search(r"\\u[dD][89a-fA-F]", text):
            raise
        try:
            # `parse_json` has checked the size and the nesting.
            return new_decoder(strict=False).decode(text)
        except ValueError as error:
            if is_injected(error):
                raise
        raise


def _no_spending(text: str) -> None:
    """Do nothing. This function is the default of `spend`."""


# Maximum number of times that arguments are decoded: the decoded value can again be a string that
# contains JSON.
_TIMES = 3


def read_arguments(
    text: str, max_depth: int, look: Look, spend: Callable[[str], None] = _no_spending
) -> Optional[Dict[str, Any]]:
    """Read the arguments of a tool call from their JSON, which some models encode twice.

    Null, an empty list and an empty text in JSON mean a call without arguments.

    Args:
        text: The JSON.
        max_depth: Deepest allowed nesting.
        look: Checks the limits of the call.
        spend: Called with each text before it is parsed.

    Returns:
        The arguments; None if the text does not contain complete arguments.

    Raises:
        ProviderError: `spend` raised it; or a limit of the call expired, or the call was
            cancelled.
    """
    value: Any = text
    for _ in range(_TIMES):
        spend(value)
        try:
            value = parse_written_json(value, max_depth, look)
        except (ProtocolError, AnswerTooLargeError):
            return None
        if isinstance(value, dict):
            return value
        if value is None or value == [] or (isinstance(value, str) and not value.strip()):
            return {}
        if not isinstance(value, str):
            return None
    return None


def tool_payloads(tools: Sequence[Tool]) -> List[Dict[str, Any]]:
    """Return the definitions of tools as JSON objects for a request body."""
    # All dialects write tools in the same way (docs/reference/ollama.md, "Tools").
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    ]
