"""All other methods of the providers than chat, embed and list, and their errors under faults.

The fault table checks chat, embed and list against the whole catalogue. The other methods run
through the same code, so a short list of faults, one for each step of a call, is enough for them.
"""

from __future__ import annotations

import pickle
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Type

import pytest

from localproviders import (
    AnswerTooLargeError,
    AuthenticationError,
    LimitError,
    ModelLoadError,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    ServerBusyError,
    ServerError,
    StreamInterruptedError,
    ToolCall,
)
from localproviders.testing import (
    FakeModel,
    Reply,
)
from tests.promises.faults.bench import LIMIT_S, LIMITS, MAX_BYTES, PROMPT
from tests.support.asking import PROVIDERS
from tests.support.fake_time import now
from tests.support.timing import GRACE_S

Errors = Tuple[Type[ProviderError], ...]

#: Faults, and the allowed classes of their errors.
FAULTS: Dict[str, Errors] = {
    "silence": (LimitError,),
    "headers dripped": (LimitError,),
    "silence after the headers": (LimitError,),
    "closed without an answer": (StreamInterruptedError,),
    "reset without an answer": (StreamInterruptedError,),
    "headers without end": (ProtocolError,),
    "not HTTP": (ProtocolError,),
    "redirect 307": (ProtocolError,),
    "status 400 with JSON": (RequestRejectedError,),
    "status 401 with JSON": (AuthenticationError,),
    "status 500 with text": (ServerError,),
    "status 503 with JSON": (ServerBusyError,),
    "an error body stalled": (ServerError,),
    "a login page": (ProtocolError,),
}
#: Faults of a body, which a response without a body cannot have, and their errors.
BODY_FAULTS: Dict[str, Errors] = {
    "body stalled": (LimitError,),
    "body dripped": (LimitError,),
    "body cut": (StreamInterruptedError,),
    "body reset": (StreamInterruptedError,),
    "a bad chunk size": (StreamInterruptedError,),
    "not JSON": (ProtocolError,),
    "an empty object": (ProtocolError,),
    "a list at the top": (ProtocolError,),
    "nested too deep": (AnswerTooLargeError,),
    "a gzip bomb": (AnswerTooLargeError,),
    "a line of 50 MB": (AnswerTooLargeError,),
}


class Verb(NamedTuple):
    """One method of one provider.

    Attributes:
        name: The name of the method.
        backend: ``ollama``, ``lmstudio`` or ``openai``.
        path: The beginning of the paths whose responses have the fault.
        call: Calls the method.
        prepare: Brings the fake server into the state that the call needs.
        without: Faults that the response cannot have, because it lacks the part in question.
        named: Whether an error has the name of the model.
        also: Further allowed error classes for each fault; a comment gives the reason.
    """

    name: str
    backend: str
    path: str
    call: Callable[[Any], Any]
    prepare: Callable[[Any], None] = lambda fake: None
    without: Tuple[str, ...] = ()
    named: bool = True
    also: Errors = ()

    @property
    def id(self) -> str:
        return f"{self.backend} {self.name}"


def check(verb: Verb, fault: str) -> None:
    """Call a method under a fault in each attempt, then call it again without the fault."""
    server, provider_of = PROVIDERS[verb.backend]
    errors = {**FAULTS, **BODY_FAULTS}[fault]
    limited = errors == (LimitError,) or fault == "an error body stalled"
    limits = LIMITS.replace(total_s=LIMIT_S if limited else LIMITS.total_s)
    options: Dict[str, Any] = {
        "max_line_bytes": MAX_BYTES,
        "max_body_bytes": MAX_BYTES,
        "timeout": limits,
        "retry": RetryPolicy(first_wait_s=0),
        "locality": "any" if verb.name == "push" else "loopback",
    }
    models = [FakeModel(name=_CHAT), FakeModel(name="vector-model", abilities=("embeddings",))]
    with server(models) as fake, provider_of(fake.url, **options) as provider:
        verb.prepare(fake)
        fake.break_next(fault, times=None, path=verb.path)
        _check_failure(verb, provider, errors)
        fake.heal()
        verb.prepare(fake)
        object.__setattr__(provider, "settings", provider.settings.replace(limits=LIMITS))
        verb.call(provider)
        provider.close()
        assert fake.wait_for_connections(0, GRACE_S), "a connection was left open"


def _check_failure(verb: Verb, provider: Any, errors: Errors) -> None:
    started = now()
    with pytest.raises((*errors, *verb.also)) as caught:
        verb.call(provider)
    took_s, error = now() - started, caught.value
    assert took_s == LIMIT_S if errors == (LimitError,) else took_s < LIMITS.idle_s
    assert error.provider == provider.name
    assert error.endpoint and provider.settings.endpoint.url.startswith(error.endpoint)
    assert error.model is not None or not verb.named
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.__dict__) == (type(error), error.__dict__)
    assert PROMPT not in f"{error} {error!r} {error.to_dict()}"


# --- preparations for the calls --------------------------------------------------------------------

_CHAT, _NAMES = "chat-model", ("chat-model", "vector-model")


def _double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


def _loaded(fake: Any) -> None:
    fake.models[0] = fake.models[0].replace(loaded=True)
    fake.loaded[_CHAT] = 4096


def _unloaded(fake: Any) -> None:
    fake.loaded.clear()


def _all_models(fake: Any) -> None:
    fake.models[:] = [fake.make_model(name) for name in _NAMES]


def _pushing(fake: Any) -> None:
    _all_models(fake)
    fake.models.append(fake.make_model("me/model"))


def _ranks(fake: Any) -> None:
    fake.models.append(fake.make_model("a-reranker"))


