"""The verb ``complete``: continues a text as it is, without a chat template."""

from __future__ import annotations

from argparse import Namespace

from localproviders.cli import options
from localproviders.cli.answers import write_answer
from localproviders.cli.inputs import as_text, read_inputs, template_of
from localproviders.cli.parser import Parser
from localproviders.cli.requests import request_fields
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS
from localproviders.cli.verbs import Verb
from localproviders.types.requests import CompletionRequest


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the beginning of the text")
    parser.add_argument("--suffix", metavar="TEXT", help="text after the gap that the model fills")
    options.add_model(parser)
    options.add_request(parser, "--system", "--image", "--thinking")
    options.add_input(parser)


def _run(arguments: Namespace, run: Run) -> int:
    template = template_of(arguments)
    fields = request_fields(arguments)
    if arguments.suffix is not None:
        fields["suffix"] = arguments.suffix
    provider = run.provider()
    for found in read_inputs(arguments):
        request = CompletionRequest(prompt=as_text(found, template), **fields)
        with provider.stream_completion(request) as answer:
            write_answer(run, answer)
    return SUCCESS


VERBS = {
    "complete": Verb(
        "Continue a text. The model gets the text as it is, without a chat template.",
        'localproviders complete -m llama3.2 --max-tokens 20 "Once upon a time"',
        _add_arguments,
        _run,
    )
}
