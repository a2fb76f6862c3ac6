"""The verb ``parse``: an answer as JSON that follows a schema."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Dict

from localproviders._redact import count_with_noun
from localproviders.cli import options
from localproviders.cli.inputs import as_text, read_inputs, template_of
from localproviders.cli.json_files import read_json
from localproviders.cli.parser import Parser
from localproviders.cli.requests import request_fields, user_message, with_instruction
from localproviders.cli.rows import errors_named
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS, UsageError
from localproviders.cli.values import whole
from localproviders.cli.verbs import Verb
from localproviders.errors import ConfigurationError, SchemaError
from localproviders.schema import check, schema_of
from localproviders.schema.keywords import KEYWORDS
from localproviders.types.responses import Parsed

# The line of an error names at most this many reasons.
_MOST_REASONS = 5


def _add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help="the question; the input is added after it"
    )
    group = parser.add_argument_group("schema")
    group.add_argument("--schema", metavar="FILE", required=True, help="JSON Schema of the answer")
    group.add_argument(
        "--max-attempts",
        metavar="N",
        type=whole(1),
        default=3,
        help="most attempts for each input (default: 3)",
    )
    options.add_model(parser)
    options.add_request(parser, "--grammar")
    options.add_input(parser)


def _run(arguments: Namespace, run: Run) -> int:
    schema = _read_schema(arguments.schema)
    template = template_of(arguments)
    fields = request_fields(arguments)
    instruction = " ".join(arguments.text)
    provider = run.provider()
    for found in read_inputs(arguments, is_piped_in=True):
        text = with_instruction(instruction, as_text(found, template))
        message = user_message(arguments, text)
        with errors_named(found):
            try:
                parsed = provider.parse(
                    message, schema, max_attempts=arguments.max_attempts, **fields
                )
            except SchemaError as error:
                _explain(error)
                raise
        _write(run, parsed)
    return SUCCESS


def _read_schema(path: str) -> Dict[str, Any]:
    """Return the schema of a file.

    Raises:
        UsageError: The file is not JSON, or its JSON is no schema.
    """
    schema = read_json(path, "--schema")
    if not isinstance(schema, dict):
        words = "a JSON Schema is an object"
    elif schema and not set(schema) & set(KEYWORDS):
        words = f"it has no keyword of JSON Schema, only {', '.join(map(repr, list(schema)[:3]))}"
    else:
        try:
            check(None, schema_of(schema))
        except ConfigurationError as error:
            raise UsageError(f"--schema: {path!r}: {error.message}", hint=error.hint) from None
        return schema
    raise UsageError(
        f"--schema: {path!r} is no JSON Schema: {words}",
        hint='begin with {"type": "object", "properties": {"name": {"type": "string"}}}',
    )


def _explain(error: SchemaError) -> None:
    """Replace the hint, which is for Python code, with the reasons."""
    rest = len(error.reasons) - _MOST_REASONS
    more = [count_with_noun(rest, "more reason", "more reasons")] if rest > 0 else []
    words = [*error.reasons[:_MOST_REASONS], *more]
    if error.reasons and not error.message.endswith(words[0]):
        error.message = f"{error.message}: {'; '.join(words)}"
    error.hint = None


def _write(run: Run, parsed: Parsed[Any]) -> None:
    run.output.write_json(parsed.to_dict() if run.arguments.json else parsed.value)
    run.warn_all(parsed.response.warnings)


VERBS = {
    "parse": Verb(
        "Ask a model, and write its answer as one line of JSON that follows a JSON Schema. An "
        "answer that breaks the schema is sent back to the model.",
        "localproviders parse -m ollama/llama3.2 --schema city.json -f letter.txt \\\n"
        '  "Which city?"',
        _add_arguments,
        _run,
    )
}
