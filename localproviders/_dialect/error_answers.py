"""Conversion of error responses to error classes, for all dialects. This module does no I/O."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from localproviders._address import Endpoint, path_hint, short_form_hint
from localproviders._dialect.error_rules import NO_CREDIT, Rule
from localproviders._dialect.retry_headers import as_retryable, wait_in
from localproviders._dialect.values import count, is_failure_code, mapping
from localproviders._http.framing import parse_json
from localproviders._record import size_of
from localproviders._redact import title_of
from localproviders.errors import (
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
    UnsupportedError,
)
from localproviders.secret import Unseen

# Error classes by status, for error texts that no rule matches.
_STATUSES: Mapping[int, Type[ProviderError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    408: ServerBusyError,
    429: ServerBusyError,
    502: ServerBusyError,
    503: ServerBusyError,
    504: ServerBusyError,
    # Statuses of Cloudflare for a server that does not answer in time, and Anthropic's 529.
    **dict.fromkeys((520, 521, 522, 523, 524, 529), ServerBusyError),
}

# A rule for a general error type, such as "invalid_request_error", chooses `RequestRejectedError`.
# If the HTTP status means one of the following classes, that class is used instead, because it is
# more precise.
_PRECISE = (AuthenticationError, ServerBusyError)

# Error texts with more characters than this are cut, because searching the patterns takes quadratic
# time. A real error text is one sentence.
_MAX_REASON = 4_000

# Maximum nesting of the JSON of an error. Real errors have a few levels.
_MAX_DEPTH = 100
# An error text may itself be JSON. A text with more characters than this is not parsed, because
# parsing copies the text.
_MAX_INNER_JSON = 1024 * 1024

# A number of tokens, with or without thousands separators.
_N = r"\d{1,3}(?:,\d{3}){1,5}|\d{1,18}"
_PROMPT, _WINDOW, _TOTAL = (rf"(?P<{name}>{_N})" for name in ("prompt", "window", "total"))

# Patterns for the length of the prompt and of the context window in an error text. Some texts also
# have the total, the sum of prompt and answer. An example of the text is above each pattern.
_TOKEN_COUNTS = (
    # llama.cpp: request (3010 tokens) exceeds the available context size (1024 tokens)
    rf"\({_PROMPT} tokens\)[^()]*\({_WINDOW} tokens\)",
    # llama.cpp: input (2002 tokens) is too large to process. ... (current batch size: 512)
    rf"\({_PROMPT} tokens\) is too large.*batch size: {_WINDOW}",
    # LM Studio: n_keep: 13055>= n_ctx: 4096
    rf"n_keep:\s*{_PROMPT}\s*>=\s*n_ctx:\s*{_WINDOW}",
    # LM Studio: Trying to keep the first 5000 tokens ... context length of only 4096 tokens
    rf"first {_PROMPT} tokens .* of only {_WINDOW} tokens",
    # OpenAI, vLLM: maximum context length is 4097 tokens. However, you requested 4164 tokens (64 in
    # the messages, 4100 in the completion). OpenRouter: about 4164 tokens (64 of text input, ...)
    rf"context length is {_WINDOW} tokens.{{0,60}} requested (?:about )?{_TOTAL} tokens"
    rf"[^(.]{{0,40}}\({_PROMPT} (?:in|of)\b",
    # The same text without the numbers in brackets. vLLM: and your request has 5000 input tokens.
    # OpenAI: However, your messages resulted in 5000 tokens
    rf"context length is {_WINDOW} tokens.{{0,60}}"
    rf" (?:requested|request has|resulted in|contains?|contain) (?:about |at least )?"
    rf"{_PROMPT} (?:input )?tokens",
    # SGLang: maximum context length of 32768 tokens. You requested a total of 40000 tokens: 30000
    # tokens from the input messages
    rf"maximum context length of {_WINDOW} tokens.*total of {_TOTAL} tokens: {_PROMPT} tokens",
    # Mistral: Prompt contains 40000 tokens ..., too large for model with 32768 maximum context
    rf"contains {_PROMPT} tokens.* with {_WINDOW} maximum context",
    # TGI: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 `inputs` tokens and 20
    rf"must be <= {_WINDOW}\. Given: {_PROMPT} `inputs`",
    # TGI: `inputs` must have less than 1024 tokens. Given: 3000
    rf"must have less than {_WINDOW} tokens\. Given: {_PROMPT}",
    # Anthropic: prompt is too long: 208310 tokens > 200000 maximum
    rf"too long: {_PROMPT} tokens > {_WINDOW}",
    # Anthropic: input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000
    rf"context limit: {_PROMPT} \+ (?:{_N}) > {_WINDOW}",
    # Fireworks: The prompt is too long: 10000, model maximum context length: 8192
    rf"too long: {_PROMPT}, model maximum context length: {_WINDOW}",
    # Gemini: The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)
    rf"token count \(?{_PROMPT}\)? exceeds the maximum number of tokens allowed \(?{_WINDOW}",
    # llama-cpp-python: Requested tokens (3000) exceed context window of 2048
    rf"[Rr]equested tokens \({_PROMPT}\) exceed context window of {_WINDOW}",
    # xAI: maximum prompt length is 131072 but the request contains 150000 tokens
    rf"maximum prompt length is {_WINDOW} but the request contains {_PROMPT} tokens",
    # Cohere: total number of tokens in the prompt cannot exceed 4081 - received 5000
    rf"cannot exceed {_WINDOW} - received {_PROMPT}",
    # TensorRT-LLM, Triton: prompt length (5000) exceeds maximum input length (4096)
    rf"length \({_PROMPT}\)[^()]{{0,60}} exceeds?[^()]{{0,60}}length \({_WINDOW}\)",
    # vLLM: The prompt (total length 5000) is too long to fit into the model (context length 4096);
    # decoder prompt (length 5000) is longer than the maximum model length of 4096
    rf"length {_PROMPT}\)[^\d]{{0,80}}length (?:of )?{_WINDOW}\b",
    # vLLM: You passed 4097 input tokens and requested 100 ... context length is only 4096 tokens
    rf"passed {_PROMPT} input tokens.* context length is only {_WINDOW} tokens",
    # OpenAI: configured limit of 272000 tokens. Your messages resulted in 300000 tokens
    rf"limit of {_WINDOW} tokens\.[^.]{{0,40}} resulted in {_PROMPT} tokens",
    # Copilot: prompt token count of 70000 exceeds the limit of 64000
    rf"token count of {_PROMPT} exceeds the limit of {_WINDOW}\b",
    # Kimi: Your request exceeded model token limit: 262144 (requested: 291351)
    rf"token limit: {_WINDOW} \(requested: {_PROMPT}\)",
    # Vertex AI: the input token count is 32825 but model only supports up to 32768
    rf"token count is {_PROMPT} but model only supports up to {_WINDOW}",
    # MLC LLM: Request prompt has 5000 tokens in total, larger than the model input length limit
    # 4096; others: Prompt has 5000 tokens, but the configured context size is 4096 tokens
    rf"has {_PROMPT} tokens[^.\d]{{0,60}}(?:length limit|context size is) {_WINDOW}\b",
    # NVIDIA: Input length 704 exceeds maximum allowed token size 512; TabbyAPI: Prompt length 5000
    # is greater than max_seq_len 4096
    rf"length {_PROMPT} (?:exceeds|is greater than)[^.\d]{{0,40}} {_WINDOW}\b",
    # SiliconFlow: length of prompt_tokens (5000) must be less than max_seq_len (4096)
    rf"prompt_tokens \({_PROMPT}\)[^()]{{0,40}}\({_WINDOW}\)",
    # Cerebras: Please reduce the length ... Current length is 9000 while limit is 8192
    rf"length is {_PROMPT} while limit is {_WINDOW}\b",
    # Jina: Single text cannot exceed 8192 tokens. 10454 tokens given
    rf"cannot exceed {_WINDOW} tokens\. {_PROMPT} tokens given",
    # contains 5000 tokens, which is too long for the 4096 token context window
    rf"{_PROMPT} tokens, which is too long for the {_WINDOW} token",
    # Ollama's decision models: prompt 0 has 12144 tokens; expected 1–8194
    rf"has {_PROMPT} tokens; expected 1\W{_WINDOW}\b",
    # Others: 5000 tokens ... exceeds the context length of 4096 tokens
    rf"{_PROMPT} tokens[^.\d]{{0,60}}\bexceeds?\b[^.\d]{{0,60}}{_WINDOW}\b",
    # Only the window is known; DashScope: input length should be [1, 30720].
    rf"(?:maximum number of tokens allowed|context length is|context length of|token limit:) "
    rf"\(?{_WINDOW}\b",
    rf"input length should be \[\d+, {_WINDOW}\]",
)


class Words(NamedTuple):
    """The content of a server's error response. Its repr does not show the server's text.

    Attributes:
        text: The error message.
        kind: Type and code of the error, as the server names them; empty if there are none.
        prompt_tokens: Length in tokens of a prompt that is too long, or None.
        context_length: Length of the context window in tokens, or None.
    """

    text: str
    kind: str = ""
    prompt_tokens: Optional[int] = None
    context_length: Optional[int] = None

    def __repr__(self) -> str:
        return f"Words(text={size_of(self.text)}, kind={self.kind!r})"


# Fields of a successful response. If a body has one of them, a sentence in another field is not an
# error.
_ANSWER = ("choices", "done", "message", "output", "data", "models", "embeddings", "response")
# Names of fields that a record with an error may have, and that few other records have.
_MARKS = frozenset(("error", "base_resp"))
# Names of the fields with the type, the code and the status of an error.
_KINDS = ("type", "code", "status", "status_code", "statusCode", "StatusCode")
# Names of the field with the error sentence. The first name that is present is used.
_SENTENCES = (
    "message",
    "detail",
    "msg",
    "error_description",
    "errorMessage",
    "status_msg",
    "errors",
    "error_message",
    "Message",
    "title",
)


def read_words(body: Any, *, is_inside: bool = False, is_refusal: bool = False) -> Optional[Words]:
    """Return the error in a JSON response, or None if the response has no error.

    The response is an object with the key ``error``, or a list with one such object
    (docs/reference/lmstudio.md, "Error bodies"). The value of ``error`` may be an object, a string,
    or a string that contains an object as JSON, because Ollama passes on the errors of its runner
    as strings (docs/reference/ollama.md, "Error bodies"). The forms without the key ``error``, and
    the servers that send them, are in docs/dialects.md, "Errors".

    Args:
        body: The parsed JSON.
        is_inside: True if `body` was itself JSON inside a string. Strings in `body` are then not
            parsed, because each level would cost the time and memory of the complete text.
        is_refusal: True if the status of the response, or the name of a server-sent event, shows
            that `body` is an error. A body that has only ``message`` is then read as an error, too.
    """
    # Fast path: almost every record of a stream is recognised as an answer here. The complete test
    # follows.
    if type(body) is dict and not is_refusal and _MARKS.isdisjoint(body):
        is_answer = type(body.get("choices")) is list or type(body.get("done")) is bool
        if is_answer and body.get("object") != "error":
            return None
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return Words(text=body) if is_refusal and isinstance(body, str) else None
    if body.get("error") is not None and not _says_no_error(body):
        return _from_error(body, is_inside)
    return _without_error(body, is_inside, is_refusal)


def _says_no_error(body: Mapping[str, Any]) -> bool:
    """Return whether ``error`` is false or empty, and a field shows a successful response."""
    if body["error"] not in (False, ""):
        return False
    return any(body.get(name) and not isinstance(body[name], str) for name in _ANSWER) or (
        body.get("done") is False
    )


def _from_error(body: Mapping[str, Any], is_inside: bool) -> Words:
    error = body["error"]
    if isinstance(error, str):
        inner = None if is_inside else _inner_error(error, is_refusal=True)
        return inner or _with_sentence(error, body)
    if isinstance(error, dict):
        return _from_object(error, fallback=_text(body.get("message")), is_inside=is_inside)
    if isinstance(error, list):
        return Words(text=_sentences(error))
    said = _sentence_beside(body)  # the error is true or a number
    return Words(text=said, kind=_kind_of(body)) if said else Words(text=str(error))


def _kind_of(error: Mapping[str, Any], *more: str) -> str:
    """Return type, code and status of an error in one string, if they are strings or integers."""
    found = (error.get(name) for name in _KINDS)
    return " ".join([str(value) for value in found if _is_kind(value)] + list(filter(None, more)))


def _is_kind(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def _with_sentence(error: str, body: Mapping[str, Any]) -> Words:
    """Return the error of a body whose ``error`` is a string.

    The string may be only the name of the error. The sentence is then in another field of the body.
    """
    kind, said = _kind_of(body), _sentence_beside(body)
    if not said or said in error:
        return Words(text=error, kind=kind)
    is_name = re.fullmatch(r"[\w.-]{1,60}|[A-Z][a-z]+(?: [A-Z][a-z]+){0,3}", error)
    kind = " ".join(filter(None, (kind, error))) if is_name else kind
    return Words(text=said if is_name or error in said else f"{error}: {said}", kind=kind)


def _sentence_beside(body: Mapping[str, Any]) -> str:
    """Return the sentence in another field than ``error``, or an empty string."""
    beside = (body.get(name) for name in _SENTENCES)
    return next((_sentences(v) for v in beside if v and isinstance(v, (str, list))), "")


def _without_error(body: Mapping[str, Any], is_inside: bool, is_refusal: bool) -> Optional[Words]:
    """Return the error of a body without the field ``error``, or None."""
    base = body.get("base_resp")
    if isinstance(base, dict) and base.get("status_code") not in (None, 0, "0"):
        kind = f"base_resp {_text(base.get('status_code'))}"
        return Words(text=_text(base.get("status_msg")), kind=kind)
    marked = body.get("object") == "error"
    if not (marked or is_refusal) and any(
        body.get(name) is not None and not isinstance(body[name], str) for name in _ANSWER
    ):
        return None
    errors = body.get("errors")
    if isinstance(errors, (list, dict)) and errors:
        said = ": ".join(filter(None, (_text(body.get("message")), _sentences(errors))))
        return Words(text=said, kind=" ".join(_codes_of(errors)))
    named = next((name for name in body if name.startswith("error ")), None)
    if named is not None and isinstance(body[named], str):
        # In Ollama, the name of the field is part of the error
        # (docs/reference/ollama.md, "Errors in a stream").
        return Words(text=f"{named}: {body[named]}")
    if not (marked or is_refusal or _is_error(body)):
        return None
    has_words = any(body.get(name) for name in _SENTENCES) or marked
    return _from_object(body, is_inside=is_inside) if has_words else None


def _is_error(body: Mapping[str, Any]) -> bool:
    """Return whether a body without ``error`` and without an answer is an error."""
    if body.get("detail") and isinstance(body["detail"], (str, list, dict)):
        return True
    codes = (_code(body.get(name)) for name in ("code", "status", "status_code", "statusCode"))
    signs = (body.get("type") == "error", body.get("status") == "error")
    is_failure = any(signs) or body.get("success") is False or any(codes)
    if isinstance(body.get("message"), (str, dict)):
        return is_failure or is_failure_code(body.get("code"))
    return isinstance(body.get("msg"), str) and is_failure_code(body.get("code"), by_number=True)


def _code(value: Any) -> Optional[int]:
    """Return the value of a JSON field if it is an HTTP status from 400 to 599, or None."""
    found = re.fullmatch(r"[45]\d\d", value if isinstance(value, str) else repr(value))
    return int(found.group()) if found else None


def _codes_of(errors: Any) -> Sequence[str]:
    entries = errors[:1] if isinstance(errors, list) else ()
    return [_text(entry.get("code")) for entry in entries if isinstance(entry, dict)]


def _sentences(value: Any) -> str:
    """Return the sentences of a list or an object of errors.

    FastAPI writes a list of objects, each with the position of an invalid value (``loc``) and the
    reason (``msg``). The value itself, which FastAPI repeats in ``input``, is left out.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_sentence, value[:_MAX_SENTENCES])))
    if not any(isinstance(value.get(name), str) for name in _SENTENCES):
        pairs = list(value.items())[:_MAX_SENTENCES]
        return "; ".join(
            f"{name}: {_sentences(said) if isinstance(said, list) else _text(said)}"
            for name, said in pairs
        )
    return _sentence(value)


