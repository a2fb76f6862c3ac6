"""Reading a key from where the configuration says that it is."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Callable, Mapping, Optional, Tuple, Union

from localproviders.config.kinds import KeySource
from localproviders.config.layers import Entry
from localproviders.config.places import Surroundings
from localproviders.errors import ConfigurationError
from localproviders.secret import SecretString

# A command that asks a person for a password gets the time to type it.
_COMMAND_S = 60.0
_MOST_BYTES = 64 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_key(entry: Entry, surroundings: Surroundings) -> SecretString:
    """Give the key that an entry holds or points at.

    Raises:
        ConfigurationError: The variable is not set; the file cannot be read, or others may
            read it or the user's file that holds the key itself (not checked on Windows);
            the command fails, or does not end within a minute; or what came is no key.
    """
    try:
        if isinstance(entry.value, SecretString):
            _check_own_file(entry.origin.file, surroundings)
            return entry.value
        source: KeySource = entry.value
        return _FORMS[source.form](source.value, surroundings)
    except ConfigurationError as error:
        message, hint = error.message, error.hint
    raise ConfigurationError(f"{entry.origin}: {message}", hint=hint)


def _check_own_file(file: Optional[Path], surroundings: Surroundings) -> None:
    # A key in the system's file is its administrator's gift to all.
    if file is not None and file == surroundings.user_file():
        with suppress(OSError):  # it was there just now
            _check_mode(file.stat().st_mode, "the key in", file)


def _check_mode(mode: int, what: str, place: Path) -> None:
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigurationError(
            f"others can read {what} {place}", hint=f"chmod 600 {quote(str(place))}"
        )


def _from_variable(name: Union[str, Tuple[str, ...]], surroundings: Surroundings) -> SecretString:
    value = surroundings.environ.get(str(name), "")
    if not value:
        raise ConfigurationError(f"the variable {name} is not set", hint=f"export {name}=...")
    return SecretString(value, _origin=str(name))


def _from_file(path: Union[str, Tuple[str, ...]], _: Surroundings) -> SecretString:
    place = Path(str(path))
    try:
        if not stat.S_ISREG(place.stat().st_mode):  # a pipe would never end
            raise ConfigurationError(f"the key file {place} is no regular file")
        with place.open("rb") as file:
            # Of the open file: the one behind the name may be another by now.
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {place} cannot be read: {error.strerror}",
            hint="write the key into it, for this user only",
        ) from None
    _check_mode(mode, "the key file", place)
    return _decoded(content, f"the key file {place}")


def _from_command(words: Union[str, Tuple[str, ...]], _: Surroundings) -> SecretString:
    import subprocess  # heavy, and few configurations have such a key

    problem: Optional[str] = None
    content = b""
    try:
        content = subprocess.run(  # noqa: S603  # the user's own words, and no shell reads them
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_COMMAND_S,
            check=True,
        ).stdout
    except OSError as error:
        problem = f"cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        problem = f"did not end within {_COMMAND_S:g} s"
    except subprocess.CalledProcessError as error:
        problem = f"ended with status {error.returncode}"
    if problem:
        raise ConfigurationError(
            f"the key command {words[0]} {problem}", hint="try the command in a terminal"
        )
    return _decoded(content, f"the key command {words[0]}")


def _decoded(content: bytes, what: str) -> SecretString:
    try:
        return SecretString(content.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError:
        problem, hint = "it is not UTF-8", None
    except ConfigurationError as error:
        problem, hint = error.message, error.hint
    raise ConfigurationError(f"{what} gave no key: {problem}", hint=hint)


_FORMS: Mapping[str, Callable[[Union[str, Tuple[str, ...]], Surroundings], SecretString]] = {
    "env": _from_variable,
    "file": _from_file,
    "command": _from_command,
}
