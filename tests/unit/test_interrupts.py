"""Whose an exception is."""

from __future__ import annotations

import functools
import http.client
import signal
import socket
import sys
import types
from typing import Any, Callable, List, Type

import pytest
import requests
import urllib3

from localproviders import ProviderError
from localproviders._interrupts import Carrier, callers_exception, is_callers, is_injected


class Own(Exception):  # noqa: N818  # a class as a program names it
    """A class of a program."""


def _handler(signum: int, frame: Any) -> None:
    raise TimeoutError("alarm")


def _of_any(*arguments: Any) -> None:
    raise TimeoutError("alarm")


class _Callable:
    def __call__(self, signum: int, frame: Any) -> None:
        self.deeper()

    def deeper(self) -> None:
        http.client.HTTPConnection("a-name:no-port")  # the last frame is not the caller's

    def method(self, signum: int, frame: Any) -> None:
        raise TimeoutError("alarm")


def _throwing() -> Any:
    return lambda *_: (each for each in ()).throw(TimeoutError("alarm"))


_HANDLERS: List[Callable[..., Any]] = [
    _handler,
    _of_any,
    lambda signum, frame: _handler(signum, frame),
    functools.partial(_handler),
    _Callable(),
    _Callable().method,
    _throwing(),
]


def _raised_by(work: Callable[[], Any]) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="the signal is POSIX")
@pytest.mark.parametrize("handler", _HANDLERS)
def test_an_exception_of_any_handler_is_the_callers(handler: Callable[..., Any]) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    error = _raised_by(lambda: signal.raise_signal(signal.SIGUSR1))
    signal.signal(signal.SIGUSR1, before)

    assert is_injected(error)
    assert is_callers(error)
    assert callers_exception(error) is error


def _fails(error: Any) -> None:
    raise error


@pytest.mark.parametrize("kind", [TimeoutError, OSError, ConnectionResetError, ValueError])
def test_an_exception_of_the_system_is_not_the_callers(kind: Type[Exception]) -> None:
    assert not is_callers(_raised_by(lambda: _fails(kind("broken"))))
    assert not is_callers(_raised_by(lambda: _fails(kind)))  # as mocks raise it
    assert not is_callers(kind())


def test_errors_that_the_system_itself_raises_are_not_the_callers() -> None:
    with socket.socket() as sock:
        sock.settimeout(0.001)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        assert not is_callers(_raised_by(sock.accept))
    assert not is_callers(_raised_by(lambda: next(iter(()))))
    assert not is_callers(http.client.RemoteDisconnected("gone"))
    assert not is_callers(ProviderError("broken"))


@pytest.mark.parametrize("error", [Own("x"), MemoryError(), RecursionError("deep")])
def test_a_class_of_the_program_and_a_lack_of_memory_are_the_callers(error: Exception) -> None:
    assert is_callers(error)
    assert not is_injected(error)  # a tool that raises it has failed


def test_a_wrapped_exception_is_found() -> None:
    own = _raised_by(lambda: _fails(Own("x")))
    broken = urllib3.exceptions.ProtocolError("Connection aborted.", own)

    assert callers_exception(requests.ConnectionError(broken)) is own
    assert callers_exception(Carrier(own)) is own
    assert callers_exception(requests.ConnectionError(OSError("x"))) is None


def test_a_wrapper_with_the_traceback_of_what_it_wraps_is_not_taken_for_it() -> None:
    frame = sys._getframe()
    before = _raised_by(lambda: _handler(1, sys._getframe()))
    wrapper = urllib3.exceptions.ProtocolError("Connection aborted.", before)
    wrapper = wrapper.with_traceback(before.__traceback__)

    assert isinstance(frame, types.FrameType)
    assert callers_exception(wrapper) is before


def test_an_exception_that_was_replaced_is_found_in_the_context() -> None:
    def replaces() -> None:
        try:
            _handler(1, sys._getframe())
        except TimeoutError:
            raise OSError("the system's") from None

    found = callers_exception(_raised_by(replaces))
    assert isinstance(found, TimeoutError)


def test_an_exception_that_the_user_handles_meanwhile_is_not_of_this_call() -> None:
    try:
        raise Own("older")
    except Own:
        with pytest.raises(OSError, match="the system's") as caught:
            _fails(OSError("the system's"))
        assert isinstance(caught.value.__context__, Own)
        assert callers_exception(caught.value) is None
