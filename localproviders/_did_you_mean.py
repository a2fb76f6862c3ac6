"""Suggestions for misspelt names in error messages."""

from __future__ import annotations

from itertools import islice
from typing import Any, Iterable, List, Mapping, Optional, Tuple

#: For each keyword of this package, the names of the same argument in other clients and servers.
_OTHER_NAMES: Mapping[str, str] = {
    "host": "base_url url api_base endpoint address server",
    "base_url": "host url api_base endpoint address server",
    "api_key": "key token api_token",
    "timeout": "total total_s timeout_s request_timeout read_timeout",
    "ca_bundle": "cafile ca_certs",
    "client_cert": "cert",
    "proxies": "proxy",
    "headers": "default_headers extra_headers http_headers custom_headers",
    "auth": "basic_auth http_auth credentials",
    "retry": "retry_policy",
    "attempts": "max_retries retries num_retries max_attempts total",
    "first_wait_s": "backoff backoff_factor",
    "longest_wait_s": "backoff_max",
    "total_s": "total timeout",
    "connect_s": "connect",
    "idle_s": "read",
    "model": "name model_name model_id",
    "questions": "question instructions",
    "texts": "input inputs text prompt",
    "state": "input text prompt",
    "states": "inputs texts prompts",
    "min_mass": "threshold",
    "dimensions": "dims output_dimensionality",
    "batch_size": "chunk_size",
    "on_progress": "callback progress",
    "listeners": "callback callbacks",
    "context_length": "num_ctx n_ctx context_window context_size max_context_length",
    "keep_alive": "ttl ttl_s",
    "max_tokens": "num_predict n_predict max_new_tokens max_completion_tokens max_output_tokens",
    "repeat_penalty": "repetition_penalty",
    "response_schema": "format response_format json_schema schema response_model",
    "stop": "stop_sequences",
    "thinking": "think reasoning reasoning_effort",
    "tools": "functions",
    "max_rounds": "max_iterations max_turns max_steps max_tool_calls recursion_limit",
}

#: For each method of a provider, the names of the same thing in other clients.
_OTHER_METHODS: Mapping[str, str] = {
    "list_models": "list models",
    "loaded_models": "ps",
    "chat": "generate completions responses invoke",
    "embed": "embeddings",
    "decide": "systemone decisions",
    "model_info": "show",
    "render": "apply_chat_template apply_prompt_template",
    "settings": "base_url host url model api_key timeout",
}

#: For each attribute of a value or an error, the names of the same thing in other clients.
_OTHER_ATTRIBUTES: Mapping[str, str] = {
    "text": "content response choices output_text",
    "finish_reason": "done_reason",
    "usage": "eval_count prompt_eval_count",
    "server_timings": "eval_duration prompt_eval_duration load_duration total_duration",
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "arguments": "function",
    "name": "model id",
    "size_bytes": "size",
    "completed_bytes": "completed",
    "total_bytes": "total",
    "vectors": "data embedding",
    "status": "status_code code",
    "message": "error",
    "value": "text content parsed output_parsed",
    "to_dict": "get keys values items dict json model_dump",
}

#: For each public name of the package, the names of the same thing in other clients.
_OTHER_PUBLIC_NAMES: Mapping[str, str] = {
    "OllamaProvider": "Client AsyncClient Ollama ChatOllama chat generate embed embeddings list ps"
    " pull show",
    "OpenAICompatibleProvider": "OpenAI AsyncOpenAI ChatOpenAI",
    "LMStudioProvider": "LMStudio",
    "ProviderError": "ResponseError RequestError APIError OpenAIError",
    "UnreachableError": "APIConnectionError",
    "LimitError": "APITimeoutError TimeoutError Timeout",
    "AuthenticationError": "PermissionDeniedError",
    "ServerBusyError": "RateLimitError",
    "ModelNotFoundError": "NotFoundError",
    "RequestRejectedError": "BadRequestError UnprocessableEntityError",
}


_RETRY = "pass retry=RetryPolicy(attempts=3), which counts the first attempt, too"
_VERIFY = (
    'leave it out, or pass ca_bundle="ca.pem" with your own certificates: TLS is always verified'
)

