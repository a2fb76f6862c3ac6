"""Faults of a stream: its framing, its end, errors in its middle, tool calls, other models."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, List, Tuple

from localproviders.testing.answers import Answer, as_event, dumps
from localproviders.testing.faults.fault import STREAMS, Fault, changing, chunk, close, hold
from localproviders.testing.scripted import Step

_CHUNKED = "Transfer-Encoding: chunked"
_EVENTS = ("events",)
_LINES = ("lines",)

Steps = Callable[[Answer], Iterable[Step]]


def _body(change: Callable[[bytes], bytes]) -> Steps:
    def steps(answer: Answer) -> Iterable[Step]:
        return [answer.head(_CHUNKED), chunk(change(answer.body)), b"0\r\n\r\n"]

    return steps


def _framed_by(frame: Callable[[str], bytes]) -> Steps:
    return lambda answer: answer.replace(frame=frame).steps()


def _pretty(text: str) -> bytes:
    """Frame a record over many lines of data."""
    if not text.startswith("{"):
        return as_event(text)
    lines = json.dumps(json.loads(text), indent=1).split("\n")
    return b"".join(b"data: " + line.encode() + b"\n" for line in lines) + b"\n"


def _decorated(text: str) -> bytes:
    return b"event: message\nid: 7\nretry: 10\nunknown: x\nnothing\n" + as_event(text)


def _ending(*more: Step, drop: int = 1) -> Steps:
    """Leave the last records out, end the body well, and go on."""

    def steps(answer: Answer) -> Iterable[Step]:
        kept = answer.replace(texts=answer.texts[:-drop])
        return [*kept.steps(), *more]

    return steps


def _error_in_mid_stream(text: str) -> Steps:
    """Let this record follow the first telling one, and end the body well."""

    def steps(answer: Answer) -> Iterable[Step]:
        return answer.replace(texts=[*answer.texts[: answer.begun], text]).steps()

    return steps


def _named_error(answer: Answer) -> Iterable[Step]:
    event = b'event: error\ndata: {"error":{"message":"Compute error."},"message":"Compute error."}'
    return [answer.start(), chunk(event + b"\n\n"), b"0\r\n\r\n"]


def _from(model: str) -> Callable[[Any], Any]:
    def change(record: Any) -> Any:
        named = {key: model for key in ("model", "model_instance_id") if key in record}
        whole = {"result": change(record["result"])} if "result" in record else {}
        return {**record, **named, **whole}

    return change


def _with_calls(*calls: Any) -> Steps:
    """Put tool calls into the records after the first telling one, one record each."""

    def steps(answer: Answer) -> Iterable[Step]:
        first = answer.texts[answer.begun - 1]
        records = [dumps(_calling(json.loads(first), call)) for call in calls]
        at = answer.begun
        return answer.replace(texts=[*answer.texts[:at], *records, *answer.texts[at:]]).steps()

    return steps


def _calling(record: Dict[str, Any], calls: Any) -> Dict[str, Any]:
    if "message" in record:
        record["message"] = {"role": "assistant", "content": "", "tool_calls": calls}
    else:
        record["choices"][0]["delta"] = {"tool_calls": calls}
    return record


def _piece(index: int, arguments: str, **more: str) -> List[Dict[str, Any]]:
    names = {"name": more["name"]} if "name" in more else {}
    identity = {"id": more["id"]} if "id" in more else {}
    return [{"index": index, **identity, "function": {**names, "arguments": arguments}}]


def _loaded(answer: Answer) -> Iterable[Step]:
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

STREAM_FAULTS: Tuple[Fault, ...] = (
    Fault("CRLF line ends", _body(lambda data: data.replace(b"\n", b"\r\n")), STREAMS),
    Fault("CR line ends", _body(lambda data: data.replace(b"\n", b"\r")), STREAMS),
    Fault(
        "blank lines between",
        _framed_by(lambda text: b"\n \n".join([b"", text.encode(), b""])),
        _LINES,
    ),
    Fault("no line end at the end", _body(lambda data: data.rstrip(b"\n")), STREAMS),
    Fault(
        "comments and pings", _framed_by(lambda text: b": ping\n\n:\n" + as_event(text)), _EVENTS
    ),
    Fault("every field of an event", _framed_by(_decorated), _EVENTS),
    Fault(
        "no blank after the colon", _body(lambda data: data.replace(b"data: ", b"data:")), _EVENTS
    ),
    Fault("data over many lines", _framed_by(_pretty), _EVENTS),
    Fault("a byte order mark", _body(lambda data: b"\xef\xbb\xbf" + data), _EVENTS),
    Fault(
        "an event that is no data",
        _framed_by(lambda text: b"event: ping\n\n" + as_event(text)),
        _EVENTS,
    ),
    Fault("no last record", _ending(), STREAMS),
    Fault("no last record, then closed", _ending(close), STREAMS),
    Fault("no finish reason and no last record", _ending(drop=3), _EVENTS),
    Fault(
        "nothing but the last record",
        lambda a: a.replace(texts=a.texts[-1:], begun=1).steps(),
        _EVENTS,
    ),
    Fault(
        "text behind the last record",
        lambda a: a.replace(texts=[*a.texts, *a.texts[:2]]).steps(),
        STREAMS,
    ),
    Fault(
        "silence behind the last record", lambda a: [a.head(_CHUNKED), chunk(a.body), hold], STREAMS
    ),
    Fault("a named error event", _named_error, _EVENTS),
    *(
        Fault(f"an error in mid-stream: {name}", _error_in_mid_stream(text), STREAMS)
        for name, text in ERROR_RECORDS.items()
    ),
    Fault("another model", lambda a: a.each_changed(_from("another")).steps(), STREAMS),
    Fault("another model in mid-stream", changing(_from("another")), STREAMS),
    Fault(
        "an answer from the cloud",
        changing(lambda r: {**r, "remote_host": "https://ollama.com:443"}),
        _LINES,
    ),
    Fault("a load instead of an answer", _loaded, _LINES),
    Fault(
        "a record that is not done and not undone", changing(lambda r: {**r, "done": None}), _LINES
    ),
    Fault("several choices", changing(lambda r: {**r, "choices": r["choices"] * 2}), _EVENTS),
    Fault("choices that are no list", changing(lambda r: {**r, "choices": {"0": 1}}), _EVENTS),
    Fault(
        "tool-call pieces out of order",
        _with_calls(
            _piece(1, '{"b"', id="two", name="g"),
            _piece(0, '{"a"', id="one", name="f"),
            _piece(1, ": 2}"),
            _piece(0, ": 1}"),
        ),
        _EVENTS,
    ),
    Fault(
        "tool-call pieces twice",
        _with_calls(*[_piece(0, '{"a": 1}', id="one", name="f")] * 2),
        _EVENTS,
    ),
    Fault(
        "a tool call never finished", _with_calls(_piece(0, '{"a": ', id="one", name="f")), _EVENTS
    ),
    Fault("a tool call without a name", _with_calls(_piece(0, "{}", id="one")), _EVENTS),
    Fault("tool calls that are no list", _with_calls("call f now"), STREAMS),
    Fault("a tool call that is no object", _with_calls(["f"]), STREAMS),
    Fault(
        "a tool call whose arguments are a list",
        _with_calls([{"index": 0, "function": {"name": "f", "arguments": [1]}}]),
        STREAMS,
    ),
    Fault(
        "a tool call whose arguments are text",
        _with_calls([{"function": {"name": "f", "arguments": '{"a": 1}'}}]),
        _LINES,
    ),
)
