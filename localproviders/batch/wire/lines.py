"""The lines of an output: JSON in the form of OpenAI's batches, or in a compact form.

Each function that writes a line has a function beside it that reads it.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Tuple

from localproviders._record import plain
from localproviders.batch.jobs import CHAT, COMPLETION, DECISION, EMBEDDING, RERANK
from localproviders.errors import ProviderError
from localproviders.types.decisions import Decisions, load_error
from localproviders.types.rankings import Ranking
from localproviders.types.responses import (
    CompletionResponse,
    EmbeddingResponse,
    ServerTimings,
    Timings,
    Usage,
)

_Object = Dict[str, Any]

# The name of the object with the facts that OpenAI's form does not have.
_OWN = "localproviders"


class Result(Protocol):
    """The members of a `BatchRecord` that this module uses."""

    @property
    def id(self) -> str:
        """The id of the row."""
        ...

    @property
    def row(self) -> int:
        """The number of the row."""
        ...

    @property
    def error(self) -> Optional[ProviderError]:
        """The error of the row."""
        ...

    @property
    def kind(self) -> Optional[str]:
        """The kind of the row."""
        ...

    @property
    def value(self) -> Any:
        """The answer."""
        ...


class ReadLine(NamedTuple):
    """The content of a line.

    Attributes:
        id: The id of the row.
        row: The number of the row; -1 if the line does not have it.
        error: The error; None if the row succeeded.
        kind: The kind of the row; None if the line does not have it.
        value: The answer; None if the row failed.
    """

    id: str
    row: int
    error: Optional[ProviderError]
    kind: Optional[str]
    value: Any


# `json.dumps` would make a new encoder for each call with these options.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def write_line(value: Any) -> bytes:
    """Return a value as a line of JSON."""
    text = _encode(value)
    # A lone half of a surrogate pair has no form in UTF-8, but can be written as an escape of JSON.
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


# --- the form of OpenAI's batches -------------------------------------------------------------


def line_of(result: Result) -> _Object:
    """Return a result as a JSON object in the form of OpenAI's batches."""
    own: _Object = {"row": result.row}
    if result.kind is not None:
        own["kind"] = result.kind
    found: _Object = {"id": f"batch_req_{result.row}", "custom_id": result.id}
    if result.error is not None:
        return {**found, "response": None, "error": error_object(result.error), _OWN: own}
    body, more = _FORMS[str(result.kind)].write(result.value)
    response = {
        "status_code": 200,
        "request_id": result.value.request_id or f"row-{result.row}",
        "body": body,
    }
    return {**found, "response": response, "error": None, _OWN: {**own, **more}}


def error_object(error: ProviderError) -> _Object:
    """Return an error as a JSON object.

    ``code`` is the name of its class, and ``partial`` the text that the model had written.
    """
    facts = error.to_dict()
    return {"code": facts.pop("error"), "message": facts.pop("message"), **plain(facts)}


def read_line(data: Any) -> ReadLine:
    """Return the content of a line of either form.

    Raises:
        ValueError: It is not a line of this package.
    """
    if not isinstance(data, dict):
        raise ValueError("it is not an object")
    if "custom_id" not in data:
        return _read_compact(data)
    own = data.get(_OWN, {})
    name, row, kind = data["custom_id"], own.get("row", -1), own.get("kind")
    if data.get("error") is not None:
        return ReadLine(name, row, _read_error(data["error"]), kind, None)
    if kind not in _FORMS:
        raise ValueError("it has no kind")
    body = data["response"]["body"]
    more = {key: value for key, value in own.items() if key not in ("row", "kind")}
    return ReadLine(name, row, None, kind, _FORMS[kind].read(body, more))


def _read_error(data: Mapping[str, Any]) -> ProviderError:
    facts = {key: value for key, value in data.items() if key != "code"}
    return load_error({"error": data["code"], **facts})


# --- the form of the answers of each kind of row ----------------------------------------------


class _Form(NamedTuple):
    """The functions for the answers of one kind of row."""

    write: Callable[[Any], Tuple[_Object, _Object]]
    read: Callable[[_Object, _Object], Any]
    write_compact: Callable[[Any], _Object]


