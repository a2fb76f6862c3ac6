"""`Facts`: all values that an examination reads from the machine, as one object.

Each check is a pure function of this object. So a test can check any machine, such as one with WSL:
the test passes the values that an examination would read on such a machine.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

from localproviders._address import Endpoint, literal, origin_of, parse_endpoint, place_of
from localproviders.config.cascade import Config
from localproviders.discovery import Discovery, FoundServer
from localproviders.errors import (
    AuthenticationError,
    ProviderError,
    ServerError,
)
from localproviders.kinds import UNKNOWN
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo

#: Files of the kernel whose texts are read.
KERNEL_FILES = ("/proc/net/tcp", "/proc/net/tcp6", "/proc/version", "/proc/locks")
#: Files that exist only in a container.
CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
# Variables that systemd, podman and Kubernetes set in containers.
_CONTAINER_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")


# The states of servers that answer, and the errors of servers that refuse a request.
_ANSWERS = {"available", "degraded", "needs a key"}
_REFUSALS = (AuthenticationError, ServerError)


class AskedServer(NamedTuple):
    """A server that the configuration or a variable names, and the result of a request to it.

    Attributes:
        name: Name of the server.
        kind: Name of its kind.
        endpoint: Its address, or the path of its model file.
        source: The origin of its address: a file with a line, or a variable, as text.
        models: The models that it lists.
        loaded: The models in its memory, as far as it reports them.
        error: The error of the request for its models; None if the request succeeded.
        is_local: Whether it runs on this machine.
        is_file: Whether it is a model file, for which no server needs to run.
        ca_bundle: Its configured ``ca_bundle``: the certificates that its provider trusts.
        allow_plaintext_key: Its configured ``allow_plaintext_key``: whether its API key may be sent
            over plain HTTP.
        start_command: The command that starts such a server; empty if it is unknown.
        key_variable: The environment variable with the API key for servers of its kind; empty if
            the kind has no such variable.
        key_source: The origin of its API key: a file with a line, or a variable, as text. Empty if
            the configuration has no API key for it.
    """

    name: str
    kind: str
    endpoint: str
    source: str
    models: Tuple[ModelInfo, ...] = ()
    loaded: Tuple[LoadedModel, ...] = ()
    error: Optional[ProviderError] = None
    is_local: bool = True
    is_file: bool = False
    ca_bundle: Optional[str] = None
    allow_plaintext_key: bool = False
    start_command: str = ""
    key_variable: str = ""
    key_source: str = ""


class WantedModel(NamedTuple):
    """A model that the configuration names.

    Attributes:
        key: The configuration key that names it, such as ``model`` or ``aliases.fast``.
        text: The value of this configuration key, as the user wrote it.
        source: The origin of this value: a file with a line, or a variable, as text.
        server: Name of the server before the slash; None if the value names no server.
        name: Name of the model.
    """

    key: str
    text: str
    source: str
    server: Optional[str]
    name: str


class ExaminedModel(NamedTuple):
    """The facts about one model on one server.

    Attributes:
        endpoint: Address of the server.
        name: Name of the model, as the configuration or the server writes it.
        is_there: Whether the server has the model; None if that is unknown.
        capabilities: The capabilities of the model; None if they are unknown.
        template: The chat template; None if it is unknown, empty if the model has none.
        problem: The message of the error that left facts unknown; empty without an error.
    """

    endpoint: str
    name: str
    is_there: Optional[bool] = None
    capabilities: Optional[ModelCapabilities] = None
    template: Optional[str] = None
    problem: str = ""


class Disk(NamedTuple):
    """The free space for the files of models.

    Attributes:
        kind: The kind of the server that keeps its models in this folder.
        path: The folder.
        free_bytes: The number of free bytes.
    """

    kind: str
    path: str
    free_bytes: int


class FoundModule(NamedTuple):
    """The file from which Python imports a module.

    Attributes:
        path: The file.
        folder: The entry of `sys.path` in which the file was found.
        is_package: Whether the module is a package.
        is_standard: Whether the file belongs to Python's standard library.
    """

    path: str
    folder: str
    is_package: bool
    is_standard: bool


class HeldLock(NamedTuple):
    """The path of a lock file, and the id of the process that holds a lock on it."""

    path: str
    process: int


class NamedPath(NamedTuple):
    """The path in a variable; `state` is ``file``, ``folder``, ``missing`` or ``unreadable``."""

    path: str
    state: str


class Failure(NamedTuple):
    """A part of the machine that could not be read, and the reason."""

    part: str
    reason: str


class Server(NamedTuple):
    """A server that returned its list of models, from the configuration, the search, or both.

    Attributes:
        names: Its names.
        kind: Name of its kind.
        endpoint: Its address.
        models: The models that it lists.
        loaded: The models in its memory.
        is_local: Whether it runs on this machine.
    """

    names: Tuple[str, ...]
    kind: str
    endpoint: str
    models: Tuple[ModelInfo, ...]
    loaded: Tuple[LoadedModel, ...]
    is_local: bool

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]

    def listed(self, name: str) -> Optional[ModelInfo]:
        """Return the model of this name from the server's list; None if the list does not have it.

        A name without a tag also matches the tag ``latest``.
        """
        return next((each for each in self.models if each.name in (name, f"{name}:latest")), None)

    def is_loaded(self, model: ModelInfo) -> bool:
        """Return whether a listed model is in memory."""
        names = {name for each in self.loaded for name in (each.name, each.instance)}
        return bool(model.loaded) or model.name in names


@dataclass(frozen=True, repr=False)
class Facts:
    """All values that an examination reads. The repr hides them, because variables hold keys.

    Attributes:
        environ: The environment variables.
        platform: The value of `sys.platform`.
        python: The version of Python.
        now: The time, with time zone.
        directory: The current directory; None if it was deleted.
        kernel: The texts of `KERNEL_FILES`, the names of `CONTAINER_FILES`, and the text of
            ``/proc/self/cgroup``, by path. A file that does not exist is missing.
        netstat: The output of ``netstat -an``, on systems without ``/proc``.
        localhost: The addresses of the name ``localhost``; None if they are unknown.
        config: The configuration; None if it is invalid.
        config_errors: The problems of the configuration; empty if it is valid.
        search: The result of the search for servers; None if it failed.
        search_error: The error of the search, or None.
        asked: The servers that the configuration or a variable names.
        wanted: The models that the configuration names.
        models: The models that were examined.
        free_memory_bytes: The memory that a model may use; None if it is unknown.
        disks: The free space for models.
        packages: The version of each package that is needed; None if the package is missing, and
            an empty string if its version is unknown.
        modules: The files of the modules that a file in the current directory could hide.
        locks: The lock files in the current directory on which a process holds a lock.
        paths: The paths in variables, by the name of the variable.
        failures: The parts that could not be read.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    platform: str = "linux"
    python: Tuple[int, ...] = tuple(sys.version_info[:3])
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    directory: Optional[str] = None
    kernel: Mapping[str, str] = field(default_factory=dict)
    netstat: str = ""
    localhost: Optional[Tuple[str, ...]] = None
    config: Optional[Config] = None
    config_errors: Tuple[ProviderError, ...] = ()
    search: Optional[Discovery] = None
    search_error: Optional[ProviderError] = None
    asked: Tuple[AskedServer, ...] = ()
    wanted: Tuple[WantedModel, ...] = ()
    models: Tuple[ExaminedModel, ...] = ()
    free_memory_bytes: Optional[int] = None
    disks: Tuple[Disk, ...] = ()
    packages: Mapping[str, Optional[str]] = field(default_factory=dict)
    modules: Mapping[str, FoundModule] = field(default_factory=dict)
    locks: Tuple[HeldLock, ...] = ()
    paths: Mapping[str, NamedPath] = field(default_factory=dict)
    failures: Tuple[Failure, ...] = ()

    def __repr__(self) -> str:
        return f"<Facts of {self.now:%Y-%m-%d %H:%M}>"

    @property
    def found(self) -> Tuple[FoundServer, ...]:
        """The servers that the search found."""
        return self.search.servers if self.search is not None else ()

    @property
    def is_container(self) -> bool:
        """Whether this system is a container."""
        groups = self.kernel.get("/proc/self/cgroup", "")
        words = ("docker", "kubepods", "containerd", "libpod", "lxc")
        by_file = any(path in self.kernel for path in CONTAINER_FILES)
        by_variable = any(self.environ.get(name) for name in _CONTAINER_VARIABLES)
        return by_file or by_variable or any(word in groups for word in words)

    @property
    def is_wsl(self) -> bool:
        """Whether this system runs in the Windows Subsystem for Linux."""
        return "microsoft" in self.kernel.get("/proc/version", "").lower()

    @property
    def locality(self) -> str:
        """The configured locality."""
        return self.config.locality if self.config is not None else "loopback"


