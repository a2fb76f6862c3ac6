"""Asks in every way, without one assert, and tells which promises did not hold."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, List, Type

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    LimitError,
    LocalityError,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    StreamInterruptedError,
    UnreachableError,
)
from tests.life.programs.report import say
from tests.life.serving import reply, reply_words

ASKED = "Grüße, 世界 \U0001f980 \u2028 \x00 end"

# What may be opened for writing: nothing that stays.
_NOWHERE = (os.devnull,)
_NOBODY = 65534

Fails = Callable[[], Any]


def _pieces(provider: ModelProvider) -> List[str]:
    with provider.stream(ASKED) as stream:
        return [chunk.text for chunk in stream if chunk.text]


def _answers(provider: ModelProvider) -> Dict[str, bool]:
    name = provider.name
    return {
        f"{name}: a whole answer": provider.chat(ASKED).text == reply(ASKED),
        f"{name}: its pieces": _pieces(provider) == reply_words(ASKED),
        f"{name}: vectors": provider.embed(ASKED).embeddings == [[float(ord(c)) for c in ASKED]],
        f"{name}: the models": [info.name for info in provider.list_models()] == ["m", "größe"],
        f"{name}: a model's name": provider.chat(ASKED, model="größe").model == "größe",
    }


def _raises(expected: Type[ProviderError], call: Fails, partial: str = "") -> bool:
    try:
        call()
    except ProviderError as error:
        return type(error) is expected and error.partial == partial and bool(repr(error))
    return False


def _failures(provider: ModelProvider) -> Dict[str, bool]:
    token = CancelToken()
    token.cancel()
    away = OllamaProvider("http://10.0.0.1:9", model="m")
    nobody = OllamaProvider("127.0.0.1:1", model="m")
    return {
        "cut": _raises(StreamInterruptedError, lambda: provider.chat("cut"), "Größe"),
        "limit": _raises(LimitError, lambda: provider.chat("silent", timeout=0.3), "Größe"),
        "cancelled": _raises(CancelledError, lambda: provider.chat("Hi", cancel=token)),
        "place": _raises(LocalityError, lambda: away.chat("Hi")),
        "nobody": _raises(UnreachableError, lambda: nobody.chat("Hi")),
        "nothing to write": _raises(
            ConfigurationError, lambda: provider.chat("Hi", extra_body={"a": float("nan")})
        ),
    }


def _watch() -> List[str]:
    """Note what is opened for writing from here on."""
    written: List[str] = []
    creating = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, args: Any) -> None:
        if event == "open" and args[0] not in _NOWHERE:
            mode, flags = args[1], args[2]
            if set(mode or "") & set("wax+") or (isinstance(flags, int) and flags & creating):
                written.append(str(args[0]))
        elif event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"):
            written.append(event)

    sys.addaudithook(hook)
    return written


def main(url: str, then: str, *rest: str) -> None:
    """Ask, tell, and end; the last argument is the descriptor for telling, if there are more.

    Args:
        url: Where the server is.
        then: Path of the certificates to trust, or empty; or ``as nobody``: ask everything
            twice, the second time without the rights of the superuser.
        rest: The descriptor to tell on.
    """
    written = _watch()
    trusted = then if then != "as nobody" else ""
    options: Dict[str, Any] = {"ca_bundle": trusted} if trusted else {}
    found: Dict[str, bool] = {}
    for again in range(2 if then == "as nobody" else 1):
        if again:
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        with OllamaProvider(url, model="m", **options) as ollama:
            found.update(_answers(ollama))
        with OpenAICompatibleProvider(url, model="m", **options) as dialect:
            found.update(_answers(dialect))
            found.update(_failures(dialect))
    broken = [promise for promise, held in found.items() if not held]
    say([len(found), broken, written], *map(int, rest))
