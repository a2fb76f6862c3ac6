"""The verb ``chat``: one answer for each input, or a conversation on a terminal."""

from __future__ import annotations

import sys
from argparse import Namespace
from itertools import chain
from typing import Any, Dict, Iterator

from localproviders.cli import options
from localproviders.cli.answers import write_answer
from localproviders.cli.inputs import as_text, read_inputs, template_of
from localproviders.cli.parser import Parser
from localproviders.cli.requests import (
    request_fields,
    user_message,
    with_instruction,
    without_system,
)
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS
from localproviders.cli.verbs import Verb
from localproviders.provider import ModelProvider
from localproviders.types.messages import Message


def _add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help="the question; the input is added after it"
    )
    parser.add_argument("--session", metavar="FILE", help="continue the conversation in this file")
    options.add_model(parser)
    options.add_request(parser)
    options.add_input(parser)


def _run(arguments: Namespace, run: Run) -> int:
    if _is_conversation(arguments):
        from localproviders.cli.terminal import converse  # only for a conversation on a terminal

        converse(run)
        return SUCCESS
    fields = request_fields(arguments)
    provider = run.provider()
    messages = _messages(run)
    if arguments.session is None:
        for message in messages:
            with provider.stream([message], **fields) as answer:
                write_answer(run, answer)
    else:
        _continue_session(run, provider, messages, fields)
    return SUCCESS


def _continue_session(
    run: Run, provider: ModelProvider, messages: Iterator[Message], fields: Dict[str, Any]
) -> None:
    """Answer each message. A message and its answer are one turn of the file of ``--session``."""
    from localproviders.cli.sessions import open_conversation  # only for --session

    first = next(messages)  # raises an error before the file is made, if there is no input
    with open_conversation(run) as conversation:
        for message in chain([first], messages):
            with conversation.stream(provider, [message], **without_system(fields)) as answer:
                write_answer(run, answer)


def _is_conversation(arguments: Namespace) -> bool:
    """Return whether to start a conversation: there is no input, and a person can type."""
    has_input = arguments.text or arguments.file or arguments.input or arguments.no_input
    is_for_programs = arguments.json or arguments.output
    if has_input or is_for_programs or not _is_terminal(sys.stdin):
        return False
    return _is_terminal(sys.stdout) or _is_terminal(sys.stderr)


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:  # the stream was closed
        return False


def _messages(run: Run) -> Iterator[Message]:
    """Yield a message for each input. An input is read only when its message is needed."""
    arguments = run.arguments
    template, instruction = template_of(arguments), " ".join(arguments.text)
    for found in read_inputs(arguments, is_piped_in=True):
        text = with_instruction(instruction, as_text(found, template))
        yield user_message(arguments, text)


VERBS = {
    "chat": Verb(
        "Ask a model; the answer is written while it arrives. If standard input is a pipe or "
        "a file, its content is added after TEXT. On a terminal, a conversation begins if there is "
        "no TEXT.",
        'git diff | localproviders chat -m llama3.2 "Write a commit message"',
        _add_arguments,
        _run,
    )
}