def is_on_this_machine(endpoint: Endpoint) -> bool:
    """Return whether an address belongs to this machine. Host names are not looked up."""
    address = literal(endpoint.host)
    return endpoint.is_loopback or (address is not None and place_of(address) == "loopback")


def ready_servers(facts: Facts) -> Tuple[Server, ...]:
    """Return the servers that list their models: each server once, configured servers first."""
    return tuple(_merged(facts))


def has_answer(facts: Facts) -> bool:
    """Return whether a model server answered, even if it only refused the request."""
    states = {each.state for each in facts.found if each.kind != UNKNOWN}
    errors = [each.error for each in facts.asked if not each.is_file]
    refused = any(isinstance(each, _REFUSALS) for each in errors)
    return bool(ready_servers(facts)) or bool(states & _ANSWERS) or refused


def _merged(facts: Facts) -> Iterator[Server]:
    found = {origin_of(each.endpoint): each for each in facts.found if each.state == "available"}
    named: Dict[Tuple[str, str], Server] = {}
    for asked in facts.asked:
        if asked.error is not None or asked.is_file:
            continue
        place = (asked.kind, asked.endpoint)
        if place in named:  # a configured server, which a variable names, too
            named[place] = named[place]._replace(names=(*named[place].names, asked.name))
            continue
        other = found.pop(origin_of(asked.endpoint), None)
        names = (asked.name, *((other.name,) if other and other.name != asked.name else ()))
        loaded = asked.loaded or (other.loaded if other else ())
        named[place] = Server(names, *place, asked.models, loaded, asked.is_local)
    yield from named.values()
    for each in found.values():
        local = is_on_this_machine(parse_endpoint(each.endpoint, default_port=80))
        yield Server((each.name,), each.kind, each.endpoint, each.models, each.loaded, local)
