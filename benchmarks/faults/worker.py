"""Runs in the environment of a client: makes the calls that it is told to, and says what came.

One JSON object a line, in and out. It knows nothing of faults and judges nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, Dict, List

PROMPT = "A question that no error may quote"
TEXTS = ["a dog runs", "a cat sleeps"]


def call(module: Any, client: Any, form: str, large: bool, pieces: List[str]) -> Any:
    prompt = PROMPT * (200_000 if large else 1)
    if form == "complete":
        return module.complete(client, prompt)
    if form == "stream":
        for piece in module.stream(client, prompt):
            pieces.append(piece)
        return "".join(piece for piece in pieces if piece is not None)
    if form == "embed":
        return module.embed(client, [text * (400_000 if large else 1) for text in TEXTS])
    return module.list_models(client)


def held(error: BaseException) -> str:
    """Everything that the caller could read off an exception."""
    shown = [str(error), repr(error.args), repr(vars(error))]
    try:
        shown.append(error.response.text)  # type: ignore[attr-defined]
    except Exception:
        shown.append("")
    return " ".join(shown)


def attempt(module: Any, client: Any, order: Dict[str, Any]) -> Dict[str, Any]:
    pieces: List[str] = []
    started = time.monotonic()
    try:
        came: Dict[str, Any] = {
            "answer": call(module, client, order["form"], order["large"], pieces)
        }
    except Exception as error:
        came = {
            "error": f"{type(error).__module__}.{type(error).__qualname__}",
            "says": str(error)[:200],
            "typed": isinstance(error, module.TYPED),
            "kept": "Hello" in held(error),
        }
    came["took_s"] = time.monotonic() - started
    return came


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a client prints is no answer
    module = importlib.import_module(f"clients.{sys.argv[1]}")
    client = None

    def say(value: Any) -> None:
        out.write(json.dumps(value, default=repr) + "\n")
        out.flush()

    say({"version": module.VERSION, "beside": module.BESIDE, "python": sys.version.split()[0]})
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "connect":
            client = module.connect(order["url"], order["authority"], order["limit_s"])
            say({})
        else:
            say(attempt(module, client, order))


if __name__ == "__main__":
    main()
