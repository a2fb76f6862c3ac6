"""From what was seen to what is told: each server once, with a name."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, List, Optional, Sequence, Set

from localproviders.discovery.looking import Seen
from localproviders.discovery.values import STATES, Discovery, FoundServer, Probe, number_of_models


def told(seen: Sequence[Seen]) -> Discovery:
    """Put together what was seen: each server once, named, best first."""
    servers: List[FoundServer] = []
    unique: List[Seen] = []
    probes: List[Probe] = []
    names: Set[str] = set()
    for one in seen:
        twin = next((other for other in unique if _is_same(one, other)), None)
        probes.append(_probe(one, twin))
        if one.server is not None and twin is None:
            unique.append(one)
            servers.append(_named(one, names))
    return Discovery(
        found_at=datetime.now(timezone.utc),
        servers=tuple(sorted(servers, key=lambda server: STATES.index(server.state))),
        tried=tuple(probes),
    )


def _probe(seen: Seen, twin: Optional[Seen]) -> Probe:
    server = seen.server
    reason = seen.reason
    if twin is not None:
        reason = f"the same server as at {twin.candidate.endpoint.url}"
    elif server is not None and not reason:
        words = [server.kind, server.version or server.generation or ""]
        reason = f"{' '.join(filter(None, words))} with {number_of_models(server)}"
    return Probe(
        endpoint=seen.candidate.endpoint.url,
        outcome=seen.outcome,
        reason=reason,
        latency_s=seen.latency_s,
    )


def _is_same(one: Seen, other: Seen) -> bool:
    """Whether both loopback addresses of a port lead to one server, by what it lists."""
    here, there = one.candidate.endpoint, other.candidate.endpoint
    local = here.is_loopback and there.is_loopback
    known = one.server is not None and one.server.kind != "unknown"
    return (
        local
        and known
        and (here.scheme, here.port, here.path) == (there.scheme, there.port, there.path)
        and (_listing(one.server) == _listing(other.server) or _is_shut(one, other))
    )


def _is_shut(one: Seen, other: Seen) -> bool:
    """Whether only the key that one of them was not shown keeps two lists from agreeing."""
    here, there = one.server, other.server
    kept = here is not None and here.state == "needs a key" and not here.takes_keys
    return kept and here is not None and there is not None and here.kind == there.kind


def _listing(server: Optional[FoundServer]) -> Any:
    if server is None:
        return None
    return (
        server.kind,
        server.state,
        server.version,
        server.generation,
        [(model.name, model.digest) for model in server.models],
        [(model.name, model.instance) for model in server.loaded],
    )


def _named(seen: Seen, names: Set[str]) -> FoundServer:
    """Give a server its name, and its models the name of their server."""
    server = seen.server
    assert server is not None  # noqa: S101  # the caller has looked
    with_port = f"{server.kind}-{seen.candidate.endpoint.port}"
    alone = server.kind in ("ollama", "lmstudio")
    wanted = [*([server.kind] if alone else []), with_port]
    wanted += [f"{with_port}-{number}" for number in range(2, len(names) + 3)]
    name = next(each for each in wanted if each not in names)
    names.add(name)
    return server.replace(
        name=name,
        models=tuple(model.replace(provider=name) for model in server.models),
        loaded=tuple(model.replace(provider=name) for model in server.loaded),
    )
