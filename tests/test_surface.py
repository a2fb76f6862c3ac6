"""The public surface reads as one hand wrote it, and no server's spelling leaves its room."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest

import localproviders
from localproviders import (
    LMStudioProvider,
    LocalProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    Settings,
    errors,
    testing,
    types,
)
from localproviders.ollama import ModelDetails
from tests.docs_support import ROOT

_ROOT = Path(localproviders.__file__).parent
_PROVIDERS = (OllamaProvider, LMStudioProvider, OpenAICompatibleProvider)
_CLASSES = (ModelProvider, LocalProvider, *_PROVIDERS)
# What opens no connection, and so has neither limits nor anything to raise.
_QUIET = {"name", "close", "limits", "locality", "refresh"}
_LAST = ["timeout", "cancel"]


def _verbs(cls: type) -> List[str]:
    return [n for n in dir(cls) if not n.startswith("_") and n not in _QUIET]


_EVERY_VERB = [(cls, verb) for cls in _CLASSES for verb in _verbs(cls)]
_COMMON = [(cls, verb) for cls in _CLASSES[1:] for verb in _verbs(ModelProvider)]
_OWN = [(cls, verb) for cls, verb in _EVERY_VERB if not hasattr(ModelProvider, verb)]


def _parameters(cls: type, verb: str) -> List[inspect.Parameter]:
    return list(inspect.signature(getattr(cls, verb)).parameters.values())[1:]


def _named(parameters: List[inspect.Parameter]) -> List[inspect.Parameter]:
    return [one for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]


@pytest.mark.parametrize(("cls", "verb"), _COMMON)
def test_a_common_verb_has_the_same_arguments_everywhere(cls: type, verb: str) -> None:
    """A subclass may add keywords of its own, between the common ones and the last two."""
    common, here = _parameters(ModelProvider, verb), _parameters(cls, verb)
    tail = [one for one in common if one.name in _LAST or one not in _named(common)]
    head = common[: len(common) - len(tail)]
    own = here[len(head) : len(here) - len(tail)]
    assert here == [*head, *own, *tail]
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in own)
    assert all(one.default is not inspect.Parameter.empty for one in own)


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_what_talks_takes_timeout_and_cancel_last(cls: type, verb: str) -> None:
    last = _named(_parameters(cls, verb))[-2:]
    assert [one.name for one in last] == _LAST
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY and one.default is None for one in last)


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_what_a_verb_is_about_comes_first_and_its_options_have_names(cls: type, verb: str) -> None:
    parameters = _named(_parameters(cls, verb))
    options = [one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    subjects = [one for one in parameters if one not in options]
    assert all(one.default is inspect.Parameter.empty for one in subjects)
    assert all(one.default is not inspect.Parameter.empty for one in options)
    if any(one.name == "model" for one in parameters):
        assert "model" in (parameters[0].name, options[0].name)


@pytest.mark.parametrize("cls", _PROVIDERS)
def test_providers_are_made_alike(cls: type) -> None:
    address, *options = _parameters(cls, "__init__")
    assert address.name == ("base_url" if cls is OpenAICompatibleProvider else "host")
    # Only the provider's own name is another.
    nameless = [one.replace(default=None) if one.name == "name" else one for one in options]
    pattern = _parameters(OllamaProvider, "__init__")[1:]
    assert nameless == [one.replace(default=None) if one.name == "name" else one for one in pattern]


# --- docstrings ----------------------------------------------------------------------------


def _docstring(cls: type, name: str) -> str:
    return inspect.getdoc(inspect.getattr_static(cls, name)) or ""


def _section(text: str, title: str) -> str:
    """Give a section of a docstring, without its head."""
    found = re.search(rf"^{title}:\n((?:[ ]{{4}}.*\n?|\n)+)", text, re.MULTILINE)
    return "" if found is None else inspect.cleandoc("\n" + found.group(1))


def _entries(section: str) -> List[str]:
    return re.findall(r"^(\**\w+):", section, re.MULTILINE)


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_a_verb_says_what_it_does_and_what_it_raises(cls: type, verb: str) -> None:
    text = _docstring(cls, verb)
    first, _, rest = text.partition("\n")
    assert first.endswith(".")
    assert first[0].isupper()
    assert rest == "" or rest.startswith("\n")
    raised = _entries(_section(text, "Raises"))
    assert any(issubclass(_error(name), errors.ProviderError) for name in raised), text


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_the_arguments_of_a_docstring_are_those_of_the_signature(cls: type, verb: str) -> None:
    described = _entries(_section(_docstring(cls, verb), "Args"))
    if described:
        assert described == [
            *(one.name for one in _named(_parameters(cls, verb))),
            *(["fields"] if "fields" in described else []),
        ]


def _error(name: str) -> Any:
    return getattr(errors, name, None) or getattr(builtins, name)


_TREES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(_ROOT.rglob("*.py"))}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
# Machinery has errors of its own, which never get out.
_ERRORS: Set[str] = {
    node.name
    for tree in _TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
} | {name for name, thing in vars(builtins).items() if isinstance(thing, type)}


@pytest.mark.parametrize("path", _TREES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_docstrings_name_only_errors_that_exist(path: Path) -> None:
    for node in ast.walk(_TREES[path]):
        text = (ast.get_docstring(node) or "") if isinstance(node, _DOCUMENTED) else ""
        assert set(_entries(_section(text, "Raises"))) <= _ERRORS


# --- units ---------------------------------------------------------------------------------

_RECORDS = [
    value
    for value in (*vars(types).values(), *vars(testing).values(), ModelDetails, Settings)
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]


@pytest.mark.parametrize("record", _RECORDS)
def test_a_moment_says_at_and_a_duration_its_unit(record: type) -> None:
    hints: Dict[str, str] = {
        # As written: what it means at run time, old Pythons cannot always say.
        name: hint
        for cls in record.__mro__
        for name, hint in vars(cls).get("__annotations__", {}).items()
    }
    moments = {name for name, hint in hints.items() if "datetime" in hint}
    assert all(name.endswith("_at") for name in moments)
    assert not [name for name in hints if re.search("_(seconds|ms|ns|mb|kb|gb)$", name)]


# --- the door ------------------------------------------------------------------------------


def test_the_door_has_the_names_that_the_architecture_lists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("## The door")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][2:]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(localproviders.__all__)
    assert localproviders.__all__ == sorted(localproviders.__all__)


# --- the wire ------------------------------------------------------------------------------

# Words of the servers' JSON that are none of ours. What is also a name of ours, such as
# `keep_alive` or `context_length`, cannot be told apart here.
_SPELLINGS: Dict[str, Tuple[str, ...]] = {
    "Ollama": (
        "num_ctx", "num_predict", "eval_count", "eval_duration", "prompt_eval_count",
        "prompt_eval_duration", "load_duration", "total_duration", "done_reason", "size_vram",
        "quantization_level", "modified_at", "from", "tool_name", "think",
        "model_info", "projector_info", "done",
    ),
    "OpenAI's dialect": (
        "reasoning_content", "reasoning_effort", "response_format", "json_schema", "choices",
        "stream_options", "include_usage", "encoding_format", "tool_call_id", "delta",
        "max_model_len", "n_ctx", "n_ctx_train", "n_prompt_tokens", "n_params", "created",
        "owned_by", "system_fingerprint",
    ),
    "LM Studio": (
        "loaded_instances", "max_output_tokens", "tokens_per_second", "input_tokens",
        "time_to_first_token_seconds", "total_output_tokens",
        "reasoning_output_tokens", "model_load_time_seconds", "load_time_seconds",
        "model_instance_id", "instance_id", "load_config", "echo_load_config", "config",
        "display_name", "params_string", "bits_per_weight", "variants",
        "trained_for_tool_use", "remaining_ttl_seconds", "ttl", "downloaded_bytes",
        "total_size_bytes", "compatibility_type", "stats", "publisher",
    ),
}  # fmt: skip
_FOREIGN = frozenset(word for words in _SPELLINGS.values() for word in words)


def _is_wire(path: Path) -> bool:
    """Whether a module may know a server's words: its wire, their common ground, the fakes."""
    parts = path.relative_to(_ROOT).parts
    # The shapes of error answers are common to all dialects, and stand in one place.
    shared = parts in (("_wire.py",), ("_http", "rejection.py"))
    return shared or "wire" in parts or parts[0] == "testing"


