"""``python -OO`` removes docstrings, and with them the descriptions of tools."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
from localproviders import Tool
from localproviders.schema import as_tools, tool_from

def weather(city: str) -> str:
    '''Return the weather of a city.'''
    return city

tool = tool_from(weather)
as_tools([Tool(name="weather", description="Return the weather.", function=weather)])
print(repr(tool.description))
"""


def _run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *flags, "-c", _SCRIPT]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_tool_that_lost_its_description_warns_once_and_says_what_to_do() -> None:
    done = _run("-OO")

    assert (done.returncode, done.stdout) == (0, "''\n")
    assert done.stderr.count("RuntimeWarning") == 1
    assert "the tool 'weather' has no description, because Python runs with -OO" in done.stderr
    assert "pass Tool(..., description=...)" in done.stderr
    assert "<string>:9" in done.stderr  # the line that made the tool


@pytest.mark.sample(1)
@pytest.mark.parametrize("flags", [(), ("-O",)])
def test_a_tool_with_its_docstring_gives_no_warning(flags: tuple[str, ...]) -> None:
    done = _run("-W", "error", *flags)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "'Return the weather of a city.'\n"


_TYPES = """
import enum
from dataclasses import dataclass
from localproviders.schema import arguments_for, build, schema_of, tool_from

class Unit(enum.Enum):
    C = "c"

@dataclass
class Place:
    __doc__ = "A place."
    x: int

@dataclass
class Bare:
    x: int

def weather(at: Place, unit: Unit, bare: Bare) -> str:
    return ""

%s
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("code", "words", "missing"),
    [
        ("tool_from(weather)", "(also without a description: the parameter 'unit', the parameter "
         "'bare', the type Unit, the type Bare)", "Place"),
        ("weather.__doc__ = 'Weather.'; tool_from(weather)", "the tool 'weather' has types without "
         "a description, because Python runs with -OO", "parameter '"),
        ("schema_of(Bare)", "the schema has no description, because", "Place"),
        ("schema_of(Unit)", "(also without a description: the type Unit)", "Bare"),
    ],
)  # fmt: skip
def test_the_warning_names_everything_that_may_be_lost(code: str, words: str, missing: str) -> None:
    command = [sys.executable, "-OO", "-c", _TYPES % code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.count("RuntimeWarning") == 1
    assert words in done.stderr
    assert missing not in done.stderr
    assert done.stderr.startswith("<string>:")


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "code", ["schema_of(Place)", "build(Bare, {'x': 1})", "schema_of({'type': 'string'})"]
)
def test_nothing_is_said_where_nothing_is_lost(code: str) -> None:
    command = [sys.executable, "-OO", "-W", "error", "-c", _TYPES % code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
