"""What a value of the configuration may be: one check for each kind.

A check gives the value as the program wants it, or raises a `ValueError` whose text goes
on from the key's name: "must be ...". No text quotes what may be a key or a password.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple, Union

from localproviders._http.address import parse_endpoint
from localproviders._record import did_you_mean
from localproviders.config.places import Surroundings
from localproviders.errors import ConfigurationError
from localproviders.secret import SecretString, Unseen
from localproviders.types.limits import Limits
from localproviders.types.retry import RetryPolicy


class Place(NamedTuple):
    """Where a value stands, for what is relative to that."""

    surroundings: Surroundings
    base: Optional[Path]

    def path(self, value: Any) -> str:
        """Make a path of a text, absolute."""
        if not isinstance(value, os.PathLike):
            value = text(value, self)
        return str(self.surroundings.expand(os.fspath(value), self.base))


Check = Callable[[Any, Place], Any]


class KeySource(NamedTuple):
    """Where a key is to be read: the form (``env``, ``file``, ``command``) and its value."""

    form: str
    value: Union[str, Tuple[str, ...]]


def wrong(value: Any, wanted: str) -> ValueError:
    """Make the error for a value of the wrong type, which is not quoted."""
    names = {bool: "true or false", dict: "a table", list: "a list", str: "a text"}
    found = names.get(type(value), "a text" if isinstance(value, str) else type(value).__name__)
    return ValueError(f"must be {wanted}, and is {found}")


def text(value: Any, _: Place) -> str:
    """Take a text that says something."""
    if not isinstance(value, str):
        raise wrong(value, "a text")
    if not value.strip():
        raise ValueError("must not be empty")
    if "\0" in value:
        raise ValueError("must not hold a NUL")
    return str(value)


def boolean(value: Any, _: Place) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise wrong(value, "true or false")
    return value


def one_of(*choices: str) -> Check:
    """Take one of some words."""

    def check(value: Any, place: Place) -> str:
        word = text(value, place)
        if word not in choices:
            near = did_you_mean(word, list(choices))
            raise ValueError(f"is {word!r}{near}, and must be one of {', '.join(choices)}")
        return word

    return check


def texts(value: Any, place: Place) -> Tuple[str, ...]:
    """Take a list of texts."""
    if not isinstance(value, (list, tuple)):
        raise wrong(value, "a list of texts")
    return tuple(text(each, place) for each in value)


def some_texts(value: Any, place: Place) -> Tuple[str, ...]:
    """Take a list of texts that holds one at least."""
    found = texts(value, place)
    if not found:
        raise ValueError("must name one at least")
    return found


def limit(name: str) -> Check:
    """Take seconds, as `Limits` does."""

    def check(value: Any, _: Place) -> Any:
        if isinstance(value, str):
            raise wrong(value, "a number of seconds")
        return getattr(Limits(**{name: value}), name)

    return check


def retry(name: str) -> Check:
    """Take a number, as `RetryPolicy` does."""

    def check(value: Any, _: Place) -> Any:
        if isinstance(value, str):
            raise wrong(value, "a number")
        return getattr(RetryPolicy(**{name: value}), name)

    return check


def endpoint(value: Any, place: Place) -> str:
    """Take an address, as the providers do."""
    found = text(value, place).strip()
    parse_endpoint(found, default_port=80)
    return found


def file(value: Any, place: Place) -> Path:
    """Take a path; the file itself is looked at when it is needed."""
    return Path(place.path(value))


def bundle(value: Any, place: Place) -> str:
    """Take a path, or the word that means the usual variables."""
    return "environment" if value == "environment" else place.path(value)


def certificate(value: Any, place: Place) -> Union[str, Tuple[str, str]]:
    """Take a path, or a list of two."""
    if not isinstance(value, (list, tuple)):
        return place.path(value)
    if len(value) != 2:
        raise ValueError("must be one path, or two: of the certificate and of its key")
    return place.path(value[0]), place.path(value[1])


def proxies(value: Any, place: Place) -> Union[str, Mapping[str, str]]:
    """Take a URL by scheme, or the word that means the usual variables."""
    if value == "environment":
        return "environment"
    if not isinstance(value, Mapping) or not value:
        raise ValueError('must be a table of scheme and URL, or "environment"')
    # A URL may hold a password, and `ServerConfig.options` is a plain dictionary.
    return {str(scheme): Unseen(text(url, place)) for scheme, url in value.items()}


def key(value: Any, place: Place) -> Union[SecretString, KeySource]:
    """Take a key, or where it is to be read."""
    if isinstance(value, SecretString):
        return value
    if isinstance(value, str):
        # As other programs write it; sent as it is, a server would only say that it is wrong.
        if re.fullmatch(r"\$\{\w+\}|\$[A-Z_][A-Z0-9_]*", value):
            raise ValueError('is the name of a variable, and must be {env = "NAME"}')
        return SecretString(str(value))
    forms = ("env", "file", "command")
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in forms:
        raise ValueError('must be a text, {env = "NAME"}, {file = "path"} or {command = ["..."]}')
    ((form, given),) = value.items()
    if form == "command":
        program, *rest = some_texts(given, place)
        # Not from the current directory, which may be somebody else's project.
        found = place.path(program) if os.path.dirname(program) else program
        return KeySource(form, (found, *rest))
    return KeySource(form, place.path(given) if form == "file" else text(given, place))


# --- out of the text of a variable -------------------------------------------------------


def as_text(said: str) -> Any:
    """Take a variable's text as it is."""
    return said


def as_number(said: str) -> Any:
    """Read a number; what is none stays a text, and is refused as one."""
    for convert in (int, float):
        try:
            return convert(said)
        except ValueError:
            continue
    return said


def as_boolean(said: str) -> Any:
    """Read true or false, also written 1 or 0."""
    return {"true": True, "1": True, "false": False, "0": False}.get(said.lower(), said)


def as_list(said: str) -> Any:
    """Read a list that commas divide."""
    return [each.strip() for each in said.split(",") if each.strip()]


def problem(error: ValueError) -> Tuple[str, Optional[str]]:
    """Give the sentence and the hint of what a check raised."""
    if isinstance(error, ConfigurationError):
        return f"is impossible: {error.message}", error.hint
    return str(error), None
