"""The verb ``decide``: typed questions about each input, answered with probabilities."""

from __future__ import annotations

from argparse import Namespace
from collections import deque
from typing import Any, Deque, Dict, Iterator, Mapping, Optional, Tuple, Union

from localproviders._template import Template
from localproviders.cli import options
from localproviders.cli.inputs import Input, as_text, has_many_inputs, read_inputs, template_of
from localproviders.cli.parser import Parser
from localproviders.cli.questions import add_method, reaches, read_questions, read_thresholds
from localproviders.cli.requests import images_of
from localproviders.cli.rows import Failures, errors_named, labels_of, name_error
from localproviders.cli.run import Run
from localproviders.cli.usage import BELOW_THRESHOLD, SUCCESS, UsageError
from localproviders.cli.verbs import Verb
from localproviders.errors import ProviderError
from localproviders.provider import ModelProvider
from localproviders.types.decisions import Decisions
from localproviders.types.questions import Question

_State = Union[str, Mapping[str, Any]]


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the text to decide about")
    group = parser.add_argument_group("question")
    one = group.add_mutually_exclusive_group(required=True)
    one.add_argument("--yes-no", metavar="QUESTION", help="answered with yes or no")
    one.add_argument("--choice", metavar="QUESTION", help="answered with one of --options")
    one.add_argument(
        "--score", metavar="QUESTION", help="answered with a position in --levels, from 0"
    )
    one.add_argument(
        "--questions", metavar="FILE", help="JSON file: an object of questions by name"
    )
    group.add_argument("--options", metavar="A,B,C", help="the options of --choice")
    group.add_argument("--levels", metavar="A,B,C", help="the levels of --score, lowest first")
    add_method(group)
    group.add_argument(
        "--threshold",
        metavar="[NAME=]P",
        action="append",
        default=[],
        help="exit code 14 if an answer is below P",
    )
    options.add_model(parser)
    options.add_some_of_request(parser, "--image", "--expect-digest")
    options.add_input(parser)


def _run(arguments: Namespace, run: Run) -> int:
    questions = read_questions(arguments)
    thresholds = read_thresholds(arguments.threshold, questions)
    failures, are_reached = Failures(), True
    for found, decisions in _decided(arguments, run.provider(), questions):
        run.output.write_json({**labels_of(found), **decisions.to_dict()})
        run.warn_all(decisions.warnings)
        failures.count(decisions.error is not None)
        if decisions.error is None:
            are_reached &= all(reaches(decisions[n], least) for n, least in thresholds.items())
    return failures.report(run) or (SUCCESS if are_reached else BELOW_THRESHOLD)


def _decided(
    arguments: Namespace, provider: ModelProvider, questions: Mapping[str, Question]
) -> Iterator[Tuple[Input, Decisions]]:
    """Yield each input with its decisions.

    If there are several inputs, an error that concerns only one input is in the result of that
    input. Any other error is raised. With ``--image``, every error is raised.
    """
    template = template_of(arguments)
    fields: Dict[str, Any] = {
        "method": arguments.method,
        "min_mass": 0.5 if arguments.min_mass is None else arguments.min_mass,
        "expect_digest": arguments.expect_digest,
    }
    images = images_of(arguments)
    inputs = read_inputs(arguments)
    if has_many_inputs(arguments) and not images:
        yield from _decide_many(provider, inputs, template, questions, fields)
        return
    for found in inputs:
        with errors_named(found):
            made = provider.decide(_state(found, template), questions, images=images, **fields)
        yield found, made


def _decide_many(
    provider: ModelProvider,
    inputs: Iterator[Input],
    template: Optional[Template],
    questions: Mapping[str, Question],
    fields: Mapping[str, Any],
) -> Iterator[Tuple[Input, Decisions]]:
    waiting: Deque[Input] = deque()

    def states() -> Iterator[_State]:
        for found in inputs:
            state = _state(found, template)
            waiting.append(found)
            yield state

    try:
        for made in provider.decide_many(states(), questions, **fields):
            yield waiting.popleft(), made
    except ProviderError as error:
        if waiting:  # if none is waiting, the error is about reading an input, and names it
            name_error(waiting[0], error)
        raise


def _state(found: Input, template: Optional[Template]) -> _State:
    """Return what the questions are about: the filled template, the text, or the row itself.

    Raises:
        UsageError: The input is an empty row, or neither a text nor a row.
    """
    if template is not None or not isinstance(found.value, Mapping):
        return as_text(found, template)
    if not found.value:
        raise UsageError(f"{found.name} is an empty object")
    return dict(found.value)


VERBS = {
    "decide": Verb(
        "Answer questions about each input with probabilities, as one line of JSON.",
        'localproviders decide -m ollama/nimble -f mails.csv --yes-no "A complaint?"',
        _add_arguments,
        _run,
    )
}
