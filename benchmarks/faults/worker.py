"""Make the calls of one client, in a process that runs in the client's virtual environment.

The process reads orders from its standard input, and writes a result for each order to its standard
output. Orders and results are lines of JSON. The process does not know which fault the server
makes, and it judges no result.
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


def readable_text(error: BaseException) -> str:
    """Return all text that a caller can read in an exception and in its response."""
    shown = [str(error), repr(error.args), repr(vars(error))]
    try:
        shown.append(error.response.text)  # type: ignore[attr-defined]
    except Exception:
        shown.append("")
    return " ".join(shown)


def run_call(module: Any, client: Any, order: Dict[str, Any]) -> Dict[str, Any]:
    pieces: List[str] = []
    started = time.monotonic()
    try:
        result: Dict[str, Any] = {
            "answer": call(module, client, order["form"], order["large"], pieces)
        }
    except Exception as error:
        result = {
            "error": f"{type(error).__module__}.{type(error).__qualname__}",
            "message": str(error)[:200],
            "typed": isinstance(error, module.TYPED),
            "text_kept": "Hello" in readable_text(error),
        }
    result["duration_s"] = time.monotonic() - started
    return result


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # text that a client prints must not be mixed with the results
    module = importlib.import_module(f"clients.{sys.argv[1]}")
    client = None

    def send(value: Any) -> None:
        out.write(json.dumps(value, default=repr) + "\n")
        out.flush()

    send(
        {"version": module.VERSION, "transport": module.TRANSPORT, "python": sys.version.split()[0]}
    )
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "connect":
            client = module.connect(order["url"], order["authority"], order["limit_s"])
            send({})
        else:
            send(run_call(module, client, order))


if __name__ == "__main__":
    main()
