"""Limits for the structure of the package: modules, lines, base classes, stack frames."""

from __future__ import annotations

import ast
import re
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Type

import pytest
import requests.adapters

import localproviders
from localproviders import (
    AnthropicProvider,
    LlamaCppProvider,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
)
from localproviders.testing import (
    Exchange,
    FakeAnthropic,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
    http_answer,
)
from tests.project.test_layers import lines_of_code

_ROOT = Path(localproviders.__file__).parent
_TESTING = _ROOT / "testing"
_CHECKOUT = Path(__file__).parents[2]
_PYTHON = ("localproviders", "benchmarks", "examples", "tests")

#: The number of modules without `testing/`. A commit that adds a provider or a public method may
#: raise it, and explains why. The last ones are `_interrupts.py`, which all layers ask whose an
#: exception is, and the assembly of tool calls and the forms of thinking, which outgrew the readers
#: that contained them. After them came `_http_provider/sending.py`, which sends a request again
#: without what the server refuses, and OpenAI's table of the fields that may be left out. The next
#: two are about response schemas: the strict form, for all dialects and `parse`, and the refusals.
#: `schema/notes.py`, `schema/scopes.py` and `schema/pydantic_types.py` read the metadata of types,
#: the names of types inside functions, and the types of pydantic. `_dialect/written_json.py` finds
#: the JSON in the text of an answer. `schema/conversion.py` converts arguments of another type.
#: `_dialect/text_calls.py` reads the tool calls that a server left in the text. `types/inputs.py`
#: reads messages and tools in the forms of other clients. `_http/halves.py` joins surrogate pairs.
#: `_credentials.py` hides the headers and the password that a caller adds to all requests.
#: `engine/provider.py` tells the engine's chat template about a schema.
#: `types/tool_stream.py` is the stream of a run of tools, `_parallel.py` runs tools in
#: threads, and `_tool_call.py` runs one call; both would be too much for the loop.
#: `_dialect/missing_models.py` completes errors about missing models, for all dialects.
#: `_keep_loaded.py` keeps a model in memory for several blocks.
#: `_habits.py` and `_other_keywords.py` have the names of other clients; only an error imports them.
#: `types/vectors.py` makes the response of embeddings a sequence.
#: `_refusals.py` remembers what a server refuses, for providers with and without HTTP.
#: `types/questions.py` and `types/decisions.py` are the values of `decide`.
#: For decisions: `_decision_verbs.py` has the verbs, `_dialect/decisions.py` the checks of their
#: probabilities and `_dialect/systemone.py` the route that most kinds have; each of three kinds has
#: its own `wire/decisions.py`; `_http_provider/deciding.py` makes the calls, and
#: `_http_provider/decide_by_logprobs.py` makes those of a chat model, with labels from
#: `_dialect/label_prompts.py`, whose probabilities `_dialect/label_probabilities.py` and whose tokens
#: `openai_compatible/wire/label_tokens.py` read.
#: `_chat_request.py` makes the request of the methods with messages, which `provider.py` is too long for.
#: `rerank` needs four: `types/rankings.py` has its values, `_rerank_verb.py` checks its arguments,
#: `openai_compatible/rerank_routes.py` finds the server's route, and
#: `openai_compatible/wire/rerank.py` knows its JSON.
#: `openai_compatible/root.py` makes the connection to routes beside `/v1`, which counts and rankings share.
#: `_http/unix_socket.py` connects to UNIX sockets, which have no names, addresses or races.
#: `types/other_messages.py` and `schema/other_tools.py` read the objects of other clients, on first use.
#: `_create_provider.py` makes one provider from one text, and uses all of `local/`.
#: Discovery needs two: `openai_compatible/wire/products.py` is the table of the programs and their
#: greetings, and `openai_compatible/recognition.py` reads it. Both are loaded only by a search.
#: `_look.py` is the interface between these two and a search; `kinds.py` would be too long.
#: `ollama/listed.py` reads what the list of models says about a prompt: where its model runs, and
#: its digest; the provider would be too long. `_http/request_ids.py` is a table of headers.
#: `local/balance.py` chooses the least busy server.
#: `_http_provider/cold_loads.py` knows which models are loaded, and `_http_provider/free_memory.py`
#: compares the memory of this machine with a model; the provider is too long for both.
#: `_http_provider/polling.py` follows downloads that the server runs, for LM Studio and llama.cpp.
#: `types/documents.py` and `types/media.py` are the files of messages, which `types/messages.py` was too long for.
#: `_http/repetitions.py` recognises answers that repeat themselves; the stream was too long for it.
#: `types/usage.py` has the numbers of responses; `types/responses.py` was too long for them.
#: `_http/service.py` has the hosts and the headers of a service on the internet.
#: `openai_compatible/wire/kept_parts.py` keeps the signatures of OpenRouter and Gemini.
#: `openai_compatible/wire/vectors.py` reads vectors; `responses.py` was too long for them.
#: Anthropic's API needs fourteen: its kind and provider, the lists of models and the kind of the
#: server, and nine modules of JSON. It shares only the assembly of tool calls with other servers.
#: `_http_provider/aliases.py` remembers the names of one model for both; only another name loads it.
#: llama.cpp's server needs twelve: its kind and provider, three parts that a chat does not load
#: (lists, prompts, the router), and the JSON of each; it shares only the dialect with other servers.
#: `bench/` has fourteen: one for each step from the plan to the page, and one for each form of the
#: results; `cli/bench.py` is its verb.
#: `doctor/` needs fourteen: the facts and the three modules that read them, the findings, one module of
#: checks for each of six subjects, their table, and a table of products. `cli/doctor.py` prints them.
#: `_lock.py` has the locks that a killed process does not leave behind.
#: `batch/` has thirty-nine modules, which no other module imports: the rows of a source, the files
#: of a run, and the loop between them. Each format and each step has its own, because a mistake in
#: one of them could lose results (docs/architecture.md, "How a batch loses nothing").
#: The verbs about models and the configuration need ten: `cli/lists.py`, `memory.py`, `transfers.py`
#: and `configuration.py` are the verbs, `targets.py` finds their servers, `table.py`, `color.py`,
#: `progress.py` and `asking.py` are what a person sees, and `config/check.py` finds all problems.
#: `_template.py` and `_new_file.py` are for the command and for whatever else reads rows or writes
#: files; `config/providers.py` makes a provider of a configured server without `local/`.
#: `ollama/wire/library.py` has the JSON of the requests that change models; a chat does not load it.
#: `_frozen_dataclass.py` and `_patterns.py` compile functions and regular expressions when needed.
#: The command is not counted: each verb has its module, which no other verb loads.
#: `conversation/` has five: the turns and their lines, the file, the choice of what fits into the
#: window, the stream, and `Conversation`; with the module that offers them.
#: The services of OpenAI's dialect need eleven: two kinds with a provider each, the settings of a
#: service, and the JSON of its rules, errors and limits. `_dialect/retry_headers.py` reads the waits,
#: and `_dialect/error_rules.py` has the rules, for which `error_answers.py` was too long.
#: `local/substitutes.py` has the servers that an alias may use beyond the locality.
#: `_http/summary.py` collects the chunks of a stream, for which `stream.py` was too long.
MOST_MODULES = 311
MOST_LINES_OF_CODE = 400
MOST_LINES_OF_A_VERB = 300
MOST_CLASSES: Dict[Type[Any], int] = {
    OllamaProvider: 3,
    OpenAICompatibleProvider: 3,
    LMStudioProvider: 4,
    LlamaCppProvider: 4,
    AnthropicProvider: 3,
}
#: The number of this package's frames from the public call to requests, or to the socket.
MOST_FRAMES = {"chat": 7, "next": 6, "embed": 8}


