"""Read API keys from the variables, files and commands in the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from types import CellType
from typing import (
    Any,
    Callable,
    Container,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Tuple,
)

from localproviders._credentials import is_key_header
from localproviders._file_owner import opened, why_exposed
from localproviders._interrupts import is_callers
from localproviders._redact import one_line
from localproviders.config.files import Surroundings
from localproviders.config.keys import KeySource
from localproviders.config.layers import Entry, KeyPath, Layer
from localproviders.errors import ConfigurationError
from localproviders.secret import Sealed, SecretString, as_key, as_secret

# Time limit of a command: long enough for a person to type a password that it asks for.
_COMMAND_S = 60.0
_MOST_BYTES = 64 * 1024


def read_key(
    entry: Entry,
    surroundings: Surroundings,
    check: Callable[[CellType], Optional[SecretString]] = as_key,
) -> SecretString:
    """Return the API key, or the password, that an entry contains or refers to.

    Args:
        entry: The API key, or its source.
        surroundings: The environment variables. They also name the home directory and the
            trusted folders.
        check: Function that checks the value in its `Sealed` cell: `as_key` for an API key, or
            `as_secret` for a password.

    Raises:
        ConfigurationError: The variable is not set; the file cannot be read, or other users
            could have written it or can read it; the command is not in an absolute folder of
            ``PATH``, fails, or does not end within a minute; or the key is not valid.
    """
    try:
        found = _read(entry, surroundings)
        check(Sealed(found))
        return found
    except ConfigurationError as error:
        message, hint = error.message, error.hint
    raise ConfigurationError(f"{entry.origin}: {message}", hint=hint)


def _read(entry: Entry, surroundings: Surroundings) -> SecretString:
    if isinstance(entry.value, SecretString):
        return entry.value
    source: KeySource = entry.value
    return _FORMS[source.form](source.value, entry, surroundings)


def read_secrets(merged: Layer, surroundings: Surroundings) -> Dict[str, Dict[str, Any]]:
    """Return the API key, the user, the password and the headers of each server, if they are set.

    Args:
        merged: All layers, merged.
        surroundings: See `read_key`.

    Raises:
        ConfigurationError: One of them cannot be read, see `read_key`.
    """
    found: Dict[str, Dict[str, Any]] = {}
    for path, entry in merged.items():
        if path[0] != "servers" or entry.key is None:
            continue
        if path[2:] in _SECRET_KEYS:
            check = as_key if path[2] == "api_key" else as_secret
            found.setdefault(path[1], {})[path[2]] = read_key(entry, surroundings, check)
        elif path[2] == "headers":
            headers = found.setdefault(path[1], {}).setdefault("headers", {})
            is_plain = isinstance(entry.value, str)
            headers[path[3]] = entry.value if is_plain else read_key(entry, surroundings)
    return found


_SECRET_KEYS = (("api_key",), ("username",), ("password",))


def check_exposed(entries: Iterable[Tuple[KeyPath, Entry]], exposed: Container[Path]) -> None:
    """Check that files which other users can read contain no API key, in any profile.

    Args:
        entries: All entries of the files, with their paths.
        exposed: Files that must not contain an API key, because other users can read them.

    Raises:
        ConfigurationError: One of the `exposed` files contains an API key.
    """
    for path, entry in entries:
        file = entry.origin.file
        is_header = path[2:3] == ("headers",) and isinstance(entry.value, str)
        is_key = is_key_header(path[3]) if is_header else isinstance(entry.value, SecretString)
        if is_key and file is not None and file in exposed:
            raise ConfigurationError(
                f"{entry.origin}: other users can read the key in {one_line(str(file))}",
                hint=f"chmod 600 {quote(str(file))}",
            )


def _from_variable(name: Any, _: Entry, surroundings: Surroundings) -> SecretString:
    value = surroundings.environ.get(str(name), "")
    if not value:
        raise ConfigurationError(f"the variable {name} is not set", hint=f"export {name}=...")
    return SecretString(value, _origin=str(name))


def _from_file(path: Any, _: Entry, surroundings: Surroundings) -> SecretString:
    place = Path(str(path))
    description = one_line(f"the key file {place}")
    try:
        with opened(place, description) as file:
            # For the user's own file, the readers are checked before the owner and the writers: the
            # hint about readers, chmod 600, also removes the others' permission to write. So one
            # command is enough. For any other file, the owner is checked first.
            if not file.is_own:
                file.check_owner(surroundings.trusted_folders)
            if why_exposed(file.status):
                raise ConfigurationError(
                    f"other users can read {description}", hint=f"chmod 600 {quote(str(place))}"
                )
            file.check_owner(surroundings.trusted_folders)
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{description} cannot be read: {error.strerror}",
            hint="write the key into this file, and make it readable for this user only",
        ) from None
    if len(content) > _MOST_BYTES:
        raise ConfigurationError(
            f"{description} is longer than 64 KiB, but must contain only the key"
        )
    return _decode_key(content, description)


def _from_command(words: Any, entry: Entry, surroundings: Surroundings) -> SecretString:
    import subprocess  # slow to import, and few configurations have such a key

    problem: Optional[str] = None
    content = b""
    try:
        content = subprocess.run(  # noqa: S603  # the user chose the command, and no shell is used
            [_find_program(words[0]), *words[1:]],
            cwd=_working_directory(entry, surroundings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_COMMAND_S,
            check=True,
        ).stdout
    except OSError as error:
        if is_callers(error):
            raise
        problem = f"cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        problem = f"did not end within {_COMMAND_S:g} s"
    except subprocess.CalledProcessError as error:
        problem = f"ended with status {error.returncode}"
    if problem:
        raise ConfigurationError(
            f"the key command {words[0]} {problem}", hint="try the command in a terminal"
        )
    return _decode_key(content, f"the output of the key command {words[0]}")


def _find_program(name: str) -> str:
    """Return the absolute path of a command.

    Only absolute folders of ``PATH`` are searched. An empty entry or ``.`` means the current
    folder, which may be another user's project.

    Raises:
        ConfigurationError: The command is in none of these folders.
    """
    if os.path.isabs(name):
        return name
    for path in _possible_paths(name):
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise ConfigurationError(
        f"the key command {name} cannot be run: No such file in an absolute folder of PATH",
        hint="write the absolute path of the command",
    )


def _possible_paths(name: str) -> Iterator[str]:
    endings = os.environ.get("PATHEXT", "").split(os.pathsep) if os.name == "nt" else []
    for folder in os.get_exec_path():
        if os.path.isabs(folder):
            yield from (os.path.join(folder, name + ending) for ending in ["", *endings])


def _working_directory(entry: Entry, surroundings: Surroundings) -> str:
    """Return the folder in which a command is run.

    This is the folder of the configuration file that contains the command. For a command from an
    argument, it is the home directory. If this folder does not exist, the root is used. The current
    folder is never used, because some programs, such as ``python -m``, run files from there.
    """
    file, home = entry.origin.file, surroundings.home
    folder = home if file is None else file.parent
    known = folder is not None and os.path.isdir(folder)
    return str(folder) if known else os.path.abspath(os.sep)


def _decode_key(content: bytes, description: str) -> SecretString:
    try:
        return SecretString(content.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError:
        problem, hint = "the text is not UTF-8", None
    except ConfigurationError as error:
        problem, hint = error.message, error.hint
    raise ConfigurationError(f"{description} does not contain a valid key: {problem}", hint=hint)


_FORMS: Mapping[str, Callable[[Any, Entry, Surroundings], SecretString]] = {
    "env": _from_variable,
    "file": _from_file,
    "command": _from_command,
}
