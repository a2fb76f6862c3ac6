"""Every public record: equal after a conversion to a dictionary and back, no content in its repr."""

from __future__ import annotations

import copy
import json
import math
import pickle
from array import array
from datetime import datetime, timezone
from typing import Any, Dict, List

import pytest

from localproviders._record import Record
from localproviders.types import (
    CapabilityEvidence,
    CompletionChunk,
    CompletionRequest,
    CompletionResponse,
    Decision,
    Decisions,
    EmbeddingRequest,
    EmbeddingResponse,
    Image,
    Limits,
    Message,
    ModelCapabilities,
    ModelInfo,
    Parsed,
    PartialRun,
    RankedDocument,
    Ranking,
    ServerTimings,
    Timings,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolRun,
    ToolStep,
    Usage,
)

_PNG = b"\x89PNG\r\n\x1a\n needle"
_CALL = ToolCall(id="c1", name="f", arguments={"x": "needle"})
_TOP = TokenLogprob(token="needle", logprob=-2.0)
_LOGPROB = TokenLogprob(token="needle", logprob=-1.0, data=b"needle", top=(_TOP,))
_USAGE = Usage(prompt_tokens=1, completion_tokens=2, thinking_tokens=1, cached_tokens=0)

_STEP = ToolStep(
    call=_CALL, content="needle", error="needle", elapsed_s=0.5, round=2, converted=("needle",)
)
_RESPONSE = CompletionResponse(text="needle", tool_calls=(_CALL,), model="m", provider="p")
_DECISION = Decision(
    name="needle",
    kind="choice",
    source="logprobs",
    probabilities={"needle": 0.75, "hay": 0.25},
    mass=0.5,
    server_confidence=0.25,
)

# Every text of a person or a model is the word "needle".
_VALUES: List[Record] = [
    Image.from_bytes(_PNG),
    Tool(name="f", description="d", parameters={"type": "object", "properties": {"x": {}}}),
    _CALL,
    Message.user("needle", images=[Image.from_bytes(_PNG)]),
    Message(role="assistant", content="needle", thinking="needle", tool_calls=(_CALL,)),
    Message.tool("needle", _CALL),
    CompletionRequest(
        model="m",
        messages=(Message.system("needle"), Message.user("needle")),
        tools=(Tool(name="f"),),
        stop=("needle",),
        temperature=0.5,
        extra_body={"x": "needle"},
        overflow="truncate",
        strict=False,
    ),
    CompletionRequest(prompt="needle", suffix="needle", keep_alive=math.inf),
    EmbeddingRequest(texts=("needle", "needle"), dimensions=3),
    _USAGE,
    Timings(first_token_s=0.5, total_s=1.5),
    ServerTimings(load_s=1.0, prompt_s=2.0, generation_s=3.0, total_s=6.0),
    _LOGPROB,
    CompletionResponse(
        text="needle",
        thinking="needle",
        tool_calls=(_CALL,),
        model="m",
        provider="p",
        finish_reason="stop",
        usage=_USAGE,
        timings=Timings(total_s=1.0),
        server_timings=ServerTimings(load_s=1.0),
        logprobs=(_LOGPROB,),
        warnings=("w",),
        attempts=2,
    ),
    EmbeddingResponse(
        vectors=(array("f", [1.0, 0.1]), array("f", [2.0, 0.2])), model="m", provider="p"
    ),
    Ranking(
        results=(RankedDocument(index=1, score=0.5, document="needle"),),
        model="m",
        provider="p",
        endpoint="e",
        usage=_USAGE,
        attempts=2,
    ),
    CapabilityEvidence(source="reported", detail="d"),
    ModelCapabilities(
        chat=True,
        vision=False,
        thinking_levels=("low", "high"),
        max_context_length=5,
        size_bytes=6,
        evidence={"chat": CapabilityEvidence(source="assumed", detail="d")},
    ),
    ModelInfo(
        name="m",
        provider="p",
        modified_at=datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone.utc),
        loaded=True,
        capabilities=ModelCapabilities(chat=True),
    ),
    Limits(total_s=5.0),
    Parsed(value={"x": "needle"}, response=_RESPONSE, attempts=2),
    _STEP,
    ToolRun(messages=(Message.user("needle"),), responses=(_RESPONSE,), steps=(_STEP,)),
    _DECISION,
    Decisions(
        model="m",
        provider="p",
        answers={"needle": _DECISION},
        endpoint="http://127.0.0.1:1",
        usage=_USAGE,
        warnings=("w",),
    ),
    PartialRun(added=(Message.tool("needle", _CALL),), responses=(_RESPONSE,), steps=(_STEP,)),
]
_IDS = [f"{type(value).__name__}{number}" for number, value in enumerate(_VALUES)]


