"""Fake LM Studio server for tests."""

from localproviders.testing.lmstudio.server import FakeLMStudio

__all__ = ["FakeLMStudio"]
