"""Reads JSON files that an option names, such as the file of ``--schema``."""

from __future__ import annotations

import json
import shlex
from typing import Any, Dict, List, Tuple

from localproviders.cli.inputs import read_text, refuse_constant
from localproviders.cli.usage import UsageError


def read_json(path: str, option: str) -> Any:
    """Return the value of a JSON file, which is in UTF-8.

    Args:
        path: The path of the file.
        option: The option that names the file, for the error.

    Raises:
        UsageError: The file cannot be read, is not JSON, or has a key twice in one object.
    """
    text = read_text(path, "utf-8", hint=f"iconv -f latin1 -t utf-8 {shlex.quote(path)}")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        words = f"{error.msg}, line {error.lineno}, column {error.colno}"
        raise _no_json(path, option, words) from None
    except RecursionError:
        raise _no_json(path, option, "it is nested too deeply") from None
    except ValueError as error:
        raise _no_json(path, option, str(error)) from None


def _no_json(path: str, option: str, words: str) -> UsageError:
    return UsageError(
        f"{option}: {path!r} is not usable JSON: {words}",
        hint=f"python -m json.tool {shlex.quote(path)}",
    )


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """Return a dictionary, or raise `ValueError` if a key occurs twice: `json` drops one value."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
    return made
