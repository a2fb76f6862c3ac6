"""Finds the servers for a verb about models: all servers, or the one that has the model."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Tuple, TypeVar

from localproviders import kinds
from localproviders._did_you_mean import did_you_mean
from localproviders._redact import shortened
from localproviders.cli.run import Run
from localproviders.cli.usage import UsageError
from localproviders.errors import (
    AllFailedError,
    ModelNotFoundError,
    ProviderError,
    UnsupportedError,
)
from localproviders.local.provider import LocalProvider
from localproviders.provider import ModelProvider

T = TypeVar("T")


class Target(NamedTuple):
    """A model on a server.

    Attributes:
        provider: The provider of the server; a `LocalProvider` if the server is not known yet.
        model: The name of the model for this provider.
    """

    provider: ModelProvider
    model: str

    def __str__(self) -> str:
        if isinstance(self.provider, LocalProvider):
            return self.model
        return f"{self.provider.name}/{self.model}"


def target_of(run: Run, text: str) -> Target:
    """Return the model that a text such as ``llama3.2`` or ``ollama/llama3.2`` names.

    No request is sent, unless ``--host`` gives an address without a kind such as ``ollama``.

    Raises:
        ProviderError: The text or the configuration is invalid.
    """
    provider = run.provider(model=text)
    if isinstance(provider, LocalProvider):
        return Target(provider, text)
    settings = getattr(provider, "settings", None)  # a model file has none
    return Target(provider, getattr(settings, "model", None) or text)


def single_target(run: Run, text: str, verb: str, *, is_new: bool = False) -> Target:
    """Return the model, and the one server for a verb that only some servers support.

    Args:
        run: The run.
        text: The name of the model, with or without its server.
        verb: The name of the verb, which is also the name of the provider's method.
        is_new: Whether the verb makes the model, so that the server need not have it.

    Raises:
        UnsupportedError: The named server does not support the verb, or no server supports it.
        ModelNotFoundError: No server that supports the verb has the model.
        UsageError: Several servers have the model.
    """
    target = target_of(run, text)
    if not isinstance(target.provider, LocalProvider):
        if not _can(target.provider, verb):
            raise _unsupported(target.provider.name, verb)
        return target
    able = [each for each in target.provider.providers() if _can(each, verb)]
    if not able:
        raise _unsupported("the servers on this machine", verb)
    found = able if is_new else [each for each in able if each.supports_model(text)]
    if not found:
        names = [name for each in able for name in _names_of(each)]
        raise ModelNotFoundError(
            f"no server that can {verb} models has the model{did_you_mean(text, names)}",
            hint=shortened(f"the known models are {', '.join(names)}", 300) if names else None,
            model=text,
            available=tuple(names),
        )
    if len(found) > 1:
        choices = ", ".join(f"{each.name}/{text}" for each in found)
        raise UsageError(
            f"{len(found)} servers can {verb} {text!r}", hint=f"name one of them: {choices}"
        )
    return Target(found[0], text)


def on_server(target: Target, text: str) -> str:
    """Return the name of another model on the server of a target, without the server's name."""
    prefix, slash, rest = text.partition("/")
    if slash and prefix == target.provider.name:
        return rest
    return text


def ask_each(
    provider: ModelProvider, ask: Callable[[ModelProvider], List[T]]
) -> Tuple[List[T], List[ProviderError]]:
    """Call `ask` with the provider; for a `LocalProvider`, with each of its servers.

    Returns:
        The results of all servers in one list, and the errors of the servers that failed.

    Raises:
        ProviderError: No server was found, or every server failed.
    """
    several = isinstance(provider, LocalProvider)
    servers = provider.providers() if isinstance(provider, LocalProvider) else [provider]
    found: List[T] = []
    failures: List[ProviderError] = []
    for server in servers:
        try:
            found += ask(server)
        except ProviderError as error:
            error.add_context(provider=server.name)
            failures.append(error)
    if len(failures) < len(servers):
        return found, failures
    if not several or len(failures) == 1:
        raise failures[0]
    raise AllFailedError(
        "no server answered: " + "; ".join(f"{each.provider}: {each.message}" for each in failures),
        errors=tuple(failures),
    )


def warn_of(run: Run, failures: List[ProviderError]) -> None:
    """Write a line to standard error for each server that failed."""
    for error in failures:
        run.warn(f"warning: {error.provider} is left out: {error.message}")


def _can(provider: ModelProvider, verb: str) -> bool:
    return callable(getattr(type(provider), verb, None))


def _names_of(provider: ModelProvider) -> List[str]:
    return [f"{provider.name}/{info.name}" for info in provider.list_models()]


def _unsupported(who: str, verb: str) -> UnsupportedError:
    able = [each.title for each in kinds.registered() if _class_can(each, verb)]
    only = f"; {', '.join(able)} can" if able else ""
    return UnsupportedError(f"{who} cannot {verb} models{only}")


def _class_can(kind: Any, verb: str) -> bool:
    try:
        return not kind.is_file and callable(getattr(kind.resolve("provider"), verb, None))
    except ProviderError:  # a kind of another package that cannot be imported
        return False
