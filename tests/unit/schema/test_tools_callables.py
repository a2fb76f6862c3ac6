"""Functions of other shapes as tools: partial functions, objects, wrappers, asynchronous ones."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, AsyncIterator, Callable, Dict, List

import pydantic
import pytest

from localproviders import Tool
from localproviders.errors import ConfigurationError
from localproviders.schema import arguments_for, as_tools, tool_from
from localproviders.schema.tools import is_async


class Connection:
    """A type without a form in JSON."""


def lookup(connection: Connection, table: str, key: str, limit: int = 3) -> Any:
    """Look a key up.

    Args:
        table: The table.
        key: The key.
    """
    return (connection, table, key, limit)


class Lookup:
    """Look a key up.

    Args:
        key: The key.
    """

    def __call__(self, key: str) -> str:
        return key

    def method(self, table: str, key: str) -> str:
        """Look a key up."""
        return table + key

    of_users = functools.partialmethod(method, "users")


class Described:
    """No words for the model."""

    def __call__(self, key: str) -> str:
        """Look a key up.

        Args:
            key: The key.
        """
        return key


@dataclasses.dataclass
class Stored:
    connection: Connection

    def __call__(self, key: str) -> str:
        return key


class Named:
    """A decorator."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: Any, **more: Any) -> Any:
        return self._function(*args, **more)


@Named
def decorated(key: str) -> str:
    """Look a key up.

    Args:
        key: The key.
    """
    return key


def _with_attributes() -> Any:
    made = functools.partial(lookup, Connection(), table="users", limit=1)
    functools.update_wrapper(made, lookup)
    made.__name__ = "find_user"  # type: ignore[attr-defined]  # a partial function may have a name
    made.__doc__ = "Find a user."
    return made


_FIXED = functools.partial(lookup, Connection(), table="users")
_KEY = {"type": "string", "description": "The key."}
_LIMIT = {"type": "integer", "default": 3}


@pytest.mark.parametrize(
    ("function", "name", "words", "properties"),
    [
        (_FIXED, "lookup", "Look a key up.", {"key": _KEY, "limit": _LIMIT}),
        (functools.partial(lookup, Connection(), "users"), "lookup", "Look a key up.",
         {"key": _KEY, "limit": _LIMIT}),
        (functools.partial(_FIXED, limit=1), "lookup", "Look a key up.", {"key": _KEY}),
        (functools.partial(lookup, None, "a", "b", 4), "lookup", "Look a key up.", {}),
        (_with_attributes(), "find_user", "Find a user.", {"key": {"type": "string"}}),
        (functools.partial(Lookup().method, "users"), "method", "Look a key up.", {"key": {"type": "string"}}),
        (Lookup().of_users, "method", "Look a key up.", {"key": {"type": "string"}}),
        (functools.partial(Lookup(), key="a"), "Lookup", "Look a key up.", {}),
        (functools.lru_cache()(_FIXED), "lookup", "Look a key up.", {"key": _KEY, "limit": _LIMIT}),
        (Lookup(), "Lookup", "Look a key up.", {"key": _KEY}),
        (Described(), "Described", "Look a key up.", {"key": _KEY}),
        (Stored(Connection()), "Stored", "", {"key": {"type": "string"}}),
        (decorated, "decorated", "Look a key up.", {"key": _KEY}),
        (pydantic.validate_call(Lookup.__call__.__get__(Lookup())), "__call__", "", {"key": {"type": "string"}}),
    ],
)  # fmt: skip
def test_a_tool_has_the_name_the_words_and_the_open_parameters(
    function: Any, name: str, words: str, properties: Dict[str, Any]
) -> None:
    tool = tool_from(function)
    assert (tool.name, tool.description) == (name, words)
    assert tool.parameters["properties"] == properties
    assert as_tools([function]) == (tool,)


@pytest.mark.parametrize(
    ("function", "given", "made"),
    [
        (functools.partial(lookup, 1, table="users"), {"key": "a"}, (1, "users", "a", 3)),
        (functools.partial(lookup, 1, "users", limit=9), {"key": "a"}, (1, "users", "a", 9)),
        (functools.partial(functools.partial(lookup, 1), "t"), {"key": "a", "limit": 2}, (1, "t", "a", 2)),
        (Lookup().of_users, {"key": "a"}, "usersa"),
        (Lookup(), {"key": "a"}, "a"),
        (decorated, {"key": "a"}, "a"),
    ],
)  # fmt: skip
def test_the_function_gets_the_values_of_the_model_and_its_own(
    function: Any, given: Dict[str, Any], made: Any
) -> None:
    assert function(**arguments_for(function, given)) == made
    assert function(**arguments_for(tool_from(function), given)) == made


@pytest.mark.parametrize("name", ["table", "connection"])
def test_a_model_cannot_choose_what_is_fixed(name: str) -> None:
    with pytest.raises(ValueError, match=rf"arguments\.{name}: is not allowed"):
        arguments_for(_FIXED, {"key": "a", name: "secrets"})
    schema = {"type": "object", "properties": {"key": {}, name: {}}}
    with pytest.raises(ValueError, match=rf"arguments\.{name}: is not allowed"):
        arguments_for(Tool(name="x", parameters=schema, function=_FIXED), {"key": "a", name: "b"})


def test_a_parameter_that_stays_open_must_have_a_type() -> None:
    with pytest.raises(ConfigurationError, match="parameter 'connection': Connection has no form"):
        tool_from(functools.partial(lookup, table="users"))


# --- asynchronous functions ----------------------------------------------------------------------


async def wait(key: str) -> str:
    """Look a key up."""
    return key


async def several(key: str) -> AsyncIterator[str]:
    """Look a key up."""
    yield key


class Waiting:
    async def __call__(self, key: str) -> str:
        return key


@pytest.mark.parametrize(
    ("function", "is_waiting"),
    [
        (wait, True),
        (several, True),
        (Waiting(), True),
        (Waiting().__call__, True),
        (functools.partial(wait, key="a"), True),
        (functools.partial(Waiting()), True),
        (functools.wraps(wait)(lambda **given: wait(**given)), True),
        (lookup, False),
        (Lookup(), False),
        (_FIXED, False),
        (len, False),
    ],
)
def test_an_asynchronous_function_is_known_through_its_wrappers(
    function: Any, is_waiting: bool
) -> None:
    assert is_async(function) is is_waiting


@pytest.mark.parametrize("function", [wait, several, Waiting()])
def test_an_asynchronous_function_is_a_tool(function: Any) -> None:
    assert tool_from(function).parameters["properties"] == {"key": {"type": "string"}}
    assert arguments_for(function, {"key": "a"}) == {"key": "a"}


def test_a_wrapper_that_leads_back_to_itself_is_refused() -> None:
    def circle(x: List[int]) -> None:
        """Do nothing."""

    circle.__wrapped__ = circle  # type: ignore[attr-defined]  # the mistake under test
    with pytest.raises(ConfigurationError, match="Python cannot read its signature"):
        tool_from(circle)
