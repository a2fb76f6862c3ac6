"""Servers for tests: real sockets on loopback, in this process.

`FakeOllama`, `FakeLMStudio` and the others behave like the real servers. A test can make them
simulate the failures in `FAULTS`. `Recorder` records real traffic to a file, and `Replayer` replays
it. `fake_of` returns the class of the fake server for a provider kind, such as ``ollama``. The
pytest fixtures ``fake_ollama``, ``fake_lmstudio`` and ``fake_server`` are part of the package.
"""

from typing import TYPE_CHECKING

from localproviders._lazy import lazy_names

if TYPE_CHECKING:
    from localproviders.testing.anthropic import FakeAnthropic
    from localproviders.testing.fake import FakeServer, fake_of
    from localproviders.testing.faults import FAULTS, Fault
    from localproviders.testing.llamacpp import FakeLlamaCpp
    from localproviders.testing.lmstudio import FakeLMStudio
    from localproviders.testing.ollama import FakeOllama
    from localproviders.testing.openai_compatible import FakeOpenAICompatible
    from localproviders.testing.products import FakeProduct
    from localproviders.testing.record import Recorder, Replayer
    from localproviders.testing.scripted import Exchange, ScriptedServer, Step, http_answer
    from localproviders.testing.values import FakeModel, Refusal, Reply

__all__ = [
    "FAULTS",
    "Exchange",
    "FakeAnthropic",
    "FakeLMStudio",
    "FakeLlamaCpp",
    "FakeModel",
    "FakeOllama",
    "FakeOpenAICompatible",
    "FakeProduct",
    "FakeServer",
    "Fault",
    "Recorder",
    "Refusal",
    "Replayer",
    "Reply",
    "ScriptedServer",
    "Step",
    "fake_of",
    "http_answer",
]

# The names are imported on first use, because pytest imports this package in every run.
_look_up, _names = lazy_names(
    __name__,
    {
        "localproviders.testing.anthropic": ("FakeAnthropic",),
        "localproviders.testing.fake": ("FakeServer", "fake_of"),
        "localproviders.testing.faults": ("FAULTS", "Fault"),
        "localproviders.testing.llamacpp": ("FakeLlamaCpp",),
        "localproviders.testing.lmstudio": ("FakeLMStudio",),
        "localproviders.testing.ollama": ("FakeOllama",),
        "localproviders.testing.openai_compatible": ("FakeOpenAICompatible",),
        "localproviders.testing.products": ("FakeProduct",),
        "localproviders.testing.record": ("Recorder", "Replayer"),
        "localproviders.testing.scripted": ("Exchange", "ScriptedServer", "Step", "http_answer"),
        "localproviders.testing.values": ("FakeModel", "Refusal", "Reply"),
    },
)

if not TYPE_CHECKING:  # hidden from type checkers, so that they report a misspelt name
    __getattr__, __dir__ = _look_up, _names
