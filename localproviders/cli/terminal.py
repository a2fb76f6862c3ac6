"""The conversation of the verb ``chat`` on a terminal."""

from __future__ import annotations

import contextlib
import signal
from typing import Any, Iterator

from localproviders.cli.run import Run
from localproviders.cli.sessions import open_conversation
from localproviders.cli.terminal_commands import run_command
from localproviders.cli.terminal_lines import Lines, Typed
from localproviders.cli.terminal_talk import Talk
from localproviders.errors import ProviderError


def converse(run: Run) -> None:
    """Let a person type texts, and write the answers, until ``/quit`` or Ctrl-D.

    If a call fails, its error is shown as one line, and the conversation goes on. Ctrl-C stops an
    answer, or clears the text that is being typed.

    Raises:
        ProviderError: The provider cannot be made, or the conversation cannot be opened.
        OutputError: Writing to the terminal failed.
    """
    provider = run.provider()
    with _Interrupts() as interrupts, open_conversation(run) as conversation:
        talk = Talk(run, provider, conversation)
        lines = Lines(
            message.content for message in conversation.messages if message.role == "user"
        )
        talk.greet()
        while not talk.is_ended:
            try:
                with interrupts.allowed():
                    _next(talk, lines)
            except KeyboardInterrupt:
                talk.show()  # the next prompt begins on a new line
            except ProviderError as error:
                talk.complain(error)


class _Interrupts:
    """Lets Ctrl-C interrupt each `allowed` block once. Outside of the blocks, it has no effect.

    Without this class, a second Ctrl-C could end the program while it handles the first one.
    """

    def __init__(self) -> None:
        self._is_allowed = False
        self._before: Any = None

    def __enter__(self) -> _Interrupts:
        # If the process was started with Ctrl-C ignored, Ctrl-C stays ignored.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Allow Ctrl-C to interrupt the block, once."""
        self._is_allowed = True
        try:
            yield
        finally:
            self._is_allowed = False

    def _interrupt(self, *_: object) -> None:
        if self._is_allowed:
            self._is_allowed = False
            raise KeyboardInterrupt


def _next(talk: Talk, lines: Lines) -> None:
    """Read a text, and run it as a command or ask the model."""
    typed = lines.read()
    if typed is None:
        talk.is_ended = True
        talk.show()
    elif _is_command(typed):
        run_command(talk, typed.text)
    elif typed.text.strip():
        talk.ask(typed.text if typed.is_literal else _unescaped(typed.text))


def _is_command(typed: Typed) -> bool:
    text = typed.text
    return text.startswith("/") and not text.startswith("//") and not typed.is_literal


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("//") else text