#: Advice about keywords that this package does not have. Each row has three fields: the keywords,
#: separated by blanks; the name of a parameter; and the advice. The advice applies to functions
#: that have this parameter.
_ADVICE: Tuple[Tuple[str, str, str], ...] = (
    ("stream", "messages", "leave it out: chat() returns the whole answer, stream() the chunks"),
    (
        "stream",
        "request",
        "leave it out: complete() returns the whole answer, stream_completion() the chunks",
    ),
    (
        "stream",
        "on_progress",
        "leave it out, and pass on_progress=function to get the progress reports",
    ),
    (
        "options",
        "temperature",
        "pass each option as a keyword, such as temperature=0, context_length=8192 (num_ctx) or "
        "max_tokens=100 (num_predict)",
    ),
    (
        "images image",
        "messages",
        'pass Message.user("What is this?", images=[Path("cat.png")]) as the message; images may '
        "be bytes, too, such as base64.b64decode(text), open files, and images of PIL",
    ),
    (
        "format response_format response_schema json_schema schema response_model output_type",
        "response_type",
        "pass the type or the JSON Schema after the messages, as in parse(text, City)",
    ),
    (
        "format response_format json_schema schema response_model",
        "response_schema",
        'pass response_schema={"type": "object"} for any JSON object, the dictionary of another '
        "JSON Schema, or call parse() with a type",
    ),
    (
        "parallel_tool_calls",
        "parallel",
        "leave it out: parallel=1 runs the calls of an answer one after another, parallel=4 "
        "four at once",
    ),
    (
        "parallel_tool_calls",
        "extra_body",
        "pass extra_body={'parallel_tool_calls': False} if the server has this field",
    ),
    (
        "n user logit_bias metadata service_tier mirostat mirostat_eta mirostat_tau typical_p "
        "repeat_last_n num_gpu num_thread num_batch",
        "extra_body",
        "pass it in extra_body, under the server's name, if the server has this field",
    ),
    ("verify", "ca_bundle", _VERIFY),
    ("max_retries retries num_retries max_attempts", "retry", _RETRY),
    (
        "host base_url url",
        "strategy",
        "pass it to a provider in the list, as in [OllamaProvider(host)]",
    ),
    (
        "headers auth",
        "strategy",
        "pass it to a provider in the list, as in [OllamaProvider(headers=headers)]",
    ),
    ("num_ctx n_ctx", "listeners", "pass context_length=8192 to each call"),
    ("num_predict", "listeners", "pass max_tokens=100 to each call"),
    ("think", "listeners", "pass thinking=True to each call"),
    ("stream", "listeners", "call stream() to get chunks, and chat() to get a whole answer"),
    (
        "images image",
        "listeners",
        'pass Message.user("What is this?", images=[Path("cat.png")]) to each call',
    ),
    (
        "format response_format response_schema",
        "listeners",
        'pass response_schema={"type": "object"} or another JSON Schema to each call, '
        "or call parse()",
    ),
    (
        "temperature max_tokens context_length keep_alive thinking seed tools options",
        "listeners",
        "pass it to each call, as in chat(text, temperature=0)",
    ),
    (
        "temperature max_tokens model messages prompt system tools response_schema options num_ctx "
        "num_predict format response_format images think thinking keep_alive context_length",
        "request",
        "set it in the CompletionRequest, or call chat()",
    ),
    ("options", "context_length", "pass each option as a keyword, such as context_length=4096"),
    ("num_ctx", "texts", "leave it out, and call load(model, context_length=8192) before"),
    ("options", "texts", "leave it out: embed() has dimensions, truncate and keep_alive"),
    ("format stream images image temperature max_tokens seed tools", "texts", "leave it out"),
    *(
        row
        for parameter in ("messages", "request", "texts", "cancel")
        for row in (
            (
                "base_url host url api_base",
                parameter,
                "pass it to the provider: OllamaProvider(host)",
            ),
            (
                "max_retries retries num_retries retry",
                parameter,
                "pass it to the provider: OllamaProvider(retry=RetryPolicy(attempts=3))",
            ),
            (
                "verify ca_bundle proxies proxy api_key listeners headers",
                parameter,
                "pass it to the provider, such as OllamaProvider(headers=headers)",
            ),
        )
    ),
    (
        "max_retries retries num_retries retry verify ca_bundle proxies proxy api_key headers",
        "providers",
        "pass it to a provider in the list, as in [OllamaProvider(headers=headers)]",
    ),
    ("base_url host url", "start_timeout_s", "leave it out: LocalEngine starts its own server"),
)

