"""LM Studio's JSON is parsed to values and errors."""

from __future__ import annotations

from typing import Any

import pytest

from localproviders import errors
from localproviders._dialect.error_answers import explain
from localproviders.lmstudio.wire.errors import RULES
from localproviders.lmstudio.wire.models import parse_models, parse_old_models, same_entry

_V1 = {
    "models": [
        {
            "key": "Pub/M",
            "type": "llm",
            "variants": ["pub/m@q4"],
            "loaded_instances": [{"id": "m:2", "config": {"context_length": 99}}],
            "max_context_length": 4096,
            "capabilities": {"vision": False, "trained_for_tool_use": True},
        },
        {"key": "e", "type": "embedding"},
    ]
}


def test_a_list_of_version_one_is_read() -> None:
    entries = parse_models(_V1, "p")
    assert entries is not None
    first, second = entries
    assert first.names == ("Pub/M", "pub/m@q4", "m:2")
    found = first.info.capabilities
    assert (found.chat, found.vision, found.tools, found.embeddings) == (True, False, True, False)
    assert (found.max_context_length, found.loaded_context_length) == (4096, 99)
    assert (first.info.loaded, second.info.loaded) == (True, False)
    assert (second.info.capabilities.embeddings, second.info.capabilities.chat) == (True, False)


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [("pub/m", "M:2", True), ("pub/m@q4", "pub/m", True), ("pub/m", "e", False), ("x", "x", False)],
)
def test_one_model_goes_by_several_names(asked: str, served: str, same: bool) -> None:
    entries = parse_models(_V1, "p")
    assert entries is not None
    assert same_entry(entries, asked, served) is same


@pytest.mark.parametrize(
    ("kind", "chat", "vision", "embeddings", "tools"),
    [
        ("llm", True, False, False, True),
        ("vlm", True, True, False, True),
        ("embeddings", False, False, True, None),
        (None, None, None, None, None),
    ],
)
def test_the_kind_decides_in_an_old_list(
    kind: Any, chat: Any, vision: Any, embeddings: Any, tools: Any
) -> None:
    data = {"data": [{"id": "m", "type": kind, "capabilities": ["tool_use"], "state": "loaded"}]}
    entries = parse_old_models(data, "p")
    assert entries is not None
    found = entries[0].info.capabilities
    assert (found.vision, found.tools) == (vision, tools)
    if kind is not None:
        assert (found.chat, found.embeddings) == (chat, embeddings)
    assert entries[0].info.loaded is True


@pytest.mark.parametrize("data", [{}, {"models": None, "data": None}, {"models": {}, "data": "x"}])
def test_what_is_no_list_is_none(data: Any) -> None:
    assert parse_models(data, "p") is None
    assert parse_old_models(data, "p") is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Unexpected endpoint or method. (GET /x)", "UnsupportedError"),
        ("Trying to keep the first 5 tokens when of only 4 tokens", "ContextOverflowError"),
        ("An LM Studio API token is required", "AuthenticationError"),
        ("No models loaded. Please load", "ModelNotFoundError"),
        ("Invalid model identifier 'x'", "ModelNotFoundError"),
        ("Failed to load model", "ModelLoadError"),
        ("The model has crashed", "ModelLoadError"),
        ("Model does not support images", "CapabilityError"),
        ("'url' field must be a base64 encoded image.", "RequestRejectedError"),
        ("The server is starting", "ServerBusyError"),
    ],
)
def test_a_sentence_means_a_class(said: str, name: str) -> None:
    assert type(explain(400, said, {}, RULES)) is getattr(errors, name)


def test_whole_numbers_may_come_as_floats() -> None:
    copies = [{"id": "m", "config": {"context_length": 4096.0}}]
    entry = {"key": "m", "type": "llm", "max_context_length": 8192.0, "size_bytes": 7.0}
    found = parse_models({"models": [{**entry, "loaded_instances": copies}]}, "lmstudio")
    assert found is not None
    known = found[0].info.capabilities
    assert known.max_context_length == 8192
    assert (known.loaded_context_length, known.size_bytes) == (4096, 7)
