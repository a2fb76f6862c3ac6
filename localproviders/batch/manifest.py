"""The manifest of a run: a JSON file that says how the results were made.

It has the arguments of the run, the models with their digests, the servers, the versions, and the
size and the digest of the source. Content, such as the text of a template, is replaced by its
digest. A later run with the same output is compared with the manifest, so that the results of two
different runs are never mixed by accident.
"""

from __future__ import annotations

import json
import os
import platform
from hashlib import blake2b
from typing import Any, Dict, Iterable, List, Mapping, Optional

from localproviders._record import plain
from localproviders._version import __version__
from localproviders.batch.paths import RunPaths, sync_folder
from localproviders.errors import ConfigurationError, IntegrityError

_FORMAT = 1
# Arguments whose text is a name or a keyword, and not content. They are not replaced by digests.
_NAMES = ("model", "id_field", "method", "overflow", "expect_digest", "format", "thinking", "shard")
_NEW = ".new"


class SourceFacts:
    """The facts about a source. If they are equal in a later run, the source is unchanged.

    Attributes:
        rows: Number of rows.
        size: Size in bytes.
        digest: Digest of the content.
    """

    __slots__ = ("digest", "rows", "size")

    def __init__(self, rows: int, size: int, digest: str) -> None:
        self.rows: int = rows
        self.size: int = size
        self.digest: str = digest

    def to_dict(self) -> Dict[str, Any]:
        """Return the facts as plain JSON."""
        return {"rows": self.rows, "size": self.size, "digest": self.digest}