def _own_classes(provider: Type[Any]) -> List[str]:
    return [c.__name__ for c in provider.__mro__ if c.__module__.startswith("localproviders")]


def _own_frames(frame: Any) -> List[str]:
    """Return this package's frames of a stack, without `testing/`, the outermost first.

    Args:
        frame: The innermost frame of the stack.
    """
    found = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if _ROOT in path.parents and _TESTING not in path.parents:
            found.append(f"{path.relative_to(_ROOT)}:{frame.f_code.co_name}")
        frame = frame.f_back
    return found[::-1]


class _DeepestStack:
    """Remembers the deepest of the recorded stacks."""

    def __init__(self) -> None:
        self.frames: List[str] = []

    def record(self, frame: Any) -> None:
        frames = _own_frames(frame)
        if len(frames) > len(self.frames):
            self.frames = frames


class _LastStack(_DeepestStack):
    """Remembers the last recorded stack, because a request for the model list comes first."""

    def record(self, frame: Any) -> None:
        self.frames = _own_frames(frame)


def _recording(function: Callable[..., Any], stack: _DeepestStack) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        stack.record(sys._getframe(1))
        return function(*args, **kwargs)

    return call


_KINDS = {
    "ollama": (FakeOllama, OllamaProvider, ""),
    "lmstudio": (FakeLMStudio, LMStudioProvider, ""),
    "llamacpp": (FakeLlamaCpp, LlamaCppProvider, ""),
    "openai-compatible": (FakeOpenAICompatible, OpenAICompatibleProvider, "/v1"),
    "anthropic": (FakeAnthropic, AnthropicProvider, ""),
}


