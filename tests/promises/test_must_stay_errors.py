"""Answers that have lost something stay errors, however tolerant the readers become."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Union

import pytest

import localproviders
from localproviders import (
    AnthropicProvider,
    CompletionRequest,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
)
from localproviders.testing import ScriptedServer
from localproviders.testing.faults.fault import chunk, close, reset
from localproviders.testing.scripted import Exchange, Step, http_answer
from tests.promises.faults.bench import LIMITS, Outcome
from tests.promises.faults.expected import EXPECTED, Outcomes
from tests.support.recordings import DATA

_FOLDER = DATA / "must_stay_errors"
_QUESTIONS = {"late": "Is it late?", "team": ["a", "b"]}
_PROVIDERS: Mapping[str, Callable[..., Any]] = {
    "ollama": OllamaProvider,
    "openai_compatible": OpenAICompatibleProvider,
    "lmstudio": LMStudioProvider,
    "anthropic": AnthropicProvider,
}


class Case(NamedTuple):
    """One answer of the data: its README has the fields of `said`."""

    dialect: str
    file: str
    name: str
    call: str
    said: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Case {self.dialect} {self.name}>"


def _cases() -> List[Case]:
    found = []
    for path in sorted(_FOLDER.glob("*/*.json")):
        file = json.loads(path.read_text("utf-8"))
        for name, said in file["cases"].items():
            found.append(Case(path.parent.name, path.stem, name, file["call"], said))
    return found


_CASES = _cases()


def _marked() -> Iterable[Any]:
    for case in _CASES:
        yield pytest.param(case, id=f"{case.dialect} {case.name}")


class TakenForAnAnswerError(AssertionError):
    """A call returned an answer that has lost something."""


# --- the server -------------------------------------------------------------------------------

# Questions beside the call, which every case answers alike.
_BESIDE: Mapping[str, Any] = {
    "/api/version": {"version": "0.32.15"},
    "/api/tags": {"models": [{"name": "m:latest", "model": "m:latest"}]},
    "/api/v1/models": {"models": [{"key": "m", "type": "llm"}]},
}


def _steps(case: Case) -> Callable[[Exchange], Iterable[Step]]:
    def steps(exchange: Exchange) -> Iterable[Step]:
        if case.call != "list" and exchange.path in _BESIDE:
            return [http_answer(_BESIDE[exchange.path])]
        return _answer(case.said)

    return steps


def _answer(said: Mapping[str, Any]) -> Sequence[Step]:
    end = said["end"]
    pieces = [piece.encode("utf-8", "surrogateescape") for piece in said["body"]]
    lines = [f"HTTP/1.1 {said['status']}", *said["headers"]]
    if end in _WITHOUT_HEAD:
        return _WITHOUT_HEAD[end]
    body = b"".join(pieces)
    if end == "gzip without its end":
        packer = zlib.compressobj(wbits=31)
        body = packer.compress(body) + packer.flush(zlib.Z_SYNC_FLUSH)
        return [_head(*lines, "Content-Encoding: gzip", f"Content-Length: {len(body)}") + body]
    if end == "nothing":
        return [_head(*lines)]
    if end == "length":
        return [_head(*lines, f"Content-Length: {len(body)}") + body]
    if end == "20 bytes missing":
        return [_head(*lines, f"Content-Length: {len(body) + 20}") + body, close]
    if end == "closing":
        return [_head(*lines, "Connection: close") + body, close]
    before, last = (pieces[:-1], pieces[-1]) if end == "closed within a chunk" else (pieces, b"")
    chunked = _head(*lines, "Transfer-Encoding: chunked") + b"".join(map(chunk, before))
    return [chunked, *_CHUNKED_ENDS[end](last)]


def _head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


_WITHOUT_HEAD: Mapping[str, Sequence[Step]] = {
    "no answer": [close],
    "reset without an answer": [reset],
    "status line only": [b"HTTP/1.1 200 OK\r\n", close],
    "not HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n", close],
}

_CHUNKED_ENDS: Mapping[str, Callable[[bytes], Sequence[Step]]] = {
    "last chunk": lambda _: [b"0\r\n\r\n"],
    "closed between chunks": lambda _: [close],
    "reset between chunks": lambda _: [reset],
    "closed within a chunk": lambda last: [b"%x\r\n%s" % (len(last) + 20, last), close],
    "bad chunk size": lambda _: [b"zz\r\nhello\r\n", close],
    "negative chunk size": lambda _: [b"-5\r\nhello\r\n", close],
    "huge chunk size": lambda _: [b"ffffffffffffffff\r\nhello", close],
    "no chunk size": lambda _: [b"\r\n", close],
    "chunk without its end": lambda _: [b"2\r\nxxhello\r\n", close],
}


# --- the calls --------------------------------------------------------------------------------


def _collect(stream: Any, seen: List[str]) -> Any:
    with stream:
        for piece in stream:
            seen.append(piece.text)
        return stream.result()


def _forms(case: Case, provider: Any, seen: List[str]) -> Dict[str, Callable[[], Any]]:
    """Return every way to make the call; those that stream note the text that they show."""
    texts = ["a dog runs", "a cat sleeps"][: case.said.get("texts", 2)]
    request = CompletionRequest(prompt="Hi")
    method = "decisions" if case.dialect == "lmstudio" else "systemone"
    forms: Dict[str, Dict[str, Callable[[], Any]]] = {
        "chat": {
            "chat": lambda: provider.chat("Hi"),
            "stream": lambda: _collect(provider.stream("Hi"), seen),
        },
        "complete": {
            "complete": lambda: provider.complete(request),
            "stream": lambda: _collect(provider.stream_completion(request), seen),
        },
        "native": {
            "chat": lambda: provider.stateful_chat("Hi"),
            "stream": lambda: _collect(provider.stateful_stream("Hi"), seen),
        },
        "embed": {"embed": lambda: provider.embed(texts)},
        "list": {"list": provider.list_models},
        "pull": {"pull": lambda: provider.pull("m")},
        "rerank": {"rerank": lambda: provider.rerank("Hi", texts)},
        "decide": {
            "decide": lambda: provider.decide("Hi", _QUESTIONS, method=method),
            "decide_many": lambda: next(provider.decide_many(["Hi"], _QUESTIONS, method=method)),
        },
    }
    return forms[case.call]


def _provider(case: Case, server: ScriptedServer) -> Any:
    version = "/v1" if case.dialect == "openai_compatible" else ""
    return _PROVIDERS[case.dialect](
        server.url + version, model="m", timeout=LIMITS, retry=RetryPolicy(first_wait_s=0)
    )


def _end_of(call: Callable[[], Any]) -> Union[ProviderError, Any]:
    try:
        return call()
    except ProviderError as error:
        return error


def _check(case: Case, came: Any, seen: str) -> None:
    if not isinstance(came, ProviderError):
        raise TakenForAnAnswerError(f"this is lost: {case.said['lost']} {came!r}")
    expected = getattr(localproviders, case.said["error"])
    if expected is not ProviderError and type(came) is not expected:
        raise AssertionError(f"not the class {expected.__name__}") from came
    partial = case.said["partial"]
    if partial is not None:
        assert came.partial == partial
    assert (came.partial or "").startswith(seen), "the error has less text than the stream"


@pytest.mark.sample(100)
@pytest.mark.parametrize(
    "one_byte_writes",
    [
        pytest.param(False, id="whole"),
        pytest.param(True, id="byte by byte", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("case", list(_marked()))
def test_a_loss_is_an_error(case: Case, one_byte_writes: bool) -> None:
    with ScriptedServer(_steps(case), one_byte_writes=one_byte_writes) as server:
        provider = _provider(case, server)
        seen: List[str] = []
        for call in _forms(case, provider, seen).values():
            _check(case, _end_of(call), "".join(seen))
        provider.close()


# --- the data ---------------------------------------------------------------------------------

# Faults that lose nothing of an answer, or that no answer of bytes can show: time, sizes that
# would fill this archive, statuses, and answers of another model.
_NO_LOSS = re.compile(
    r"silence|stalled|dripped|without end|a byte a second|, then silence"
    r"|never closed|nested too deep|50 MB|million digits|bomb|a thousand headers"
    r"|refused while|^status |^redirect|a redirect|several choices of address|not modified"
    r"|101 Switching|a challenge|an unexpected endpoint|a full queue|a model that is still loading"
    r"|too many requests|a Retry-After that is not a time|an error body|an error nested"
    r"|another model|from the cloud|^a transfer |silent work"
    # Bytes that no server sends, and rows of HTTP that differ from one with a case only in it.
    r"|HTTP/2|an impossible status|a status that is not a number|two different lengths"
    r"|UTF-16|gzip twice|a number past every float|a byte order mark"
    # The meaning of these shapes is plain.
    r"|whose arguments are text|vectors in another order"
)


def _errors(outcomes: Outcomes) -> bool:
    every = [outcomes] if isinstance(outcomes, Outcome) else outcomes.values()
    return any(outcome.error is not None for outcome in every)


def test_every_row_about_a_loss_has_a_case() -> None:
    covered = {row for case in _CASES for row in case.said.get("rows", ())}
    missing = {
        name
        for name, outcomes in EXPECTED.items()
        if _errors(outcomes) and not _NO_LOSS.search(name)
    }

    assert covered <= set(EXPECTED)
    assert missing - covered == set()


def test_the_index_names_every_file() -> None:
    text = (_FOLDER / "README.md").read_text("utf-8")
    for dialect in _PROVIDERS:
        section = text.partition(f"### `{dialect}`")[2].partition("###")[0]
        named = dict(re.findall(r"(?m)^\| `(\w+)` \|.*\| (\d+) \|$", section))
        held: Dict[str, int] = {}
        for case in _CASES:
            if case.dialect == dialect:
                held[case.file] = held.get(case.file, 0) + 1
        assert {name: int(count) for name, count in named.items()} == held


def test_every_file_is_small() -> None:
    assert max(path.stat().st_size for path in Path(_FOLDER).rglob("*.*")) < 16_000
