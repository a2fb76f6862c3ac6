"""Ollama's error texts of transfers: the class, the hint, and whether another attempt may help.

Described in docs/reference/ollama.md, "Error texts".
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Type

import pytest

from localproviders import errors as e
from localproviders._dialect.error_rules import OTHER_USES
from localproviders.ollama import OllamaProvider
from localproviders.testing import ScriptedServer, http_answer
from localproviders.types.limits import RetryPolicy


class Row(NamedTuple):
    verb: str
    said: str
    error: Type[e.ProviderError]
    hint: str
    retryable: bool = False


_ROWS = (
    Row("create", "unexpected EOF", e.RequestRejectedError, "cut off, damaged"),
    Row(
        "create",
        "GGUF string length 7310027755459535216 exceeds maximum 67108864",
        e.RequestRejectedError,
        "cut off, damaged",
    ),
    Row(
        "create",
        "GGUF array length 99999999999 exceeds maximum 1000000",
        e.RequestRejectedError,
        "cut off, damaged",
    ),
    Row("create", "invalid file magic", e.RequestRejectedError, "cut off, damaged"),
    Row(
        "create",
        'tensor "blk.0.attn_q.weight" offset+size (900) exceeds file size (300)',
        e.RequestRejectedError,
        "cut off, damaged",
    ),
    Row(
        "create",
        "failed to read tensor name: unexpected EOF",
        e.RequestRejectedError,
        "cut off, damaged",
    ),
    Row(
        "create",
        'split GGUF "sha256-00" has 1 shards, expected 3',
        e.RequestRejectedError,
        "all parts of the model",
    ),
    Row(
        "create",
        'unsupported architecture "NewForCausalLM"',
        e.RequestRejectedError,
        "update Ollama",
    ),
    Row(
        "create",
        "draft quantization requires an unquantized draft model, got Q4_0",
        e.RequestRejectedError,
        "draft_quantize",
    ),
    Row(
        "create",
        "quantization is only supported for F16, BF16 and F32 models",
        e.RequestRejectedError,
        "leave out quantize",
    ),
    Row(
        "push",
        "max retries exceeded: http status 403 Forbidden",
        e.AuthenticationError,
        "ollama signin",
    ),
    Row("push", "max retries exceeded: unauthorized", e.AuthenticationError, "ollama signin"),
    Row(
        "push",
        "max retries exceeded: http status 413 Request Entity Too Large",
        e.RequestRejectedError,
        "the registry refuses",
    ),
    Row(
        "push",
        "max retries exceeded: http status 500 Oops",
        e.ServerError,
        "run the transfer",
        True,
    ),
    Row(
        "push",
        "max retries exceeded: http status 429 Many",
        e.ServerError,
        "run the transfer",
        True,
    ),
    Row("pull", "max retries exceeded: EOF", e.ServerError, "run the transfer", True),
    Row("pull", "pull model manifest: 500: oops", e.ServerError, "run the transfer", True),
    Row("pull", "pull model manifest: 503: {}", e.ServerError, "run the transfer", True),
    Row("pull", "pull model manifest: 403: denied", e.AuthenticationError, "ollama signin"),
    Row(
        "pull",
        'pull model manifest: Get "https://127.0.0.1:5000/v2/a/b/manifests/latest": tls: first'
        " record does not look like a TLS handshake",
        e.ServerError,
        "insecure=True",
    ),
    Row(
        "push",
        'Head "https://127.0.0.1:5000/v2/a/b/blobs/sha256:00": http: server gave HTTP response to'
        " HTTPS client",
        e.ServerError,
        "insecure=True",
    ),
)


def _calls(provider: OllamaProvider) -> Mapping[str, Callable[[], Any]]:
    return {
        "create": lambda: provider.create("new", from_model="m"),
        "pull": lambda: provider.pull("me/m"),
        "push": lambda: provider.push("me/m"),
        "copy": lambda: provider.copy("chta", "new"),
        "delete": lambda: provider.delete("chta"),
        "model_info": lambda: provider.model_info("chta"),
        "embed": lambda: provider.embed("x", model="chta"),
        "chat": lambda: provider.chat("x", model="chta"),
    }


@pytest.mark.sample(12)
@pytest.mark.parametrize("form", ["a record", "status 500"])
@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.said[:50])
def test_a_text_of_a_transfer_has_its_class_and_a_hint(row: Row, form: str) -> None:
    status = "200 OK" if form == "a record" else "500 Internal Server Error"
    answer = http_answer({"error": row.said}, status=status)
    with ScriptedServer(lambda _: [answer]) as server:
        provider = OllamaProvider(server.url, locality="any", retry=RetryPolicy(attempts=1))
        with provider, pytest.raises(e.ProviderError) as caught:
            _calls(provider)[row.verb]()

    error = caught.value
    assert type(error) is row.error
    assert row.hint in (error.hint or "")
    assert error.retryable is row.retryable
    assert error.server_message == row.said


def test_a_refused_push_is_asked_once() -> None:
    answer = http_answer({"error": "max retries exceeded: http status 403 Forbidden"})
    with ScriptedServer(lambda _: [answer]) as server:
        retry = RetryPolicy(attempts=4, first_wait_s=0)
        with OllamaProvider(server.url, locality="any", retry=retry) as provider:
            with pytest.raises(e.AuthenticationError):
                provider.push("me/m")
        assert len(server.exchanges) == 1


def test_a_registry_that_fails_is_asked_again() -> None:
    answer = http_answer({"error": "pull model manifest: 500: oops"})
    with ScriptedServer(lambda _: [answer]) as server:
        retry = RetryPolicy(attempts=3, first_wait_s=0)
        with OllamaProvider(server.url, retry=retry) as provider:
            with pytest.raises(e.ServerError):
                provider.pull("me/m")
        assert len(server.exchanges) == 3


_MISSING = http_answer({"error": "model 'chta' not found"}, status="404 Not Found")


@pytest.mark.parametrize("verb", ["model_info", "embed", "chat", "copy", "delete"])
def test_a_hint_about_a_missing_model_names_it_where_a_download_helps(verb: str) -> None:
    tags = http_answer({"models": [{"name": "chta:latest", "model": "chta:latest"}]})
    with ScriptedServer(lambda x: [tags if x.path == "/api/tags" else _MISSING]) as server:
        with OllamaProvider(server.url, retry=RetryPolicy(attempts=1)) as provider:
            with pytest.raises(e.ModelNotFoundError) as caught:
                _calls(provider)[verb]()

    hint = caught.value.hint or ""
    assert "<" not in hint
    if verb in ("copy", "delete"):
        assert hint == "the server has: chta:latest"
    else:
        assert hint == "the server has: chta:latest; to get this one: ollama pull chta"


@pytest.mark.parametrize("verb", ["model_info", "chat", "copy", "delete"])
def test_a_misspelt_model_is_told_the_name_of_a_similar_one(verb: str) -> None:
    names = ["chat:latest", "minilm:latest", *(f"other{number}:8b" for number in range(6))]
    tags = http_answer({"models": [{"name": name, "model": name} for name in names]})
    with ScriptedServer(lambda x: [tags if x.path == "/api/tags" else _MISSING]) as server:
        with OllamaProvider(server.url, retry=RetryPolicy(attempts=1)) as provider:
            with pytest.raises(e.ModelNotFoundError) as caught:
                _calls(provider)[verb]()

    error = caught.value
    assert error.message.endswith("; did you mean 'chat'?")
    assert error.available == tuple(names)
    if verb in ("copy", "delete"):
        assert error.hint == (
            "the server has: chat:latest, minilm:latest, other0:8b, other1:8b, other2:8b and 3 more"
        )


@pytest.mark.parametrize("verb", ["model_info", "copy", "delete"])
def test_a_list_that_cannot_be_read_does_not_hide_a_missing_model(verb: str) -> None:
    broken = http_answer({"error": "it broke"}, status="500 Internal Server Error")
    with ScriptedServer(lambda x: [broken if x.path == "/api/tags" else _MISSING]) as server:
        with OllamaProvider(server.url, retry=RetryPolicy(attempts=1)) as provider:
            with pytest.raises(e.ModelNotFoundError) as caught:
                _calls(provider)[verb]()

    assert caught.value.server_message == "model 'chta' not found"
    assert caught.value.available == ()
    assert "<" not in str(caught.value.hint)


def test_a_list_that_does_not_end_does_not_hide_a_missing_model() -> None:
    def script(exchange: Any) -> Any:
        return [b""] if exchange.path == "/api/tags" else [_MISSING]

    with ScriptedServer(script) as server:
        with OllamaProvider(server.url, retry=RetryPolicy(attempts=1)) as provider:
            with pytest.raises(e.ModelNotFoundError):
                provider.copy("chta", "new", timeout=0.5)


def test_a_model_whose_list_names_no_abilities_has_the_usual_hint() -> None:
    def script(exchange: Any) -> Any:
        if exchange.path == "/api/chat":
            return [http_answer({"error": '"m" does not support chat'}, status="400 Bad Request")]
        return [http_answer({"models": [{"name": "m:latest", "model": "m:latest"}]})]

    with ScriptedServer(script) as server, OllamaProvider(server.url, model="m") as provider:
        with pytest.raises(e.CapabilityError) as caught:
            provider.chat("Hi")
    assert str(caught.value.hint).endswith(f"; {OTHER_USES}")


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_in_the_name_of_a_field_is_a_broken_call(begun: bool) -> None:
    text = b'{"model":"m","message":{"role":"assistant","content":"He"},"done":false}\n'
    record = b'{"error parsing tool call":"invalid character \'c\'"}\n'
    body = (text if begun else b"") + record
    tags = http_answer({"models": [{"name": "m:latest", "model": "m:latest"}]})
    answer = http_answer(body, content_type="application/x-ndjson")
    with ScriptedServer(lambda x: [tags if x.path == "/api/tags" else answer]) as server:
        with OllamaProvider(server.url, model="m") as provider:
            with pytest.raises(e.ToolCallError) as caught:
                provider.chat("x")

    assert "invalid character 'c'" in (caught.value.server_message or "")
    assert caught.value.partial == ("He" if begun else "")
