"""One script of ten lines runs unchanged with each server: only the environment differs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import Any, Callable, Dict, Mapping, NamedTuple

import pytest

from localproviders import LocalEngine, ToolCall
from localproviders.engine import local, why_missing, why_unsupported
from localproviders.testing import (
    FakeAnthropic,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    Reply,
)
from tests.support.clouds import FakeOpenAI, FakeOpenRouter, bodies

_SCRIPT = """\
from typing import Dict
from localproviders import create_provider
def weather(city: str) -> str:
    "Return the weather of a city."
    return f"sunny in {city}"
with create_provider() as provider:
    print(provider.chat("Hi", max_tokens=300).text)
    run = provider.run_tools("How is Oslo?", [weather], thinking=True, max_tokens=3000)
    print(run.steps[0].content, "->", run.text)
    print(provider.parse("Which numbers?", Dict[str, int], max_tokens=300).value)
"""
# The engine chooses the likeliest token, so that its answers are the same in each run. The script
# cannot ask for this, because some services refuse the field.
_GREEDY_ENGINE = """\
from localproviders.engine import serve
make = serve.server_parameters
def greedy(*arguments):
    parameters = make(*arguments)
    parameters.sampling.temp = 0.0
    return parameters
serve.server_parameters = greedy
serve.main()
"""
_REASON = why_unsupported() or why_missing()
_ABILITIES = ("chat", "tools", "thinking")


class _Server(NamedTuple):
    """A fake, and the environment with which the script uses it."""

    fake: Callable[..., Any]
    model: str
    name: str
    path: str = ""
    more: Mapping[str, str] = {}


_SERVERS: Mapping[str, _Server] = {
    "ollama": _Server(FakeOllama, "qwen3", "OLLAMA"),
    "lmstudio": _Server(FakeLMStudio, "qwen/qwen3-4b", "LMSTUDIO"),
    "llamacpp": _Server(FakeLlamaCpp, "qwen3", "LLAMACPP"),
    "anthropic": _Server(FakeAnthropic, "claude-sonnet-4-5", "ANTHROPIC"),
    "openai": _Server(FakeOpenAI, "gpt-6-sol", "OPENAI", "/v1", {"OPENAI_API_KEY": "sk-test-1"}),
    "openrouter": _Server(
        FakeOpenRouter,
        "anthropic/claude-sonnet-4.5",
        "OPENROUTER",
        "/v1",
        {"OPENROUTER_API_KEY": "sk-test-1"},
    ),
}


def _run(environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    base = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", _SCRIPT],
        env={**base, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_script_has_ten_lines() -> None:
    assert len(_SCRIPT.splitlines()) == 10


@pytest.mark.parametrize("kind", _SERVERS)
def test_the_script_runs_unchanged(kind: str) -> None:
    server = _SERVERS[kind]
    with server.fake([FakeModel(name=server.model, abilities=_ABILITIES, loaded=True)]) as fake:
        call = ToolCall(id="call_1", name="weather", arguments={"city": "Oslo"})
        fake.reply_with(
            "Hello.",
            Reply(text="", thinking="one two", tool_calls=(call,)),
            Reply(text="It is sunny.", thinking="three"),
            '{"one": 1}',
        )
        environ: Dict[str, str] = {
            "LOCALPROVIDERS_MODEL": f"{kind}/{server.model}",
            f"LOCALPROVIDERS_SERVERS_{server.name}_ENDPOINT": fake.url.rstrip("/") + server.path,
            **server.more,
        }
        done = _run(environ)
        assert done.stderr == ""
        assert done.stdout.splitlines() == [
            "Hello.",
            "sunny in Oslo -> It is sunny.",
            "{'one': 1}",
        ]
        if kind == "openrouter":
            (detail,) = bodies(fake)[2]["messages"][1]["reasoning_details"]
            assert detail["signature"]


@pytest.mark.parametrize("kind", ["anthropic", "openai", "openrouter"])
def test_the_script_needs_the_locality_for_a_service(kind: str) -> None:
    server = _SERVERS[kind]
    done = _run({"LOCALPROVIDERS_MODEL": f"{kind}/{server.model}", **server.more})
    assert "LocalityError" in done.stderr
    assert "LOCALPROVIDERS_LOCALITY=any" in done.stderr
    assert "sk-test-1" not in done.stderr


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
def test_the_script_runs_with_the_real_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "interpreter", lambda: [sys.executable, "-c", _GREEDY_ENGINE])
    with LocalEngine("chat") as engine:
        settings = engine.settings
        assert settings.api_key is not None
        done = _run(
            {
                "LOCALPROVIDERS_MODEL": f"llamacpp/{settings.model}",
                "LOCALPROVIDERS_SERVERS_LLAMACPP_ENDPOINT": settings.endpoint.url,
                "LOCALPROVIDERS_SERVERS_LLAMACPP_API_KEY": settings.api_key.reveal(),
            }
        )
    assert done.stderr == ""
    text, weather, numbers = done.stdout.splitlines()
    assert text.strip()
    assert weather.startswith("sunny in ") and weather.partition(" -> ")[2].strip()
    assert all(type(value) is int for value in ast.literal_eval(numbers).values())
