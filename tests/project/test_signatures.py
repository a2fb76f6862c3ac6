"""Every public function says what it takes: to checkers, to `help()`, and when it is misspelt."""

from __future__ import annotations

import inspect
import json
import os
import pkgutil
import pydoc
import re
import subprocess
import sys
import typing
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import pytest

import localproviders
from localproviders import (
    CompletionRequest,
    Config,
    Limits,
    LMStudioProvider,
    LocalEngine,
    LocalProvider,
    ModelNotFoundError,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    SecretString,
    create_default_provider,
    create_fallback_provider,
    create_provider,
    discover,
)
from localproviders._signatures import Unpack
from localproviders.config.cascade import ConfigKeys
from localproviders.config.keys import SCHEMA
from localproviders.discovery import FoundServer
from localproviders.errors import ErrorFacts
from localproviders.exporters import OpenTelemetryExporter, PrometheusExporter
from localproviders.kinds import KindKey, ProviderKind
from localproviders.local.base import LocalOptions
from localproviders.settings import ConnectionOptions, ProviderOptions, Settings
from localproviders.testing import (
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
    ScriptedServer,
)
from localproviders.testing.fake import FakeOptions
from localproviders.types.requests import RequestFields

_ROOT = Path(localproviders.__file__).parent
_SPECIAL = ("__init__", "__enter__", "__exit__", "__iter__", "__next__", "__call__")


def _public_modules() -> Iterator[Any]:
    yield localproviders
    for found in pkgutil.walk_packages(localproviders.__path__, "localproviders."):
        optional = found.name.startswith("localproviders.engine.")  # its packages may be missing
        if not optional and not any(part.startswith("_") for part in found.name.split(".")):
            yield import_module(found.name)


def _functions_of(cls: type) -> Iterator[Any]:
    for base in cls.__mro__:
        if base.__module__.startswith("localproviders"):
            for name, member in vars(base).items():
                if not name.startswith("_") or name in _SPECIAL:
                    yield from (
                        (member.fget, member.fset)
                        if isinstance(member, property)
                        else (getattr(member, "__func__", member),)
                    )


def _public_functions() -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for module in _public_modules():
        names = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
        for value in (getattr(module, name) for name in names):
            for function in _functions_of(value) if inspect.isclass(value) else (value,):
                ours = getattr(function, "__module__", "").startswith("localproviders")
                if inspect.isfunction(function) and ours:
                    found[f"{function.__module__}.{function.__qualname__}"] = function
    return found


def test_the_hints_of_every_public_function_can_be_evaluated() -> None:
    functions = _public_functions()
    wrong = {}
    for name, function in functions.items():
        try:
            typing.get_type_hints(function)
        except Exception as error:
            wrong[name] = error
    assert wrong == {}
    assert "localproviders.provider.ModelProvider.chat" in functions
    assert len(functions) > 500


def _public_classes() -> Dict[str, Any]:
    values = [
        getattr(module, name)
        for module in _public_modules()
        for name in getattr(module, "__all__", vars(module))
    ]
    ours = [v for v in values if inspect.isclass(v) and v.__module__.startswith("localproviders")]
    return {f"{cls.__module__}.{cls.__qualname__}": cls for cls in ours}


def test_the_hints_of_every_public_class_can_be_evaluated() -> None:
    classes = _public_classes()
    wrong = {}
    for name, cls in classes.items():
        try:
            typing.get_type_hints(cls)
        except Exception as error:
            wrong[name] = error
    assert wrong == {}
    assert typing.get_type_hints(Limits)["total_s"] is float
    assert len(classes) > 200


@pytest.mark.parametrize(
    "module",
    [
        "types", "errors", "telemetry", "exporters", "kinds", "config", "discovery", "testing",
        "schema", "settings", "provider", "secret", "local", "ollama", "lmstudio",
        "openai_compatible", "engine",
    ],
)  # fmt: skip
def test_the_public_modules_are_among_those_that_are_looked_at(module: str) -> None:
    assert f"localproviders.{module}" in [each.__name__ for each in _public_modules()]


def test_every_public_function_and_constructor_has_a_signature() -> None:
    made = {n: c for n, c in _public_classes().items() if inspect.isfunction(c.__init__)}
    for name, value in {**_public_functions(), **made}.items():
        assert inspect.signature(value).parameters is not None, name
    assert len(made) > 150


