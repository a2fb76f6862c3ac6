"""The commands of this package, and the versions of servers."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import pytest

from localproviders import kinds
from localproviders.doctor.products import PRODUCTS, command, model_folders, read_version


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


def test_each_product_is_a_kind() -> None:
    assert set(PRODUCTS) <= set(kinds.names())


def test_the_folder_of_a_variable_replaces_the_usual_ones() -> None:
    home = Path("/home/me")
    usual = [str(folder) for kind, folder in model_folders({}, home) if kind == "ollama"]
    own = model_folders({"OLLAMA_MODELS": "/big"}, home)
    assert usual == ["/home/me/.ollama/models", "/usr/share/ollama/.ollama/models"]
    assert [str(folder) for kind, folder in own if kind == "ollama"] == ["/big"]
    assert [str(folder) for _, folder in model_folders({}, None)] == [usual[1]]