_MAX_SENTENCES = 10


def _sentence(value: Any) -> str:
    if not isinstance(value, dict):
        return _text(value)
    said = next((value[name] for name in _SENTENCES if value.get(name)), None)
    place = value.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return ": ".join(filter(None, (where, _text(said) or json.dumps(value))))


def _inner_error(text: str, *, is_refusal: bool) -> Optional[Words]:
    """Return the error in a text that is JSON, or that has JSON after other words; or None."""
    begin = text.find("{") if len(text) <= _MAX_INNER_JSON else -1
    end = text.rfind("}") + 1
    before, after = text[:begin].strip(), text[end:].strip()
    # JSON directly after another character, such as raw='{"name": ...', is not parsed: it is a
    # quotation of the model's answer.
    if begin < 0 or end <= begin or (before and text[begin - 1] not in " :\n"):
        return None
    words = _parse_inner_error(Unseen(text[begin:end]), is_refusal and not before)
    if words is None or not before:
        return words
    # The words around the JSON, such as those of a proxy, stay, because they may be the reason.
    return words._replace(text=f"{before} {words.text} {after}".rstrip())


def _parse_inner_error(text: str, is_refusal: bool) -> Optional[Words]:
    try:
        return read_words(parse_json(text, _MAX_DEPTH), is_inside=True, is_refusal=is_refusal)
    except ProviderError:
        return None