def test_no_public_constructor_takes_keywords_that_nobody_knows() -> None:
    makers = [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider, LocalProvider]
    more = [LocalEngine, FakeOllama, FakeLMStudio, FakeOpenAICompatible, Config.load]
    functions: List[Any] = [create_default_provider, create_fallback_provider, create_provider]
    functions += [FoundServer.make_provider]
    for make in [*makers, *more, *functions]:
        parameters = inspect.signature(make).parameters.values()
        assert not [each for each in parameters if each.kind is each.VAR_KEYWORD], make


#: Fields that a verb makes itself.
_MADE_BY = {"parse": {"response_schema"}}


@pytest.mark.parametrize("verb", ["chat", "stream", "parse", "run_tools", "stream_tools"])
def test_a_verb_shows_the_fields_of_a_request(verb: str) -> None:
    shown = inspect.signature(getattr(OllamaProvider(), verb)).parameters
    fields = {*RequestFields.__annotations__} - _MADE_BY.get(verb, set())
    assert fields == {*RequestFields.__annotations__} & {*shown}
    assert shown["temperature"].default is None
    assert shown["temperature"].annotation == "Optional[float]"
    assert shown["overflow"].default == "error"
    assert shown["extra_body"].default == {}
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ("model", "seed"))


@pytest.mark.parametrize("make", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
def test_a_constructor_shows_the_options_of_its_connection(make: Any) -> None:
    shown = inspect.signature(make).parameters
    assert {*ProviderOptions.__annotations__} <= {*shown}
    assert shown["retry"].default == RetryPolicy()
    assert shown["max_json_depth"].default == 100
    first = next(iter(shown.values()))
    assert first.name in ("host", "base_url")


def test_the_options_are_those_that_are_taken() -> None:
    assert {*ConnectionOptions.__annotations__} <= {*inspect.signature(Settings).parameters}
    taken = {*inspect.signature(LocalProvider).parameters}
    assert taken == {"providers", *LocalOptions.__annotations__}
    assert {*ConfigKeys.__annotations__} == {*SCHEMA}
    error = inspect.signature(ProviderError).parameters
    assert {*error} == {"message", *ErrorFacts.__annotations__}
    fake = inspect.signature(FakeServer).parameters
    assert {*fake} == {"models", *FakeOptions.__annotations__}


class _Mine(OllamaProvider):
    """A user's own provider."""


_MISSPELT: Mapping[str, Any] = {
    "OllamaProvider": (OllamaProvider, "tmeout", "timeout"),
    "LMStudioProvider": (LMStudioProvider, "hots", "host"),
    "OpenAICompatibleProvider": (OpenAICompatibleProvider, "ca_bundel", "ca_bundle"),
    "_Mine": (_Mine, "retyr", "retry"),
    "LocalProvider": (LocalProvider, "stratgy", "strategy"),
    "FakeLMStudio": (FakeLMStudio, "generaton", "generation"),
    "FakeOpenAICompatible": (FakeOpenAICompatible, "prot", "port"),
    "LocalEngine": (LocalEngine, "context_lenght", "context_length"),
    "CompletionRequest": (CompletionRequest, "temprature", "temperature"),
    "Limits": (Limits, "total", "total_s"),
    "RetryPolicy": (RetryPolicy, "attempt", "attempts"),
    "ProviderKind": (ProviderKind, "titel", "title"),
    "KindKey": (KindKey, "exampel", "example"),
    "SecretString": (SecretString, "valu", "value"),
    "ScriptedServer": (ScriptedServer, "skript", "script"),
    "OpenTelemetryExporter": (OpenTelemetryExporter, "traser_provider", "tracer_provider"),
    "PrometheusExporter": (PrometheusExporter, "registri", "registry"),
    "ProviderError": (partial(ProviderError, "m"), "hin", "hint"),
    "ModelNotFoundError": (partial(ModelNotFoundError, "m"), "availble", "available"),
    "discover": (discover, "refesh", "refresh"),
    "load": (Config.load, "profil", "profile"),
    "create_default_provider": (create_default_provider, "alias", "aliases"),
    "create_fallback_provider": (create_fallback_provider, "stratgy", "strategy"),
    "create_provider": (create_provider, "endpont", "endpoint"),
}


@pytest.mark.parametrize("name", _MISSPELT)
def test_a_misspelt_keyword_names_the_nearest_and_what_was_called(name: str) -> None:
    make, misspelt, nearest = _MISSPELT[name]
    with pytest.raises(TypeError) as caught:
        make(**{misspelt: "what was given"})
    assert str(caught.value) == (
        f"{name}() got an unexpected keyword {misspelt!r}; did you mean {nearest!r}?"
    )


@pytest.mark.parametrize(
    ("verb", "given", "misspelt", "nearest"),
    [
        ("chat", ["Hi"], "timout", "timeout"),
        ("stream", ["Hi"], "cancell", "cancel"),
        ("chat", ["Hi"], "modl", "model"),
        ("stream", ["Hi"], "sytem", "system"),
        ("chat", ["Hi"], "tool", "tools"),
        ("parse", ["Hi", dict], "max_attempt", "max_attempts"),
        ("run_tools", ["Hi", []], "max_round", "max_rounds"),
        ("stateful_chat", ["Hi"], "imags", "images"),
        ("stateful_stream", ["Hi"], "previous_response", "previous_response_id"),
    ],
)
def test_a_misspelt_keyword_of_a_verb_names_the_nearest_and_the_verb(
    verb: str, given: List[Any], misspelt: str, nearest: str
) -> None:
    with LMStudioProvider() as provider, pytest.raises(TypeError) as caught:
        getattr(provider, verb)(*given, **{misspelt: "what was given"})
    assert str(caught.value) == (
        f"{verb}() got an unexpected keyword {misspelt!r}; did you mean {nearest!r}?"
    )


_Call = Callable[[Any], Any]

#: Keywords of other clients, and the function that they are passed to.
_FOREIGN: List[Tuple[_Call, str]] = [
    (
        lambda _: OllamaProvider(base_url="x"),
        "OllamaProvider() got an unexpected keyword 'base_url'; did you mean 'host'?",
    ),
    (
        lambda _: LMStudioProvider(url="x"),
        "LMStudioProvider() got an unexpected keyword 'url'; did you mean 'host'?",
    ),
    (
        lambda _: OpenAICompatibleProvider(host="x"),
        "OpenAICompatibleProvider() got an unexpected keyword 'host'; did you mean 'base_url'?",
    ),
    (
        lambda _: OllamaProvider(max_retries=3),
        "OllamaProvider() got an unexpected keyword 'max_retries'; "
        "pass retry=RetryPolicy(attempts=3), which counts the first attempt, too",
    ),
    (
        lambda _: OllamaProvider(verify=False),
        "OllamaProvider() got an unexpected keyword 'verify'; leave it out, or pass "
        'ca_bundle="ca.pem" with your own certificates: TLS is always verified',
    ),
    (
        lambda ours: ours.chat("a", max_retries=3),
        "chat() got an unexpected keyword 'max_retries'; pass it to the provider: "
        "OllamaProvider(retry=RetryPolicy(attempts=3))",
    ),
    (
        lambda ours: ours.run_tools("a", [], max_iterations=3),
        "run_tools() got an unexpected keyword 'max_iterations'; did you mean 'max_rounds'?",
    ),
    (
        lambda ours: ours.stream_tools("a", [], parallel_tool_calls=False),
        "stream_tools() got an unexpected keyword 'parallel_tool_calls'; leave it out: parallel=1 "
        "runs the calls of an answer one after another, parallel=4 four at once",
    ),
    (
        lambda ours: ours.chat("a", parallel_tool_calls=False),
        "chat() got an unexpected keyword 'parallel_tool_calls'; "
        "pass extra_body={'parallel_tool_calls': False} if the server has this field",
    ),
    (
        lambda _: OllamaProvider("127.0.0.1", "llama3.2"),
        "OllamaProvider() takes only host by position: write OllamaProvider(host, "
        'model="llama3.2")',
    ),
    (
        lambda _: OpenAICompatibleProvider("http://127.0.0.1:1/v1", "key", "m"),
        "OpenAICompatibleProvider() takes only base_url by position: write "
        'OpenAICompatibleProvider(base_url, model="llama3.2")',
    ),
    (
        lambda _: OllamaProvider(temperature=0),
        "OllamaProvider() got an unexpected keyword 'temperature'; "
        "pass it to each call, as in chat(text, temperature=0)",
    ),
    (
        lambda _: LocalProvider(url="x"),
        "LocalProvider() got an unexpected keyword 'url'; "
        "pass it to a provider in the list, as in [OllamaProvider(host)]",
    ),
    (
        lambda _: create_default_provider(max_retries=3),
        "create_default_provider() got an unexpected keyword 'max_retries'",
    ),
    (
        lambda _: Limits(total=3),
        "Limits() got an unexpected keyword 'total'; did you mean 'total_s'?",
    ),
    (
        lambda _: Limits(timeout=3),
        "Limits() got an unexpected keyword 'timeout'; did you mean 'total_s'?",
    ),
    (
        lambda _: RetryPolicy(max_retries=3),
        "RetryPolicy() got an unexpected keyword 'max_retries'; did you mean 'attempts'?",
    ),
    (
        lambda ours: ours.embed(input=["a"]),
        "embed() got an unexpected keyword 'input'; did you mean 'texts'?",
    ),
    (lambda ours: ours.embed(), "embed() needs the argument 'texts'"),
    (
        lambda ours: ours.embed(["a"], modl="m"),
        "embed() got an unexpected keyword 'modl'; did you mean 'model'?",
    ),
    (
        lambda ours: ours.complete(CompletionRequest(prompt="a"), temperature=0),
        "complete() got an unexpected keyword 'temperature'; "
        "set it in the CompletionRequest, or call chat()",
    ),
    (
        lambda ours: ours.complete(CompletionRequest(prompt="a"), timout=1),
        "complete() got an unexpected keyword 'timout'; did you mean 'timeout'?",
    ),
    (
        lambda ours: ours.stream_completion(CompletionRequest(prompt="a"), timout=1),
        "stream_completion() got an unexpected keyword 'timout'; did you mean 'timeout'?",
    ),
    (
        lambda ours: ours.chat("a", stream=True),
        "chat() got an unexpected keyword 'stream'; "
        "leave it out: chat() returns the whole answer, stream() the chunks, each with a .text",
    ),
    (
        lambda ours: ours.chat("a", num_ctx=4096),
        "chat() got an unexpected keyword 'num_ctx'; did you mean 'context_length'? Ollama sets it "
        "for a call, LM Studio has load(model, context_length=8192), and other servers set it when "
        "they start",
    ),
    (
        lambda ours: ours.chat("a", options={}),
        "chat() got an unexpected keyword 'options'; "
        "pass each option as a keyword, such as temperature=0, context_length=8192 (num_ctx) or "
        "max_tokens=100 (num_predict)",
    ),
    (
        lambda ours: ours.chat("a", format="json"),
        "chat() got an unexpected keyword 'format'; pass "
        'response_schema={"type": "object"} for any JSON object, or another JSON Schema as a '
        "dictionary; or write parse(text, City).value with a type",
    ),
    (
        lambda ours: ours.parse("a", int, format="json"),
        "parse() got an unexpected keyword 'format'; "
        "pass the type or the JSON Schema after the messages, as in parse(text, City).value",
    ),
    (
        lambda ours: ours.parse("a", int, response_schema={}),
        "parse() got an unexpected keyword 'response_schema'; "
        "pass the type or the JSON Schema after the messages, as in parse(text, City).value",
    ),
    (
        lambda ours: ours.parse("a", response_format=dict),
        "parse() got an unexpected keyword 'response_format'; "
        "pass the type or the JSON Schema after the messages, as in parse(text, City).value",
    ),
    (lambda ours: ours.parse("a"), "parse() needs the argument 'response_type'"),
    (
        lambda ours: ours.chat(prompt="a"),
        "chat() got an unexpected keyword 'prompt'; "
        "pass the text as the first argument, or call complete(CompletionRequest(prompt=text))",
    ),
    (lambda ours: ours.stream(), "stream() needs the argument 'messages'"),
    (
        lambda ours: ours.run_tools("a", functions=[]),
        "run_tools() got an unexpected keyword 'functions'; did you mean 'tools'?",
    ),
    (
        lambda ours: ours.stream("a", images=["scan.png"]),
        "stream() got an unexpected keyword 'images'; "
        'pass Message.user("What is this?", images=[Path("cat.png")]) as the message; images may be '
        "bytes, too, such as base64.b64decode(text), open files, and images of PIL",
    ),
    (
        lambda ours: ours.load("m", num_ctx=4096),
        "load() got an unexpected keyword 'num_ctx'; did you mean 'context_length'?",
    ),
    (
        lambda ours: ours.count_tokens("a", sytem="s"),
        "count_tokens() got an unexpected keyword 'sytem'; did you mean 'system'?",
    ),
    (
        lambda ours: ours.pull(name="m"),
        "pull() got an unexpected keyword 'name'; did you mean 'model'?",
    ),
    (
        lambda ours: ours.pull("m", stream=True),
        "pull() got an unexpected keyword 'stream'; "
        "leave it out, and pass on_progress=function to get the progress reports",
    ),
]


def _compatible() -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider("http://127.0.0.1:1/v1")


@pytest.mark.parametrize("make", [OllamaProvider, LMStudioProvider, LocalProvider, _compatible])
@pytest.mark.parametrize(("call", "said"), _FOREIGN, ids=[said for _, said in _FOREIGN])
def test_a_keyword_of_another_client_names_ours(make: Any, call: _Call, said: str) -> None:
    with make() as provider, pytest.raises(TypeError) as caught:
        call(provider)
    assert str(caught.value) == said


_BY_NAME = [
    ("chat", 'chat() takes only messages by position: write chat(messages, model="llama3.2")'),
    (
        "run_tools",
        "run_tools() takes only messages and tools by position: "
        'write run_tools(messages, tools, model="llama3.2")',
    ),
    ("embed", 'embed() takes only texts by position: write embed(texts, model="nomic-embed-text")'),
    ("complete", "complete() takes only request by position: write complete(request, timeout=...)"),
    ("list_models", "list_models() takes no argument by position: write list_models(timeout=...)"),
    ("unload", "unload() takes only model by position: write unload(model, timeout=...)"),
]  # fmt: skip


def _verbs_with_options(make: Any) -> Iterator[Any]:
    for name in dir(make):
        member = inspect.getattr_static(make, name)
        if inspect.isfunction(member) and not name.startswith("_"):
            kinds = [each.kind for each in inspect.signature(member).parameters.values()]
            if inspect.Parameter.KEYWORD_ONLY in kinds:
                yield pytest.param(make, name, id=f"{make.__name__}.{name}")


@pytest.mark.parametrize(("verb", "said"), _BY_NAME)
@pytest.mark.parametrize("make", [OllamaProvider, LMStudioProvider, LocalProvider, _compatible])
def test_an_argument_without_its_name_says_what_to_write(make: Any, verb: str, said: str) -> None:
    with make() as provider, pytest.raises(TypeError) as caught:
        getattr(provider, verb)("Hi", "llama3.2", "the secret text")
    assert str(caught.value) == said
    assert "the secret text" not in repr([e.frame.f_locals for e in caught.traceback[1:]])


@pytest.mark.parametrize(
    ("make", "verb"),
    [
        each
        for make in (OllamaProvider, LMStudioProvider, OpenAICompatibleProvider, LocalProvider)
        for each in _verbs_with_options(make)
    ],
)
def test_every_verb_says_what_to_write_for_an_argument_without_its_name(
    make: Any, verb: str
) -> None:
    with pytest.raises(TypeError, match=rf"^{verb}\(\) takes .* by position: write {verb}\("):
        getattr(make, verb)(*[object.__new__(make)] * 9)


def test_a_call_with_a_wrong_keyword_leaves_no_text_in_our_frames() -> None:
    with OllamaProvider() as provider, pytest.raises(TypeError) as caught:
        provider.embed(input=["the secret text"])
    ours = [
        entry.frame.f_locals
        for entry in caught.traceback
        if _ROOT in Path(str(entry.frame.code.path)).parents
    ]
    assert ours
    assert not [each for each in ours if "the secret text" in repr(each)]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("profiles", "profile"), ("environment", "environ"), ("localty", "locality")],
)
def test_a_misspelt_argument_of_a_configuration_names_one_that_is_taken(
    given: str, nearest: str
) -> None:
    with pytest.raises(TypeError, match=f"'{given}'; did you mean '{nearest}'"):
        Config.load(**{given: {}})


