"""Four times the input takes about four times as long: nothing here is quadratic.

No time is compared. The sizes are such that linear work ends in seconds and quadratic work in
minutes or hours, and the hard stop lies between. Memory has a hard stop too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.long_inputs import FAMILIES

_STOP_S = 60
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_long_inputs_are_read_in_time(family: str) -> None:
    # Measured line by line, honest work would not end in time either.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    subprocess.run(
        [sys.executable, "-m", "tests.fuzz.long_inputs", family],
        cwd=str(_ROOT),
        env=env,
        timeout=_STOP_S,
        check=True,
    )
