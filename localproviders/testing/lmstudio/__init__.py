"""A server that behaves like LM Studio (the sections are those of lmstudio-api)."""

from localproviders.testing.lmstudio.server import FakeLMStudio

__all__ = ["FakeLMStudio"]