# Numbers of tokens that OpenAI's form has in nested objects: our name, the object, and the key.
_DETAILS = (
    ("thinking_tokens", "completion_tokens_details", "reasoning_tokens"),
    ("cached_tokens", "prompt_tokens_details", "cached_tokens"),
)
_COUNTS = ("prompt_tokens", "completion_tokens")


def _usage_object(usage: Usage) -> _Object:
    counts = vars(usage)
    found: _Object = {name: counts[name] for name in _COUNTS if counts[name] is not None}
    if usage.total_tokens is not None:
        found["total_tokens"] = usage.total_tokens
    for name, place, key in _DETAILS:
        if counts[name] is not None:
            found[place] = {key: counts[name]}
    return found


def _read_usage(body: _Object) -> _Object:
    usage = body.get("usage") or {}
    found = {name: usage[name] for name in _COUNTS if name in usage}
    for name, place, key in _DETAILS:
        if place in usage:
            found[name] = usage[place][key]
    return found


def _named(body: _Object) -> _Object:
    """Return the fields of a response that all kinds of bodies have."""
    return {"model": body.get("model", ""), "provider": "", "usage": _read_usage(body)}


# Fields of responses that no body has.
_MORE = frozenset(
    (
        *("provider", "endpoint", "digest", "request_id", "timings", "server_timings"),
        *("warnings", "attempts", "tried", "logprobs", "response_id", "thinking_inferred"),
        "truncation",
    )
)


def _more_of(value: Any) -> _Object:
    """Return the fields of a response that its body does not have.

    This is written for speed, because it runs for each row: `to_dict` takes three times as long.
    """
    found: _Object = {}
    for name, each in vars(value).items():
        if not each or name not in _MORE or (name == "attempts" and each == 1):
            continue
        kind = type(each)
        if kind is Timings or kind is ServerTimings:
            each = {key: number for key, number in vars(each).items() if number is not None}
            if not each:
                continue
        found[name] = each if kind in _AS_THEY_ARE else plain(each)
    return found


_AS_THEY_ARE = (str, int, bool, Timings, ServerTimings)


def _write_chat(value: CompletionResponse) -> Tuple[_Object, _Object]:
    message: _Object = {"role": "assistant", "content": value.text}
    if value.thinking:
        message["reasoning_content"] = value.thinking
    if value.tool_calls:
        message["tool_calls"] = [_write_call(call) for call in value.tool_calls]
    choice = {"index": 0, "message": message, "finish_reason": value.finish_reason}
    more = _more_of(value)
    body = {"object": "chat.completion", "model": value.model, "choices": [choice]}
    return {**body, "usage": _usage_object(value.usage)}, more