class Manifest:
    """The description of a run.

    Attributes:
        facts: The content of the file.
    """

    def __init__(self, facts: Dict[str, Any]) -> None:
        self.facts: Dict[str, Any] = facts

    @classmethod
    def make(cls, run: bytes, arguments: Mapping[str, Any], source: SourceFacts) -> Manifest:
        """Return the manifest of a new run.

        Args:
            run: Id of the run.
            arguments: The arguments that affect the results.
            source: The facts about the source.
        """
        return cls(
            {
                "manifest": _FORMAT,
                "run": run.hex(),
                "arguments": {name: _described(name, arguments[name]) for name in arguments},
                "source": source.to_dict(),
                "models": {},
                "servers": [],
                "versions": _versions(),
            }
        )

    @property
    def rows(self) -> int:
        """Number of rows of the source."""
        return int(self.facts["source"]["rows"])

    def has_source(self, size: int, digest: str) -> bool:
        """Return whether a source with these facts is the unchanged source of this manifest."""
        source = self.facts["source"]
        return bool(source["size"] == size and source["digest"] == digest)

    def differences(self, arguments: Mapping[str, Any]) -> List[str]:
        """Return the names of the given arguments that differ from those of this manifest."""
        given = {name: _described(name, arguments[name]) for name in arguments}
        known = self.facts["arguments"]
        return sorted(name for name in {*given, *known} if given.get(name) != known.get(name))

    @property
    def shard_rows(self) -> int:
        """Number of rows that belong to the shard of this run; all rows, if it has no shard."""
        shard = self.facts["arguments"].get("shard")
        if shard is None:
            return self.rows
        number, _, count = shard.partition(" of ")
        return len(range(int(number) - 1, self.rows, int(count)))

    def other_arguments(self, other: Manifest) -> List[str]:
        """Return the names of the arguments that differ in another manifest, except the shard."""
        own, their = self.facts["arguments"], other.facts["arguments"]
        names = {*own, *their} - {"shard"}
        return sorted(name for name in names if own.get(name) != their.get(name))

    def without_shard(self, others: Iterable[Manifest]) -> Manifest:
        """Return a manifest for the merged output, from this manifest and those of other shards."""
        made = Manifest(json.loads(self.encode()))
        made.facts["arguments"]["shard"] = None
        made.finish()
        for other in others:
            for model, digest in other.facts["models"].items():
                made.note_answer(model, digest, None)
            for server in other.facts["servers"]:
                made.note_answer("", None, server)
        made.facts["models"].pop("", None)
        return made

    def finish(self, is_finished: bool = True) -> bool:
        """Note whether all rows have a result; return whether this changed the manifest.

        The change also changes the digest of the manifest, which is recorded in the journal. So if
        the end of a finished journal is removed, the manifest does not fit the journal.
        """
        is_new = bool(self.facts.get("finished", False) != is_finished)
        self.facts["finished"] = is_finished
        return is_new

    def note_answer(self, model: str, digest: Optional[str], server: Optional[str]) -> bool:
        """Note which model of which server has answered; return whether one of them is new."""
        models, servers = self.facts["models"], self.facts["servers"]
        is_new = (model not in models or (models[model] is None and digest is not None)) and (
            len(models) < _MOST_NAMES
        )
        if is_new:
            models[model] = digest
        if server and server not in servers and len(servers) < _MOST_NAMES:
            servers.append(server)
            is_new = True
        return is_new

    def take_answers(self, other: Manifest, *, with_source: bool = False) -> None:
        """Copy the facts about the results and, with `with_source`, the source of another run."""
        for name in ("models", "servers", "ids", *(["source"] if with_source else [])):
            if name in other.facts:
                self.facts[name] = other.facts[name]

    def note_model(self, model: str, digest: Optional[str]) -> None:
        """Note the digest of the run's model. It may differ from the digest of an earlier run."""
        known = self.facts["models"].get(model)
        self.facts["models"][model] = digest or known

    def other_digest(self, model: str, digest: Optional[str]) -> Optional[str]:
        """Return the digest that a model had before if it has another one now; otherwise None."""
        known = self.facts["models"].get(model)
        return str(known) if known and digest and known != digest else None

    def write(self, paths: RunPaths) -> None:
        """Write the manifest, whose digest is already in a journal."""
        write_beside(paths, self.encode())
        put_in_place(paths)

    def encode(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(self.facts, indent=1, ensure_ascii=True).encode() + b"\n"


# Each row may name its own model. Only this many models, and servers, are noted.
_MOST_NAMES = 100


def digest_of(data: bytes) -> int:
    """Return the digest of bytes as a number of 64 bits."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _described(name: str, value: Any) -> Any:
    """Return an argument as the manifest has it: a number, a name, or the digest of content."""
    value = plain(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str) and name in _NAMES:
        return value
    text = json.dumps(value, sort_keys=True, default=str)
    return f"blake2b:{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _versions() -> Dict[str, str]:
    return {"localproviders": __version__, "python": platform.python_version()}


def write_beside(paths: RunPaths, data: bytes) -> None:
    """Write a new manifest beside the present one, and wait until it is on the disk."""
    with open(paths.manifest + _NEW, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def put_in_place(paths: RunPaths) -> None:
    """Replace the manifest with the new one beside it."""
    os.replace(paths.manifest + _NEW, paths.manifest)
    sync_folder(paths.folder)


def read_manifest(paths: RunPaths, digest: Optional[int]) -> Manifest:
    """Return the manifest with this digest.

    If a run ended while it replaced the manifest, the new one may still be beside the old one.

    Raises:
        IntegrityError: The manifest was changed, or is missing.
    """
    for path in (paths.manifest, paths.manifest + _NEW):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            continue
        if digest_of(data) == digest:
            return Manifest(json.loads(data))
    raise IntegrityError(
        f"{paths.manifest!r} was changed or is missing: it does not belong to its journal",
        path=paths.manifest,
        hint="restore the file from a copy, or begin a new run with another output",
    )


def recover_manifest(paths: RunPaths, digest: Optional[int]) -> Manifest:
    """Return the manifest with this digest, after finishing a replacement that was interrupted.

    Otherwise the next replacement would overwrite the only file that has the manifest.

    Raises:
        IntegrityError: The manifest was changed, or is missing.
    """
    found = read_manifest(paths, digest)
    if _digest_at(paths.manifest) != digest:
        put_in_place(paths)
    return found


def _digest_at(path: str) -> Optional[int]:
    try:
        with open(path, "rb") as file:
            return digest_of(file.read())
    except FileNotFoundError:
        return None


def refuse_other_shard(output: str) -> ConfigurationError:
    """Return the error for a run with another `shard` than the earlier results."""
    return ConfigurationError(
        f"{output!r} has the results of another part of the rows, so this run needs the same shard",
        hint="write to another output, and join both with merge",
    )


def refuse_other_columns(output: str) -> ConfigurationError:
    """Return the error for a table whose columns would differ from those of other results."""
    return ConfigurationError(
        f"{output!r} has other columns, and a table cannot mix them",
        hint="write to another output, or to a .jsonl file",
    )


def refuse_other_run(output: str, names: List[str]) -> ConfigurationError:
    """Return the error for a run whose arguments differ from those of the earlier results."""
    return ConfigurationError(
        f"{output!r} has results of a run with other arguments: {', '.join(names)}",
        hint="use the same arguments, write to another output, or pass force=True to mix both",
    )
