"""What a request needs of its model, and the refusal where the model surely lacks it."""

from __future__ import annotations

import time
from typing import Callable, Dict, Optional, Sequence, Tuple

from localproviders.errors import (
    CancelledError,
    CapabilityError,
    CertificateError,
    LimitError,
    LocalityError,
    ProviderError,
    UnreachableError,
)
from localproviders.types.model import ModelCapabilities, ModelInfo
from localproviders.types.request import CompletionRequest

# A model's abilities change only when somebody pulls or creates it anew, and the server's own
# refusal is the final word: this only saves a question for each call.
_KNOWN_S = 60.0

# Names in a hint: enough to choose from.
_MOST_NAMES = 5

# The prompt would meet the same; any other failure of the question says nothing about it.
_FINAL = (CancelledError, LimitError, UnreachableError, CertificateError, LocalityError)

_NO_THINKING = (None, False, "off", "none")

_WORDS = {
    "chat": "answer conversations",
    "completion": "continue text",
    "tools": "call tools",
    "vision": "see images",
    "audio": "hear sound",
    "thinking": "think apart from its answer",
    "insert": "fill a gap before a suffix",
}


def needs_of(request: CompletionRequest) -> Tuple[str, ...]:
    """Give the abilities that a request needs; none for plain text, which needs no question."""
    needed = {
        "tools": bool(request.tools),
        "vision": any(message.images for message in request.messages),
        "audio": any(message.audio for message in request.messages),
        "thinking": request.thinking not in _NO_THINKING,
        "insert": request.suffix is not None,
    }
    found = tuple(name for name, is_needed in needed.items() if is_needed)
    return found and ("chat" if request.prompt is None else "completion", *found)


class AbilityCheck:
    """Refuses what a model surely lacks, and remembers what its server said about it.

    There is no lock: a dictionary takes and gives whole values, and the worst that threads can
    do to each other is to ask twice.
    """

    def __init__(self) -> None:
        self._known: Dict[str, Tuple[float, ModelCapabilities]] = {}

    def check(
        self,
        request: CompletionRequest,
        model: str,
        ask: Callable[[], ModelCapabilities],
        listed: Callable[[], Sequence[ModelInfo]],
    ) -> None:
        """Refuse a request for which its model lacks something, by its server's own words.

        Args:
            request: The request; a plain one is let through without a question.
            model: The model's name.
            ask: Asks the server about this model.
            listed: Asks it for all its models, to name others in the hint.

        Raises:
            CapabilityError: The model surely cannot do this.
            ProviderError: The question failed as the prompt would: cancelled, out of time,
                no server there.
        """
        needs = needs_of(request)
        if not needs:
            return
        from localproviders.capabilities import lacks

        known = self._about(model, ask)
        ability = lacks(known, needs)
        if ability is None:
            return
        fact = known.evidence[ability].detail
        raise CapabilityError(
            f"{model!r} cannot {_WORDS[ability]} ({fact})",
            hint=_who_can(ability, listed),
            evidence=fact,
        )

    def forget(self, model: Optional[str] = None) -> None:
        """Ask again next time: the model, or for None any model, may be another by now."""
        if model is None:
            self._known.clear()
        else:
            self._known.pop(model, None)

    def _about(self, model: str, ask: Callable[[], ModelCapabilities]) -> ModelCapabilities:
        until, found = self._known.get(model, (0.0, None))
        if found is None or until <= time.monotonic():
            try:
                found = ask()
            except _FINAL:
                raise
            except ProviderError:
                found = ModelCapabilities()  # nothing is sure
            self._known[model] = (time.monotonic() + _KNOWN_S, found)
        return found


def _who_can(ability: str, listed: Callable[[], Sequence[ModelInfo]]) -> Optional[str]:
    from localproviders.capabilities import has

    try:
        # One that runs elsewhere is no answer to a local question.
        here = [info for info in listed() if not info.capabilities.remote]
        names = [info.name for info in here if has(info.capabilities, ability)]
    except ProviderError:
        return None
    if not names:
        return "the server's list names no model that can"
    return f"models of this server that can: {', '.join(names[:_MOST_NAMES])}"
