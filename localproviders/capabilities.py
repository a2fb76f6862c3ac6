"""From any server's evidence to `ModelCapabilities`: the one place that knows how to tell.

A provider says what its server told, in the words below; what follows from it, and how
sure that is, is decided here. Later evidence wins over earlier.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Any, Dict, FrozenSet, Mapping, Optional

from localproviders._record import Record, record
from localproviders.types.model import Fact, ModelCapabilities

#: What a model can do; the words of the evidence, and fields of `ModelCapabilities`.
ABILITIES = (
    "chat",
    "completion",
    "tools",
    "vision",
    "audio",
    "thinking",
    "insert",
    "embeddings",
    "structured_output",
)
_NUMBERS = ("max_context_length", "loaded_context_length", "embedding_length")

# A name is a hint where the server says nothing of a model's kind.
_EMBEDDING_NAME = re.compile(
    r"embed|(^|[-_/])(bge|gte|e5|minilm|all-minilm)([-_.:]|$)", re.IGNORECASE
)


@record
class Evidence(Record):
    """What one answer of a server said about a model.

    Attributes:
        detail: Which answer, such as ``GET /api/tags``.
        can: The abilities that it names.
        cannot: The abilities that it denies.
        numbers: Context and vector lengths that it gives.
    """

    detail: str
    can: FrozenSet[str] = frozenset()
    cannot: FrozenSet[str] = frozenset()
    numbers: Mapping[str, Optional[int]] = field(default_factory=dict)


def detect(name: str, *evidence: Evidence) -> ModelCapabilities:
    """Say what a model can do, and for each fact how that is known.

    Args:
        name: The model's name; a hint where the evidence is silent.
        evidence: What the server told, the better last.
    """
    found: Dict[str, Any] = {}
    facts: Dict[str, Fact] = {}

    def learn(ability: str, value: Any, source: Any, detail: str) -> None:
        found[ability] = value
        facts[ability] = Fact(source=source, detail=detail)

    for item in evidence:
        for ability in ABILITIES:
            if ability in item.can or ability in item.cannot:
                learn(ability, ability in item.can, "reported", item.detail)
        for number in _NUMBERS:
            value = item.numbers.get(number)
            if value:
                learn(number, value, "reported", item.detail)
    _infer(name, found, learn)
    return ModelCapabilities(**found, evidence=facts)


def _infer(name: str, found: Mapping[str, Any], learn: Any) -> None:
    if "embeddings" not in found and "chat" not in found:
        named_so = bool(_EMBEDDING_NAME.search(name))
        learn("embeddings", named_so, "inferred", f"the name {name!r}")
        learn("chat", not named_so, "assumed", "nothing speaks against it")
    if "embeddings" not in found:
        learn("embeddings", not found["chat"], "inferred", "a chat model")
    if "chat" not in found:
        learn("chat", not found["embeddings"], "inferred", "from whether it makes vectors")
    if "completion" not in found:
        learn("completion", found["chat"], "inferred", "what can chat can continue text")
    if "structured_output" not in found:
        # All servers here hold the sampler to a grammar, whatever the model.
        learn("structured_output", found["chat"], "assumed", "the server holds to the schema")
