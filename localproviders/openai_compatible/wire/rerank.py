"""The JSON of rerank requests and responses (docs/reference/rerank.md).

OpenAI has no such endpoint. llama.cpp, vLLM and most services use the form of Cohere and Jina, an
object with `results`. text-embeddings-inference (TEI) uses another form, a list.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, Dict, Mapping, NamedTuple, NoReturn, Sequence, Tuple

from localproviders._dialect.common import check_extra_body, checked, unexpected
from localproviders._dialect.error_answers import from_words, read_words
from localproviders._dialect.error_rules import Rule, rule
from localproviders._dialect.values import count, index_of, mapping, nonempty_text, number
from localproviders._http.framing import Look, Tally, no_look
from localproviders._http.transport import Payload
from localproviders._rerank_verb import OTHER_MODEL_HINT, RerankRequest, no_rerank
from localproviders.errors import (
    CapabilityError,
    ContextOverflowError,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    UnsupportedError,
)
from localproviders.types.rankings import RankedDocument
from localproviders.types.responses import Usage

#: Names of the field with the documents: on most servers, and on TEI.
DOCUMENTS, TEXTS = "documents", "texts"

# Names of the field with a score: in Cohere's form, and in TEI's form.
_SCORES = ("relevance_score", "score")

# LM Studio sends this with status 200 for a path that it does not know.
_NO_ROUTE: Tuple[Rule, ...] = (rule(r"Unexpected endpoint or method", UnsupportedError),)

# Status codes of servers that cannot rank, because of their model or of their start options: 501
# (llama.cpp) and 424 (TEI).
_WRONG_MODEL_STATUSES = (501, 424)
# SGLang's error names this option if the server was started for the generation of text.
_WRONG_START = r"--is-embedding"

_HINT = "check that the model is a reranking model"
_KINDS: Mapping[type, str] = {str: "a text", list: "a list", dict: "an object"}

_MISSING_STATUSES = (404, 405)
_INVALID_STATUSES = (400, 422)


class Scores(NamedTuple):
    """The content of a rerank response.

    Attributes:
        results: The documents with their scores, the best first.
        model: The model that the server names, or an empty text.
        usage: Numbers of tokens.
    """

    results: Tuple[RankedDocument, ...]
    model: str
    usage: Usage


def rerank_payload(request: RerankRequest, model: str, field: str) -> Payload:
    """Return the JSON of a rerank request.

    Args:
        request: The request.
        model: Name of the model.
        field: Name of the field with the documents. The name ``texts`` means TEI, which has no
            field for `top_n`.
    """
    check_extra_body(request.extra_body)
    payload = {
        "model": model,
        "query": request.query,
        field: list(request.documents),
        "top_n": request.top_n if field == DOCUMENTS else None,
        **request.extra_body,
    }
    return Payload({name: value for name, value in payload.items() if value is not None})


def parse_scores(
    data: Any, request: RerankRequest, rules: Sequence[Rule], look: Look = no_look
) -> Scores:
    """Read a rerank response. The server's copies of the documents are not read.

    The results are sorted, because some servers keep the order of the request. They are cut
    to `top_n`, because some servers do not know this field.

    Args:
        data: JSON of the response.
        request: The request.
        rules: Rules that translate the server's error texts.
        look: Function that checks the limits of the call.

    Raises:
        ProtocolError: The response has no list of scores, or the wrong number of them; an index is
            wrong or occurs twice; or a score is not a finite number.
        ProviderError: The response is an error; or a limit of the call expired, or the call was
            cancelled.
    """
    body = _checked(data, (*_NO_ROUTE, *rules))
    items = body.get("results")
    if not isinstance(items, list):
        unexpected("'results' list")
    _check_number(len(items), request)
    scores = _scores_by_index(items, len(request.documents), look)
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[: request.top_n]
    results = [
        RankedDocument(index=index, score=score, document=request.documents[index])
        for index, score in best
    ]
    return Scores(tuple(results), nonempty_text(body.get("model")) or "", _usage(body))


def _checked(data: Any, rules: Sequence[Rule]) -> Mapping[str, Any]:
    """Return the object of a response; a list becomes the `results` of a new object.

    Raises:
        ProviderError: The response is an error, or neither an object nor a list.
    """
    if not isinstance(data, list):
        return checked(data, rules)
    words = read_words(data)
    if words is not None:
        raise from_words(words, rules)
    return {"results": data}


def _check_number(found: int, request: RerankRequest) -> None:
    """Check the number of scores. With `top_n`, the server may send `top_n` scores, or all of them.

    Raises:
        ProtocolError: There are too many or too few scores.
    """
    most = len(request.documents)
    least = most if request.top_n is None else min(request.top_n, most)
    if not least <= found <= most:
        cut = "" if request.top_n is None else f" and top_n={request.top_n}"
        _refuse(f"{found} scores for {_number(most)}{cut}")


def _number(documents: int) -> str:
    return "1 document" if documents == 1 else f"{documents} documents"


def _scores_by_index(items: Sequence[Any], documents: int, look: Look) -> Mapping[int, float]:
    tally = Tally("scores", documents, look)
    scores: Dict[int, float] = {}
    for item in map(mapping, items):
        tally.add()
        index = index_of(item.get("index"))
        if index is None or not 0 <= index < documents:
            _refuse(f"a result with the index {_shown(item.get('index'))} for {_number(documents)}")
        if index in scores:
            _refuse(f"two scores for document {index}")
        scores[index] = _score(item, index)
    return scores


def _score(item: Mapping[str, Any], index: int) -> float:
    name = next((name for name in _SCORES if name in item), None)
    if name is None:
        _refuse(f"a result without a score for document {index}")
    score = number(item[name])
    if score is None or not isfinite(score):
        _refuse(f"{_shown(item[name])} as the score of document {index}")
    return score


def _refuse(what: str) -> NoReturn:
    raise ProtocolError(f"the server returned {what}", hint=_HINT)


def _shown(value: Any) -> str:
    """Return a number, a boolean or null as text; for any other value, only its type.

    A text, a list or an object may quote a document.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, (int, float)) else _KINDS[type(value)]