def _calls_a_tool(fake: Any) -> None:
    fake.reply_with(Reply(tool_calls=(ToolCall(id="c", name="_double", arguments={"number": 2}),)))


def _answers_json(fake: Any) -> None:
    fake.reply_with('{"value": 4}')


# Faults that a response without a body cannot have.
_NO_BODY = (*BODY_FAULTS, "silence after the headers")
# For these methods an empty object is a good response.
_ANY_OBJECT = ("an empty object",)
# If the server responds without a token count, `count_tokens` returns an estimate, so only faults
# without a response raise an error.
_NO_COUNT = tuple(
    fault
    for fault, errors in {**FAULTS, **BODY_FAULTS}.items()
    if not set(errors) & {LimitError, StreamInterruptedError}
)

VERBS: List[Verb] = [
    Verb("version", "ollama", "/api/version", lambda p: p.version(), named=False),
    Verb(
        "cloud_disabled",
        "ollama",
        "/api/status",
        lambda p: p.cloud_disabled(),
        without=_ANY_OBJECT,
        named=False,
    ),
    Verb("loaded_models", "ollama", "/api/ps", lambda p: p.loaded_models(), named=False),
    Verb("model_info", "ollama", "/api/show", lambda p: p.model_info(_CHAT), without=_ANY_OBJECT),
    Verb("show", "ollama", "/api/show", lambda p: p.show(_CHAT), without=_ANY_OBJECT),
    Verb("load", "ollama", "/api/chat", lambda p: p.load(_CHAT), _unloaded),
    Verb("unload", "ollama", "/api/chat", lambda p: p.unload(_CHAT), _loaded),
    Verb(
        "pull",
        "ollama",
        "/api/pull",
        lambda p: p.pull("qwen3:0.6b", timeout=p.settings.limits),
        _all_models,
    ),
    Verb(
        "push",
        "ollama",
        "/api/push",
        lambda p: p.push("me/model", timeout=p.settings.limits),
        _pushing,
    ),
    Verb(
        "create",
        "ollama",
        "/api/create",
        lambda p: p.create("made", from_model=_CHAT, timeout=p.settings.limits),
        _all_models,
    ),
    Verb("copy", "ollama", "/api/copy", lambda p: p.copy(_CHAT, "copied"), _all_models, _NO_BODY),
    Verb("delete", "ollama", "/api/delete", lambda p: p.delete(_CHAT), _all_models, _NO_BODY),
    Verb("loaded_models", "lmstudio", "/api/v1/models", lambda p: p.loaded_models(), named=False),
    Verb("generation", "lmstudio", "/api/v1/models", lambda p: p.generation(), named=False),
    Verb(
        "load",
        "lmstudio",
        "/api/v1/models/load",
        lambda p: p.load(_CHAT),
        _unloaded,
        also=(ModelLoadError,),  # a failed load whose message is not recognised
    ),
    Verb("unload", "lmstudio", "/api/v1/models/unload", lambda p: p.unload(_CHAT), _loaded),
    Verb("download", "lmstudio", "/api/v1/models/download", lambda p: p.download(_CHAT)),
    Verb(
        "pull",
        "lmstudio",
        "/api/v1/models/download",
        lambda p: p.pull(_CHAT, timeout=p.settings.limits),
    ),
    Verb(
        "stateful_chat",
        "lmstudio",
        "/api/v1/chat",
        lambda p: p.stateful_chat(PROMPT, model=_CHAT),
    ),
    Verb(
        "count_tokens",
        "openai",
        "/tokenize",
        lambda p: p.count_tokens(PROMPT, model=_CHAT),
        without=_NO_COUNT,
    ),
    Verb(
        "rerank",
        "openai",
        "/v1/rerank",
        lambda p: p.rerank(PROMPT, ["a", "b"], model=_CHAT),
        _ranks,
        without=("a list at the top",),  # some servers send the list alone
    ),
    Verb(
        "count_tokens",
        "anthropic",
        "/v1/messages/count_tokens",
        lambda p: p.count_tokens(PROMPT, model=_CHAT),
    ),
    Verb("model_info", "anthropic", "/v1/models/", lambda p: p.model_info(_CHAT)),
    Verb("render", "openai", "/apply-template", lambda p: p.render(PROMPT, model=_CHAT)),
    Verb("render", "ollama", "/api/chat", lambda p: p.render(PROMPT, model=_CHAT)),
    *(
        Verb(
            "run_tools",
            backend,
            path,
            lambda p: p.run_tools(PROMPT, [_double], model=_CHAT),
            _calls_a_tool,
        )
        for backend, path in (
            ("ollama", "/api/chat"),
            ("lmstudio", "/v1/chat"),
            ("openai", "/v1/chat"),
            ("anthropic", "/v1/messages"),
        )
    ),
    *(
        Verb(
            "stream_tools",
            backend,
            path,
            lambda p: p.stream_tools(PROMPT, [_double], model=_CHAT).result(),
            _calls_a_tool,
        )
        for backend, path in (
            ("ollama", "/api/chat"),
            ("lmstudio", "/v1/chat"),
            ("openai", "/v1/chat"),
            ("anthropic", "/v1/messages"),
        )
    ),
    *(
        Verb("parse", backend, path, lambda p: p.parse(PROMPT, int, model=_CHAT), _answers_json)
        for backend, path in (
            ("ollama", "/api/chat"),
            ("lmstudio", "/v1/chat"),
            ("openai", "/v1/chat"),
            ("anthropic", "/v1/messages"),
        )
    ),
]


def cases() -> List[Tuple[str, str]]:
    """Return every method with every fault that its response can have."""
    return [
        (verb.id, fault)
        for verb in VERBS
        for fault in (*FAULTS, *BODY_FAULTS)
        if fault not in verb.without
    ]
