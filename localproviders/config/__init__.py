"""The configuration, from defaults, files, environment variables, a profile and arguments.

Of two values for a key, the one from the later of these sources is used. Nothing is read until
`Config.load` is called.
"""

from localproviders.config.cascade import Config
from localproviders.config.values import Origin, ServerConfig

__all__ = ["Config", "Origin", "ServerConfig"]
