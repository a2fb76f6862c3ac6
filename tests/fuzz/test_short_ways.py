"""The short ways, for pieces of text, and the full reading: the same chunks, errors and text."""

from __future__ import annotations

import copy
import json
from typing import Any, Callable, Iterable, List, Optional, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localproviders._http.deadline import Call
from localproviders._http.framing import NDJSONDecoder, SSEDecoder
from localproviders._http.stream import Stream
from localproviders._http.summary import Pieces as Growing
from localproviders.errors import ProviderError
from localproviders.lmstudio import wire as studio
from localproviders.ollama import wire as ollama
from localproviders.openai_compatible import wire as dialect
from localproviders.types import CompletionChunk, CompletionResponse, Limits
from localproviders.types.answer import LikeChunk
from tests.fuzz import records
from tests.fuzz.pieces import cut, examples, mutated

PARSERS = {
    "ollama": (lambda: ollama.ChunkParser(100), NDJSONDecoder),
    "dialect": (lambda: dialect.ChunkParser(100, dialect.RULES), SSEDecoder),
    "studio": (lambda: studio.EventParser(100, studio.RULES), SSEDecoder),
}


# --- a body, and its two readings -------------------------------------------------------------


class Pieces:
    """As much of an open answer as a stream asks for."""

    attempts = 1
    ended = False

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.call = Call(Limits())
        self._pieces = filter(None, pieces)  # an empty one is the end

    def read(self) -> bytes:
        return next(self._pieces, b"")

    def finish(self) -> None:
        self.ended = True

    close = cancel = finish


