"""Faults in the content of records: JSON, Unicode, unexpected fields and types."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, Mapping, Tuple

from localproviders.testing.answers import Answer, dumps
from localproviders.testing.faults.fault import STREAMS, Fault, changing, saying
from localproviders.testing.scripted import Step

#: Names of fields that a client does not need. They contain neither text of the answer nor the name
#: of a model.
_SIDE_FACTS = (
    "created_at",
    "created",
    "object",
    "system_fingerprint",
    "done_reason",
    "usage",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
    "timings",
    "stats",
    "size",
    "digest",
    "modified_at",
    "details",
    "capabilities",
    "logprobs",
    "owned_by",
    "publisher",
    "architecture",
    "quantization",
    "size_bytes",
    "params_string",
    "max_context_length",
    "format",
    "description",
    "meta",
)


def _change_side_facts(change_value: Callable[[Any], Any]) -> Callable[[Answer], Iterable[Step]]:
    """Change the fields of `_SIDE_FACTS` in every record, and in every entry of a model list."""

    def change(record: Any) -> Any:
        if not isinstance(record, dict):
            return record
        lists = {
            name: [change(item) for item in value]
            for name, value in record.items()
            if name in ("models", "data") and isinstance(value, list)
        }
        facts = {name: change_value(record[name]) for name in _SIDE_FACTS if name in record}
        return {**record, **lists, **facts}

    return lambda answer: answer.each_changed(change).steps()


def _without_side_facts(answer: Answer) -> Iterable[Step]:
    def change(record: Any) -> Any:
        kept = {name: value for name, value in record.items() if name not in _SIDE_FACTS}
        for name in ("models", "data"):
            if isinstance(kept.get(name), list):
                kept[name] = [change(item) for item in kept[name]]
        return kept

    return answer.each_changed(change).steps()


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) else value


def _with_new_fields(record: Any) -> Any:
    return {**record, "a_new_field": {"deep": [1, {"x": None}]}, "another": "value", "": 0}


def _with_raw_field(name: str, value: str) -> Callable[[Answer], Iterable[Step]]:
    """Add a field. Its value is given as JSON text, because Python cannot write all such values."""

    def change(answer: Answer) -> Iterable[Step]:
        text = answer.texts[answer.begun - 1]
        return answer.with_text(f'{{"{name}": {value}, {text[1:]}').steps()

    return change


def _with_doubled_keys(answer: Answer) -> Iterable[Step]:
    record: Mapping[str, Any] = json.loads(answer.texts[answer.begun - 1])
    pairs = [f"{json.dumps(name)}: {dumps(value)}" for name, value in record.items()]
    return answer.with_text("{" + ", ".join(pairs * 2) + "}").steps()


def _change_bytes(change: Callable[[bytes], bytes]) -> Callable[[Answer], Iterable[Step]]:
    """Change the bytes of the first record that has text.

    In a response that is not a stream, the bytes of the first half of the body are changed.
    """

    def steps(answer: Answer) -> Iterable[Step]:
        pieces = answer.pieces
        at = answer.begun - 1
        pieces = [*pieces[:at], change(pieces[at]), *pieces[at + 1 :]]
        body = b"".join(pieces)
        return [answer.head(f"Content-Length: {len(body)}") + body]

    return steps


def _replace_text(new: Any) -> Callable[[Any], Any]:
    """Return a function that replaces the text of the answer in a record of any dialect."""

    def change(record: Any) -> Any:
        changed: Dict[str, Any] = json.loads(json.dumps(record))
        if "message" in changed:
            changed["message"]["content"] = new
        elif "delta" in changed:  # an event of Anthropic's service
            changed["delta"]["text"] = new
        elif "content" in changed:  # an event of LM Studio's native chat
            changed["content"] = new
        else:
            changed["choices"][0]["delta"]["content"] = new
        return changed

    return change


RECORD_FAULTS: Tuple[Fault, ...] = (
    Fault("not JSON", saying("<<<hello>>>")),
    Fault("half a record", saying('{"model": "m", "mess')),
    Fault("two records in one", lambda a: a.with_text(a.texts[0] + a.texts[0]).steps()),
    Fault("nested too deep", _with_raw_field("a", "[" * 5000 + "]" * 5000)),
    Fault("nested, and never closed", saying("[" * 200_000)),
    Fault("keys twice", _with_doubled_keys),
    Fault("NaN", _with_raw_field("a", "NaN")),
    Fault("an infinity", _with_raw_field("a", "-Infinity")),
    Fault("a number past every float", _with_raw_field("total_duration", "1e999")),
    Fault("an integer of a million digits", _with_raw_field("a", "9" * 1_000_000)),
    Fault("numbers as text", _change_side_facts(_as_text)),
    Fault("nulls", _change_side_facts(lambda value: None)),
    Fault("absences", _without_side_facts),
    Fault("surprise types", _change_side_facts(lambda value: [{"a": value}])),
    Fault("texts for everything", _change_side_facts(lambda value: "surprise")),
    Fault("surprise fields", changing(_with_new_fields)),
    Fault("a list at the top", saying("[1, 2]")),
    Fault("a text at the top", saying('"hello"')),
    Fault("a number at the top", saying("7")),
    Fault("null at the top", saying("null")),
    Fault("an empty object", saying("{}")),
    Fault("broken UTF-8", _change_bytes(lambda data: data.replace(b'"', b'"\xc3\x28', 1))),
    Fault(
        "surrogates as UTF-8", _change_bytes(lambda data: data.replace(b'"', b'"\xed\xa0\x80', 1))
    ),
    Fault("UTF-16", _change_bytes(lambda data: data.decode().encode("utf-16"))),
    Fault("a number for the text", changing(_replace_text(7)), STREAMS),
    Fault("an object for the text", changing(_replace_text({"a": 1})), STREAMS),
    Fault("null for the text", changing(_replace_text(None)), STREAMS),
    Fault("a lone surrogate", changing(_replace_text("a\ud83db")), STREAMS),
    Fault("NUL in the text", changing(_replace_text("a\x00b")), STREAMS),
    Fault(
        "odd line endings in the text", changing(_replace_text("a\u2028b\u0085c\rd\ne")), STREAMS
    ),
    Fault("a character cut in two", lambda a: _split_character(a), STREAMS),
)


def _split_character(answer: Answer) -> Iterable[Step]:
    """Send the first byte of a character in one piece, and its other bytes in the next."""
    changed = answer.changed(_replace_text("€"))
    before, _, after = changed.body.partition("€".encode())
    head = changed.head(f"Content-Length: {len(changed.body)}")
    return [head + before + "€".encode()[:1], "€".encode()[1:] + after]