def _from_object(error: Mapping[str, Any], fallback: str = "", *, is_inside: bool = False) -> Words:
    said = next((error[name] for name in ("error", *_SENTENCES) if error.get(name)), None)
    if isinstance(said, dict) and read_words(said, is_inside=True, is_refusal=True):
        return read_words(said, is_inside=True, is_refusal=True) or Words(text="")
    text = _sentences(said) if isinstance(said, (list, dict)) else _text(said)
    quoted = None if is_inside else _inner_error(text, is_refusal=True)
    inner = quoted or Words(text=text or fallback or json.dumps(error))
    kind = _kind_of(error, inner.kind, *_kinds_beside(error))
    words = Words(
        text=_with_parameter(inner.text, kind, error.get("param")),
        kind=kind,
        prompt_tokens=count(error.get("n_prompt_tokens")) or inner.prompt_tokens,
        context_length=count(error.get("n_ctx")) or inner.context_length,
    )
    upstream = None if is_inside else _upstream(error)
    if upstream is None or not upstream.text or upstream.text in words.text:
        return words
    kinds = " ".join(filter(None, (words.kind, upstream.kind)))
    return upstream._replace(text=f"{words.text}: {upstream.text}", kind=kinds)


def _kinds_beside(error: Mapping[str, Any]) -> Sequence[str]:
    """Return OpenRouter's types of an error, which are in another object than the error's code."""
    beside = mapping(error.get("metadata"))
    return [_text(beside.get(name)) for name in ("error_type", "limit_source")]


