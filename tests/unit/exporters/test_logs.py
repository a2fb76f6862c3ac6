"""Each event is logged once, at the right level."""

from __future__ import annotations

import json
import logging
import pickle
from typing import Dict, List

import pytest

from localproviders.errors import CancelledError, ServerBusyError
from localproviders.exporters import LogListener
from localproviders.telemetry import CallEvent
from tests.unit.exporters.support import emit_all_kinds, emit_call


def _told(caplog: pytest.LogCaptureFixture) -> List[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "localproviders"]


def test_a_call_that_goes_well_is_told_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "localproviders")
    emit_call(LogListener())
    emit_call(LogListener(), error=CancelledError("left early"))
    assert {record.levelname for record in _told(caplog)} == {"DEBUG"}
    assert "stream m on ollama finished after 0." in _told(caplog)[3].getMessage()
    assert "a prompt of 7 tokens, an answer of 3 tokens" in _told(caplog)[3].getMessage()


def test_what_somebody_should_look_at_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "localproviders")
    emit_all_kinds(LogListener())
    kinds = [record.__dict__["call_event"]["kind"] for record in _told(caplog)]
    assert kinds == ["overflowed", "failed", "failed", "fell_back"]
    assert {record.levelname for record in _told(caplog)} == {"WARNING"}
    assert "ServerBusyError, continuing with lmstudio" in _told(caplog)[-1].getMessage()


def test_a_record_has_the_event_as_json_types_and_no_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "localproviders")
    emit_all_kinds(LogListener())
    found: List[Dict[str, object]] = [record.__dict__["call_event"] for record in _told(caplog)]
    assert found[3]["prompt_tokens"] == 7
    assert "private" not in json.dumps(found) + caplog.text


def test_a_servers_words_cannot_forge_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "localproviders")
    heard: List[CallEvent] = []
    emit_call(heard.append)
    words = "stop\nCRITICAL forged log line\x1b[2J\u202e"
    LogListener()(heard[-1].replace(finish_reason=words, model=words, served_model=words))
    assert len(caplog.text.splitlines()) == 1
    assert "finish reason stop\\nCRITICAL forged log line\\x1b[2J\\u202e" in caplog.text
    facts = _told(caplog)[0].__dict__["call_event"]
    assert {facts[name] for name in ("finish_reason", "model", "served_model")} == {
        "stop\\nCRITICAL forged log line\\x1b[2J\\u202e"
    }


def test_nothing_is_put_together_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(event: object) -> str:
        raise AssertionError("a line was made")

    monkeypatch.setattr("localproviders.exporters.logs.describe", never)
    logging.getLogger("localproviders").setLevel(logging.ERROR)
    try:
        LogListener()(_event())
    finally:
        logging.getLogger("localproviders").setLevel(logging.NOTSET)


def _event() -> object:
    heard: List[object] = []
    emit_call(heard.append, error=ServerBusyError("m"))
    return heard[-1]


def test_it_travels_with_its_provider() -> None:
    assert isinstance(pickle.loads(pickle.dumps(LogListener())), LogListener)
