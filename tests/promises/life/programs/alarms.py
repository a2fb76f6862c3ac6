"""Raises from alarms at random moments of every verb, and looks at what is left after each."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Tuple, Type

from localproviders import LocalProvider, OllamaProvider, OpenAICompatibleProvider, discover
from tests.promises.life.programs.report import send_result, wait_for_test

_FDS = "/proc/self/fd"


class Soft(Exception):  # noqa: N818  # named as in Celery
    """A class of the caller's own."""


CLASSES: Tuple[Type[Exception], ...] = (TimeoutError, OSError, Soft)


def weather(place: str) -> str:
    """Return the weather."""
    return f"sunny in {place}"


class Verbs:
    """The verbs of the package, each with a prompt that was never sent before."""

    def __init__(self, ollama: str, other: str, file: str) -> None:
        self.ollama = OllamaProvider(ollama, model="m")
        self.other = OpenAICompatibleProvider(other, model="m")
        self.local = LocalProvider([self.other, self.ollama], model="m")
        self.file = file
        self.addresses = [ollama, other]
        self._asked = 0

    def prompt(self) -> str:
        self._asked += 1
        return f"question {self._asked}"

    def all(self) -> Dict[str, Callable[[], Any]]:
        ollama, other, local = self.ollama, self.other, self.local
        return {
            "chat": lambda: ollama.chat(self.prompt()),
            "chat of another server": lambda: other.chat(self.prompt()),
            "chat by fallback": lambda: local.chat(self.prompt()),
            "stream": lambda: list(other.stream(self.prompt())),
            "stream by fallback": lambda: list(local.stream(self.prompt())),
            "parse": lambda: ollama.parse(self.prompt(), {"type": "object"}),
            "run_tools": lambda: ollama.run_tools(self.prompt(), [weather]),
            "embed": lambda: ollama.embed([self.prompt()], model="vectors"),
            "list_models": ollama.list_models,
            "model_info": lambda: ollama.model_info("m"),
            "model_capabilities": lambda: other.model_capabilities("m"),
            "loaded_models": ollama.loaded_models,
            "load": lambda: ollama.load("m"),
            "unload": lambda: ollama.unload("m"),
            "pull": lambda: ollama.pull("qwen3:0.6b", on_progress=lambda _: None),
            "create": lambda: ollama.create("made", files={"made.gguf": self.file}),
            "count_tokens": lambda: ollama.count_tokens(self.prompt()),
            "render": lambda: ollama.render(self.prompt()),
            "discover": lambda: discover(self.addresses, refresh=True),
        }

    def close(self) -> None:
        for provider in (self.ollama, self.other, self.local):
            provider.close()


def struck(work: Callable[[], Any], error: Exception, seconds: float) -> Tuple[bool, Any]:
    """Run something with an alarm, and return whether it rang, and what came out."""
    rang: List[int] = []

    def handler(signum: int, frame: Any) -> None:
        rang.append(signum)
        raise error

    signal.signal(signal.SIGALRM, handler)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as caught:
        return bool(rang), caught
    return bool(rang), None


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir(_FDS)) if os.path.isdir(_FDS) else 0


def main(ollama: str, other: str, file: str, count: str, seed: str) -> None:
    """Let so many alarms ring in each verb."""
    rand = random.Random(int(seed))
    verbs = Verbs(ollama, other, file)
    # Python cannot raise out of a finalizer: it reports the exception and goes on.
    lost: List[Any] = []
    sys.unraisablehook = lambda args: lost.append(args.exc_value)
    took_s: Dict[str, float] = {}
    for name, work in verbs.all().items():
        work()
        started = time.perf_counter()
        work()
        took_s[name] = time.perf_counter() - started
    verbs.close()
    before = _descriptors()
    rung = 0
    wrong: List[str] = []
    for name, work in verbs.all().items():
        while_at = 0
        for _ in range(20 * int(count)):
            error = CLASSES[while_at % len(CLASSES)]("alarm")
            # Python ignores exceptions in finalizers, such as those of earlier calls.
            gc.disable()
            rings, out = struck(work, error, rand.uniform(1e-6, took_s[name]))
            gc.enable()
            if rings and out is not error and not any(each is error for each in lost):
                wrong.append(f"{name}: {error!r} came out as {out!r}")
            elif not rings and out is not None:
                wrong.append(f"{name}: without an alarm {out!r}")
            out = error = None  # type: ignore[assignment]  # their tracebacks hold connections
            lost.clear()
            asked = verbs.prompt()
            if rings and verbs.ollama.chat(asked).text != f"{asked}!":
                wrong.append(f"{name}: the next call was wrong")
            while_at += rings
            if while_at == int(count):
                break
        rung += while_at
    verbs.close()
    send_result([rung, wrong, _descriptors() - before])
    wait_for_test()
