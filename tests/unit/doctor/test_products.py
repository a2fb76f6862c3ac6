"""The commands of this package, and the versions of servers."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import pytest

from localproviders import kinds
from localproviders.doctor.products import (
    PRODUCTS,
    command,
    for_platform,
    model_folders,
    port_command,
    read_version,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.12.5", (0, 12, 5)),
        ("v0.9.0-rc2", (0, 9, 0)),
        ("0.0.0", None),
        ("b1234-abc", None),
        ("1.2.x", (1, 2)),
        ("", None),
        (None, None),
    ],
)
def test_a_version_is_numbers(text: Optional[str], expected: Optional[Tuple[int, ...]]) -> None:
    assert read_version(text) == expected


def test_a_command_names_the_server_only_if_that_is_needed() -> None:
    assert command("pull", "m", "ollama", "http://127.0.0.1:11434") == (
        "localproviders pull ollama/m"
    )
    assert command("load", "my model", "ollama", "http://127.0.0.1:1") == (
        "localproviders load 'my model' --host ollama=http://127.0.0.1:1"
    )


@pytest.mark.parametrize(
    ("verb", "kind"),
    [("delete", "lmstudio"), ("pull", "openai-compatible"), ("load", "openai-compatible")],
)
def test_no_command_has_a_verb_that_the_server_lacks(verb: str, kind: str) -> None:
    assert command(verb, "m", kind, "http://127.0.0.1:1") is None
    assert command("show", "m", kind, "http://127.0.0.1:1") is not None


def test_a_name_that_begins_with_a_dash_is_no_option() -> None:
    assert command("load", "-m", "ollama", "http://127.0.0.1:1") == (
        "localproviders load ollama/-m --host ollama=http://127.0.0.1:1"
    )


def test_each_product_is_a_kind() -> None:
    assert set(PRODUCTS) <= set(kinds.names())


def test_the_folder_of_a_variable_replaces_the_usual_ones() -> None:
    home = Path("/home/me")
    usual = [str(folder) for kind, folder in model_folders({}, home) if kind == "ollama"]
    own = model_folders({"OLLAMA_MODELS": "/big"}, home)
    assert usual == ["/home/me/.ollama/models", "/usr/share/ollama/.ollama/models"]
    assert [str(folder) for kind, folder in own if kind == "ollama"] == ["/big"]
    assert [str(folder) for _, folder in model_folders({}, None)] == [usual[1]]


@pytest.mark.parametrize(
    ("fix", "expected"),
    [
        ("unset A", "Remove-Item Env:A"),
        ("export A=b.c", '$env:A = "b.c"'),
        ("export A=b C=d=e", '$env:A = "b"; $env:C = "d=e"'),
        ("export A=$(x)", "export A=$(x)"),
        ("ollama serve", "ollama serve"),
        (None, None),
    ],
)
def test_a_command_for_windows_is_one_of_powershell(
    fix: Optional[str], expected: Optional[str]
) -> None:
    assert for_platform(fix, "win32") == expected
    assert for_platform(fix, "linux") == fix


def test_each_system_shows_the_program_at_a_port() -> None:
    shown = [port_command("http://127.0.0.1:1234", name) for name in ("linux", "win32", "darwin")]
    assert [words.split()[0] for words in shown] == ["ss", "netstat", "lsof"]
    assert all("1234" in words for words in shown)
