"""The table of configuration keys: their values, defaults, variables and permissions.

A test compares docs/configuration.md with this table. Each type of value has one check. A check
returns the converted value, or raises a `ValueError` whose text continues a sentence that begins
with the name of the key: "must be ...". No error text quotes a value that may be an API key or a
password.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
    cast,
)

from localproviders import kinds as registry
from localproviders._address import parse_endpoint
from localproviders._did_you_mean import did_you_mean, suggest_number
from localproviders.config.files import Surroundings
from localproviders.errors import ConfigurationError
from localproviders.kinds import KindKey
from localproviders.secret import Sealed, SecretString, Unseen, as_key
from localproviders.types.limits import Limits, RetryPolicy
from localproviders.types.requests import LOCALITIES

# Maximum number of entries of a list. An alias with more entries would cause too many requests,
# because each of its models may need a request.
_MOST_TEXTS = 100
# Maximum length of a string, because an error message may quote it.
_LONGEST_TEXT = 10_000


class Place(NamedTuple):
    """The place where a value is written, which decides the meaning of relative paths.

    Attributes:
        surroundings: The environment variables, which name the home directory for ``~``.
        base: The directory at which relative paths start; None if it was deleted.
    """

    surroundings: Surroundings
    base: Optional[Path]

    def path(self, value: Any) -> str:
        """Return a string as an absolute path."""
        if not isinstance(value, os.PathLike):
            value = text(value, self)
        return str(self.surroundings.expand(os.fspath(value), self.base))


Check = Callable[[Any, Place], Any]


class KeySource(NamedTuple):
    """The source of an API key: its form (``env``, ``file`` or ``command``) and its value."""

    form: str
    value: Union[str, Tuple[str, ...]]


def wrong_type(
    value: Any, expected: str, *, read: Optional[Callable[[Any], object]] = None
) -> ValueError:
    """Make the error for a wrong type. The value may be secret, so the error does not quote it.

    Args:
        value: The value.
        expected: The right type, in words.
        read: Function that accepts the right numbers, and raises ValueError for others. If it is
            given, the value cannot be a secret, and a text with a right number is quoted.
    """
    names = {bool: "true or false", dict: "a table", list: "a list", str: "a string"}
    found = names.get(type(value), "a string" if isinstance(value, str) else type(value).__name__)
    line = suggest_number("", value).replace("=", "")
    more = f"{line} without quotes" if line and read and _is_accepted(value, read) else ""
    return ValueError(f"must be {expected}, but is {found}{more}")


def _is_accepted(number: str, read: Callable[[Any], object]) -> bool:
    try:
        read(as_number(number))
    except ValueError:
        return False
    return True


def text(value: Any, _: Place) -> str:
    """Check a string. It must not be blank, contain a NUL character, or be too long."""
    if not isinstance(value, str):
        raise wrong_type(value, "a string")
    if not value.strip():
        raise ValueError("must not be empty")
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"has {len(value)} characters, but at most {_LONGEST_TEXT} are allowed")
    return str(value)


def boolean(value: Any, _: Place) -> bool:
    """Check a boolean."""
    if not isinstance(value, bool):
        raise wrong_type(value, "true or false")
    return value


def one_of(*choices: str) -> Check:
    """Return a check that accepts only the given words."""

    def check(value: Any, place: Place) -> str:
        word = text(value, place)
        if word not in choices:
            near = did_you_mean(word, list(choices))
            raise ValueError(f"must be one of {', '.join(choices)}, but is {word!r}{near}")
        return word

    return check


def kind(value: Any, place: Place) -> str:
    """Check the name or an alias of a provider kind, or the name of a service.

    Return the main name of the kind, or the name of the service.
    """
    word = text(value, place)
    found = registry.find(word)
    if found is not None:
        return found.name
    if registry.find_service(word) is not None:
        return word
    checked: str = one_of(*kind_words())(value, place)
    return checked


def kind_words() -> List[str]:
    """Return the names of all kinds, then the names of all services, then the aliases of kinds.

    This imports every kind.
    """
    known = registry.registered()
    services = [service.name for kind in known for service in kind.services]
    return [*registry.names(), *services, *(alias for kind in known for alias in kind.aliases)]


def is_kind_word(word: str) -> bool:
    """Return whether a word is in `kind_words`. For a kind of this package, nothing is imported."""
    return registry.is_built_in(word) or word in kind_words()


def number(value: Any, _: Place) -> Any:
    """Check a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(value, "a number", read=float)
    return value


