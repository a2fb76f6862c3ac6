"""Check the capabilities of a model before a request, and its context window after the request.

The request raises an error if the server reports that the model lacks a needed capability. During
and after the response, the number of tokens is compared with the allocated context window, because
servers lose text silently. Ollama drops the oldest tokens while it generates
(docs/reference/ollama.md, "Context window"), and LM Studio may shorten a prompt
(docs/reference/lmstudio.md, "Error texts"). The server's count of the prompt is also compared with
an estimate, which shows if the server has cut much of the prompt. And if the limit of tokens ended
the response before any text or tool call, or may have cut off a tool call, a warning says so.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from localproviders._dialect.common import is_too_long
from localproviders._dialect.error_rules import OTHER_USES
from localproviders._http.summary import Summary
from localproviders._lazy import LazyModule
from localproviders._token_estimate import Calibration
from localproviders.errors import (
    CancelledError,
    CapabilityError,
    CertificateError,
    ContextOverflowError,
    LimitError,
    LocalityError,
    ProviderError,
    UnreachableError,
)
from localproviders.types.models import ModelCapabilities, ModelInfo
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import Usage

if TYPE_CHECKING:
    from localproviders import capabilities
else:
    capabilities = LazyModule("localproviders.capabilities")

#: Fields of requests that only a few kinds of servers support, each with a hint.
USUALLY_UNSUPPORTED: Mapping[str, str] = {
    "grammar": "pass response_schema, which the server enforces",
    "thinking_budget": "pass a level as thinking",
}

# Seconds for which facts about a model are cached, so that not every call needs a request for them.
# The capabilities of a model change only if it is pulled or created again. And if the cache is
# wrong, the server itself refuses a request that the model cannot serve.
_KNOWN_S = 60.0

# Highest number of model names in a hint.
_MOST_NAMES = 5

# Errors that end the call, because sending the prompt would raise them, too. If asking for the
# capabilities fails with another error, the prompt is sent.
_FINAL = (CancelledError, LimitError, UnreachableError, CertificateError, LocalityError)

# Values of `thinking` that do not need a model that can think.
_NO_THINKING = (None, False, "off", "none")

# Descriptions of the capabilities in an error, after the word "cannot".
_WORDS = {
    "chat": "answer conversations",
    "completion": "continue text",
    "tools": "call tools",
    "vision": "see images",
    "audio": "hear sound",
    "thinking": "think apart from its answer",
    "insert": "fill a gap before a suffix",
}

# Beginning of the hint for a model that writes no text because it is made for decisions.
_DECISION_HINT = "ask this model typed questions with decide()"


def needs_of(request: CompletionRequest) -> Tuple[str, ...]:
    """Return the capabilities that a request needs.

    The result is empty for a request of plain text, which almost every model can answer.
    """
    needed = {
        "tools": bool(request.tools),
        "vision": any(message.images for message in request.messages),
        "audio": any(message.audio for message in request.messages),
        "thinking": request.thinking not in _NO_THINKING,
        "insert": request.suffix is not None,
    }
    found = tuple(name for name, is_needed in needed.items() if is_needed)
    return found and (_task_of(request), *found)


def _task_of(request: CompletionRequest) -> str:
    return "chat" if request.prompt is None else "completion"


class CapabilityCheck:
    """The check of requests against capabilities, with a cache of the server's responses.

    The cache has no lock. Operations of a dictionary are atomic, so the worst that can happen is
    that two threads ask the server about the same model.
    """

    def __init__(self) -> None:
        self._known: Dict[str, Tuple[float, ModelCapabilities]] = {}
        # Models that write no text, according to the last list that contained them.
        self._textless: Set[str] = set()

    def check(
        self,
        request: CompletionRequest,
        model: str,
        ask: Callable[[], ModelCapabilities],
        listed: Callable[[], List[ModelInfo]],
    ) -> None:
        """Check that the model has the capabilities that the request needs.

        Args:
            request: The request. For plain text the server is asked only if an earlier list
                said that the model writes no text.
            model: Name of the model.
            ask: Asks the server for the capabilities of this model.
            listed: Asks the server for all its models, to suggest other models in the hint.

        Raises:
            CapabilityError: The server says that the model lacks a capability.
            ProviderError: Asking the server failed with an error that sending the prompt would
                raise, too; for example, a limit expired, or the server cannot be reached.
        """
        needs = needs_of(request)
        known = self._cached(model)
        if known is None and model in self._textless:
            known = self._listed_again(model, listed)
        if known is None and needs:
            known = self._ask(model, ask)
        if known is None:
            return
        ability = capabilities.lacks(known, needs or (_task_of(request),))
        if ability is None:
            return
        fact = known.evidence[ability].detail
        raise CapabilityError(
            f"{model!r} cannot {_WORDS[ability]} ({fact})",
            hint=_hint(ability, known, listed),
            evidence=fact,
        )

    def learn(self, listed: List[ModelInfo]) -> List[ModelInfo]:
        """Remember which listed models write no text, according to the server; return the list.

        Nothing is remembered about models that write text, because the list can lack facts about
        them.
        """
        until = time.monotonic() + _KNOWN_S
        for info in listed:
            if info.capabilities.chat is False and capabilities.lacks(info.capabilities, ["chat"]):
                self._known[info.name] = (until, info.capabilities)
                self._textless.add(info.name)
            elif info.name in self._textless:
                self._known.pop(info.name, None)
                self._textless.discard(info.name)
        return listed

    def forget(self, model: Optional[str] = None) -> None:
        """Drop the cached facts about a model; None drops the facts about all models."""
        if model is None:
            self._known.clear()
            self._textless.clear()
        else:
            self._known.pop(model, None)

    def _ask(self, model: str, ask: Callable[[], ModelCapabilities]) -> ModelCapabilities:
        """Return the server's answer about a model, and remember it."""
        try:
            found = ask()
        except _FINAL:
            raise
        except ProviderError:
            # The capabilities are unknown, so no request is refused. This result is cached, too,
            # so that a server without this endpoint is not asked again for each call.
            found = ModelCapabilities()
        self._known[model] = (time.monotonic() + _KNOWN_S, found)
        return found

    def _listed_again(
        self, model: str, listed: Callable[[], List[ModelInfo]]
    ) -> Optional[ModelCapabilities]:
        """List the models again; return the capabilities of a model that still writes no text."""
        try:
            self.learn(listed())
        except _FINAL:
            raise
        except ProviderError:
            return None  # the server decides
        return self._cached(model)

    def _cached(self, model: str) -> Optional[ModelCapabilities]:
        until, found = self._known.get(model, (0.0, None))
        return found if until > time.monotonic() else None


