"""Writes the answers of models: as text while they arrive, or as JSON."""

from __future__ import annotations

import contextlib
import sys
from typing import Iterator, Protocol

from localproviders._redact import printable
from localproviders.cli.run import Run
from localproviders.cli.usage import OutputError
from localproviders.types.responses import CompletionChunk, CompletionResponse


class Answer(Protocol):
    """The stream of an answer: a `Stream`, or the stream of a conversation."""

    def __iter__(self) -> Iterator[CompletionChunk]:
        """Return the chunks."""
        ...

    def result(self) -> CompletionResponse:
        """Return the complete response, after the last chunk."""
        ...


def write_answer(run: Run, answer: Answer) -> None:
    """Write a streamed answer and its warnings.

    With ``--json``, the complete answer is written as one line. Without ``--json``, the text is
    written while it arrives, and a line feed is added if the text does not end with one. The
    thinking of the model is not part of the text: if the output is a terminal, the thinking is
    shown dimmed on standard error.

    Raises:
        ProviderError: The call failed. Without ``--json``, the text so far has been written.
        OutputError: The output cannot be written.
        BrokenPipeError: The reader of the pipe has closed it.
        OSError: The answer belongs to a conversation whose file cannot be written.
    """
    if run.arguments.json:
        run.output.write_json(answer.result().to_dict())
    else:
        _write_text(run, answer)
    response = answer.result()
    run.warn_all(response.warnings)
    if response.finish_reason == "length":
        run.warn(
            "warning: the answer was cut: it reached --max-tokens or the end of the context window"
        )


def _write_text(run: Run, answer: Answer) -> None:
    thinking = _Thinking(run)
    last = ""
    try:
        for chunk in answer:
            if chunk.thinking:
                thinking.write(chunk.thinking)
            if chunk.text:
                thinking.end()
                last = chunk.text
                run.output.write(last)
    except BaseException:
        # The message of an error begins on a new line. An error here would hide the first one.
        with contextlib.suppress(OSError, OutputError):
            _end_line(run, thinking, last)
        raise
    _end_line(run, thinking, last)


def _end_line(run: Run, thinking: _Thinking, last: str) -> None:
    thinking.end()
    if (last or run.output.is_terminal) and not last.endswith("\n"):
        run.output.write_line()


class _Thinking:
    """Shows the thinking of a model on the terminal, if the answer is shown there, too.

    Args:
        run: The run. With ``--quiet``, nothing is shown.
    """

    def __init__(self, run: Run) -> None:
        is_seen = run.output.is_terminal and not run.arguments.quiet
        self._is_shown = is_seen and sys.stderr is not None and sys.stderr.isatty()
        self._color = run.arguments.color
        self._is_begun = False

    def write(self, text: str) -> None:
        """Show a part of the thinking."""
        if self._is_shown:
            self._print(text if self._is_begun else f"thinking: {text}")
            self._is_begun = True

    def end(self) -> None:
        """Leave an empty line after the thinking, if there was any."""
        if self._is_begun:
            self._is_begun = False
            self._print("\n\n")

    def _print(self, text: str) -> None:
        from localproviders.cli.color import is_colored, styled  # few answers have thinking

        shown = printable(text)
        if text.strip() and is_colored(self._color, sys.stderr):
            # Each piece has its own escape sequences, so that the terminal does not stay dimmed if
            # the process is killed.
            shown = styled(shown, "dim")
        with contextlib.suppress(OSError):  # the next write of the answer reports it
            print(shown, end="", file=sys.stderr, flush=True)
