"""``localproviders demo``: a real answer and a real comparison, in half a minute."""

from __future__ import annotations

import math
from typing import Sequence

from localproviders.engine import LocalEngine, install, why_missing

_SENTENCES = ("A dog runs through the park.", "A puppy plays outside.", "The invoice is overdue.")

_NEXT = """
What to try next:
  OllamaProvider().chat("Hello", model="llama3.2")      with Ollama running
  LMStudioProvider().chat("Hello", model="...")         with LM Studio's server on
  docs/setup.md                                         how to get either of them"""


def run(question: str, *, install_missing: bool = False) -> None:
    """Start the engine twice: to answer the question, and to compare three sentences.

    Raises:
        DependencyError: The engine is missing or cannot run here.
        ProviderError: It failed.
    """
    if install_missing and why_missing():
        print("Installing the engine and two small models (about 360 MB) ...", flush=True)
        install()
    _answer(question)
    _compare()
    print(_NEXT)


def _answer(question: str) -> None:
    print("Starting a real llama.cpp with Gemma 3 270M on this machine ...\n", flush=True)
    with LocalEngine("chat") as provider:
        print(f"You:   {question}\nModel:", end="", flush=True)
        with provider.stream(question, max_tokens=120, temperature=0) as answer:
            for chunk in answer:
                print(chunk.text, end="", flush=True)
        response = answer.result()
    usage, timings = response.usage, response.timings
    print(
        f"\n\n{usage.completion_tokens} tokens in {timings.total_s:.1f} s, "
        f"the first after {timings.first_token_s or 0:.1f} s; "
        f"finish reason: {response.finish_reason}.\n"
    )


def _compare() -> None:
    print("Which sentence is nearest to the first?", flush=True)
    with LocalEngine("embedding") as provider:
        first, *others = provider.embed(_SENTENCES).embeddings
    print(f"         {_SENTENCES[0]}")
    for sentence, vector in zip(_SENTENCES[1:], others):
        print(f"  {_cosine(first, vector):+.3f}  {sentence}")


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other))
    return dot / (math.hypot(*one) * math.hypot(*other))