class Slow:
    """A decoder or parser without its short way."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        if hasattr(inner, "_in_one_go"):
            inner._in_one_go = lambda piece: ([], piece)

    def quick(self, _: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def describe(chunk: CompletionChunk) -> Any:
    return chunk.to_dict(), repr(chunk), chunk.raw


def walk(pieces: Iterable[bytes], decoder: Any, parser: Any) -> Tuple[List[Any], Any, int]:
    """Give the chunks, the end of the answer, and how many chunks came the short way."""
    stream = Stream(
        Pieces(pieces),  # type: ignore[arg-type]  # see there
        decoder,
        parser,
        max_bytes=1 << 20,
        inspect=lambda chunk: None,
        conclude=lambda summary: summary.response(provider="p", model="m", warnings=()),
        explain=lambda error: error,
        abandon=lambda error: None,
    )
    chunks, short = [], 0
    end: Any = None
    try:
        for chunk in stream:
            chunks.append(describe(chunk))
            short += isinstance(chunk, LikeChunk)
        response: CompletionResponse = stream.result()
        timings = response.replace(timings=response.timings.replace(first_token_s=0, total_s=0))
        end = timings, response.raw
    except ProviderError as error:
        end = type(error), str(error), error.partial
    return chunks, (end, stream.text, stream.thinking), short


# --- bodies -----------------------------------------------------------------------------------

_words = st.text(max_size=8) | st.sampled_from(
    ["", " token", '"', "\\", "\n", "\t", "\u2028", "é", "😀", "<think>", "</think>", "a", ",", ":",
     "content", "m", "\x7f", "\ud83d"]
)  # fmt: skip


def _ollama(words: str, thinks: bool) -> Any:
    message = {"role": "assistant", "content": "" if thinks else words}
    if thinks:
        message["thinking"] = words
    time = f"2026-01-02T03:04:05.{len(words)}Z"
    return {"model": "m", "created_at": time, "message": message, "done": False}


def _dialect(words: str, thinks: bool) -> Any:
    delta = {"reasoning_content" if thinks else "content": words}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c", "created": 1_760_000_000, "model": "m", "choices": [choice]}


def _studio(words: str, thinks: bool) -> Any:
    return {"type": "reasoning.delta" if thinks else "message.delta", "content": words}


MAKERS = {
    "ollama": (_ollama, records.OLLAMA_CHUNKS),
    "dialect": (_dialect, records.DIALECT_CHUNKS),
    "studio": (_studio, records.STUDIO_EVENTS),
}


@st.composite
def bodies(draw: Any, kind: str) -> bytes:
    """Give a body of records that are mostly alike, some of them broken on the way."""
    make, good = MAKERS[kind]
    ascii_only, separators = draw(st.booleans()), draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    lines: List[str] = []
    for _ in range(draw(st.integers(0, 12))):
        kinds = ["text", "text", "text", "thinking", "mutant"]
        what = draw(st.sampled_from(kinds))
        value = draw(mutated(good)) if what == "mutant" else make(draw(_words), what == "thinking")
        lines.append(json.dumps(value, ensure_ascii=ascii_only, separators=separators))
    data = [line.encode("utf-8", "surrogatepass") for line in lines]
    if data and draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] += draw(
            st.sampled_from(
                [b" ", b"}", b"\n", b"\r", b"\xff", b"\\", b"\n\n", b"\x00", b"\ndata: x"]
            )
        )
    if kind == "ollama":
        return b"\n".join(data) + b"\n"
    return b"".join(b"data: %b\n\n" % line for line in data) + draw(
        st.sampled_from([b"", b"data: [DONE]\n\n", b": ping\n\n", b"data: [DONE]"])
    )


@pytest.mark.parametrize("kind", list(PARSERS))
@examples(300)
@given(data=st.data())
def test_the_short_ways_give_what_the_full_reading_gives(kind: str, data: st.DataObject) -> None:
    parser, decoder = PARSERS[kind]
    body = data.draw(bodies(kind))
    at = data.draw(st.lists(st.integers(0, max(len(body), 1)), max_size=8))
    limit = data.draw(st.sampled_from([1 << 20, 1 << 20, 150, 60]))
    exact = walk([body], Slow(decoder(limit)), Slow(parser()))

    for pieces in ([body], cut(body, at), [body[i : i + 1] for i in range(len(body))]):
        assert walk(pieces, decoder(limit), parser())[:2] == exact[:2]


@pytest.mark.parametrize("kind", list(PARSERS))
@pytest.mark.parametrize("thinks", [False, True], ids=["text", "thinking"])
def test_pieces_of_text_do_come_the_short_way(kind: str, thinks: bool) -> None:
    make, _ = MAKERS[kind]
    lines = [
        json.dumps(make(word, thinks)).encode() for word in ["Hi", " you", "\n", '"', "é", " x"]
    ]
    body = (
        b"\n".join([*lines, b""])
        if kind == "ollama"
        else b"".join(b"data: %b\n\n" % line for line in lines)
    )
    parser, decoder = PARSERS[kind]

    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        chunks, _, short = walk(pieces, decoder(1 << 20), parser())

        assert len(chunks) == 6
        assert short >= 4


# --- templates --------------------------------------------------------------------------------


def quick(kind: str, first: Any, then: Any) -> Optional[CompletionChunk]:
    """Read a record in full, and the next one the short way."""
    parser = PARSERS[kind][0]()
    parser.parse(first if isinstance(first, str) else json.dumps(first))
    return parser.quick(then if isinstance(then, str) else json.dumps(then))


FIRST = _ollama("Hi", False)
OTHERS: List[Any] = [
    {**_ollama(" you", False), "remote_host": "https://ollama.com:443"},
    {**_ollama(" you", False), "model": "other"},
    {**_ollama(" you", False), "done": True},
    {**_ollama(" you", False), "error": "no"},
    _ollama("", False),
    _ollama(" you", True),
    json.dumps(_ollama(" you", False)) + " ",
    json.dumps(_ollama("@", False)).replace("@", "\\q"),
    json.dumps(_ollama("@", False)).replace("@", "\x01"),
    json.dumps(_ollama("@", False)).replace("@", '", "content": "x'),
]


@pytest.mark.parametrize("other", OTHERS, ids=range(len(OTHERS)))
def test_a_record_that_differs_in_more_than_its_text_is_read_in_full(other: Any) -> None:
    assert quick("ollama", FIRST, _ollama(" you", False)) is not None
    assert quick("ollama", FIRST, other) is None


TWICE: List[Tuple[str, Callable[[str], Any]]] = [
    ("m", lambda words: _ollama(words, False)),  # the model's name, and the text
    ("content", lambda words: _ollama(words, False)),
    ("delta", lambda words: _dialect(words, False)),
]


@pytest.mark.parametrize(("word", "make"), TWICE)
def test_a_text_that_stands_twice_in_its_record_makes_no_template(
    word: str, make: Callable[[str], Any]
) -> None:
    kind = "dialect" if "choices" in make("") else "ollama"

    assert quick(kind, make(word), make(" you")) is None


def test_a_string_that_only_looks_like_the_text_makes_no_template() -> None:
    record = json.dumps({**_ollama("@", False), "note": "Hi"}).replace("@", "\\u0048i")

    assert quick("ollama", record, record.replace('"Hi"', '"you"')) is None


def test_pieces_of_tool_calls_add_up_and_are_read_in_full() -> None:
    record = _dialect("Hi", False)
    record["choices"][0]["delta"]["tool_calls"] = [{"index": 0, "function": {"arguments": "a"}}]

    assert quick("dialect", record, record) is None


def test_a_chunk_of_the_short_way_is_a_chunk() -> None:
    chunk = quick("ollama", FIRST, _ollama(" you", False))

    assert isinstance(chunk, CompletionChunk)
    assert (chunk.text, chunk.model, chunk.thinking, chunk.says_something) == (
        " you",
        "m",
        "",
        True,
    )
    assert chunk.raw == _ollama(" you", False)
    assert chunk.raw is chunk.raw
    assert chunk == CompletionChunk(text=" you", model="m")


@example(words=["a"] * 9000)
@given(words=st.lists(_words, max_size=40))
def test_a_text_is_the_sum_of_its_pieces(words: List[str]) -> None:
    text = Growing()
    for number, word in enumerate(words):
        text.append(word)
        text.fold(most=3)
        if number % 7 == 0:
            assert text.so_far == "".join(words[: number + 1])

    assert text.so_far == "".join(words)


KEYS = '{"model":"m","message":{"\\u0063ontent":"probe 0","%s":"\\u0063ontent"},"done":false}'


def test_a_name_in_a_record_is_not_taken_for_the_text() -> None:
    assert quick("ollama", KEYS % "content", KEYS % "other") is None


@pytest.mark.parametrize("kind", list(PARSERS))
def test_what_a_caller_does_to_a_chunk_changes_none_that_follow(kind: str) -> None:
    make, _ = MAKERS[kind]
    parser = PARSERS[kind][0]()
    first = parser.parse(json.dumps(make("Hi", False)))
    assert first is not None
    model, first.model, first.raw = first.model, "mine", None

    chunk = parser.quick(json.dumps(make(" you", False)))

    assert chunk is not None
    assert (chunk.text, chunk.model) == (" you", model)


def test_the_model_that_spoke_last_is_the_answers() -> None:
    other = {**_ollama("m m", False), "model": "other", "note": "m m"}
    ends = {"model": "", "done": True, "message": {"role": "assistant", "content": ""}}
    records_ = [FIRST, _ollama(" you", False), other, FIRST, ends]
    body = "".join(json.dumps(record) + "\n" for record in records_).encode()
    parser, decoder = PARSERS["ollama"]

    assert (
        walk([body], decoder(1 << 20), parser())[:2]
        == walk([body], Slow(decoder(1 << 20)), Slow(parser()))[:2]
    )


@pytest.mark.parametrize("kind", list(PARSERS))
def test_a_caller_may_change_any_chunk(kind: str) -> None:
    make, _ = MAKERS[kind]
    parser = PARSERS[kind][0]()
    assert parser.parse(json.dumps(make("Hi", False))) is not None
    chunk = parser.quick(json.dumps(make(" you", False)))
    assert type(chunk) is LikeChunk

    for name in CompletionChunk.__slots__:
        before = getattr(chunk, name)
        setattr(chunk, name, "mine")
        assert getattr(chunk, name) == "mine"
        setattr(chunk, name, before)
    assert chunk == copy.copy(chunk) == copy.deepcopy(chunk)
    with pytest.raises(AttributeError, match="nothing"):
        getattr(chunk, "nothing")  # noqa: B009  # checkers would not let it pass
