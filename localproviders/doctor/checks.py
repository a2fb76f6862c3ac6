"""`examine`: read the facts, run each check, and return the report."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, List, Optional, Tuple

from localproviders._interrupts import is_callers
from localproviders._redact import one_line
from localproviders.doctor import environment, exposure, memory, models, program, servers
from localproviders.doctor.facts import Facts
from localproviders.doctor.findings import Finding, Report, make_report, warning
from localproviders.doctor.probe import DEFAULT_TIMEOUT_S, read_facts
from localproviders.doctor.products import for_platform
from localproviders.types.requests import Locality

Check = Callable[[Facts], Iterable[Finding]]

_SOURCE = "localproviders doctor"

#: The checks, in the order of their findings. Each is a pure function of the facts.
CHECKS: Tuple[Check, ...] = (
    *program.CHECKS,
    *environment.CHECKS,
    *servers.CHECKS,
    *models.CHECKS,
    *memory.CHECKS,
    *exposure.CHECKS,
)


def examine(
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    locality: Optional[Locality] = None,
    profile: Optional[str] = None,
    strict: bool = False,
) -> Report:
    """Examine this machine: its servers, their models, the environment and the configuration.

    The configuration is read as `Config.load` reads it. If the configuration names commands that
    print API keys, these commands run. The servers on this machine and the configured servers are
    asked for their lists of models, unless the locality forbids requests to them. No prompt is
    sent, and no model is loaded. If a part of the machine cannot be read, or a check fails, the
    report has a finding about the failure.

    Args:
        timeout_s: Seconds for all requests and commands together. A part of the machine that was
            not read within this time is reported as a finding.
        locality: Where requests may go; None uses the configured locality.
        profile: Name of the profile of the configuration; None uses ``LOCALPROVIDERS_PROFILE``.
        strict: Whether warnings change the exit code of the report.

    Returns:
        The findings: errors first, then warnings, then the others.

    Raises:
        ConfigurationError: `timeout_s` is not a finite number above 0.
    """
    facts = read_facts(timeout_s=timeout_s, locality=locality, profile=profile)
    return diagnose(facts, strict=strict)


def diagnose(facts: Facts, *, strict: bool = False, checks: Iterable[Check] = CHECKS) -> Report:
    """Run the checks on facts that were read before. The checks read and send nothing.

    Args:
        facts: The facts.
        strict: Whether warnings change the exit code of the report.
        checks: The checks.
    """
    findings = [
        finding.replace(fix=for_platform(finding.fix, facts.platform))
        for check in checks
        for finding in _run(check, facts)
    ]
    return make_report([*findings, *_unread(facts)], strict=strict)


def _run(check: Check, facts: Facts) -> List[Finding]:
    """Return the findings of a check; if the check fails, return one finding that says so."""
    try:
        return list(check(facts))
    except Exception as error:
        if is_callers(error):
            raise
        problem = one_line(f"{check.__name__} failed: {type(error).__name__}")
        return [warning(f"the check {problem}", _SOURCE)]


def _unread(facts: Facts) -> Iterator[Finding]:
    for failed in facts.failures:
        yield warning(f"{failed.part} could not be read: {failed.reason}", _SOURCE)
