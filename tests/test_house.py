"""The floors of the house, read from the syntax trees."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest

import localproviders

_ROOT = Path(localproviders.__file__).parent
_FLOORS = {
    "errors": 0, "secret": 0, "_values": 0, "_version": 0, "types": 0,
    "_record": 0, "_fields": 0, "_doors": 0,
    "_http": 1, "settings": 1, "telemetry": 1, "schema": 1,
    "provider": 2, "capabilities": 2, "_backend": 2, "_wire": 2, "_tokens": 2, "_thinking": 2, "_template": 2,
    "structured": 2, "tool_loop": 2, "_asking": 2, "config": 2,
    "ollama": 3, "openai_compatible": 3, "lmstudio": 3,
    "engine": 4, "local": 4, "discovery": 4, "exporters": 4,
    "cli": 5, "testing": 5, "__main__": 5,
}  # fmt: skip
# Imports inside functions, which the design names: requests at first use, what a plain chat
# does not need, the command's own, and the fake servers, which every run of pytest would load.
_LAZY = {
    ("localproviders._http.transport", "localproviders._http.session"),
    ("localproviders._backend.abilities", "localproviders.capabilities"),
    ("localproviders._backend.vectors", "localproviders._backend.embedding"),
    ("localproviders.provider.answers", "localproviders._tokens"),
    ("localproviders.provider.answers", "localproviders.schema"),
    ("localproviders.provider.conversations", "localproviders.structured"),
    ("localproviders.provider.conversations", "localproviders.tool_loop"),
    ("localproviders.ollama.library", "localproviders.ollama.blobs"),
    ("localproviders.ollama.library", "localproviders.ollama.progress"),
    ("localproviders.ollama.provider", "localproviders._backend.embedding"),
    ("localproviders.testing.plugin", "localproviders.testing"),
}
_LAZY_ROOMS = ("localproviders.cli", "localproviders.__main__")
_NETWORK = {"requests", "urllib3", "socket", "ssl", "http"}
_NETWORK_ROOMS = {"_http", "testing", "engine"}


def _name(path: Path) -> str:
    parts = ["localproviders", *path.relative_to(_ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Packages whose names are fetched at first use: their imports for checkers tell which rooms.
_DOORS = (
    "localproviders",
    "localproviders.types",
    "localproviders.ollama.wire",
    "localproviders.openai_compatible.wire",
    "localproviders.lmstudio.wire",
)

_TREES = {_name(path): ast.parse(path.read_text("utf-8")) for path in _ROOT.rglob("*.py")}
_PATHS = {_name(path): path for path in _ROOT.rglob("*.py")}
_MODULES = sorted(set(_TREES) - {"localproviders"})


def _room(module: str) -> str:
    return module.split(".")[1]


def _imports(
    tree: ast.AST, inside: bool = False, typing: bool = False
) -> Iterator[Tuple[str, bool, bool]]:
    """Give each imported module, whether inside a function, and whether for checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, inside, typing
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in _TREES else str(node.module)), inside, typing
        else:
            function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            yield from _imports(node, inside or function, typing or checking)


def _ours(module: str) -> List[Tuple[str, bool, bool]]:
    return [found for found in _imports(_TREES[module]) if found[0] in _MODULES]


@pytest.mark.parametrize("module", _MODULES)
def test_a_module_lives_on_a_known_floor_and_imports_nothing_from_above(module: str) -> None:
    floor = _FLOORS[_room(module)]
    above = {name for name, _, _ in _ours(module) if _FLOORS[_room(name)] > floor}
    assert above == set()


def test_no_module_imports_itself_through_others() -> None:
    """Imports at first use count: a circle is one, whenever it closes."""
    graph = {
        module: {n for n, _, typing in _ours(module) if not typing or module in _DOORS}
        for module in _MODULES
    }
    done: Set[str] = set()

    def walk(module: str, road: Tuple[str, ...]) -> None:
        assert module not in road, " -> ".join((*road, module))
        if module not in done:
            for name in sorted(graph[module]):
                walk(name, (*road, module))
            done.add(module)

    for module in _MODULES:
        walk(module, ())


@pytest.mark.parametrize("module", _MODULES)
def test_own_modules_are_imported_inside_functions_only_where_listed(module: str) -> None:
    hidden = {(module, name) for name, inside, _ in _ours(module) if inside}
    if not module.startswith(_LAZY_ROOMS):
        assert hidden <= _LAZY


def test_every_lazy_import_that_is_listed_is_there() -> None:
    there = {(module, name) for module in _MODULES for name, inside, _ in _ours(module) if inside}
    assert there >= _LAZY


@pytest.mark.parametrize("package", _DOORS)
def test_a_door_offers_checkers_and_everybody_else_the_same(package: str) -> None:
    body: List[Any] = _TREES[package].body  # type: ignore[attr-defined]  # a module has one
    (door,) = (n.value for n in body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Call))
    rooms = {room: set(names) for room, names in ast.literal_eval(door.args[1]).items()}
    (block,) = (node for node in body if isinstance(node, ast.If))
    told = {n.module: {alias.name for alias in n.names} for n in block.body}
    modules = told.pop(package, set())
    assert rooms == told
    offered = set(import_module(package).__all__) - {"__version__"}
    assert offered == modules.union(*rooms.values())
    # Python puts a module that was loaded where the door would give the name.
    assert not {f"{package}.{name}" for name in offered - modules} & {*_TREES}


@pytest.mark.parametrize("module", sorted(_TREES))
def test_only_the_rooms_of_the_network_know_the_network(module: str) -> None:
    if module != "localproviders" and _room(module) in _NETWORK_ROOMS:
        return
    assert not {n for n, _, _ in _imports(_TREES[module]) if n.split(".")[0] in _NETWORK}


@pytest.mark.parametrize("module", sorted(_TREES))
def test_no_module_is_longer_than_four_hundred_lines(module: str) -> None:
    assert len(_PATHS[module].read_text("utf-8").splitlines()) <= 400


_CLASSES: Dict[str, ast.ClassDef] = {
    node.name: node
    for tree in _TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def _documented_above(cls: ast.ClassDef, method: str) -> bool:
    for base in cls.bases:
        above = _CLASSES.get(getattr(base, "id", getattr(base, "attr", "")))
        if above is None:
            continue
        own: List[Any] = [n for n in above.body if getattr(n, "name", "") == method]
        if any(ast.get_docstring(node) for node in own) or _documented_above(above, method):
            return True
    return False


def _bare(node: Any, where: str) -> Iterator[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    for child in node.body:
        if not isinstance(child, kinds) or child.name.startswith("_"):
            continue
        overload = any(getattr(d, "id", "") == "overload" for d in child.decorator_list)
        inherited = overload or (
            isinstance(node, ast.ClassDef) and _documented_above(node, child.name)
        )
        if not ast.get_docstring(child) and not inherited:
            yield f"{where}.{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from _bare(child, f"{where}.{child.name}")


@pytest.mark.parametrize("module", sorted(_TREES))
def test_every_public_thing_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(_TREES[module])
    assert list(_bare(_TREES[module], module)) == []
