"""Request bodies of OpenAI's API, as in its batch files and in files for ``vllm run-batch``.

A table for each route says how the fields of a body become fields of this package's requests. So a
row with such a body gets the same checks as a single call. A field that is not in the table is an
error.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple, Union

from localproviders._did_you_mean import did_you_mean
from localproviders.batch.jobs import CHAT, COMPLETION, DECISION, EMBEDDING, RERANK

#: Converts the value of a field to fields of a request.
Convert = Callable[[Any], Dict[str, Any]]
#: The name of the field in this package, or a function that converts its value.
Target = Union[str, Convert]


class Route(NamedTuple):
    """A route of the API.

    Attributes:
        kind: The kind of its rows.
        fields: For each field of the body, its name in this package, or a function that converts
            its value.
        ignored: Fields of the body that do not affect the answer.
        only: The values that some fields may have. These fields are then ignored.
    """

    kind: str
    fields: Mapping[str, Target]
    ignored: Tuple[str, ...]
    only: Mapping[str, Tuple[Any, ...]]


def read_body(url: Any, body: Any) -> Tuple[str, Dict[str, Any]]:
    """Return the kind of a row, and the fields of its request.

    Args:
        url: The field ``url`` of the line, such as ``/v1/chat/completions``.
        body: The field ``body``.

    Raises:
        ValueError: The route or a field is unknown, or a value is impossible.
    """
    route = _route_of(url)
    if not isinstance(body, Mapping):
        raise ValueError(f"body is {type(body).__name__}, and must be an object")
    found: Dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in route.ignored:
            continue
        if name in route.only:
            _check_only(name, value, route.only[name])
            continue
        target = route.fields.get(name)
        if target is None:
            known = [*route.fields, *route.only]
            raise ValueError(
                f"{name!r} is not a known field of {url}{did_you_mean(str(name), known)}"
            )
        found.update({target: value} if isinstance(target, str) else target(value))
    return route.kind, found


def _route_of(url: Any) -> Route:
    path = str(url).rstrip("/")
    for end, route in ROUTES.items():
        if path.endswith(end):
            return route
    raise ValueError(f"url is {url!r}; the known routes end in {', '.join(ROUTES)}")


def _check_only(name: str, value: Any, allowed: Tuple[Any, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, and can only be {allowed[0]!r}")


# --- fields that need more than a new name ----------------------------------------------------


def _response_format(value: Any) -> Dict[str, Any]:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_schema": {"type": "object"}}
    schema = value.get("json_schema") if isinstance(value, Mapping) else None
    if kind != "json_schema" or not isinstance(schema, Mapping) or "schema" not in schema:
        raise ValueError(
            "response_format must have the type text, json_object, or json_schema with a schema"
        )
    return {"response_schema": schema["schema"]}


def _template_arguments(value: Any) -> Dict[str, Any]:
    return {"extra_body": {"chat_template_kwargs": value}}


def _completion_logprobs(value: Any) -> Dict[str, Any]:
    # On this route, the value is the number of alternatives to each token.
    return {} if value is False else {"logprobs": True, "top_logprobs": int(value)}


def _one_prompt(value: Any) -> Dict[str, Any]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise ValueError("prompt must be one text: write a row for each prompt")
    return {"prompt": value}


def _texts(value: Any) -> Dict[str, Any]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("input must be a text or a list of texts; tokens are not supported")
    return {"texts": texts}


def _documents(value: Any) -> Dict[str, Any]:
    """Return the texts of documents, which may be texts or objects with a text."""
    items: List[Any] = [value] if isinstance(value, str) else list(value)
    texts = [item.get("text") if isinstance(item, Mapping) else item for item in items]
    return {"documents": texts}


def _one_query(value: Any) -> Dict[str, Any]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise ValueError("the query of /score must be one text: write a row for each query")
    return {"query": value}


# This package's kinds of questions, by their names on the two routes for decisions.
_KINDS = {"noul": "yes_no", "predicate": "yes_no", "choice": "choice", "score": "score"}


def _systemone_questions(value: Any) -> Dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("questions must be an object with a question for each name")
    return {"questions": {name: _question(item, "criteria") for name, item in value.items()}}


def _decisions_questions(value: Any) -> Dict[str, Any]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError("questions must be a list of objects")
    return {"questions": {str(item.get("name")): _question(item, "") for item in value}}


def _question(item: Any, criteria: str) -> Dict[str, Any]:
    """Return a question in the form that `Question.from_dict` reads."""
    if not isinstance(item, Mapping):
        raise ValueError("a question must be an object")
    kind = _KINDS.get(str(item.get("type")))
    if kind is None:
        raise ValueError(f"a question has the type {item.get('type')!r}, which is not known")
    found: Dict[str, Any] = {"kind": kind, "question": item.get("instructions")}
    given = item.get(criteria) if criteria else item
    if kind == "yes_no" and criteria and isinstance(given, Mapping):
        found.update(yes=given.get("true"), no=given.get("false"))
    if kind == "choice":
        found["options"] = given if criteria else _labels(item.get("choices"), "value")
    if kind == "score":
        levels = given if criteria else [*_labels(item.get("levels"), "label")]
        found["levels"] = levels
    return found


def _labels(items: Any, name: str) -> Dict[str, Any]:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError("choices and levels must be lists of objects")
    return {str(item.get(name)): item.get("description") for item in items}


def _decision_input(value: Any) -> Dict[str, Any]:
    if isinstance(value, (str, Mapping)):
        return {"state": value}
    raise ValueError("input must be a text or an object; a list of messages is not supported")


# --- the tables -------------------------------------------------------------------------------

# Fields that have the same name and meaning in this package.
_SAMPLING = (
    *("model", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop"),
    *("presence_penalty", "frequency_penalty", "repeat_penalty", "grammar"),
)
_TEXT: Mapping[str, Target] = {
    **{name: name for name in _SAMPLING},
    "repetition_penalty": "repeat_penalty",
    "guided_grammar": "grammar",
    "guided_json": "response_schema",
}
# Ignored fields: they serve the bookkeeping of a cloud service, or the transport. The results of a
# batch are never streams.
_BOOKKEEPING = (
    *("stream", "stream_options", "user", "metadata", "store", "service_tier"),
    *("safety_identifier", "prompt_cache_key"),
)
_ONE_ANSWER: Mapping[str, Tuple[Any, ...]] = {"n": (1,), "best_of": (1,), "logit_bias": ({},)}

ROUTES: Mapping[str, Route] = {
    "/chat/completions": Route(
        CHAT,
        {
            **_TEXT,
            "messages": "messages",
            "max_completion_tokens": "max_tokens",
            "tools": "tools",
            "tool_choice": "tool_choice",
            "logprobs": "logprobs",
            "top_logprobs": "top_logprobs",
            "reasoning_effort": "thinking",
            "response_format": _response_format,
            "chat_template_kwargs": _template_arguments,
        },
        _BOOKKEEPING,
        _ONE_ANSWER,
    ),
    "/completions": Route(
        COMPLETION,
        {**_TEXT, "prompt": _one_prompt, "suffix": "suffix", "logprobs": _completion_logprobs},
        _BOOKKEEPING,
        {**_ONE_ANSWER, "echo": (False,)},
    ),
    "/embeddings": Route(
        EMBEDDING,
        {"model": "model", "input": _texts, "dimensions": "dimensions"},
        (*_BOOKKEEPING, "encoding_format"),
        {},
    ),
    "/rerank": Route(
        RERANK,
        {"model": "model", "query": "query", "documents": _documents, "top_n": "top_n"},
        (*_BOOKKEEPING, "return_documents"),
        {},
    ),
    "/score": Route(
        RERANK,
        {
            "model": "model",
            **dict.fromkeys(("text_1", "data_1", "queries"), _one_query),
            **dict.fromkeys(("text_2", "data_2", "items", "documents"), _documents),
        },
        _BOOKKEEPING,
        {},
    ),
    "/systemone": Route(
        DECISION,
        {"model": "model", "state": "state", "questions": _systemone_questions},
        _BOOKKEEPING,
        {},
    ),
    "/decisions": Route(
        DECISION,
        {"model": "model", "input": _decision_input, "questions": _decisions_questions},
        _BOOKKEEPING,
        {},
    ),
}