def _upstream(error: Mapping[str, Any]) -> Optional[Words]:
    """Return the error of the service behind OpenRouter, or None.

    OpenRouter's own message says only that the service returned an error.
    """
    raw = mapping(error.get("metadata")).get("raw")
    inner = _inner_error(raw, is_refusal=True) if isinstance(raw, str) else None
    return inner or read_words(raw, is_inside=True, is_refusal=True)


def _with_parameter(text: str, kind: str, name: Any) -> str:
    """Return the error text; begin it with the refused parameter's name if the text lacks it."""
    is_refused = isinstance(name, str) and re.search(r"parameter|unsupported|extra_", kind)
    return f"{name}: {text}" if is_refused and name and name not in text else text


# Each row has a pattern, a kind of server and the provider for it. The pattern matches the text
# with which this kind of server refuses an unknown path (docs/reference/lmstudio.md, "Recognising
# the server"; docs/reference/ollama.md, "Status codes").
_DIALECT = "OpenAICompatibleProvider, with /v1 in its address"
_SERVER_SIGNS: Sequence[Tuple[str, str, str]] = (
    (r"Unexpected endpoint or method", "LM Studio", "LMStudioProvider"),
    (r"^404 page not found$", "Ollama", "OllamaProvider"),
    (r"^File Not Found$", "llama.cpp", _DIALECT),
    # The text of FastAPI.
    (r"^Not Found$", "vLLM or another server of OpenAI's dialect", _DIALECT),
)

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_BASIC_HINT = "pass auth=(user, password)"
_WEB_SERVER_HINT = (
    "check the host, the port and the path of the address: a web server seems to listen there"
)

