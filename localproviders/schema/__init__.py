"""JSON Schema from Python types, checks of values against it, and typed values from JSON."""

from localproviders.schema.checker import check
from localproviders.schema.tools import arguments_for, as_tools, build, schema_of, tool_from

__all__ = ["arguments_for", "as_tools", "build", "check", "schema_of", "tool_from"]
