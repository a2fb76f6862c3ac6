"""Capabilities of a model, and the source of each."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Tuple

import pytest

from localproviders.capabilities import ABILITIES, Evidence, detect
from localproviders.types.models import ModelCapabilities


def _says(can: str = "", cannot: str = "", detail: str = "list", **numbers: Any) -> Evidence:
    words: Tuple[FrozenSet[str], ...] = (frozenset(can.split()), frozenset(cannot.split()))
    return Evidence(detail=detail, can=words[0], cannot=words[1], facts=numbers)


# By name: the evidence, and the resulting value and source of each fact.
_TABLE: Dict[str, Tuple[str, Tuple[Evidence, ...], Dict[str, Tuple[Any, str]]]] = {
    "nothing is said": (
        "llama3.2",
        (),
        {
            "embeddings": (False, "inferred"),
            "chat": (True, "assumed"),
            "completion": (True, "inferred"),
            "structured_output": (True, "assumed"),
            "streaming": (True, "inferred"),
        },
    ),
    "only the name tells": (
        "nomic-embed-text",
        (),
        {
            "embeddings": (True, "inferred"),
            "chat": (False, "assumed"),
            "completion": (False, "inferred"),
            "structured_output": (False, "assumed"),
            "streaming": (False, "inferred"),
        },
    ),
    "the server beats the name": (
        "my-embedder",
        (_says("chat completion", "embeddings"),),
        {
            "embeddings": (False, "reported"),
            "chat": (True, "reported"),
            "completion": (True, "reported"),
            "structured_output": (True, "assumed"),
            "streaming": (True, "inferred"),
        },
    ),
    "chat alone is said": (
        "m",
        (_says("chat tools"),),
        {
            "chat": (True, "reported"),
            "tools": (True, "reported"),
            "embeddings": (False, "inferred"),
            "completion": (True, "inferred"),
            "structured_output": (True, "assumed"),
            "streaming": (True, "inferred"),
        },
    ),
    "embeddings alone are said": (
        "m",
        (_says("embeddings"),),
        {
            "embeddings": (True, "reported"),
            "chat": (False, "inferred"),
            "completion": (False, "inferred"),
            "structured_output": (False, "assumed"),
            "streaming": (False, "inferred"),
        },
    ),
    "a denial is a report": (
        "m",
        (_says("chat", "vision tools"),),
        {
            "chat": (True, "reported"),
            "vision": (False, "reported"),
            "tools": (False, "reported"),
            "embeddings": (False, "inferred"),
            "completion": (True, "inferred"),
            "structured_output": (True, "assumed"),
            "streaming": (True, "inferred"),
        },
    ),
    "the later wins": (
        "m",
        (_says("chat", "vision", max_context_length=1), _says("vision", max_context_length=2)),
        {
            "chat": (True, "reported"),
            "vision": (True, "reported"),
            "max_context_length": (2, "reported"),
            "embeddings": (False, "inferred"),
            "completion": (True, "inferred"),
            "structured_output": (True, "assumed"),
            "streaming": (True, "inferred"),
        },
    ),
    "numbers that are missing or zero say nothing": (
        "m",
        (
            _says("chat", max_context_length=4096, embedding_length=7),
            _says(
                max_context_length=0, embedding_length=None, loaded_context_length=5, size_bytes=9
            ),
        ),
        {
            "chat": (True, "reported"),
            "max_context_length": (4096, "reported"),
            "embedding_length": (7, "reported"),
            "loaded_context_length": (5, "reported"),
            "size_bytes": (9, "reported"),
            "embeddings": (False, "inferred"),
            "completion": (True, "inferred"),
            "structured_output": (True, "assumed"),
            "streaming": (True, "inferred"),
        },
    ),
    "a decision model": (
        "m",
        (_says("decision"),),
        {
            "decision": (True, "reported"),
            "chat": (False, "inferred"),
            "embeddings": (False, "inferred"),
            "completion": (False, "inferred"),
            "structured_output": (False, "assumed"),
            "streaming": (False, "inferred"),
        },
    ),
    "a model that ranks, by its name": (
        "bge-reranker-v2-m3",
        (),
        {
            "rerank": (True, "inferred"),
            "chat": (False, "inferred"),
            "embeddings": (False, "inferred"),
            "completion": (False, "inferred"),
            "structured_output": (False, "assumed"),
            "streaming": (False, "inferred"),
        },
    ),
    "the server knows better than a name": (
        "my-reranker",
        (_says("chat completion", "embeddings"),),
        {
            "embeddings": (False, "reported"),
            "chat": (True, "reported"),
            "completion": (True, "reported"),
            "structured_output": (True, "assumed"),
            "streaming": (True, "inferred"),
        },
    ),
    "structured output is said": (
        "m",
        (_says("chat", "structured_output"),),
        {
            "chat": (True, "reported"),
            "structured_output": (False, "reported"),
            "streaming": (True, "inferred"),
            "embeddings": (False, "inferred"),
            "completion": (True, "inferred"),
        },
    ),
}


@pytest.mark.parametrize("case", _TABLE)
def test_facts_follow_from_the_evidence(case: str) -> None:
    name, evidence, expected = _TABLE[case]
    found = detect(name, *evidence)
    facts = {key: value for key, value in found.to_dict().items() if key != "evidence"}
    assert facts == {key: value for key, (value, _) in expected.items()}
    sources = {key: fact.source for key, fact in found.evidence.items()}
    assert sources == {key: source for key, (_, source) in expected.items()}
    assert ModelCapabilities.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("name", "embeds"),
    [
        ("nomic-embed-text", True),
        ("text-embedding-nomic-embed-text-v1.5", True),
        ("mxbai-EMBED-large", True),
        ("bge-m3", True),
        ("BAAI/bge-small", True),
        ("all-minilm:22m", True),
        ("intfloat/e5", True),
        ("gte", True),
        ("llama3.2", False),
        ("gemma3:270m", False),
        ("badge-7b", False),
        ("bgeneral", False),
    ],
)
def test_a_name_hints_at_an_embedding_model(name: str, embeds: bool) -> None:
    assert detect(name).embeddings is embeds


def test_a_fact_names_the_answer_that_it_comes_from() -> None:
    facts = detect("m", _says("chat", detail="GET /a"), _says("vision", detail="POST /b")).evidence
    assert (facts["chat"].detail, facts["vision"].detail) == ("GET /a", "POST /b")
    assert "'m'" in detect("m").evidence["embeddings"].detail


def test_every_ability_is_a_field() -> None:
    assert set(ABILITIES) <= set(ModelCapabilities.__dataclass_fields__)


def test_a_name_alone_denies_no_special_ability() -> None:
    found = detect("m")
    assert [found.tools, found.vision, found.audio, found.thinking, found.insert] == [None] * 5


def test_a_name_hints_at_something_at_its_beginning_only() -> None:
    """Without the bound, a name of 15 MiB took more than a second, and no limit was checked."""
    assert detect("x" * 900 + "-embed").embeddings
    found = detect("x" * 1_000 + "-embed")

    assert not found.embeddings
    assert len(found.evidence["embeddings"].detail) <= 300
