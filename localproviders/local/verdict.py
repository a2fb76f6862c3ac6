"""What is said about servers that were not the one: in an answer, or when there is none."""

from __future__ import annotations

from typing import List, Optional, Sequence

from localproviders.errors import (
    AllFailedError,
    CapabilityError,
    LocalityError,
    ModelNotFoundError,
    ProviderError,
)
from localproviders.local.routes import Route
from localproviders.types.answer import Tried


def nobody(
    name: str,
    failures: Sequence[ProviderError],
    missing: Sequence[ProviderError],
    needs: Sequence[str],
) -> ProviderError:
    """Give the error of a call that no server could answer.

    Where there was one reason only, it is that error. Where everybody answered that the model
    is not there, or cannot do it, there is nothing to gain from a list of them.

    Args:
        name: The name of the whole provider.
        failures: Why servers failed, in order.
        missing: Why servers were passed over: they do not have the model, or not one that can.
        needs: What it had to be able to do.
    """
    errors = [*failures, *missing]
    if len(errors) == 1:
        return errors[0]
    if not failures:
        return _unable(name, missing, needs) or _not_found(name, missing)
    reasons = "; ".join(f"{_place(e)}: {type(e).__name__}: {e.message}" for e in errors)
    return AllFailedError(
        f"all of {len(errors)} failed: {reasons}",
        errors=tuple(errors),
        retryable=any(error.retryable for error in errors),
        provider=name,
    )


def _unable(
    name: str, missing: Sequence[ProviderError], needs: Sequence[str]
) -> Optional[ProviderError]:
    unable = [error for error in missing if isinstance(error, CapabilityError)]
    if len(unable) < 2:
        return unable[0] if unable else None
    return CapabilityError(
        f"none of {len(unable)} models is known to have {', '.join(needs)}: "
        f"{', '.join(_place(error) for error in unable)}",
        hint="model_capabilities() says what each can do, and how that is known",
        provider=name,
    )


def _not_found(name: str, missing: Sequence[ProviderError]) -> ProviderError:
    if not missing:
        return ModelNotFoundError(
            "there is no model to choose from",
            hint="get one first, as in pull(...); list_models() says what there is",
            provider=name,
        )
    asked: List[str] = [error.provider or "" for error in missing]
    return ModelNotFoundError(
        f"none of the servers has the model; asked were {', '.join(asked)}",
        hint="list_models() says what there is",
        available=tuple(
            f"{error.provider}/{each}"
            for error in missing
            for each in getattr(error, "available", ())
        ),
        model=next((error.model for error in missing), None),
        provider=name,
    )


def _place(error: ProviderError) -> str:
    return "/".join(part for part in (error.provider, error.model) if part)


def tried(route: Route, error: ProviderError) -> Tried:
    """Give the line of an answer about a server that failed before."""
    return Tried(
        provider=route.server.name,
        model=route.model,
        error=type(error).__name__,
        message=error.message,
    )


def lacks(route: Route, lacking: Sequence[str]) -> CapabilityError:
    """Say that a model is not known to be able to do what is wanted."""
    return CapabilityError(
        f"{route} is not known to have {', '.join(lacking)}",
        hint="name another model, or take it out of needs",
        model=route.model,
        provider=route.server.name,
    )


def cloud(route: Route) -> LocalityError:
    """Refuse a cloud model as a substitute."""
    return LocalityError(
        f"{route} is a cloud model, and is never asked in another's place",
        hint="name it first, if you want it",
        model=route.model,
        provider=route.server.name,
    )
