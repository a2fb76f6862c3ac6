"""From any server's evidence to `ModelCapabilities`: the one place that knows how to tell.

A provider says what its server told, in the words below; what follows from it, and how
sure that is, is decided here. What a server said beats what was concluded; apart from that,
later evidence wins over earlier.
"""

from __future__ import annotations

import re
from typing import Any, Dict, FrozenSet, Iterable, Mapping, Optional, Tuple

from localproviders._record import Record, field, record
from localproviders.types.model import Fact, ModelCapabilities, Source

#: What a model can do; the words of the evidence, and fields of `ModelCapabilities`.
ABILITIES = (
    "chat",
    "completion",
    "tools",
    "tools_trained",
    "vision",
    "audio",
    "thinking",
    "insert",
    "embeddings",
    "structured_output",
)

# A name is a hint where the server says nothing of a model's kind.
_EMBEDDING_NAME = r"embed|(^|[-_/])(bge|gte|e5|minilm|all-minilm)([-_.:]|$)"

# This family always thinks, and knows these levels (ollama-api §4.3, lmstudio-api §2.3).
_GPT_OSS = r"gpt[-_]?oss"
_GPT_OSS_LEVELS = ("low", "medium", "high")

_LONGEST_DETAIL = 300


@record
class Evidence(Record):
    """What one answer of a server said about a model.

    Attributes:
        detail: Which answer, such as ``GET /api/tags``.
        can: The abilities that it names.
        cannot: The abilities that it denies.
        said: For abilities: the server's own words, where they help.
        facts: Other fields of `ModelCapabilities`, as it gives them; what is empty or zero
            says nothing.
        follows: What can be concluded from it, with the reason.
    """

    detail: str
    can: FrozenSet[str] = frozenset()
    cannot: FrozenSet[str] = frozenset()
    said: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    follows: Mapping[str, Tuple[Any, str]] = field(default_factory=dict)


def detect(name: str, *evidence: Evidence) -> ModelCapabilities:
    """Say what a model is and can do, and for each fact how that is known.

    Args:
        name: The model's name; a hint where the evidence is silent.
        evidence: What the server told, the better last.
    """
    known = _Known(name)
    for item in evidence:
        for ability in ABILITIES:
            if ability in item.can or ability in item.cannot:
                words = item.said.get(ability)
                detail = f"{item.detail}: {words}" if words else item.detail
                known.learn(ability, ability in item.can, "reported", detail)
        for fact, value in item.facts.items():
            if value:
                known.learn(fact, value, "reported", item.detail)
        for fact, (value, reason) in item.follows.items():
            known.conclude(fact, value, reason)
    _infer(known)
    return ModelCapabilities(**known.values, evidence=known.facts)


class _Known:
    """What has been learnt so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: Dict[str, Any] = {}
        self.facts: Dict[str, Fact] = {}

    def learn(self, what: str, value: Any, source: Source, detail: str) -> None:
        """Take a fact, whatever was known before."""
        self.values[what] = value
        self.facts[what] = Fact(source=source, detail=detail[:_LONGEST_DETAIL])

    def conclude(self, what: str, value: Any, detail: str, source: Source = "inferred") -> None:
        """Take a fact that no server reported."""
        if what not in self.facts or self.facts[what].source != "reported":
            self.learn(what, value, source, detail)

    def add(self, what: str, value: Any, detail: str, source: Source = "inferred") -> None:
        """Take a fact of which nothing is known yet."""
        if what not in self.values:
            self.learn(what, value, source, detail)


def _infer(known: _Known) -> None:
    values = known.values
    if "embeddings" not in values and "chat" not in values:
        named_so = bool(re.search(_EMBEDDING_NAME, known.name, re.IGNORECASE))
        known.add("embeddings", named_so, f"the name {known.name!r}")
        known.add("chat", not named_so, "nothing speaks against it", "assumed")
    if "embeddings" not in values:
        known.add("embeddings", not values["chat"], "a chat model")
    known.add("chat", not values["embeddings"], "from whether it makes vectors")
    known.add("completion", values["chat"], "what can chat can continue text")
    known.add("streaming", values["chat"], "every server here streams what a model says")
    # All servers here hold the sampler to a grammar, whatever the model.
    known.add("structured_output", values["chat"], "the server holds to the schema", "assumed")
    if values["chat"]:
        _infer_thinking(known)


def _infer_thinking(known: _Known) -> None:
    architecture = known.values.get("architecture")
    found = re.search(_GPT_OSS, architecture or known.name, re.IGNORECASE)
    if found:
        reason = (
            f"the architecture {architecture!r}" if architecture else f"the name {known.name!r}"
        )
        known.add("thinking", True, reason)
        if known.values["thinking"]:
            known.add("thinking_levels", _GPT_OSS_LEVELS, reason)


# --- what is refused before it is sent ----------------------------------------------------


def lacks(capabilities: ModelCapabilities, needs: Iterable[str]) -> Optional[str]:
    """Give the first needed ability that the model surely lacks, or None.

    It lacks one surely where the server itself said so: what was concluded or assumed, or is
    not known, is left to the server to refuse.
    """
    for ability in needs:
        fact = capabilities.evidence.get(ability)
        denied = getattr(capabilities, ability) is False
        if denied and fact is not None and fact.source == "reported":
            return ability
    return None


def has(capabilities: ModelCapabilities, ability: str) -> bool:
    """Say whether the model surely has this ability: the server said so."""
    fact = capabilities.evidence.get(ability)
    reported = fact is not None and fact.source == "reported"
    return reported and getattr(capabilities, ability) is True
