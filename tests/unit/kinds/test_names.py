"""The name of a kind occurs only in its own folder, and in listed places with a reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Dict, Iterator, Set

import pytest

import localproviders
from localproviders import kinds

_ROOT = Path(localproviders.__file__).parent

_PUBLIC = "a public name of the package"
_HINT = "the words of an error or of help, which show a user an example"
_HELP = "the examples of a help page"
_ENGINE = "it serves a file of this format with the engine, which speaks this dialect"
_FORMAT = "the format of a model's files, not the kind of a server"
_DIALECT = "OpenAI's dialect, which many kinds of servers speak"
_WORDS = "what a real server said, word by word"
#: Modules outside the folders of the kinds that contain the name of a kind, and the reason.
EXCEPTIONS: Dict[str, str] = {
    "__init__.py": _PUBLIC,
    "kinds.py": "the table of the folders, the only one",
    "_address.py": "ollama.com is a form of OLLAMA_HOST that has its own scheme and port",
    "_dialect/error_answers.py": "the hint of an error names the kind that a refusal shows; no"
    " module of a kind is loaded for it",
    "_did_you_mean.py": _HINT,
    "_habits.py": _HINT,
    "_other_keywords.py": _HINT,
    "cli/batch.py": _HELP,
    "cli/bench.py": _HELP,
    "cli/configuration.py": "the file that `config init` writes has examples",
    "cli/decide.py": _HELP,
    "cli/embed.py": _HELP,
    "cli/hosts.py": _DIALECT,
    "cli/lists.py": _HELP,
    "cli/memory.py": _HELP,
    "cli/parse.py": _HELP,
    "cli/rerank.py": _HELP,
    "cli/serve_fake.py": _HELP,
    "cli/transfers.py": _HELP,
    "config/cascade.py": _HINT,
    "config/keys.py": "examples of keys, for the documentation",
    "config/values.py": "`ServerConfig.gguf` is a public field",
    "doctor/asking.py": "`ServerConfig.gguf` is a public field",
    "doctor/products.py": "commands, folders and variables of single servers, one row each",
    "discovery/probe.py": "refusals of unknown servers are read as OpenAI's dialect",
    "local/base.py": _HINT,
    "local/gguf.py": _ENGINE,
    "local/failover.py": "a cloud model's name is recognised on any server: Ollama speaks other dialects",
    "local/servers.py": _HINT,
    "provider.py": _HINT,
    "types/other_messages.py": "the message objects of OpenAI's client",
    "testing/__init__.py": _PUBLIC,
    "testing/decisions.py": _DIALECT,
    "testing/openai_answers.py": _DIALECT,
    "testing/openai_decisions.py": _DIALECT,
    "testing/openai_rankings.py": _DIALECT,
    "testing/faults/streams.py": _WORDS,
    "testing/faults/transfers.py": _WORDS,
    "testing/products.py": "fakes of many programs that share one kind, and their words",
    "testing/plugin.py": "fixtures named after their fakes, a public name each",
    "testing/values.py": _FORMAT,
}


def _own_folders() -> Set[str]:
    """Return the folders of the kinds, and the folders or modules of their fakes."""
    described = kinds.registered()[: len(kinds._BUILT_IN)]
    places = [text.partition(":")[0] for text in kinds._BUILT_IN.values()]
    own = {place.split(".")[1] + "/" for place in places}
    for kind in described:
        if kind.fake is not None:
            module = kind.fake.partition(":")[0].split(".", 1)[1].replace(".", "/")
            own.add(f"{module}/" if (_ROOT / module).is_dir() else f"{module}.py")
    return own


def _pattern() -> str:
    """Return a pattern for the names of all kinds, their classes, hosts and variables."""
    described = kinds.registered()[: len(kinds._BUILT_IN)]
    words = {kind.name for kind in described} | {kind.name.replace("-", "_") for kind in described}
    for kind in described:
        words |= {text.partition(":")[2] for text in (kind.provider, kind.fake or "") if text}
        words |= {*kind.key_hosts, *kind.key_variables, kind.address_variable or ""}
    words -= {"", "LocalEngine"}  # the engine is not named after a server
    return rf"(?<![A-Za-z])(?:{'|'.join(sorted(map(re.escape, words)))})(?![A-Za-z])"


def _words(path: Path) -> Iterator[str]:
    """Yield the texts and names in a module, without docstrings and comments."""
    tree = ast.parse(path.read_text("utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    said = {
        id(node.body[0].value)  # type: ignore[attr-defined]  # a docstring is an expression
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in said:
                yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def _found() -> Dict[str, Set[str]]:
    own, pattern = _own_folders(), re.compile(_pattern())
    found: Dict[str, Set[str]] = {}
    for path in _ROOT.rglob("*.py"):
        name = path.relative_to(_ROOT).as_posix()
        if not name.startswith(tuple(own)):
            hits = {hit for word in _words(path) for hit in pattern.findall(word)}
            if hits:
                found[name] = hits
    return found


@pytest.mark.sample(0)
def test_the_name_of_a_kind_is_in_its_own_folder_and_where_the_list_says() -> None:
    found = _found()
    assert {name: hits for name, hits in found.items() if name not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) - set(found) == set()


def test_discovery_configuration_and_routing_import_no_provider() -> None:
    folders = {text.split(".")[1] for text in kinds._BUILT_IN.values()} - {"engine"}
    pattern = re.compile(rf"localproviders\.(?:{'|'.join(sorted(folders))})\b")
    importing = {
        path.relative_to(_ROOT).as_posix()
        for folder in ("cli", "config", "discovery", "local")
        for path in (_ROOT / folder).glob("*.py")
        if any(pattern.match(word) for word in _words(path))
    }
    assert importing == {"discovery/probe.py", "local/gguf.py", "local/failover.py"}
