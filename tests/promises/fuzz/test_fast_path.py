"""The fast path for stream records and complete parsing: the same chunks, errors and text."""

from __future__ import annotations

import copy
import json
import math
from typing import Any, Callable, Iterable, List, Optional, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localproviders._http.deadline import Call
from localproviders._http.framing import NDJSONDecoder, SSEDecoder
from localproviders._http.stream import Stream
from localproviders._http.summary import GrowingText, Summary
from localproviders.errors import ProviderError
from localproviders.lmstudio.wire import errors as studio_errors
from localproviders.lmstudio.wire import stateful as studio_stateful
from localproviders.ollama.wire import responses as ollama_responses
from localproviders.openai_compatible.wire import errors as dialect_errors
from localproviders.openai_compatible.wire import responses as dialect_responses
from localproviders.types import CompletionChunk, CompletionResponse, Limits
from localproviders.types.responses import LikeChunk
from tests.promises.fuzz import records
from tests.support.depth import examples
from tests.support.pieces import cut, mutated

PARSERS = {
    "ollama": (lambda: ollama_responses.ChunkParser(100), NDJSONDecoder),
    "dialect": (lambda: dialect_responses.ChunkParser(100, dialect_errors.RULES), SSEDecoder),
    "studio": (lambda: studio_stateful.EventParser(100, studio_errors.RULES), SSEDecoder),
}


# --- reading a body with and without the fast path -------------------------------------------------------------


class Pieces:
    """The part of an open response that a stream uses, with a body in pieces."""

    attempts = 1
    ended = False
    ends_by_closing = False

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.call = Call(Limits())
        self._pieces = filter(None, pieces)  # an empty piece would end the body

    def read(self) -> bytes:
        return next(self._pieces, b"")

    def finish(self) -> None:
        self.ended = True

    close = cancel = finish


