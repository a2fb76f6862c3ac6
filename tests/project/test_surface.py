"""Public names, signatures and docstrings follow one style; wire spellings stay in wire code."""

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
    AnthropicProvider,
    LlamaCppProvider,
    LMStudioProvider,
    LocalProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    errors,
    kinds,
    testing,
    types,
)
from localproviders.ollama import ModelDetails
from localproviders.settings import Settings
from localproviders.types.requests import RequestFields, StatefulFields
from tests.support.docs import ROOT

_ROOT = Path(localproviders.__file__).parent
_PROVIDERS = (
    *(OllamaProvider, LMStudioProvider, LlamaCppProvider, OpenAICompatibleProvider),
    AnthropicProvider,
)
_CLASSES = (ModelProvider, LocalProvider, *_PROVIDERS)
# Members that open no connection. They have neither limits nor errors to document.
_OFFLINE = {"name", "close", "limits", "locality", "refresh"}
_LAST = ["timeout", "cancel"]
# Without a model, these ask the server itself.
_OPTIONAL_SUBJECT = {"properties", "slots"}


def _verbs(cls: type) -> List[str]:
    return [n for n in dir(cls) if not n.startswith("_") and n not in _OFFLINE]


_EVERY_VERB = [(cls, verb) for cls in _CLASSES for verb in _verbs(cls)]
_COMMON = [(cls, verb) for cls in _CLASSES[1:] for verb in _verbs(ModelProvider)]


def _parameters(cls: type, verb: str) -> List[inspect.Parameter]:
    return list(inspect.signature(getattr(cls, verb)).parameters.values())[1:]


def _named(parameters: List[inspect.Parameter]) -> List[inspect.Parameter]:
    return [one for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]


