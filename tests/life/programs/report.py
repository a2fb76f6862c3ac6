"""How a program tells the test what it found."""

from __future__ import annotations

import json
import os
from typing import Any


def say(value: Any, descriptor: int = 1) -> None:
    """Write a line of JSON, past Python's own streams, which may be closed."""
    os.write(descriptor, json.dumps(value).encode("ascii") + b"\n")


def wait() -> None:
    """Wait until the test says to go on."""
    os.read(0, 1)
