"""Equal records have equal hashes; a record that contains an array has none."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import re
from array import array
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from localproviders import (
    Config,
    Discovery,
    FoundServer,
    LMStudioProvider,
    OllamaProvider,
)
from localproviders._address import Endpoint
from localproviders._record import Record
from localproviders.capabilities import Evidence
from localproviders.config import Origin, ServerConfig
from localproviders.discovery import Probe
from localproviders.kinds import KindKey, ProviderKind, register, unregister
from localproviders.ollama import ModelDetails
from localproviders.schema import arguments_for, schema_of
from localproviders.secret import SecretString
from localproviders.settings import Settings
from localproviders.telemetry import CallEvent
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama, Refusal, Reply
from localproviders.types import (
    CapabilityEvidence,
    CompletionRequest,
    CompletionResponse,
    DownloadJob,
    EmbeddingRequest,
    EmbeddingResponse,
    Image,
    Limits,
    LoadedModel,
    Message,
    ModelCapabilities,
    ModelInfo,
    Parsed,
    PartialRun,
    Progress,
    RetryPolicy,
    ServerAttempt,
    TokenCount,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolRun,
    ToolStep,
)

_SCHEMA = {"type": "object", "properties": {"x": {"enum": [1, None, [2]]}}, "required": ["x"]}
_NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


def _of_calls() -> List[Record]:
    call = ToolCall(id="c", name="f", arguments={"x": [1, {"y": "z"}]})
    tool = Tool(name="f", parameters=_SCHEMA, function=print)
    said = Message(role="assistant", content="a", tool_calls=(call,))
    response = CompletionResponse(
        text="t",
        model="m",
        provider="p",
        tool_calls=(call,),
        logprobs=(TokenLogprob(token="t", logprob=-1.0, data=b"t"),),
        tried=(ServerAttempt(provider="q", model="m"),),
        raw={"a": []},
    )
    step = ToolStep(call=call, content="r")
    return [
        call,
        tool,
        said,
        response,
        step,
        Message.user("x"),
        Message.user("x", images=[Image(data=b"i", media_type="image/png")]),
        CompletionRequest(messages=(Message.user("x"), said), model="m"),
        CompletionRequest(prompt="p", tools=(tool,), response_schema=_SCHEMA, stop=["a"]),
        CompletionRequest(prompt="p", extra_body={"options": {"list": [1]}, "flag": True}),
        EmbeddingRequest(texts=["a", "b"]),
        Parsed(value={"x": [1]}, response=response),
        ToolRun(messages=(said,), responses=(response,), steps=(step,)),
        PartialRun(added=(said,), responses=(response,), steps=(step,)),
    ]


def _of_models() -> List[Record]:
    fact = CapabilityEvidence(source="reported", detail="d")
    capabilities = ModelCapabilities(chat=True, evidence={"chat": fact})
    model = ModelInfo(name="m", provider="p", capabilities=capabilities, raw={"a": []})
    loaded = LoadedModel(name="m", provider="p", expires_at=_NOW)
    server = FoundServer(kind="ollama", name="n", endpoint="e", models=(model,), loaded=(loaded,))
    return [
        fact,
        capabilities,
        model,
        loaded,
        server,
        Discovery(found_at=_NOW, servers=(server,)),
        Probe(endpoint="e", outcome="nothing", reason="r"),
        Evidence(detail="d", said={"chat": "c"}, facts={"x": [1]}, follows={"x": ([1], "r")}),
        ModelDetails(info=model, parameters={"stop": ["a"]}, metadata={"a": [1]}),
        Progress(status="s"),
        DownloadJob(status="s", started_at=_NOW),
        TokenCount(tokens=1, source="exact"),
    ]


def _of_settings() -> List[Record]:
    endpoint = Endpoint(scheme="http", host="h", port=1)
    proxies = {"https": "http://me:password@proxy"}
    return [
        endpoint,
        Limits(),
        RetryPolicy(),
        Settings(endpoint=endpoint, name="n", api_key=SecretString("secret-key")),
        Settings(endpoint=endpoint, name="n", locality="any", proxies=proxies),
        ServerConfig(name="n", kind="ollama", proxies=proxies),
        Config(aliases={"a": ("b",)}, origins={"limits": Origin(file=Path("f"))}),
        CallEvent(kind="started", operation="chat", provider="p", endpoint="e"),
        FakeModel(name="m"),
        Reply(text="r"),
        Refusal(status="500 No", body={"error": ["e"]}, headers={"A": "b"}),
    ]


def _values() -> List[Record]:
    return [*_of_calls(), *_of_models(), *_of_settings()]


_IDS = [f"{type(value).__name__}{number}" for number, value in enumerate(_values())]


@pytest.mark.sample(19)
@pytest.mark.parametrize("at", range(len(_IDS)), ids=_IDS)
def test_equal_values_have_one_hash_and_one_place_in_a_set(at: int) -> None:
    one, other = _values()[at], _values()[at]
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, one.replace(), copy.copy(one), copy.deepcopy(one)}) == 1


@pytest.mark.sample(24)
@pytest.mark.parametrize("at", range(len(_IDS)), ids=_IDS)
def test_a_hash_outlives_a_pickle(at: int) -> None:
    value = _values()[at]
    found = pickle.loads(pickle.dumps(value))
    if found == value:  # a literal secret is not pickled
        assert hash(found) == hash(value)
    assert isinstance(hash(found), int)


def test_another_value_is_another_member() -> None:
    assert len({*_values()}) == len(_IDS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": 1}, {"x": True}),
        ({"x": [1, 2]}, {"x": [1.0, 2]}),
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}),
    ],
)
def test_the_hash_agrees_with_equality(one: Dict[str, Any], other: Dict[str, Any]) -> None:
    made = [ToolCall(id="c", name="f", arguments=each) for each in (one, other)]
    assert made[0] == made[1]
    assert len({*made}) == 1


def test_the_models_of_a_server_fit_into_a_set() -> None:
    for fake, provider in ((FakeOllama, OllamaProvider), (FakeLMStudio, LMStudioProvider)):
        with fake(["a", "b"]) as server, provider(server.url) as client:
            assert len({*client.list_models(), *client.list_models()}) == 2


def test_vectors_have_no_hash() -> None:
    response = EmbeddingResponse(vectors=(array("f", [1.0]),), model="m", provider="p")
    with pytest.raises(TypeError, match="unhashable type: 'EmbeddingResponse'"):
        hash(response)


def test_a_parsed_value_has_a_hash_whatever_the_value_is() -> None:
    @dataclasses.dataclass
    class City:
        name: str

    response = CompletionResponse(text="t", model="m", provider="p")
    one, other = (Parsed(value=City(name="Oslo"), response=response) for _ in range(2))
    members = {one}
    assert other in members
    one.value.name = "Rome"
    assert one in members
    assert one != other
    assert len({one, other}) == 2


# --- sequences and dictionaries ---------------------------------------------------------------


def _sequences(value: Record) -> List[str]:
    return [
        each.name
        for each in dataclasses.fields(value)
        if re.match(r"(Tuple\[.*\.\.\.\]|Sequence\[.*\])$", str(each.type))
    ]


@pytest.mark.parametrize("at", range(len(_IDS)), ids=_IDS)
def test_a_list_that_is_given_for_a_sequence_becomes_a_tuple(at: int) -> None:
    value = _values()[at]
    given = {name: list(getattr(value, name)) for name in _sequences(value)}
    found = value.replace(**given)
    assert found == value
    assert hash(found) == hash(value)
    assert {name: type(getattr(found, name)) for name in given} == dict.fromkeys(given, tuple)


def test_vectors_in_a_list_become_a_tuple() -> None:
    vectors = [array("f", [1.0])]
    response = EmbeddingResponse(vectors=vectors, model="m", provider="p")  # type: ignore[arg-type]  # what untyped programs pass
    assert response.vectors == tuple(vectors)


def _comes_back(value: Record) -> bool:
    """Return whether a value can be restored from JSON, which keeps no secret and no tuple."""
    has_secret = getattr(value, "api_key", None) or getattr(value, "proxies", None)
    return not has_secret and not isinstance(value, Evidence)


@pytest.mark.parametrize("at", range(len(_IDS)), ids=_IDS)
def test_a_dictionary_becomes_an_equal_value_again(at: int) -> None:
    value = _values()[at]
    data = json.loads(json.dumps(value.to_dict()))
    if _comes_back(value):
        assert type(value).from_dict(data) == value


def test_a_whole_configuration_becomes_an_equal_value_again() -> None:
    kind = ProviderKind(
        name="round-trip",
        title="Round trip",
        provider="localproviders.openai_compatible:OpenAICompatibleProvider",
        keys=(
            KindKey(name="cards", type="list", meaning="m", example="e"),
            KindKey(name="weights", type="file", meaning="m", example="e"),
            KindKey(name="slots", type="number", meaning="m", example="e"),
        ),
    )
    own_keys = {"cards": ("a", "b"), "weights": Path("/w"), "slots": 2}
    register(kind)
    try:
        servers = (
            ServerConfig(name="a", kind=kind.name, own_keys=own_keys, client_cert=("c", "k")),
            ServerConfig(name="b", kind="gguf", gguf=Path("/m.gguf"), limits=Limits(total_s=5)),
            ServerConfig(name="c", kind="nobody-knows-it", retry=RetryPolicy(attempts=1)),
        )
        config = Config(
            servers=servers,
            aliases={"x": ("a/m", "b/m")},
            fallback=("b", "a"),
            limits=Limits(total_s=math.inf),
            retry=RetryPolicy(attempts=2),
            trusted_folders=(Path("/t"),),
            origins={"limits.total_s": Origin(kind="file", file=Path("/f"), line=2)},
        )
        for value in (config, *servers):
            assert type(value).from_dict(json.loads(json.dumps(value.to_dict()))) == value
    finally:
        unregister(kind.name)


def test_settings_become_equal_ones_again() -> None:
    endpoint = Endpoint(scheme="http", host="h", port=1)
    settings = Settings(
        endpoint=endpoint,
        name="n",
        limits=Limits(idle_s=2),
        retry=RetryPolicy(attempts=1),
        client_cert=("c", "k"),
        locality="any",
        proxies="environment",
        listeners=(print,),
    )
    assert Settings.from_dict(settings.to_dict()) == settings


# --- the mappings inside --------------------------------------------------------------------


def test_a_mapping_inside_a_value_cannot_be_changed() -> None:
    tool = Tool(name="f", parameters={"type": "object"})
    changed: Any = tool.parameters
    with pytest.raises(TypeError, match="replace"):
        changed["type"] = "array"
    assert tool.replace(parameters={**tool.parameters, "type": "array"}) != tool


def test_a_value_keeps_what_it_was_given_whatever_becomes_of_the_dictionary() -> None:
    given = {"x": 1}
    request = CompletionRequest(prompt="p", extra_body=given, response_schema=given)
    given["x"] = 2
    assert request.extra_body == request.response_schema == {"x": 1}


_DEEP: Dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"enum": [1, [2], {"y": 3}]}, "pair": ({"z": 4}, 5)},
    "required": ["x"],
}

_HOLDERS: Dict[str, Callable[[Dict[str, Any]], Tuple[Record, str]]] = {
    "parameters": lambda it: (Tool(name="f", parameters=it), "parameters"),
    "arguments": lambda it: (ToolCall(id="c", name="f", arguments=it), "arguments"),
    "extra_body": lambda it: (CompletionRequest(prompt="p", extra_body=it), "extra_body"),
    "response_schema": lambda it: (
        CompletionRequest(prompt="p", response_schema=it),
        "response_schema",
    ),
    "own_keys": lambda it: (ServerConfig(name="n", kind="k", own_keys=it), "own_keys"),
}


@pytest.mark.parametrize("name", _HOLDERS)
def test_a_value_keeps_what_is_nested_in_the_dictionary_that_it_was_given(name: str) -> None:
    given = copy.deepcopy(_DEEP)
    value, field = _HOLDERS[name](given)
    members = {value}
    given["properties"]["more"] = {}
    given["properties"]["x"]["enum"][1].append(3)
    given["properties"]["pair"][0]["z"] = 5
    given["required"].append("pair")
    assert getattr(value, field) == _DEEP
    assert value in members


_DEEP_CHANGES: Dict[str, Callable[[Any], Any]] = {
    "a dictionary": lambda it: it["properties"].update(more={}),
    "one in a list": lambda it: it["properties"]["x"]["enum"][2].pop("y"),
    "one in a tuple": lambda it: it["properties"]["pair"][0].clear(),
    "a list": lambda it: it["required"].append("pair"),
    "a list in a list": lambda it: it["properties"]["x"]["enum"][1].sort(),
}


@pytest.mark.parametrize("change", _DEEP_CHANGES)
@pytest.mark.parametrize("name", _HOLDERS)
def test_nothing_inside_a_value_can_be_changed(name: str, change: str) -> None:
    value, field = _HOLDERS[name](_DEEP)
    with pytest.raises(TypeError, match=r"make a changed copy.*to_dict\(\).*replace\(\.\.\.\)"):
        _DEEP_CHANGES[change](getattr(value, field))
    assert getattr(value, field) == _DEEP
    plain = value.to_dict()[field]
    if change != "one in a tuple":  # JSON has lists instead of tuples
        _DEEP_CHANGES[change](plain)
    assert plain is not value.to_dict()[field]


def test_the_default_parameters_of_a_tool_cannot_be_changed_either() -> None:
    changed: Any = Tool(name="f").parameters
    with pytest.raises(TypeError, match="dictionary"):
        changed["properties"]["x"] = {}


def test_a_function_may_change_the_arguments_that_it_is_given() -> None:
    def trim(words: List[str], options: Dict[str, Any], rest: Any) -> str:
        words.sort()
        options["inner"]["x"] = 2
        rest.append(1)
        return f"{words} {options} {rest}"

    arguments = {"words": ["b", "a"], "options": {"inner": {}}, "rest": []}
    call = ToolCall(id="c", name="trim", arguments=arguments)
    by_hand = Tool(name="trim", parameters={"additionalProperties": True}, function=trim)
    for tool in (trim, by_hand):
        assert trim(**arguments_for(tool, call.arguments)) == "['a', 'b'] {'inner': {'x': 2}} [1]"
    assert call.arguments == arguments


def test_a_schema_made_of_a_frozen_one_can_be_changed() -> None:
    parameters = {**_DEEP, "properties": {"x": {"enum": [[1]]}}}
    made = schema_of(Tool(name="f", parameters=parameters).parameters)
    made["required"].append("y")
    made["properties"]["x"]["enum"][0].append(2)
    assert made["properties"] == {"x": {"enum": [[1, 2]]}}


def test_no_field_of_a_value_begins_as_a_dictionary_that_can_be_changed() -> None:
    """Such a field would probably be missing in the call of `_freeze` in `__post_init__`."""
    subclasses = [cls for cls in Record.__subclasses__() if cls.__module__.startswith("localp")]
    fields = [
        each for cls in subclasses for each in getattr(cls, "__dataclass_fields__", {}).values()
    ]
    assert len(fields) > 200
    assert [each.name for each in fields if each.default_factory is dict] == []
