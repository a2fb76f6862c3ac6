"""No text of a server reaches an error message, a log, a warning or the terminal unescaped.

The tests put hostile text into each field of each good response, one after another, and into
refusals of every form. The texts that a call then shows to a person must contain no control
character, and no line that begins with text of the server.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import traceback
import unicodedata
import warnings
from typing import Any, Callable, Dict, Hashable, Iterable, Iterator, List, Set, Tuple

import pytest

from localproviders import (
    CompletionRequest,
    LocalProvider,
    OllamaProvider,
    ProviderError,
    RetryPolicy,
    Tool,
    cli,
    discover,
)
from localproviders.discovery import forget
from localproviders.exporters import LogListener
from localproviders.testing import Exchange, FakeModel, Reply, ScriptedServer, http_answer
from localproviders.testing.answers import Answer
from localproviders.testing.faults import Fault
from localproviders.testing.faults.fault import STREAMS
from localproviders.types import ToolCall
from tests.promises.faults.bench import LIMITS, PROMPT
from tests.promises.faults.verbs import VERBS, Verb
from tests.support.asking import PROVIDERS, serve_provider, tool_call_reply
from tests.support.covering import Case, mark_slow
from tests.support.locality import error_chain

FORGED = "CRITICAL forged"
#: Escape sequences for a title, a cleared screen and colors, a forged line, text direction marks,
#: line ends.
HOSTILE = (
    f"\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\n{FORGED}\r\n{FORGED}\u0085\u2028\u2029\u202e\u2066\u200f"
)
_DIRECTIONS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def assert_safe(text: str, where: str, *, lines: bool = False) -> None:
    """Check that a text has no control character, and no line that begins with server text.

    Args:
        text: The text.
        where: The name of the text in a failing test.
        lines: Whether the text may have several lines.
    """
    for line in text.split("\n") if lines else [text]:
        assert not line.startswith(FORGED), where
        for letter in line:
            assert unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp"), (where, line)
            assert unicodedata.bidirectional(letter) not in _DIRECTIONS, (where, line)
            assert letter not in "\u200e\u200f\u061c", (where, line)


class _CheckingHandler(logging.Handler):
    """Checks the text of every log record as a log file would contain it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        assert_safe(self.format(record), f"log of {record.name}", lines=bool(record.exc_info))
        for name, value in getattr(record, "call_event", {}).items():
            assert_safe(str(value), f"call_event[{name!r}]")


def check_error(error: BaseException) -> None:
    """Check all texts of an error and its causes, and the traceback."""
    for link in error_chain(error):
        where = f"{type(link).__name__} of {type(error).__name__}"
        assert_safe(str(link), f"str of {where}")
        assert_safe(repr(link), f"repr of {where}")
        assert_safe(str(link.args), f"args of {where}")
        if isinstance(link, ProviderError):
            _check_attributes(link)
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert_safe(shown, "the traceback", lines=True)


def _check_attributes(error: ProviderError) -> None:
    given: Any = error
    failures = getattr(given, "failures", {})
    texts = {"message": error.message, "hint": error.hint, "args": error.args[0]}
    texts.update(
        evidence=getattr(given, "evidence", None), **{f"f{i}": failures[i] for i in failures}
    )
    texts.update({f"reason {i}": why for i, why in enumerate(getattr(given, "reasons", ()))})
    for name, text in texts.items():
        assert_safe(text or "", f"{name} of {type(error).__name__}")


def check_value(value: Any, seen: Set[int]) -> None:
    """Check the texts of a value that people read: its repr, warnings, reasons and statuses."""
    if isinstance(value, (list, tuple)):
        for each in value:
            check_value(each, seen)
        return
    if id(value) in seen or not hasattr(value, "__dict__"):
        return
    seen.add(id(value))
    assert_safe(repr(value), f"repr of {type(value).__name__}")
    for name, inner in vars(value).items():
        if name in ("warnings", "reason", "status", "detail", "version", "message"):
            for text in inner if isinstance(inner, tuple) else [inner]:
                assert_safe(text if isinstance(text, str) else "", f"{name} of {type(value)}")
        check_value(inner if not isinstance(inner, dict) else list(inner.values()), seen)


