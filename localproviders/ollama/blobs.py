"""Files on their way to the server: their digests, and their upload (ollama-api §2.13)."""

from __future__ import annotations

import hashlib
import os
from pathlib import PurePosixPath
from typing import Callable, Dict, Mapping, Optional, Union

from localproviders._http.deadline import Call, Stop, stopped
from localproviders._http.transport import Transport
from localproviders._http.upload import PIECE, Upload, changed, open_file, read_piece
from localproviders.errors import ConfigurationError, ProviderError, StreamInterruptedError
from localproviders.ollama import wire
from localproviders.types.progress import OnProgress, Progress

Path = Union[str, "os.PathLike[str]"]

#: What `create` takes for files: one path, or paths by the names that the server is to use.
Files = Union[Path, Mapping[str, Path]]


def named_files(files: Optional[Files], what: str) -> Dict[str, str]:
    """Give paths by name; a single path gets the name of its file.

    Raises:
        ConfigurationError: A name is no relative path with forward slashes (§8).
    """
    if files is None:
        return {}
    if isinstance(files, (str, os.PathLike)):
        path = os.fspath(files)
        return {os.path.basename(path): path}
    found = {name: os.fspath(path) for name, path in files.items()}
    for name in found:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0]:
            raise ConfigurationError(
                f"{what} has the name {name!r}, and must have relative ones with forward slashes",
                hint=f'write {what}={{"model.gguf": "/where/it/is/model.gguf"}}',
            )
    return found


class Blobs:
    """Brings files to the server, each unless it is there already.

    Args:
        transport: Sends.
        call: The call whose limits bound it.
        on_progress: Told of each piece that has been read or sent.
    """

    def __init__(self, transport: Transport, call: Call, on_progress: Optional[OnProgress]) -> None:
        self._transport = transport
        self._call = call
        self._on_progress = on_progress

    def bring(self, files: Mapping[str, str]) -> Dict[str, str]:
        """Bring files to the server; give their digests by name.

        Raises:
            ConfigurationError: A file cannot be read, is empty, or changes meanwhile.
            ProviderError: The server did not take it.
        """
        return {name: self._bring(name, path) for name, path in files.items()}

    def _bring(self, name: str, path: str) -> str:
        size = _size(path)
        digest = "sha256:" + self._digest(name, path, size)
        if not self._is_there(digest):
            tell = self._teller(f"uploading {name}", digest, size)
            try:
                self._send(digest, Upload(path, size, tell))
            except StreamInterruptedError:
                # A server that has got it from somebody else meanwhile hangs up (§2.13).
                if not self._is_there(digest):
                    raise
        return digest

    def _send(self, digest: str, upload: Upload) -> None:
        path = wire.blob_path(digest)
        self._transport.open("POST", path, call=self._call, body=upload).read_all(PIECE)

    def _digest(self, name: str, path: str, size: int) -> str:
        """Read the file once: the digest stands in the path of the upload."""
        tell = self._teller(f"reading {name}", None, size)
        found, read = hashlib.sha256(), 0
        self._call.alone()
        with open_file(path) as file:
            for piece in iter(lambda: read_piece(file, path), b""):
                self._look_at_the_clock()
                found.update(piece)
                read += len(piece)
                tell(read)
        if read != size:
            raise changed(path)
        return found.hexdigest()

    def _look_at_the_clock(self) -> None:
        try:
            self._call.left()
        except Stop as stop:
            raise stopped(stop, self._call) from None

    def _is_there(self, digest: str) -> bool:
        """Ask first: a server that has it would not read the upload, and hang up."""
        try:
            self._transport.open("HEAD", wire.blob_path(digest), call=self._call).release()
        except ProviderError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _teller(self, status: str, digest: Optional[str], size: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            if self._on_progress is not None:
                self._on_progress(
                    Progress(
                        status=status,
                        digest=digest,
                        completed_bytes=done,
                        total_bytes=size,
                        fraction=min(done / size, 1.0),
                    )
                )

        return tell


def _size(path: str) -> int:
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
    if not size:
        raise ConfigurationError(f"the file {path!r} is empty", hint="pass a GGUF file")
    return size
