"""Errors about models that a server does not have.

Such an error names the model that was probably meant, and the models that the server has.
"""

from __future__ import annotations

from shlex import quote
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, Tuple

from localproviders._did_you_mean import most_similar
from localproviders.errors import ConfigurationError, ModelNotFoundError, ProviderError
from localproviders.types.models import ModelInfo

#: A function that returns, of several names, the one that is most similar to a given name; None if
#: none is similar.
Nearest = Callable[[str, Iterable[str]], Optional[str]]

# Highest number of model names in the hint for a call without a model.
_MOST_NAMES = 50


def no_model(names: Sequence[str], provider: str, endpoint: str) -> ConfigurationError:
    """Return the error for a call in which neither the request nor the provider names a model."""
    hint = f"pass model=...; the server has: {join_names(names, _MOST_NAMES)}"
    return ConfigurationError("no model was named", hint=hint, provider=provider, endpoint=endpoint)


def not_found(model: str, *, available: Tuple[str, ...] = (), **facts: Any) -> ModelNotFoundError:
    """Return the error for a model that the server does not have.

    The provider adds the suggestion and the hint when the call fails: see `complete_error`.

    Args:
        model: Name of the model.
        available: Names of the server's models.
        facts: Further arguments of the error.
    """
    message = f"the server has no model {model!r}"
    return ModelNotFoundError(message, model=model, available=available, **facts)


def complete_error(
    error: ModelNotFoundError,
    ask: Callable[[], Sequence[ModelInfo]],
    ways: Mapping[Optional[str], str],
    nearest: Nearest = most_similar,
) -> None:
    """Add the name that the caller probably meant, and the models of the server, to an error.

    Args:
        error: The error. It is left unchanged if its hint is not in `ways`, because such an
            error is already complete.
        ask: Asks the server for its models, if the error does not have their names. If this
            fails, the error gets no names.
        ways: For each hint of an incomplete error, the text that follows the names of the models
            in the new hint. The text may contain ``{model}``, which is replaced with the name of
            the missing model, quoted for a shell.
        nearest: Finds the most similar name, by the rules by which the server compares names.
    """
    if not error.model or error.hint not in ways:
        return
    names, way = error.available, ways[error.hint].format(model=quote(error.model))
    try:
        names = names or tuple(info.name for info in ask())
    except ProviderError as failure:
        # If the server lacks the route of the model list, the server is of another kind than the
        # provider expects. The hint of `failure` names that kind.
        lacks_route = failure.status in (404, 405) and not isinstance(failure, ModelNotFoundError)
        error.hint = (lacks_route and failure.hint) or way or error.hint
        return
    error.available = names
    near = nearest(error.model, names)
    if near == error.model:
        # The server has the model, but perhaps not for this kind of request. A 404 means that
        # the server does not find the files of the model.
        way = way if error.status == 404 else ""
    elif near is not None:
        error.message = f"{error.message.rstrip('.')}; did you mean {near!r}?"
        # A similar name can be another version of the model, which can be downloaded. A misspelt
        # name cannot be downloaded.
        way = way if _letters(near) == _letters(error.model) else ""
    error.hint = "; ".join(filter(None, (names_hint(names), way)))


def _letters(model: str) -> str:
    """Return the letters of a name without its tag. Versions of a model have the same letters."""
    return "".join(filter(str.isalpha, model.split(":")[0])).lower()


def names_hint(names: Sequence[str], owner: str = "the server has") -> str:
    """Return a hint with the names of a server's models: at most five of them."""
    return f"{owner}: {join_names(names)}" if names else f"{owner} no models"


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Return at most `most` names, joined with commas, and the number of the other names."""
    more = len(names) - most
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {more:,} more" if more > 0 else shown