@contextlib.contextmanager
def check_logs_and_warnings() -> Iterator[None]:
    """Check all log records and warnings of the block."""
    handler, root = _CheckingHandler(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    for warning in warned:
        assert_safe(str(warning.message), "a Python warning")


def check_texts(call: Callable[[], Any]) -> None:
    """Make a call, and check every text that it shows to a person."""
    with check_logs_and_warnings():
        try:
            check_value(call(), set())
        except ProviderError as error:
            check_error(error)


# --- every method -------------------------------------------------------------------------------

_CHAT = "chat-model"


def _with_progress(provider: Any, verb: str, *arguments: Any, **options: Any) -> Any:
    """Call a method that reports progress; return the reports and the result."""
    reports: List[Any] = []
    found = getattr(provider, verb)(*arguments, on_progress=reports.append, **options)
    return [*reports, found]


_FORMS: Dict[str, Callable[[Any], Any]] = {
    "list_models": lambda p: p.list_models(),
    "chat": lambda p: p.chat(PROMPT, model=_CHAT),
    "chat with logprobs": lambda p: p.chat(PROMPT, model=_CHAT, logprobs=True, strict=False),
    "complete": lambda p: p.complete(CompletionRequest(model=_CHAT, prompt=PROMPT)),
    "embed": lambda p: p.embed([PROMPT, "more"], model="vector-model"),
    "decide": lambda p: p.decide(PROMPT, {"a": "Is it?", "b": ["x", "y"]}, model="nimble"),
    "supports_model": lambda p: p.supports_model(_CHAT),
    "capabilities": lambda p: p.model_capabilities(_CHAT),
    "another model": lambda p: p.chat(PROMPT, model=_CHAT, allow_other_model=True),
    "unknown model": lambda p: p.chat(PROMPT, model="nothing"),
}
_CASES = [
    *VERBS,
    *(
        Verb(name, backend, "/", call)
        for backend in sorted(PROVIDERS)
        for name, call in _FORMS.items()
    ),
    *(
        Verb(
            "pull with progress",
            backend,
            "/",
            lambda p: _with_progress(p, "pull", "qwen3:0.6b", timeout=LIMITS),
        )
        for backend in ("ollama", "lmstudio")
    ),
]
_VERBS = {verb.id: verb for verb in _CASES}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localproviders.lmstudio.downloads.WAITS_S", (0.001, 0.002))


def _map_values(value: Any, change: Callable[[str, Any], Any], key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _map_values(inner, change, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_map_values(inner, change, key) for inner in value]
    return change(key, value)


def _fields_of(verb: Verb) -> List[str]:
    """Return the names of the fields in the good responses to a method."""
    found: Dict[str, None] = {}

    def note(answer: Answer) -> Any:
        return answer.each_changed(
            lambda r: _map_values(r, lambda k, v: (found.update({k: None}), v)[1])
        ).steps()

    with _serve(verb) as (fake, provider):
        fake.break_next(Fault("note", note), times=None, path="/")
        with contextlib.suppress(ProviderError):
            verb.call(provider)
    return list(found)


@contextlib.contextmanager
def _serve(verb: Verb) -> Iterator[Tuple[Any, Any]]:
    server, provider_of = PROVIDERS[verb.backend]
    models = [
        FakeModel(name=_CHAT),
        FakeModel(name="vector-model", abilities=("embeddings",)),
        FakeModel(name="nimble", abilities=("decision",)),
    ]
    options: Dict[str, Any] = {
        "timeout": LIMITS,
        "retry": RetryPolicy(attempts=2, first_wait_s=0),
        "locality": "any" if verb.name == "push" else "loopback",
        "listeners": [LogListener()],
    }
    with server(models) as fake, provider_of(fake.url, **options) as provider:
        verb.prepare(fake)
        yield fake, provider


@pytest.mark.sample(1)
@pytest.mark.parametrize("verb", _CASES, ids=lambda verb: verb.id)
@pytest.mark.parametrize(
    "replaced", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["replaced", "appended"]
)
def test_each_field_of_a_response_may_be_hostile(verb: Verb, replaced: bool) -> None:
    for field in _fields_of(verb):

        def change(name: str, value: Any, field: str = field) -> Any:
            hostile = name == field and (replaced or isinstance(value, str))
            return (HOSTILE if replaced else f"{value}{HOSTILE}") if hostile else value

        def make_hostile(answer: Answer, change: Any = change) -> Iterable[Any]:
            return answer.each_changed(lambda record: _map_values(record, change)).steps()

        with _serve(verb) as (fake, provider):
            fake.break_next(Fault(f"hostile {field}", make_hostile), times=None, path="/")
            check_texts(lambda provider=provider: verb.call(provider))


_STATUSES = (
    "400",
    "401",
    "403",
    "404",
    "408",
    "413",
    "422",
    "429",
    "500",
    "501",
    "503",
    "302",
    "200",
)
_SHAPES: Dict[str, Any] = {
    "text": HOSTILE,
    "an object": {"error": HOSTILE},
    "an inner object": {"error": {"message": HOSTILE, "type": HOSTILE, "code": HOSTILE}},
    "a list": [{"error": {"message": HOSTILE}}],
    "an object in a text": {"error": '{"error": {"message": "\\u001b[2J\\nCRITICAL forged"}}'},
    "keys": {HOSTILE: HOSTILE, "error": {HOSTILE: HOSTILE}},
    "known words": {"error": f"model 'm' not found{HOSTILE}"},
    "half a pair": {"error": f"\ud800{HOSTILE}\udfff"},
}
_HEADERS = (("X-Words", "\x1b[2J"), ("Retry-After", "\x1b[2J"), ("Location", "http://h/\x1b[2J"))


def _features(case: Case) -> Iterable[Hashable]:
    """Return the method, the pair of shape and backend, and the pair of shape and call form."""
    shape, verb = case
    form = _VERBS[verb].name if _VERBS[verb].name in _FORMS else ""
    return [verb, (shape, _VERBS[verb].backend), (shape, form)]


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("shape", "verb"), mark_slow([(shape, verb) for shape in _SHAPES for verb in _VERBS], _features)
)
def test_each_refusal_may_be_hostile(shape: str, verb: str) -> None:
    asked = _VERBS[verb]
    for status in _STATUSES if asked.name in ("chat", "list_models", "embed") else ("400", "500"):

        def make_hostile(answer: Answer, status: str = status) -> List[bytes]:
            words = f"{status} \x1b[2J\x9b31m"
            return [http_answer(_SHAPES[shape], status=words, headers=_HEADERS)]

        with _serve(asked) as (fake, provider):
            fake.break_next(Fault("hostile refusal", make_hostile), times=None, path=asked.path)
            check_texts(lambda provider=provider: asked.call(provider))


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
@pytest.mark.parametrize("shape", ["an object", "an inner object", "keys"])
def test_an_error_within_a_stream_may_be_hostile(kind: str, shape: str) -> None:
    def make_hostile(answer: Answer) -> Iterable[Any]:
        texts = [*answer.texts[: answer.begun], json.dumps(_SHAPES[shape])]
        return answer.replace(texts=texts).steps()

    verb = Verb("chat", kind, "/", _FORMS["chat"])
    with _serve(verb) as (fake, provider):
        fake.break_next(Fault("hostile words in a stream", make_hostile, STREAMS), times=None)
        check_texts(lambda: verb.call(provider))


@pytest.mark.parametrize(
    "line", [b"X: \x1b[2J\x9b", b"\x1b[2J no header", b": \x1b", b"\x1b[2J: x"]
)
@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK", b"HTTP/1.1 500 \x1b[2J", b"\x1b[2J 200 OK"])
def test_a_head_may_be_hostile(line: bytes, start: bytes) -> None:
    answer = start + b"\r\nContent-Length: 2\r\n" + line + b"\r\nContent-Type: \x1b[2J\r\n\r\n{}"
    with ScriptedServer(answer) as server:
        with OllamaProvider(server.url, model="m", listeners=[LogListener()]) as provider:
            check_texts(provider.list_models)
            check_texts(lambda: provider.chat(PROMPT))


# --- output of a model ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_tool_calls_may_be_hostile(kind: str) -> None:
    def rm(path: str) -> str:
        """Remove a file."""
        raise LookupError(path)

    hand = Tool(name="hand", parameters={"additionalProperties": False}, function=rm)
    asked = tool_call_reply((HOSTILE, {"path": "x"}), ("rm", {HOSTILE: 1}), ("rm", {"path": HOSTILE}),
                  ("hand", {HOSTILE: HOSTILE}))  # fmt: skip
    with serve_provider(kind, listeners=[LogListener()]) as served:
        served.fake.reply_with(asked, asked, asked)
        check_texts(lambda: served.provider.run_tools(PROMPT, [rm, hand], max_rounds=2))


@dataclasses.dataclass
class AlwaysInvalid:
    name: str

    def __post_init__(self) -> None:
        raise ValueError(f"no such name: {self.name}")


@pytest.mark.sample(7)
@pytest.mark.parametrize("kind", sorted(PROVIDERS))
@pytest.mark.parametrize(
    "wanted", [int, AlwaysInvalid, {"enum": ["a"]}, {"propertyNames": {"enum": ["a"]}}]
)
def test_structured_output_that_does_not_fit_may_be_hostile(kind: str, wanted: Any) -> None:
    texts = [HOSTILE, json.dumps(HOSTILE), json.dumps({"value": HOSTILE}),
             json.dumps({"name": HOSTILE}), json.dumps({HOSTILE: HOSTILE})]  # fmt: skip
    with serve_provider(kind, listeners=[LogListener()]) as served:
        for text in texts:
            served.fake.reply_with(text)
            check_texts(lambda: served.provider.parse(PROMPT, wanted, max_attempts=1))


def test_a_tool_call_without_arguments_may_be_hostile() -> None:
    with serve_provider("openai") as served:
        served.fake.reply_with(
            Reply(tool_calls=(ToolCall(id=HOSTILE, name=HOSTILE, arguments={}),))
        )
        check_texts(lambda: served.provider.chat(PROMPT))


# --- discovery, the command line, several servers ---------------------------------------------------


def _lists(exchange: Exchange) -> List[bytes]:
    answers: Dict[str, Any] = {
        "/": "Ollama is running",
        "/api/version": {"version": HOSTILE},
        "/api/tags": {"models": [{"name": f"{HOSTILE}:{HOSTILE}", "model": HOSTILE}]},
        "/api/ps": {"models": [{"name": f"{HOSTILE}:{HOSTILE}", "model": HOSTILE}]},
    }
    found = answers.get(exchange.path)
    return [http_answer(found) if found is not None else http_answer(HOSTILE, status="404 No")]


def _dialect(exchange: Exchange) -> List[bytes]:
    answers: Dict[str, Any] = {
        "/v1/models": {"object": "list", "data": [{"id": HOSTILE, "object": "model"}]},
        "/props": {"build_info": HOSTILE},
    }
    found = answers.get(exchange.path)
    return [http_answer(found) if found is not None else http_answer(HOSTILE, status="404 No")]


def _studio(exchange: Exchange) -> List[bytes]:
    answers: Dict[str, Any] = {
        "/lmstudio-greeting": {"lmstudio": True},
        "/api/v1/models": {"models": [{"type": "llm", "key": HOSTILE, "display_name": HOSTILE}]},
    }
    found = answers.get(exchange.path)
    return [http_answer(found) if found is not None else http_answer(HOSTILE, status="500 No")]


def _refusing(exchange: Exchange) -> List[bytes]:
    return [http_answer({"error": {"message": HOSTILE}}, status="500 \x1b[2J")]


@pytest.mark.sample(2)
@pytest.mark.parametrize("script", [_lists, _dialect, _studio, _refusing])
def test_discovery_and_the_command_line_show_hostile_servers_safely(
    script: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    forget()
    with ScriptedServer(script) as server:
        with check_logs_and_warnings():
            found = discover([server.url])
        check_value([found, *found.servers, *found.tried], set())
        text = found.explain()
        assert_safe(text, "explain", lines=True)
        assert server.url in text
        cli.main(["discover", server.url])
    printed = capsys.readouterr()
    assert server.url in printed.out + printed.err
    assert_safe(printed.out, "standard output", lines=True)
    assert_safe(printed.err, "standard error", lines=True)


LONG = "x" * 1_000_000 + HOSTILE


@pytest.mark.slow
@pytest.mark.parametrize("backend", sorted(PROVIDERS))
def test_very_long_texts_do_not_fill_messages_and_logs(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    for field in ("model", "finish_reason", "done_reason", "message"):
        for form in ("chat", "embed", "unknown model"):
            verb = Verb(form, backend, "/", _FORMS[form])
            with caplog.at_level(logging.DEBUG, "localproviders"), _serve(verb) as (
                fake,
                provider,
            ):
                fake.break_next(_long_text_fault(field), times=None, path="/")
                try:
                    texts = list(getattr(verb.call(provider), "warnings", ()))
                except ProviderError as error:
                    texts = [str(error)]
            texts += [record.getMessage() for record in caplog.records]
            texts += [str(getattr(record, "call_event", "")) for record in caplog.records]
            assert max(map(len, texts)) < 25_000
            caplog.clear()


def _long_text_fault(field: str) -> Fault:
    """Return a fault in which each text in fields of this name has a million characters."""

    def change(name: str, value: Any) -> Any:
        return LONG if name == field and isinstance(value, str) else value

    def make_hostile(answer: Answer) -> Iterable[Any]:
        return answer.each_changed(lambda record: _map_values(record, change)).steps()

    return Fault(f"long {field}", make_hostile)


def test_an_error_of_several_servers_is_safe() -> None:
    with ScriptedServer(_refusing) as one, ScriptedServer(_refusing) as two:
        providers = [OllamaProvider(one.url, name="one"), OllamaProvider(two.url, name="two")]
        with LocalProvider(providers, model="m", listeners=[LogListener()]) as provider:
            check_texts(lambda: provider.chat(PROMPT))


def test_an_error_in_a_configuration_is_safe(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = '"\\u001b[2J\\nCRITICAL forged\\u202E"'
    for text in (
        f"[aliases]\n{name} = 3\n",
        f"{name} = 3\n",
        f"[servers.{name}]\nkind = 'ollama'\n",
        f"[servers.x]\nkind = {name}\n",
        f"[profiles.{name}]\nmodel = 3\n",
        f"locality = {name}\n",
        f"model = {name}\nlocality = 7\n",
    ):
        (tmp_path / "localproviders.toml").write_text(text, "utf-8")
        assert cli.main(["discover"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert_safe(printed.err, text, lines=True)
        assert printed.err.count("\n") == 1
