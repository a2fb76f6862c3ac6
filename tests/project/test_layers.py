"""Each module imports only from its own layer and the layers below.

The imports are read from the syntax trees of the modules.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest

import localproviders

_ROOT = Path(localproviders.__file__).parent
_LAYERS = {
    "errors": 0, "secret": 0, "_version": 0, "types": 0,
    "_signatures": 0, "_interrupts": 0, "_refusals": 0,
    "_record": 0, "_frozen_dataclass": 0, "_did_you_mean": 0, "_habits": 0, "_other_keywords": 0, "_lazy": 0, "_patterns": 0, "_redact": 0, "_address": 0, "_credentials": 0, "_template": 0, "_new_file": 0, "_file_owner": 1, "_lock": 1,
    "_http": 1, "settings": 1, "telemetry": 1, "schema": 1,
    "provider": 2, "_chat_request": 2, "_rerank_verb": 2, "_decision_verbs": 2, "kinds": 2, "_look": 2, "_keep_loaded": 2, "capabilities": 2, "_http_provider": 2, "_dialect": 2, "_token_estimate": 2,
    "structured": 2, "tool_loop": 2, "_tool_call": 2, "_parallel": 0, "_shared_deadline": 2, "config": 2,
    "conversation": 3, "ollama": 3, "openai_compatible": 3, "openai": 3, "openrouter": 3, "lmstudio": 3, "llamacpp": 3, "anthropic": 3,
    "_create_provider": 4, "batch": 4, "engine": 4, "local": 4, "discovery": 4, "exporters": 4, "doctor": 4,
    "cli": 5, "testing": 5, "__main__": 5,
    "bench": 4,
}  # fmt: skip
# Allowed imports inside functions: the session, so that requests is loaded with the first request,
# the tables that only an error needs, and the fake servers, which otherwise every run of pytest would load with this package's plugin.
_LAZY = {
    ("localproviders._did_you_mean", "localproviders._habits"),
    ("localproviders._did_you_mean", "localproviders._other_keywords"),
    ("localproviders._http.transport", "localproviders._http.session"),
    ("localproviders.testing.plugin", "localproviders.testing"),
}
# The command line may import any module inside a function.
_LAZY_PACKAGES = ("localproviders.cli", "localproviders.__main__")
# Functions whose first argument is the name of a module, which they import at first use.
_LAZY_CALLS = {"LazyModule", "LazyPart", "import_module"}
_NETWORK = {"requests", "urllib3", "socket", "ssl", "http"}
_NETWORK_PACKAGES = {"_http", "_address", "testing", "engine", "doctor"}


def _name(path: Path) -> str:
    parts = ["localproviders", *path.relative_to(_ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


_TREES = {_name(path): ast.parse(path.read_text("utf-8")) for path in _ROOT.rglob("*.py")}
_PATHS = {_name(path): path for path in _ROOT.rglob("*.py")}
MODULES = sorted(set(_TREES) - {"localproviders"})


def _part(module: str) -> str:
    """Return the module or package below `localproviders` that a module belongs to."""
    return module.split(".")[1]


def _imports(tree: ast.AST, inside: bool = False) -> Iterator[Tuple[str, bool]]:
    """Yield each imported module, and whether it is imported inside a function.

    Imports for type checkers count, and so do the names in `_LAZY_CALLS`.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in _TREES else str(node.module)), inside
        else:
            if _is_lazy(node):
                yield _lazy_name(node), False
            function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(node, inside or function)


def _is_lazy(node: ast.AST) -> bool:
    called = node.func if isinstance(node, ast.Call) else None
    return getattr(called, "id", getattr(called, "attr", "")) in _LAZY_CALLS


def _lazy_name(node: Any) -> str:
    """Return the module that a lazy import names; an empty text if the name is computed."""
    return str(getattr(node.args[0], "value", "")).partition(":")[0]


_IMPORTS = {module: list(_imports(tree)) for module, tree in _TREES.items()}
_MODULES = frozenset(MODULES)


def _package_imports(module: str) -> List[Tuple[str, bool]]:
    """Return the imports of a module that are modules of this package."""
    return [found for found in _IMPORTS[module] if found[0] in _MODULES]


def test_a_module_has_a_layer_and_imports_nothing_from_the_layers_above() -> None:
    above = {
        (module, name)
        for module in MODULES
        for name, _ in _package_imports(module)
        if _LAYERS[_part(name)] > _LAYERS[_part(module)]
    }
    assert above == set()


