"""Any JSON, and good records with changes, parse to the annotated types or to a typed error."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, Callable, List, Sequence
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localproviders._dialect import values as ollama_values
from localproviders._dialect.common import Vectors, checked
from localproviders._http.deadline import Call
from localproviders._http_provider import embedding
from localproviders.errors import ProviderError, ToolCallError
from localproviders.lmstudio.wire import errors as studio_errors
from localproviders.lmstudio.wire import models as studio_models
from localproviders.lmstudio.wire import stateful as studio_stateful
from localproviders.ollama.wire import decisions as ollama_decisions
from localproviders.ollama.wire import models as ollama_models
from localproviders.ollama.wire import responses as ollama_responses
from localproviders.ollama.wire.models import capabilities
from localproviders.openai_compatible.wire import decisions as dialect_decisions
from localproviders.openai_compatible.wire import models as dialect_models
from localproviders.openai_compatible.wire import requests as dialect_requests
from localproviders.openai_compatible.wire import responses as dialect_responses
from localproviders.openai_compatible.wire import vectors as dialect_vectors
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.types import EmbeddingRequest, EmbeddingResponse, Limits, ServerTimings, Usage
from tests.promises.fuzz import records
from tests.promises.fuzz.promises import check, fits, fits_vectors, outcome
from tests.support import decisions
from tests.support.depth import examples
from tests.support.pieces import as_json, json_values, mutated

# --- chunks ---------------------------------------------------------------------------------


def read_all(parser: Any, lines: Sequence[str]) -> None:
    """Parse records as a stream does: until the last one or an error; check each chunk."""
    for line in lines:
        chunk = outcome(parser.parse, line)
        if isinstance(chunk, ProviderError):
            return
        if chunk is not None:
            check(chunk)
        if parser.ended:
            return


def several(good: List[Any]) -> st.SearchStrategy[List[str]]:
    return st.lists(mutated(good).map(as_json) | st.sampled_from(good).map(as_json), max_size=4)


_NAN = {"token": "a", "logprob": "nan"}


@examples(120)
@given(lines=several(records.OLLAMA_CHUNKS))
@example([as_json({"message": {}, "logprobs": [_NAN], "done": False})])
def test_ollamas_chunks(lines: List[str]) -> None:
    read_all(ollama_responses.ChunkParser(100), lines)


@examples(120)
@given(lines=several(records.DIALECT_CHUNKS))
@example([as_json({"choices": [{"delta": {}, "logprobs": {"content": [_NAN]}}]})])
def test_the_dialects_chunks(lines: List[str]) -> None:
    read_all(dialect_responses.ChunkParser(100, RULES), [*lines, "[DONE]"])


@examples(120)
@given(lines=several(records.STUDIO_EVENTS))
def test_lmstudios_events(lines: List[str]) -> None:
    read_all(studio_stateful.EventParser(100, studio_errors.RULES), lines)


@examples(120)
@given(data=mutated([records.STUDIO_EVENTS[-1]["result"]]))
def test_lmstudios_response_without_a_stream(data: Any) -> None:
    parser = studio_stateful.EventParser(100, studio_errors.RULES)
    parser.is_single_record = True
    read_all(parser, [as_json(data)])


@examples(120)
@given(data=mutated(records.DIALECT_CHUNKS))
def test_the_dialects_response_without_a_stream(data: Any) -> None:
    parser = dialect_responses.ChunkParser(100, RULES)
    parser.is_single_record = True
    read_all(parser, [as_json(data)])


@examples(120)
@given(pieces=st.lists(mutated(records.PIECES) | st.sampled_from(records.PIECES), max_size=4))
def test_all_tool_calls_are_complete_or_none_is_returned(pieces: List[Any]) -> None:
    assembler = ToolCallAssembler()
    for piece in pieces:
        if outcome(assembler.add, piece) is not None:
            return
    calls = outcome(assembler.complete_calls, "length")
    if not isinstance(calls, ToolCallError):
        for call in calls:
            check(call)
            assert call.name and call.id


# --- decisions ------------------------------------------------------------------------------

_READERS = [
    *ollama_decisions.DECISIONS.routes,
    *dialect_decisions.DECISIONS.routes,
]


@pytest.mark.parametrize("route", _READERS, ids=lambda route: route.path)
@examples(120)
@given(data=st.data())
def test_decisions(route: Any, data: Any) -> None:
    name = "ollama_systemone" if route.method == "systemone" else "openai_refusal"
    found = outcome(
        route.read, data.draw(mutated([decisions.load(name)["response"]])), decisions.QUESTIONS
    )
    if isinstance(found, ProviderError):
        return
    assert list(found.answers) == list(decisions.QUESTIONS)
    for decision in found.answers.values():
        check(decision)
        numbers = decision.probabilities.values()
        assert decision.refused or sum(numbers) == pytest.approx(1)
        assert all(0 <= number <= 1 + 1e-9 for number in numbers)
    check(found.usage)


# --- vectors --------------------------------------------------------------------------------


def pack(found: Vectors, texts: int) -> None:
    """Check and pack vectors as a call does, and check the response."""
    request = EmbeddingRequest(texts=["x"] * texts)
    provider: Any = SimpleNamespace(name="p", _address="a", _check_before=lambda *_: None)
    with mock.patch.object(embedding, "_send", return_value=(found, 1)):
        run = embedding.Embedding(provider, request, "m").run
        answer = outcome(run, Call(Limits()))
    if isinstance(answer, ProviderError):
        return
    assert isinstance(answer, EmbeddingResponse)
    assert fits_vectors(answer, texts)
    for value in (answer, answer.usage, answer.server_timings):
        check(value)


def parse_dialect(data: Any) -> Any:
    return dialect_vectors.parse_vectors(data, RULES)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("read", "good"),
    [
        (ollama_responses.parse_vectors, records.OLLAMA_VECTORS),
        (parse_dialect, records.DIALECT_VECTORS),
    ],
    ids=["ollama", "dialect"],
)
@examples(120)
@given(data=st.data())
def test_vectors(read: Callable[[Any], Any], good: List[Any], data: Any) -> None:
    found = outcome(read, data.draw(mutated(good)))
    if not isinstance(found, ProviderError):
        pack(found, 2)


@examples(120)
@given(st.lists(st.lists(json_values, max_size=2) | st.just([0.5, 1]), min_size=1, max_size=2))
@example([[1e300]])
@example([[10**399]])
@example([[]])
def test_vectors_of_any_json(rows: List[Any]) -> None:
    pack(Vectors(rows, "m", Usage(), ServerTimings()), len(rows))


# --- models ---------------------------------------------------------------------------------


def parse_studio(read: Callable[..., Any]) -> Callable[[Any], Any]:
    def entries(data: Any) -> Any:
        found = read(checked(data, studio_errors.RULES), "p")
        assert all(fits(name, str) for entry in found or () for name in entry.names)
        return [entry.info for entry in found or ()]

    return entries


LISTS = {
    "ollama": (lambda data: ollama_models.parse_models(data, "p"), records.OLLAMA_MODELS),
    "dialect": (lambda data: dialect_models.parse_models(data, "p", RULES), records.DIALECT_MODELS),
    "lmstudio": (parse_studio(studio_models.parse_models), records.STUDIO_MODELS),
    "lmstudio, old": (parse_studio(studio_models.parse_old_models), records.STUDIO_OLD_MODELS),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", LISTS)
@examples(120)
@given(data=st.data())
def test_lists_of_models(name: str, data: Any) -> None:
    read, good = LISTS[name]
    found = outcome(read, data.draw(mutated(good)))
    if not isinstance(found, ProviderError):
        for info in found:
            check(info)


@examples(120)
@given(name=st.text(), show=mutated(records.OLLAMA_SHOW), tags=mutated(records.OLLAMA_MODELS))
def test_capabilities(name: str, show: Any, tags: Any) -> None:
    for options in ({"show": show}, {"tags": tags}, {"show": show, "tags": tags}):
        # Callers check before that these are objects.
        if all(isinstance(value, dict) for value in options.values()):
            check(capabilities(name, **options))


_ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_DATES = st.datetimes(timezones=_ZONES).map(datetime.isoformat)


@examples(120)
@given(
    json_values
    | _DATES
    | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", fullmatch=True)
)
@example("２026-01-02T03:04:05Z")
@example("0001-01-01T00:00:00+23:59")
def test_dates(value: Any) -> None:
    found = ollama_values.parse_timestamp(value)
    if found is not None:
        assert found.tzinfo is not None
        assert datetime.fromisoformat(found.isoformat()) == found


# --- models in memory and downloads of LM Studio -----------------------------------------------------------

_NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


@examples(120)
@given(data=mutated([*records.STUDIO_MODELS, *records.STUDIO_OLD_MODELS]))
def test_models_in_memory(data: Any) -> None:
    for read in (studio_models.parse_models, studio_models.parse_old_models):
        entries = outcome(lambda: read(checked(data, studio_errors.RULES), "p"))  # noqa: B023  # called at once
        if isinstance(entries, list):
            for entry in entries:
                for model in studio_models.loaded_models(entry.info, _NOW):
                    check(model)
                    studio_models.matches(model, {"context_length": 7})


@examples(120)
@given(data=mutated(records.STUDIO_LOADED))
def test_loaded_models(data: Any) -> None:
    def read() -> Any:
        return studio_models.parse_loaded(
            checked(data, studio_errors.RULES), "m", "p", {"context_length": 7}
        )

    found = outcome(read)
    if not isinstance(found, ProviderError):
        check(found)


@examples(120)
@given(data=mutated(records.STUDIO_JOBS))
def test_downloads(data: Any) -> None:
    found = outcome(studio_models.parse_job, data, studio_errors.RULES)
    if not isinstance(found, ProviderError):
        check(found)
        check(found.progress)


# --- token counts -------------------------------------------------------------------------


@given(json_values)
@example({"prompt": "p", "tokens": [1], "count": 1})
def test_responses_with_token_counts(data: Any) -> None:
    for read in (dialect_requests.parse_tokens, dialect_requests.parse_count):
        assert isinstance(outcome(read, data), (int, ProviderError))
    found = outcome(dialect_requests.templated_payload, data, "m")
    assert isinstance(found, ProviderError) or isinstance(found["content"], str)
