"""Whether an answer went past the model's context window: found out from the counts.

Ollama slides its window while it generates, and LM Studio may cut a prompt, without a word
(ollama-api §4.7, lmstudio-api §4.3). What they count, against what they allocated, tells.
"""

from __future__ import annotations

import time
from typing import Callable, Dict, Optional, Tuple

from localproviders.errors import ContextOverflowError, ProviderError
from localproviders.types.answer import Usage
from localproviders.types.request import CompletionRequest

#: Told of a loss that the caller allowed: the length of the prompt, and of the window.
OnLoss = Callable[[Optional[int], int], None]

#: Gives the window allocated for a model, in tokens; None where nobody can tell.
AskWindow = Callable[[], Optional[int]]

# No server allocates less unless it is told to; asking after each short answer would cost
# more than it tells.
SMALLEST_WINDOW = 1024

# A window changes only when the model is loaded anew.
_KNOWN_S = 60.0


class WindowWatch:
    """Compares what was counted with the window, asked for once a minute and before a verdict."""

    def __init__(self) -> None:
        self._known: Dict[Tuple[str, Optional[int]], Tuple[float, int]] = {}

    def check(
        self,
        request: CompletionRequest,
        model: str,
        usage: Usage,
        *,
        ask: AskWindow,
        on_loss: OnLoss,
    ) -> Optional[str]:
        """Give a warning where something was lost and the caller allowed it.

        Raises:
            ContextOverflowError: Something was lost, and `overflow` is ``error``.
        """
        used = usage.total_tokens
        if used is None or used < SMALLEST_WINDOW:
            return None
        try:
            window = self._window((model, request.context_length), used, ask)
        except ProviderError as error:
            return f"whether the answer fits the context window is unknown: {error.message}"
        if window is None or used <= window:
            return None
        message = (
            f"prompt and answer have {used} tokens, and the context window {window}: "
            "the beginning was lost on the way"
        )
        if request.overflow != "error":
            on_loss(usage.prompt_tokens, window)
            return message
        raise ContextOverflowError(
            message,
            hint="set max_tokens, raise context_length, or accept the loss with overflow='allow'",
            prompt_tokens=usage.prompt_tokens,
            context_length=window,
        )

    def forget(self) -> None:
        """Ask again next time: a model was loaded or unloaded."""
        self._known.clear()

    def _window(self, key: Tuple[str, Optional[int]], used: int, ask: AskWindow) -> Optional[int]:
        until, window = self._known.get(key, (0.0, 0))
        # One that is too small may have been the window of a model that was loaded anew since.
        if until > time.monotonic() and used <= window:
            return window
        found = ask()
        if found is not None:
            self._known[key] = (time.monotonic() + _KNOWN_S, found)
        return found
