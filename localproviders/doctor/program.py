"""Checks of this program: its configuration, packages, lock files and modules."""

from __future__ import annotations

import re
from shlex import quote
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from localproviders._version import __version__
from localproviders.doctor.facts import Facts
from localproviders.doctor.findings import Finding, failure, ok, warning
from localproviders.doctor.products import edit_command, read_version
from localproviders.errors import DependencyError, ProviderError

#: The oldest versions with which this package works, the same as in `setup.cfg`.
MINIMUM: Mapping[str, Tuple[int, ...]] = {"requests": (2, 25, 1), "urllib3": (1, 26, 5)}
# Versions of the package requests before this one do not work with urllib3 2.
_FOR_URLLIB3_2 = (2, 30)

# The first words of hints that are shell commands.
_PROGRAMS = ("chmod", "sudo", "export", "unset", "python", "pip")
# Pattern for the beginning of an error message about the configuration. The first group is the name
# of a variable, and the second group is the path of a file, with a line if the error has one.
_ORIGIN = r"(?:the variable |there is no variable )(\w+)|(/.+?, line \d+|/[^:]+?)(?=: | is not )"
_SHOWN_KEYS = ("model", "locality", "strategy", "profile", "fallback")


def check_configuration(facts: Facts) -> Iterator[Finding]:
    """Report the errors of an invalid configuration, or the origins of a valid one's values."""
    yield from map(_invalid, facts.config_errors)
    config = facts.config
    if config is None:
        return
    by_origin: Dict[str, List[str]] = {}
    for key in config.origins:
        if config.origins[key].kind != "default":
            by_origin.setdefault(_file_of(str(config.origins[key])), []).append(key)
    for origin, keys in by_origin.items():
        words = "1 value is" if len(keys) == 1 else f"{len(keys)} values are"
        yield ok(f"{words} set and valid", origin)
    for key in _SHOWN_KEYS:
        if key in config.origins:
            value = getattr(config, key)
            text = ", ".join(value) if isinstance(value, tuple) else value
            yield ok(f"{key} is {text}", str(config.origins[key]))


def _file_of(origin: str) -> str:
    return re.sub(r", line \d+$", "", origin)


def _invalid(error: ProviderError) -> Finding:
    """Return the finding about an error that makes the configuration invalid.

    The error message begins with the variable or the file that causes the error.
    """
    found = re.match(_ORIGIN, error.message)
    name, place = found.groups() if found is not None else (None, None)
    source = name or place or "the configuration"
    fix = command_in(error.hint)
    fact = error.message if fix or not error.hint else f"{error.message} ({error.hint})"
    fix = fix or (f"unset {name}" if name else edit_command(source))
    return failure(type(error), fact, source, fix or "localproviders config check")


def command_in(hint: Optional[str]) -> Optional[str]:
    """Return the shell command in the hint of an error; None if the hint has none."""
    text = re.sub(r"^.*\brun: ", "", hint or "").partition("; or")[0]
    text = text.partition(", or ")[0].replace("..., unset", "...; unset")
    return text if text.partition(" ")[0] in _PROGRAMS else None


def check_python(facts: Facts) -> Iterator[Finding]:
    """Report the versions of this package and of Python."""
    version = ".".join(map(str, facts.python))
    yield ok(f"localproviders {__version__} with Python {version}", "sys.version")


def check_packages(facts: Facts) -> Iterator[Finding]:
    """Check that the packages that every HTTP request needs are installed and new enough."""
    for name, version in facts.packages.items():
        minimum = ".".join(map(str, MINIMUM[name]))
        fix = f"python -m pip install {quote(f'{name}>={minimum}')}"
        found = read_version(version)
        if version is None:
            yield failure(DependencyError, f"{name} is not installed", name, fix)
        elif found is not None and found < MINIMUM[name]:
            fact = f"{name} {version} is older than {minimum}"
            yield failure(DependencyError, fact, name, fix)
        else:
            yield ok(f"{name} {version}".strip(), name)
    requests, urllib3 = (read_version(facts.packages.get(name)) for name in MINIMUM)
    if requests and urllib3 and urllib3 >= (2,) and requests < _FOR_URLLIB3_2:
        fact = "this version of requests does not work with urllib3 2"
        fix = f"python -m pip install {quote('requests>=2.30')}"
        yield failure(DependencyError, fact, "requests", fix)


def check_modules(facts: Facts) -> Iterator[Finding]:
    """Check that no file hides a standard module, this package or a package that it needs."""
    for name, found in facts.modules.items():
        is_ours = name in ("localproviders", *MINIMUM, "idna", "certifi")
        is_here = found.folder == facts.directory
        hides_ours = is_ours and not found.is_package
        hides_standard = not is_ours and not found.is_standard and is_here
        if hides_ours or hides_standard or (is_ours and is_here and name != "localproviders"):
            fact = f"{found.path} hides the module {name}: imports fail or load the wrong code"
            path = found.path
            yield warning(fact, path, f"mv {quote(path)} {quote(_other_name(path, name))}")


def _other_name(path: str, name: str) -> str:
    head, _, tail = path.rpartition(name)
    return f"{head}my_{name}{tail}"


def check_locks(facts: Facts) -> Iterator[Finding]:
    """Report the lock files in the current directory that a running process holds."""
    for lock in facts.locks:
        held = f"the process {lock.process} holds {lock.path}"
        fact = f"{held}: another run with this lock file ends with exit code 75"
        yield warning(fact, lock.path, f"ps -o pid,etime,args -p {lock.process}")


CHECKS = (
    check_configuration,
    check_python,
    check_packages,
    check_modules,
    check_locks,
)
