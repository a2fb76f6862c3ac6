"""Makes calls of all kinds and reports the promises that did not hold.

It uses no assert statement, because some tests run it with ``-O``.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, List, Type

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    LimitError,
    Limits,
    LocalityError,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    StreamInterruptedError,
    UnreachableError,
)
from tests.promises.life.programs.report import send_result
from tests.promises.life.serving import reply, reply_words

ASKED = "Grüße, 世界 \U0001f980 \u2028 \x00 end"

# Files that may be opened for writing: none but the null device.
_NOWHERE = (os.devnull,)
_UNPRIVILEGED = 65534  # user and group "nobody"

# An idle limit, because it starts after the first chunk, even if that one is late.
_QUICK = Limits(idle_s=0.3)

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
    unreachable = OllamaProvider("127.0.0.1:1", model="m", retry=RetryPolicy(first_wait_s=0))
    return {
        "cut": _raises(StreamInterruptedError, lambda: provider.chat("cut"), "Größe"),
        "limit": _raises(LimitError, lambda: provider.chat("silent", timeout=_QUICK), "Größe"),
        "cancelled": _raises(CancelledError, lambda: provider.chat("Hi", cancel=token)),
        "place": _raises(LocalityError, lambda: away.chat("Hi")),
        "unreachable": _raises(UnreachableError, lambda: unreachable.chat("Hi")),
        "request without JSON": _raises(
            ConfigurationError, lambda: provider.chat("Hi", extra_body={"a": float("nan")})
        ),
    }


def _watch() -> List[str]:
    """Return a list to which each file or folder is added that is written from now on."""
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
    """Make the calls, send the result, and end.

    Args:
        url: The URL of the server.
        then: Path of the certificates to trust, or empty; or ``as nobody`` to make all calls
            twice, the second time without the rights of the superuser.
        rest: The file descriptor for the result; empty for standard output.
    """
    written = _watch()
    trusted = then if then != "as nobody" else ""
    options: Dict[str, Any] = {"ca_bundle": trusted} if trusted else {}
    found: Dict[str, bool] = {}
    for again in range(2 if then == "as nobody" else 1):
        if again:
            os.setgid(_UNPRIVILEGED)
            os.setuid(_UNPRIVILEGED)
        with OllamaProvider(url, model="m", **options) as ollama:
            found.update(_answers(ollama))
        with OpenAICompatibleProvider(url, model="m", **options) as dialect:
            found.update(_answers(dialect))
            found.update(_failures(dialect))
    broken = [promise for promise, held in found.items() if not held]
    send_result([len(found), broken, written], *map(int, rest))