@pytest.mark.parametrize(("cls", "verb"), _COMMON)
def test_a_common_verb_has_the_same_arguments_everywhere(cls: type, verb: str) -> None:
    """A subclass may add keywords between the common arguments and the last two."""
    common, here = _parameters(ModelProvider, verb), _parameters(cls, verb)
    tail = [one for one in common if one.name in _LAST or one not in _named(common)]
    head = common[: len(common) - len(tail)]
    own = here[len(head) : len(here) - len(tail)]
    assert here == [*head, *own, *tail]
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in own)
    assert all(one.default is not inspect.Parameter.empty for one in own)


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_the_last_arguments_of_a_verb_are_timeout_and_cancel(cls: type, verb: str) -> None:
    last = _named(_parameters(cls, verb))[-2:]
    assert [one.name for one in last] == _LAST
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY and one.default is None for one in last)


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_positional_arguments_come_first_and_options_are_keywords_with_defaults(
    cls: type, verb: str
) -> None:
    parameters = _named(_parameters(cls, verb))
    options = [one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    subjects = [one for one in parameters if one not in options]
    required = [] if verb in _OPTIONAL_SUBJECT else subjects
    assert all(one.default is inspect.Parameter.empty for one in required)
    assert all(one.default is not inspect.Parameter.empty for one in options)
    if any(one.name == "model" for one in parameters):
        assert "model" in (parameters[0].name, options[0].name)


@pytest.mark.parametrize("cls", _PROVIDERS)
def test_all_constructors_have_the_same_options(cls: type) -> None:
    address, *options = _parameters(cls, "__init__")
    has_url = cls in (OpenAICompatibleProvider, AnthropicProvider)
    assert address.name == ("base_url" if has_url else "host")
    # The default of `name`, and the number of tokens that one API requires, are the differences.
    options = [one for one in options if one.name != "max_tokens"]
    nameless = [one.replace(default=None) if one.name == "name" else one for one in options]
    pattern = _parameters(OllamaProvider, "__init__")[1:]
    assert nameless == [one.replace(default=None) if one.name == "name" else one for one in pattern]


# --- docstrings ----------------------------------------------------------------------------


def _docstring(cls: type, name: str) -> str:
    return inspect.getdoc(inspect.getattr_static(cls, name)) or ""


def _section(text: str, title: str) -> str:
    """Return the text of a section of a docstring, without its heading."""
    found = re.search(rf"^{title}:\n((?:[ ]{{4}}.*\n?|\n)+)", text, re.MULTILINE)
    return "" if found is None else inspect.cleandoc("\n" + found.group(1))


def _entries(section: str) -> List[str]:
    return re.findall(r"^(\**\w+):", section, re.MULTILINE)


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_the_docstring_of_a_verb_has_a_summary_and_names_its_errors(cls: type, verb: str) -> None:
    text = _docstring(cls, verb)
    first, _, rest = text.partition("\n")
    assert first.endswith(".")
    assert first[0].isupper()
    assert rest == "" or rest.startswith("\n")
    raised = _entries(_section(text, "Raises"))
    assert any(issubclass(_error(name), errors.ProviderError) for name in raised), text


@pytest.mark.parametrize(("cls", "verb"), _EVERY_VERB)
def test_docstring_and_signature_have_the_same_arguments(cls: type, verb: str) -> None:
    described = _entries(_section(_docstring(cls, verb), "Args"))
    if described:
        shown = [one.name for one in _named(_parameters(cls, verb))]
        if (
            "fields" in described
        ):  # one entry describes all request fields; the signature names each
            request_fields = {*StatefulFields.__annotations__, *RequestFields.__annotations__}
            shown = [name for name in shown if name not in request_fields] + ["fields"]
        assert described == shown


def _error(name: str) -> Any:
    return getattr(errors, name, None) or getattr(builtins, name)


_NODES = {
    path: list(ast.walk(ast.parse(path.read_text("utf-8")))) for path in sorted(_ROOT.rglob("*.py"))
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
# The names that may stand under "Raises": classes of this package, even private ones, and builtins.
_ERRORS: Set[str] = {
    node.name for nodes in _NODES.values() for node in nodes if isinstance(node, ast.ClassDef)
} | {name for name, thing in vars(builtins).items() if isinstance(thing, type)}


def test_docstrings_name_only_errors_that_exist() -> None:
    unknown = {
        (str(path.relative_to(_ROOT)), name)
        for path, nodes in _NODES.items()
        for node in nodes
        if isinstance(node, _DOCUMENTED) and "Raises:" in (ast.get_docstring(node) or "")
        for name in _entries(_section(ast.get_docstring(node) or "", "Raises"))
        if name not in _ERRORS
    }
    assert unknown == set()


@pytest.mark.parametrize("cls", [kinds.ProviderKind, kinds.KindKey, kinds.KindService])
def test_the_docstring_of_a_kind_describes_each_field(cls: type) -> None:
    described = _entries(_section(inspect.getdoc(cls) or "", "Attributes"))
    assert described == [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("name", kinds.__all__)
def test_a_function_of_the_registry_documents_its_errors(name: str) -> None:
    value = getattr(kinds, name)
    if inspect.isfunction(value) and name not in ("names", "registered", "find_service"):
        assert _entries(_section(inspect.getdoc(value) or "", "Raises")) == ["ConfigurationError"]
    assert isinstance(value, str) or inspect.getdoc(value)


# --- units ---------------------------------------------------------------------------------


def _public(package: Any) -> List[Any]:
    """Return all public objects of a package, and import those that are imported lazily."""
    return [getattr(package, name) for name in package.__all__]


_RECORDS = [
    value
    for value in (*_public(types), *_public(testing), ModelDetails, Settings)
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]


@pytest.mark.parametrize("record", _RECORDS)
def test_names_of_times_end_in_at_and_names_of_durations_in_a_unit(record: type) -> None:
    hints: Dict[str, str] = {
        # The annotations as text, because old Pythons cannot evaluate all of them.
        name: hint
        for cls in record.__mro__
        for name, hint in vars(cls).get("__annotations__", {}).items()
    }
    moments = {name for name, hint in hints.items() if "datetime" in hint}
    assert all(name.endswith("_at") for name in moments)
    assert not [name for name in hints if re.search("_(seconds|ms|ns|mb|kb|gb)$", name)]


# --- public names ------------------------------------------------------------------------------


def test_the_package_has_the_names_that_the_architecture_lists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("## Public names")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][2:]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(localproviders.__all__)
    assert localproviders.__all__ == sorted(localproviders.__all__)


# --- the wire ------------------------------------------------------------------------------

# Field names in the JSON of servers that this package does not use as its own names. A name that
# is both, such as `keep_alive` or `context_length`, cannot be distinguished here.
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
    """Return whether a module may contain field names of a server: wire code and fake servers."""
    parts = path.relative_to(_ROOT).parts
    # Two modules read fields that all dialects have in common, such as those of error responses.
    # Two have the names of other clients, for the errors of scripts that use them. Three read the
    # messages and tools of other clients. One reads calls that models write in their text. The last two read decisions, which several kinds of servers write in the same way.
    # `cli/verbs.py` has the names of the verbs.
    shared = parts in (
        ("cli", "verbs.py"),
        ("_dialect", "common.py"),
        ("_dialect", "error_answers.py"),
        ("_dialect", "text_calls.py"),
        ("_habits.py",),
        ("_other_keywords.py",),
        ("types", "inputs.py"),
        ("types", "other_messages.py"),
        ("schema", "other_tools.py"),
        ("_dialect", "decisions.py"),
        ("_dialect", "systemone.py"),
    )
    return shared or "wire" in parts or parts[0] == "testing"


def _texts(nodes: List[ast.AST]) -> Iterator[Tuple[int, str]]:
    """Yield each text constant of a module with its line, except docstrings."""
    prose: Set[int] = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, _DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_field_names_of_servers_occur_only_in_wire_code() -> None:
    misplaced = [
        (str(path.relative_to(_ROOT)), line, text)
        for path, nodes in _NODES.items()
        if not _is_wire(path)
        for line, text in _texts(nodes)
        if text in _FOREIGN
    ]
    assert misplaced == []


def test_wire_code_contains_each_field_name_of_the_list() -> None:
    """The test above would check nothing with names that no module contains."""
    wire = [nodes for path, nodes in _NODES.items() if _is_wire(path)]
    used = {word for nodes in wire for _, text in _texts(nodes) for word in re.split(r"\W+", text)}
    assert used >= _FOREIGN


def test_no_json_is_encoded_outside_wire_code() -> None:
    found = [
        (str(path.relative_to(_ROOT)), node.lineno)
        for path, nodes in _NODES.items()
        for node in nodes
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "encode"
        and isinstance(node.args[0], ast.Dict)
    ]
    assert found == []
