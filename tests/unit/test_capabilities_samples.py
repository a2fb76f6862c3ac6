"""Facts about models in recorded and published responses, each with its source."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any, Dict, List, Mapping, Tuple, Union

import pytest

from localproviders import (
    LMStudioProvider,
    LocalProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
)
from localproviders._http.framing import parse_json
from localproviders.lmstudio.wire import models as lmstudio_models
from localproviders.ollama.wire import models as ollama_models
from localproviders.ollama.wire.models import capabilities
from localproviders.openai_compatible.wire import errors as dialect_errors
from localproviders.openai_compatible.wire import models as dialect_models
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama, FakeOpenAICompatible
from localproviders.types.models import ModelCapabilities
from tests.support import recordings

Facts = Mapping[str, Tuple[Any, str]]
R, I, A = "reported", "inferred", "assumed"  # noqa: E741  # the columns of the tables below


def known(found: ModelCapabilities) -> Facts:
    """Return every known fact with its source."""
    assert ModelCapabilities.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    names = set(found.to_dict()) - {"evidence"}
    assert names == set(found.evidence)  # each fact has a source, and each source a fact
    return {name: (getattr(found, name), found.evidence[name].source) for name in names}


def _only(kind: str, source: str = R) -> Dict[str, Tuple[Any, str]]:
    """Return the facts that follow for a chat model or for an embedding model."""
    chat = kind == "chat"
    return {
        "chat": (chat, source),
        "completion": (chat, source),
        "embeddings": (not chat, source),
        "streaming": (chat, I),
        "structured_output": (chat, A),
    }


def _reported(**facts: Any) -> Dict[str, Tuple[Any, str]]:
    return {name: (value, R) for name, value in facts.items()}


# --- Ollama -------------------------------------------------------------------------------

# Facts about every local model that has a list of abilities without `decision`.
_HERE = {"remote": (False, I), "rerank": (False, I), "decision": (False, I)}
_GEMMA: Dict[str, Any] = dict(
    max_context_length=32768, embedding_length=640, architecture="gemma3",
    parameter_size="268.10M", quantization="Q4_K_M", format="gguf",
)  # fmt: skip


def _listed(size: int, **more: Any) -> Facts:
    """Return the facts about a chat model from the list, which contains no negative facts."""
    return {
        **_only("chat"),
        "embeddings": (False, I),
        **_HERE,
        **_reported(**_GEMMA, size_bytes=size, **more),
    }


_TAGS: Dict[str, Facts] = {
    "all-minilm:latest": {
        **_only("embeddings", I),
        **_HERE,
        **_reported(
            embeddings=True, max_context_length=512, embedding_length=384, architecture="bert",
            parameter_size="22.57M", quantization="F16", format="gguf", size_bytes=46223540,
        ),
    },
    "gemma3-think:270m": _listed(253113886, thinking=True),
    "gemma3-tooljson:270m": _listed(253114212, tools=True),
    "gemma3-tools:270m": _listed(253114298, tools=True),
    "gemma3:270m": _listed(253113638),
    "gemma3-chat:270m": _listed(253115542, tools=True),
    "gemma3-chatthink:270m": _listed(253114133, thinking=True),
}  # fmt: skip


# The abilities that the complete list of a chat model's abilities denies.
_DENIED_BY_SHOW = ("tools", "vision", "audio", "thinking", "insert", "image_generation")


def test_ollamas_recorded_list() -> None:
    (data,) = ollama_record("tags")
    found = {info.name: known(info.capabilities) for info in ollama_models.parse_models(data, "p")}
    assert found == _TAGS


def test_ollamas_recorded_details() -> None:
    (data,) = ollama_record("show")
    info = ollama_models.parse_details(data, "gemma3:270m", "p")
    denied = dict.fromkeys(_DENIED_BY_SHOW, False)
    assert known(info.capabilities) == {
        **_only("chat"),
        **_HERE,
        **_reported(**_GEMMA, **denied, parameter_count=268098176),
    }
    detail = info.capabilities.evidence["tools"].detail
    assert detail == "POST /api/show: its capabilities are completion"


def test_ollamas_recorded_loaded_list_is_empty() -> None:
    assert ollama_record("ps") == [{"models": []}]


def ollama_record(name: str) -> List[Any]:
    return recordings.ollama_records(name)


# Changes to the recorded details, and the facts that differ then (None for unknown).
_VARIANTS: Dict[str, Tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "nothing is known of an old server's model": (
        {"capabilities": None},
        {
            **dict.fromkeys([*_DENIED_BY_SHOW, "decision"]),
            "chat": (True, A), "completion": (True, I), "embeddings": (False, I),
        },
    ),
    "details are null": (
        {"details": None},
        {"parameter_size": None, "quantization": None, "format": None},
    ),
    "details hold null and empty words": (
        {"details": {"families": None, "family": "", "quantization_level": "unknown"}},
        {"parameter_size": None, "quantization": None, "format": None},
    ),
    "model_info is null": (
        {"model_info": None},
        dict.fromkeys(["max_context_length", "embedding_length", "parameter_count"]),
    ),
    "the keys of another architecture are not taken": (
        {"model_info": {"general.architecture": "x", "x.vision.context_length": 5}},
        dict.fromkeys(["max_context_length", "embedding_length", "parameter_count"]),
    ),
    "numbers of the wrong type are nothing": (
        {"model_info": {"general.architecture": "x", "x.context_length": "8", "x.embedding_length": 0}},
        dict.fromkeys(["max_context_length", "embedding_length", "parameter_count"]),
    ),
    "an unknown word is kept out": (
        {"capabilities": ["completion", "video", 5, None]},
        {},
    ),
    "a decision model does not chat": (
        {"capabilities": ["decision"]},
        {
            "decision": (True, R), "chat": (False, R), "completion": (False, R),
            "streaming": (False, I), "structured_output": (False, A),
        },
    ),
    "a chat model that decides, too": (
        {"capabilities": ["completion", "decision"]},
        {"decision": (True, R)},
    ),
    "a model that makes images does not chat": (
        {"capabilities": ["image"]},
        {
            "image_generation": (True, R), "chat": (False, R), "completion": (False, R),
            "streaming": (False, I), "structured_output": (False, A),
        },
    ),
    "a stub runs elsewhere": (
        {"remote_host": "https://ollama.com:443", "details": {"format": ""}, "model_info": {}},
        {
            "remote": (True, R), "remote_host": ("https://ollama.com:443", R),
            "structured_output": (False, I), "architecture": None,
            **dict.fromkeys(["parameter_size", "quantization", "format", "parameter_count"]),
            **dict.fromkeys(["max_context_length", "embedding_length"]),
        },
    ),
    "safetensors ignore a schema": (
        {"details": {"format": "safetensors", "family": "gemma3"}},
        {
            "format": ("safetensors", R), "structured_output": (False, I),
            "parameter_size": None, "quantization": None,
        },
    ),
    "gpt-oss has levels": (
        {"details": {"family": "gptoss"}, "capabilities": ["completion", "thinking"]},
        {
            "architecture": ("gptoss", R), "thinking": (True, R),
            "thinking_levels": (("low", "medium", "high"), I),
            **dict.fromkeys(["parameter_size", "quantization", "format"]),
        },
    ),
    "gpt-oss of an old server thinks": (
        {"details": {"family": "gpt-oss"}, "capabilities": None},
        {
            **dict.fromkeys(["tools", "vision", "audio", "insert", "image_generation", "decision"]),
            "chat": (True, A), "completion": (True, I), "embeddings": (False, I),
            "architecture": ("gpt-oss", R), "thinking": (True, I),
            "thinking_levels": (("low", "medium", "high"), I),
            **dict.fromkeys(["parameter_size", "quantization", "format"]),
        },
    ),
    "a later server lists the levels": (
        {"thinking": {"values": [False, "low", "ultra", "", 3], "default": "low"}},
        {"thinking_levels": (("off", "low", "ultra"), R), "thinking_default": ("low", R)},
    ),
    "levels in another shape are nothing": ({"thinking": {"values": "low", "default": None}}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", _VARIANTS)
def test_a_variant_of_the_details(case: str) -> None:
    changes, expected = _VARIANTS[case]
    (data,) = ollama_record("show")
    before = known(capabilities("gemma3:270m", show=copy.deepcopy(data)))
    after = known(capabilities("gemma3:270m", show={**data, **changes}))
    wanted = {**before, **expected}
    if "architecture" in wanted and "model_info" in changes and wanted["architecture"]:
        wanted["architecture"] = ("gemma3", R)  # the details contain it too
    assert after == {name: fact for name, fact in wanted.items() if fact is not None}


@pytest.mark.parametrize("name", ["m:cloud", "m:20b-cloud", "m:20b:cloud"])
def test_a_name_of_the_cloud_runs_elsewhere(name: str) -> None:
    found = capabilities(name, show={"capabilities": ["completion", "tools"]})
    assert (found.remote, found.remote_host, found.structured_output) == (True, None, False)
    assert found.evidence["remote"].detail == f"the name {name!r}"


def test_a_decision_model_in_ollamas_list_does_not_chat() -> None:
    found = capabilities("nimble", tags={"capabilities": ["decision"]})
    assert (found.decision, found.chat, found.embeddings) == (True, False, False)
    assert found.evidence["decision"].source == "reported"
    assert found.evidence["chat"].detail == "a decision model writes no text"


def test_a_stub_in_the_list_has_no_size_of_its_own() -> None:
    entry = {"name": "m", "size": 384, "remote_host": "https://h", "details": {"families": None}}
    found = capabilities("m", tags=entry)
    assert (found.remote, found.remote_host, found.size_bytes) == (True, "https://h", None)


def test_details_add_to_the_list_and_the_loaded_window_to_both() -> None:
    tags = {"size": 9, "capabilities": ["completion"]}
    show = {"capabilities": ["completion", "tools"]}
    found = capabilities("m", tags=tags, show=show, ps={"context_length": 4096})
    assert (found.size_bytes, found.tools, found.loaded_context_length) == (9, True, 4096)
    assert found.evidence["loaded_context_length"].detail == "GET /api/ps"
    assert found.evidence["loaded_context_length"].source == "reported"


@pytest.mark.parametrize(
    ("reported", "allocated"),
    [(1, 256), (255, 256), (257, 512), (600, 768), (1100, 1280), (5000, 5120)],
)
def test_ollamas_loaded_window_is_a_multiple_of_256_and_then_inferred(
    reported: int, allocated: int
) -> None:
    found = capabilities("m", show={}, ps={"context_length": reported})
    evidence = found.evidence["loaded_context_length"]
    assert (found.loaded_context_length, evidence.source) == (allocated, "inferred")
    assert f"GET /api/ps reports {reported}" in evidence.detail


@pytest.mark.parametrize("reported", [None, 0, -1, "4096", 4096.5])
def test_a_loaded_window_that_cannot_be_is_unknown(reported: Any) -> None:
    assert capabilities("m", show={}, ps={"context_length": reported}).loaded_context_length is None


# --- LM Studio ----------------------------------------------------------------------------


def _studio(name: str) -> Any:
    return parse_json((recordings.LMSTUDIO / f"{name}.json").read_text("utf-8"), 100)


def _llm(vision: bool, trained: bool, **facts: Any) -> Facts:
    return {
        **_only("chat"),
        "completion": (True, I),
        "tools": (True, I),
        **_reported(vision=vision, tools_trained=trained, **facts),
    }


_NOMIC: Facts = {**_only("embeddings"), "completion": (False, I)}


def _gemma3(size: str, bytes_: int, longest: int, arch: str, vision: bool) -> Facts:
    return _llm(
        vision, False, max_context_length=longest, architecture=arch, format="mlx",
        parameter_size=size, quantization="4bit", size_bytes=bytes_,
    )  # fmt: skip


_STUDIO: Dict[str, Dict[str, Facts]] = {
    "v1-models-list-docs": {
        "google/gemma-4-26b-a4b": _llm(
            True, True, max_context_length=262144, loaded_context_length=4096, format="gguf",
            architecture="gemma4", parameter_size="26B-A4B", quantization="Q4_K_M",
            size_bytes=17990911801, thinking=True, thinking_levels=("off", "on"),
            thinking_default="on",
        ),
        "deepseek-r1": _llm(
            False, True, max_context_length=131072, format="gguf", architecture="deepseek",
            parameter_size="671B", quantization="Q4_K_M", size_bytes=40492610355,
            thinking=True, thinking_levels=("on",), thinking_default="on",
        ),
        "text-embedding-nomic-embed-text-v1.5-embedding": {
            **_NOMIC,
            **_reported(
                max_context_length=2048, format="gguf", quantization="F16", size_bytes=274290560
            ),
        },
    },
    "v1-models-list-one-loaded-rlmstudio-2026-03": {
        "qwen/qwen3-4b-2507": _llm(
            False, True, max_context_length=262144, architecture="qwen3", format="mlx",
            parameter_size="4B", quantization="4bit", size_bytes=2279153300,
        ),
        "google/gemma-3-1b": {
            **_gemma3("1B", 771933305, 32768, "gemma3_text", False),
            "loaded_context_length": (4096, R),
        },
        "google/gemma-3-4b": _gemma3("4B", 3034755901, 131072, "gemma3", True),
        "google/gemma-3n-e4b": _gemma3("4B", 5858917459, 32768, "gemma3n", True),
        "google/gemma-3-12b": _gemma3("12B", 8068097455, 131072, "gemma3", True),
        "text-embedding-nomic-embed-text-v1.5": {
            **_NOMIC,
            **_reported(
                max_context_length=2048, format="gguf", quantization="Q4_K_M", size_bytes=84106624
            ),
        },
    },
    "v0-models-list-docs": {
        "qwen2-vl-7b-instruct": {
            **_only("chat"), "completion": (True, I), "tools": (True, I),
            **_reported(
                vision=True, max_context_length=32768, architecture="qwen2_vl", format="mlx",
                quantization="4bit",
            ),
        },
        "meta-llama-3.1-8b-instruct": {
            **_only("chat"), "completion": (True, I), "tools": (True, I),
            **_reported(
                vision=False, max_context_length=131072, architecture="llama", format="gguf",
                quantization="Q4_K_M",
            ),
        },
        "text-embedding-nomic-embed-text-v1.5": {
            **_NOMIC,
            **_reported(
                vision=False, max_context_length=2048, architecture="nomic-bert", format="gguf",
                quantization="Q4_0",
            ),
        },
    },
    "v0-models-loaded-vs-max-2026-08-plowshare": {
        "nomic-embed-text": {
            **_NOMIC,
            **_reported(vision=False, max_context_length=2048, loaded_context_length=2048),
        },
        "qwen3.5-9b": _llm(
            True, True, max_context_length=262144, loaded_context_length=128000
        ),
    },
    "v0-models-empty-jit-off-bugtracker-816": {},
}  # fmt: skip


@recordings.needs_lmstudio_samples
@pytest.mark.parametrize("name", _STUDIO)
def test_lm_studios_published_lists(name: str) -> None:
    parse = (
        lmstudio_models.parse_models if name.startswith("v1") else lmstudio_models.parse_old_models
    )
    entries = parse(_studio(name), "p")
    assert entries is not None
    assert {e.info.name: known(e.info.capabilities) for e in entries} == _STUDIO[name]


@recordings.needs_lmstudio_samples
def test_no_list_of_lm_studio_is_left_out() -> None:
    names = {path.stem for path in recordings.LMSTUDIO.glob("v?-models-*list*.json")}
    names |= {path.stem for path in recordings.LMSTUDIO.glob("v0-models-*.json")}
    assert names == set(_STUDIO)


def _entry(**fields: Any) -> ModelCapabilities:
    entries = lmstudio_models.parse_models({"models": [{"key": "m", **fields}]}, "p")
    assert entries is not None
    return entries[0].info.capabilities


def test_a_model_not_trained_for_tools_can_be_given_some() -> None:
    found = _entry(type="llm", capabilities={"trained_for_tool_use": False, "vision": None})
    assert (found.tools, found.tools_trained, found.vision) == (True, False, None)
    assert "in the prompt" in found.evidence["tools"].detail


@pytest.mark.parametrize("kind", [None, "tts", 5])
def test_an_unknown_kind_denies_nothing(kind: Any) -> None:
    found = _entry(type=kind, capabilities={"vision": False})
    assert found.evidence["chat"].source == A
    assert (found.vision, found.tools) == (None, None)


@pytest.mark.parametrize("parse", ["v1", "v0"])
def test_a_decision_model_of_lm_studio_does_not_chat(parse: str) -> None:
    if parse == "v1":
        found = _entry(type="decision", capabilities={"trained_for_tool_use": True})
    else:
        data = {"data": [{"id": "m", "type": "decision"}]}
        entries = lmstudio_models.parse_old_models(data, "p")
        assert entries is not None
        found = entries[0].info.capabilities
    assert (found.decision, found.chat, found.tools) == (True, False, None)
    assert found.evidence["chat"].detail == f"GET /api/{parse}/models: type is decision"


def test_the_window_is_that_of_the_instance_that_answers_for_the_key() -> None:
    instances = [
        {"id": "m:2", "config": {"context_length": 1}},
        {"id": "m", "config": {"context_length": 2}},
    ]
    assert _entry(loaded_instances=instances).loaded_context_length == 2
    assert _entry(loaded_instances=instances[:1]).loaded_context_length == 1
    assert _entry(loaded_instances=[{"id": "m", "config": None}]).loaded_context_length is None


# --- the OpenAI dialect -------------------------------------------------------------------


def _dialect_list(raw: Any) -> Dict[str, Facts]:
    return {
        i.name: known(i.capabilities)
        for i in dialect_models.parse_models(raw, "p", dialect_errors.RULES)
    }


def _guessed(kind: str) -> Dict[str, Tuple[Any, str]]:
    return {**_only(kind, I), "chat": (kind == "chat", A)}


def _writes_only_text() -> Dict[str, Tuple[Any, str]]:
    return {"decision": (False, I), "image_generation": (False, I)}


def test_llama_cpps_recorded_list() -> None:
    _, raw = recordings.dialect_exchange("models")
    assert _dialect_list(json.loads(raw.partition(b"\r\n\r\n")[2])) == {
        "gemma3-270m": {
            **_guessed("chat"),
            **_writes_only_text(),
            **_reported(
                max_context_length=32768, loaded_context_length=512, embedding_length=640,
                parameter_count=268098176, quantization="Q4_K - Medium", size_bytes=246587904,
            ),
        }
    }  # fmt: skip


@recordings.needs_lmstudio_samples
def test_lm_studios_list_in_the_dialect_has_names_only() -> None:
    assert _dialect_list(_studio("openai-models-list-2-models")) == {
        "qwen/qwen3.5-9b": _guessed("chat"),
        "text-embedding-nomic-embed-text-v1.5": _guessed("embeddings"),
    }


def test_ollamas_recorded_list_in_the_dialect_has_names_only() -> None:
    (data,) = ollama_record("v1_models")
    found = _dialect_list(data)
    assert found.pop("all-minilm:latest") == _guessed("embeddings")
    assert len(found) == 6
    assert all(facts == _guessed("chat") for facts in found.values())


def test_what_vllm_serves_is_what_is_allocated() -> None:
    (facts,) = _dialect_list({"data": [{"id": "m", "max_model_len": 8192}]}).values()
    assert facts == {**_guessed("chat"), **_reported(loaded_context_length=8192)}


def test_what_a_model_reads_is_taken_and_what_it_does_not_read_is_no_denial() -> None:
    data = {"data": [{"id": "m", "architecture": {"input_modalities": ["text", "image"]}}]}
    (info,) = dialect_models.parse_models(data, "p", ())
    assert (info.capabilities.vision, info.capabilities.audio) == (True, None)


def test_llama_cpps_recorded_decision_model_does_not_chat() -> None:
    """The same response has ``capabilities: ["completion"]``, which is wrong."""
    _, raw = recordings.dialect_exchange("models_decision")
    data = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert data["models"][0]["capabilities"] == ["completion"]
    assert _dialect_list(data) == {
        "tiny-decider": {
            **_reported(decision=True, chat=False, completion=False),
            "embeddings": (False, I), "image_generation": (False, I),
            "streaming": (False, I), "structured_output": (False, A),
            **_reported(
                max_context_length=32768, loaded_context_length=2048, embedding_length=640,
                parameter_count=268098176, quantization="Q4_K - Medium", size_bytes=246587904,
            ),
        }
    }  # fmt: skip
    (info,) = dialect_models.parse_models(data, "p", dialect_errors.RULES)
    words = "GET /v1/models: output_modalities is decisions"
    assert info.capabilities.evidence["chat"].detail == words
    assert info.capabilities.evidence["decision"].detail == words


def _outputs(*names: Any) -> Dict[str, Any]:
    return {"architecture": {"output_modalities": list(names)}}


# By name: a record of a list, and the values of `chat`, `decision`, `rerank`, `embeddings` and
# `image_generation` with the first letter of their source.
_PURPOSES: Dict[str, Tuple[Dict[str, Any], str]] = {
    "decisions beside text": (_outputs("text", "decisions"), "True/i True/r - False/i False/i"),
    "a router's unloaded model": (
        {**_outputs("decisions"), "status": {"value": "unloaded"}},
        "False/r True/r - False/i False/i",
    ),
    "an old server": ({}, "True/a - - False/i -"),
    "no list": ({"architecture": {"output_modalities": "text"}}, "True/a - - False/i -"),
    "an unknown output": (_outputs("video", 5, None), "True/a False/i - False/i False/i"),
    "an unknown output beside a known one": (
        _outputs("video", "decisions"), "False/r True/r - False/i False/i",
    ),
    "images": (_outputs("image"), "False/r False/i - False/i True/r"),
    "images and text": (_outputs("image", "text"), "True/i False/i - False/i True/r"),
    "vectors": (_outputs("embeddings"), "False/r False/i - True/r False/i"),
    "a ranking": (_outputs("rerank"), "False/r False/i True/r False/i False/i"),
    "the label of a ranking": ({"labels": ["reranking"]}, "False/r - True/r False/i -"),
    "the label of vectors": ({"labels": ["embeddings", "hot"]}, "False/r - - True/r -"),
    "other labels": ({"labels": ["hot", "custom"]}, "True/a - - False/i -"),
    "the type of a ranking": ({"type": "rerank"}, "False/r - True/r False/i -"),
    "the type of an image model": ({"type": "image"}, "False/r - - False/i True/r"),
    "an unknown type": ({"type": "model"}, "True/a - - False/i -"),
    "a flag": ({"supports_chat": False}, "False/r - - False/i -"),
    "a flag that is set": ({"supports_chat": True}, "True/a - - False/i -"),
    "a flag in an object": ({"capabilities": {"completion_chat": False}}, "False/r - - False/i -"),
}  # fmt: skip


@pytest.mark.parametrize("case", _PURPOSES)
def test_a_model_with_another_purpose_does_not_chat(case: str) -> None:
    data, expected = _PURPOSES[case]
    found = dialect_models.capabilities("m", data)
    facts = [
        f"{getattr(found, name)}/{found.evidence[name].source[0]}"
        if name in found.evidence
        else "-"
        for name in ("chat", "decision", "rerank", "embeddings", "image_generation")
    ]
    assert " ".join(facts) == expected


@pytest.mark.parametrize("name", ["bge-reranker-v2-m3", "Qwen3-Reranker-0.6B", "jina-rerank"])
def test_a_name_hints_at_a_model_that_ranks(name: str) -> None:
    found = dialect_models.capabilities(name, {})
    assert (found.rerank, found.chat, found.embeddings) == (True, False, False)
    assert {found.evidence[each].source for each in ("rerank", "chat", "embeddings")} == {I}


# --- the fake servers ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ollama", "lmstudio", "lmstudio 0.3", "openai"])
def test_a_decision_model_of_a_fake_server_does_not_chat(kind: str) -> None:
    models: List[Union[str, FakeModel]] = [
        FakeModel(name="decider", abilities=("decision",)),
        "talker",
    ]
    with contextlib.ExitStack() as stack:
        provider: ModelProvider
        if kind == "ollama":
            provider = OllamaProvider(stack.enter_context(FakeOllama(models)).url)
        elif kind == "openai":
            fake = stack.enter_context(FakeOpenAICompatible(models))
            provider = OpenAICompatibleProvider(fake.base_url)
        else:
            generation = kind.partition(" ")[2] or "0.4"
            studio = stack.enter_context(FakeLMStudio(models, generation=generation))
            provider = LMStudioProvider(studio.url)
        stack.enter_context(contextlib.closing(provider))
        listed = [info.capabilities for info in provider.list_models()]
        with LocalProvider([provider], needs={"decision"}) as local:
            assert local.model_capabilities("decider").decision

    assert [(found.decision is True, found.chat) for found in listed] == [
        (True, False), (False, True),
    ]  # fmt: skip
    assert listed[0].evidence["decision"].source == R