def count(value: Any, place: Place) -> int:
    """Check a whole number of at least 1."""
    expected = "a whole number of at least 1"
    if number(value, place) < 1:
        raise ValueError(f"is {value!r}, but must be {expected}")
    if not isinstance(value, int):
        raise wrong_type(value, expected)
    return value


def texts(value: Any, place: Place) -> Tuple[str, ...]:
    """Check a list of strings."""
    if not isinstance(value, (list, tuple)):
        raise wrong_type(value, "a list of strings")
    if len(value) > _MOST_TEXTS:
        raise ValueError(f"has {len(value)} entries, but at most {_MOST_TEXTS} are allowed")
    return tuple(text(each, place) for each in value)


def nonempty_texts(value: Any, place: Place) -> Tuple[str, ...]:
    """Check a list of at least one string."""
    found = texts(value, place)
    if not found:
        raise ValueError("must not be an empty list")
    return found


def limit(name: str) -> Check:
    """Return a check for a field of `Limits`, in seconds."""

    def read(value: Any) -> Any:
        return getattr(Limits(**{name: value}), name)

    def check(value: Any, _: Place) -> Any:
        if isinstance(value, str):
            raise wrong_type(value, "a number of seconds", read=read)
        return read(value)

    return check


def retry(name: str) -> Check:
    """Return a check for a field of `RetryPolicy`."""

    def read(value: Any) -> Any:
        return getattr(RetryPolicy(**{name: value}), name)

    def check(value: Any, _: Place) -> Any:
        if isinstance(value, str):
            raise wrong_type(value, "a number", read=read)
        return read(value)

    return check


def endpoint(value: Any, place: Place) -> str:
    """Check an address by the rules of the providers."""
    found = text(value, place).strip()
    parse_endpoint(found, default_port=80)
    return found


def file(value: Any, place: Place) -> Path:
    """Check a path. The file itself is opened only when it is needed."""
    return Path(place.path(value))


def folders(value: Any, place: Place) -> Tuple[Path, ...]:
    """Check a list of folders. Refuse relative paths.

    In a variable or an argument, the meaning of a relative path depends on the current directory.
    """
    if not isinstance(value, (list, tuple)):
        raise wrong_type(value, "a list of strings")
    given = [str(each) if isinstance(each, os.PathLike) else text(each, place) for each in value]
    for each in given:
        # On Windows, a path without a drive is not absolute: it depends on the current drive.
        if not Path(each).is_absolute() and each != "~" and each[:2] not in ("~/", "~\\"):
            raise ValueError(f"must contain only absolute paths, but contains {each!r}")
    return tuple(Path(place.path(each)) for each in given)


def bundle(value: Any, place: Place) -> str:
    """Check a path, or ``environment``, which means a variable such as ``REQUESTS_CA_BUNDLE``."""
    return "environment" if value == "environment" else place.path(value)


def certificate(value: Any, place: Place) -> Union[str, Tuple[str, str]]:
    """Check a path, or a list of two paths."""
    if not isinstance(value, (list, tuple)):
        return place.path(value)
    if len(value) != 2:
        raise ValueError("must be one path, or a list of two: the certificate and its private key")
    return place.path(value[0]), place.path(value[1])


def proxies(value: Any, place: Place) -> Union[str, Mapping[str, str]]:
    """Check a table of URLs by scheme, or ``environment``, which means ``HTTPS_PROXY`` etc."""
    if value == "environment":
        return "environment"
    if not isinstance(value, Mapping) or not value:
        raise ValueError('must be a table of schemes and URLs, or "environment"')
    # A URL may contain a password, and the repr of `ServerConfig.options()` must not show it.
    return {str(scheme): Unseen(text(url, place)) for scheme, url in value.items()}


