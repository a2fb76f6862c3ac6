"""A conversation kept in a file. Each request has as much of it as fits the context window."""

from localproviders.conversation.conversation import Conversation
from localproviders.conversation.stream import ConversationStream

__all__ = ["Conversation", "ConversationStream"]
