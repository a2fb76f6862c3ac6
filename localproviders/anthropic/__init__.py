"""Provider for Anthropic's Messages API, and for local servers that have its route.

The route is ``/v1/messages``.
"""

from localproviders.anthropic.provider import AnthropicProvider

__all__ = ["AnthropicProvider"]