def key(value: Any, place: Place) -> Union[SecretString, KeySource]:
    """Check an API key, or the table that names the source of the key."""
    if isinstance(value, SecretString):
        return value
    if isinstance(value, str):
        # Other programs replace ${NAME} with the value of a variable. Without this check, the text
        # ${NAME} would be sent as the key, and the server would only report a wrong key.
        if re.fullmatch(r"\$\{\w+\}|\$[A-Z_][A-Z0-9_]*", value):
            raise ValueError('is the name of a variable: write {env = "NAME"}')
        return SecretString(str(value))
    forms = ("env", "file", "command")
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in forms:
        raise ValueError('must be a string, {env = "NAME"}, {file = "path"} or {command = ["..."]}')
    ((form, given),) = value.items()
    if form == "command":
        program, *rest = nonempty_texts(given, place)
        # A relative path such as bin/get-key starts at the file's folder, not at the current
        # directory, which may be another user's project. A name without a folder is not a path:
        # it is searched in PATH.
        found = place.path(program) if os.path.dirname(program) else program
        return KeySource(form, (found, *rest))
    return KeySource(form, place.path(given) if form == "file" else text(given, place))


def header(value: Any, place: Place) -> Union[str, SecretString, KeySource]:
    """Check the value of a header, which is written like an API key.

    A string is returned as a string: the name of the header decides whether it is a key.
    """
    found = key(value, place)
    if isinstance(found, SecretString) and found is not value:
        as_key(Sealed(found))  # the header line must be able to contain the text
        return Unseen(found.reveal())
    return found


# --- values of variables -----------------------------------------------------------------


def as_text(given: str) -> Any:
    """Return the text of a variable unchanged."""
    return given


def as_number(given: str) -> Any:
    """Parse a number. Return any other text unchanged; the check of the key then refuses it."""
    for convert in (int, float):
        try:
            return convert(given)
        except ValueError:
            continue
    return given


def as_boolean(given: str) -> Any:
    """Parse true, false, 1 or 0. Return any other text unchanged; the check then refuses it."""
    return {"true": True, "1": True, "false": False, "0": False}.get(given.lower(), given)


def as_list(given: str) -> Any:
    """Parse a list whose entries are separated by commas."""
    return [each.strip() for each in given.split(",") if each.strip()]


def as_folders(given: str) -> Any:
    """Parse a list of folders that is separated like ``PATH``.

    A shell expands ``~`` before this package reads the variable. A ``~`` that remains is therefore
    part of a name, so the path is relative, and the check refuses it.
    """
    parts = [each for each in given.split(os.pathsep) if each]
    return [os.path.join(os.curdir, each) if each[0] == "~" else each for each in parts]


def error_parts(error: ValueError) -> Tuple[str, Optional[str]]:
    """Return the text of an error that a check raised, and its hint or None."""
    if isinstance(error, ConfigurationError):
        return f"is invalid: {error.message}", error.hint
    return str(error), None


STRATEGIES = ("first", "loaded", "largest", "smallest", "balanced")
#: The part of a path that represents a name chosen by the user.
ANY = "NAME"
PREFIX = "LOCALPROVIDERS_"
#: The permissions of a project's file for a key, by the word in `Key.project`. This table is in
#: docs/configuration.md; the checks are in `project_file.py`.
PROJECT: Mapping[str, str] = {
    "yes": "The key may be written.",
    "no": "The key must not be written.",
    "narrower": "The locality must not be wider than the locality that applies without this file.",
    "smaller": "The value is used if it is smaller than the value that applies without this file;"
    " otherwise it is ignored.",
    "choose": "The value may name only servers of the other layers, and servers that discovery"
    " finds on this machine. Outside a trusted folder, it must not name a server whose `locality`"
    " is wider than the configuration's.",
    "add": "The rules of `choose` apply to the models of the alias. The name of the alias must not"
    " contain a slash, and must not be the name of a server, a kind, or an alias of the other"
    " layers. If a server has a model of this name, the model is used instead of the alias.",
    "own": "The key may be written only in a trusted folder, only for a server that no other layer"
    " names, and only within the locality of the other layers. An `endpoint` must not be a UNIX"
    " socket.",
}
#: Keys that were renamed, with their new names. An old name is an error that names the new one.
RENAMED: Mapping[str, str] = {"default_model": "model"}
#: Variables with this prefix that are not keys: the profile, and those of this project's tests.
OTHER_VARIABLES = frozenset(PREFIX + name for name in ("PROFILE", "FUZZ", "JSON_SCHEMA_SUITE"))


