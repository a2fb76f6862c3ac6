"""Checks the values of the options of ``batch run``."""

from __future__ import annotations

import os
import re
from argparse import ArgumentTypeError
from typing import List, Tuple, Type, Union

from localproviders import errors
from localproviders._did_you_mean import did_you_mean
from localproviders.cli.values import whole
from localproviders.errors import ProviderError

_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)/s", re.ASCII)
_PART = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?%", re.ASCII)
_WHOLE_PERCENT = 100


def concurrency(text: str) -> Union[int, str]:
    """Return the number of requests in flight, or ``auto``.

    Raises:
        argparse.ArgumentTypeError: The text is neither.
    """
    return text if text == "auto" else whole(1)(text)


def rate(text: str) -> float:
    """Return the number of requests per second: 10.0 for ``10/s``.

    Raises:
        argparse.ArgumentTypeError: The text is no rate above zero.
    """
    found = _RATE.fullmatch(text)
    number = float(found.group(1)) if found else 0.0
    if not number:
        raise ArgumentTypeError(f"{text!r} is no rate: write 10/s or 0.5/s")
    return number


def failures(text: str) -> Union[int, str]:
    """Return the number of rows that may fail, or a percentage of all rows such as ``5%``.

    Raises:
        argparse.ArgumentTypeError: The text is neither.
    """
    if not text.endswith("%"):
        return whole(0)(text)
    if not _PART.fullmatch(text) or float(text[:-1]) > _WHOLE_PERCENT:
        raise ArgumentTypeError(
            f"{text!r} is no percentage of the rows: write 5%, or a number of rows"
        )
    return text


def retried(text: str) -> List[Type[ProviderError]]:
    """Return the classes of errors whose names are in a list such as ``LimitError,ServerError``.

    Raises:
        argparse.ArgumentTypeError: A name is not that of an error class.
    """
    found = []
    known = [
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, ProviderError)
    ]
    for name in (each.strip() for each in text.split(",")):
        if name not in known:
            raise ArgumentTypeError(
                f"{name!r} is no error class{did_you_mean(name, known)}; the results file names "
                "the class of each error"
            )
        found.append(vars(errors)[name])
    return found


def shard(text: str) -> Tuple[int, int]:
    """Return the number of this part, counted from 1, and the number of all parts.

    ``3/8`` is the third of eight parts. For ``slurm``, both numbers come from environment variables
    of a Slurm job array or of ``srun``. For ``parallel/8``, the number of the part is the number of
    the job of GNU parallel, from an environment variable.

    Raises:
        argparse.ArgumentTypeError: The text names no part, or a variable is missing.
    """
    if text == "slurm":
        return _of_slurm()
    name, _, count = text.partition("/")
    if name == "parallel":
        text = f"{_variable('PARALLEL_SEQ', text)}/{count}"
    found = _SHARD.fullmatch(text)
    numbers = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 1 <= numbers[0] <= numbers[1]:
        raise ArgumentTypeError(
            f"{text!r} is no part: write slurm, parallel/8, or 3/8 for the third of eight parts"
        )
    return numbers


def _of_slurm() -> Tuple[int, int]:
    """Return the part for this task of a job array, or else for this task of ``srun``."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ:
        number, count = (_variable(f"SLURM_{name}", "slurm") for name in ("PROCID", "NTASKS"))
        return number + 1, count
    task, first, count = (
        _variable(f"SLURM_ARRAY_TASK_{name}", "slurm") for name in ("ID", "MIN", "COUNT")
    )
    step = _variable("SLURM_ARRAY_TASK_STEP", "slurm", "1")
    number = (task - first) // step + 1
    if not 1 <= number <= count:
        raise ArgumentTypeError("the task numbers of the job array have no fixed step: write K/N")
    return number, count


def _variable(name: str, text: str, usual: str = "") -> int:
    value = os.environ.get(name, usual)
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        raise ArgumentTypeError(
            f"{text!r} needs a number in the variable {name}, but it is {value!r}: write K/N"
        )
    return int(value)
