"""Lazy names: importing the package loads no heavy module, and each public name exists."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest

import localproviders
from localproviders import errors

_PARENT = Path(localproviders.__file__).parent.parent

# Without the module site, so that nothing is loaded before. The hook receives all audit events.
_CHILD = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
read, events = [], []
plain = type(os.environ).__getitem__
def spy(self, key):
    read.append(str(key))
    return plain(self, key)
type(os.environ).__getitem__ = spy
before = set(sys.modules)
sys.addaudithook(lambda event, args: events.append((event, str(args[0]) if args else "")))
exec(sys.argv[2])
seen = list(events)
print(json.dumps({"modules": sorted(set(sys.modules) - before), "events": seen, "read": read}))
"""
_HEAVY = {"requests", "urllib3", "ssl", "socket", "asyncio", "concurrent", "subprocess", "http"}


def _run(code: str) -> Dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", _CHILD, str(_PARENT), code],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return dict(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy_and_touches_nothing() -> None:
    seen = _run("import localproviders")
    assert "localproviders" in seen["modules"]
    assert not _HEAVY & {name.split(".")[0] for name in seen["modules"]}
    assert seen["read"] == []
    opened = [path for event, path in seen["events"] if event == "open"]
    assert [p for p in opened if not p.endswith((".py", ".pyc", ".so", ".pyd"))] == []
    kinds = ("socket.", "subprocess.", "os.fork", "os.system", "_thread.")
    assert [event for event, _ in seen["events"] if event.startswith(kinds)] == []


def test_schemas_are_loaded_when_they_are_needed_and_load_nothing_heavy() -> None:
    assert "localproviders.schema" not in _run("import localproviders")["modules"]
    loaded = _run("import localproviders.schema")["modules"]
    unwanted = {*_HEAVY, "fractions", "decimal", "difflib", "urllib", "pydantic", "jsonschema"}
    assert not unwanted & {name.split(".")[0] for name in loaded}


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["OllamaProvider", "LMStudioProvider"])
def test_making_a_provider_loads_no_requests_and_opens_no_socket(name: str) -> None:
    seen = _run(f"import localproviders; localproviders.{name}()")
    assert not {"requests", "urllib3"} & set(seen["modules"])
    connecting = ("socket.connect", "socket.getaddrinfo", "socket.__new__")
    assert [event for event, _ in seen["events"] if event.startswith(connecting)] == []


def test_the_package_offers_at_most_ninety_names() -> None:
    assert len(localproviders.__all__) <= 90


@pytest.mark.parametrize("name", localproviders.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(localproviders, name) is not None
    assert name in dir(localproviders)


def test_the_names_for_type_checkers_are_the_public_names() -> None:
    tree = ast.parse(Path(localproviders.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {a.name for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert seen | {"__version__"} == set(localproviders.__all__)


def test_every_error_is_a_public_name() -> None:
    every = {
        name
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.ProviderError)
    }
    assert every <= set(localproviders.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Olama'"):
        localproviders.Olama  # noqa: B018  # looking is the test


_MISSPELT = """\
import localproviders, localproviders.testing
from localproviders import OllamaProvider, types
from localproviders.types import PullProgress
from localproviders import OlamaProvider
from localproviders.testing import FakeOlama
localproviders.Mesage
localproviders.types.Mesage
types.Mesage
localproviders.testing.FakeOlama
localproviders.exporters.PrometeusExporter
localproviders.Message, types.Message, localproviders.testing.FakeOllama
"""


@pytest.mark.slow  # a checker reads the whole package
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_misspelt_name_is_an_error_to_a_type_checker(checker: str, tmp_path: Path) -> None:
    pytest.importorskip(checker)
    script = tmp_path / "script.py"
    script.write_text(_MISSPELT, encoding="utf-8")
    options = ["--follow-imports=silent", f"--cache-dir={tmp_path}", "--config-file="]
    done = subprocess.run(
        [sys.executable, "-m", checker, *(options if checker == "mypy" else []), str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(_PARENT), "MYPYPATH": str(_PARENT)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 1
    wrong = re.findall(r"script\.py:(\d+):.*error", done.stdout)
    assert sorted(map(int, wrong)) == [3, 4, 5, 6, 7, 8, 9, 10], done.stdout
