"""Requests for decisions, and the reading of their responses, for clients without `decide`.

The requests are the same as those that this package sends for the same question.
"""

from __future__ import annotations

import json
import math

from benchmarks.speed.adapters import MODEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Tuple

QUESTION = "Which team should handle this?"
OPTIONS = ("shipping", "billing", "technical")
_LABELS = ("A", "B", "C")
_LISTED = "\n".join(f"{label}. {option}" for label, option in zip(_LABELS, OPTIONS))


def request_of(method: str, state: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a decision about a state."""
    if method == "systemone":
        criteria = dict.fromkeys(OPTIONS)
        question = {"type": "choice", "instructions": QUESTION, "criteria": criteria}
        body = {"model": MODEL, "state": state, "questions": {"team": question}}
        return "/v1/systemone", body
    prompt = (
        f"Read the text, then answer the question about it.\n\nText:\n{state}\n\n"
        f"Question: {QUESTION}\n{_LISTED}\n\nAnswer with one label only: A, B or C."
    )
    return "/v1/chat/completions", {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }


def chosen_in(method: str, response: bytes) -> str:
    """Return the likeliest option in a response."""
    data = json.loads(response)
    if method == "systemone":
        chosen: str = data["answers"]["team"]["choice"]
        return chosen
    top = data["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    found = {item["token"].strip(): math.exp(item["logprob"]) for item in top}
    shares = {option: found.get(label, 0.0) for option, label in zip(OPTIONS, _LABELS)}
    return max(shares, key=shares.__getitem__)