def test_the_signature_of_a_subclass_is_its_own() -> None:
    class Small(OllamaProvider):
        def __init__(self, size: int) -> None:
            super().__init__()

    assert list(inspect.signature(Small).parameters) == ["size"]


def test_unpack_tells_what_it_unpacks_on_every_python() -> None:
    hints = typing.get_type_hints(ModelProvider.chat)
    assert hints["fields"] == Unpack[RequestFields]
    # `get_args` is used by libraries that make a command or a form of a function.
    assert typing.get_args(hints["fields"]) == (RequestFields,)
    assert typing.get_type_hints(RequestFields)["seed"] == typing.Optional[int]


_CHECKED = """\
from localproviders import CompletionRequest, CompletionResponse, LocalProvider, OllamaProvider
from localproviders import RetryPolicy, create_default_provider, create_provider
from localproviders.types import CancelToken, Timeout
from typing import Optional

class Mine(OllamaProvider):
    def complete(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> CompletionResponse:
        return super().complete(request, timeout=timeout, cancel=cancel)

OllamaProvider("localhost", retry=RetryPolicy(), max_body_bytes=1_000, listeners=[print])
LocalProvider(strategy="loaded").chat("Hi", temperature=0.5)
create_default_provider(model="m", needs={"tools"})
create_provider("ollama/m", endpoint="h", timeout=3, locality="any", retry=RetryPolicy()).chat("Hi")
OllamaProvider(retyr=RetryPolicy())
OllamaProvider(max_body_bytes="1 MB")
create_default_provider(stratgy="loaded")
create_default_provider(model=3)
create_provider(model=3)
create_provider("ollama/m", locality="near")
create_provider("ollama/m", endpont="h")
OllamaProvider().chat("Hi", temprature=0.5)
OllamaProvider().chat("Hi", temperature="hot")
OllamaProvider().parse("Hi", int, response_schema={})
OllamaProvider().embed(["Hi"], modl="m")
OllamaProvider().embed()
LocalProvider().complete(CompletionRequest(prompt="Hi"), stream=True)
OllamaProvider().load("m", num_ctx=4096)
OllamaProvider().pull(name="m")
"""
_RIGHT = 19
_WRONG_LINES = [*range(_RIGHT + 1, _CHECKED.count("\n") + 1)]


