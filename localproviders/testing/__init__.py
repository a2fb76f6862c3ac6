"""Servers for tests: real sockets on loopback, in this process."""

from localproviders.testing.scripted import Exchange, ScriptedServer, Step, http_answer

__all__ = ["Exchange", "ScriptedServer", "Step", "http_answer"]