def _write_call(call: Any) -> _Object:
    arguments = json.dumps(plain(call.arguments), ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _read_chat(body: _Object, more: _Object) -> CompletionResponse:
    choice = body["choices"][0]
    message = choice.get("message") or {"content": choice.get("text", "")}
    calls = [
        {
            "id": call["id"],
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
        for call in message.get("tool_calls", ())
    ]
    return CompletionResponse.from_dict(
        {
            "text": message["content"],
            "thinking": message.get("reasoning_content", ""),
            "tool_calls": calls,
            "finish_reason": choice.get("finish_reason"),
            **_named(body),
            **more,
        }
    )


def _write_completion(value: CompletionResponse) -> Tuple[_Object, _Object]:
    body, more = _write_chat(value)
    choice = {"index": 0, "text": value.text, "finish_reason": value.finish_reason}
    return {**body, "object": "text_completion", "choices": [choice]}, more


def _numbers(vector: Any) -> List[float]:
    """Return 32-bit floats rounded to nine digits, which is all of their precision."""
    return [float(f"{number:.9g}") for number in vector]


def _write_vectors(value: EmbeddingResponse) -> Tuple[_Object, _Object]:
    data = [
        {"object": "embedding", "index": index, "embedding": _numbers(vector)}
        for index, vector in enumerate(value.vectors)
    ]
    more = _more_of(value)
    body = {"object": "list", "model": value.model, "data": data}
    return {**body, "usage": _usage_object(value.usage)}, more


def _read_vectors(body: _Object, more: _Object) -> EmbeddingResponse:
    vectors = [item["embedding"] for item in body["data"]]
    return EmbeddingResponse.from_dict({"vectors": vectors, **_named(body), **more})


def _write_decisions(value: Decisions) -> Tuple[_Object, _Object]:
    body = value.to_dict()
    return {"object": "decisions", **body}, {}


def _read_decisions(body: _Object, more: _Object) -> Decisions:
    return Decisions.from_dict({key: body[key] for key in body if key != "object"})


def _write_ranking(value: Ranking) -> Tuple[_Object, _Object]:
    results = [
        {
            "index": each.index,
            "relevance_score": each.score,
            "document": {"text": each.document},
        }
        for each in value.results
    ]
    more = _more_of(value)
    body = {"object": "rerank", "model": value.model, "results": results}
    return {**body, "usage": _usage_object(value.usage)}, more


def _read_ranking(body: _Object, more: _Object) -> Ranking:
    results = [
        {
            "index": item["index"],
            "score": item["relevance_score"],
            "document": item["document"]["text"],
        }
        for item in body["results"]
    ]
    return Ranking.from_dict({"results": results, **_named(body), **more})


# --- the compact form -------------------------------------------------------------------------


def compact_line_of(result: Result) -> _Object:
    """Return the compact JSON of a result: the id, and the answer or the error."""
    found: _Object = {"id": result.id}
    if result.error is None:
        found.update(_FORMS[str(result.kind)].write_compact(result.value))
        return found
    short = error_object(result.error)
    kept = ("code", "message", "retryable", "partial")
    return {**found, "error": {name: short[name] for name in kept if name in short}}


def _compact_text(value: CompletionResponse) -> _Object:
    found: _Object = {"text": value.text}
    if value.tool_calls:
        found["tool_calls"] = [call.to_dict() for call in value.tool_calls]
    if value.finish_reason not in ("stop", None):
        found["finish_reason"] = value.finish_reason
    return found


def _compact_vector(value: EmbeddingResponse) -> _Object:
    vectors = [_numbers(vector) for vector in value.vectors]
    return {"vector": vectors[0]} if len(vectors) == 1 else {"vectors": vectors}


def _compact_decisions(value: Decisions) -> _Object:
    return {"answers": value.to_dict().get("answers", {})}


def _compact_ranking(value: Ranking) -> _Object:
    return {"ranking": [{"index": each.index, "score": each.score} for each in value.results]}


def _read_compact(data: _Object) -> ReadLine:
    if "id" not in data:
        raise ValueError("it has no id")
    if "error" in data:
        return ReadLine(data["id"], -1, _read_error(data["error"]), None, None)
    named: _Object = {"model": "", "provider": ""}
    if "text" in data:
        fields = {key: data[key] for key in data if key != "id"}
        return ReadLine(
            data["id"], -1, None, CHAT, CompletionResponse.from_dict({**named, **fields})
        )
    if "answers" in data:
        decisions = Decisions.from_dict({**named, "answers": data["answers"]})
        return ReadLine(data["id"], -1, None, DECISION, decisions)
    if "vector" in data or "vectors" in data:
        vectors = data["vectors"] if "vectors" in data else [data["vector"]]
        vector = EmbeddingResponse.from_dict({**named, "vectors": vectors})
        return ReadLine(data["id"], -1, None, EMBEDDING, vector)
    if "ranking" in data:
        results = [{**item, "document": ""} for item in data["ranking"]]
        ranking = Ranking.from_dict({**named, "results": results})
        return ReadLine(data["id"], -1, None, RERANK, ranking)
    raise ValueError("it has neither an answer nor an error")


_FORMS: Mapping[str, _Form] = {
    CHAT: _Form(_write_chat, _read_chat, _compact_text),
    COMPLETION: _Form(_write_completion, _read_chat, _compact_text),
    EMBEDDING: _Form(_write_vectors, _read_vectors, _compact_vector),
    DECISION: _Form(_write_decisions, _read_decisions, _compact_decisions),
    RERANK: _Form(_write_ranking, _read_ranking, _compact_ranking),
}
