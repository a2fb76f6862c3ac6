"""A model by rule: the reply of a fake server to what a published client asks."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Union

from localproviders import ToolCall
from localproviders.testing import Exchange, Reply


def reply(exchange: Exchange) -> Reply:
    """Call the first tool once, fill the schema, or answer with a text."""
    body = exchange.json
    messages: List[Mapping[str, Any]] = body.get("messages") or [{"content": body.get("prompt")}]
    asked = " ".join(str(message.get("content")) for message in messages)
    schema = _schema(body)
    if schema is not None:
        return Reply(text=json.dumps(_fill(schema, schema, asked)))
    tools = body.get("tools") or []
    if tools and body.get("tool_choice") != "none" and messages[-1].get("role") != "tool":
        function = tools[0]["function"]
        arguments = _fill(function["parameters"], function["parameters"], asked)
        call = ToolCall(id=f"call_{len(messages)}", name=function["name"], arguments=arguments)
        return Reply(text="", tool_calls=(call,))
    return Reply(text="Hello there, friend. It is 5.")


def _schema(body: Mapping[str, Any]) -> Any:
    """Return the JSON Schema that the answer must fit, or None."""
    wanted: Union[str, Dict[str, Any], None] = body.get("format") or body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        return wanted["json_schema"]["schema"]
    if wanted == "json" or (isinstance(wanted, dict) and wanted.get("type") == "json_object"):
        return {"type": "object", "properties": {n: {"type": "string"} for n in _NAMES}}
    return wanted if isinstance(wanted, dict) and "properties" in wanted else None


#: The fields that a prompt without a schema asks for in the suites.
_NAMES = ("setup", "punchline")


def _fill(schema: Mapping[str, Any], root: Mapping[str, Any], asked: str) -> Any:
    """Return a value that fits a schema. The prompt has the numbers and the texts in it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _fill((root.get("$defs") or root["definitions"])[name], root, asked)
    for name in ("anyOf", "allOf", "oneOf"):
        if name in schema:
            return _fill(schema[name][0], root, asked)
    if "enum" in schema or "const" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    kind = schema.get("type", "object")
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: _fill(field, root, asked) for name, field in fields.items()}
    if kind == "array":
        return [_fill(schema.get("items", {"type": "string"}), root, asked)]
    found = re.search(r"\d+", asked)
    number = int(found.group()) if found else 1
    return {"integer": number, "number": number, "boolean": True, "null": None}.get(
        kind, _text(asked)
    )


def _text(asked: str) -> str:
    """Return the first text that the prompt has in quotes, else any."""
    found = re.search(r"'([^']+)'", asked)
    return found.group(1) if found else "a word"
