"""The build backend: setuptools, with a reproducible source archive.

setuptools writes each file's time, mode and owner on the builder's machine into the archive.
Here every member has the time of ``SOURCE_DATE_EPOCH``, owner 0 and one of two modes.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  # all other hooks are those of setuptools

# Wheels of setuptools follow the variable, too. Without it, any fixed time will do.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1577836800")
# And they keep the modes of the files that are made for them.
os.umask(0o022)


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, Any]] = None) -> str:
    """Build the source archive, and return its name."""
    name = build_meta.build_sdist(sdist_directory, config_settings)
    path = Path(sdist_directory, name)
    try:
        members = _members(path)
        _check_no_link(members)
        path.write_bytes(_packed(members))
    except BaseException:
        path.unlink()
        raise
    return name


def _check_no_link(members: List[Tuple[str, bool, bytes]]) -> None:
    """Refuse a link, and a file reached through one: it may be a private file, such as a key."""
    here = os.path.realpath(os.curdir)
    for name, _, _ in members:
        place = os.path.join(here, name.partition("/")[2])
        if os.path.realpath(place) != place:
            raise ValueError(f"{place!r} is a link, or is reached through one")


def _members(path: Path) -> List[Tuple[str, bool, bytes]]:
    """Return name, whether executable, and content of each file, in the order of the names."""
    with tarfile.open(str(path)) as archive:
        files = [(member, archive.extractfile(member)) for member in archive]
        found = [(m.name, bool(m.mode & 0o100), file.read()) for m, file in files if file]
    return sorted(found)


def _packed(members: List[Tuple[str, bool, bytes]]) -> bytes:
    time = int(os.environ["SOURCE_DATE_EPOCH"])
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, packed, mtime=time) as file, tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT
    ) as archive:
        for name, is_executable, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), time
            info.mode = 0o755 if is_executable else 0o644
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()
