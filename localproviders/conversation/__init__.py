"""A conversation that is kept in a file. A request has what fits into the context window."""

from localproviders.conversation.conversation import Conversation
from localproviders.conversation.stream import ConversationStream

__all__ = ["Conversation", "ConversationStream"]