class WithoutFastPath:
    """A decoder or parser without its fast path."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        if hasattr(inner, "_read_quickly"):
            inner._read_quickly = lambda piece: ([], piece)

    def quick(self, _: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def describe(chunk: CompletionChunk) -> Any:
    return chunk.to_dict(), repr(chunk), chunk.raw


class Owner:
    """A provider that accepts each chunk unchanged."""

    def inspect(self, chunk: CompletionChunk) -> None:
        """Accept the chunk."""

    def check_length(self, pieces: int) -> float:
        return math.inf

    def conclude(self, summary: Summary) -> CompletionResponse:
        return summary.response(provider="p", model="m", warnings=())

    def reopen(self, error: ProviderError) -> Any:
        raise error

    def explain(self, error: ProviderError) -> ProviderError:
        return error

    def abandon(self, error: BaseException) -> None:
        """Do nothing."""


def read_stream(pieces: Iterable[bytes], decoder: Any, parser: Any) -> Tuple[List[Any], Any, int]:
    """Return the chunks, the end of the stream, and the number of chunks from the fast path."""
    stream = Stream(
        Pieces(pieces),  # type: ignore[arg-type]  # it has all that a stream uses
        decoder,
        parser,
        max_bytes=1 << 20,
        owner=Owner(),
    )
    chunks, fast = [], 0
    end: Any = None
    try:
        for chunk in stream:
            chunks.append(describe(chunk))
            fast += isinstance(chunk, LikeChunk)
        response: CompletionResponse = stream.result()
        timings = response.replace(timings=response.timings.replace(first_token_s=0, total_s=0))
        end = timings, response.raw
    except ProviderError as error:
        end = type(error), str(error), error.partial
    return chunks, (end, stream.text, stream.thinking), fast


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
    """Draw a body of records that mostly differ only in their text; some are damaged."""
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


@pytest.mark.sample(0)
@pytest.mark.parametrize("kind", list(PARSERS))
@examples(300)
@given(data=st.data())
def test_the_fast_path_has_the_result_of_complete_parsing(kind: str, data: st.DataObject) -> None:
    parser, decoder = PARSERS[kind]
    body = data.draw(bodies(kind))
    at = data.draw(st.lists(st.integers(0, max(len(body), 1)), max_size=8))
    limit = data.draw(st.sampled_from([1 << 20, 1 << 20, 150, 60]))
    exact = read_stream([body], WithoutFastPath(decoder(limit)), WithoutFastPath(parser()))

    for pieces in ([body], cut(body, at), [body[i : i + 1] for i in range(len(body))]):
        assert read_stream(pieces, decoder(limit), parser())[:2] == exact[:2]


@pytest.mark.parametrize("kind", list(PARSERS))
@pytest.mark.parametrize("thinks", [False, True], ids=["text", "thinking"])
def test_chunks_of_text_use_the_fast_path(kind: str, thinks: bool) -> None:
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
        chunks, _, fast = read_stream(pieces, decoder(1 << 20), parser())

        assert len(chunks) == 6
        assert fast >= 4


# --- templates --------------------------------------------------------------------------------


def second_chunk(kind: str, first: Any, then: Any) -> Optional[CompletionChunk]:
    """Parse a record, then return the chunk of the next one from the fast path, or None."""
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
def test_a_record_that_differs_in_more_than_its_text_is_parsed_completely(other: Any) -> None:
    assert second_chunk("ollama", FIRST, _ollama(" you", False)) is not None
    assert second_chunk("ollama", FIRST, other) is None


TWICE: List[Tuple[str, Callable[[str], Any]]] = [
    ("m", lambda words: _ollama(words, False)),  # also the name of the model
    ("content", lambda words: _ollama(words, False)),
    ("delta", lambda words: _dialect(words, False)),
]


@pytest.mark.parametrize(("word", "make"), TWICE)
def test_a_text_that_occurs_twice_in_its_record_makes_no_template(
    word: str, make: Callable[[str], Any]
) -> None:
    kind = "dialect" if "choices" in make("") else "ollama"

    assert second_chunk(kind, make(word), make(" you")) is None


def test_a_string_that_equals_the_escaped_text_makes_no_template() -> None:
    record = json.dumps({**_ollama("@", False), "note": "Hi"}).replace("@", "\\u0048i")

    assert second_chunk("ollama", record, record.replace('"Hi"', '"you"')) is None


def test_a_record_with_tool_calls_is_parsed_completely() -> None:
    record = _dialect("Hi", False)
    record["choices"][0]["delta"]["tool_calls"] = [{"index": 0, "function": {"arguments": "a"}}]

    assert second_chunk("dialect", record, record) is None


def test_a_chunk_of_the_fast_path_is_a_chunk() -> None:
    chunk = second_chunk("ollama", FIRST, _ollama(" you", False))

    assert isinstance(chunk, CompletionChunk)
    assert (chunk.text, chunk.model, chunk.thinking, chunk.has_content) == (
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
    text = GrowingText()
    for number, word in enumerate(words):
        text.append(word)
        text.fold(max_pieces=3)
        if number % 7 == 0:
            assert text.so_far == "".join(words[: number + 1])

    assert text.so_far == "".join(words)


KEYS = '{"model":"m","message":{"\\u0063ontent":"probe 0","%s":"\\u0063ontent"},"done":false}'


def test_a_field_name_is_not_used_as_the_text() -> None:
    assert second_chunk("ollama", KEYS % "content", KEYS % "other") is None


@pytest.mark.parametrize("kind", list(PARSERS))
def test_a_change_to_a_chunk_does_not_change_later_chunks(kind: str) -> None:
    make, _ = MAKERS[kind]
    parser = PARSERS[kind][0]()
    first = parser.parse(json.dumps(make("Hi", False)))
    assert first is not None
    model, first.model, first.raw = first.model, "mine", None

    chunk = parser.quick(json.dumps(make(" you", False)))

    assert chunk is not None
    assert (chunk.text, chunk.model) == (" you", model)


def test_the_response_has_the_model_of_the_last_record() -> None:
    other = {**_ollama("m m", False), "model": "other", "note": "m m"}
    ends = {"model": "", "done": True, "message": {"role": "assistant", "content": ""}}
    records_ = [FIRST, _ollama(" you", False), other, FIRST, ends]
    body = "".join(json.dumps(record) + "\n" for record in records_).encode()
    parser, decoder = PARSERS["ollama"]

    assert (
        read_stream([body], decoder(1 << 20), parser())[:2]
        == read_stream([body], WithoutFastPath(decoder(1 << 20)), WithoutFastPath(parser()))[:2]
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
        getattr(chunk, "nothing")  # noqa: B009  # type checkers reject the attribute


# Fields that a server may add at any place; a record with one is parsed completely.
_FOREIGN_FIELDS = (
    '"error":"boom"',
    '"remote_host":"https://ollama.com"',
    '"remote_model":"m"',
    '"done_reason":"stop"',
    '"n":1',
    '"x":null',
)
_OLLAMA_RECORD = (
    '{%s"model":"m",%s"created_at":"2026-01-02T03:04:05.6Z"%s,'
    '"message":{"role":"assistant"%s,"content":"%s"%s}%s,"done":false%s}'
)


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("field", _FOREIGN_FIELDS)
def test_a_record_with_a_further_field_is_parsed_completely(field: str, place: int) -> None:
    places = ["", "", "", "", "", "", ""]
    parser = ollama_responses.ChunkParser(100)
    for word in "abc":
        plain = _OLLAMA_RECORD % (*places[:4], word, *places[4:])
        assert (parser.quick(plain) or parser.parse(plain)).text == word
    assert parser.quick(_OLLAMA_RECORD % (*places[:4], "d", *places[4:])) is not None

    places[place] = f"{field}," if place < 2 else f",{field}"
    record = _OLLAMA_RECORD % (*places[:4], "e", *places[4:])
    json.loads(record)
    assert parser.quick(record) is None


_TIMED_RECORD = (
    '{"model":"m","created_at":"%s","message":{"role":"assistant","content":"%s"},"done":false}'
)


@pytest.mark.parametrize("time", ["2026\\", "2026\\u0031", "20\x0126", "2026\ud800"])
def test_a_record_with_an_odd_time_is_parsed_completely(time: str) -> None:
    """With a backslash at its end, the time includes the next quote, and the record is not JSON."""
    parser = ollama_responses.ChunkParser(100)
    record = _TIMED_RECORD
    for word in "abc":
        plain = record % ("2026", word)
        assert (parser.quick(plain) or parser.parse(plain)).text == word

    assert parser.quick(record % ("2027", "d")) is not None
    assert parser.quick(record % (time, "e")) is None
