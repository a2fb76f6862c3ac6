"""The names and ids of inputs for the output, and the number of inputs that failed."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any, Dict, Iterator, Mapping

from localproviders.cli.inputs import Input
from localproviders.cli.output import print_error
from localproviders.cli.run import Run
from localproviders.cli.usage import SOME_FAILED, SUCCESS
from localproviders.errors import ConfigurationError, ProviderError

# The fields of a row that may have its id.
_ID_FIELDS = ("id", "custom_id")


def id_of(found: Input) -> Any:
    """Return the id of an input; None if it has none.

    The id is the field ``id`` or ``custom_id`` of a row, or the path of a file that is one input.
    """
    if isinstance(found.value, Mapping):
        ids = (found.value.get(key) for key in _ID_FIELDS)
        return next((each for each in ids if each not in (None, "")), None)
    return found.file if found.is_file else None


def labels_of(found: Input) -> Dict[str, Any]:
    """Return the fields that identify an input in its line of the output.

    The field ``input`` is the name of the row or the file. A row with an id has the field ``id``,
    too. A text on the command line has no such fields, and neither has standard input if it is one
    text.
    """
    if not (found.is_row or found.is_file):
        return {}
    labels = {"input": found.name}
    has_id = found.is_row and id_of(found) is not None
    return {**labels, "id": id_of(found)} if has_id else labels


@contextlib.contextmanager
def errors_named(found: Input) -> Iterator[None]:
    """Add an input's name to the message of an error about it, if the input is a row or a file.

    A `ConfigurationError` is not changed, because it concerns the arguments.
    """
    try:
        yield
    except ProviderError as error:
        name_error(found, error)
        raise


def name_error(found: Input, error: ProviderError) -> None:
    """Add the name of an input to the message of an error, as `errors_named` does."""
    if labels_of(found) and not isinstance(error, ConfigurationError):
        error.message = f"{found.name}: {error.message}"


class Failures:
    """Counts the inputs, and those of them that failed.

    Attributes:
        failed: Number of inputs that failed.
        total: Number of all inputs so far.
    """

    def __init__(self) -> None:
        self.failed: int = 0
        self.total: int = 0

    def count(self, is_failed: bool) -> None:
        """Count one more input."""
        self.total += 1
        self.failed += is_failed

    def report(self, run: Run) -> int:
        """Write the number of failures, if any, to standard error; return the exit code."""
        if not self.failed:
            return SUCCESS
        path = shlex.quote(run.arguments.output or "OUTPUT")
        print_error(
            f"localproviders {run.verb}: {self.failed} of {self.total} inputs failed "
            f"(hint: grep '\"error\": {{' {path})"
        )
        return SOME_FAILED
