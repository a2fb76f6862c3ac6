"""The cost of a configuration file is bounded and grows only with its size."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict

import pytest

from localproviders import Config, ConfigurationError
from tests.unit.config.conftest import Machine


def _refused(machine: Machine) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        machine.load()
    assert len(str(caught.value)) < 1000
    return caught.value


@pytest.mark.parametrize(
    ("table", "one", "most"),
    [
        ("servers", "[servers.s{}]\nkind = 'ollama'\n", 100),
        ("servers", "[profiles.a.servers.s{}]\nkind = 'ollama'\n", 100),
        ("profiles", "[profiles.p{}]\n", 100),
        ("aliases", "aliases.a{} = ['m']\n", 1000),
    ],
)
def test_there_is_a_most_of_servers_profiles_and_aliases(
    machine: Machine, table: str, one: str, most: int
) -> None:
    path = machine.user("".join(one.format(number) for number in range(most)))
    machine.load()
    path.write_text("".join(one.format(number) for number in range(most + 1)))
    error = _refused(machine)
    assert error.message.startswith(str(path))
    assert f"there are {most + 1} {table}, but at most {most} are allowed" in error.message
    assert error.hint == "remove 1 of them"


@pytest.mark.parametrize(
    "text", ["fallback = [{}]", "aliases.a = [{}]", "profiles.p.fallback=[{}]"]
)
def test_a_list_of_names_has_an_end(machine: Machine, text: str) -> None:
    machine.project(text.format("'ollama'," * 100))
    machine.load()
    machine.project(text.format("'ollama'," * 101))
    assert "has 101 entries, but at most 100 are allowed" in _refused(machine).message


_WORD = "x" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        f"strategy = '{_WORD}'",
        f"fallback = ['{_WORD}']",
        f"{_WORD} = 1",
        f"servers.{_WORD}.model = 'm'",
        f"servers.ollama.{_WORD} = 1",
        f"aliases.{_WORD} = 1",
        f"profiles.{_WORD}.x = 1",
        f"profiles.{_WORD} = 1",
    ],
    ids=lambda text: text.replace(_WORD, "x"),
)
def test_an_error_does_not_quote_a_long_word(machine: Machine, text: str) -> None:
    path = machine.project(text)
    error = _refused(machine)
    assert error.message.startswith(str(path)) and "100000 characters" in error.message


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    "one",
    ["[servers.s{}]\n", "a{} = 1\n", "[[a]]\n", "  [ a.b{} ]\n", "profiles.p{}.strategy='first'\n"],
)
@pytest.mark.parametrize("place", ["user", "project"])
def test_a_file_with_too_many_keys_is_not_even_parsed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, one: str, place: str
) -> None:
    monkeypatch.setattr("localproviders.config.files._import_parser", lambda path: _forbidden)
    path = getattr(machine, place)("".join(one.format(number) for number in range(20_001)))
    assert f"{path} has more than 20,000 keys" in _refused(machine).message


@pytest.mark.parametrize("text", ["fallback = [{}]", "x = {{a = [{}]}}"])
def test_a_list_with_too_many_entries_is_not_even_parsed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr("localproviders.config.files._import_parser", lambda path: _forbidden)
    machine.project(text.format("1," * 20_001))
    assert "more than 20,000 keys" in _refused(machine).message


def test_a_number_with_thousands_of_digits_is_not_even_parsed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localproviders.config.files._import_parser", lambda path: _forbidden)
    path = machine.project(f"[limits]\ntotal_s = {'9' * 4000}\n")
    assert _refused(machine).message.startswith(
        f"{path}, line 2: the number has 4,000 or more digits"
    )


def _forbidden(text: str) -> Dict[str, Any]:
    raise AssertionError("it was parsed")


def _lines_run(load: Callable[[], Config]) -> int:
    """Count the lines of Python that a load runs, which no clock and no other load changes."""
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        load()
    finally:
        sys.settrace(before)
    return lines


def test_ten_times_as_many_servers_cost_ten_times_as_much(machine: Machine) -> None:
    servers = [f"[servers.s{number}]\nkind = 'ollama'\n" for number in range(100)]
    machine.user("".join(servers[:10]))
    machine.load()
    few = _lines_run(machine.load)
    machine.user("".join(servers))
    assert _lines_run(machine.load) < few * 12
