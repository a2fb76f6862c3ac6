"""Objects that are tools of other clients become tools, or are refused in words."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, ClassVar, Dict, Iterator, List, Optional, Tuple

import pydantic
import pytest

from localproviders import ConfigurationError, Tool
from localproviders.schema import arguments_for, as_tools


def get_weather(city: str) -> str:
    """Weather of a city.

    Args:
        city: Name of the city.
    """
    return f"4 C in {city}"


async def get_weather_later(city: str) -> str:
    """Weather of a city."""
    return f"4 C in {city}"


class Place(pydantic.BaseModel):
    city: str = pydantic.Field(description="The city")


_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class LangChainTool:
    """A pydantic object: it has `model_dump`, and its items are pairs."""

    def __init__(self, func: Any = get_weather, coroutine: Any = None, args: Any = Place) -> None:
        self.name, self.description = "weather", "The weather."
        self.func, self.coroutine, self.args_schema = func, coroutine, args

    def model_dump(self, **_: Any) -> Dict[str, Any]:
        return dict(vars(self))

    def __iter__(self) -> Iterator[Tuple[str, Any]]:
        return iter(vars(self).items())

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class LlamaIndexTool:
    """An object that can be called with any arguments."""

    def __init__(self) -> None:
        self.metadata = SimpleNamespace(name="weather", description="The weather.", fn_schema=Place)
        self.fn = get_weather

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class SmolagentsTool:
    name, description = "weather", "The weather."
    inputs: ClassVar = {"city": {"type": "string", "description": "The city"}}

    def forward(self, city: str) -> str:
        return get_weather(city)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


_HAYSTACK = SimpleNamespace(
    name="weather", description="The weather.", parameters=_SCHEMA, function=lambda city: city
)
_PYDANTIC_AI = SimpleNamespace(name="weather", description="The weather.", function=get_weather)
_DSPY = SimpleNamespace(name="weather", desc="The weather.", func=get_weather)


@pytest.mark.parametrize(
    "given",
    [
        LangChainTool(),
        LangChainTool(func=None, coroutine=get_weather_later),
        LangChainTool(args=_SCHEMA),
        LangChainTool(args=None),
        LlamaIndexTool(),
        SmolagentsTool(),
        _HAYSTACK,
        _PYDANTIC_AI,
        _DSPY,
    ],
)
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_tool_of_another_client_is_a_tool(given: Any, is_alone: bool) -> None:
    (tool,) = as_tools(given if is_alone else [given])
    assert (tool.name, tool.description) == ("weather", "The weather.")
    assert list(tool.parameters["properties"]) == ["city"]
    assert list(tool.parameters["required"]) == ["city"]
    assert arguments_for(tool, {"city": "Oslo"}) == {"city": "Oslo"}
    function: Any = tool.function
    result = function(city="Oslo")
    assert "Oslo" in (asyncio.run(result) if asyncio.iscoroutine(result) else result)


def test_the_descriptions_of_the_schema_are_kept() -> None:
    (tool,) = as_tools(LangChainTool())
    assert tool.parameters["properties"]["city"]["description"] == "The city"


def test_a_tool_without_a_schema_is_described_by_its_function() -> None:
    (tool,) = as_tools(_PYDANTIC_AI)
    assert tool.parameters["properties"]["city"]["description"] == "Name of the city."


def _with_secret(city: str, user_id: str) -> str:
    return city + user_id


def _with_default(city: str, unit: Optional[str] = None) -> str:
    return city


def test_a_function_may_have_optional_arguments_that_the_schema_hides() -> None:
    (tool,) = as_tools(LangChainTool(func=_with_default))
    assert list(tool.parameters["properties"]) == ["city"]


def test_a_function_that_gets_arguments_from_its_client_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_tools(LangChainTool(func=_with_secret))
    assert "'user_id'" in str(caught.value)
    assert "does not have this argument" in str(caught.value)


class _Agents:
    name, description, params_json_schema = "weather", "The weather.", _SCHEMA

    async def on_invoke_tool(self, context: Any, text: str) -> str:
        raise NotImplementedError


@pytest.mark.parametrize("given", [LangChainTool(func=None), _Agents()])
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_tool_whose_function_is_hidden_is_refused(given: Any, is_alone: bool) -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_tools(given if is_alone else [given])
    assert type(given).__name__ in str(caught.value)
    assert "pass the function itself, without its decorator" in str(caught.value)


class Counter:
    """A callable object of the caller, with attributes like those of a tool."""

    name, description = "other", "Other."
    function = func = staticmethod(_with_secret)

    def __call__(self, city: str) -> str:
        """Return the city."""
        return city


def test_a_callable_object_with_named_arguments_is_called_itself() -> None:
    counter = Counter()
    (tool,) = as_tools([counter])
    assert (tool.name, tool.function) == ("Counter", counter)


class _McpTool(pydantic.BaseModel):
    name: str = "weather"
    title: str = "Weather"
    description: str = "The weather."
    inputSchema: Dict[str, Any] = _SCHEMA  # noqa: N815  # the name in MCP
    outputSchema: Dict[str, Any] = _SCHEMA  # noqa: N815  # the name in MCP
    annotations: Dict[str, Any] = {"readOnlyHint": True}


class _McpTools(pydantic.BaseModel):
    tools: List[_McpTool] = [_McpTool()]


def test_an_answer_with_tools_is_refused_with_what_to_write() -> None:
    given: Any = _McpTools()
    with pytest.raises(ConfigurationError, match=r"write value\.tools"):
        as_tools(given)


@pytest.mark.parametrize("given", [_McpTool(), [_McpTool()], [_McpTool().model_dump()]])
def test_a_tool_of_mcp_is_a_tool_without_a_function(given: Any) -> None:
    expected = Tool(name="weather", description="The weather.", parameters=_SCHEMA)
    assert as_tools(given) == (expected,)
