"""Each recorded response is read the same way in two parts, and never wrongly if it ends early."""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List, NamedTuple

import pytest

from localproviders import (
    CompletionRequest,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.cuts import in_two_parts, outcome, places
from tests.support.recordings import (
    LMSTUDIO,
    PUBLISHED,
    anthropic_names,
    dialect_exchange,
    dialect_names,
    ollama_answer,
    ollama_names,
)
from tests.unit.anthropic import test_provider_published as captures
from tests.unit.anthropic import test_provider_recorded as messages
from tests.unit.lmstudio import test_provider_recorded as lmstudio
from tests.unit.lmstudio import test_provider_samples as samples
from tests.unit.ollama import test_provider_recorded as ollama
from tests.unit.openai_compatible import test_provider_published as published
from tests.unit.openai_compatible import test_provider_recorded as dialect

_ONCE = RetryPolicy(attempts=1, first_wait_s=0)
_MESSAGE = "Hi"


class Recording(NamedTuple):
    """One recorded response.

    Attributes:
        read: Returns the bytes of the response.
        ask: Calls the method that reads this response, at an address.
        other: Responses to other requests of the same call, by path.
        closes: Whether the server closed the connection at the end of the recording.
    """

    read: Callable[[], bytes]
    ask: Callable[[str], Any]
    other: Dict[str, bytes] = {}  # noqa: RUF012  # a default that nothing changes
    closes: bool = False


# --- Ollama ---------------------------------------------------------------------------------

_OLLAMA: Dict[str, Callable[[OllamaProvider], Any]] = {
    "tags": lambda provider: provider.list_models(),
    "head_tags": lambda provider: provider.list_models(),
    "show": lambda provider: provider.show("gemma3:270m"),
    "show_404": lambda provider: provider.show("nope"),
    "version": lambda provider: provider.version(),
    "root": lambda provider: provider.version(),
    "status": lambda provider: provider.cloud_disabled(),
    "ps": lambda provider: provider.loaded_models(),
    "copy": lambda provider: provider.copy("a", "b"),
    "copy_404": lambda provider: provider.copy("nope", "b"),
    "delete": lambda provider: provider.delete("a"),
    "delete_404": lambda provider: provider.delete("nope"),
    "embed": lambda provider: provider.embed(["hello", "world"], model="all-minilm", dimensions=4),
    "embed_404": lambda provider: provider.embed("hello", model="nope"),
    "embed_empty": lambda provider: provider.embed("hello", model="all-minilm"),
    "embed_gemma": lambda provider: provider.embed("hello", model="gemma3:270m"),
    "embeddings_old": lambda provider: provider.embed("hello", model="all-minilm"),
    "pull_ok": lambda provider: provider.pull("gemma3:270m"),
    "pull_404": lambda provider: provider.pull("nope"),
    "pull_404_nostream": lambda provider: provider.pull("nope"),
    "pull_nohost": lambda provider: provider.pull("nope"),
    "create_from": lambda provider: provider.create("made", from_model="gemma3:270m"),
    "create_from_404": lambda provider: provider.create("made", from_model="nope"),
}
_V1: Dict[str, Callable[[OpenAICompatibleProvider], Any]] = {
    "v1_embeddings": lambda provider: provider.embed("hello", model="all-minilm"),
    "v1_embeddings_b64": lambda provider: provider.embed("hello", model="all-minilm"),
    "v1_models": lambda provider: provider.list_models(),
}


def _ask_ollama(name: str, url: str) -> Any:
    if name.startswith("v1_"):
        with OpenAICompatibleProvider(
            f"{url}/v1", model="gemma3:270m", retry=_ONCE, timeout=20
        ) as v1:
            return _V1.get(name, lambda provider: provider.chat(_MESSAGE))(v1)
    with OllamaProvider(url, locality="any", retry=_ONCE, timeout=20) as provider:
        if name in _OLLAMA:
            return _OLLAMA[name](provider)
        model = {**ollama.ANSWERS, **ollama.ERRORS}.get(name, ("gemma3:270m",))[0]
        is_plain = name.startswith(("generate", "numctx", "format"))
        return ollama.generate(provider, model) if is_plain else ollama.chat(provider, model)


def _ollama() -> Dict[str, Recording]:
    tags = {"/api/tags": ollama_answer("tags"), "/api/show": ollama_answer("show")}
    known = {
        "tags": {},
        "head_tags": {},
        "show": {"/api/tags": tags["/api/tags"]},
        "show_404": {"/api/tags": tags["/api/tags"]},
        "embeddings_old": {"/api/embed": ollama_answer("notfound")},
    }
    return {
        name: Recording(
            functools.partial(ollama_answer, name),
            functools.partial(_ask_ollama, name),
            known.get(name, tags),
            name == "head_tags",  # its client asked for no body
        )
        for name in ollama_names()
    }


# --- servers of OpenAI's dialect --------------------------------------------------------------

_DIALECT: Dict[str, Callable[[OpenAICompatibleProvider], Any]] = {
    "models": lambda provider: provider.list_models(),
    "models_decision": lambda provider: provider.list_models(),
    "embeddings_base64": lambda provider: provider.embed(["one", "two"]),
    "embeddings_float": lambda provider: provider.embed(["one", "two"]),
    "apply_template": lambda provider: provider.render(_MESSAGE),
    "tokenize": lambda provider: provider.count_tokens(_MESSAGE),
    **dict.fromkeys(
        (
            "rerank",
            "rerank_error_documents",
            "rerank_texts",
            "rerank_too_long",
            "rerank_unsupported",
        ),
        lambda provider: provider.rerank(_MESSAGE, ["hi", "it is a bear", "a panda"]),
    ),
    "rerank_top_n": lambda provider: provider.rerank(
        _MESSAGE, ["hi", "it is a bear", "a panda"], top_n=2
    ),
}


def _ask_dialect(name: str, url: str) -> Any:
    with OpenAICompatibleProvider(
        f"{url}/v1", model="gemma3-270m", retry=_ONCE, timeout=20
    ) as provider:
        if name in _DIALECT:
            return _DIALECT[name](provider)
        return dialect.ask(provider, name)


def _dialect() -> Dict[str, Recording]:
    prompt = {"/apply-template": dialect_exchange("apply_template")[1]}
    return {
        name: Recording(
            lambda name=name: dialect_exchange(name)[1],  # type: ignore[misc]  # a default binds it
            functools.partial(_ask_dialect, name),
            prompt if name == "tokenize" else {},
            name.startswith("stream_server"),
        )
        for name in dialect_names()
    }


def _ask_published(name: str, url: str) -> Any:
    with published.provider_of(name, url) as provider:
        if name == published.LIST:
            return provider.list_models()
        if name == published.COMPLETION:
            return provider.complete(CompletionRequest(prompt="x", logprobs=True))
        return provider.chat("x", allow_other_model=True)


def _published() -> Dict[str, Recording]:
    names = [*published.ANSWERS, *published.ERRORS, published.LIST, published.COMPLETION]
    return {
        name: Recording(
            functools.partial(published.answer_of, name), functools.partial(_ask_published, name)
        )
        for name in (names if PUBLISHED.is_dir() else ())
    }


# --- Anthropic's route ------------------------------------------------------------------------


def _messages() -> Dict[str, Recording]:
    return {
        name: Recording(
            lambda name=name: dialect_exchange(name, "anthropic")[1],  # type: ignore[misc]  # a default binds it
            functools.partial(messages.ask, name),
            {},
            name == messages.KILLED,
        )
        for name in anthropic_names()
    }


def _captures() -> Dict[str, Recording]:
    return {
        name: Recording(
            functools.partial(captures.answer_of, name), functools.partial(captures.ask, name)
        )
        for name in captures.CAPTURES
    }


# --- LM Studio --------------------------------------------------------------------------------

_KEY = "openai/gpt-oss-20b"
_OWN: Dict[str, Callable[[LMStudioProvider], Any]] = {
    samples.LOADED: lambda provider: provider.load(_KEY, context_length=16384),
    samples.UNLOADED: lambda provider: provider.unload(_KEY),
    samples.NOT_LOADED: lambda provider: provider.unload(_KEY),
    samples.JOB: lambda provider: provider.download("ibm/granite-4-micro"),
    samples.STATUS: lambda provider: provider.download_status("job_493c7c9ded"),
    samples.STORED: lambda provider: provider.stateful_chat(_MESSAGE, model="google/gemma-3-1b"),
    samples.DOCS: lambda provider: provider.stateful_chat(_MESSAGE, model="ibm/granite-4-micro"),
    samples.COLD: lambda provider: provider.stateful_chat(_MESSAGE, model="qwen/qwen3.6-35b-a3b"),
    samples.ERROR_EVENT: lambda provider: provider.stateful_chat(_MESSAGE, model=_KEY),
    "the events": lambda provider: provider.stateful_chat(_MESSAGE, model=_KEY),
}


def _ask_lmstudio(name: str, url: str) -> Any:
    if name == lmstudio.DIALECT_LIST:
        with OpenAICompatibleProvider(f"{url}/v1", retry=_ONCE, timeout=20) as v1:
            return v1.list_models()
    with LMStudioProvider(url, retry=_ONCE, timeout=20) as provider:
        if name in _OWN:
            return _OWN[name](provider)
        if name in lmstudio.LISTS:
            return provider.list_models()
        return provider.chat(_MESSAGE, model="m", allow_other_model=True)


def _lmstudio_answer(name: str) -> bytes:
    if name == "the events":
        return samples.stream(*samples.EVENTS)
    if name == samples.ERROR_EVENT:
        return samples.stream(samples.EVENT.format("message-delta"), name)
    if name == lmstudio.TAIL:
        return lmstudio.tail()
    if name in lmstudio.ERRORS:
        return lmstudio.answer(name, lmstudio.ERRORS[name][0])
    return lmstudio.answer(name)


def _lmstudio() -> Dict[str, Recording]:
    if not LMSTUDIO.is_dir():
        return {}
    entry = {"type": "llm", "key": _KEY, "loaded_instances": []}
    unloaded = http_answer({"models": [entry]})
    listed = http_answer({"models": [{**entry, "loaded_instances": [{"id": "x"}]}]})
    missing = lmstudio.answer("error-200-unexpected-endpoint-ollama-tags-garage.json")
    names = {*lmstudio.ANSWERS, *lmstudio.WHOLE, *lmstudio.ERRORS, *lmstudio.LATER}
    names |= {*lmstudio.LISTS, *lmstudio.SPECIAL, *_OWN}
    found: Dict[str, Recording] = {}
    for name in names:
        other = {} if name in lmstudio.LISTS else {"/api/v1/models": listed}
        if name.startswith("v0-models"):
            other = {"/api/v1/models": missing}
        if name == samples.LOADED:
            other = {"/api/v1/models": unloaded}
        found[name] = Recording(
            functools.partial(_lmstudio_answer, name), functools.partial(_ask_lmstudio, name), other
        )
    return found


# --- the tests --------------------------------------------------------------------------------

RECORDINGS: Dict[str, Recording] = {
    f"{server} {name}": recording
    for server, recordings in (
        ("ollama", _ollama()),
        ("openai", _dialect()),
        ("published", _published()),
        ("lmstudio", _lmstudio()),
        ("messages", _messages()),
        ("anthropic", _captures()),
    )
    for name, recording in sorted(recordings.items())
}


def _serve(recording: Recording, answer: List[Any]) -> ScriptedServer:
    def script(exchange: Exchange) -> List[Any]:
        other = recording.other.get(exchange.path)
        return answer[0] if other is None else [other]

    return ScriptedServer(script)


def _check(recording: Recording, most: int) -> None:
    """Cut a recording at many places, and compare each outcome with that of the whole response."""
    whole = recording.read()
    steps: List[Any] = [[whole, *([Exchange.close] if recording.closes else [])]]
    with _serve(recording, steps) as server:
        expected = outcome(lambda: recording.ask(server.url))
        text = (expected[1] or {}).get("text", "") if isinstance(expected[1], dict) else ""
        for place in places(whole, most):
            with in_two_parts(place):
                assert outcome(lambda: recording.ask(server.url)) == expected, place
        for place in places(whole, most):
            steps[0] = [whole[:place], Exchange.close]
            kind, found = outcome(lambda: recording.ask(server.url))
            if kind == "error" and expected[0] == "answer" and text:
                assert text.startswith(found["partial"]), place
            # `count_tokens` may answer with an estimate, which says that it is one.
            is_estimate = isinstance(found, dict) and found.get("source") == "rough"
            assert kind == "error" or is_estimate or found == expected[1], place


def test_there_are_recordings_of_each_server() -> None:
    counts = [len(_ollama()), len(_dialect()), len(_published()), len(_lmstudio())]
    assert counts[:2] == [61, 37]
    assert counts[2] in (0, 36) and counts[3] in (0, 37)
    assert len(_messages()) == 46 and len(_captures()) in (0, 40)


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_cut_recording_is_read_right_or_is_an_error(name: str) -> None:
    _check(RECORDINGS[name], 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_read_right_wherever_it_is_cut(name: str) -> None:
    _check(RECORDINGS[name], 30)
