"""Results as JSONL: the environment in the first line, and then one line for each cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from localproviders.bench.results import Cell, Environment, Results
from localproviders.errors import ConfigurationError

#: Version of the format, in the first line. It changes when older versions of the package cannot
#: read new files.
FORMAT = 1

_HINT = "write a new file: localproviders bench -o FILE.jsonl"
# Maximum size of a file that is read, in bytes. Results have some kilobytes. The user may name a
# large file, such as a model, by mistake.
_MOST_BYTES = 16 * 2**20


def to_jsonl(results: Results) -> str:
    """Return results as JSONL in ASCII, with a line feed at the end of each line.

    The first line has ``"type": "environment"`` and the version of the format, and each further
    line has ``"type": "cell"``. The other keys are the fields of `Environment` and `Cell`.
    """
    first = {"type": "environment", "format": FORMAT, **results.environment.to_dict()}
    cells = [{"type": "cell", **cell.to_dict()} for cell in results.cells]
    return "".join(f"{json.dumps(each)}\n" for each in (first, *cells))


def read_results(path: Union[str, Path]) -> Results:
    """Return the results in a JSONL file that contains the text of `to_jsonl`.

    Blank lines are skipped.

    Raises:
        ConfigurationError: The file cannot be read, or a line is broken. The message names the file
            and the line.
    """
    return from_jsonl(_read(Path(path)), str(path))


def from_jsonl(text: str, name: str = "the text") -> Results:
    """Return the results in a text that `to_jsonl` returned.

    Args:
        text: The lines.
        name: Name of the file, for messages.

    Raises:
        ConfigurationError: A line is broken, or there is no environment. The message names the file
            and the line.
    """
    environment: Optional[Environment] = None
    cells: List[Cell] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            kind, data = _parse(line)
            if kind == "cell" and environment is not None:
                cells.append(Cell.from_dict(data))
            elif kind == "environment" and environment is None:
                environment = _environment(data)
            else:
                raise ValueError("the first line, and only this line, must be the environment")
        except (ValueError, TypeError, RecursionError) as error:
            raise _broken(f"{name}, line {number}", str(error)) from None
    if environment is None:
        raise _broken(name, "it has no lines")
    return Results(environment=environment, cells=tuple(cells))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise _broken(str(path), f"it has more than {_MOST_BYTES} bytes")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"the results in {path} cannot be read: {error.strerror or error}", hint=_HINT
        ) from error
    except UnicodeDecodeError as error:
        raise _broken(str(path), f"byte {error.start} is not UTF-8") from None


def _parse(line: str) -> Tuple[Any, Dict[str, Any]]:
    data = json.loads(line)
    if not isinstance(data, dict):
        raise ValueError("it is not an object")
    return data.pop("type", None), data


def _environment(data: Dict[str, Any]) -> Environment:
    version = data.pop("format", None)
    if version != FORMAT:
        raise ValueError(
            f"the format is {version!r}, and this version of localproviders reads {FORMAT}"
        )
    return Environment.from_dict(data)


def _broken(where: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: not a result of bench: {why}", hint=_HINT)