def _texts(tree: ast.AST) -> Iterator[Tuple[int, str]]:
    """Give the text constants of a module, but for its docstrings."""
    prose: Set[int] = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, _DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


@pytest.mark.parametrize(
    "path",
    [path for path in _TREES if not _is_wire(path)],
    ids=lambda path: str(path.relative_to(_ROOT)),
)
def test_no_servers_spelling_leaves_the_wire(path: Path) -> None:
    assert [(line, text) for line, text in _texts(_TREES[path]) if text in _FOREIGN] == []


@pytest.mark.parametrize("word", sorted(_FOREIGN))
def test_each_spelling_of_the_list_is_in_use_on_the_wire(word: str) -> None:
    """A list of words that nobody writes would guard nothing."""
    wire = [tree for path, tree in _TREES.items() if _is_wire(path)]
    assert any(word in re.split(r"\W+", text) for tree in wire for _, text in _texts(tree))


@pytest.mark.parametrize("path", _TREES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_no_json_is_written_outside_the_wire(path: Path) -> None:
    calls = [node for node in ast.walk(_TREES[path]) if isinstance(node, ast.Call)]
    encoded = [call for call in calls if getattr(call.func, "id", "") == "encode"]
    assert not [call.lineno for call in encoded if isinstance(call.args[0], ast.Dict)]
