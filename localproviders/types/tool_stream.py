"""`ToolStream`: the chunks of a tool run, which arrive while the model writes its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, Optional, Protocol

from localproviders._did_you_mean import name_other_attribute, refuse_item
from localproviders._signatures import Self
from localproviders.errors import CancelledError, ProviderError
from localproviders.types.responses import CompletionChunk, ToolRun


class RunningLoop(Protocol):
    """The methods of the tool loop that a `ToolStream` calls."""

    @property
    def text(self) -> str:
        """The text of the newest answer so far."""
        ...

    def next_chunk(self) -> Optional[CompletionChunk]:
        """Return the next chunk; None after the last one."""
        ...

    def result(self) -> ToolRun:
        """Return the complete run, after the last chunk."""
        ...

    def close(self) -> None:
        """End the loop and close its connection. `close` may be repeated."""


class ToolStream:
    """A run of tools that arrives in chunks. Iterate over it, in a ``with`` block.

    `stream_tools` returns it. It yields the chunks of all rounds; a round is one request with its
    answer. After each tool call comes a chunk without text, whose `tool_step` is the `ToolStep`.
    The tools run while the stream is iterated.

    When `stream_tools` returns, the server has accepted the first request. Leaving the block,
    calling `close`, or dropping the last reference closes the connection immediately, and no
    further tool is run. With ``parallel``, closing also waits until the tools that still run have
    ended.

    Only one thread may iterate. Other threads may call `close`.

    Raises while iterating:
        ToolCallError: A tool call was cut off or has no name, or the model still calls tools
            after `max_rounds`.
        LimitError: A limit expired. The total limit covers the complete run.
        StreamInterruptedError: A response ended before its last record.
        CancelledError: The stream was closed, or the call cancelled, before the end.
        ProviderError: The server refused a request, or failed in another way.
        Exception: A tool raised this exception, and `on_tool_error` is ``raise``.

    Each `ProviderError` has the text of the failed round in its attribute `partial`, and the
    earlier rounds in its attribute `run`.
    """

    def __init__(self, loop: RunningLoop) -> None:
        self._loop = loop
        self._failure: Optional[ProviderError] = None
        self._result: Optional[ToolRun] = None

    if not TYPE_CHECKING:  # type checkers find wrong names themselves
        __getattr__ = name_other_attribute
        __getitem__ = refuse_item

    @property
    def text(self) -> str:
        """The text of the newest answer so far; at the end, the text of the last answer."""
        return self._loop.text

    def __iter__(self) -> Iterator[CompletionChunk]:
        return self

    def __next__(self) -> CompletionChunk:
        try:
            chunk = self._read()
        except StopIteration as error:
            # A StopIteration would end the caller's loop as if the run were complete.
            raise RuntimeError("a tool or on_step raised StopIteration") from error
        if chunk is None:
            raise StopIteration
        return chunk

    def _read(self) -> Optional[CompletionChunk]:
        """Return the next chunk; None at the end, after storing the result."""
        if self._result is not None:
            return None
        if self._failure is not None:
            raise self._failure
        try:
            chunk = self._loop.next_chunk()
        except BaseException as error:
            # An exception of the caller, such as KeyboardInterrupt, ends the stream, too: the loop
            # cannot continue in the middle of a step.
            closed = CancelledError("the stream has already ended, because of another exception")
            self._failure = error if isinstance(error, ProviderError) else closed
            self._loop.close()
            raise
        if chunk is None:
            self._result = self._loop.result()
            self._loop.close()
        return chunk

    def result(self) -> ToolRun:
        """Read the rest of the stream, run the tools, and return the complete run.

        If this method is called again, it returns the same run.

        Raises:
            ToolCallError: A tool call was cut off or has no name, or the model still calls tools
                after `max_rounds`.
            LimitError: A limit expired. The total limit covers the complete run.
            StreamInterruptedError: A response ended before its last record.
            CancelledError: The stream was closed, or the call cancelled, before the end.
            ProviderError: The server refused a request, or failed in another way.
            Exception: A tool raised this exception, and `on_tool_error` is ``raise``.
        """
        while self._result is None:
            self._read()
        return self._result

    def close(self) -> None:
        """Close the connection if it is still open, and run no further tool.

        This method may be called at any time, more than once, and from any thread. If another
        thread is iterating, its iteration raises `CancelledError`. With ``parallel``, the method
        waits until the tools that still run have ended, unless a tool calls it.
        """
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # After an interrupt in the constructor, there may be no `_loop`.
        if getattr(self, "_loop", None) is not None:
            self.close()

    def __repr__(self) -> str:
        if "_result" not in vars(self):  # an interrupted constructor
            return "<half-made ToolStream>"
        state = "failed" if self._failure else "open" if self._result is None else "ended"
        return f"<ToolStream {state}, {len(self.text)} characters in the newest answer>"