def _hint(
    ability: str, known: ModelCapabilities, listed: Callable[[], Sequence[ModelInfo]]
) -> Optional[str]:
    """Return a hint with another use of the model, and with models that have the ability."""
    suggested = _suggest_models(ability, listed)
    is_for_decisions = ability in ("chat", "completion") and known.decision
    hints = (_DECISION_HINT if is_for_decisions else None, suggested)
    return "; ".join(filter(None, hints)) or None


# Patterns of the texts with which servers refuse a request, by the ability that the model lacks.
_REFUSED_ABILITIES: Mapping[str, str] = {
    "embeddings": "support.* embed|--embeddings",
    "tools": "support.* tools",
    "vision": "support.* (image|vision)",
    "thinking": "support.* thinking",
    "insert": "support.* insert",
    "chat": "support.* chat",
}


def suggest_after(
    error: CapabilityError, listed: Callable[[], Sequence[ModelInfo]]
) -> Optional[str]:
    """Return a hint that names models with the ability that a refused request needs.

    The result is None if the server's text names no ability, or if no listed model has it.
    """
    if not error.model:  # for example, an error of the request for the list of models
        return None
    text = error.server_message or ""
    for ability, pattern in _REFUSED_ABILITIES.items():
        if re.search(pattern, text, re.IGNORECASE):
            hint = _suggest_models(ability, listed)
            if hint is None or hint == _NONE_CAN:
                return None
            return f"{hint}; {OTHER_USES}" if ability == "chat" else hint
    return None


_NONE_CAN = "the server lists no model that can"


def _suggest_models(ability: str, listed: Callable[[], Sequence[ModelInfo]]) -> Optional[str]:
    """Return a hint with local models that have the capability; None if listing failed."""
    try:
        # Cloud models are not suggested to a user who chose a local model.
        here = [info for info in listed() if not info.capabilities.remote]
        names = [info.name for info in here if capabilities.has(info.capabilities, ability)]
    except ProviderError:
        return None
    if not names:
        return _NONE_CAN
    return f"models of this server that can: {', '.join(names[:_MOST_NAMES])}"


#: Called if text was lost and the caller allows a loss. The arguments are the number of prompt
#: tokens and the size of the context window.
OnLoss = Callable[[Optional[int], int], None]

#: Returns the context window allocated for a model, in tokens; None if it is unknown.
AskWindow = Callable[[], Optional[int]]

# If prompt and answer do not have more tokens than this, the server is not asked for the window:
# Ollama allocates no smaller window (docs/reference/ollama.md, "Context window"), and a request
# after each short response would be too slow.
SMALLEST_WINDOW = 256

_HINT = "set max_tokens, raise context_length, or accept the loss with overflow='allow'"


