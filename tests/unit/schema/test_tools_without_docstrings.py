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


@pytest.mark.parametrize("flags", [(), ("-O",)])
def test_a_tool_with_its_docstring_gives_no_warning(flags: tuple[str, ...]) -> None:
    done = _run("-W", "error", *flags)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "'Return the weather of a city.'\n"
