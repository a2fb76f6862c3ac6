"""Conversion of a server's evidence about a model to `ModelCapabilities`.

Each provider translates the responses of its server to `Evidence`. Only this module decides which
capabilities follow from the evidence, and how certain they are. A fact that a server reported
overrides an inferred fact. Otherwise, later evidence overrides earlier evidence.
"""

from __future__ import annotations

import re
from typing import Any, Dict, FrozenSet, Iterable, Mapping, Optional, Tuple

from localproviders._record import FrozenDict, Record, field, record
from localproviders.types.models import CapabilityEvidence, ModelCapabilities, Source

#: The abilities that a model may have. `Evidence` uses these names, and `ModelCapabilities` has a
#: field for each of them.
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
    "decision",
    "rerank",
    "image_generation",
    "structured_output",
)

# A pattern for names of embedding models. It is used only if the server does not report whether a
# model is an embedding model.
_EMBEDDING_NAME = r"embed|(^|[-_/])(bge|gte|e5|minilm|all-minilm)([-_.:]|$)"

# A pattern for names of models that rank documents. It is used only if the server reports neither
# whether the model embeds nor whether it chats. Some of these names also match the pattern for
# embedding models, but a model that ranks documents returns no useful vectors.
_RERANK_NAME = r"re-?rank"

# A model with one of these abilities can neither chat nor embed, unless the server reports that it
# can. The text is the reason in the evidence.
_PURPOSES = {
    "decision": "a decision model writes no text",
    "rerank": "a model that ranks documents writes no text",
    "image_generation": "a model that makes images writes no text",
}

# A pattern for the models of the family gpt-oss, and their levels of thinking. These models always
# think (docs/reference/ollama.md, "Thinking"; docs/reference/lmstudio.md, "Reasoning").
_GPT_OSS = r"gpt[-_]?oss"
_GPT_OSS_LEVELS = ("low", "medium", "high")

# Maximum length of the `detail` of a capability. Longer texts are cut.
_MAX_DETAIL = 300
# Number of characters at the beginning of a model's name in which the patterns are searched.
_MAX_NAME = 1_000


@record
class Evidence(Record):
    """The information about a model in one response of a server.

    Attributes:
        detail: The request that was answered, such as ``GET /api/tags``.
        can: The abilities that the model has according to the response.
        cannot: The abilities that the model lacks according to the response.
        said: The server's own text about an ability, by ability. Some abilities have no text.
        facts: Values of other fields of `ModelCapabilities`, by field. Empty values and zeros are
            ignored.
        follows: Conclusions from the response, by field. Each conclusion is a value and the reason
            for this value.
    """

    detail: str
    can: FrozenSet[str] = frozenset()
    cannot: FrozenSet[str] = frozenset()
    said: Mapping[str, str] = field(default_factory=FrozenDict)
    facts: Mapping[str, Any] = field(default_factory=FrozenDict)
    follows: Mapping[str, Tuple[Any, str]] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        self._freeze("said", "facts", "follows")


def detect(name: str, *evidence: Evidence) -> ModelCapabilities:
    """Return the capabilities of a model, with the evidence for each fact.

    Args:
        name: Name of the model. It is used to infer some facts that the evidence does not contain.
        evidence: The information from the server. The most reliable evidence comes last.
    """
    known = _KnownFacts(name)
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


class _KnownFacts:
    """The facts about a model that are known so far, with their evidence."""

    def __init__(self, name: str) -> None:
        self.name = name[:_MAX_NAME]
        self.values: Dict[str, Any] = {}
        self.facts: Dict[str, CapabilityEvidence] = {}

    def learn(self, what: str, value: Any, source: Source, detail: str) -> None:
        """Record a fact. It replaces an earlier fact about the same field."""
        self.values[what] = value
        self.facts[what] = CapabilityEvidence(source=source, detail=detail[:_MAX_DETAIL])

    def conclude(self, what: str, value: Any, detail: str, source: Source = "inferred") -> None:
        """Record an inferred fact, unless the server reported a fact about the same field."""
        if what not in self.facts or self.facts[what].source != "reported":
            self.learn(what, value, source, detail)

    def add(self, what: str, value: Any, detail: str, source: Source = "inferred") -> None:
        """Record a fact, unless a fact about the same field is known."""
        if what not in self.values:
            self.learn(what, value, source, detail)


def _infer(known: _KnownFacts) -> None:
    values = known.values
    if "embeddings" not in values and "chat" not in values and _has_name(known, _RERANK_NAME):
        known.add("rerank", True, f"the name {known.name!r}")
    purpose = next((purpose for purpose in _PURPOSES if values.get(purpose)), None)
    if purpose is not None and not values.get("chat"):
        known.add("chat", False, _PURPOSES[purpose])
        known.add("embeddings", False, _PURPOSES[purpose])
    elif "embeddings" not in values and "chat" not in values:
        has_embedding_name = _has_name(known, _EMBEDDING_NAME)
        known.add("embeddings", has_embedding_name, f"the name {known.name!r}")
        known.add("chat", not has_embedding_name, "no evidence against it", "assumed")
    if "embeddings" not in values:
        if values["chat"]:
            known.add("embeddings", False, "a model can either chat or embed")
        else:
            known.add("embeddings", _has_name(known, _EMBEDDING_NAME), f"the name {known.name!r}")
    known.add("chat", not values["embeddings"], "a model can either chat or embed")
    known.add("completion", values["chat"], "a model that can chat can complete text")
    known.add("streaming", values["chat"], "all supported servers stream answers")
    # All supported servers can restrict the tokens of any model with a grammar.
    known.add("structured_output", values["chat"], "the server enforces the schema", "assumed")
    if values["chat"]:
        _infer_thinking(known)


def _has_name(known: _KnownFacts, pattern: str) -> bool:
    return bool(re.search(pattern, known.name, re.IGNORECASE))


def _infer_thinking(known: _KnownFacts) -> None:
    architecture = known.values.get("architecture")
    found = re.search(_GPT_OSS, architecture or known.name, re.IGNORECASE)
    if found:
        reason = (
            f"the architecture {architecture!r}" if architecture else f"the name {known.name!r}"
        )
        known.add("thinking", True, reason)
        if known.values["thinking"]:
            known.add("thinking_levels", _GPT_OSS_LEVELS, reason)


# --- requests that are refused before they are sent ---------------------------------------


def lacks(capabilities: ModelCapabilities, needs: Iterable[str]) -> Optional[str]:
    """Return the first needed ability that the model certainly does not have, or None.

    The lack of an ability is certain only if the server itself reported it. In all other cases, the
    server decides whether to refuse the request.
    """
    for ability in needs:
        fact = capabilities.evidence.get(ability)
        denied = getattr(capabilities, ability) is False
        if denied and fact is not None and fact.source == "reported":
            return ability
    return None


def has(capabilities: ModelCapabilities, ability: str) -> bool:
    """Return whether the server reported that the model has this ability."""
    fact = capabilities.evidence.get(ability)
    reported = fact is not None and fact.source == "reported"
    return reported and getattr(capabilities, ability) is True