@pytest.mark.parametrize("provider", sorted(MOST_CLASSES, key=lambda c: c.__name__))
def test_a_provider_has_few_base_classes(provider: Type[Any]) -> None:
    own = _own_classes(provider)
    print(f"{provider.__name__}: {len(own)} own classes: {', '.join(own)}")
    assert len(own) <= MOST_CLASSES[provider]


@pytest.mark.parametrize("kind", sorted(_KINDS))
@pytest.mark.parametrize("verb", ["chat", "embed"])
def test_few_frames_lie_between_a_call_and_requests(
    kind: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (kind, verb) == ("anthropic", "embed"):
        pytest.skip("this API has no embeddings")
    fake, make, path = _KINDS[kind]
    with fake(["llama3.2", "nomic-embed-text"]) as server:
        provider: Any = make(server.url.rstrip("/") + path, model="llama3.2")
        stack = _LastStack()
        send = requests.adapters.HTTPAdapter.send
        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", _recording(send, stack))
        with provider:
            if verb == "chat":
                provider.chat("Hi")
            else:
                provider.embed(["Hi"], model="nomic-embed-text")
    print(f"{kind}: {len(stack.frames)} own frames from {verb} to requests: {stack.frames}")
    assert 0 < len(stack.frames) <= MOST_FRAMES[verb]


def _chunk(record: str) -> bytes:
    data = record.encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


_STREAMS = {
    "ollama": (
        "application/x-ndjson",
        '{"model":"m","message":{"role":"assistant","content":"a"},"done":false}\n',
        '{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}\n',
    ),
    "openai-compatible": (
        "text/event-stream",
        'data: {"model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
        'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        "data: [DONE]\n\n",
    ),
}


@pytest.mark.parametrize("kind", sorted(_STREAMS))
def test_few_frames_lie_between_next_and_the_socket(kind: str) -> None:
    media, piece, last = _STREAMS[kind]
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n"
    was_read = threading.Event()
    stack = _DeepestStack()

    def profile(frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("recv", "recv_into", "readinto"):
            stack.record(frame)
            was_read.set()

    def script(exchange: Exchange) -> List[Any]:
        if exchange.method == "GET":
            return [http_answer({"models": [{"name": "m:latest", "model": "m:latest"}]})]
        pause = lambda _: was_read.wait(20)  # noqa: E731  # a step of the script
        return [head.encode() + _chunk(piece), pause, _chunk(piece), _chunk(last), b"0\r\n\r\n"]

    with ScriptedServer(script) as server:
        _, make, path = _KINDS[kind]
        provider: Any = make(server.url.rstrip("/") + path, model="m")
        with provider, provider.stream("Hi") as stream:
            sys.setprofile(profile)
            try:
                text = "".join(chunk.text for chunk in stream)
            finally:
                sys.setprofile(None)
            assert text == "aa"
    print(f"{kind}: {len(stack.frames)} own frames from next() to the socket: {stack.frames}")
    assert 0 < len(stack.frames) <= MOST_FRAMES["next"]


def test_the_package_has_few_modules_and_none_is_long() -> None:
    paths = [path for path in _ROOT.rglob("*.py") if _TESTING not in path.parents]
    names = [
        ".".join(["localproviders", *path.relative_to(_ROOT).with_suffix("").parts])
        for path in paths
    ]
    lengths = {name: lines_of_code(name.replace(".__init__", "")) for name in names}
    longest = max(lengths, key=lambda name: lengths[name])
    print(f"{len(paths)} modules without testing/; the longest is {longest}: {lengths[longest]}")
    verbs = {name: lines for name, lines in lengths.items() if ".cli" in name}
    assert len(paths) - len(verbs) <= MOST_MODULES
    assert max(verbs.values()) <= MOST_LINES_OF_A_VERB
    assert lengths[longest] <= MOST_LINES_OF_CODE


def _private_constants(tree: ast.Module) -> Iterator[str]:
    """Yield the private names that a module assigns outside of functions and classes."""
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (each for target in targets for each in ast.walk(target))
            found = (each.id for each in names if isinstance(each, ast.Name))
            yield from (name for name in found if re.match("_[^_]", name))


def test_each_private_constant_is_used() -> None:
    unused = []
    for path in sorted(p for name in _PYTHON for p in (_CHECKOUT / name).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        unused += [
            f"{path.relative_to(_CHECKOUT)}: {name}"
            for name in _private_constants(ast.parse(text))
            if len(re.findall(rf"\b{name}\b", text)) == 1
        ]
    assert unused == []