def _usage(body: Mapping[str, Any]) -> Usage:
    """Read the token count. All tokens of a rerank request belong to its prompt."""
    used, billed = mapping(body.get("usage")), mapping(mapping(body.get("meta")).get("tokens"))
    counts = (used.get("prompt_tokens"), used.get("total_tokens"), billed.get("input_tokens"))
    return Usage(
        prompt_tokens=next((found for found in map(count, counts) if found is not None), None)
    )


# --- refusals ---------------------------------------------------------------------------------


def is_missing(error: ProviderError) -> bool:
    """Return whether an error means that the server has no such path."""
    # An error about a missing model also has status 404, but another error class.
    return error.status in _MISSING_STATUSES and type(error) in (
        RequestRejectedError,
        UnsupportedError,
    )


def needs_other_field(error: ProviderError, field: str) -> bool:
    """Return whether the server refuses a request because the documents need the other field."""
    other = TEXTS if field == DOCUMENTS else DOCUMENTS
    is_invalid = error.status in _INVALID_STATUSES and type(error) is RequestRejectedError
    said = error.server_message or ""
    return is_invalid and bool(
        re.search(rf"\b(missing|required|provide)\b.*\b{other}\b", said)
        or re.search(rf"\b{other}\b.*\b(missing|required|provided)\b", said)
    )


def refusal_of(error: ProviderError, paths: Sequence[str]) -> ProviderError:
    """Return the error that the call raises for an error of the server.

    If the server lacks the route, the call raises `UnsupportedError`. If the model cannot rank, or
    the server was started for another purpose, the call raises `CapabilityError`. The hints of both
    errors say how to rank documents with `embed` instead.

    Args:
        error: The error of the last request.
        paths: The paths that were tried.
    """
    if isinstance(error, ContextOverflowError):
        error.hint = (
            "shorten the query or the longest document, or start the server with a larger "
            "physical batch, such as llama-server with --ubatch-size"
        )
    elif _is_web_page(error):
        return error  # the address is that of a web server, or a proxy has answered
    elif is_missing(error) or _is_unknown_path(error):
        return no_rerank(f"the server has no {' and no '.join(paths)}", status=error.status)
    elif _is_wrong_model(error):
        return CapabilityError(
            error.message,
            hint=OTHER_MODEL_HINT,
            status=error.status,
            server_message=error.server_message,
            evidence=error.server_message,
        )
    return error


def _is_unknown_path(error: ProviderError) -> bool:
    # LM Studio answers with status 200, so the error has no status. An error that this package
    # raises before it sends anything has no text of the server.
    return (
        isinstance(error, UnsupportedError) and error.status is None and bool(error.server_message)
    )


def _is_web_page(error: ProviderError) -> bool:
    return not error.server_message and "web page" in error.message


def _is_wrong_model(error: ProviderError) -> bool:
    if type(error) is CapabilityError or error.status in _WRONG_MODEL_STATUSES:
        return True
    is_wrong_start = re.search(_WRONG_START, error.server_message or "")
    return type(error) is RequestRejectedError and is_wrong_start is not None
