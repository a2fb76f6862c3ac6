"""From a host to connected sockets: resolving, checking the place, connecting in time."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
from typing import List, NamedTuple, Optional, Tuple

from localproviders._http.address import allows, is_localhost, literal, place_of
from localproviders._http.deadline import Call
from localproviders.errors import ConfigurationError, LocalityError

# A further address is tried so long after the one before, without giving that one up
# (RFC 8305 recommends a quarter of a second): a dead one must not use up the limit.
_STAGGER_S = 0.25

_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


class Target(NamedTuple):
    """One address to connect to, as the socket module wants it."""

    family: int
    sockaddr: Tuple[object, ...]


class Policy(NamedTuple):
    """Where a connection may go.

    Attributes:
        locality: The allowed place.
        needs_loopback: A key would travel in the clear anywhere else.
        proxied: The connection goes to a proxy, whose place is the user's choice.
    """

    locality: str
    needs_loopback: bool = False
    proxied: bool = False


def connect(host: str, port: int, call: Call, policy: Policy) -> socket.socket:
    """Give a connected socket to the first address of the host that answers.

    The addresses that are checked are the ones connected to: the name is resolved once.

    Raises:
        LocalityError: An address of the host is outside the policy.
        ConfigurationError: A key would travel in the clear.
        OSError: No address answers, or the name is unknown.
        Stop: The time is over, or the call was cancelled.
    """
    call.connecting()
    targets = resolve(host, port, call)
    for target in targets:
        _check_place(host, str(target.sockaddr[0]), policy)
    return _Race(targets, call).run()


def resolve(host: str, port: int, call: Call) -> List[Target]:
    """Give the addresses of a host. Only a real name costs a resolver, and a short thread.

    Raises:
        OSError: The name is unknown.
        Stop: The resolver takes longer than the call may.
    """
    if is_localhost(host):
        return [*_numeric("127.0.0.1", port), *_numeric("::1", port)]
    if literal(host) is not None:
        return _numeric(host.replace("%25", "%"), port)  # urllib3 leaves a zone escaped
    return _resolve_name(host, port, call)


def _numeric(host: str, port: int) -> List[Target]:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        if host == "::1":
            return []  # a machine without IPv6
        raise
    return [Target(family, address) for family, _, _, _, address in found]


def _resolve_name(host: str, port: int, call: Call) -> List[Target]:
    """Ask the resolver in a thread: it knows no limit and cannot be cancelled."""
    found: List[Target] = []
    failed: List[OSError] = []
    done = threading.Event()

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(Target(family, address) for family, _, _, _, address in answers)
        except (OSError, UnicodeError) as error:
            failed.append(error if isinstance(error, OSError) else OSError(str(error)))
        finally:
            done.set()

    if not _starts(threading.Thread(target=ask, name="localproviders-resolver", daemon=True)):
        raise OSError("no thread for the resolver can be started")
    if not call.wait_for(done):
        raise call.timed_out()
    if failed:
        raise failed[0]
    return found


def _starts(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:  # there are too many, or Python 3.12 is about to end
        return False
    return True


def _check_place(host: str, text: str, policy: Policy) -> None:
    address = literal(text)
    # What a proxy does with a request is anybody's guess, wherever the proxy stands.
    place = "any" if address is None or policy.proxied else place_of(address)
    if not allows(policy.locality, place):
        where = host if host == text else f"{host} ({text})"
        raise LocalityError(
            f'{where} is not {policy.locality}, and locality is "{policy.locality}"',
            hint=f'to allow it, pass locality="{place}" or set LOCALPROVIDERS_LOCALITY={place}',
        )
    if policy.needs_loopback and place != "loopback":
        raise ConfigurationError(
            f"a key would travel in the clear to {host}",
            hint="use https, or pass allow_plaintext_key=True",
        )


class _Race:
    """Connects to several addresses, each started a moment after the one before."""

    def __init__(self, targets: List[Target], call: Call) -> None:
        self._waiting = list(targets)
        self._call = call
        self._selector = selectors.DefaultSelector()
        self._error: Optional[OSError] = None

    def run(self) -> socket.socket:
        try:
            while True:
                if self._waiting:
                    winner = self._start(self._waiting.pop(0))
                elif self._selector.get_map():
                    winner = None
                else:
                    raise self._error or OSError("the host has no address")
                winner = winner or self._wait()
                if winner is not None:
                    return winner
        finally:
            self._abandon()

    def _start(self, target: Target) -> Optional[socket.socket]:
        sock = socket.socket(target.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            status = sock.connect_ex(target.sockaddr)
            if status == 0:
                return sock
            if status not in _IN_PROGRESS:
                raise OSError(status, os.strerror(status))
            self._selector.register(sock, selectors.EVENT_WRITE)
            self._call.attach(sock)
        except OSError as error:
            sock.close()
            self._error = error
        except BaseException:
            sock.close()
            raise
        return None

    def _wait(self) -> Optional[socket.socket]:
        left = self._call.left()
        if not self._selector.get_map():
            return None
        step = left if not self._waiting else min(left or _STAGGER_S, _STAGGER_S)
        ready = self._selector.select(step)
        self._call.left()  # a cancelled call wakes its sockets
        if not ready and not self._waiting:
            raise self._call.timed_out()
        return next((sock for sock in map(self._settle, ready) if sock is not None), None)

    def _settle(self, event: Tuple[selectors.SelectorKey, int]) -> Optional[socket.socket]:
        sock = event[0].fileobj
        assert isinstance(sock, socket.socket)  # noqa: S101  # only sockets are registered
        self._selector.unregister(sock)
        self._call.detach(sock)
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status == 0:
            return sock
        sock.close()
        self._error = OSError(status, os.strerror(status))
        return None

    def _abandon(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)  # noqa: S101  # as above
            self._call.detach(key.fileobj)
            key.fileobj.close()
        self._selector.close()
