"""Tools that run at once: in threads that end with the call, with results in the order of calls."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import sys
import threading
from types import TracebackType
from typing import Any, Callable, Iterator, List, Set

import pytest

from localproviders import CancelledError, CancelToken, LimitError, ToolStep
from localproviders._parallel import ParallelWork
from localproviders.types import ToolStream
from tests.support.asking import ServedProvider, assert_shows_no_prompt, tool_call_reply
from tests.support.asking import ollama as ollama
from tests.support.asking import served as served
from tests.support.locality import PROMPT
from tests.support.timing import GRACE_S


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [t.name for t in threading.enumerate() if t.name == "localproviders-tool"] == []


class Meeting:
    """A tool whose calls wait until several of them run at once."""

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties)
        self._lock = threading.Lock()
        self.running = self.most = 0
        self.threads: Set[threading.Thread] = set()

    def __call__(self, n: int) -> int:
        """Meet the others."""
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.threads.add(threading.current_thread())
        self._barrier.wait(GRACE_S)
        with self._lock:
            self.running -= 1
        return n * n


def _calls(name: str, count: int) -> Any:
    return tool_call_reply(*((name, {"n": number}) for number in range(count)))


@pytest.mark.parametrize("verb", ["run_tools", "stream_tools"])
def test_calls_of_one_answer_run_at_once_and_keep_their_order(
    served: ServedProvider, verb: str
) -> None:
    meeting, told = Meeting(2), []
    served.fake.reply_with(_calls("Meeting", 4), "Done.")

    def on_step(step: ToolStep) -> None:
        told.append((step.content, threading.current_thread()))

    run = getattr(served.provider, verb)("Go", [meeting], parallel=2, on_step=on_step)
    run = run if verb == "run_tools" else run.result()

    assert meeting.most == 2 and threading.current_thread() not in meeting.threads
    assert [step.content for step in run.steps] == ["0", "1", "4", "9"] == served.tool_results
    assert told == [(content, threading.current_thread()) for content in ("0", "1", "4", "9")]
    assert [message.tool_call_id for message in run.messages[2:6]] == [
        "id_1", "id_2", "id_3", "id_4"
    ]  # fmt: skip


def test_one_tool_at_a_time_uses_no_thread(ollama: ServedProvider) -> None:
    meeting = Meeting(1)
    ollama.fake.reply_with(_calls("Meeting", 2), "Done.")
    ollama.provider.run_tools("Go", [meeting])
    assert meeting.threads == {threading.current_thread()}


def test_a_step_comes_before_a_later_tool_has_ended(ollama: ServedProvider) -> None:
    may_end = threading.Event()

    def wait(n: int) -> str:
        assert n == 0 or may_end.wait(GRACE_S)
        return f"ended {n}"

    ollama.fake.reply_with(_calls("wait", 2), "Done.")
    contents = []
    for chunk in ollama.provider.stream_tools("Go", [wait], parallel=2):
        if chunk.tool_step:
            contents.append(chunk.tool_step.content)
            may_end.set()
    assert contents == ["ended 0", "ended 1"]


def test_exceptions_and_unknown_tools_are_reported_to_the_model(served: ServedProvider) -> None:
    def odd(n: int) -> int:
        if n % 2:
            raise ValueError(f"{n} is odd")
        return n

    served.fake.reply_with(
        tool_call_reply(
            ("odd", {"n": 1}), ("nobody", {}), ("odd", {"n": "2"}), ("odd", {"n": "x"})
        ),
        "Done.",
    )
    run = served.provider.run_tools("Go", [odd], parallel=8)
    assert served.tool_results[0] == "ValueError: 1 is odd"
    assert "there is no tool 'nobody'" in served.tool_results[1]
    assert (run.steps[2].content, run.steps[2].converted) == ("2", ("n",))
    assert "arguments.n" in str(run.steps[3].error)


def test_context_variables_and_event_loops_work_in_the_threads(ollama: ServedProvider) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    user.set("Ada")

    async def who(n: int) -> str:
        await asyncio.sleep(0)
        return user.get()

    async def ask() -> Any:
        # An event loop runs in this thread. The tools have their own ones.
        return ollama.provider.run_tools("Go", [who], parallel=2)

    ollama.fake.reply_with(_calls("who", 2), "Done.")
    assert [step.content for step in asyncio.run(ask()).steps] == ["Ada", "Ada"]


# --- the end of the call ------------------------------------------------------------------------


class Gate:
    """A tool whose calls wait until the loop waits for them at its end.

    Attributes:
        ran: The arguments of the calls that have begun.
        ended: Those of the calls that have ended.
        opened: Set when the loop begins no further calls.
    """

    def __init__(self) -> None:
        self.ran: List[int] = []
        self.ended: List[int] = []
        self.opened = threading.Event()
        self._begun = threading.Semaphore(0)

    def __call__(self, n: int) -> int:
        """Wait."""
        self.ran.append(n)
        self._begun.release()
        assert self.opened.wait(GRACE_S)
        self.ended.append(n)
        return n

    def when_two_run(self, then: Callable[[], None]) -> threading.Thread:
        """Do something in another thread when two calls have begun."""

        def work() -> None:
            for _ in range(2):
                assert self._begun.acquire(timeout=GRACE_S)
            then()

        thread = threading.Thread(target=work)
        thread.start()
        return thread


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made, stop = Gate(), ParallelWork.stop

    def stop_and_open(work: Any) -> None:
        work._stopped = True
        made.opened.set()
        stop(work)

    monkeypatch.setattr(ParallelWork, "stop", stop_and_open)
    return made


def _check_end(gate: Gate, error: Any) -> None:
    """Check that two calls were run to their end, and that the other two were not run."""
    assert sorted(gate.ran) == sorted(gate.ended) == [0, 1]
    assert [step.content for step in error.run.steps] == ["0", "1"]
    assert ["not run" in each.content for each in error.run.added[1:]] == [
        False, False, True, True
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_an_end_waits_for_running_tools_and_begins_no_others(
    ollama: ServedProvider, gate: Gate, how: str
) -> None:
    token = CancelToken()
    ollama.fake.reply_with(_calls("Gate", 4))
    stream = ollama.provider.stream_tools("Go", [gate], parallel=2, cancel=token)
    ender = gate.when_two_run(token.cancel if how == "cancel" else stream.close)
    with pytest.raises(CancelledError) as caught:
        stream.result()
    ender.join()
    _check_end(gate, caught.value)
    assert len(ollama.requests) == 1


def test_a_limit_ends_the_wait_for_tools(ollama: ServedProvider, gate: Gate) -> None:
    ollama.fake.reply_with(_calls("Gate", 4))
    with pytest.raises(LimitError, match="total_s") as caught:
        ollama.provider.run_tools("Go", [gate], parallel=2, timeout=0.2)
    _check_end(gate, caught.value)


@pytest.mark.parametrize("how", ["close", "drop"])
def test_an_end_between_two_chunks_waits_too(ollama: ServedProvider, gate: Gate, how: str) -> None:
    calls = (("Gate", {"n": number}) for number in range(3))
    ollama.fake.reply_with(tool_call_reply(("quick", {}), *calls))

    def quick() -> str:
        return "at once"

    stream = ollama.provider.stream_tools("Go", [quick, gate], parallel=3)
    while next(stream).tool_step is None:
        pass
    gate.when_two_run(lambda: None).join()
    if how == "close":
        stream.close()
    del stream
    assert sorted(gate.ran) == sorted(gate.ended)


def test_the_first_exception_of_a_tool_is_raised_and_has_all_steps(
    ollama: ServedProvider,
) -> None:
    meeting = Meeting(3)

    def fail(n: int) -> int:
        meeting(n)
        if n:
            raise LookupError(f"no {n}")
        return n

    ollama.fake.reply_with(_calls("fail", 3))
    told: List[ToolStep] = []
    with pytest.raises(LookupError, match="no 1") as caught:
        ollama.provider.run_tools(
            "Go", [fail], parallel=3, on_tool_error="raise", on_step=told.append
        )
    assert caught.traceback[-1].name == "fail"
    assert [step.error for step in told] == [None, "LookupError: no 1", "LookupError: no 2"]


def test_no_text_of_the_prompt_is_in_a_frame_of_a_thread(ollama: ServedProvider) -> None:
    def fail(words: str) -> str:
        raise LookupError("nothing")

    calls = tool_call_reply(("fail", {"words": PROMPT}), ("fail", {"words": PROMPT}))
    ollama.fake.reply_with(calls)
    with pytest.raises(LookupError) as caught:
        ollama.provider.run_tools(PROMPT, [fail], parallel=2, on_tool_error="raise")
    error = caught.value
    assert error.__traceback__ is not None
    error.__traceback__ = _without_last_frame(error.__traceback__)
    assert_shows_no_prompt(error)


def _without_last_frame(step: Any) -> Any:
    """Return a traceback without the frame of the tool, which is the caller's."""
    steps = []
    while step.tb_next is not None:
        steps.append(step)
        step = step.tb_next
    made = None
    for each in reversed(steps):
        made = TracebackType(made, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return made


@pytest.mark.skipif(os.name != "posix", reason="a signal to a process is POSIX")
def test_an_interrupt_waits_for_running_tools(ollama: ServedProvider, gate: Gate) -> None:
    rang = threading.Event()

    def handler(number: int, frame: Any) -> None:
        if not rang.is_set():
            rang.set()
            raise KeyboardInterrupt

    def ring() -> None:
        # Again and again: Python does not notice a signal that comes just before a system call.
        while not rang.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    ollama.fake.reply_with(_calls("Gate", 4))
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        ender = gate.when_two_run(ring)
        with pytest.raises(KeyboardInterrupt):
            ollama.provider.run_tools("Go", [gate], parallel=2)
        ender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sorted(gate.ran) == sorted(gate.ended) == [0, 1]


def test_a_system_exit_inside_a_tool_is_raised(ollama: ServedProvider) -> None:
    def leave(n: int) -> str:
        raise SystemExit(n)

    ollama.fake.reply_with(_calls("leave", 2))
    with pytest.raises(SystemExit) as caught:
        ollama.provider.run_tools("Go", [leave], parallel=2)
    assert caught.value.code == 0


def test_a_tool_may_close_its_own_stream(ollama: ServedProvider) -> None:
    streams: List[ToolStream] = []

    def stop(n: int) -> str:
        streams[0].close()
        return "closed"

    for parallel in (1, 3):
        ollama.fake.reply_with(_calls("stop", 3))
        streams[:] = [ollama.provider.stream_tools("Go", [stop], parallel=parallel)]
        with pytest.raises(CancelledError):
            list(streams[0])


def test_after_an_interrupt_of_the_wait_nothing_waits_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    end = threading.Event()
    work: ParallelWork[Any] = ParallelWork([lambda: end.wait(GRACE_S)], 1)
    [thread] = work._threads
    work.start()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work.stop()
        work.stop()  # as the end of the block and the finalizer of the stream do
    end.set()
    thread.join()


def test_work_that_was_not_begun_is_not_begun_after_a_close(
    ollama: ServedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: List[int] = []

    def append(n: int) -> None:
        ran.append(n)

    ollama.fake.reply_with(_calls("append", 2))
    stream = ollama.provider.stream_tools("Go", [append], parallel=2)
    made = ParallelWork.__init__

    def close_first(work: Any, *given: Any) -> None:
        stream.close()  # as another thread could at this moment
        made(work, *given)

    monkeypatch.setattr(ParallelWork, "__init__", close_first)
    with pytest.raises(CancelledError):
        list(stream)
    assert ran == []


def test_if_no_thread_can_be_started_the_tools_run_in_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", cannot)
        work: ParallelWork[Any] = ParallelWork([threading.current_thread, sys.exit, print], 2)
        work.start()
    assert work.take(lambda ended: None) is threading.current_thread()
    with pytest.raises(SystemExit):
        work.take(lambda ended: None)
    assert not work.has_more  # an exception, such as that of Ctrl-C, ends the work
