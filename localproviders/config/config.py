"""`Config`: the configuration cascade as one frozen value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from localproviders._record import CONTENT, Record, did_you_mean, field, record
from localproviders.config.build import Request, read
from localproviders.config.keys import ANY, KEYS
from localproviders.config.origin import DEFAULT, Origin
from localproviders.config.places import Surroundings
from localproviders.config.server import ServerConfig
from localproviders.errors import ConfigurationError, ProviderError
from localproviders.types.limits import Limits
from localproviders.types.retry import RetryPolicy


@record
class Config(Record):
    """What files, variables and arguments say together; `load` reads them.

    Attributes:
        servers: The servers, in the order in which they were first named.
        aliases: For each alias, what it stands for, best first: ``server/model`` or a model.
        fallback: Names of servers in the order in which they are tried; where nothing was
            said, those of all `servers`.
        default_model: The model, the alias or ``server/model`` for requests that name none.
        strategy: ``first``, ``loaded``, ``largest`` or ``smallest``: which server is taken
            where several have the model.
        locality: Where prompts may go.
        limits: Time limits.
        retry: What is sent again, and how often.
        profile: Name of the profile in use.
        origins: The origin of each value that somebody wrote, by its key; see `origin_of`.
    """

    servers: Tuple[ServerConfig, ...] = ()
    aliases: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    fallback: Tuple[str, ...] = ()
    default_model: Optional[str] = None
    strategy: str = "first"
    locality: str = "loopback"
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    profile: Optional[str] = None
    origins: Mapping[str, Origin] = field(default_factory=dict, metadata=CONTENT)

    @classmethod
    def load(
        cls,
        *,
        profile: Optional[str] = None,
        directory: Optional[Path] = None,
        environ: Optional[Mapping[str, str]] = None,
        **overrides: Any,
    ) -> Config:
        """Read the cascade; what comes later wins.

        Built-in defaults, the system's file, the user's file, the project's file, variables
        (``LOCALPROVIDERS_*``), the profile, arguments. A missing file says nothing. The keys
        of the servers are read here, too: their variables, files and commands.
        docs/configuration.md has the files and the keys.

        Args:
            profile: Name of the profile; None takes ``LOCALPROVIDERS_PROFILE``.
            directory: Where the search for a project file begins, upwards to the home or
                the root, and where relative paths of arguments begin; None is the current
                directory.
            environ: The variables; None takes those of the process.
            **overrides: Keys of the table, such as ``locality="private"``; tables as
                mappings, ``limits`` and ``retry`` also as `Limits` and `RetryPolicy`. None
                says nothing.

        Raises:
            ConfigurationError: A file cannot be read or is no TOML; a key is unknown, a
                value of the wrong type or impossible; there is no such profile; a key
                cannot be read, or others can read its file, or the user's file that it
                stands in; or a project file does more
                than narrow. It names file and line, variable or argument.
            LocalityError: A project file leads beyond loopback, or widens the locality.
            DependencyError: A file is there, and this Python has no TOML parser.
        """
        request = Request(profile, Surroundings(directory, environ), overrides)
        del environ, overrides
        try:
            return cls(**read(request))
        except ProviderError as error:
            # The frames below hold what the files and variables say, keys among it.
            failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
        raise failure

    @property
    def endpoints(self) -> Tuple[str, ...]:
        """The addresses that are configured, for `discover`; a model file has none."""
        return tuple(server.endpoint for server in self.servers if server.endpoint)

    def origin_of(self, key: str) -> Origin:
        """Say where a value came from.

        Args:
            key: As it is written in a file, with dots: ``locality``, ``limits.total_s``,
                ``aliases.fast``, ``servers.gpu-box.endpoint``. What a server inherits has
                the origin of what it inherits.

        Raises:
            ConfigurationError: There is no such key.
        """
        if key in self.origins:
            return self.origins[key]
        known = self._keys()
        if key not in known:
            near = did_you_mean(key, [*known, *self.origins])
            raise ConfigurationError(
                f"the configuration has no key {key!r}{near}", hint="docs/configuration.md has all"
            )
        path = key.split(".")
        inherits = path[0] == "servers" and path[2] in ("limits", "retry")
        return self.origins.get(".".join(path[2:]), DEFAULT) if inherits else DEFAULT

    def _keys(self) -> List[str]:
        """Give every key that this configuration can have a value for."""
        names = [server.name for server in self.servers]
        rows = [row.path for row in KEYS if row.path[0] != "aliases"]
        found = [".".join(path) for path in rows if ANY not in path]
        found += [
            ".".join([path[0], name, *path[2:]]) for path in rows if ANY in path for name in names
        ]
        return [*found, "profile"]
