"""Tools that are not finished when their function returns: coroutines and generators."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import threading
from decimal import Decimal
from typing import Any, AsyncIterator, Awaitable, Dict, Iterator, List

import pytest

from localproviders import ConfigurationError, Tool
from localproviders.testing import Reply
from tests.support.asking import ServedProvider, tool_call_reply
from tests.support.asking import ollama as ollama
from tests.support.asking import served as served


async def now(zone: str = "UTC") -> str:
    """Tell the time."""
    await asyncio.sleep(0)
    return f"noon in {zone}"


async def several() -> AsyncIterator[int]:
    """Count."""
    for number in range(3):
        await asyncio.sleep(0)
        yield number


def counting() -> Iterator[int]:
    """Count."""
    yield from range(3)


class Clock:
    """Tell the time."""

    async def __call__(self) -> Dict[str, Decimal]:
        return {"hour": Decimal("12.5")}

    async def method(self) -> str:
        """Tell the time."""
        return "noon"


class Later:
    """An object that can be awaited, but is not a coroutine."""

    def __await__(self) -> Iterator[Any]:
        return now().__await__()


def later() -> Awaitable[str]:
    """Tell the time."""
    return Later()


def plain_function_with_a_coroutine() -> Any:
    """Tell the time."""
    return now()


async def gathered() -> List[str]:
    """Tell the time."""
    return list(await asyncio.gather(now("A"), now("B")))


CASES = [
    (now, "now", "noon in UTC"),
    (functools.partial(now, zone="Oslo"), "now", "noon in Oslo"),
    (several, "several", "[0, 1, 2]"),
    (counting, "counting", "[0, 1, 2]"),
    (Clock(), "Clock", '{"hour": "12.5"}'),
    (Clock().method, "method", "noon"),
    (later, "later", "noon in UTC"),
    (plain_function_with_a_coroutine, "plain_function_with_a_coroutine", "noon in UTC"),
    (gathered, "gathered", '["noon in A", "noon in B"]'),
    (Tool(name="by_hand", function=now), "by_hand", "noon in UTC"),
]  # fmt: skip


@pytest.mark.sample(11)
@pytest.mark.parametrize(("tool", "name", "content"), CASES, ids=[case[1] for case in CASES])
def test_a_tool_is_run_to_its_end(
    served: ServedProvider, tool: Any, name: str, content: str
) -> None:
    served.fake.reply_with(tool_call_reply((name, {})), "Done.")
    run = served.provider.run_tools("When?", [tool])

    assert [(step.content, step.error) for step in run.steps] == [(content, None)]
    assert served.tool_results == [content]


_CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("_CALLER")


def test_a_tool_runs_in_the_thread_of_the_caller(ollama: ServedProvider) -> None:
    seen: List[Any] = []

    async def look() -> None:
        """Look."""
        seen.append((threading.current_thread(), _CALLER.get()))

    _CALLER.set("me")
    ollama.fake.reply_with(tool_call_reply(("look", {})), "Done.")
    ollama.provider.run_tools("Go", [look])
    assert seen == [(threading.current_thread(), "me")]


async def _fail() -> None:
    """Fail."""
    await asyncio.sleep(0)
    raise LookupError("no time here")


async def _fail_late() -> AsyncIterator[int]:
    """Fail."""
    yield 1
    raise LookupError("no time here")


def _fail_in_a_generator() -> Iterator[int]:
    """Fail."""
    yield 1
    raise LookupError("no time here")


@pytest.mark.parametrize("tool", [_fail, _fail_late, _fail_in_a_generator])
def test_an_exception_inside_is_that_of_the_tool(ollama: ServedProvider, tool: Any) -> None:
    called = tool_call_reply((tool.__name__, {}))
    ollama.fake.reply_with(called, "Sorry.", called)
    run = ollama.provider.run_tools("Go", [tool])
    assert run.steps[0].error == "LookupError: no time here"

    with pytest.raises(LookupError, match="no time here"):
        ollama.provider.run_tools("Go", [tool], on_tool_error="raise")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_inside_goes_through(ollama: ServedProvider, error: Any) -> None:
    async def stop() -> None:
        """Stop."""
        raise error

    ollama.fake.reply_with(tool_call_reply(("stop", {})))
    with pytest.raises(error):
        ollama.provider.run_tools("Go", [stop])


# --- a running loop, as in a notebook ------------------------------------------------------------


@pytest.mark.parametrize("tool", [now, several, Clock(), functools.partial(now)])
def test_in_a_running_loop_nothing_is_sent_and_the_error_says_what_to_write(
    ollama: ServedProvider, tool: Any
) -> None:
    async def cell() -> None:
        ollama.provider.run_tools("When?", [tool])

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(cell())
    assert "an event loop runs in this thread, as in a notebook" in caught.value.message
    assert "await asyncio.to_thread(provider.run_tools, ...)" in str(caught.value.hint)
    assert ollama.requests == []


def test_the_way_that_the_error_names_works(served: ServedProvider) -> None:
    async def cell() -> Any:
        call = functools.partial(served.provider.run_tools, "When?", [now])
        return await asyncio.get_running_loop().run_in_executor(None, call)

    served.fake.reply_with(tool_call_reply(("now", {})), "Done.")
    assert [step.content for step in asyncio.run(cell()).steps] == ["noon in UTC"]


def test_in_a_running_loop_other_tools_run_as_ever(ollama: ServedProvider) -> None:
    async def cell() -> Any:
        return ollama.provider.run_tools("Go", [counting, plain_function_with_a_coroutine])

    ollama.fake.reply_with(
        tool_call_reply(("counting", {}), ("plain_function_with_a_coroutine", {})), "Done."
    )
    run = asyncio.run(cell())
    assert run.steps[0].content == "[0, 1, 2]"
    # A coroutine of a plain function is found when it is too late to send nothing.
    assert "an event loop runs in this thread" in str(run.steps[1].error)


def test_a_running_loop_in_another_thread_does_not_matter(ollama: ServedProvider) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        ollama.fake.reply_with(tool_call_reply(("now", {})), "Done.")
        run = ollama.provider.run_tools("When?", [now])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert run.steps[0].content == "noon in UTC"


def test_chat_only_describes_an_asynchronous_tool(ollama: ServedProvider) -> None:
    async def cell() -> Any:
        return ollama.provider.chat("When?", tools=[now])

    ollama.fake.reply_with(Reply(text="Now."))
    assert asyncio.run(cell()).text == "Now."
    sent = ollama.requests[0]["tools"][0]["function"]
    assert json.loads(json.dumps(sent["name"])) == "now"
