"""The next server is tried after a failure, but never after a response has begun."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import re
from pathlib import Path
from typing import Any, Callable, List, Mapping

import pytest

from localproviders import (
    AllFailedError,
    CallEvent,
    CancelledError,
    CancelToken,
    ContextOverflowError,
    LimitError,
    Limits,
    LMStudioProvider,
    LocalityError,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RequestRejectedError,
    StreamInterruptedError,
    UnreachableError,
    errors,
)
from localproviders.exporters import LogListener, TextfileExporter
from localproviders.local.servers import rule_of
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama, FakeOpenAICompatible, Reply
from localproviders.types import CompletionResponse, EmbeddingResponse, ServerAttempt
from tests.support.asking import assert_shows_no_prompt
from tests.support.docs import ROOT
from tests.support.fake_time import FakeTime
from tests.support.locality import PROMPT
from tests.unit.local.support import ONCE, Pair, pair
from tests.unit.test_errors import _make

_CLASSES = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, ProviderError)
]
_STAY = {
    "AnswerError",
    "AnswerTooLargeError",
    "CancelledError",
    "ConfigurationError",
    "ContextOverflowError",
    "EmbeddingError",
    "IntegrityError",
    "LocalityError",
    "LockHeldError",
    "ProviderError",
    "RequestRejectedError",
    "RepetitionError",
    "SchemaError",
    "ToolCallError",
}


@pytest.mark.parametrize("cls", _CLASSES)
def test_the_class_of_an_error_decides_whether_another_server_may_do_better(cls: Any) -> None:
    assert rule_of(_make(cls)).next is (cls.__name__ not in _STAY)


def test_only_what_the_server_is_to_blame_for_counts_against_it() -> None:
    counting = {cls.__name__ for cls in _CLASSES if rule_of(_make(cls)).counts}
    assert counting == {
        "AllFailedError",
        "ServerBusyError",
        "CertificateError",
        "LimitError",
        "TransportError",
        "ProtocolError",
        "ServerError",
        "StreamInterruptedError",
        "UnreachableError",
    }


# --- in the middle of a run ------------------------------------------------------------------

CALLS: Mapping[str, Callable[[LocalProvider], CompletionResponse]] = {
    "chat": lambda local: local.chat("Hi", model="both"),
    "stream": lambda local: local.stream("Hi", model="both").result(),
}


@pytest.mark.parametrize("call", CALLS)
def test_killing_the_server_moves_the_next_call_to_the_substitute(call: str) -> None:
    with pair() as made:
        assert CALLS[call](made.local).provider == "ollama"
        made.ollama.stop()
        answer = CALLS[call](made.local)
        _tells(answer, made)


def test_vectors_come_from_the_substitute_too() -> None:
    models = [FakeModel(name="both", abilities=("embeddings",))]
    with pair(ollama=models, lmstudio=models) as made:
        assert made.local.embed(["a", "b"], model="both").provider == "ollama"
        made.ollama.stop()
        answer = made.local.embed(["a", "b"], model="both")
        _tells(answer, made)
        assert EmbeddingResponse.from_dict(answer.to_dict()) == answer


def _tells(answer: Any, made: Pair) -> None:
    assert answer.provider == "lmstudio"
    (tried,) = answer.tried
    assert (tried.provider, tried.model, tried.error) == ("ollama", "both", "UnreachableError")
    assert answer.warnings == (f"tried before: {tried}",)
    (event,) = made.fallbacks
    assert (event.provider, event.to_provider) == ("ollama", "lmstudio")
    assert (event.model, event.error) == ("both", "UnreachableError")
    assert event.endpoint == made.ollama.url


def test_an_answer_with_its_history_survives_dictionaries_and_pickles() -> None:
    with pair() as made:
        made.ollama.stop()
        answer = made.local.chat("Hi", model="both")
    assert isinstance(answer.tried[0], ServerAttempt)
    assert CompletionResponse.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer
    assert pickle.loads(pickle.dumps(answer)) == answer


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("status 500 with JSON", "ServerError"),
        ("a full queue", "ServerBusyError"),
        ("closed without an answer", "StreamInterruptedError"),
        ("not HTTP", "ProtocolError"),
        ("status 401 with JSON", "AuthenticationError"),
    ],
)
def test_what_another_server_may_mend_moves_on(fault: str, error: str) -> None:
    with pair() as made:
        made.ollama.break_next(fault, times=None)
        answer = made.local.chat("Hi", model="both")
        assert answer.provider == "lmstudio"
        assert [each.error for each in answer.tried] == [error]


def test_a_refused_request_is_nobody_elses() -> None:
    with pair() as made:
        made.ollama.break_next("status 400 with text")
        with pytest.raises(RequestRejectedError):
            made.local.chat("Hi", model="both")
        assert made.lmstudio.exchanges == []
        assert made.fallbacks == []


def test_an_overlong_prompt_is_nobody_elses() -> None:
    with pair() as made:
        with pytest.raises(ContextOverflowError):
            made.local.chat("word " * 5000, model="both")
        assert made.lmstudio.exchanges == []


# --- never after the first token ----------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_an_answer_that_has_begun_is_not_begun_anew(call: str) -> None:
    with pair() as made:
        made.ollama.break_next("body cut")
        with pytest.raises(StreamInterruptedError) as caught:
            CALLS[call](made.local)
        assert caught.value.partial
        assert made.lmstudio.exchanges == []


def test_thinking_is_a_beginning_too() -> None:
    thinks = FakeModel(name="both", abilities=("chat", "completion", "thinking"))
    with pair(ollama=[thinks]) as made:
        made.ollama.usual = Reply(text="", thinking="Well, well, well.")
        made.ollama.break_next("no last record, then closed")
        with pytest.raises(StreamInterruptedError):
            made.local.chat("Hi", model="both")
        assert made.lmstudio.exchanges == []


def test_a_stream_that_was_handed_out_stays_with_its_server() -> None:
    """This holds even before the first token. `complete` may fall back until the first token."""
    with pair() as made:
        made.ollama.break_next("an empty body", times=None)
        stream = made.local.stream("Hi", model="both")
        with pytest.raises(StreamInterruptedError):
            stream.result()
        assert made.lmstudio.exchanges == []
        assert made.local.chat("Hi", model="both").provider == "lmstudio"


def test_vectors_that_had_been_made_are_not_thrown_away() -> None:
    models = [FakeModel(name="both", abilities=("embeddings",))]
    with pair(ollama=models, lmstudio=models) as made:
        plain = made.local.providers()[0].embed

        def fails(*_: Any, **__: Any) -> Any:
            error = UnreachableError("gone")
            error.embedded = {0: plain("a", model="both").vectors[0]}
            raise error

        made.local.providers()[0].embed = fails  # type: ignore[method-assign]  # a fake
        with pytest.raises(UnreachableError) as caught:
            made.local.embed(["a", "b"], model="both")
        assert set(caught.value.embedded) == {0}
        assert made.lmstudio.exchanges == []


def test_a_pull_that_has_begun_stays_where_it_is() -> None:
    with pair() as made:
        made.ollama.break_next("a transfer that fails: no permission")
        with pytest.raises(ProviderError) as caught:
            made.local.pull("qwen3:0.6b", on_progress=lambda report: None)
        assert not isinstance(caught.value, AllFailedError)


# --- all failed -------------------------------------------------------------------------------------


def test_where_all_fail_the_error_has_every_reason() -> None:
    with pair() as made:
        made.ollama.stop()
        made.lmstudio.break_next("a full queue", times=None)
        with pytest.raises(AllFailedError) as caught:
            made.local.chat(PROMPT, model="both")
    error = caught.value
    assert [(each.provider, type(each).__name__) for each in error.errors] == [
        ("ollama", "UnreachableError"),
        ("lmstudio", "ServerBusyError"),
    ]
    assert error.retryable and error.exit_code == 11
    for words in ("ollama/both: UnreachableError", "lmstudio/both: ServerBusyError"):
        assert words in error.message
    assert_shows_no_prompt(error)
    twin = pickle.loads(pickle.dumps(error))
    assert [str(each) for each in twin.errors] == [str(each) for each in error.errors]
    json.dumps(error.to_dict())


def test_one_server_alone_fails_with_its_own_error() -> None:
    local = LocalProvider([OllamaProvider("127.0.0.1:9", retry=ONCE)])
    with pytest.raises(UnreachableError):
        local.chat("Hi", model="m")


@pytest.mark.parametrize("call", ["chat", "stream", "embed", "count_tokens", "render"])
def test_no_error_shows_the_prompt(call: str) -> None:
    with pair() as made:
        made.ollama.stop()
        made.lmstudio.stop()
        with pytest.raises(ProviderError) as caught:
            getattr(made.local, call)(PROMPT, model="both")
    assert_shows_no_prompt(caught.value)


# --- nearer is not further ----------------------------------------------------------------------------


def test_a_cloud_model_is_never_a_substitute() -> None:
    cloud = FakeModel(name="both", remote_host="https://ollama.com")
    with FakeOpenAICompatible(["both"]) as near, FakeOllama([cloud]) as far:
        local = LocalProvider(
            [
                OpenAICompatibleProvider(near.url + "/v1", name="near", retry=ONCE),
                OllamaProvider(far.url, name="far", locality="any"),
            ],
            locality="any",
            aliases={"fast": ("near/both", "far/both")},
        )
        with local:
            near.break_next("a full queue", times=None)
            for name in ("both", "fast"):
                with pytest.raises(AllFailedError) as caught:
                    local.chat("Hi", model=name)
                assert isinstance(caught.value.errors[1], LocalityError)
            assert not [each for each in far.exchanges if each.path == "/api/chat"]
            far.usual = Reply(remote_host="https://ollama.com")
            assert local.chat("Hi", model="far/both").provider == "far"


def test_a_prompt_that_may_not_leave_is_not_sent_to_anybody_else() -> None:
    cloud = FakeModel(name="both", remote_host="https://ollama.com")
    with pair(ollama=[cloud]) as made, pytest.raises(LocalityError):
        made.local.chat("Hi", model="both")
    assert made.lmstudio.exchanges == []


# --- one clock -----------------------------------------------------------------------------------------


def test_one_total_holds_for_all_servers_together(fake_clock: FakeTime) -> None:
    with pair() as made:
        for server in (made.ollama, made.lmstudio):
            server.break_next("silence", times=None)
        with pytest.raises(LimitError) as caught:
            made.local.chat("Hi", model="both", timeout=6)
        error = caught.value
        assert (error.limit, error.limit_s, error.elapsed_s) == ("total_s", 6, 6)


def test_a_server_that_is_silent_is_left_for_the_next_within_the_total(
    fake_clock: FakeTime,
) -> None:
    limits = Limits(load_s=0, first_token_s=3, total_s=30)
    with pair() as made:
        made.ollama.break_next("silence", times=None)
        answer = made.local.chat("Hi", model="both", timeout=limits)
        assert answer.provider == "lmstudio"
        assert [each.error for each in answer.tried] == ["LimitError"]
        made.lmstudio.break_next("silence", times=None)
        with pytest.raises(LimitError) as caught:
            made.local.chat("Hi", model="both", timeout=limits.replace(total_s=5))
        assert (caught.value.limit_s, caught.value.elapsed_s) == (5, 5)
        assert "before that: ollama/both: LimitError" in str(caught.value.hint)


def test_a_stream_that_outlives_the_total_names_the_whole(fake_clock: FakeTime) -> None:
    with pair() as made:
        made.ollama.usual = Reply(text="more " * 200, pause_s=2)
        with pytest.raises(LimitError) as caught:
            made.local.stream("Hi", model="both", timeout=5).result()
        error = caught.value
        assert (error.limit, error.limit_s, error.elapsed_s) == ("total_s", 5, 5)
        assert error.partial == "more more"


def test_the_limits_of_each_server_hold_where_the_call_says_nothing() -> None:
    slow = OllamaProvider("127.0.0.1:9", name="slow", timeout=Limits(total_s=7200))
    local = LocalProvider([OllamaProvider(), slow])
    assert local.limits().total_s == 7200
    assert local.limits(5).total_s == 5
    assert LocalProvider([slow], timeout=60).limits().total_s == 60


def test_cancelling_ends_the_call_and_asks_nobody_else() -> None:
    token = CancelToken()
    with pair() as made:
        made.ollama.break_next("silence", times=None)
        made.ollama._before_body = (  # type: ignore[method-assign]  # it does nothing
            lambda exchange: token.cancel() if exchange.path == "/api/chat" else None
        )
        with pytest.raises(CancelledError):
            made.local.chat("Hi", model="both", cancel=token)
        assert made.lmstudio.exchanges == []
        with pytest.raises(CancelledError):
            made.local.chat("Hi", model="both", cancel=token)


def test_cancelling_ends_a_stream_that_was_handed_out() -> None:
    token = CancelToken()
    with pair() as made:
        made.ollama.usual = Reply(text="more " * 500, pause_s=0.02)
        with made.local.stream("Hi", model="both", cancel=token) as stream:
            next(stream)
            token.cancel()
            with pytest.raises(CancelledError):
                stream.result()


# --- conveniences -----------------------------------------------------------------------------------------


def test_values_and_tools_fall_back_like_everything_else() -> None:
    with pair(model="both") as made:
        made.ollama.stop()
        made.lmstudio.reply_with('{"value": 7}')
        parsed = made.local.parse("A number as JSON.", int)
        assert (parsed.value, parsed.response.provider) == (7, "lmstudio")
        run = made.local.run_tools("Hi", [echo])
        assert run.response.provider == "lmstudio"


def echo(city: str) -> str:
    """Return a fact about a city."""
    return city


def test_a_local_provider_may_stand_in_another() -> None:
    with pair() as made, pair() as other:
        inner = LocalProvider(made.local.providers(), name="inner")
        outer = LocalProvider([inner, OllamaProvider(other.ollama.url, retry=ONCE)])
        made.ollama.stop()
        made.lmstudio.stop()
        with outer:
            answer = outer.chat("Hi", model="both")
        assert answer.provider == "ollama"
        assert answer.tried[0].error == "AllFailedError"


def test_the_page_says_which_errors_move_a_call_on() -> None:
    page = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*`\w+Error`.*) \| (yes|no) \| (yes|no) \|$", page, re.MULTILINE)
    told = {
        name: (moves == "yes", counts == "yes")
        for names, moves, counts in rows
        for name in re.findall(r"`(\w+Error)`", names)
    }
    real = {cls.__name__: tuple(rule_of(_make(cls))) for cls in _CLASSES}
    bases = {"ProviderError", "TransportError", "ModelError", "AnswerError"}
    assert told == {name: rule for name, rule in real.items() if name not in bases}


def test_log_and_metrics_tell_of_a_fallback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = TextfileExporter(tmp_path / "localproviders.prom")
    with pair() as made, caplog.at_level(logging.WARNING, "localproviders"):
        listeners = (LogListener(), metrics)
        local = LocalProvider(made.local.providers(), listeners=listeners)
        made.ollama.stop()
        assert local.chat(PROMPT, model="both").provider == "lmstudio"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "ollama" in said and "lmstudio" in said and "UnreachableError" in said
    assert PROMPT not in said
    text = (tmp_path / "localproviders.prom").read_text("utf-8")
    (line,) = [x for x in text.splitlines() if x.startswith("localproviders_fallbacks_total{")]
    assert 'provider="ollama"' in line and line.endswith(" 1")


@pytest.mark.parametrize("strategy", ["first", "loaded", "smallest"])
def test_each_server_that_was_left_is_told_under_the_verb_of_the_calls(strategy: str) -> None:
    with pair() as made:
        dead = [OllamaProvider("127.0.0.1:9", name=name, retry=ONCE) for name in ("one", "two")]
        local = LocalProvider(
            [*dead, *made.local.providers()], strategy=strategy, listeners=(made.events.append,)
        )
        assert len(local.chat("Hi", model="both").tried) == 2
    assert [(event.provider, event.operation) for event in made.fallbacks] == [
        ("one", "chat"),
        ("two", "chat"),
    ]


@pytest.mark.parametrize("strategy", ["first", "loaded"])
def test_a_server_that_cannot_be_reached_is_not_asked_for_the_aliass_next_name(
    strategy: str,
) -> None:
    aliases = {"fast": ("dead/one", "dead/two", "ollama/both")}
    with pair() as made:
        dead = OllamaProvider("127.0.0.1:9", name="dead", retry=ONCE)
        local = LocalProvider([dead, *made.local.providers()], aliases=aliases, strategy=strategy)
        answer = local.chat("Hi", model="fast")
    assert [(tried.provider, tried.model) for tried in answer.tried] == [("dead", "one")]


def test_finding_the_server_that_has_a_model_is_no_call_and_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: List[CallEvent] = []
    listeners = (heard.append, LogListener())
    with FakeOllama(["here"]) as ollama, FakeLMStudio(["there"]) as lmstudio:
        providers = [
            OllamaProvider(ollama.url, listeners=listeners),
            LMStudioProvider(lmstudio.url, listeners=listeners),
        ]
        with LocalProvider(providers, listeners=listeners) as local:
            local.chat("Hi", model="there")
            assert local.supports_model("here") and not local.supports_model("nowhere")
    assert [(event.kind, event.provider) for event in heard if event.kind != "connected"] == [
        ("started", "lmstudio"),
        ("first_token", "lmstudio"),
        ("finished", "lmstudio"),
    ]
    assert [record.getMessage() for record in caplog.records] == []