class ContextWindowCheck:
    """The check of token counts against the allocated context window.

    The window is cached for a minute. The server is asked again before a loss is reported.

    Args:
        calibration: The calibration of token estimates, which learns from each prompt that the
            server has counted.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._known: Dict[Tuple[str, Optional[int]], Tuple[float, int]] = {}

    def check_so_far(
        self, request: CompletionRequest, model: str, tokens: int, ask: AskWindow
    ) -> float:
        """Check an answer that is still being generated.

        The number of prompt tokens is not known yet, so only the answer is compared with the
        window. If the answer alone is longer, the beginning of the prompt has certainly been lost.

        Args:
            request: The request. If it allows a loss, nothing is checked.
            model: Name of the model.
            tokens: Number of tokens that the model has generated so far, or a lower bound of it.
            ask: Asks the server for the window.

        Returns:
            The number of tokens after which the answer must be checked again; infinity if the
            window is unknown. If the server could not be asked for the window, `check` reports
            this.

        Raises:
            ContextOverflowError: The answer is longer than the window.
        """
        if request.overflow != "error":
            return math.inf
        try:
            window = self._window((model, request.context_length), tokens, ask)
        except ProviderError:
            return math.inf
        if window is None or tokens <= window:
            return window or math.inf
        raise ContextOverflowError(
            f"the answer has {tokens} tokens so far, but the context window has {window}: "
            "the beginning was lost, so the answer was ended",
            hint=_HINT,
            context_length=window,
        )

    def check(
        self,
        request: CompletionRequest,
        model: str,
        usage: Usage,
        *,
        ask: AskWindow,
        on_loss: OnLoss,
    ) -> List[str]:
        """Check the token counts of a complete answer, and learn from them.

        Return the warnings. There is a warning if text was lost and the caller allows a loss, and
        one if the server has probably cut the prompt. If the server could not be asked for the
        window, the only warning says this.

        Raises:
            ContextOverflowError: Text was lost, and `overflow` of the request is ``error``.
        """
        try:
            warnings = [
                self._find_slide(request, model, usage, ask, on_loss),
                self._find_cut(request, model, usage, ask),
            ]
        except ContextOverflowError:
            raise
        except ProviderError as error:
            reason = error.message
            warnings = [f"cannot check whether the answer fits the context window: {reason}"]
        self._calibration.learn(model, request, usage.prompt_tokens)
        return [warning for warning in warnings if warning]

    def forget(self) -> None:
        """Drop all cached windows, because a model was loaded or unloaded."""
        self._known.clear()

    def _find_slide(
        self,
        request: CompletionRequest,
        model: str,
        usage: Usage,
        ask: AskWindow,
        on_loss: OnLoss,
    ) -> Optional[str]:
        """Compare prompt and answer with the window; return a warning if there was a loss."""
        used = usage.total_tokens
        if used is None or used <= SMALLEST_WINDOW:
            return None
        window = self._window((model, request.context_length), used, ask)
        if window is None or used <= window:
            return None
        message = (
            f"prompt and answer have {used} tokens, but the context window has {window}: "
            "the beginning was lost"
        )
        if request.overflow != "error":
            on_loss(usage.prompt_tokens, window)
            return message
        raise ContextOverflowError(
            message, hint=_HINT, prompt_tokens=usage.prompt_tokens, context_length=window
        )

    def _find_cut(
        self, request: CompletionRequest, model: str, usage: Usage, ask: AskWindow
    ) -> Optional[str]:
        """Return a warning if the server's count shows that the server has cut the prompt.

        The window is unknown for most servers of OpenAI's dialect. If it is known, there is a
        warning only if the estimated prompt is longer than the window: some old servers count only
        the part of a prompt that was not in their cache (docs/reference/ollama.md, "Traps").
        """
        tokens = (usage.prompt_tokens or 0) + (usage.cached_tokens or 0)
        estimate = self._calibration.estimate_if_cut(model, request, tokens)
        if estimate is None:
            return None
        window = self._window((model, request.context_length), estimate, ask)
        if window is not None and estimate <= window:
            return None
        fact = "" if window is None else f", and the context window has {window}"
        return (
            f"the server has probably cut the prompt: it has about {estimate} tokens by our "
            f"estimate, but the server counted {usage.prompt_tokens}{fact}"
        )

    def _window(self, key: Tuple[str, Optional[int]], used: int, ask: AskWindow) -> Optional[int]:
        until, window = self._known.get(key, (0.0, 0))
        # If the cached window is too small, the server is asked again, because the model may have
        # been loaded again with a larger window.
        if until > time.monotonic() and used <= window:
            return window
        found = ask()
        if found is not None:
            self._known[key] = (time.monotonic() + _KNOWN_S, found)
        return found


def cut_off_warning(request: CompletionRequest, summary: Summary) -> Optional[str]:
    """Return a warning if the limit of tokens ended a response, and something may be missing.

    Either the response has neither text nor a tool call, or the request has tools, and a tool call
    after the text may be lost. Ollama drops an incomplete tool call, or an incomplete tag of the
    thinking, without any other sign (docs/reference/ollama.md, "Tools"). For a response that has
    only thinking, the result is None: `with_thinking_warning` adds another warning.
    """
    if not is_too_long(summary.finish_reason) or summary.tool_calls:
        return None
    thinking, text = summary.words
    limit, remedy = f"max_tokens={request.max_tokens}", "raise max_tokens"
    if request.max_tokens is None:
        limit, remedy = "the limit of tokens", "raise max_tokens or context_length"
    if text.strip():
        lost = "; a tool call at its end may be lost" if request.tools else None
    elif thinking.strip() or summary.usage.thinking_tokens:
        lost = None
    else:
        lost = " before any text" + (" or tool call" if request.tools else "")
    return lost and f"{limit} ended the answer{lost}: {remedy}"
