"""Checks of memory and disk space: whether models fit, before a call loads or downloads them."""

from __future__ import annotations

from shlex import quote
from typing import Iterator, List, Tuple

from localproviders.doctor.facts import Facts, Server, ready_servers
from localproviders.doctor.findings import Finding, ok, warning
from localproviders.doctor.products import command
from localproviders.types.models import ModelInfo

#: Few models can be downloaded to a disk that has fewer free bytes than this.
LITTLE_DISK_BYTES = 5 * 10**9
# No model needs more bytes. A larger number from a server is ignored.
_MOST_BYTES = 10**15
_MEMORY_SOURCE = "/proc/meminfo"


def check_memory(facts: Facts) -> Iterator[Finding]:
    """Compare the free memory with the models that calls would load.

    Calls would load the configured models. If no model is configured, this check compares all
    models of local servers, and warns only if none of them fits. Too little memory is a warning and
    not an error, because a graphics card or memory mapping can make such a model work.
    """
    free = facts.free_memory_bytes
    if free is None:
        return
    too_large = [pair for pair in _candidates(facts) if _needed(pair) > free]
    if too_large and (facts.wanted or len(too_large) == len(_candidates(facts))):
        for server, model in too_large:
            fact = f"{model.name} needs {_gb(model.size_bytes)}, and {_gb(free)} of memory are free"
            loaded = (each.name for each in server.loaded)
            unload = (command("unload", name, server.kind, server.endpoint) for name in loaded)
            yield warning(fact, _MEMORY_SOURCE, next(unload, None) or "free -h")
    else:
        yield ok(f"{_gb(free)} of memory are free", _MEMORY_SOURCE)


def _candidates(facts: Facts) -> List[Tuple[Server, ModelInfo]]:
    """Return the models on this machine that are not in memory: the configured ones, or all."""
    names = [each.name for each in facts.wanted]
    return [
        (server, model)
        for server in ready_servers(facts)
        if server.is_local
        for model in server.models
        if not server.is_loaded(model) and model.size_bytes and not model.remote_host
        if not names or any(server.listed(name) == model for name in names)
    ]


def _needed(pair: Tuple[Server, ModelInfo]) -> int:
    size = pair[1].size_bytes or 0
    return size if size < _MOST_BYTES else 0


def _gb(number: object) -> str:
    return f"{float(str(number)) / 1e9:.1f} GB"


def check_disks(facts: Facts) -> Iterator[Finding]:
    """Check the free space in the folders where local servers keep their models."""
    servers = {each.kind: each for each in ready_servers(facts) if each.is_local}
    for disk in facts.disks:
        server = servers.get(disk.kind)
        if server is None:
            continue
        fact = f"{_gb(disk.free_bytes)} are free for the models in {disk.path}"
        if disk.free_bytes < LITTLE_DISK_BYTES:
            delete = command("delete", "MODEL", server.kind, server.endpoint)
            fix = delete or f"du -h {quote(disk.path)} | sort -h"
            yield warning(f"only {fact}", disk.path, fix)
        else:
            yield ok(fact, disk.path)


CHECKS = (check_memory, check_disks)
