"""The verb ``embed``: a vector for each input, as lines of JSON or as a matrix."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Union

from localproviders._did_you_mean import did_you_mean
from localproviders._redact import count_with_noun
from localproviders._signatures import Vector
from localproviders.cli import options
from localproviders.cli.inputs import Input, as_text, has_many_inputs, read_inputs, template_of
from localproviders.cli.output import Output, is_standard
from localproviders.cli.parser import Parser
from localproviders.cli.rows import Failures, id_of, name_error
from localproviders.cli.run import Run
from localproviders.cli.usage import UsageError
from localproviders.cli.values import whole
from localproviders.cli.vector_lines import VectorLines
from localproviders.cli.vector_matrix import VectorMatrix
from localproviders.cli.verbs import Verb
from localproviders.errors import (
    ContextOverflowError,
    EmbeddingError,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    ServerError,
)
from localproviders.provider import ModelProvider
from localproviders.types.requests import BATCH_CHARACTERS, BATCH_SIZE

_Writer = Union[VectorLines, VectorMatrix]
_WRITERS: Mapping[str, Callable[[Output], _Writer]] = {
    ".jsonl": VectorLines,
    ".npy": partial(VectorMatrix, has_header=True),
    ".f32": partial(VectorMatrix, has_header=False),
}
# If a request with a single text fails with one of these errors, the text may be the cause. Then
# other texts may succeed.
_ERRORS_OF_ONE_TEXT = (EmbeddingError, RequestRejectedError, ServerError)


class _Text(NamedTuple):
    """An input, and the text that is sent for it."""

    found: Input
    text: str


_Result = Union[Vector, ProviderError]


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the text")
    group = parser.add_argument_group("vectors")
    group.add_argument(
        "--ids", metavar="FILE", help="write the id of each vector to this file, one per line"
    )
    group.add_argument("--dimensions", metavar="N", type=whole(1), help="length of each vector")
    group.add_argument(
        "--truncate", action="store_true", help="let the server cut a text that is too long"
    )
    options.add_model(parser)
    options.add_some_of_request(parser, "--expect-digest")
    options.add_input(parser)


def _run(arguments: Namespace, run: Run) -> int:
    writer = _writer(arguments, run.output)
    ids = _open_ids(arguments, run)
    failures, dimensions = Failures(), arguments.dimensions
    for each, result in _results(arguments, run):
        index = failures.total
        if isinstance(result, ProviderError):
            writer.write_failure(index, each.found, result)
        else:
            dimensions = _same_length(result, dimensions, each.found)
            writer.write(index, each.found, result)
        if ids is not None:
            ids.write_line(_id_line(index, each.found))
        failures.count(isinstance(result, ProviderError))
    writer.end()
    return failures.report(run)


# --- the outputs ---------------------------------------------------------------------------


def _writer(arguments: Namespace, output: Output) -> _Writer:
    path = arguments.output
    suffix = ".jsonl" if is_standard(path) else os.path.splitext(path)[1].lower()
    if suffix not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise UsageError(
            f"-o {path!r} has no known suffix{did_you_mean(suffix, list(_WRITERS))}",
            hint=f"use one of {known}",
        )
    if arguments.json and suffix != ".jsonl":
        raise UsageError(f"--json and -o {path!r} cannot be used together", hint="-o FILE.jsonl")
    return _WRITERS[suffix](output)


def _open_ids(arguments: Namespace, run: Run) -> Optional[Output]:
    if arguments.ids is None:
        return None
    first, second = (
        "-" if is_standard(path) else os.path.realpath(path)
        for path in (arguments.output, arguments.ids)
    )
    if first == second:
        raise UsageError(f"--ids {arguments.ids!r} is also the file for the vectors")
    return run.open_output(arguments.ids)


def _id_line(index: int, found: Input) -> str:
    """Return the id of an input, or its index if it has none, as one line."""
    found_id = id_of(found)
    if found_id is None:
        return str(index)
    line = found_id if isinstance(found_id, str) else json.dumps(found_id, ensure_ascii=False)
    if len(line.splitlines()) > 1 or line.endswith("\n"):
        raise UsageError(
            f"the id of {found.name} has a line feed, but --ids writes one id per line",
            hint="use -o FILE.jsonl without --ids: its ids may have line feeds",
        )
    return line


def _same_length(vector: Vector, expected: Optional[int], found: Input) -> int:
    """Return the length of a vector, after comparing it with the expected length.

    Raises:
        ProtocolError: The length is not that of the earlier vectors or of ``--dimensions``.
    """
    if expected is not None and len(vector) != expected:
        raise ProtocolError(
            f"the vector of {found.name} has {count_with_noun(len(vector), 'number')} "
            f"instead of {expected}",
            hint="use one server and one model: localproviders models",
        )
    return len(vector)


# --- the requests --------------------------------------------------------------------------


def _results(arguments: Namespace, run: Run) -> Iterator[Any]:
    """Yield each text with its vector, or with its error if there are several texts."""
    fields: Dict[str, Any] = {
        "dimensions": arguments.dimensions,
        "truncate": arguments.truncate,
        "expect_digest": arguments.expect_digest,
    }
    provider, has_many, has_vector = run.provider(), has_many_inputs(arguments), False
    for texts in _batches(_texts(arguments)):
        try:
            found = _embed(run, provider, [each.text for each in texts], fields)
        except ProviderError as error:
            if not (has_many and _is_of_texts(error, len(texts), has_vector)):
                if len(texts) == 1:
                    name_error(texts[0].found, error)
                raise
            found = [error] * len(texts)
        if not has_many and isinstance(found[0], ProviderError):
            raise found[0]
        has_vector = has_vector or any(not isinstance(each, ProviderError) for each in found)
        yield from zip(texts, found)


def _texts(arguments: Namespace) -> Iterator[_Text]:
    template = template_of(arguments)
    for found in read_inputs(arguments):
        text = as_text(found, template)
        if not text:
            raise UsageError(f"{found.name} is empty")
        yield _Text(found, text)


def _batches(texts: Iterator[_Text]) -> Iterator[List[_Text]]:
    """Yield the texts in batches, each of which is one request."""
    batch: List[_Text] = []
    characters = 0
    for each in texts:
        is_full = len(batch) == BATCH_SIZE or characters + len(each.text) > BATCH_CHARACTERS
        if batch and is_full:
            yield batch
            batch, characters = [], 0
        batch.append(each)
        characters += len(each.text)
    if batch:
        yield batch


def _embed(
    run: Run, provider: ModelProvider, texts: List[str], fields: Mapping[str, Any]
) -> List[_Result]:
    """Return the vector or the error of each text.

    Raises:
        ProviderError: The call failed for all texts.
    """
    try:
        response = provider.embed(texts, **fields)
    except EmbeddingError as error:
        if not error.errors:
            raise
        return [error.errors.get(at) or error.embedded[at] for at in range(len(texts))]
    run.warn_all(response.warnings)
    return list(response)


def _is_of_texts(error: ProviderError, number: int, has_vector: bool) -> bool:
    """Return whether the error of a whole batch may be caused by the texts of this batch alone.

    Otherwise, the next batches would probably fail with this error, too.
    """
    if isinstance(error, ContextOverflowError):
        return True
    return number == 1 and has_vector and type(error) in _ERRORS_OF_ONE_TEXT


VERBS = {
    "embed": Verb(
        "Write the vector of each input. With -o, the suffix of the file chooses the format: "
        ".jsonl, .npy (NumPy) or .f32 (32-bit floats, little-endian). Without -o, each vector is a "
        "line of JSON.",
        "localproviders embed -m ollama/nomic-embed-text -f mails.csv \\\n"
        "  --template '{title}: {body}' -o mails.npy --ids mails.ids",
        _add_arguments,
        _run,
    )
}
