"""`Origin`, the place where a value was set, and `ServerConfig`, one configured server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

from localproviders import kinds
from localproviders._credentials import BasicAuth
from localproviders._record import FrozenDict, Record, field, loads, record
from localproviders._redact import one_line
from localproviders.errors import ConfigurationError
from localproviders.kinds import ProviderKind
from localproviders.secret import SecretString
from localproviders.settings import (
    HEADERS_FIELD,
    KEY_FIELD,
    PASSWORD_FIELD,
    PROXIES_FIELD,
    Proxies,
    RequestHeadersLike,
)
from localproviders.types.limits import Limits, RetryPolicy


@record
class Origin(Record):
    """The place where a value was set. Its `str` describes this place.

    Attributes:
        kind: ``default``, ``file``, ``variable`` or ``argument``.
        file: The file; None if `kind` is not ``file``.
        line: The line of the value, from 1, or the line of the table that contains the value; None
            if there is no file, or the line is not known.
        name: The name of the variable or the argument; None for a default or a file.
        of_project: Whether the file is a project's file.
        in_trusted_folder: Whether a project's file is in a folder of `Config.trusted_folders`.
    """

    kind: str = "default"
    file: Optional[Path] = field(default=None, metadata=loads(Path))
    line: Optional[int] = None
    name: Optional[str] = None
    of_project: bool = False
    in_trusted_folder: bool = False

    @property
    def is_untrusted(self) -> bool:
        """Whether this is a project's file outside the trusted folders."""
        return self.of_project and not self.in_trusted_folder

    def __str__(self) -> str:
        if self.file is not None:
            file = one_line(str(self.file))
            return f"{file}, line {self.line}" if self.line else file
        return one_line(f"the {self.kind} {self.name}") if self.name else self.kind


#: The origin of a value that was not set anywhere.
DEFAULT = Origin()


# Maximum time to start the engine. An infinite limit cannot be passed to the function that waits
# for the output of the engine, and no model takes a day to load.
_LONGEST_S = 86_400.0


_NO_OPTIONS: Mapping[str, Any] = FrozenDict()

# Options without which a server may refuse even the requests that identify it and list its models.
_ACCESS = frozenset(
    ("api_key", "auth", "headers", "allow_plaintext_key", "ca_bundle", "client_cert")
)


class ConfiguredAddress(str):
    """A configured address: a string that remembers which API keys may be sent to it.

    Attributes:
        keys_of: Kinds whose API keys from the environment may be sent there. If the server turns
            out to be of another kind, it receives no key.
        options: The server's own API key, password, headers and certificates, as arguments of a
            provider. They belong to this address, whatever kind of server is found there.
    """

    keys_of: Tuple[str, ...]
    options: Mapping[str, Any]

    def __new__(
        cls, text: str, keys_of: Tuple[str, ...] = (), options: Mapping[str, Any] = _NO_OPTIONS
    ) -> ConfiguredAddress:
        """Make an address. If `keys_of` is empty, no API key of the environment is sent there."""
        made = super().__new__(cls, text)
        made.keys_of, made.options = keys_of, FrozenDict(options)
        return made

    def __getnewargs__(self) -> Tuple[Any, ...]:
        return str(self), self.keys_of, self.options


def _unchanged(value: Any) -> Any:
    return value


# By the type of a key: the function that restores values which JSON represents as another type.
_LOADS: Mapping[str, Callable[[Any], Any]] = {"file": Path, "list": tuple}


