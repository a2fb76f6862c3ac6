"""A fake of Anthropic's Messages API."""

from localproviders.testing.anthropic.server import FakeAnthropic

__all__ = ["FakeAnthropic"]