# A pattern for the texts with which nginx and Go's net/http refuse plain HTTP, with status 400.
_NEEDS_HTTPS = r"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server"
_HTTPS_HINT = "write https:// in the address of the server"


def explain(
    status: int,
    text: str,
    headers: Mapping[str, str],
    rules: Sequence[Rule],
) -> ProviderError:
    """Return the error for a response whose status is not 2xx.

    Args:
        status: The HTTP status.
        text: The response body.
        headers: The response headers.
        rules: The rules of the dialect. The first rule that matches decides.
    """
    if status < 200:
        return ProtocolError(
            f"the server switches to another protocol (status {status}), which was not requested",
            status=status,
        )
    if 300 <= status < 400:
        return ProtocolError(
            f"the server redirects (status {status}), but redirects are not followed",
            hint="use the final address, to which the server redirects",
            status=status,
        )
    try:
        body = parse_json(text, _MAX_DEPTH)
        words = read_words(body, is_refusal=True)
        # Escapes are decoded here. Otherwise a quotation of the prompt could not be found and
        # removed later.
        text = json.dumps(body, ensure_ascii=False)
    except ProviderError:
        words = None
    if words is None and re.search(_NEEDS_HTTPS, text):
        return _class_for_status(status)(
            f"the server refused plain HTTP (status {status})", hint=_HTTPS_HINT, status=status
        )
    if words is None and re.match(r"\s*<", text):
        error = _web_page(status, text)
    else:
        error = from_words(words or Words(text=text.strip()), rules, status)
    error = as_retryable(error, headers.get("x-should-retry") or "")
    if isinstance(error, ServerBusyError):
        error.retry_after_s = wait_in(headers)
    # The header is not stored in a local variable, because a traceback may show local variables,
    # and the header may quote an API key.
    if status == _UNAUTHORIZED and re.match("(?i)basic ", headers.get("WWW-Authenticate") or ""):
        error.hint = _BASIC_HINT
    return error


