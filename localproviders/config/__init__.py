"""The configuration: defaults, files, variables, a profile and arguments, in this order.

Nothing is read until `Config.load` is called.
"""

from localproviders.config.cascade import Config
from localproviders.config.values import Origin, ServerConfig

__all__ = ["Config", "Origin", "ServerConfig"]
