"""Whether output is colored: ``--color``, ``NO_COLOR``, and the kind of the stream."""

from __future__ import annotations

import io
from typing import Any, Dict

import pytest

from localproviders.cli.color import STYLES, is_colored, styled


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(
    ("when", "stream", "environ", "expected"),
    [
        ("auto", _Terminal(), {}, True),
        ("auto", io.StringIO(), {}, False),
        ("auto", None, {}, False),
        ("auto", _Terminal(), {"NO_COLOR": "1"}, False),
        ("auto", _Terminal(), {"NO_COLOR": ""}, True),
        ("auto", _Terminal(), {"TERM": "dumb"}, False),
        ("always", io.StringIO(), {"NO_COLOR": "1"}, True),
        ("never", _Terminal(), {}, False),
    ],
)
def test_when_output_is_colored(
    when: str,
    stream: Any,
    environ: Dict[str, str],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert is_colored(when, stream) is expected


def test_a_closed_stream_is_not_colored() -> None:
    stream = _Terminal()
    stream.close()
    stream.isatty = io.StringIO.isatty.__get__(stream)  # type: ignore[method-assign]  # it raises
    assert not is_colored("auto", stream)


@pytest.mark.parametrize("style", sorted(STYLES))
def test_a_style_ends_after_its_text(style: str) -> None:
    assert styled("x", style) == f"\x1b[{STYLES[style]}mx\x1b[0m"
