"""Servers for tests: real sockets on loopback, in this process.

`FakeOllama` and `FakeLMStudio` behave like the real ones; `FAULTS` lists what they can do
wrong on request; `Recorder` and `Replayer` keep real traffic in a file. The pytest fixtures
``fake_ollama`` and ``fake_lmstudio`` come with the package.
"""

from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from localproviders.testing.fake import FakeServer
    from localproviders.testing.faults import FAULTS, Fault
    from localproviders.testing.lmstudio import FakeLMStudio
    from localproviders.testing.ollama import FakeOllama
    from localproviders.testing.openai_compatible import FakeOpenAICompatible
    from localproviders.testing.record import Recorder, Replayer
    from localproviders.testing.scripted import Exchange, ScriptedServer, Step, http_answer
    from localproviders.testing.values import FakeModel, Refusal, Reply

# Fetched at first use, because pytest loads this package with its plugin in every run.
_ROOMS = {
    "fake": ("FakeServer",),
    "faults": ("FAULTS", "Fault"),
    "lmstudio": ("FakeLMStudio",),
    "ollama": ("FakeOllama",),
    "openai_compatible": ("FakeOpenAICompatible",),
    "record": ("Recorder", "Replayer"),
    "scripted": ("Exchange", "ScriptedServer", "Step", "http_answer"),
    "values": ("FakeModel", "Refusal", "Reply"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "FAULTS",
    "Exchange",
    "FakeLMStudio",
    "FakeModel",
    "FakeOllama",
    "FakeOpenAICompatible",
    "FakeServer",
    "Fault",
    "Recorder",
    "Refusal",
    "Replayer",
    "Reply",
    "ScriptedServer",
    "Step",
    "http_answer",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module 'localproviders.testing' has no attribute {name!r}")
    value = getattr(import_module(f"localproviders.testing.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
