"""Errors about servers that were tried or skipped."""

from __future__ import annotations

from typing import Iterable, Optional, Sequence

from localproviders._dialect.missing_models import join_names, names_hint
from localproviders._did_you_mean import did_you_mean, most_similar
from localproviders.config.keys import kind_words
from localproviders.errors import (
    AllFailedError,
    CapabilityError,
    LocalityError,
    ModelNotFoundError,
    ProviderError,
)
from localproviders.local.servers import Aliases, Route
from localproviders.types.responses import ServerAttempt


def call_failed(
    name: str,
    failures: Sequence[ProviderError],
    missing: Sequence[ProviderError],
    needs: Sequence[str],
    aliases: Aliases,
) -> ProviderError:
    """Return the error of a call that no server could answer.

    If there is only one error, return it. If all servers lack the model or an ability, return one
    error for all of them, because a list of equal reasons would not help.

    Args:
        name: Name of the `LocalProvider`.
        failures: Errors of the servers that failed, in order.
        missing: Errors of servers that lack the model, or whose model lacks an ability.
        needs: Abilities that the model must have.
        aliases: The aliases of the `LocalProvider`.
    """
    error = _call_failed(name, failures, missing, needs)
    if missing and isinstance(error, ModelNotFoundError):
        name_aliases(error, aliases)
        name_server(error, [each.provider or "" for each in missing])
    elif missing and isinstance(error, AllFailedError):
        near = most_similar(missing[0].model or "", aliases)
        error.hint = error.hint if near is None else f"did you mean the alias {near!r}?"
    return error


def _call_failed(
    name: str,
    failures: Sequence[ProviderError],
    missing: Sequence[ProviderError],
    needs: Sequence[str],
) -> ProviderError:
    errors = [*failures, *missing]
    if len(errors) == 1:
        return errors[0]
    if not failures:
        return _unable_models(name, missing, needs) or _not_found(name, missing)
    reasons = "; ".join(f"{_route_name(e)}: {type(e).__name__}: {e.message}" for e in errors)
    return AllFailedError(
        f"all {len(errors)} attempts failed: {reasons}",
        errors=tuple(errors),
        retryable=any(error.retryable for error in errors),
        provider=name,
    )


def _unable_models(
    name: str, missing: Sequence[ProviderError], needs: Sequence[str]
) -> Optional[ProviderError]:
    unable = [error for error in missing if isinstance(error, CapabilityError)]
    if len(unable) < 2:
        return unable[0] if unable else None
    if not needs:
        reasons = "; ".join(f"{_route_name(error)}: {error.message}" for error in unable)
        return CapabilityError(
            f"none of {len(unable)} models can do this: {reasons}",
            hint=unable[0].hint,
            provider=name,
        )
    return CapabilityError(
        f"none of {len(unable)} models is known to have {', '.join(needs)}: "
        f"{', '.join(_route_name(error) for error in unable)}",
        hint="see model_capabilities() for the abilities of each model and the evidence for them",
        provider=name,
    )


def _not_found(name: str, missing: Sequence[ProviderError]) -> ProviderError:
    if not missing:
        return ModelNotFoundError(
            "the servers have no model to choose from",
            hint="download one first with pull(...); list_models() returns the available models",
            provider=name,
        )
    available = tuple(
        f"{error.provider}/{each}" for error in missing for each in getattr(error, "available", ())
    )
    models = {error.model for error in missing}
    model = missing[0].model or ""
    if len(models) == 1:
        tried = ", ".join(error.provider or "" for error in missing)
        message = (
            f"no server has the model {model!r}; tried: {tried}{_did_you_mean(model, available)}"
        )
    else:
        message = f"no server has the model; tried: {', '.join(map(_route_name, missing))}"
    return ModelNotFoundError(
        message,
        hint=names_hint(available, "the servers have"),
        available=available,
        model=model,
        provider=name,
    )


def _did_you_mean(model: str, available: Iterable[str]) -> str:
    """Return a suggestion or an empty string. Names are compared with and without their servers."""
    names = list(available)
    return did_you_mean(model, [*(each.partition("/")[2] for each in names), *names])


def name_aliases(error: ModelNotFoundError, aliases: Aliases) -> None:
    """Add the aliases to an error about a model that no server has.

    If the most similar name is an alias, the error suggests this alias instead of a download.
    """
    if not error.model or any(error.model in names for names in aliases.values()):
        return
    known = join_names(list(aliases))
    if most_similar(error.model, [*aliases, *error.available]) in aliases:
        suggestion = did_you_mean(error.model, list(aliases))
        error.message = f"there is no model or alias {error.model!r}{suggestion}"
        error.hint = f"the aliases are: {known}; {names_hint(error.available, 'the models are')}"
    elif aliases:
        error.hint = f"the aliases are: {known}; {error.hint or ''}".rstrip("; ")


def name_server(error: ModelNotFoundError, servers: Sequence[str]) -> None:
    """If the name of a missing model seems to begin with a misspelt server, suggest that server.

    If the error already suggests a model together with its server, it is not changed.

    Args:
        error: The error about the model.
        servers: The names of the servers that lack the model.
    """
    prefix, slash, model = (error.model or "").partition("/")
    near = most_similar(prefix, [*servers, *kind_words()]) if slash else None
    if near and near != prefix and f"did you mean '{near}/" not in error.message:
        server = f"there is no server {prefix!r}; did you mean '{near}/{model}'?"
        error.hint = "; ".join(filter(None, (server, error.hint)))


def _route_name(error: ProviderError) -> str:
    return "/".join(part for part in (error.provider, error.model) if part)


def tried(route: Route, error: ProviderError) -> ServerAttempt:
    """Return the description of a failed attempt, for the response of another server."""
    return ServerAttempt(
        provider=route.server.name,
        model=route.model,
        error=type(error).__name__,
        message=error.message,
    )


def missing_abilities(route: Route, lacking: Sequence[str]) -> CapabilityError:
    """Return the error for a model that is not known to have the needed abilities."""
    return CapabilityError(
        f"{route} is not known to have {', '.join(lacking)}",
        hint="name another model, or remove the ability from needs",
        model=route.model,
        provider=route.server.name,
    )


def wider_locality(route: Route) -> LocalityError:
    """Return the error for a server that must not replace servers that failed.

    An untrusted project file could otherwise make local servers fail, so that the prompt goes to
    a server further away.
    """
    return LocalityError(
        f"{route} was not tried after a failure: it may send prompts further than this provider,"
        " and the limits or localities of a project's file may have caused the failure",
        hint="name this server first, or add the file's folder to trusted_folders in your own"
        " configuration file",
        model=route.model,
        provider=route.server.name,
    )


def cloud_model(route: Route) -> LocalityError:
    """Return the error for a cloud model, which must not replace another model."""
    return LocalityError(
        f"{route} is a cloud model, which never replaces another model",
        hint="to use this model, name it first",
        model=route.model,
        provider=route.server.name,
    )
