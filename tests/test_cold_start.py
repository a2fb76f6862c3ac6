"""What a script that asks one question loads: nothing that the question does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import List, Set

import localproviders
from localproviders.testing import FakeLMStudio, FakeOllama, FakeOpenAICompatible, FakeServer

_PARENT = Path(localproviders.__file__).parent.parent

# What requests loads is not ours to save.
_CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import requests
before = set(sys.modules)
exec(sys.argv[2])
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Slow to load, and behind much that looks harmless.
_MACHINERY = {
    "ast", "asyncio", "dataclasses", "decimal", "difflib", "dis", "fractions", "inspect",
    "numbers", "pprint", "statistics", "tokenize",
}  # fmt: skip

_ROOMS = {
    "_asking", "_backend.embedding", "capabilities", "cli", "config", "discovery", "engine",
    "exporters", "local", "ollama.blobs", "ollama.progress", "ollama.wire.capabilities",
    "ollama.wire.library", "ollama.wire.models", "ollama.wire.progress",
    "openai_compatible.wire.capabilities", "openai_compatible.wire.models",
    "openai_compatible.wire.tokens", "schema", "structured", "testing", "tool_loop",
    "types.download", "types.keywords", "types.outcome",
}  # fmt: skip


def _loaded(code: str) -> List[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _CHILD, str(_PARENT), code],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return list(json.loads(done.stdout))


def _unneeded(loaded: List[str]) -> Set[str]:
    return {*loaded} & {*_MACHINERY, *(f"localproviders.{room}" for room in _ROOMS)}


def _chat(fake: FakeServer, provider: str, path: str = "") -> str:
    url = fake.url.rstrip("/") + path
    return f"from localproviders import {provider} as P; P({url!r}, model='llama3.2').chat('Hi')"


def test_a_chat_with_ollama_loads_only_what_it_needs() -> None:
    with FakeOllama(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "OllamaProvider"))
    assert "localproviders.ollama.wire.answers" in loaded
    assert _unneeded(loaded) == set()


def test_a_chat_in_the_openai_dialect_loads_only_what_it_needs() -> None:
    with FakeOpenAICompatible(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "OpenAICompatibleProvider", "/v1"))
    assert "localproviders.openai_compatible.wire.answers" in loaded
    assert _unneeded(loaded) == set()


def test_a_chat_with_lm_studio_loads_no_machinery() -> None:
    with FakeLMStudio(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "LMStudioProvider"))
    assert "localproviders.lmstudio.wire.lists" in loaded
    assert _MACHINERY & {*loaded} == set()


def test_no_value_runs_the_machinery_of_dataclasses_before_somebody_asks() -> None:
    loaded = _loaded("import localproviders.types as t; [getattr(t, name) for name in t.__all__]")
    assert "localproviders.types.outcome" in loaded
    assert _MACHINERY & {*loaded} == set()


def test_fields_and_signature_are_there_for_whoever_asks() -> None:
    code = (
        "import dataclasses, inspect; from localproviders import Usage; "
        "assert dataclasses.is_dataclass(Usage) and dataclasses.fields(Usage)[0].name; "
        "assert 'prompt_tokens' in inspect.signature(Usage).parameters"
    )
    assert _loaded(code)


def test_a_pickle_is_read_by_a_process_that_has_loaded_nothing() -> None:
    code = (
        "import pickle; from localproviders import CompletionResponse, Usage; "
        "made = CompletionResponse(text='t', model='m', provider='p', usage=Usage()); "
        "import subprocess, sys; "
        "inner = 'import sys, pickle; sys.path.insert(0, sys.argv[1]); '"
        "'assert pickle.load(sys.stdin.buffer).usage.total_tokens is None'; "
        "subprocess.run([sys.executable, '-I', '-c', inner, sys.argv[1]], "
        "input=pickle.dumps(made), check=True)"
    )
    assert _loaded(code)
