"""A check that fails is a finding, and the checks only read their facts."""

from __future__ import annotations

import inspect
from typing import Iterator

import pytest

from localproviders.doctor import Facts, Finding, diagnose, examine
from localproviders.doctor.checks import CHECKS
from localproviders.doctor.facts import Failure
from localproviders.testing import FakeOllama
from tests.unit.doctor.support import Machine


def _broken(_: Facts) -> Iterator[Finding]:
    raise ValueError("sk-s3cret")


def test_a_check_that_fails_is_a_finding() -> None:
    report = diagnose(Facts(), checks=[_broken])
    (found,) = report.findings
    assert (found.mark, found.fact) == ("warning", "the check _broken failed: ValueError")


def test_an_interrupt_in_a_check_is_not_a_finding() -> None:
    def interrupted(_: Facts) -> Iterator[Finding]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        diagnose(Facts(), checks=[interrupted])


def test_a_part_that_could_not_be_read_is_a_finding() -> None:
    report = diagnose(Facts(failures=(Failure("netstat", "OSError: no"),)), checks=[])
    assert [str(each) for each in report.findings] == [
        "warning: netstat could not be read: OSError: no (localproviders doctor)"
    ]


def test_facts_without_values_end_no_check() -> None:
    report = diagnose(Facts())
    assert not [each for each in report.findings if "the check" in each.fact]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_each_check_is_a_documented_function_of_the_facts(check: object) -> None:
    assert callable(check)
    assert list(inspect.signature(check).parameters) == ["facts"]
    assert (check.__doc__ or "").startswith(("Check ", "Report ", "Compare "))


def test_examine_reads_this_machine(machine: Machine) -> None:
    report = examine(timeout_s=60, strict=True)
    assert f"Ollama {FakeOllama.version} at {machine.ollama.url} is available" in str(report)
    assert report.strict
