"""A program may end within a stream in any way: without output, with its own exit status."""

from __future__ import annotations

import threading
from typing import Any, Dict, Tuple

import pytest

from localproviders import OpenAICompatibleProvider, UnreachableError
from localproviders.testing import Exchange
from tests.promises.life.child import PRELUDE, Child
from tests.promises.life.serving import CHUNKED, CountingServer, echo, event, hold, question, reply

_OPEN = 'stream = provider.stream("without end"); next(stream)\n'
_IN_A_THREAD = """
reading = threading.Event()
def read():
    for chunk in provider.stream("without end"):
        reading.set()
threading.Thread(target=read, daemon=True).start()
reading.wait()
"""
_CHECKED = """
def ask(asked):
    if provider.chat(asked).text != sys.argv[3]:
        os._exit(99)
"""

# Programs, and their exit statuses.
_ENDINGS: Dict[str, Tuple[str, int]] = {
    "at its last line": (_OPEN, 0),
    "with an answer kept": ('response = provider.chat("Hi")', 0),
    "sys.exit": (_OPEN + "sys.exit(3)", 3),
    "sys.exit in a loop": ('for _ in provider.stream("without end"): sys.exit(4)', 4),
    "sys.exit in a block": (
        'with provider, provider.stream("without end") as stream:\n next(stream); sys.exit(5)',
        5,
    ),
    "os._exit": (_OPEN + "os._exit(6)", 6),
    "in a generator": (
        'def pieces():\n  with provider.stream("without end") as s:\n    yield from s\n'
        "some = pieces(); next(some)",
        0,
    ),
    "with the stream in another module": (_OPEN + "import builtins; builtins.kept = stream", 0),
    "with the provider in a circle": (_OPEN + "gc.disable(); provider.itself = provider", 0),
    "with a kept connection in a circle": (
        'provider.chat("Hi"); gc.disable(); provider.itself = provider',
        0,
    ),
    "in a daemon thread": (_IN_A_THREAD, 0),
    "sys.exit beside a daemon thread": (_IN_A_THREAD + "sys.exit(7)", 7),
    "several at once": ("several = [provider.stream('without end') for _ in range(5)]", 0),
}


def _script(exchange: Exchange) -> Any:
    if question(exchange) == "without end":
        return [CHUNKED, event("Hi"), hold]
    return echo(exchange)


def _run(code: str, *, status: int = 0, **options: Any) -> CountingServer:
    with CountingServer(_script, **options.pop("serve", {})) as server:
        with Child(PRELUDE + code, server.url, reply("bye"), **options) as child:
            assert child.exit_status() == status
        assert server.wait_until_open(0)
    return server


@pytest.mark.sample(1)
@pytest.mark.parametrize("ending", _ENDINGS)
def test_a_program_ends_within_a_stream(ending: str) -> None:
    code, status = _ENDINGS[ending]
    _run(code, status=status)


@pytest.mark.sample(0)
def test_an_uncaught_error_is_the_only_output() -> None:
    with CountingServer(_script) as server:
        with Child(PRELUDE + _OPEN + "raise LookupError('mine')", server.url) as child:
            _, stderr = child.process.communicate()

    assert child.process.returncode == 1
    assert stderr.decode().splitlines()[-1] == "LookupError: mine"
    assert "ignored" not in stderr.decode()


@pytest.mark.sample(0)
@pytest.mark.parametrize("used", ["", 'provider.chat("before")\n', _OPEN, _IN_A_THREAD])
@pytest.mark.parametrize("first", ["used", "registered"])
def test_a_provider_may_be_used_at_exit(used: str, first: str) -> None:
    register = 'import atexit; atexit.register(ask, "bye")\n'
    code = used + register if first == "used" else register + used
    server = _run(_CHECKED + code)

    assert question(server.exchanges[-1]) == "bye"


def test_a_stream_may_be_read_to_its_end_at_exit() -> None:
    code = """
import atexit
atexit.register(lambda: stream.result().text == sys.argv[3] or os._exit(99))
stream = provider.stream("bye")
"""
    _run(code)


@pytest.mark.sample(0)
def test_a_thread_may_continue_after_the_main_thread() -> None:
    code = (
        _CHECKED
        + """
def late():
    threading.main_thread().join()
    ask("bye")
threading.Thread(target=late).start()
"""
    )
    server = _run(code)

    assert question(server.exchanges[-1]) == "bye"


@pytest.mark.usefixtures("fake_clock")
def test_a_name_is_unreachable_if_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with OpenAICompatibleProvider("http://a-name:9", model="m") as provider:
        with pytest.raises(UnreachableError, match="cannot start a thread to resolve"):
            provider.chat("Hi")


def test_a_name_at_exit_is_resolved_or_the_error_is_typed() -> None:
    code = """
import atexit, socket
socket.getaddrinfo = lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", provider.settings.endpoint.port))]
named = OpenAICompatibleProvider(url.replace("127.0.0.1", "a-name"), model="m")
def ask():
    try:
        if named.chat("bye").text != sys.argv[3]:
            os._exit(99)
    except UnreachableError as error:
        if "thread" not in str(error):
            os._exit(98)
atexit.register(ask)
"""
    _run(code)
