"""Exceptions of other packages are translated to the right classes of this package."""

from __future__ import annotations

import traceback
from typing import Any, Callable, List

import pytest

from localproviders import (
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    ServerBusyError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer

_NOBODY = "http://127.0.0.1:1"
_ONCE = RetryPolicy(attempts=1)


@pytest.mark.parametrize("kind", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
@pytest.mark.parametrize(
    "ask",
    [
        lambda provider: provider.list_models(),
        lambda provider: provider.chat("Hi"),
        lambda provider: provider.embed("Hi"),
    ],
    ids=["list", "chat", "embed"],
)
def test_the_error_being_handled_is_not_taken_for_the_new_one(
    kind: Any, ask: Callable[[Any], Any]
) -> None:
    """A caller often tries a second server while it handles the error of the first."""
    with kind(_NOBODY, model="m", retry=_ONCE) as provider:
        try:
            raise ServerBusyError("the first server")
        except ServerBusyError:
            with pytest.raises(UnreachableError) as caught:
                ask(provider)

    assert "the first server" not in str(caught.value)
    cause = caught.value.__cause__
    assert cause is not None and cause.__context__ is None


def test_nor_while_a_stream_is_read() -> None:
    chunk = b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + chunk
    with ScriptedServer(lambda _: [answer, lambda e: e.close()]) as server:
        with OpenAICompatibleProvider(server.url, model="m") as provider:
            try:
                raise ServerBusyError("the first server")
            except ServerBusyError:
                with pytest.raises(StreamInterruptedError) as caught:
                    provider.chat("Hi")

    assert caught.value.partial == "Hi"


def test_the_error_being_handled_keeps_its_frames() -> None:
    def where_it_began() -> None:
        raise KeyError("a user's own")

    with OllamaProvider(_NOBODY, model="m", retry=_ONCE) as provider:
        try:
            where_it_began()
        except KeyError as error:
            with pytest.raises(ProviderError):
                provider.list_models()
            frames = traceback.extract_tb(error.__traceback__)

    assert frames[-1].name == "where_it_began"


def test_an_old_list_that_fails_is_not_said_to_be_missing() -> None:
    """LM Studio's older list is requested while the error of the newer one is handled."""
    missing = http_answer({"error": "Unexpected endpoint or method. (GET /api/v1/models)"})

    def script(exchange: Exchange) -> List[Any]:
        return [missing] if "v1" in exchange.path else [lambda e: e.close()]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(StreamInterruptedError):
            provider.list_models()
