"""JSON Schema out of Python's types, values checked against it, and typed values out of JSON."""

from localproviders.schema.answers import build, schema_of
from localproviders.schema.checker import check
from localproviders.schema.tools import arguments_for, as_tools, tool_from

__all__ = ["arguments_for", "as_tools", "build", "check", "schema_of", "tool_from"]
