"""The decisions in ``tests/data/decisions``, as questions, requests and responses."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from localproviders import (
    Choice,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    Score,
    YesNo,
)
from localproviders.testing import Exchange, http_answer
from localproviders.types import Question
from tests.support.recordings import DATA

FOLDER = DATA / "decisions"
RECORDED = FOLDER / "llamacpp"

PROVIDERS: Mapping[str, Any] = {
    "ollama": (OllamaProvider, ""),
    "lmstudio": (LMStudioProvider, ""),
    "openai-compatible": (OpenAICompatibleProvider, "/v1"),
}

#: The questions of all documented exchanges.
QUESTIONS: Mapping[str, Question] = {
    "route": Choice(
        "Which team should handle this?",
        {"shipping": None, "billing": "payments and refunds", "technical": None},
    ),
    "angry": YesNo("Is the customer angry?", yes="the customer complains"),
    "urgency": Score("How urgent is this?", ["can wait", "this week", "today"]),
}
STATE = "I was charged twice for my order."


def documented() -> List[str]:
    """Return the names of the exchanges that were typed from documentation."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "errors")


def load(name: str) -> Dict[str, Any]:
    """Return a documented exchange."""
    found: Dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def errors() -> List[Dict[str, Any]]:
    """Return the documented error responses."""
    found: List[Dict[str, Any]] = json.loads((FOLDER / "errors.json").read_text(encoding="utf-8"))
    return found


def recorded() -> List[str]:
    """Return the names of the recordings of llama.cpp."""
    return sorted(path.name.partition(".")[0] for path in RECORDED.glob("*.response.bin"))


class Recording(NamedTuple):
    """A recorded exchange: the JSON of the request, the bytes of the response, and their JSON."""

    request: Dict[str, Any]
    raw: bytes
    status: int
    body: Any


def recording(name: str) -> Recording:
    """Return a recorded exchange of llama.cpp."""
    request = json.loads((RECORDED / f"{name}.request.json").read_text(encoding="utf-8"))
    raw = (RECORDED / f"{name}.response.bin").read_bytes()
    head, _, body = raw.partition(b"\r\n\r\n")
    return Recording(request.get("body") or {}, raw, int(head.split()[1]), json.loads(body))


def question_of(data: Mapping[str, Any]) -> Question:
    """Return the question for its JSON on the route ``/v1/systemone``."""
    text, criteria = data["instructions"], data.get("criteria") or {}
    if data["type"] == "choice":
        return Choice(text, criteria)
    if data["type"] == "score":
        return Score(text, criteria)
    return YesNo(text, yes=criteria.get("true"), no=criteria.get("false"))


class Script:
    """The script of a server that lists one model, and sends one response to each decision.

    Args:
        answer: The bytes to send as the response to each decision; by path if there are several.
        owner: The owner of the model in OpenAI's list.
    """

    def __init__(self, answer: Any, owner: str = "me") -> None:
        self._answers = answer if isinstance(answer, dict) else {"": answer}
        self._owner = owner
        #: Path and JSON of each request for a decision.
        self.asked: List[Tuple[str, Any]] = []
        #: Number of requests for a list of models.
        self.listed = 0

    def __call__(self, exchange: Exchange) -> List[Any]:
        if exchange.method == "GET":
            self.listed += 1
            names = ("nimble", "clef", "decider", "qwen3", "gpt-6-luna")
            models = [
                {"name": f"{name}:latest", "model": f"{name}:latest", "key": name, "type": "llm"}
                for name in names
            ]
            data = [{"id": name, "owned_by": self._owner} for name in names]
            return [http_answer({"models": models, "data": data})]
        if exchange.path == "/api/show":
            return [http_answer({"details": {}, "model_info": {}, "capabilities": ["decision"]})]
        self.asked.append((exchange.path, json.loads(exchange.body)))
        missing = http_answer(MISSING, status="404 Not Found")
        found = self._answers.get(exchange.path, self._answers.get("", missing))
        return [found(json.loads(exchange.body)) if callable(found) else found]


#: The body of llama.cpp's response for a path that does not exist.
MISSING = {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}


def even_answers(body: Mapping[str, Any]) -> bytes:
    """Return the response of ``/v1/systemone`` in which all answers are equally likely."""
    answers = {name: _even(question) for name, question in body["questions"].items()}
    usage = {"input_tokens": 5 * len(answers), "output_tokens": 0}
    return http_answer({"model": body["model"], "answers": answers, "usage": usage})


def _even(question: Mapping[str, Any]) -> Dict[str, Any]:
    if question["type"] == "noul":
        return {"type": "noul", "noul": 0.5}
    count, is_choice = len(question["criteria"]), question["type"] == "choice"
    keys = question["criteria"] if is_choice else map(str, range(count))
    return {"type": question["type"], "probabilities": dict.fromkeys(keys, 1 / count)}
