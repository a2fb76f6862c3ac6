"""Decision requests to the fake Ollama: System One, with Ollama's checks.

The texts of the refusals are from Ollama's source code of October 2026.
"""

from __future__ import annotations

from typing import Any, Mapping, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.decisions import (
    YES_NO,
    Question,
    entropy_confidence,
    system_one_answers,
    text_of,
    tokens_of,
)
from localproviders.testing.ollama.answers import RefusedError, json_answer
from localproviders.testing.ollama.requests import body_of
from localproviders.testing.ollama.v1 import FakeV1
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal

_REQUEST = {
    "model": "string",
    "questions": "map[string]interface {}",
    "images": "[]api.ImageData",
    "videos": "[]any",
    "keep_alive": "api.Duration",
}
_MOST_QUESTIONS = 64
_FEWEST_OPTIONS, _MOST_OPTIONS = 2, 26
_MOST_BYTES = 64 * 1024
_TEXTS = (str, dict, list)


class FakeDecisions(FakeV1):
    """The part of `FakeOllama` that answers decision requests."""

    def _system_one(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "decision.Request", _REQUEST)
        model = self._decision_model(body)
        if len(exchange.body) > _MOST_BYTES:
            words = "text and schema must not exceed 64 KiB"
            raise RefusedError(words, "413 Request Entity Too Large")
        questions = _questions(body, model)
        state = text_of(body.get("state"))
        self.load_for(model, exchange, body)
        window = self.window_of(model)
        counts = [tokens_of(state, question) for question in questions]
        for at, count in enumerate(counts):
            if count > window:
                limit = f"expected 1\u2013{window} (input is never truncated)"
                raise RefusedError(f"prompt {at} has {count} tokens; {limit}")
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        answer = {
            "model": reply.model or body["model"],
            "answers": system_one_answers(questions, state, reply, entropy_confidence),
            "usage": {"input_tokens": sum(counts), "output_tokens": 0},
        }
        return json_answer(answer, kind="systemone")

    def _decision_model(self, body: Mapping[str, Any]) -> FakeModel:
        name = body.get("model", "")
        if not name.strip():
            raise RefusedError("model is required")
        model = self._find(name, f'model "{name}" not found, try pulling it first')
        if not model.can("decision"):
            raise RefusedError(f'"{name}" does not support decision')
        return model


def _questions(body: Mapping[str, Any], model: FakeModel) -> Tuple[Question, ...]:
    """Return the questions of a request.

    Raises:
        RefusedError: The state, an image or a question is missing or malformed.
    """
    # Models with "clef" in their names also accept a state of any JSON type, and questions without
    # instructions.
    is_clef = "clef" in model.name
    questions = body.get("questions", {})
    if not 1 <= len(questions) <= _MOST_QUESTIONS:
        raise RefusedError(f"questions must contain 1\u2013{_MOST_QUESTIONS} fields")
    if body.get("videos"):
        raise RefusedError("video inputs are not supported")
    if body.get("images") and not model.can("vision"):
        raise RefusedError("this decision model does not support images")
    state = body.get("state")
    if not isinstance(state, _TEXTS) and not is_clef:
        raise RefusedError("state: must be a string, object, or array")
    if not text_of(state).strip():
        raise RefusedError("state must not be empty")
    return tuple(_question(id_, given, is_clef) for id_, given in questions.items())


def _question(id_: str, given: Any, is_clef: bool) -> Question:
    def require(fits: bool, words: str) -> None:
        if not fits:
            raise RefusedError(f'question "{id_}": {words}')

    fields = given if isinstance(given, dict) else {}
    require(bool(id_.strip()), "field name must not be empty")
    text = fields.get("instructions")
    if is_clef and text is None:
        text = id_
    fits = isinstance(text, _TEXTS) and bool(text_of(text).strip())
    require(fits, "instructions must be a nonempty string, object, or array")
    kind = str(fields.get("type"))
    require(kind in _OPTIONS, "type must be choice, noul, or score")
    options = _OPTIONS[kind](fields, require)
    fits = _FEWEST_OPTIONS <= len(options) <= _MOST_OPTIONS
    limits = f"{_FEWEST_OPTIONS}\u2013{_MOST_OPTIONS}"
    require(fits, f"criteria must contain {limits} candidates")
    return Question(id_, kind, text_of(text), options)


def _choices(fields: Mapping[str, Any], require: Any) -> Tuple[Any, ...]:
    given = fields.get("criteria")
    fits = isinstance(given, dict) and all(isinstance(d, (str, type(None))) for d in given.values())
    require(fits, "choice criteria must map option keys to descriptions or null")
    require(all(key.strip() for key in given or ()), "choice keys must not be empty")
    return tuple(given or ())


def _levels(fields: Mapping[str, Any], require: Any) -> Tuple[Any, ...]:
    given = fields.get("criteria")
    fits = isinstance(given, list) and all(isinstance(d, (str, type(None))) for d in given)
    require(fits, "score criteria must be an array of descriptions")
    require(None not in (given or ()), "score descriptions must be strings")
    return tuple(given or ())


def _yes_no(fields: Mapping[str, Any], require: Any) -> Tuple[Any, ...]:
    given = fields.get("criteria", {})
    fits = isinstance(given, dict) and all(isinstance(d, (str, type(None))) for d in given.values())
    require(fits, "noul criteria must be an object of true/false descriptions")
    for key, description in given.items():
        require(description is not None, "noul descriptions must be strings")
        require(key in YES_NO, f'unknown noul criterion "{key}"')
    return YES_NO


_OPTIONS: Mapping[str, Any] = {"noul": _yes_no, "choice": _choices, "score": _levels}
