"""Checks of models: those that the configuration names, and those in memory."""

from __future__ import annotations

from shlex import quote
from typing import Dict, Iterator, List, Optional, Tuple

from localproviders.doctor.facts import ExaminedModel, Facts, Server, WantedModel, ready_servers
from localproviders.doctor.findings import Finding, failure, ok, warning
from localproviders.doctor.products import (
    PLAIN_TEMPLATES,
    PRODUCTS,
    command,
    edit_command,
    window_command,
)
from localproviders.errors import CapabilityError, LocalityError, ModelNotFoundError
from localproviders.types.models import LoadedModel

#: A context window of at most this many tokens is too small for most documents and tools.
SMALL_WINDOW = 4096
_LISTED = 5


def check_lists(facts: Facts) -> Iterator[Finding]:
    """Check that the servers have models."""
    servers = ready_servers(facts)
    for server in servers:
        if server.models:
            continue
        fix = command("pull", "MODEL", server.kind, server.endpoint)
        fact = f"{server.name} has no model"
        if any(each.models for each in servers):
            yield warning(fact, server.endpoint, fix)
        else:
            yield failure(ModelNotFoundError, fact, server.endpoint, fix)


def check_wanted(facts: Facts) -> Iterator[Finding]:
    """Check that each model that the configuration names is on some server.

    An alias needs only one of its models: if others are missing, the finding is a warning.
    """
    if not ready_servers(facts):
        return  # another finding says that no server is ready
    missing: Dict[str, List[WantedModel]] = {}
    number: Dict[str, int] = {}
    for wanted in facts.wanted:
        number[wanted.key] = number.get(wanted.key, 0) + 1
        if not _may_be_there(wanted, facts):
            missing.setdefault(wanted.key, []).append(wanted)
    for key, models in missing.items():
        make = _is_missing if len(models) == number[key] else _is_partly_missing
        yield from (make(each, facts) for each in models)


def _may_be_there(wanted: WantedModel, facts: Facts) -> bool:
    """Return False only if every server that could have the model answered that it lacks it."""
    asked = [each for each in facts.asked if wanted.server in (None, each.name)]
    if any(each.error is not None for each in asked):
        return True  # the finding about the server is enough
    servers = [each for each in ready_servers(facts) if wanted.server in (None, *each.names)]
    found = [_examined(server, wanted.name, facts) for server in servers]
    return any(each is None or each.is_there is not False for each in found)


def _examined(server: Server, name: str, facts: Facts) -> Optional[ExaminedModel]:
    return next(
        (each for each in facts.models if (each.endpoint, each.name) == (server.endpoint, name)),
        None,
    )


def _is_missing(wanted: WantedModel, facts: Facts) -> Finding:
    return failure(ModelNotFoundError, *_missing(wanted, facts))


def _is_partly_missing(wanted: WantedModel, facts: Facts) -> Finding:
    return warning(*_missing(wanted, facts))


def _missing(wanted: WantedModel, facts: Facts) -> Tuple[str, str, Optional[str]]:
    servers = [each for each in ready_servers(facts) if wanted.server in (None, *each.names)]
    if not servers:
        fact = f"{wanted.key} names {wanted.text!r}, but no server {wanted.server!r} is ready"
        return fact, wanted.source, "localproviders discover"
    names = [model.name for server in servers for model in server.models][:_LISTED]
    there = f"; the servers have {', '.join(names)}" if names else ""
    fact = f"{wanted.key} names {wanted.text!r}, which no server has{there}"
    pull = command("pull", wanted.name, servers[0].kind, servers[0].endpoint)
    return fact, wanted.source, pull or _other_model(wanted)


def check_loaded(facts: Facts) -> Iterator[Finding]:
    """Report whether the configured models are in memory."""
    for wanted, server in _pairs(facts):
        model = server.listed(wanted.name)
        if model is None or server.kind not in PRODUCTS or model.capabilities.remote:
            continue  # other kinds do not report loaded models, and a cloud model is never loaded
        if server.is_loaded(model):
            yield ok(f"{wanted.text} is in memory", server.endpoint)
        else:
            fix = command("load", wanted.name, server.kind, server.endpoint)
            fact = f"{wanted.text} is not in memory: the first call waits until it is loaded"
            yield ok(fact, server.endpoint, fix)


def _pairs(facts: Facts) -> Iterator[Tuple[WantedModel, Server]]:
    """Yield each configured model with each server that has it."""
    for wanted in facts.wanted:
        for server in ready_servers(facts):
            found = _examined(server, wanted.name, facts)
            if wanted.server in (None, *server.names) and found and found.is_there:
                yield wanted, server


def check_windows(facts: Facts) -> Iterator[Finding]:
    """Compare the context window of each loaded model with the one it was trained for."""
    for server in ready_servers(facts):
        for loaded in server.loaded:
            trained = _trained_window(server, loaded, facts)
            allocated = loaded.context_length
            if trained is None or allocated is None:
                continue
            words = f"{loaded.name} has a context window of {allocated} tokens"
            if allocated <= SMALL_WINDOW and allocated < trained:
                fact = f"{words}, and was trained for {trained}"
                yield warning(fact, server.endpoint, window_command(server, loaded.name))
            else:
                yield ok(f"{words} (trained for {trained})", server.endpoint)