def _web_page(status: int, page: str) -> ProviderError:
    """Return the error for an HTML page, which a web server or a proxy sent."""
    hint = _WEB_SERVER_HINT if status == _NOT_FOUND else STATUS_HINTS.get(status)
    title = title_of(page)
    message = f"the server answered with a web page (status {status})"
    return _class_for_status(status)(
        f"{message}: {title!r}" if title else message, hint=hint, status=status
    )


def address_hint(
    error: ProviderError, endpoint: Endpoint, kind: str, api_path: str
) -> Optional[str]:
    """Return a hint if an error shows a wrong address or another kind of server; otherwise None.

    Args:
        error: The error of a call.
        endpoint: The address that was used.
        kind: The kind of server that was expected, such as ``Ollama``.
        api_path: The path in the addresses of this kind of server, such as ``/v1``; empty if there
            is none.
    """
    short_form = short_form_hint(endpoint.host) if error.status == _FORBIDDEN else None
    if short_form is not None:
        return short_form
    sign = next((s for s in _SERVER_SIGNS if re.search(s[0], error.server_message or "")), None)
    lacks_path = error.status in (_NOT_FOUND, 405) and type(error) in (
        RequestRejectedError,
        UnsupportedError,
    )
    if sign is None and not (lacks_path and error.server_message):
        needs_hint = isinstance(error, ProtocolError) and not error.hint and not error.partial
        if not needs_hint:
            return None
        if "web page" in error.message:
            return _WEB_SERVER_HINT
        return f"check that this is the address of {kind}: another server may listen there"
    hint = path_hint(endpoint, api_path)
    if hint is not None or sign is None or sign[1] == kind:
        return hint
    if api_path and sign[2] == _DIALECT:  # the right kind of provider, perhaps with a wrong path
        right = endpoint.at(api_path)
        return None if endpoint.url == right else f"write the address as {right}"
    return f"the server seems to be {sign[1]}: use {sign[2]}"