def _loaded_with(module: str) -> Iterator[str]:
    """Yield the modules that a module imports, with the packages that contain them, if not it."""
    for name, _ in _package_imports(module):
        while name in _MODULES and not module.startswith(f"{name}."):
            yield name
            name = name.rpartition(".")[0]


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: {*_loaded_with(module)} - {module} for module in MODULES}
    done: Set[str] = set()

    def walk(module: str, path: Tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for name in sorted(graph[module]):
                walk(name, (*path, module))
            done.add(module)

    for module in MODULES:
        walk(module, ())


def test_own_modules_are_imported_inside_functions_only_where_listed() -> None:
    hidden = {
        (module, name)
        for module in MODULES
        if not module.startswith(_LAZY_PACKAGES)
        for name, inside in _package_imports(module)
        if inside
    }
    assert hidden <= _LAZY


def lazy_modules(module: str) -> Set[str]:
    """Return the modules of this package that a module imports lazily by their names."""
    return {_lazy_name(node) for node in ast.walk(_TREES[module]) if _is_lazy(node)} & {*MODULES}


def _is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


@pytest.mark.parametrize("module", [module for module in MODULES if lazy_modules(module)])
def test_a_lazy_module_is_also_imported_for_type_checkers_and_not_at_import_time(
    module: str,
) -> None:
    body: List[Any] = _TREES[module].body  # type: ignore[attr-defined]  # a module has one
    imports: Dict[bool, Set[str]] = {True: set(), False: set()}
    for node in body:
        lines = node.body if _is_for_checkers(node) else [node]
        for line in lines:
            if isinstance(line, (ast.Import, ast.ImportFrom)):
                found = _imports(ast.Module(body=[line], type_ignores=[]))
                imports[_is_for_checkers(node)].update(name for name, _ in found)
    assert lazy_modules(module) <= imports[True]
    assert lazy_modules(module) & imports[False] == set()


def _lazy_lines() -> Iterator[Tuple[str, str, str]]:
    """Yield each import of this package inside a function: importer, imported module, source line."""
    for module in MODULES:
        lines = _PATHS[module].read_text("utf-8").splitlines()
        for function in ast.walk(_TREES[module]):
            if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for node in ast.walk(function):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    for name, _ in _imports(ast.Module(body=[node], type_ignores=[])):
                        if name in MODULES:
                            yield module, name, lines[node.lineno - 1]


def test_few_own_modules_are_imported_inside_functions_and_each_line_says_why() -> None:
    found = [*_lazy_lines()]
    # Each verb of the command needs other modules, so the command imports most of them late.
    counted = {(m, name) for m, name, _ in found if not m.startswith(_LAZY_PACKAGES)}
    assert len(counted) <= 7
    assert [line for _, _, line in found if "#" not in line] == []


def test_every_listed_lazy_import_exists() -> None:
    existing = {
        (module, name) for module in MODULES for name, inside in _package_imports(module) if inside
    }
    assert existing >= _LAZY


@pytest.mark.parametrize("package", ["localproviders", "localproviders.testing"])
def test_a_package_offers_the_same_names_to_checkers_and_at_run_time(package: str) -> None:
    body: List[Any] = _TREES[package].body  # type: ignore[attr-defined]  # a module has one
    (call,) = (n.value for n in body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Call))
    table = {module: set(names) for module, names in ast.literal_eval(call.args[1]).items()}
    block = next(node for node in body if isinstance(node, ast.If))
    imported = {n.module: {alias.name for alias in n.names} for n in block.body}
    modules = imported.pop(package, set())
    assert table == imported
    offered = set(import_module(package).__all__) - {"__version__"}
    assert offered == modules.union(*table.values())
    # No name may also be a submodule: Python sets each imported submodule as an attribute of its
    # package, where it would hide the name.
    assert not {f"{package}.{name}" for name in offered - modules} & {*_TREES}


def test_only_the_package_and_its_test_kit_look_names_up_lazily() -> None:
    """In the other packages, imports show where a name is defined."""
    lazy = {
        module
        for module, path in _PATHS.items()
        if re.search(
            r"^ {0,4}(def )?__getattr__\b(?!\(self)", path.read_text("utf-8"), re.MULTILINE
        )
    }
    # pytest loads `localproviders.testing` with its plugin in every run.
    packages = {"localproviders", "localproviders.testing"}
    # The function of these modules only raises the error for a name of another client.
    assert lazy == {*packages, "localproviders.errors", "localproviders.types"}


def test_only_the_network_packages_import_network_modules() -> None:
    found = {
        (module, name)
        for module in _TREES
        if module == "localproviders" or _part(module) not in _NETWORK_PACKAGES
        for name, _ in _IMPORTS[module]
        if name.split(".")[0] in _NETWORK
    }
    assert found == set()


def _docstrings(tree: ast.AST) -> Set[int]:
    """Return the line numbers of all docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        n.body[0] for n in ast.walk(tree) if isinstance(n, kinds) and ast.get_docstring(n)
    ]
    return {
        line for node in docstrings for line in range(node.lineno, int(node.end_lineno or 0) + 1)
    }


def lines_of_code(module: str) -> int:
    """Return the number of lines of a module without docstrings, comments and blank lines."""
    text = _PATHS[module].read_text("utf-8")
    ignored = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }  # fmt: skip
    found: Set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in ignored:
            found.update(range(token.start[0], token.end[0] + 1))
    return len(found - _docstrings(_TREES[module]))


def test_no_module_has_more_than_four_hundred_lines_of_code() -> None:
    lines = {module: lines_of_code(module) for module in _TREES}
    assert {module: count for module, count in lines.items() if count > 400} == {}


_CLASSES: Dict[str, ast.ClassDef] = {
    node.name: node
    for tree in _TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def _is_documented_in_base(cls: ast.ClassDef, method: str) -> bool:
    """Return whether a base class in this package documents a method."""
    for base in cls.bases:
        above = _CLASSES.get(getattr(base, "id", getattr(base, "attr", "")))
        if above is None:
            continue
        own: List[Any] = [n for n in above.body if getattr(n, "name", "") == method]
        if any(ast.get_docstring(node) for node in own) or _is_documented_in_base(above, method):
            return True
    return False


def _undocumented(node: Any, where: str) -> Iterator[str]:
    """Yield the public classes and functions without a docstring."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for child in node.body:
        if not isinstance(child, kinds) or child.name.startswith("_"):
            continue
        overload = any(getattr(d, "id", "") == "overload" for d in child.decorator_list)
        inherited = overload or (
            isinstance(node, ast.ClassDef) and _is_documented_in_base(node, child.name)
        )
        if not ast.get_docstring(child) and not inherited:
            yield f"{where}.{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, f"{where}.{child.name}")


def test_every_public_class_and_function_has_a_docstring() -> None:
    assert [module for module, tree in _TREES.items() if not ast.get_docstring(tree)] == []
    assert [name for module, tree in _TREES.items() for name in _undocumented(tree, module)] == []