def _trained_window(server: Server, loaded: LoadedModel, facts: Facts) -> Optional[int]:
    found = _examined(server, loaded.name, facts)
    known = found.capabilities if found is not None else None
    if known is not None and known.max_context_length is not None:
        return known.max_context_length
    listed = (each for each in server.models if each.name == loaded.name)
    return next((each.capabilities.max_context_length for each in listed), None)


def check_cards(facts: Facts) -> Iterator[Finding]:
    """Check that a model that uses a graphics card is completely in the memory of the card."""
    for server in ready_servers(facts):
        for loaded in server.loaded:
            size, on_card = loaded.size_bytes, loaded.vram_bytes
            if size and on_card and on_card < size:
                part = f"{on_card / size:.0%} of {loaded.name}"
                fact = f"only {part} is on the graphics card: the model is slow"
                fix = command("unload", loaded.name, server.kind, server.endpoint)
                yield warning(fact, server.endpoint, fix)


def check_replaced(facts: Facts) -> Iterator[Finding]:
    """Check that no model was replaced since it was loaded."""
    for server in ready_servers(facts):
        digests = {each.name: each.digest for each in server.models}
        for loaded in server.loaded:
            listed = digests.get(loaded.name)
            if listed and loaded.digest and listed != loaded.digest:
                fact = f"{loaded.name} was replaced since it was loaded: the old one still answers"
                fix = command("unload", loaded.name, server.kind, server.endpoint)
                yield warning(fact, server.endpoint, fix)


def check_remote(facts: Facts) -> Iterator[Finding]:
    """Check that no configured model runs on another host, and report other models that do."""
    if facts.locality == "any":
        return
    wanted = {(server.endpoint, model): each for each, server, model in _listed_pairs(facts)}
    for server in ready_servers(facts):
        for model in server.models:
            if not (model.capabilities.remote or model.remote_host):
                continue
            host = model.remote_host or "another host"
            fact = f"{model.name} of {server.name} runs on {host}; the locality refuses prompts"
            key = (server.endpoint, model.name)
            if key in wanted:
                yield failure(LocalityError, fact, server.endpoint, _other_model(wanted[key]))
            else:
                fix = command("delete", model.name, server.kind, server.endpoint)
                yield warning(fact, server.endpoint, fix)


def _listed_pairs(facts: Facts) -> Iterator[Tuple[WantedModel, Server, str]]:
    for wanted, server in _pairs(facts):
        model = server.listed(wanted.name)
        if model is not None:
            yield wanted, server, model.name


def check_abilities(facts: Facts) -> Iterator[Finding]:
    """Check that the default model can chat, and that configured models have a chat template."""
    for wanted, server in _pairs(facts):
        found = _examined(server, wanted.name, facts)
        known = found.capabilities if found is not None else None
        if found is None or known is None:
            continue
        other = known.embeddings or known.rerank or known.decision
        if wanted.key == "model" and (known.chat is False or (other and not known.chat)):
            fact = f"{wanted.text} is used for all requests that name no model, but cannot chat"
            yield failure(CapabilityError, fact, wanted.source, _other_model(wanted))
        elif not other and found.template is not None and found.template in PLAIN_TEMPLATES:
            fact = f"{wanted.text} has no chat template: it continues text instead of answering"
            fix = command("show", wanted.name, server.kind, server.endpoint)
            yield warning(fact, server.endpoint, fix)


def _other_model(wanted: WantedModel) -> str:
    return edit_command(wanted.source) or "export LOCALPROVIDERS_MODEL=MODEL"


def check_twins(facts: Facts) -> Iterator[Finding]:
    """Check that a model name without a server does not mean different files on two servers."""
    balanced = facts.config is not None and facts.config.strategy == "balanced"
    for wanted in facts.wanted:
        if wanted.server is not None or balanced:
            continue
        servers = [server for each, server in _pairs(facts) if each == wanted]
        digests = {_digest(server, wanted.name) for server in servers}
        if len(servers) > 1 and (len(digests) > 1 or None in digests):
            names = ", ".join(each.name for each in servers)
            fact = f"several servers have {wanted.name}, but with different files: {names}"
            name = f"{servers[0].name}/{wanted.name}"
            is_model = wanted.key == "model"
            fix = f"export LOCALPROVIDERS_MODEL={quote(name)}" if is_model else None
            fix = fix or edit_command(wanted.source)
            yield warning(fact, wanted.source, fix)


def _digest(server: Server, name: str) -> Optional[str]:
    model = server.listed(name)
    return model.digest if model is not None else None


CHECKS = (
    check_lists,
    check_wanted,
    check_loaded,
    check_windows,
    check_cards,
    check_replaced,
    check_remote,
    check_abilities,
    check_twins,
)
