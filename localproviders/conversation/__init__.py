"""A conversation that is kept in a file, and shortened to the context window of the model."""

from localproviders.conversation.conversation import Conversation
from localproviders.conversation.stream import ConversationStream

__all__ = ["Conversation", "ConversationStream"]
