"""A script that makes one call loads only the modules that this call needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import List, Set

import localproviders
from localproviders.testing import (
    FakeAnthropic,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
)
from tests.project.test_layers import MODULES, lazy_modules

_PARENT = Path(localproviders.__file__).parent.parent

# Modules that requests itself loads do not count.
_CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import requests
before = set(sys.modules)
exec(sys.argv[2])
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Slow to load, and loaded by many modules of the standard library that look harmless.
_MACHINERY = {
    "asyncio", "decimal", "difflib", "fractions", "numbers", "pprint", "statistics",
}  # fmt: skip

_NOT_FOR_A_CHAT = {
    "_shared_deadline", "_dialect.refused_schemas", "_http_provider.embedding", "_http_provider.deciding",
    "_http_provider.aliases", "llamacpp.wire.decisions", "lmstudio.wire.decisions", "ollama.wire.decisions", "openai_compatible.wire.decisions", "capabilities", "cli", "config", "discovery", "engine",
    "anthropic.catalog", "anthropic.kind", "anthropic.wire.models", "anthropic.wire.own_fields", "anthropic.wire.schemas",
    "exporters", "local", "llamacpp.catalog", "llamacpp.prompts", "llamacpp.router",
    "llamacpp.wire.models", "lmstudio.catalog", "lmstudio.downloads", "lmstudio.memory",
    "lmstudio.stateful", "lmstudio.wire.stateful", "ollama.catalog", "ollama.memory",
    "ollama.transfers",
    "ollama.wire.library", "ollama.wire.models", "_dialect.missing_models", "_http.unix_socket",
    "openai_compatible.prompt_routes", "openai_compatible.root", "openai_compatible.rerank_routes",
    "openai_compatible.wire.models", "openai_compatible.wire.rerank",
    "openai_compatible.wire.own_fields", "openai_compatible.wire.vectors",
    "openai_compatible.wire.services", "openai_compatible.wire.service_errors",
    "_keep_loaded", "openai_compatible.kind", "schema", "schema.strict", "schema.other_tools", "types.other_messages", "structured", "testing", "tool_loop",
}  # fmt: skip

# Needed by a chat with Ollama, and by no other.
_FOR_OLLAMA = {"localproviders.ollama.names"}


def _loaded(code: str) -> List[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _CHILD, str(_PARENT), code],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return list(json.loads(done.stdout))


def _unneeded(loaded: List[str]) -> Set[str]:
    return {*loaded} & {*_MACHINERY, *(f"localproviders.{name}" for name in _NOT_FOR_A_CHAT)}


def _chat(fake: FakeServer, provider: str, path: str = "") -> str:
    url = fake.url.rstrip("/") + path
    return f"from localproviders import {provider} as P; P({url!r}, model='llama3.2').chat('Hi')"


def test_a_chat_with_ollama_loads_only_what_it_needs() -> None:
    with FakeOllama(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "OllamaProvider"))
    assert "localproviders.ollama.wire.responses" in loaded
    assert _unneeded(loaded) == set()


def test_a_chat_in_the_openai_dialect_loads_only_what_it_needs() -> None:
    with FakeOpenAICompatible(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "OpenAICompatibleProvider", "/v1"))
    assert "localproviders.openai_compatible.wire.responses" in loaded
    assert _unneeded(loaded) | (_FOR_OLLAMA & {*loaded}) == set()


def test_a_chat_with_lm_studio_loads_no_machinery() -> None:
    with FakeLMStudio(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "LMStudioProvider"))
    assert "localproviders.lmstudio.wire.errors" in loaded
    assert _MACHINERY & {*loaded} == set()


def test_a_chat_with_llama_cpp_loads_only_what_it_needs() -> None:
    with FakeLlamaCpp(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "LlamaCppProvider"))
    assert "localproviders.llamacpp.wire.responses" in loaded
    assert _unneeded(loaded) | (_FOR_OLLAMA & {*loaded}) == set()


def test_usual_tools_do_not_load_the_forms_of_other_clients() -> None:
    with FakeOllama(["llama3.2"]) as fake:
        tools = "[{'name': 'look', 'parameters': {'type': 'object'}}, print_it]"
        chat = f"P({fake.url!r}, model='llama3.2').chat('Hi', tools={tools})"
        begin = "from localproviders import OllamaProvider as P\ndef print_it(x: int): pass\n"
        loaded = _loaded(begin + chat)
    assert "localproviders.schema.tools" in loaded
    assert "localproviders.schema.other_tools" not in loaded


def test_a_chat_with_anthropic_loads_only_what_it_needs() -> None:
    with FakeAnthropic(["llama3.2"]) as fake:
        loaded = _loaded(_chat(fake, "AnthropicProvider"))
    assert "localproviders.anthropic.wire.responses" in loaded
    assert _unneeded(loaded) | (_FOR_OLLAMA & {*loaded}) == set()


def test_no_lazily_imported_module_is_needed_by_a_chat() -> None:
    lazy = {name for module in MODULES for name in lazy_modules(module)}
    # A plain import does not load this module, but a chat does, with the values.
    lazy -= {"localproviders._did_you_mean"}
    assert lazy <= {f"localproviders.{name}" for name in _NOT_FOR_A_CHAT} | _FOR_OLLAMA


def test_fields_and_signatures_can_be_inspected() -> None:
    code = (
        "import dataclasses, inspect; from localproviders.types import Usage; "
        "assert dataclasses.is_dataclass(Usage) and dataclasses.fields(Usage)[0].name; "
        "assert 'prompt_tokens' in inspect.signature(Usage).parameters"
    )
    assert _loaded(code)


def test_a_pickle_can_be_read_before_this_package_is_imported() -> None:
    code = (
        "import pickle; from localproviders import CompletionResponse; from localproviders.types import Usage; "
        "made = CompletionResponse(text='t', model='m', provider='p', usage=Usage()); "
        "import subprocess, sys; "
        "inner = 'import sys, pickle; sys.path.insert(0, sys.argv[1]); '"
        "'assert pickle.load(sys.stdin.buffer).usage.total_tokens is None'; "
        "subprocess.run([sys.executable, '-I', '-c', inner, sys.argv[1]], "
        "input=pickle.dumps(made), check=True)"
    )
    assert _loaded(code)
