"""Distinguish exceptions of the caller's program from those of the system and the HTTP libraries.

A signal handler can raise between any two instructions, and so can an exception that another
thread injects with ``PyThreadState_SetAsyncExc``. Such an exception may have any class: many
handlers raise `TimeoutError` or `OSError`, which the system raises, too. It must end the call and
reach the caller unchanged. So code that catches exceptions of the system asks this module first.
Calls that succeed do not use this module.
"""

from __future__ import annotations

import opcode
import sys
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FrameType, TracebackType
from typing import Any, Iterator, List, Optional, Set

# Packages whose exceptions describe the system or the connection. An exception class from any
# other package belongs to the caller's program.
_SYSTEM = frozenset(
    (
        *("builtins", "localproviders", "requests", "urllib3", "http", "ssl", "_ssl", "socket"),
        *("_socket", "select", "selectors", "zlib", "queue", "_queue", "threading", "io", "json"),
        *("struct", "binascii", "email", "idna", "codecs", "encodings"),
        # Packages with which a program may replace Python's own sockets.
        *("OpenSSL", "socks", "gevent", "eventlet"),
    )
)

# The bytecode instructions of `raise`. Python injects exceptions at other instructions.
_RAISE = frozenset(map(opcode.opmap.get, ("RAISE_VARARGS", "RERAISE")))

# Classes that C functions raise without arguments.
_WITHOUT_ARGUMENTS = ("StopIteration", "StopAsyncIteration", "Empty", "Full")


class Carrier(Exception):  # noqa: N818  # used only inside this package, and not an error itself
    """Carries an exception of the caller through urllib3 and requests.

    These libraries wrap or ignore exceptions of some classes. They do not catch an unknown class.

    Attributes:
        error: The caller's exception.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def is_callers(error: BaseException) -> bool:
    """Return whether an exception is the caller's, and not one of the system or the connection.

    It is the caller's if it was injected or raised by a signal handler, or if its class is defined
    by the caller's program. MemoryError and RecursionError also count as the caller's, because they
    are not failures of the connection.
    """
    own_class = type(error).__module__.partition(".")[0] not in _SYSTEM
    return own_class or isinstance(error, (MemoryError, RecursionError)) or is_injected(error)


def is_injected(error: BaseException) -> bool:
    """Return whether an exception was raised by a signal handler or injected into the thread.

    Unlike `is_callers`, this does not depend on the class. So it also distinguishes an exception
    that interrupted a function of the caller, such as a tool, from one that the function raised.
    """
    return _came_from_handler(error) or _was_raised_without_cause(error)


def callers_exception(error: BaseException) -> Optional[BaseException]:
    """Return the caller's exception from a chain of exceptions, or None if there is none."""
    found: List[BaseException] = []
    for link in _chain(error):
        if isinstance(link, Carrier):
            return link.error
        if is_callers(link):
            found.append(link)
    # A wrapper can look like the exception that it wraps: urllib3 copies the traceback, and before
    # Python 3.12, codecs wrap an exception in another one of the same class. So injected
    # exceptions that are not wrappers come first.
    raised = [link for link in found if is_injected(link) and not _is_wrapper(link)]
    return next(iter([*raised, *found]), None)


def _is_wrapper(error: BaseException) -> bool:
    """Return whether an exception of requests or urllib3 wraps another one."""
    is_theirs = type(error).__module__.partition(".")[0] in ("requests", "urllib3")
    return is_theirs and len(list(_chain(error))) > 1


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and the exceptions that led to it, the outermost first.

    requests and urllib3 store a wrapped exception as an argument or in `reason`. If an exception is
    raised while another one is handled, Python stores the other one as its context.
    """
    seen: Set[int] = set()
    todo: List[Any] = [error]
    while todo:
        link = todo.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        todo += [*link.args, getattr(link, "reason", None), link.__cause__]
        if link.__context__ is not None and not _is_being_handled(link.__context__):
            todo.append(link.__context__)


def _is_being_handled(error: BaseException) -> bool:
    """Return whether a caller of this function is in the ``except`` block of this exception.

    Such an exception is older than the call: the user may make a call while handling an error.
    """
    if error.__traceback__ is None:
        return True  # unknown, so the exception is not considered
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame is not error.__traceback__.tb_frame:
        frame = frame.f_back
    return frame is not None


def _came_from_handler(error: BaseException) -> bool:
    """Return whether a function in the traceback received the frame that it interrupted.

    Python calls a signal handler with the interrupted frame as its second argument, and a trace
    function with the traced frame. No other function receives the frame of its caller.
    """
    step = error.__traceback__
    while step is not None:
        interrupted, step = step.tb_frame, step.tb_next
        if step is None:
            return False
        # The arguments are read only from functions of the caller's program. Reading the arguments
        # of a system function would copy all its variables.
        is_system = _package_of(step.tb_frame.f_globals.get("__name__")) in _SYSTEM
        if not is_system and _received(step.tb_frame, interrupted):
            return True
    return False


def _package_of(module: Any) -> str:
    """Return the name of the top package of a module; a module may have no name."""
    return module.partition(".")[0] if isinstance(module, str) else ""


def _received(frame: FrameType, interrupted: FrameType) -> bool:
    """Return whether the function that runs in `frame` has the interrupted frame as an argument."""
    code = frame.f_code
    stars = bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + stars]
    values = frame.f_locals
    for value in [values.get(name) for name in names]:
        # The elements of a tuple are compared, too, because the function may be defined with
        # ``*arguments``.
        if value is interrupted or (
            type(value) is tuple and any(each is interrupted for each in value)
        ):
            return True
    return False


def _was_raised_without_cause(error: BaseException) -> bool:
    """Return whether an exception can be neither from a ``raise`` statement nor from a C function.

    An injected exception has no arguments, because Python makes it from a class. Exceptions that C
    functions raise have arguments, except those in `_WITHOUT_ARGUMENTS`. All other exceptions are
    raised by a ``raise`` statement.
    """
    step: Optional[TracebackType] = error.__traceback__
    if error.args or step is None or type(error).__name__ in _WITHOUT_ARGUMENTS:
        return False
    while step.tb_next is not None:
        step = step.tb_next
    code = step.tb_frame.f_code.co_code
    return step.tb_lasti < 0 or code[step.tb_lasti] not in _RAISE
