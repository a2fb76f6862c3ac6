"""From an error answer to an error class: what all dialects share. Pure."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Mapping, Optional, Sequence, Type

from localproviders._http.framing import parse_json
from localproviders._record import CONTENT, Record, field, record
from localproviders._values import whole
from localproviders.errors import (
    AuthenticationError,
    BusyError,
    CapabilityError,
    ContextOverflowError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    ServerError,
)


@record
class Rule(Record):
    """What a server's words mean.

    Attributes:
        pattern: Searched in the words, case ignored. It is compiled when a server refuses
            something: compiling all of them takes 3 ms.
        error: The class it means.
        hint: What to try, or None.
        facts: Further arguments for the class.
    """

    pattern: str
    error: Type[ProviderError]
    hint: Optional[str] = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def rule(
    pattern: str, error: Type[ProviderError], hint: Optional[str] = None, **facts: Any
) -> Rule:
    """Make a `Rule` out of a regular expression."""
    return Rule(pattern=pattern, error=error, hint=hint, facts=facts)


# What a status means where the words say nothing.
_STATUSES: Mapping[int, Type[ProviderError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    408: BusyError,
    429: BusyError,
    502: BusyError,
    503: BusyError,
    504: BusyError,
}

# A reason is a sentence; the patterns take quadratic time in its length.
_LONGEST_REASON = 4_000

# Nobody nests an error deeper.
_DEPTH = 100

_NUMBERS = (
    # request (3010 tokens) exceeds the available context size (1024 tokens)
    r"\((?P<prompt>\d{1,18}) tokens\).*?\((?P<window>\d{1,18}) tokens\)",
    # input (2002 tokens) is too large to process. ... (current batch size: 512)
    r"\((?P<prompt>\d{1,18}) tokens\) is too large.*batch size: (?P<window>\d{1,18})",
    # n_keep: 13055>= n_ctx: 4096
    r"n_keep:\s*(?P<prompt>\d{1,18})\s*>=\s*n_ctx:\s*(?P<window>\d{1,18})",
    # Trying to keep the first 5000 tokens ... context length of only 4096 tokens
    r"first (?P<prompt>\d{1,18}) tokens .* of only (?P<window>\d{1,18}) tokens",
)


@record
class Words(Record):
    """What a server said.

    Attributes:
        text: Its message.
        kind: Its name for the error: type and code, or empty.
        prompt_tokens: Length of an overlong prompt, where it says.
        context_length: Length of the window, where it says.
    """

    text: str = field(metadata=CONTENT)
    kind: str = ""
    prompt_tokens: Optional[int] = None
    context_length: Optional[int] = None


def read_words(body: Any) -> Optional[Words]:
    """Find the error in a JSON answer of any known shape; None where there is none.

    A text, an object, an object inside a text (Ollama passes its runner's on, ollama-api
    §5.1), or a list of one (lmstudio-api §4.1).
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict) or body.get("error") is None:
        return None
    error = body["error"]
    if isinstance(error, str):
        return _inside(error) or Words(text=error, kind=_text(body.get("type")))
    if isinstance(error, dict):
        return _from_object(error, fallback=_text(body.get("message")))
    return Words(text=str(error))


def _inside(text: str) -> Optional[Words]:
    return _read_text(text) if text.lstrip().startswith("{") else None


def _read_text(text: str) -> Optional[Words]:
    try:
        return read_words(parse_json(text, _DEPTH))
    except ProviderError:
        return None


def _from_object(error: Mapping[str, Any], fallback: str) -> Words:
    text = _text(error.get("message")) or fallback or json.dumps(error)
    kind = " ".join(filter(None, (_text(error.get("type")), _text(error.get("code")))))
    return Words(
        text=text,
        kind=kind,
        prompt_tokens=whole(error.get("n_prompt_tokens")),
        context_length=whole(error.get("n_ctx")),
    )


def explain(
    status: int,
    text: str,
    headers: Mapping[str, str],
    rules: Sequence[Rule],
) -> ProviderError:
    """Make the error for a status that is not 2xx.

    Args:
        status: The HTTP status.
        text: The body.
        headers: The answer's headers.
        rules: The dialect's texts, the first that fits decides.
    """
    if status < 200:
        return ProtocolError(
            f"the server switches to another protocol (status {status}), unasked", status=status
        )
    if 300 <= status < 400:
        return ProtocolError(
            f"the server redirects (status {status}), which is not followed",
            hint="write the final address of the server",
            status=status,
        )
    try:
        body = parse_json(text, _DEPTH)
        words = read_words(body)
        text = json.dumps(body, ensure_ascii=False)  # so that a quotation is recognised
    except ProviderError:
        words = None
    if words is None and re.match(r"\s*<", text):
        words = Words(text="the answer is a web page")
    error = from_words(words or Words(text=text.strip()), rules, status)
    if isinstance(error, BusyError):
        error.retry_after_s = retry_after(headers.get("Retry-After"))
    return error


def from_words(words: Words, rules: Sequence[Rule], status: Optional[int] = None) -> ProviderError:
    """Make the error that a server's words and perhaps its status mean."""
    said = words.text[:_LONGEST_REASON]
    kind = words.kind[:_LONGEST_REASON]
    searched = f"{kind}: {said}" if kind else said
    found = next((rule for rule in rules if re.search(rule.pattern, searched, re.IGNORECASE)), None)
    cls = found.error if found else _by_status(status)
    message = f"the server says: {said[:500]}" if said else "the server gives no reason"
    if status is not None and not said:
        message = f"the server answers status {status} and gives no reason"
    error = cls(
        message,
        hint=found.hint if found else _HINTS.get(status or 0),
        status=status,
        server_message=said or None,
        **(found.facts if found else {}),
    )
    if isinstance(error, ContextOverflowError):
        _add_numbers(error, words.replace(text=said))
    if isinstance(error, CapabilityError):
        error.evidence = error.server_message
    return error


_HINTS: Mapping[int, str] = {
    401: "pass api_key=...",
    403: "a reverse proxy may pass its own Host header on; the server refuses foreign ones",
    404: "is this the right kind of server, and new enough?",
}


def _by_status(status: Optional[int]) -> Type[ProviderError]:
    if status is None:
        return ServerError
    if status in _STATUSES:
        return _STATUSES[status]
    return RequestRejectedError if 400 <= status < 500 else ServerError


def _add_numbers(error: ContextOverflowError, words: Words) -> None:
    error.prompt_tokens, error.context_length = words.prompt_tokens, words.context_length
    for pattern in _NUMBERS:
        found = re.search(pattern, words.text)
        if found and error.prompt_tokens is None:
            error.prompt_tokens = int(found.group("prompt"))
            error.context_length = int(found.group("window"))
    if error.prompt_tokens and error.context_length:
        error.message = (
            f"the prompt has {error.prompt_tokens} tokens, "
            f"and the context window {error.context_length}"
        )
        error.args = (error.message,)


def retry_after(value: Optional[str]) -> Optional[float]:
    """Read ``Retry-After``: seconds or a date; None where it is absent or nonsense."""
    if not value:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())


def not_found(model: str, **facts: Any) -> ModelNotFoundError:
    """Make the error for a model that a server does not have."""
    return ModelNotFoundError(f"the server has no model {model!r}", model=model, **facts)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
