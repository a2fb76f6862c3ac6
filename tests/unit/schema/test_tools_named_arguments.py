"""The function of a tool receives only arguments that its schema names."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

import pytest

from localproviders import Tool
from localproviders.schema import arguments_for
from tests.support.asking import PROVIDERS, serve_provider, tool_call_reply

_DEEP = {"type": "object", "properties": {"a": {"type": "integer"}}}


def _tool(parameters: Mapping[str, Any]) -> Tool:
    def anything(**named: object) -> str:
        return str(sorted(named))

    return Tool(name="anything", parameters=parameters, function=anything)


def delete(path: str, dry_run: bool = True) -> str:
    """Delete a file."""
    return f"{path} {dry_run}"


def loose(path, dry_run=True, **kw):  # type: ignore[no-untyped-def]  # as people write tools
    return f"{path} {dry_run} {sorted(kw)}"


_BY_HAND = {"type": "object", "properties": {"path": {"type": "string"}}}


@pytest.mark.parametrize("function", [delete, loose])
@pytest.mark.parametrize("more", ["dry_run", "self", "__class__", "kw", "path.x", ""])
def test_an_argument_that_the_schema_does_not_name_is_refused(function: Any, more: str) -> None:
    tool = Tool(name="delete", parameters=_BY_HAND, function=function)
    with pytest.raises(ValueError, match=r'is not allowed; the keys are "path"'):
        arguments_for(tool, {"path": "/x", more: False})
    assert arguments_for(tool, {"path": "/x"}) == {"path": "/x"}


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_the_model_is_told_and_the_function_is_not_called(kind: str) -> None:
    seen: List[object] = []

    def rm(path: str, dry_run: bool = True) -> str:
        seen.append((path, dry_run))
        return "done"

    tool = Tool(name="rm", parameters=_BY_HAND, function=rm)
    with serve_provider(kind) as served:
        served.fake.reply_with(
            tool_call_reply(("rm", {"path": "/x", "dry_run": False})),
            tool_call_reply(("rm", {"path": "/x"})),
            "Done.",
        )
        run = served.provider.run_tools("Clean up", [tool])
    assert seen == [("/x", True)]
    assert "arguments.dry_run: is not allowed" in str(run.steps[0].error)
    assert served.tool_results[1] == "done"


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        ({"type": "object"}, {"x": 1}),
        ({}, {"x": 1}),
        ({"type": "object", "required": ["x"]}, {"x": 1}),
        ({"type": "object", "propertyNames": {"pattern": "x"}}, {"x": 1}),
        ({"patternProperties": {"^x": {}}}, {"y": 1}),
        ({"properties": {"deep": _DEEP}}, {"deep": {"a": 1, "b": 2}}),
        ({"additionalProperties": _DEEP}, {"any": {"b": 1}}),
        ({"properties": {"list": {"items": _DEEP}}}, {"list": [{"a": 1}, {"b": 1}]}),
        ({"properties": {"list": {"prefixItems": [_DEEP]}}}, {"list": [{"b": 1}]}),
        ({"$ref": "#/$defs/d", "$defs": {"d": _DEEP}}, {"b": 1}),
        ({"properties": {"d": {"$ref": "#/$defs/d"}}, "$defs": {"d": _DEEP}}, {"d": {"b": 1}}),
        ({"allOf": [_DEEP, {"properties": {"b": {}}}]}, {"c": 1}),
        ({"allOf": [_DEEP, {"description": "says nothing"}]}, {"b": 1}),
        ({"anyOf": [_DEEP, {"properties": {"b": {}}}]}, {"c": 1}),
        ({"oneOf": [{"required": ["a"], **_DEEP}, {"required": ["b"]}]}, {"a": 1, "c": 1}),
        ({"anyOf": [{"properties": {"b": {"type": "null"}}}, _DEEP]}, {"b": 1}),
        ({"if": {"properties": {"a": {"const": 1}}}, "then": {"properties": {"b": {}}}}, {"a": 2}),
        ({"if": {"required": ["a"]}, "then": {"properties": {"a": {}}}}, {"a": 1, "b": 1}),
        ({"dependentSchemas": {"b": {"properties": {"b": {}}}}}, {"c": 1}),
    ],
)  # fmt: skip
def test_a_key_that_no_fitting_part_of_the_schema_names_is_refused(
    schema: Dict[str, Any], given: Dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="is not allowed; the keys are"):
        arguments_for(_tool(schema), given)


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        ({"additionalProperties": True}, {"x": {"y": [{"z": 1}]}}),
        ({"additionalProperties": {}}, {"x": {"y": 1}}),
        ({"additionalProperties": {"type": "integer"}}, {"x": 1}),
        ({"patternProperties": {"^x": {}}}, {"xy": {"z": 1}}),
        ({"properties": {"deep": _DEEP}}, {"deep": {"a": 1}}),
        ({"properties": {"deep": {"type": "object"}}}, {"deep": {"b": 2}}),
        ({"properties": {"deep": {"minProperties": 1}}}, {"deep": {"b": 2}}),
        ({"properties": {"list": {"type": "array"}}}, {"list": [[{"b": 1}]]}),
        ({"properties": {"deep": {"not": {"type": "string"}}}}, {"deep": {"b": 1}}),
        ({"properties": {"deep": {"type": "object"}}}, {"deep": {"b": [{"c": {"d": 1}}]}}),
        ({"properties": {"list": {"items": {"type": "object"}}}}, {"list": [{"b": 1}]}),
        ({"properties": {"deep": {"anyOf": [{"type": "object"}, {"type": "null"}]}}},
         {"deep": {"b": 1}}),
        ({"properties": {"deep": {"allOf": [{"type": "object"}, {"required": ["b"]}]}}},
         {"deep": {"b": 1}}),
        ({"properties": {"deep": True}}, {"deep": {"b": [{"c": 1}]}}),
        ({"properties": {"deep": {"description": "anything"}}}, {"deep": {"b": {"c": 1}}}),
        ({"properties": {"deep": {"const": {"b": 1}}}}, {"deep": {"b": 1}}),
        ({"properties": {"deep": {"enum": [{"b": {"c": 1}}]}}}, {"deep": {"b": {"c": 1}}}),
        ({"properties": {"deep": {"anyOf": [{}, {"type": "null"}]}}}, {"deep": {"b": 1}}),
        ({"properties": {"d": {"$ref": "#/$defs/d"}}, "$defs": {"d": {}}}, {"d": {"b": 1}}),
        ({"properties": {"list": {"items": {}}}}, {"list": [{"b": 1}]}),
        ({"properties": {"list": {"prefixItems": [{}], "items": _DEEP}}}, {"list": [{"b": 1}]}),
        ({"$ref": "#/$defs/d", "$defs": {"d": _DEEP}}, {"a": 1}),
        ({"allOf": [_DEEP, {"properties": {"b": {}}}]}, {"a": 1, "b": 1}),
        ({"anyOf": [_DEEP, {"properties": {"b": {}}}]}, {"a": 1, "b": 1}),
        ({"if": {"properties": {"a": {"const": 1}}}, "then": {"properties": {"b": {}}}},
         {"a": 1, "b": 1}),
        ({"if": {"required": ["a"]}, "else": {"properties": {"b": {}}}}, {"b": 1}),
        ({"dependentSchemas": {"b": {"properties": {"b": {}}}}}, {"b": 1}),
        ({"properties": {"n": {"$ref": "#"}, "v": {}}}, {"n": {"n": {"v": 1}}}),
        ({"type": "object"}, {}),
    ],
)  # fmt: skip
def test_what_the_schema_names_or_openly_allows_arrives(
    schema: Dict[str, Any], given: Dict[str, Any]
) -> None:
    assert arguments_for(_tool(schema), given) == given


def test_a_tool_made_of_a_function_stays_as_it_is() -> None:
    def search(filters: dict, rows: list) -> None:  # type: ignore[type-arg]  # as people write it
        """Search."""

    search.__annotations__ = {"filters": dict, "rows": list, "return": None}
    given: Dict[str, Any] = {"filters": {"year": {"from": 1999}}, "rows": [{"a": 1}]}
    assert arguments_for(search, given) == given


def test_a_value_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localproviders.schema.checker._MOST_STEPS", 1000)
    schema = {"anyOf": [{"properties": {"n": {"$ref": "#"}}, "type": "object"}, {"type": "null"}]}
    given: Dict[str, Any] = {}
    for _ in range(40):
        given = {"n": given}
    with pytest.raises(ValueError, match="nested too deeply, or too large, to be checked"):
        arguments_for(_tool(schema), given)