def from_words(words: Words, rules: Sequence[Rule], status: Optional[int] = None) -> ProviderError:
    """Return the error, chosen by a server's error text and by the HTTP status if it is known.

    Args:
        words: The server's error.
        rules: The rules of the dialect. The first rule that matches decides.
        status: The HTTP status; None for an error in a stream or in a response with status 200.
    """
    said = words.text[:_MAX_REASON]
    kind = words.kind[:_MAX_REASON]
    searched = f"{kind}: {said}" if kind else said
    found = next((rule for rule in rules if re.search(rule.pattern, searched, re.IGNORECASE)), None)
    # In a stream, or with status 200, a code inside the error is used instead of the HTTP status.
    status_class = _class_for_status(_status_in(kind) if status is None else status)
    is_general = found is not None and not found.is_certain
    if is_general and found and found.error is RequestRejectedError and status_class in _PRECISE:
        found = None  # the status is more precise than a type such as "invalid_request_error"
    cls = found.error if found else status_class
    message = f"the server says: {said[:500]}" if said else "the server gave no reason"
    if status is not None and not said:
        message = f"the server answered with status {status} and gave no reason"
    facts: Mapping[str, Any] = found.facts if found else {}
    error = cls(
        message,
        hint=found.hint if found else STATUS_HINTS.get(status or 0),
        status=status,
        server_message=said or None,
        **facts,
    )
    if isinstance(error, ContextOverflowError):
        _add_token_counts(error, words._replace(text=said))
    if isinstance(error, CapabilityError):
        error.evidence = error.server_message
    return error


_RETRY_MORE_OFTEN = "try again later, or retry more often: pass retry=RetryPolicy(attempts=10)"
#: The hints of errors that no rule matches, by the status.
STATUS_HINTS: Mapping[int, str] = {
    **dict.fromkeys((429, 503, 529), _RETRY_MORE_OFTEN),
    401: "pass api_key=...",
    402: NO_CREDIT,
    403: "if there is a reverse proxy, let it send the Host header that the server expects",
    404: "check that this is the right kind of server, and that its version is new enough",
}


def _status_in(kind: str) -> Optional[int]:
    """Return the first HTTP status in the type and codes of an error, or None."""
    return next(filter(None, map(_code, kind.split())), None)


def _class_for_status(status: Optional[int]) -> Type[ProviderError]:
    if status is None:
        return ServerError
    if status in _STATUSES:
        return _STATUSES[status]
    return RequestRejectedError if 400 <= status < 500 else ServerError


def _add_token_counts(error: ContextOverflowError, words: Words) -> None:
    prompt, window, total = words.prompt_tokens, words.context_length, None
    if prompt is None:
        found = next(filter(None, (re.search(form, words.text) for form in _TOKEN_COUNTS)), None)
        numbers = {} if found is None else found.groupdict()
        prompt, total = _number(numbers.get("prompt")), _number(numbers.get("total"))
        window = _number(numbers.get("window")) or window
    error.prompt_tokens, error.context_length = prompt, window
    if not (prompt and window):
        return
    said = f"the prompt has {prompt} tokens"
    if total is not None and total != prompt:
        said = f"the request needs {total} tokens, {prompt} of them for the prompt"
    elif prompt <= window:
        said = f"the prompt has {prompt} tokens and the answer needs more than the rest"
    error.message = f"{said}, but the context window has {window}"
    error.args = (error.message,)


def _number(digits: Optional[str]) -> Optional[int]:
    return None if digits is None else int(digits.replace(",", ""))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