class Key(NamedTuple):
    """A configuration key.

    Attributes:
        path: The names of the tables and of the key; `ANY` for a name that the user chooses.
        check: Function that converts a value, or raises a `ValueError`.
        default: The default, as text for the documentation.
        meaning: One sentence for the documentation.
        example: A line of TOML that a user can copy.
        project: The permission of a project's file, a word of `PROJECT`.
        parse: Function that parses the text of the variable; None if the key has no variable.
    """

    path: Tuple[str, ...]
    check: Check
    default: str
    meaning: str
    example: str
    project: str = "yes"
    parse: Optional[Callable[[str], Any]] = as_text

    @property
    def dotted(self) -> str:
        """The path as it is written in a file, with dots."""
        is_header = self.path[-2:] == ("headers", ANY)
        return ".".join((*self.path[:-1], "HEADER") if is_header else self.path)

    @property
    def variable(self) -> Optional[str]:
        """The name of the variable that sets this key; None if the key has no variable.

        The name contains `ANY` if the path contains it.
        """
        return None if self.parse is None else variable(self.path)


def variable(path: Tuple[str, ...]) -> str:
    """Return the variable for a path. ``_`` replaces all but ASCII letters and digits."""
    letters = "_".join(path).upper()
    return PREFIX + "".join(c if c.isascii() and c.isalnum() else "_" for c in letters)


_WAITS = ("first_wait_s", "longest_wait_s")


def _numbers(
    above: Tuple[str, ...],
    record: Any,
    check: Callable[[str], Check],
    inherits: bool,
) -> List[Key]:
    """Return one key for each field of `Limits` or `RetryPolicy`."""
    table = above[-1]
    return [
        Key(
            (*above, each.name),
            check(each.name),
            f"the value in `[{table}]`" if inherits else f"{each.default:g}",
            f"`{record.__name__}.{each.name}`",
            f"{each.name} = {each.default:g}",
            # Shorter waits between attempts would overload a server, and longer ones would use up
            # the total limit.
            "no" if each.name in _WAITS else "smaller",
            parse=as_number,
        )
        for each in fields(record)
    ]


_SERVER = ("servers", ANY)
KEYS: Tuple[Key, ...] = (
    Key(("model",), text, "none",
        "Model, alias or `server/model` for requests that name no model",
        'model = "fast"', "choose"),
    Key(("strategy",), one_of(*STRATEGIES), "`first`",
        f"The server to use if several have the model: {', '.join(STRATEGIES)}",
        'strategy = "loaded"'),
    Key(("locality",), one_of(*LOCALITIES), "`loopback`",
        f"Where prompts may be sent: {', '.join(LOCALITIES)}. If this is set, it also limits the"
        " `locality` of each server", 'locality = "private"', "narrower"),
    Key(("fallback",), texts, "all servers, in the order of the files",
        "Names of servers in the order in which they are tried",
        'fallback = ["ollama", "gpu-box"]', "choose", as_list),
    Key(("aliases", ANY), nonempty_texts, "none",
        "The models that this alias stands for, the preferred one first",
        'fast = ["ollama/llama3.2:3b"]', "add", None),
    Key(("fallback_locality", ANY), one_of(*LOCALITIES), "none",
        "The locality that this alias may use from its second model on, if its first model fails."
        " A `locality` in a later layer makes this key have no effect",
        'careful = "any"', "no", None),
    Key(("trusted_folders",), folders, "none",
        "Absolute folders. A project's file in them is read even if another user owns it, and"
        " may define servers. Not allowed in a profile",
        'trusted_folders = ["/srv/team"]', "no", as_folders),
    *_numbers(("limits",), Limits, limit, inherits=False),
    *_numbers(("retry",), RetryPolicy, retry, inherits=False),
    Key((*_SERVER, "kind"), kind,
        "the server's name, if it is a kind; else the kind whose required keys are set",
        "The kind of the server: one of the [kinds](#kinds), or the name of a service",
        'kind = "ollama"', "own"),
    Key((*_SERVER, "endpoint"), endpoint, "the default address of its kind",
        "The address of the server, which may be a [UNIX socket](#unix-sockets). Ollama's default"
        " is `OLLAMA_HOST`, if that variable is set; `openai-compatible` has no default",
        'endpoint = "http://127.0.0.1:11434"', "own"),
    Key((*_SERVER, "model"), text, "none",
        "The model for requests that name no model", 'model = "llama3.2"', "choose"),
    Key((*_SERVER, "locality"), one_of(*LOCALITIES), "the value of `locality`",
        "Where prompts may be sent through this server", 'locality = "any"', "narrower"),
    Key((*_SERVER, "api_key"), key, "none",
        "The server's API key, or the variable, file or command to read it from",
        'api_key = {env = "EXAMPLE_API_KEY"}', "no"),
    Key((*_SERVER, "username"), key, "none",
        "The user for Basic authentication, written like `api_key`; needs `password`",
        'username = "me"', "no", None),
    Key((*_SERVER, "password"), key, "none",
        "The password for Basic authentication, written like `api_key`; needs `username`",
        'password = {env = "EXAMPLE_PASSWORD"}', "no", None),
    Key((*_SERVER, "headers", ANY), header, "none",
        "A header of every request to the server, written like `api_key`",
        'X-Team = "research"', "no", None),
    Key((*_SERVER, "allow_plaintext_key"), boolean, "`false`",
        "Whether the API key may be sent over plain HTTP to other machines",
        "allow_plaintext_key = true", "no", as_boolean),
    Key((*_SERVER, "ca_bundle"), bundle, "the certificates of `requests`",
        "File or folder of certificates to trust instead, or `environment` to use a variable such"
        " as `REQUESTS_CA_BUNDLE`",
        'ca_bundle = "ca.pem"', "no"),
    Key((*_SERVER, "client_cert"), certificate, "none",
        "The client certificate: one file that also contains the private key, or two files",
        'client_cert = ["client.pem", "client.key"]', "no"),
    Key((*_SERVER, "proxies"), proxies, "none",
        'The URL of a proxy for each scheme, or `environment`: the proxies that environment'
        ' variables name. Needs `locality = "any"`',
        'proxies = {https = "http://proxy:3128"}', "no"),
    *_numbers((*_SERVER, "limits"), Limits, limit, inherits=True),
    *_numbers((*_SERVER, "retry"), RetryPolicy, retry, inherits=True),
)  # fmt: skip