def _mypy(path: Path) -> List[str]:
    return ["mypy", "--strict", "--follow-imports=silent", f"--cache-dir={path.parent}", str(path)]


@pytest.mark.slow
@pytest.mark.parametrize("checker", [_mypy, lambda path: ["pyright", str(path)]])
def test_checkers_refuse_misspelt_and_wrongly_typed_options(
    checker: Callable[[Path], List[str]], tmp_path: Path
) -> None:
    path = tmp_path / "script.py"
    path.write_text(_CHECKED)
    command = checker(path)
    if find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=_ROOT.parent,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=300,
    )
    errors = [line for line in done.stdout.splitlines() if "script.py:" in line and "error" in line]
    lines = [int(line.split("script.py:")[1].split(":")[0]) for line in errors]
    assert sorted({*lines}) == _WRONG_LINES, done.stdout


@pytest.mark.slow
def test_checkers_know_the_type_of_every_public_name(tmp_path: Path) -> None:
    if find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    command = ["pyright", "--verifytypes", "localproviders", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(_ROOT.parent)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=300,
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    unsure = [each["name"] for each in found["symbols"] if not each["isTypeKnown"]]
    print(f"pyright --verifytypes: {found['completenessScore']:.1%} of {len(found['symbols'])}")
    assert Path(found["packageRootDirectory"]) == _ROOT
    assert found["completenessScore"] >= 0.98, unsure[:20]


def test_help_of_the_package_is_a_page_that_names_everything() -> None:
    page = pydoc.render_doc(localproviders, renderer=pydoc.plaintext)
    lines = page.splitlines()
    print(f"help(localproviders): {len(lines)} lines, {len(page):,} characters")
    assert len(lines) <= 300
    names = {*localproviders.__all__} - {"__version__"}
    assert [name for name in names if not re.search(rf"\b{name}\b", page)] == []
    assert "OllamaProvider" in dir(localproviders)


@pytest.mark.parametrize("verb", ["chat", "stream", "parse", "run_tools", "stream_tools"])
def test_help_of_a_verb_names_the_fields_of_a_request(verb: str) -> None:
    page = pydoc.render_doc(getattr(OllamaProvider, verb), renderer=pydoc.plaintext)
    absent = {name for name in RequestFields.__annotations__ if f"{name}:" not in page}
    assert absent == _MADE_BY.get(verb, set())


@pytest.mark.parametrize("make", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
def test_help_of_a_provider_names_its_options(make: Any) -> None:
    page = pydoc.render_doc(make, renderer=pydoc.plaintext)
    assert [name for name in ProviderOptions.__annotations__ if f"{name}:" not in page] == []