#: Keywords of `chat`, here and in other clients, that have no influence on the prompt. Functions
#: without an answer, such as `count_tokens` and `render`, do not have them.
_FOR_AN_ANSWER = [
    "num_ctx",
    "n_ctx",
    "context_length",
    "num_predict",
    "max_tokens",
    "max_completion_tokens",
    "options",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "format",
    "response_format",
    "response_schema",
    "keep_alive",
    "tool_choice",
    "repeat_penalty",
    "logprobs",
    "overflow",
    "strict",
]


def did_you_mean(word: str, known: List[str]) -> str:
    """Return a suggestion such as "; did you mean 'x'?", or an empty string.

    Args:
        word: The unknown word.
        known: The known words. The suggestion is the most similar one.
    """
    near = most_similar(word, known)
    return f"; did you mean {near!r}?" if near else ""


# Limits for the comparison of words, because a server may list any number of names of any length.
_MOST_WORDS, _LONGEST_WORD = 1_000, 200


def most_similar(word: str, known: Iterable[str]) -> Optional[str]:
    """Return the most similar of the known words, ignoring case; None if none is similar."""
    import difflib  # needed only for errors, and slow to import

    compared = [each for each in islice(known, _MOST_WORDS) if len(each) <= _LONGEST_WORD]
    # `str`, because callers also pass wrong values that are not strings.
    given = str(word)[:_LONGEST_WORD]
    # Of several words that differ only in case, the one with the given case is the most similar.
    by_lower = {each.lower(): each for each in sorted(compared, key=given.__eq__)}
    near = difflib.get_close_matches(given.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def suggest_keyword(keyword: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown keyword, or an empty string.

    The suggestion is the first of these that exists: the advice about this keyword, the known
    name for a keyword of another client, or the most similar known name.

    Args:
        keyword: The keyword that the caller passed.
        known: The names of the parameters of the function that was called.
    """
    names = sorted(known)
    for keywords, parameter, advice in _ADVICE:
        if parameter in names and keyword in keywords.split():
            return f"; {advice}"
    for own, others in _OTHER_NAMES.items():
        if own in names and keyword in others.split():
            return f"; did you mean {own!r}?"
    if keyword in _FOR_AN_ANSWER and "messages" in names and "temperature" not in names:
        return "; leave it out: it does not change the prompt"
    return did_you_mean(keyword, names)


def name_other_method(provider: object, name: str) -> Any:
    """Raise the error for a missing attribute of a provider.

    If other clients use the name for a method, the error names the method to call instead.

    This is the `__getattr__` of the providers. Python calls it only for a name that does not
    exist, or after an `AttributeError` within a property.
    """
    return _name_other(provider, name, _OTHER_METHODS)


def name_other_attribute(value: object, name: str) -> Any:
    """Raise the error for a missing attribute of a value.

    If other clients use the name for an attribute, the error names the attribute to read instead.

    This is the `__getattr__` of the values and errors, as `name_other_method` is of providers.
    """
    return _name_other(value, name, _OTHER_ATTRIBUTES)


def _name_other(value: object, name: str, others: Mapping[str, str]) -> Any:
    # The attributes of `value` are read only if the name is a known one: `hasattr` of any other
    # name must stay fast.
    found = (own for own, words in others.items() if name in words.split() and hasattr(value, own))
    for own in found:
        kind = type(value).__name__
        raise AttributeError(f"{kind!r} object has no attribute {name!r}; did you mean {own!r}?")
    return object.__getattribute__(value, name)  # raises Python's own error


def other_public_name(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for a class of another client or a misspelt class.

    For a name in lower case, no similar name is searched for. It may be a module of the package:
    before Python imports such a module, it asks the package for the name. The answer must be fast.
    """
    names = list(known)
    for own, words in _OTHER_PUBLIC_NAMES.items():
        if own in names and name in words.split():
            return f"; did you mean {own!r}?"
    return did_you_mean(name, names) if name[:1].isupper() else ""
