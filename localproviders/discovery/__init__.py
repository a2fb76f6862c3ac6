"""Which servers run on this machine, what they are, and what they hold."""

from localproviders.discovery.search import discover, forget
from localproviders.discovery.values import Discovery, FoundServer, Probe

__all__ = ["Discovery", "FoundServer", "Probe", "discover", "forget"]