Schema = Mapping[str, Union[Key, "Schema"]]


def _schema() -> Schema:
    root: Dict[str, Any] = {}
    for key in KEYS:
        node = root
        for name in key.path[:-1]:
            node = node.setdefault(name, {})
        node[key.path[-1]] = key
    return root


#: The keys as nested tables.
SCHEMA: Schema = _schema()

#: The keys of each server, a part of `SCHEMA`.
SERVER: Mapping[str, Any] = cast("Any", SCHEMA)["servers"][ANY]

# The check and the parser for the keys that a kind declares, by the type of the key.
_TYPES: Mapping[str, Tuple[Check, Callable[[str], Any]]] = {
    "text": (text, as_text),
    "number": (number, as_number),
    "count": (count, as_number),
    "boolean": (boolean, as_boolean),
    "file": (file, as_text),
    "list": (texts, as_list),
}


class UncheckedValue(NamedTuple):
    """A value that is checked only when the kind of its server is known."""

    value: Any
    place: Place


def keys_of_kinds() -> Tuple[Key, ...]:
    """Return the server keys that only some kinds have. This imports every kind.

    Several kinds can have a key of the same name. If the types differ, its values are stored as
    `UncheckedValue`. A project's file may contain the key only if all of these kinds allow it.
    """
    found: Dict[str, List[KindKey]] = {}
    for kind in registry.registered():
        for each in kind.keys:
            found.setdefault(each.name, []).append(each)
    return tuple(_merge_rows(keys) for keys in found.values())


def _merge_rows(keys: Sequence[KindKey]) -> Key:
    """Return the row for a key that one or several kinds declare."""
    row = own_key(keys[0])._replace(
        project=min((each.in_project for each in keys), key=("no", "own", "yes").index)
    )
    have_one_type = len({each.type for each in keys}) == 1
    return row if have_one_type else row._replace(check=UncheckedValue, parse=as_text)


def own_key(key: KindKey) -> Key:
    """Return the row for a key that one kind declares."""
    check, parse = _TYPES[key.type]
    path = (*_SERVER, key.name)
    return Key(path, check, key.default, key.meaning, key.example, key.in_project, parse)
