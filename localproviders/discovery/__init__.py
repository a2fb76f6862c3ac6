"""Search this machine for model servers: their kinds, their states and their models."""

from localproviders.discovery.results import Discovery, FoundServer, Probe
from localproviders.discovery.search import discover, forget

__all__ = ["Discovery", "FoundServer", "Probe", "discover", "forget"]
