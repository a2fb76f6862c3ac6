"""Resolve a host, check its addresses against the locality, and connect to one of them."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
from typing import List, NamedTuple, Optional, Tuple

from localproviders._address import (
    allowing_hint,
    allows,
    is_host_of,
    is_localhost,
    literal,
    place_of,
)
from localproviders._http.deadline import CONNECTING, Call
from localproviders._http.socket import wait_ready
from localproviders._interrupts import is_callers
from localproviders.errors import ConfigurationError, LocalityError

# Seconds after which an attempt at the next address starts, while the earlier attempts continue.
# So one address that does not respond cannot use up the limit. RFC 8305 recommends a quarter of a
# second.
_STAGGER_S = 0.25

# Results of `connect_ex` that are not a failure. 0 means that the socket is connected; the others
# mean that the attempt continues in the background. Operating systems use different numbers for
# this.
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


class Target(NamedTuple):
    """One address to connect to, in the form that the socket module uses."""

    family: int
    sockaddr: Tuple[object, ...]


class LocalityPolicy(NamedTuple):
    """Rules for the addresses to which a connection may go.

    Attributes:
        locality: The addresses to which prompts may be sent: ``loopback``, ``private`` (also the
            local network), or ``any``.
        needs_loopback: Whether only loopback addresses are allowed, because a key or a password
            would be sent unencrypted.
        proxied: Whether the connection goes to a proxy.
        socket_path: The UNIX socket to which all connections go; empty for TCP.
        public_hosts: Hosts that are known to be on the internet, as are all their subdomains. The
            check of the locality needs no look-up of these names.
    """

    locality: str
    needs_loopback: bool = False
    proxied: bool = False
    socket_path: str = ""
    public_hosts: Tuple[str, ...] = ()


def connect(host: str, port: int, call: Call, policy: LocalityPolicy) -> socket.socket:
    """Connect to the host, and return the socket that connected first.

    The name is resolved only once. If it were resolved again after the check, a DNS server could
    return one address for the check and another one for the connection.

    Raises:
        LocalityError: The policy does not allow an address of the host.
        ConfigurationError: A key or a password would be sent unencrypted.
        OSError: No address accepts the connection, or the name is unknown.
        Stop: A limit expired, or the call was cancelled.
    """
    call.enter(CONNECTING)
    if is_host_of(host, policy.public_hosts):
        check_public(host, policy.locality)
    targets = resolve(host, port, call)
    # All addresses are checked, because any of them may connect first. One address outside the
    # locality is enough to refuse the host.
    for target in targets:
        _check_place(host, str(target.sockaddr[0]), policy)
    return _Race(targets, call).run()


def resolve(host: str, port: int, call: Call) -> List[Target]:
    """Return the addresses of a host.

    Numeric addresses and ``localhost`` are not looked up. Any other name is looked up in a
    thread.

    Raises:
        OSError: The name is unknown.
        Stop: A limit expired before the resolver returned, or the call was cancelled.
    """
    if is_localhost(host):
        # The name is not looked up, because a hosts file or a DNS server could return an address
        # of another machine.
        return [*_numeric("127.0.0.1", port), *_numeric("::1", port)]
    if literal(host) is not None:
        # urllib3 leaves the "%" before an IPv6 zone escaped.
        return _numeric(host.replace("%25", "%"), port)
    return _resolve_name(host, port, call)


def _numeric(host: str, port: int) -> List[Target]:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        # For `localhost`, both 127.0.0.1 and ::1 are tried. A machine without IPv6 refuses ::1.
        if host == "::1":
            return []
        raise
    return [Target(family, address) for family, _, _, _, address in found]


def _resolve_name(host: str, port: int, call: Call) -> List[Target]:
    """Look up a name in a thread, because `getaddrinfo` has no timeout and cannot be cancelled.

    If the call ends first, the thread runs until `getaddrinfo` returns. The thread is a daemon,
    so it does not keep the program alive.
    """
    # The thread adds its result to these lists. After the call has ended, nothing reads them.
    found: List[Target] = []
    failed: List[OSError] = []
    done = threading.Event()

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(Target(family, address) for family, _, _, _, address in answers)
        except OSError as error:
            failed.append(error)
        except UnicodeError as error:  # the name is not valid IDNA
            failed.append(socket.gaierror(socket.EAI_NONAME, str(error)))
        finally:
            done.set()

    if not _start(threading.Thread(target=ask, name="localproviders-resolver", daemon=True)):
        raise OSError("cannot start a thread to resolve the name")
    if not call.wait_for(done):
        raise call.timed_out()
    if failed:
        raise failed[0]
    return found


def _start(thread: threading.Thread) -> bool:
    """Start a thread; return False if no thread can be started."""
    try:
        thread.start()
    except RuntimeError as error:
        if is_callers(error):
            raise
        return False  # too many threads, or the program is ending (Python 3.12 and newer)
    return True


def check_public(host: str, locality: str) -> None:
    """Check that the locality allows a host on the internet, without a look-up of its name.

    Raises:
        LocalityError: The locality does not allow the internet.
    """
    if not allows(locality, "any"):
        raise LocalityError(
            f'{host} is a service on the internet, and locality is "{locality}"',
            hint=allowing_hint("any"),
        )


def check_place(host: str, text: str, locality: str, *, proxied: bool = False) -> str:
    """Check that the locality allows an address, and return the place of the address.

    The place is the narrowest locality that allows the address: ``loopback``, ``private`` or
    ``any``.

    Args:
        host: The host, for the message.
        text: The address.
        locality: The allowed locality.
        proxied: Whether the connection goes to a proxy.

    Raises:
        LocalityError: The locality does not allow the address.
    """
    address = literal(text)
    # A proxy may forward the request to any host, so the address of the proxy proves nothing.
    place = "any" if address is None or proxied else place_of(address)
    if not allows(locality, place):
        where = host if host == text else f"{host} ({text})"
        raise LocalityError(
            f'{where} is not {locality}, and locality is "{locality}"',
            hint=allowing_hint(place),
        )
    return place


def _check_place(host: str, text: str, policy: LocalityPolicy) -> None:
    place = check_place(host, text, policy.locality, proxied=policy.proxied)
    if policy.needs_loopback and place != "loopback":
        raise ConfigurationError(
            f"a key or a password would be sent in the clear to {host}",
            hint="use https, or pass allow_plaintext_key=True",
        )


class _Race:
    """Overlapping attempts to connect to several addresses; the first connection is used.

    The attempts start one after the other, 0.25 s apart. If no attempt is running any longer,
    the next one starts immediately. All attempts run in the caller's thread, with non-blocking
    sockets and a selector.
    """

    def __init__(self, targets: List[Target], call: Call) -> None:
        self._not_started = list(targets)  # addresses without an attempt so far
        self._call = call
        self._selector = selectors.DefaultSelector()
        self._open: List[socket.socket] = []  # sockets of the running attempts
        self._error: Optional[OSError] = None

    def run(self) -> socket.socket:
        """Return the socket that connected first, and close the others."""
        try:
            while True:
                if self._not_started:
                    winner = self._start(self._not_started.pop(0))
                elif self._open:
                    winner = None
                else:
                    raise self._error or OSError("the host has no address")
                winner = winner or self._wait()
                if winner is not None:
                    return winner
        finally:
            self._close_all()

    def _start(self, target: Target) -> Optional[socket.socket]:
        """Start an attempt; return its socket if it connected immediately, as on loopback."""
        sock = socket.socket(target.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            # Requests are sent in few large pieces. So joining small packets (Nagle's algorithm)
            # would only delay them.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            status = sock.connect_ex(target.sockaddr)
            if status == 0:
                return sock
            if status not in _IN_PROGRESS:
                raise OSError(status, os.strerror(status))
            # A socket becomes writable when its attempt ends, whether it succeeded or failed.
            self._open.append(sock)
            self._selector.register(sock, selectors.EVENT_WRITE)
            self._call.attach(sock)
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError) or is_callers(error):
                raise
            if sock in self._open:
                self._open.remove(sock)
            self._error = error  # only the error of the last address that failed is reported
        return None

    def _wait(self) -> Optional[socket.socket]:
        """Wait until a socket is connected, and return it; None if the next attempt must start."""
        left = self._call.left()
        if not self._open:
            return None  # the attempt has failed already: start the next one
        # `left` is None if there is no limit.
        step = left if not self._not_started else min(left or _STAGGER_S, _STAGGER_S)
        ready = wait_ready(self._selector, step)
        # Cancelling shuts the sockets down, which makes them ready. In this case `left` raises.
        self._call.left()
        if not ready and not self._not_started:
            raise self._call.timed_out()
        # `map` is lazy: sockets after the first connected one stay registered, and
        # `_close_all` closes them.
        return next((sock for sock in map(self._settle, ready) if sock is not None), None)

    def _settle(self, event: Tuple[selectors.SelectorKey, int]) -> Optional[socket.socket]:
        """Return the socket of a finished attempt.

        If the attempt failed, store its error and return None.
        """
        sock = event[0].fileobj
        assert isinstance(sock, socket.socket)  # noqa: S101  # only sockets are registered
        self._call.detach(sock)
        # This option is the result of a non-blocking connect. Zero means success.
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status == 0:
            self._open.remove(sock)
            return sock
        # Only the socket of a failed attempt is unregistered, because `unregister` swallows an
        # `OSError` that a signal handler raises.
        self._selector.unregister(sock)
        self._open.remove(sock)
        sock.close()
        self._error = OSError(status, os.strerror(status))
        return None

    def _close_all(self) -> None:
        """Close the sockets of all attempts that are still running."""
        for sock in self._open:
            self._call.detach(sock)
            sock.close()
        self._selector.close()
