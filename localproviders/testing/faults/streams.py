"""Faults of a streamed response.

They concern the framing of records, the end of the stream, errors in mid-stream, tool calls, and
responses of another model than the requested one.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, List, Tuple

from localproviders.testing.answers import Answer, as_event, dumps
from localproviders.testing.faults.fault import STREAMS, Fault, changing, chunk, close, hold
from localproviders.testing.scripted import Step

_CHUNKED = "Transfer-Encoding: chunked"
_EVENTS = ("events",)
_MESSAGES = ("messages",)
# Streams in the format of server-sent events.
_ANY_EVENTS = ("events", "messages")
_LINES = ("lines",)

Steps = Callable[[Answer], Iterable[Step]]


def _body_changed_by(change: Callable[[bytes], bytes]) -> Steps:
    def steps(answer: Answer) -> Iterable[Step]:
        return [answer.head(_CHUNKED), chunk(change(answer.body)), b"0\r\n\r\n"]

    return steps


def _framed_by(frame: Callable[[str], bytes]) -> Steps:
    return lambda answer: answer.replace(frame=frame).steps()


def _as_multiline_event(text: str) -> bytes:
    """Frame a record as an event with several data lines."""
    if not text.startswith("{"):
        return as_event(text)
    lines = json.dumps(json.loads(text), indent=1).split("\n")
    return b"".join(b"data: " + line.encode() + b"\n" for line in lines) + b"\n"


def _as_event_with_every_field(text: str) -> bytes:
    return b"event: message\nid: 7\nretry: 10\nunknown: x\nnothing\n" + as_event(text)


def _without_last_records(*further: Step, drop: int = 1) -> Steps:
    """Drop the last records, but end the body correctly; then add further steps."""

    def steps(answer: Answer) -> Iterable[Step]:
        kept = answer.replace(texts=answer.texts[:-drop])
        return [*kept.steps(), *further]

    return steps


#: The text that a server sends before its repeat guard ends the answer: one piece, 31 times. The
#: repeat guard of Ollama ends an answer in which the model writes the same token again and again.
REPEATED = " ha" * 31


def _repeated(end: Callable[[Answer], List[Step]]) -> Steps:
    """Repeat one piece of text after the first record that has text, and then end the body.

    Source: docs/reference/ollama.md, "Streaming".
    """

    def steps(answer: Answer) -> Iterable[Step]:
        texts = answer.texts[: answer.begun]
        record = _replace_text(json.loads(texts[-1]), " ha")
        kept = answer.replace(texts=[*texts, *[dumps(record)] * 31])
        return [kept.head(_CHUNKED), *map(chunk, kept.pieces), *end(kept)]

    return steps


def _replace_text(record: Dict[str, Any], text: str) -> Dict[str, Any]:
    """Replace the text in a record of any dialect."""
    if "choices" in record:
        record["choices"][0]["delta"] = {"content": text}
    elif "delta" in record:
        record["delta"] = {**record["delta"], "text": text}
    else:
        record["message"] = {**record["message"], "content": text}
    return record


def _error_in_mid_stream(text: str) -> Steps:
    """Send an error record after the first record that has text, and then end the body correctly.

    Args:
        text: The JSON text of the error record.
    """

    def steps(answer: Answer) -> Iterable[Step]:
        return answer.replace(texts=[*answer.texts[: answer.begun], text]).steps()

    return steps


def _named_error(answer: Answer) -> Iterable[Step]:
    event = b'event: error\ndata: {"error":{"message":"Compute error."},"message":"Compute error."}'
    return [answer.start(), chunk(event + b"\n\n"), b"0\r\n\r\n"]


def _from_model(model: str) -> Callable[[Any], Any]:
    def change(record: Any) -> Any:
        named = {key: model for key in ("model", "model_instance_id") if key in record}
        inner = [key for key in ("result", "message") if isinstance(record.get(key), dict)]
        return {**record, **named, **{key: change(record[key]) for key in inner}}

    return change


def _with_tool_calls(*values: Any) -> Steps:
    """Insert records with tool calls after the first record that has text.

    Args:
        values: The value of the field `tool_calls` in each of these records.
    """

    def steps(answer: Answer) -> Iterable[Step]:
        first = answer.texts[answer.begun - 1]
        records = [dumps(_replace_content(json.loads(first), value)) for value in values]
        at = answer.begun
        return answer.replace(texts=[*answer.texts[:at], *records, *answer.texts[at:]]).steps()

    return steps


def _replace_content(record: Dict[str, Any], tool_calls: Any) -> Dict[str, Any]:
    """Put tool calls in place of the text of a record, in Ollama's or OpenAI's dialect."""
    if "message" in record:
        record["message"] = {"role": "assistant", "content": "", "tool_calls": tool_calls}
    else:
        record["choices"][0]["delta"] = {"tool_calls": tool_calls}
    return record


def _tool_call_piece(index: int, arguments: str, **names: str) -> List[Dict[str, Any]]:
    name = {"name": names["name"]} if "name" in names else {}
    identity = {"id": names["id"]} if "id" in names else {}
    return [{"index": index, **identity, "function": {**name, "arguments": arguments}}]


def _load_confirmation(answer: Answer) -> Iterable[Step]:
    record = {**json.loads(answer.texts[-1]), "done": True, "done_reason": "load"}
    return answer.replace(texts=[dumps(record)]).steps()


ERROR_RECORDS: Dict[str, str] = {
    "a text": '{"error": "it broke"}',
    "an object": '{"error": {"message": "it broke", "type": "server_error", "code": 500}}',
    "an object at both levels": '{"error": {"message": "it broke"}, "message": "it broke"}',
    "an object without a message": '{"error": {"code": 500}}',
    "a list with one": '[{"error": {"message": "it broke"}}]',
    "JSON within a text": '{"error": "{\\"error\\":{\\"message\\":\\"it broke\\"}}"}',
    "an empty text": '{"error": ""}',
    "an empty object": '{"error": {}}',
    "a number": '{"error": 500}',
    "true": '{"error": true}',
    "a list of texts": '{"error": ["it broke", "badly"]}',
    "beside a good record": (
        '{"error": "it broke", "model": "m", "done": true, "message": {"content": "x"}, '
        '"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}'
    ),
}

# Events of Anthropic's service.
_OVERLOADED = '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
_DELTA = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": "x"},
}
_BLOCK = {
    "type": "content_block_start",
    "index": 0,
    "content_block": {"type": "text", "text": ""},
}
_TOOL: Dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
_CALL = {"type": "content_block_start", "index": 1, "content_block": _TOOL}
_NAMELESS = {"content_block": {**_TOOL, "name": None}}
_CALL_INPUT = {
    "type": "content_block_delta",
    "index": 1,
    "delta": {"type": "input_json_delta", "partial_json": '{"a": '},
}
_UNKNOWN: Tuple[Any, ...] = (
    {"type": "a_new_event", "text": "x"},
    {**_DELTA, "delta": {"type": "a_new_delta", "text": "x"}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "a_new_block"}},
    {"type": "content_block_stop", "index": 1},
)


def _with_events(*events: Any) -> Steps:
    """Insert events after the first record that has text."""

    def steps(answer: Answer) -> Iterable[Step]:
        at = answer.begun
        texts = [*answer.texts[:at], *map(dumps, events), *answer.texts[at:]]
        return answer.replace(texts=texts).steps()

    return steps


def _without_first(answer: Answer) -> Answer:
    return answer.replace(texts=answer.texts[1:], begun=answer.begun - 1)


def _with_first_twice(answer: Answer) -> Answer:
    return answer.replace(texts=[answer.texts[0], *answer.texts], begun=answer.begun + 1)


def _without_ends(answer: Answer) -> Answer:
    return answer.replace(texts=[text for text in answer.texts if "content_block_stop" not in text])


STREAM_FAULTS: Tuple[Fault, ...] = (
    Fault(
        "CRLF line endings", _body_changed_by(lambda data: data.replace(b"\n", b"\r\n")), STREAMS
    ),
    Fault("CR line endings", _body_changed_by(lambda data: data.replace(b"\n", b"\r")), STREAMS),
    Fault(
        "blank lines between",
        _framed_by(lambda text: b"\n \n".join([b"", text.encode(), b""])),
        _LINES,
    ),
    Fault("no line ending at the end", _body_changed_by(lambda data: data.rstrip(b"\n")), STREAMS),
    Fault(
        "comments and pings",
        _framed_by(lambda text: b": ping\n\n:\n" + as_event(text)),
        _ANY_EVENTS,
    ),
    Fault("every field of an event", _framed_by(_as_event_with_every_field), _ANY_EVENTS),
    Fault(
        "no blank after the colon",
        _body_changed_by(lambda data: data.replace(b"data: ", b"data:")),
        _ANY_EVENTS,
    ),
    Fault("data over many lines", _framed_by(_as_multiline_event), _ANY_EVENTS),
    Fault("a byte order mark", _body_changed_by(lambda data: b"\xef\xbb\xbf" + data), _ANY_EVENTS),
    Fault(
        "an event that is no data",
        _framed_by(lambda text: b"event: ping\n\n" + as_event(text)),
        _ANY_EVENTS,
    ),
    Fault("no last record", _without_last_records(), STREAMS),
    Fault("no last record, then closed", _without_last_records(close), STREAMS),
    Fault("no finish reason and no last record", _without_last_records(drop=3), _EVENTS),
    Fault(
        "nothing but the last record",
        lambda a: a.replace(texts=a.texts[-1:], begun=1).steps(),
        _ANY_EVENTS,
    ),
    Fault(
        "text after the last record",
        lambda a: a.replace(texts=[*a.texts, *a.texts[:2]]).steps(),
        STREAMS,
    ),
    Fault(
        "silence after the last record", lambda a: [a.head(_CHUNKED), chunk(a.body), hold], STREAMS
    ),
    Fault("a repetition that the server ends", _repeated(lambda answer: [answer.end]), STREAMS),
    Fault("a repetition, then closed", _repeated(lambda _: [close]), STREAMS),
    Fault("a named error event", _named_error, _ANY_EVENTS),
    *(
        Fault(f"an error in mid-stream: {name}", _error_in_mid_stream(text), STREAMS)
        for name, text in ERROR_RECORDS.items()
    ),
    Fault("another model", lambda a: a.each_changed(_from_model("another")).steps(), STREAMS),
    Fault("another model in mid-stream", changing(_from_model("another")), ("lines", "events")),
    Fault(
        "an answer from the cloud",
        changing(lambda r: {**r, "remote_host": "https://ollama.com:443"}),
        _LINES,
    ),
    Fault("a load instead of an answer", _load_confirmation, _LINES),
    Fault(
        "a record that is not done and not undone", changing(lambda r: {**r, "done": None}), _LINES
    ),
    Fault("several choices", changing(lambda r: {**r, "choices": r["choices"] * 2}), _EVENTS),
    Fault("choices that are not a list", changing(lambda r: {**r, "choices": {"0": 1}}), _EVENTS),
    Fault(
        "tool-call pieces out of order",
        _with_tool_calls(
            _tool_call_piece(1, '{"b"', id="two", name="g"),
            _tool_call_piece(0, '{"a"', id="one", name="f"),
            _tool_call_piece(1, ": 2}"),
            _tool_call_piece(0, ": 1}"),
        ),
        _EVENTS,
    ),
    Fault(
        "tool-call pieces twice",
        _with_tool_calls(*[_tool_call_piece(0, '{"a": 1}', id="one", name="f")] * 2),
        _EVENTS,
    ),
    Fault(
        "a tool call never finished",
        _with_tool_calls(_tool_call_piece(0, '{"a": ', id="one", name="f")),
        _EVENTS,
    ),
    Fault(
        "a tool call without a name", _with_tool_calls(_tool_call_piece(0, "{}", id="one")), _EVENTS
    ),
    Fault("tool calls that are not a list", _with_tool_calls("call f now"), ("lines", "events")),
    Fault("a tool call that is not an object", _with_tool_calls(["f"]), ("lines", "events")),
    Fault(
        "a tool call whose arguments are a list",
        _with_tool_calls([{"index": 0, "function": {"name": "f", "arguments": [1]}}]),
        ("lines", "events"),
    ),
    Fault(
        "a tool call whose arguments are text",
        _with_tool_calls([{"function": {"name": "f", "arguments": '{"a": 1}'}}]),
        _LINES,
    ),
    Fault("an error of overload in mid-stream", _error_in_mid_stream(_OVERLOADED), _MESSAGES),
    Fault("events of unknown types", _with_events(*_UNKNOWN), _MESSAGES),
    Fault("an event without a type", _with_events({"index": 0}), _MESSAGES),
    Fault("a delta of no block", _with_events({**_DELTA, "index": 7}), _MESSAGES),
    Fault("a delta without an index", _with_events({**_DELTA, "index": None}), _MESSAGES),
    Fault("a delta that is a text", _with_events({**_DELTA, "delta": "x"}), _MESSAGES),
    Fault("two blocks with one index", _with_events(_BLOCK), _MESSAGES),
    Fault("a block before the first record", lambda a: _without_first(a).steps(), _MESSAGES),
    Fault("no end of a block", lambda a: _without_ends(a).steps(), _MESSAGES),
    Fault("the first record twice", lambda a: _with_first_twice(a).steps(), _MESSAGES),
    Fault("a call of a tool without an end", _with_events(_CALL, _CALL_INPUT), _MESSAGES),
    Fault("a call of a tool without a name", _with_events({**_CALL, **_NAMELESS}), _MESSAGES),
)