@pytest.mark.parametrize("value", _VALUES, ids=_IDS)
def test_a_value_comes_back_from_json(value: Record) -> None:
    assert type(value).from_dict(json.loads(json.dumps(value.to_dict()))) == value


@pytest.mark.sample(66)
@pytest.mark.parametrize("value", _VALUES, ids=_IDS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_value_comes_back_from_a_pickle(value: Record, protocol: int) -> None:
    assert pickle.loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("value", _VALUES, ids=_IDS)
def test_a_value_copies(value: Record) -> None:
    assert copy.copy(value) == copy.deepcopy(value) == value.replace() == value


@pytest.mark.parametrize("value", _VALUES, ids=_IDS)
def test_a_repr_never_shows_content(value: Record) -> None:
    assert "needle" not in repr(value)


@pytest.mark.parametrize("value", _VALUES, ids=_IDS)
def test_a_value_takes_keywords_only(value: Record) -> None:
    with pytest.raises(TypeError):
        type(value)("positional")  # type: ignore[call-arg]  # the mistake under test


@pytest.mark.parametrize("value", _VALUES, ids=_IDS)
def test_an_unknown_key_is_named(value: Record) -> None:
    with pytest.raises(ValueError, match="no field 'qqq'"):
        type(value).from_dict({**value.to_dict(), "qqq": 1})


@pytest.mark.parametrize(
    ("cls", "data", "near"),
    [
        (Message, {"role": "user", "contnet": "x"}, "content"),
        (CompletionRequest, {"prompt": "x", "temprature": 1}, "temperature"),
        (Limits, {"idle": 1}, "idle_s"),
        (ModelInfo, {"name": "x", "provider": "p", "digst": "1"}, "digest"),
    ],
)
def test_an_unknown_key_names_the_nearest(cls: Any, data: Dict[str, Any], near: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        cls.from_dict(data)


@pytest.mark.parametrize("cls", [CompletionResponse, ModelInfo])
def test_the_raw_record_is_kept_out_of_everything(cls: Any) -> None:
    base = {"text": "", "model": "m", "provider": "p", "name": "m"}
    known = {key: value for key, value in base.items() if key in cls.__dataclass_fields__}
    value, without = cls(**known, raw={"x": "needle"}), cls(**known)
    assert value == without
    assert value.raw == {"x": "needle"}
    for shown in (repr(value), json.dumps(value.to_dict()), repr(pickle.dumps(value))):
        assert "needle" not in shown
    assert pickle.loads(pickle.dumps(value)).raw is None


# --- chunks ---------------------------------------------------------------------------------

_CHUNK: Dict[str, Any] = {
    "text": "needle",
    "thinking": "needle",
    "tool_calls": (_CALL,),
    "logprobs": (_LOGPROB,),
    "model": "m",
    "finish_reason": "stop",
    "usage": _USAGE,
    "server_timings": ServerTimings(load_s=1.0),
}


@pytest.mark.parametrize("name", _CHUNK)
def test_chunks_are_equal_if_all_fields_are(name: str) -> None:
    empty = CompletionChunk()
    assert CompletionChunk(**_CHUNK) == CompletionChunk(**_CHUNK)
    assert CompletionChunk(**{name: _CHUNK[name]}) != empty
    assert CompletionChunk(**{**_CHUNK, name: getattr(empty, name)}) != CompletionChunk(**_CHUNK)


def test_a_chunk_equals_only_chunks_and_not_by_its_raw_record() -> None:
    assert CompletionChunk(raw={"a": 1}) == CompletionChunk()
    assert CompletionChunk() != {}
    with pytest.raises(TypeError):
        hash(CompletionChunk())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_chunk_pickles_without_its_raw_record(protocol: int) -> None:
    chunk = CompletionChunk(**_CHUNK, raw={"x": "haystack"})
    pickled = pickle.dumps(chunk, protocol)
    assert b"haystack" not in pickled
    assert pickle.loads(pickled) == chunk
    assert pickle.loads(pickled).raw is None


def test_a_chunk_shows_no_content_and_is_plain_json() -> None:
    chunk = CompletionChunk(**_CHUNK, raw={"x": "haystack"})
    assert "needle" not in repr(chunk)
    data = json.loads(json.dumps(chunk.to_dict()))
    assert set(data) == set(_CHUNK)
    assert CompletionChunk().to_dict() == {}


def test_a_chunk_is_slotted_and_takes_keywords_only() -> None:
    with pytest.raises(AttributeError):
        CompletionChunk().txt = ""  # type: ignore[attr-defined]  # the mistake under test
    with pytest.raises(TypeError):
        CompletionChunk("text")  # type: ignore[misc]  # the mistake under test


@pytest.mark.parametrize(
    ("fields", "says"),
    [({}, False), ({"finish_reason": "stop"}, False)]
    + [({name: _CHUNK[name]}, True) for name in ("text", "thinking", "tool_calls")],
)
def test_a_chunk_says_something_if_it_holds_text_thinking_or_a_call(
    fields: Dict[str, Any], says: bool
) -> None:
    assert CompletionChunk(**fields).has_content is says


# --- answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "completion", "total"), [(1, 2, 3), (None, 2, None), (1, None, None), (0, 0, 0)]
)
def test_the_total_is_known_only_if_both_parts_are(
    prompt: Any, completion: Any, total: Any
) -> None:
    assert Usage(prompt_tokens=prompt, completion_tokens=completion).total_tokens == total


def test_an_answer_becomes_a_message_for_the_history() -> None:
    response = CompletionResponse(
        text="a", thinking="t", tool_calls=(_CALL,), model="m", provider="p"
    )
    expected = Message(role="assistant", content="a", thinking="t", tool_calls=(_CALL,))
    assert response.message == expected


def test_vectors_come_as_lists_made_anew() -> None:
    response = EmbeddingResponse(
        vectors=(array("f", [1.0, 0.5]), array("f", [0.0, 2.0])), model="m", provider="p"
    )
    assert response.embeddings == [[1.0, 0.5], [0.0, 2.0]]
    assert response.embeddings is not response.embeddings
    assert response.dimensions == 2


def test_without_numpy_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from localproviders.errors import DependencyError

    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    response = EmbeddingResponse(vectors=(array("f", [1.0]),), model="m", provider="p")
    with pytest.raises(DependencyError, match="pip install numpy"):
        response.to_numpy()


def test_with_numpy_the_vectors_are_one_matrix() -> None:
    numpy = pytest.importorskip("numpy")
    rows = (array("f", [1.0, 0.5]), array("f", [0.0, 2.0]))
    matrix = EmbeddingResponse(vectors=rows, model="m", provider="p").to_numpy()
    assert (matrix.shape, matrix.dtype) == ((2, 2), numpy.float32)
    assert matrix.tolist() == [[1.0, 0.5], [0.0, 2.0]]
