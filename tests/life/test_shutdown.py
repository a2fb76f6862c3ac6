"""A program may end in mid-stream in any way: in silence, with its own exit status."""

from __future__ import annotations

import threading
from typing import Any, Dict, Tuple

import pytest

from localproviders import OpenAICompatibleProvider, UnreachableError
from localproviders.testing import Exchange
from tests.life.child import PRELUDE, Child
from tests.life.serving import CHUNKED, CountingServer, echo, event, hold, question, reply

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

# What the program does, and the status that it ends with.
_ENDINGS: Dict[str, Tuple[str, int]] = {
    "off its end": (_OPEN, 0),
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
    "in a place that outlives the module": (_OPEN + "import builtins; builtins.kept = stream", 0),
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


def _ends(code: str, *, status: int = 0, **options: Any) -> CountingServer:
    with CountingServer(_script, **options.pop("serve", {})) as server:
        with Child(PRELUDE + code, server.url, reply("bye"), **options) as child:
            assert child.ends() == status
        assert server.comes_to(0)
    return server


@pytest.mark.parametrize("ending", _ENDINGS)
def test_a_program_ends_in_mid_stream(ending: str) -> None:
    code, status = _ENDINGS[ending]
    _ends(code, status=status)


def test_an_uncaught_error_is_all_that_is_said() -> None:
    with CountingServer(_script) as server:
        with Child(PRELUDE + _OPEN + "raise LookupError('mine')", server.url) as child:
            _, complaint = child.process.communicate()

    assert child.process.returncode == 1
    assert complaint.decode().splitlines()[-1] == "LookupError: mine"
    assert "ignored" not in complaint.decode()


@pytest.mark.parametrize("used", ["", 'provider.chat("before")\n', _OPEN, _IN_A_THREAD])
@pytest.mark.parametrize("first", ["used", "registered"])
def test_a_provider_may_be_used_at_exit(used: str, first: str) -> None:
    register = 'import atexit; atexit.register(ask, "bye")\n'
    code = used + register if first == "used" else register + used
    server = _ends(_CHECKED + code)

    assert question(server.exchanges[-1]) == "bye"


def test_a_stream_may_be_read_to_its_end_at_exit() -> None:
    code = """
import atexit
atexit.register(lambda: stream.result().text == sys.argv[3] or os._exit(99))
stream = provider.stream("bye")
"""
    _ends(code)


def test_a_thread_may_go_on_after_the_main_one() -> None:
    code = (
        _CHECKED
        + """
def late():
    threading.main_thread().join()
    ask("bye")
threading.Thread(target=late).start()
"""
    )
    server = _ends(code)

    assert question(server.exchanges[-1]) == "bye"


def test_where_no_thread_can_start_a_name_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with OpenAICompatibleProvider("http://a-name:9", model="m") as provider:
        with pytest.raises(UnreachableError, match="no thread for the resolver"):
            provider.chat("Hi")


def test_a_name_at_exit_is_resolved_or_the_error_is_ours() -> None:
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
    _ends(code)
