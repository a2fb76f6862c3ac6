"""The configuration cascade: defaults, files, variables, a profile, arguments.

Nothing is read until `Config.load` is called.
"""

from localproviders.config.config import Config
from localproviders.config.origin import Origin
from localproviders.config.server import ServerConfig

__all__ = ["Config", "Origin", "ServerConfig"]
