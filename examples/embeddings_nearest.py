"""Rank texts by their similarity to a question, with the standard library only.

Usage: python examples/embeddings_nearest.py ["QUESTION"]
"""

import math
import sys
from typing import Sequence

from localproviders import OllamaProvider

TEXTS = [
    "The lease ends on 31 March and renews for a year.",
    "The patient was given 5 mg of the drug twice a day.",
    "Either party may end this contract with 30 days' notice.",
]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other))
    return dot / (math.hypot(*one) * math.hypot(*other))


def main() -> None:
    question = sys.argv[1] if len(sys.argv) > 1 else "How can I get out of the contract?"
    with OllamaProvider(model="nomic-embed-text") as ollama:
        response = ollama.embed([question, *TEXTS])
    target, *vectors = response.vectors  # packed 32-bit floats, in the order of the texts
    ranked = sorted(zip(TEXTS, vectors), key=lambda pair: cosine(target, pair[1]), reverse=True)
    for text, vector in ranked:
        print(f"{cosine(target, vector):.3f}  {text}")


if __name__ == "__main__":
    main()
