"""`Config`: the configuration cascade as one frozen value."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

from localproviders._record import CONTENT, Record, record
from localproviders.config.origin import DEFAULT, Origin
from localproviders.config.server import ServerConfig
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
        """Read the cascade."""
        return cls(profile=profile)

    def origin_of(self, key: str) -> Origin:
        """Say where a value came from."""
        return self.origins.get(key, DEFAULT)
