"""One script runs on each kind of server, and only its environment differs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Dict, Mapping, Tuple

import pytest

from localproviders import ToolCall
from localproviders.testing import (
    FakeAnthropic,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Reply,
)
from tests.support.docs import ROOT

_SCRIPT = '''
from localproviders import create_provider

def double(number: int) -> int:
    """Double a number."""
    return 2 * number

with create_provider() as provider:
    # Not every server has a switch for thinking.
    options = {"thinking": True, "strict": False, "max_tokens": 4000}
    run = provider.run_tools("Double 21.", [double], **options)
    print(run.text, [step.content for step in run.steps], run.responses[0].thinking)
    print(provider.parse("How many?", int, max_tokens=100).value)
'''
_MODEL = FakeModel(name="some-model", abilities=("chat", "tools", "thinking"), loaded=True)
#: The fake server of each kind, and the path of its address.
_SERVERS: Mapping[str, Tuple[Any, str]] = {
    "anthropic": (FakeAnthropic, ""),
    "llamacpp": (FakeLlamaCpp, ""),
    "lmstudio": (FakeLMStudio, ""),
    "ollama": (FakeOllama, ""),
    "openai-compatible": (FakeOpenAICompatible, "/v1"),
}


@pytest.mark.parametrize("kind", sorted(_SERVERS))
def test_only_the_environment_differs(kind: str) -> None:
    server, path = _SERVERS[kind]
    name = kind.upper().replace("-", "_")
    with server([_MODEL]) as fake:
        fake.reply_with(
            Reply(
                text="",
                thinking="Let me compute.",
                tool_calls=(ToolCall(id="toolu_1", name="double", arguments={"number": 21}),),
            ),
            "It is 42.",
            '{"value": 42}',
        )
        environ: Dict[str, str] = {
            **{key: value for key, value in os.environ.items() if "LOCALPROVIDERS" not in key},
            "LOCALPROVIDERS_MODEL": f"{kind}/some-model",
            f"LOCALPROVIDERS_SERVERS_{name}_ENDPOINT": fake.url + path,
        }
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        assert fake.errors == []
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "It is 42. ['42'] Let me compute.\n42\n"
