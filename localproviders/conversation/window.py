"""Chooses the messages that fit into the context window of the model."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from localproviders._shared_deadline import SharedDeadline
from localproviders.conversation.turns import groups_of
from localproviders.errors import ContextOverflowError
from localproviders.provider import ModelProvider
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import TokenCount

# Without `max_tokens`, a quarter of the window stays free for the answer, but at most this many
# tokens.
_MOST_RESERVED = 1024

# A window of this many tokens is assumed for every model. So for a shorter request, the context
# window is not looked up. The length of a request is estimated from above: each token has at least
# one byte, and a template adds at most `_MOST_PER_MESSAGE` tokens to a message.
_SMALLEST_WINDOW = 2048
_MOST_PER_MESSAGE = 32


class Plan(NamedTuple):
    """A request that fits into the context window, as far as that is known.

    Attributes:
        request: The request.
        left_out: Number of earlier messages that are not part of the request.
        of: Number of earlier messages in the conversation.
        window: The context window in tokens, or None if it is not known.
        length: The length of the prompt, or None if it was not counted.
    """

    request: CompletionRequest
    left_out: int = 0
    of: int = 0
    window: Optional[int] = None
    length: Optional[TokenCount] = None

    @property
    def warnings(self) -> Tuple[str, ...]:
        """A line about the messages that were left out, if there are any."""
        if not self.left_out or self.length is None:
            return ()
        return (
            f"the oldest {self.left_out} of {self.of} earlier messages were left out, because the "
            f"context window has {self.window} tokens (the prompt now: {self.length})",
        )


class Planner:
    """Chooses the messages of one request.

    Args:
        shared: The deadline of the call, and its provider.
        provider: The same provider.
        request: The request with the system message and the new messages only.
        history: The earlier messages.
        most: The caller's upper limit for the context window, in tokens, or None.
        known: The context windows from earlier errors of servers, by provider and model. This class
            adds the windows that it learns from further errors.
    """

    def __init__(
        self,
        shared: SharedDeadline,
        provider: ModelProvider,
        request: CompletionRequest,
        history: Sequence[Message],
        *,
        most: Optional[int],
        known: Dict[Any, int],
    ) -> None:
        self._shared = shared
        self._provider = provider
        self._request = request
        self._most = most
        self._known = known
        messages = tuple(request.messages or ())
        self._head = tuple(message for message in messages if message.role == "system")
        self._tail = messages[len(self._head) :]
        self._groups = groups_of(history)
        if self._groups and self._tail[0].role == "tool":
            # Tool results must not be separated from the tool calls before them.
            self._tail = (*self._groups.pop(), *self._tail)

    def plan(self) -> Plan:
        """Return the longest request that fits.

        Raises:
            ProviderError: The server could not count the tokens, or has no such model.
        """
        everything = self._without(0)
        if not self._groups or self._is_short(everything):
            return Plan(everything)
        window = self._window()
        return Plan(everything) if window is None else self._fit(window, self._space(window))

    def shorter(self, plan: Plan, error: ContextOverflowError) -> Optional[Plan]:
        """Return a shorter request after the server refused one as too long.

        The result is None if the server's error did not contain the size of the context window, or
        if no further message can be left out.
        """
        window = error.context_length
        first = self._dropped(plan) + 1
        if window is None or first > len(self._groups):
            return None
        self._known[self._key] = window
        space = self._space(window)
        if error.prompt_tokens:
            # If the server counted more tokens than this package, reduce the space in proportion.
            count = plan.length or self._count(plan.request)
            space = int(space * min(1, count.tokens / error.prompt_tokens))
        return self._fit(window, space, first)

    def _dropped(self, plan: Plan) -> int:
        lengths, dropped = 0, 0
        while lengths < plan.left_out:
            lengths += len(self._groups[dropped])
            dropped += 1
        return dropped

    def _fit(self, window: int, space: int, first: int = 0) -> Plan:
        """Leave out as few of the oldest groups as possible, but at least `first` groups.

        If the new messages alone are too long, they are sent all the same, so that the server can
        report its error.
        """
        low, high = first, len(self._groups)
        count = self._count(self._without(low))
        if count.tokens > space:
            low += 1
            while low < high:
                middle = (low + high) // 2
                fits = self._count(self._without(middle)).tokens <= space
                low, high = (low, middle) if fits else (middle + 1, high)
            low = min(low, len(self._groups))
            count = self._count(self._without(low))
        left_out = sum(map(len, self._groups[:low]))
        total = sum(map(len, self._groups))
        return Plan(self._without(low), left_out, total, window, count)

    def _without(self, dropped: int) -> CompletionRequest:
        kept: List[Message] = [message for group in self._groups[dropped:] for message in group]
        return self._request.replace(messages=(*self._head, *kept, *self._tail))

    def _count(self, request: CompletionRequest) -> TokenCount:
        return self._shared.run(
            lambda limits, cancel: self._provider.count_tokens(
                request.messages or (),
                model=request.model,
                tools=request.tools,
                timeout=limits,
                cancel=cancel,
            )
        )

    def _space(self, window: int) -> int:
        reserved = self._request.max_tokens or min(_MOST_RESERVED, window // 4)
        return max(1, window - reserved)

    def _is_short(self, request: CompletionRequest) -> bool:
        messages = request.messages or ()
        if request.tools or any(message.images or message.audio for message in messages):
            return False
        size = sum(map(_longest, messages)) + (request.max_tokens or _SMALLEST_WINDOW // 2)
        limits = (self._most, self._request.context_length, self._known.get(self._key))
        return size <= min([_SMALLEST_WINDOW, *(limit for limit in limits if limit)])

    @property
    def _key(self) -> Any:
        return self._provider.name, self._request.model

    def _window(self) -> Optional[int]:
        """Return the context window, or None if it is not known."""
        known = (
            self._request.context_length or self._known.get(self._key) or self._reported_window()
        )
        found = [window for window in (known, self._most) if window]
        return min(found, default=None)

    def _reported_window(self) -> Optional[int]:
        settings = getattr(self._provider, "settings", None)
        # `LocalProvider` has no `settings`. Its attribute `_model` has the model.
        usual = getattr(settings, "model", None) or getattr(self._provider, "_model", None)
        model = self._request.model or usual
        if not model:
            return None
        facts = self._shared.run(
            lambda limits, cancel: self._provider.model_capabilities(
                model, timeout=limits, cancel=cancel
            )
        )
        return facts.loaded_context_length or facts.max_context_length


def _longest(message: Message) -> int:
    """Return an upper limit for the number of tokens of a message."""
    texts = [message.content, message.thinking, message.tool_name or ""]
    texts += [f"{call.name}{call.arguments!r}" for call in message.tool_calls]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return _MOST_PER_MESSAGE * (1 + len(message.tool_calls)) + size
