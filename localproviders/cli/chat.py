"""The verb ``chat``: one answer for each input, written while it arrives."""

from __future__ import annotations

from argparse import Namespace

from localproviders.cli import options
from localproviders.cli.answers import write_answer
from localproviders.cli.inputs import as_text, read_inputs, template_of
from localproviders.cli.parser import Parser
from localproviders.cli.requests import request_fields, user_message, with_instruction
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS
from localproviders.cli.verbs import Verb


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("text", nargs="*", metavar="TEXT", help="what to ask, before the input")
    options.add_model(parser)
    options.add_request(parser)
    options.add_input(parser)


def _run(arguments: Namespace, run: Run) -> int:
    template = template_of(arguments)
    fields = request_fields(arguments)
    instruction = " ".join(arguments.text)
    provider = run.provider()
    for found in read_inputs(arguments, is_piped_in=True):
        text = with_instruction(instruction, as_text(found, template))
        with provider.stream([user_message(arguments, text)], **fields) as answer:
            write_answer(run, answer)
    return SUCCESS


VERBS = {
    "chat": Verb(
        "Ask a model. The answer is written while it arrives. If standard input is a pipe or a "
        "file, it follows the text, after a blank line.",
        'git diff | localproviders chat -m llama3.2 "Write a commit message"',
        _add_arguments,
        _run,
    )
}
