"""The commands of a conversation on a terminal, such as ``/help``."""

from __future__ import annotations

import os
import shlex
from typing import Callable, Mapping, NamedTuple

from localproviders._did_you_mean import did_you_mean
from localproviders._redact import on_screen
from localproviders.cli.terminal_talk import Talk
from localproviders.cli.usage import UsageError


class _Command(NamedTuple):
    """A command.

    Attributes:
        usage: The command with its argument.
        help: Its description.
        run: Function that runs the command. Its arguments are the conversation, and the text after
            the name of the command.
    """

    usage: str
    help: str
    run: Callable[[Talk, str], None]


def run_command(talk: Talk, line: str) -> None:
    """Run the command of a line.

    Raises:
        UsageError: There is no such command, or its argument cannot be used.
        ProviderError: The command failed.
    """
    words = line.split(None, 1)
    command = _COMMANDS.get(words[0])
    if command is None:
        raise UsageError(
            f"there is no command {words[0]!r}{did_you_mean(words[0], list(_COMMANDS))}",
            hint="/help lists them; write // for a text that begins with a slash",
        )
    command.run(talk, words[1].strip() if len(words) > 1 else "")


def _help(talk: Talk, _: str) -> None:
    lines = [f"{each.usage:<16} {each.help}" for each in _COMMANDS.values()]
    talk.show("\n".join([*lines, *_KEYS]))


def _model(talk: Talk, name: str) -> None:
    if name:
        talk.use_model(name)
        talk.show(talk.described())
        return
    talk.show(f"{talk.described()}; /model NAME changes it")
    names = [f"  {model.name}" for model in talk.provider.list_models()]
    if names:
        talk.show(on_screen(names))


def _system(talk: Talk, text: str) -> None:
    if text:
        talk.conversation.system = None if text == '""' else text
    talk.show(f"system message: {talk.conversation.system or 'none'}")


def _save(talk: Talk, path: str) -> None:
    if not path:
        raise UsageError("/save needs a file", hint="/save FILE")
    messages = len(talk.conversation.messages)
    if not messages:
        raise UsageError("there is no answer yet, so there is nothing to save")
    path = os.path.expanduser(path)
    try:
        talk.conversation.save(path)
    except OSError as error:
        words = error.strerror or type(error).__name__
        raise UsageError(
            f"{path!r} cannot be written: {words}", hint="choose another file"
        ) from None
    talk.show(f"{messages} messages; to go on: localproviders chat --session {shlex.quote(path)}")


def _quit(talk: Talk, _: str) -> None:
    talk.is_ended = True


_COMMANDS: Mapping[str, _Command] = {
    "/help": _Command("/help", "this list", _help),
    "/model": _Command("/model [NAME]", "use the model NAME, or list the models", _model),
    "/system": _Command("/system [TEXT]", 'set or show the system message; "" removes it', _system),
    "/save": _Command("/save FILE", "write the conversation to a file for --session", _save),
    "/quit": _Command("/quit", "end the conversation", _quit),
}

_KEYS = (
    "//TEXT           a text that begins with a slash",
    "TEXT\\            a backslash at the end: the text goes on in the next line",
    '"""TEXT"""       a text that may have several lines',
    "Ctrl-C           stop the answer, or clear the text",
    "Ctrl-D           end the conversation",
)
