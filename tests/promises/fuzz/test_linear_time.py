"""Four times the input takes about four times as long: no parser is quadratic.

The tests compare no durations. With these sizes linear code ends in seconds, and quadratic code in
minutes or hours. A limit of CPU time between the two ends the script. Its memory is limited too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promises.fuzz.long_inputs import FAMILIES

# Ends a case that waits instead of using CPU time.
_STOP_S = 1200
_ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_long_inputs_are_read_in_time(family: str) -> None:
    # Without the variables of a coverage measurement, which would make linear code too slow.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    subprocess.run(
        [sys.executable, "-m", "tests.promises.fuzz.long_inputs", family],
        cwd=str(_ROOT),
        env=env,
        timeout=_STOP_S,
        check=True,
    )
