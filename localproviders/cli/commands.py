"""The commands `demo` and `discover`.

``localproviders demo`` answers a question and compares sentences with small models on this
machine, within half a minute. ``localproviders discover`` lists the servers on this machine and
their models.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Dict, Sequence, cast

from localproviders._http.stream import Stream
from localproviders._http.transport import load_session_class
from localproviders._redact import each_on_one_line, one_line, printable
from localproviders.config import Config
from localproviders.discovery import Discovery, FoundServer, discover
from localproviders.engine import LocalEngine, install, why_missing
from localproviders.engine.install import check_installable, check_supported
from localproviders.errors import DependencyError, UnreachableError
from localproviders.types.requests import Locality

_SENTENCES = ("A dog runs through the park.", "A puppy plays outside.", "The invoice is overdue.")

# Small models repeat themselves. The penalty makes that less frequent.
_REQUEST: Dict[str, Any] = {"max_tokens": 120, "temperature": 0, "repeat_penalty": 1.1}

_NEXT_STEPS = """
Next steps:
  OllamaProvider().chat("Hello", model="llama3.2")      if Ollama is running
  LMStudioProvider().chat("Hello", model="...")         if LM Studio's server is running
  docs/setup.md                                         how to install a server"""


def run_demo(question: str, *, install_missing: bool = False) -> None:
    """Start the engine twice: once to answer the question, once to compare three sentences.

    Raises:
        DependencyError: The engine or requests is not installed, the engine cannot run on this
            machine, or pip is needed but not installed.
        ProviderError: The engine failed, or the question is longer than its context window.
        OSError: The model file cannot be written, or there is no space for the output.
        subprocess.CalledProcessError: pip could not install the engine.
    """
    check_supported()
    load_session_class()  # check that requests is installed before the engine is downloaded
    if install_missing and why_missing():
        check_installable()
        print("Installing the engine and two small models (about 360 MB) ...", flush=True)
        install()
    _require_installed()
    _answer(question)
    _compare()
    print(_NEXT_STEPS)


def _require_installed() -> None:
    missing = why_missing()
    if missing:
        raise DependencyError(missing, hint="run the same command with --install (about 360 MB)")


def _answer(question: str) -> None:
    print("Starting llama.cpp with Gemma 3 270M on this machine ...\n", flush=True)
    with LocalEngine("chat") as provider:
        print(f"You:   {printable(question)}", flush=True)
        with provider.stream(question, **_REQUEST) as answer:
            _print_chunks(answer)
        response = answer.result()
    usage, timings = response.usage, response.timings
    print(
        f"\n{usage.completion_tokens} tokens in {timings.total_s:.1f} s, "
        f"the first after {timings.first_token_s or 0:.1f} s; "
        f"finish reason: {one_line(str(response.finish_reason))}.\n"
    )


def _print_chunks(answer: Stream) -> None:
    print("Model:", end="", flush=True)
    try:
        for chunk in answer:  # the text of this model begins with a space
            print(printable(chunk.text), end="", flush=True)
    finally:  # the message of an error begins on a new line
        print(flush=True)


def _compare() -> None:
    print("Which sentence is nearest to the first?", flush=True)
    with LocalEngine("embedding") as provider:
        first, *others = provider.embed(_SENTENCES).embeddings
    print(f"         {_SENTENCES[0]}")
    for sentence, vector in zip(_SENTENCES[1:], others):
        print(f"  {_cosine(first, vector):+.3f}  {sentence}")


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other))
    return dot / (math.hypot(*one) * math.hypot(*other))


def run_discover(addresses: Sequence[str]) -> None:
    """Search for servers, also at configured addresses, and print their models as ``server/model``.

    Raises:
        UnreachableError: No server is ready. The tried addresses and the next steps have been
            printed to standard error.
        ConfigurationError: An address or the configuration is invalid.
        DependencyError: requests is not installed.
    """
    config = Config.load()
    configured = [*config.endpoints, *config.project_endpoints]
    found = discover([*addresses, *configured], locality=cast("Locality", config.locality))
    if not any(server.state == "available" for server in found.servers):
        if sys.stderr is not None:  # `print` with file=None would use the standard output
            print(found.explain(), file=sys.stderr)
        raise UnreachableError("no model server is ready")
    _print_servers_and_models(found)


def _print_servers_and_models(found: Discovery) -> None:
    print(found.explain())
    print("Models:")
    for server in found.servers:
        for model in server.models:
            name = each_on_one_line(model.name)
            print(one_line(f"- {server.name}/{name}{_loaded_mark(server, model.name)}"))


def _loaded_mark(server: FoundServer, model: str) -> str:
    return ", loaded" if any(loaded.name == model for loaded in server.loaded) else ""
