"""The commands in the hints of errors."""

from __future__ import annotations

from typing import Optional

import pytest

from localproviders.doctor.program import command_in
from tests.unit.doctor.support import Machine


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


def test_every_problem_of_the_configuration_is_found(machine: Machine) -> None:
    file = machine.configure('modell = "x"\nlocality = "world"\n')
    machine.patch.setenv("LOCALPROVIDERS_MODLE", "x")
    found = {each.source: each.fix for each in machine.examine().with_mark("error")}
    assert f"{file}, line 1" in found and f"{file}, line 2" in found
    assert found["LOCALPROVIDERS_MODLE"] == "unset LOCALPROVIDERS_MODLE"


def test_the_source_is_only_the_path_of_a_file_that_is_not_trusted(machine: Machine) -> None:
    file = machine.configure('model = "x"', mode=0o666)
    (found,) = machine.examine().with_mark("error")
    assert found.source == str(file)
