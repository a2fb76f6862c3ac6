"""The unit tests mirror the package: the same folders, and names that begin with a module's name."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Set

import pytest

import localproviders

_PACKAGE = Path(localproviders.__file__).parent
_UNIT = Path(__file__).parents[1] / "unit"
_TESTS = sorted(_UNIT.rglob("test_*.py"))

#: Test modules below ``tests/unit`` that are not named after a module, with the reason.
_OTHERS: Dict[str, str] = {}


def _modules(folder: Path) -> Set[str]:
    """Return the module names that the tests for a folder of the package may begin with."""
    if not folder.is_dir():  # the folder holds the tests of a single module
        return {""}
    inside = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    inside |= {path.parent.name for path in folder.glob("*/__init__.py")}
    return {name.lstrip("_") for name in (*inside, folder.name)}


def test_the_unit_tests_are_found() -> None:
    assert len(_TESTS) > 50
    assert [name for name in _OTHERS if not (_UNIT / name).is_file()] == []


def test_each_folder_is_named_after_a_package_or_a_module() -> None:
    folders = {path.parent.relative_to(_UNIT) for path in _TESTS}

    packages = {path.parent.relative_to(_PACKAGE) for path in _PACKAGE.rglob("__init__.py")}
    modules = {path.relative_to(_PACKAGE).with_suffix("") for path in _PACKAGE.rglob("*.py")}
    assert sorted(str(folder) for folder in folders - packages - modules) == []


@pytest.mark.parametrize("path", _TESTS, ids=lambda path: str(path.relative_to(_UNIT)))
def test_each_test_module_begins_with_the_name_of_its_module(path: Path) -> None:
    place = path.relative_to(_UNIT)
    if place.as_posix() in _OTHERS:
        return
    about = path.stem[len("test_") :]
    modules = _modules(_PACKAGE / place.parent)

    assert any(about == name or about.startswith(f"{name}_" if name else "") for name in modules), (
        f"the name of {place} begins with no module of localproviders/{place.parent.as_posix()}"
    )


def test_no_test_lies_outside_the_known_folders() -> None:
    known = {"unit", "promises", "project"}
    tests = _UNIT.parent

    assert {p.relative_to(tests).parts[0] for p in tests.rglob("test_*.py")} == known
