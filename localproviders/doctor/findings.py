"""The results of an examination: `Finding` and `Report`."""

from __future__ import annotations

from typing import Dict, List, Literal, Mapping, Optional, Tuple, Type

from localproviders._record import Line, Record, field, loads_each, record
from localproviders._redact import count_with_noun
from localproviders.errors import ProviderError

#: How serious a finding is.
Mark = Literal["ok", "warning", "error"]

_ORDER: Mapping[str, int] = {"error": 0, "warning": 1, "ok": 2}

#: The exit code of warnings if the examination is strict.
WARNING_CODE = 1


@record
class Finding(Line):
    """One fact about this machine. Its `str` is one line.

    Attributes:
        mark: ``ok``; ``warning`` if calls work, but not as a user expects; or ``error`` if calls
            fail.
        fact: The fact, in one sentence on one line. It contains no API key and no password.
        source: The source of the fact, such as the path of a file, the address of a server, or the
            name of an environment variable.
        fix: A shell command that corrects the cause, on one line; None if no command does.
        exit_code: The exit code of the error that a call raises, if the mark is ``error``; 1 for
            ``warning``; 0 for ``ok``.
    """

    mark: Mark
    fact: str
    source: str
    fix: Optional[str] = None
    exit_code: int = 0

    def __post_init__(self) -> None:
        self._put_on_one_line("fact", "source", "fix")

    def __str__(self) -> str:
        fix = f"; fix: {self.fix}" if self.fix else ""
        return f"{self.mark}: {self.fact} ({self.source}){fix}"


def ok(fact: str, source: str, fix: Optional[str] = None) -> Finding:
    """Make a finding that needs no action."""
    return Finding(mark="ok", fact=fact, source=source, fix=fix)


def warning(fact: str, source: str, fix: Optional[str] = None) -> Finding:
    """Make a finding about something that works, but not as a user expects."""
    return Finding(mark="warning", fact=fact, source=source, fix=fix, exit_code=WARNING_CODE)


def failure(
    raised: Type[ProviderError], fact: str, source: str, fix: Optional[str] = None
) -> Finding:
    """Make a finding about calls that fail.

    Args:
        raised: The class of the error that such a call raises. The finding gets its exit code.
        fact: The fact.
        source: The source of the fact.
        fix: A shell command that corrects the cause.
    """
    return Finding(mark="error", fact=fact, source=source, fix=fix, exit_code=raised.exit_code)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as ``no models``, ``1 model`` or ``2 models``."""
    return count_with_noun(number, noun) if number else f"no {noun}s"


@record
class Report(Record):
    """The findings of one examination. Its `str` has one line for each finding.

    Attributes:
        findings: The findings: errors first, then warnings, then the others.
        strict: Whether warnings change the exit code.
    """

    findings: Tuple[Finding, ...] = field(default=(), metadata=loads_each(Finding.from_dict))
    strict: bool = False

    def __post_init__(self) -> None:
        self._keep_as_tuples("findings")

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    @property
    def exit_code(self) -> int:
        """The exit code of the command.

        It is the highest code among the errors. Without errors it is 0, or 1 if the examination is
        strict and there are warnings.
        """
        errors = [each.exit_code for each in self.with_mark("error")]
        if errors:
            return max(errors)
        return WARNING_CODE if self.strict and self.with_mark("warning") else 0

    def with_mark(self, mark: Mark) -> List[Finding]:
        """Return the findings with one mark, in their order."""
        return [each for each in self.findings if each.mark == mark]


def make_report(findings: List[Finding], *, strict: bool) -> Report:
    """Make a report that has each finding once, the most serious findings first."""
    unique: Dict[Finding, None] = dict.fromkeys(findings)
    ordered = sorted(unique, key=lambda finding: _ORDER[finding.mark])
    return Report(findings=tuple(ordered), strict=strict)
