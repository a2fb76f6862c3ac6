"""The commands in the hints of errors."""

from __future__ import annotations

from typing import Optional

import pytest

from localproviders.doctor.program import command_in


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (None, None),
        ("remove the key, or change the kind", None),
        ("chmod 600 /home/me/key", "chmod 600 /home/me/key"),
        ("chmod go-w /a; or add its folder to X", "chmod go-w /a"),
        ("export BOX_KEY=...", "export BOX_KEY=..."),
        ("unset A, or add its server to a configuration file: [servers.NAME]", "unset A"),
        ("export NEW=..., unset OLD", "export NEW=...; unset OLD"),
        (
            "check its content, then run: sudo chown me /a; or add its folder to X",
            "sudo chown me /a",
        ),
        (
            'to install the extra "config", run: python -m pip install tomli',
            "python -m pip install tomli",
        ),
    ],
)
def test_a_hint_is_a_command_only_if_it_is_one(hint: Optional[str], expected: object) -> None:
    assert command_in(hint) == expected
