"""Connect to a UNIX socket under the limits of a call.

No name has to be resolved, and the locality is not checked: a UNIX socket leads only to this
machine.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from typing import Mapping, Optional, Tuple, Type

from localproviders._http.deadline import CONNECTING, Call
from localproviders._interrupts import is_callers
from localproviders.errors import ConfigurationError, ProviderError, UnreachableError

# Results of `connect_ex` on a non-blocking socket that mean "later". Linux returns EAGAIN if the
# queue of the listening socket is full. Unlike with TCP, such an attempt does not continue in the
# background, and no selector reports when the queue has space. So the attempt is repeated.
_LATER = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
# Shortest and longest wait, in seconds, before the next attempt.
_WAITS_S = (0.001, 0.05)

# For each result of `connect_ex`: the class, the message and the hint of the error. None as a hint
# means the usual hint about an unreachable server.
_PERMISSION = (
    "connecting needs the permission to write to the socket and to enter its folders: start this"
    " program as a member of the socket's group, or change the permissions"
)
_OTHER_TYPE = "check the path: a model server listens on a stream socket"
_Rule = Tuple[Type[ProviderError], str, Optional[str]]
_RULES: Mapping[int, _Rule] = {
    errno.ENOENT: (UnreachableError, "there is no UNIX socket {path}", None),
    errno.ENOTDIR: (UnreachableError, "there is no UNIX socket {path}", None),
    errno.ECONNREFUSED: (UnreachableError, "no server listens on the UNIX socket {path}", None),
    errno.EACCES: (UnreachableError, "no permission for the UNIX socket {path}", _PERMISSION),
    errno.EPERM: (UnreachableError, "no permission for the UNIX socket {path}", _PERMISSION),
    errno.ENOTSOCK: (ConfigurationError, "{path} is not a UNIX socket", _OTHER_TYPE),
    errno.EPROTOTYPE: (ConfigurationError, "{path} is a UNIX socket of another type", _OTHER_TYPE),
    errno.ENAMETOOLONG: (
        ConfigurationError,
        "the path of the UNIX socket is too long for this system: {length} bytes",
        "let the server listen at a shorter path, or make a symbolic link to its folder",
    ),
}


def connect(path: str, call: Call) -> socket.socket:
    """Connect to a UNIX socket and return the connected socket.

    Raises:
        UnreachableError: There is no such socket, no server listens on it, or this user has no
            permission for it.
        ConfigurationError: The path is too long for the system, the path does not belong to a
            stream socket, or Python has no UNIX sockets on this system.
        Stop: A limit expired, or the call was cancelled.
    """
    call.enter(CONNECTING)
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise ConfigurationError(
            "Python has no UNIX sockets on this system",
            hint="let the server listen on a port, and write http://127.0.0.1:PORT",
        )
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        status = _connect(sock, path, call)
        if status:
            raise _error(status, path)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, path: str, call: Call) -> int:
    """Repeat the attempt until it succeeds or fails; return 0 or the number of the error."""
    wait_s, longest_s = _WAITS_S
    while True:
        status = _attempt(sock, path)
        if status not in _LATER:
            return 0 if status == errno.EISCONN else status
        call.wait_for(threading.Event(), wait_s)
        wait_s = min(2 * wait_s, longest_s)


def _attempt(sock: socket.socket, path: str) -> int:
    try:
        return sock.connect_ex(path)
    except OSError as error:
        # Python itself checks the length of the path, and its error has no number.
        if is_callers(error) or error.errno is not None:
            raise
        return errno.ENAMETOOLONG


def _error(status: int, path: str) -> Exception:
    # Linux also returns ECONNREFUSED for a file that is not a socket.
    if status == errno.ECONNREFUSED and not _is_socket(path):
        status = errno.ENOTSOCK
    system = OSError(status, os.strerror(status))
    rule = _RULES.get(status)
    if rule is None:
        return system
    made, message, hint = rule
    error = made(message.format(path=path, length=len(os.fsencode(path))), hint=hint)
    error.__cause__ = system
    return error


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as error:
        if is_callers(error):
            raise
        return True  # the file was removed in the meantime
