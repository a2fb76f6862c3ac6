"""The public JSON-Schema-Test-Suite: where it comes from, and what of it is left out.

It is not part of this repository. The source archive of the package `jsonschema` carries it;
`suite.txt` names the version and its hash:

    python -m pip download --no-deps --no-binary jsonschema -d suite -r tests/unit/schema/suite.txt

Set LOCALPROVIDERS_JSON_SCHEMA_SUITE to the archive, and the tests read it from there.
"""

from __future__ import annotations

import json
import os
import tarfile
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

VARIABLE = "LOCALPROVIDERS_JSON_SCHEMA_SUITE"
ARCHIVE = os.environ.get(VARIABLE, "")
ABSENT = (
    f"the JSON-Schema-Test-Suite is absent: {VARIABLE} names no archive "
    "(tests/unit/schema/suite.py says how to get it)"
)
_FOLDER = "/tests/draft2020-12/"

_REMOTE = "its references lead out of the schema, or to an $anchor or a nested $id"
_UNEVALUATED = "unevaluatedProperties and unevaluatedItems are not claimed"
_DYNAMIC = "$dynamicRef is not claimed"

#: Files that are not run, because this package does not promise what they test.
LEFT_OUT: Dict[str, str] = {
    "optional/ecmascript-regex.json": "patterns are Python's re",
    "optional/non-bmp-regex.json": "patterns are Python's re",
    "optional/format/": "format asserts nothing",
}

#: Files of which some or all schemas are refused with an error that names the keyword. The other
#: cases of these files must have the right result.
REFUSED_FILES: Dict[str, str] = {
    "anchor.json": _REMOTE,
    "dynamicRef.json": _DYNAMIC,
    "refRemote.json": _REMOTE,
    "unevaluatedItems.json": _UNEVALUATED,
    "unevaluatedProperties.json": _UNEVALUATED,
    "vocabulary.json": "a dialect of one's own ($schema) is not claimed",
    "optional/anchor.json": _REMOTE,
    "optional/cross-draft.json": _REMOTE,
    "optional/dependencies-compatibility.json": "dependencies went with draft 2019-09",
    "optional/dynamicRef.json": _DYNAMIC,
    "optional/format-assertion.json": "a dialect of one's own ($schema) is not claimed",
    "optional/id.json": _REMOTE,
    "optional/unknownKeyword.json": _REMOTE,
}

#: Groups in the other files whose schema is refused.
REFUSED_GROUPS: Dict[Tuple[str, str], str] = {
    ("defs.json", "validate definition against metaschema"): _REMOTE,
    (
        "not.json",
        "collect annotations inside a 'not', even if collection is disabled",
    ): _UNEVALUATED,
    ("ref.json", "remote ref, containing refs itself"): _REMOTE,
    ("ref.json", "Recursive references between schemas"): _REMOTE,
    ("ref.json", "ref creates new scope when adjacent to keywords"): _UNEVALUATED,
    ("ref.json", "refs with relative uris and defs"): _REMOTE,
    ("ref.json", "relative refs with absolute uris and defs"): _REMOTE,
    ("ref.json", "$id must be resolved against nearest parent, not just immediate parent"): _REMOTE,
    ("ref.json", "order of evaluation: $id and $ref"): _REMOTE,
    ("ref.json", "order of evaluation: $id and $anchor and $ref"): _REMOTE,
    ("ref.json", "simple URN base URI with $ref via the URN"): _REMOTE,
    ("ref.json", "URN base URI with URN and JSON pointer ref"): _REMOTE,
    ("ref.json", "URN base URI with URN and anchor ref"): _REMOTE,
    ("ref.json", "URN ref with nested pointer ref"): _REMOTE,
    ("ref.json", "ref to if"): _REMOTE,
    ("ref.json", "ref to then"): _REMOTE,
    ("ref.json", "ref to else"): _REMOTE,
    ("ref.json", "ref with absolute-path-reference"): _REMOTE,
}


class Group(NamedTuple):
    """One schema of the suite, with the values that fit it and those that do not."""

    file: str
    name: str
    schema: Any
    cases: List[Dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def groups() -> List[Group]:
    """Return every group of the archive that is not left out; none without an archive."""
    return list(_read()) if ARCHIVE else []


def _read() -> Iterator[Group]:
    with tarfile.open(ARCHIVE) as archive:
        for member in archive.getmembers():
            _, here, file = member.name.partition(_FOLDER)
            content = archive.extractfile(member) if here and file.endswith(".json") else None
            if content is None or file.startswith(tuple(LEFT_OUT)):
                continue
            for group in json.load(content):
                yield Group(file, group["description"], group["schema"], group["tests"])