@record
class ServerConfig(Record):
    """A configured server. The limits, retries and locality that it inherits are filled in.

    Attributes:
        name: The name of the server, unique in a `Config`. It is the provider's name, and the
            part before the slash in ``name/model``.
        kind: The name of its kind, such as ``ollama``, ``lmstudio``, ``openai-compatible``, or
            ``gguf``: a model file that the embedded engine serves. See `localproviders.kinds`.
        endpoint: The address as it was written; None means the default address of the kind. A
            model file has none.
        gguf: The absolute path of the model file; None if the kind serves no file.
        own_keys: The values of those configuration keys that only servers of its kind have.
        model: The model for requests that name no model.
        api_key: The API key, already read from its variable, file or command.
        allow_plaintext_key: Whether the API key may be sent over plain HTTP to other machines.
        limits: Time limits. If the server does not set a limit, the configuration's is used.
        retry: Number of attempts, and the waits between them. If the server does not set a
            value, the configuration's is used.
        locality: Where prompts may go: the server's own locality, but no wider than the
            configuration's if that is set.
        ca_bundle: Certificates to trust instead of the ones that ``requests`` trusts: a path, or
            ``environment``.
        client_cert: A client certificate: one path, or the paths of the certificate and of its
            private key.
        proxies: A proxy URL for each scheme, or ``environment``; used only if `locality` is
            ``any``.
        username: The user for Basic authentication, already read like `api_key`.
        password: The password of this user, already read like `api_key`.
        headers: Headers of every request to the server, already read like `api_key`.

    Raises:
        ConfigurationError: There is a user without a password, or a password without a user; or
            a header is invalid.
    """

    name: str
    kind: str
    endpoint: Optional[str] = None
    gguf: Optional[Path] = field(default=None, metadata=loads(Path))
    own_keys: Mapping[str, Any] = field(default_factory=FrozenDict)
    model: Optional[str] = None
    api_key: Optional[SecretString] = field(default=None, metadata=KEY_FIELD)
    allow_plaintext_key: bool = False
    limits: Limits = field(default_factory=Limits, metadata=loads(Limits.from_dict))
    retry: RetryPolicy = field(default_factory=RetryPolicy, metadata=loads(RetryPolicy.from_dict))
    locality: str = "loopback"
    ca_bundle: Optional[str] = None
    client_cert: Union[str, Tuple[str, str], None] = None
    proxies: Proxies = field(default=None, metadata=PROXIES_FIELD)
    username: Optional[SecretString] = field(default=None, metadata=PASSWORD_FIELD)
    password: Optional[SecretString] = field(default=None, metadata=PASSWORD_FIELD)
    headers: RequestHeadersLike = field(default=None, metadata=HEADERS_FIELD)

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ConfigurationError("username and password must be set together")
        self._keep_as_tuples("client_cert")
        self._freeze("own_keys")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ServerConfig:
        """Make a server from the result of `to_dict`. The kind decides the types of `own_keys`.

        Raises:
            ValueError: A key is not a field of this class, or a required field is missing.
            ConfigurationError: An installed package offers the kind, but cannot be imported.
        """
        kind = kinds.find(str(data.get("kind")))
        load = {key.name: _LOADS.get(key.type, _unchanged) for key in kind.keys} if kind else {}
        own = {
            name: load.get(name, _unchanged)(value)
            for name, value in (data.get("own_keys") or {}).items()
        }
        return super().from_dict({**data, "own_keys": own} if own else data)

    def options(self) -> Mapping[str, Any]:
        """Return the keyword arguments for the constructor of this kind's provider.

        For the kind ``gguf`` the class is `LocalEngine`. Values that are not set are left out.
        For a kind that serves model files, the file is the argument that
        `ProviderKind.address_argument` names.

        Raises:
            ConfigurationError: There is no such kind.
        """
        kind = kinds.get(self.kind)
        own, address = self._own_keys_of(kind), self.endpoint
        if kind.is_file:
            address = own.pop(_file_key(kind), None)
        if kind.is_file and kind.from_config is not None:
            start_s = min(self.limits.load_s, _LONGEST_S)
            return {**own, kind.address_argument: address, "start_timeout_s": start_s}
        found: Dict[str, Any] = {
            **own,
            "name": self.name,
            "model": self.model,
            "api_key": self.api_key,
            "allow_plaintext_key": self.allow_plaintext_key or None,
            "timeout": self.limits,
            "retry": self.retry,
            "locality": self.locality,
            "ca_bundle": self.ca_bundle,
            "client_cert": self.client_cert,
            # A proxy looks up the server's address itself, so this package could not check whether
            # the address is within a narrower locality.
            "proxies": self.proxies if self.locality == "any" else None,
            "headers": self.headers,
            "auth": self._auth(),
            # This is the last entry. For some kinds it replaces `model`, which is then the path of
            # the model file.
            kind.address_argument: address,
        }
        return {name: value for name, value in found.items() if value is not None}

    def access_options(self) -> Mapping[str, Any]:
        """Return those `options` that give access to the server, such as keys and certificates.

        Raises:
            ConfigurationError: There is no such kind.
        """
        return {name: value for name, value in self.options().items() if name in _ACCESS}

    def _auth(self) -> Optional[BasicAuth]:
        if self.username is None or self.password is None:
            return None
        return BasicAuth(self.username, self.password)

    def _own_keys_of(self, kind: ProviderKind) -> Dict[str, Any]:
        found = dict(self.own_keys)
        if "gguf" in [key.name for key in kind.keys]:
            found["gguf"] = self.gguf
        return found


def _file_key(kind: ProviderKind) -> str:
    """Return the name of the key for the model file; empty if the kind has none."""
    files = [key for key in kind.keys if key.type == "file"]
    required = [key for key in files if key.is_required]
    return next((key.name for key in [*required, *files]), "")


def with_model_file(server: ServerConfig, path: str) -> ServerConfig:
    """Return a copy of a server. The copy serves the given model file.

    Args:
        server: The server. Its kind must be one that serves model files.
        path: The path of the file. A relative path starts at the current directory.
    """
    file, key = Path(path).expanduser().absolute(), _file_key(kinds.get(server.kind))
    return server.replace(**({"gguf": file} if key == "gguf" else {"own_keys": {key: file}}))
