"""The facts about this machine, the server and the model."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar

from localproviders import kinds
from localproviders._address import parse_endpoint
from localproviders._interrupts import is_callers
from localproviders._version import __version__
from localproviders.errors import CancelledError, ConfigurationError, ProviderError
from localproviders.provider import ModelProvider
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.models import LoadedModel, ModelCapabilities

T = TypeVar("T")


def machine_facts(root: Path = Path("/")) -> Dict[str, Any]:
    """Return the fields of an `Environment` that describe this machine.

    Args:
        root: The folder that contains ``proc``.
    """
    return {
        "measured_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "system": f"{platform.system()} {platform.release()}".strip(),
        "machine": platform.machine() or None,
        "processor": _processor(root) or os.environ.get("PROCESSOR_IDENTIFIER"),
        "cpu_count": _cpu_count(),
        "memory_bytes": _memory_bytes(),
        "python": platform.python_version(),
        "package": __version__,
    }


def _processor(root: Path) -> Optional[str]:
    # `platform.processor` would start a program on some systems.
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if is_callers(error):
            raise
        return None
    pairs = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == "model name"), None)


def _cpu_count() -> Optional[int]:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> Optional[int]:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError) as error:  # not on every system
        if is_callers(error):
            raise
        return None


class ServerFacts:
    """The facts that a server reports about itself and about one model.

    A fact that the server does not report is None. The figures do not depend on these facts, so an
    error of a request for facts is ignored. Only the error of a cancelled call is raised.

    Args:
        provider: The provider of the server.
        model: Name of the model.
        timeout: Function that returns the limits of the next request.
        cancel: The cancel token of the measurement.
    """

    def __init__(
        self,
        provider: ModelProvider,
        model: str,
        timeout: Callable[[], Timeout],
        cancel: CancelToken,
    ) -> None:
        self._provider, self._model = provider, model
        self._timeout, self._cancel = timeout, cancel
        self._names = {model}

    def all(self, endpoint: Optional[str]) -> Dict[str, Any]:
        """Return the fields of an `Environment` that describe the server and the model.

        Args:
            endpoint: Address of the server, from a response.
        """
        info = self._ask(lambda: self._provider.model_info(self._model, **self._how()))
        known = info.capabilities if info else ModelCapabilities()
        if info:
            self._names.add(info.name)  # the server's lists may spell the name in another way
        copies = self.loaded_copies() or []
        loaded = copies[0] if len(copies) == 1 else None
        return {
            "server": product_of(self._provider),
            "server_version": self._version(),
            "is_local": _is_local(endpoint),
            "model": self._model,
            "digest": info.digest if info else None,
            "architecture": known.architecture,
            "parameter_size": known.parameter_size,
            "quantization": known.quantization or (loaded and loaded.quantization),
            "size_bytes": known.size_bytes,
            "context_length": known.loaded_context_length or (loaded and loaded.context_length),
            "vram_bytes": loaded and loaded.vram_bytes,
        }

    def loaded_copies(self) -> Optional[List[LoadedModel]]:
        """Return the copies of the model in memory; None if the server does not list them."""
        listed = self._ask(lambda: self._provider.loaded_models(**self._how()))
        if listed is None:
            return None
        return [each for each in listed if self._names & {each.name, each.instance}]

    def _version(self) -> Optional[str]:
        ask = getattr(type(self._provider), "version", None)
        found = self._ask(lambda: ask(self._provider, **self._how())) if callable(ask) else None
        return found if isinstance(found, str) else None

    def _how(self) -> Dict[str, Any]:
        return {"timeout": self._timeout(), "cancel": self._cancel}

    def _ask(self, work: Callable[[], T]) -> Optional[T]:
        try:
            return work()
        except CancelledError:
            raise
        except ProviderError:
            return None


def product_of(provider: ModelProvider) -> Optional[str]:
    """Return the display name of the server's program, such as ``Ollama``.

    The name is the title of the provider's kind. It is None if the provider has no known kind.
    """
    titles = {kind.provider: kind.title for kind in kinds.registered()}
    places = (f"{cls.__module__}:{cls.__qualname__}" for cls in type(provider).__mro__)
    return next((titles[place] for place in places if place in titles), None)


def _is_local(endpoint: Optional[str]) -> Optional[bool]:
    if endpoint is None:
        return None
    try:
        return parse_endpoint(endpoint, default_port=80).is_loopback
    except ConfigurationError:
        return None
