"""`Conversation`: keeps messages in a file, and sends those that fit into the context window."""

from __future__ import annotations

import os
import weakref
from typing import Any, Dict, List, Optional, Tuple, Union

from localproviders._chat_request import make_chat_request
from localproviders._redact import count_with_noun
from localproviders._shared_deadline import SharedDeadline
from localproviders._signatures import Self, Unpack, exact_keywords
from localproviders.conversation import file as files
from localproviders.conversation.file import ConversationFile
from localproviders.conversation.stream import ConversationStream
from localproviders.conversation.turns import Turn, facts_of
from localproviders.conversation.window import Planner
from localproviders.errors import ConfigurationError, ContextOverflowError
from localproviders.provider import ModelProvider
from localproviders.secret import Sealed
from localproviders.types.inputs import kind_of
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import Message, Messages, Tools, as_messages
from localproviders.types.requests import ModelLike, RequestFields
from localproviders.types.responses import CompletionResponse

_PathLike = Union[str, "os.PathLike[str]"]


class Conversation:
    """A conversation with a model, in memory or in a file. Use it in a ``with`` block.

    A turn is a question with its answer. When the answer is complete, the turn is added to the
    conversation and written. A question without a complete answer is not kept, so the file never
    has half of a turn.

    The file has one line of JSON for each turn, in UTF-8. Lines are only appended. A line has
    ``messages``, the ``model``, the ``provider``, its ``endpoint``, the ``digest`` of the model
    that answered, and the ``finish_reason``; also ``system``, if the system message changed. Only
    the owner of a new file may read it. The file is locked until `close`, so two processes cannot
    mix their turns. If the process is killed while it writes, the last line may be incomplete:
    `warnings` says so, and the next turn replaces this line.

    All turns stay in the file. Only the request is shortened: if it does not fit into the context
    window of the model, the oldest turns are not sent. The system message and the new messages are
    always sent, and a tool call is never separated from its results. A warning of the answer, and
    `left_out`, say how many messages were not sent.

    A conversation may be used by one thread at a time.

    Args:
        path: The file; None keeps the conversation in memory only. A missing file is created. A
            symbolic link is refused.
        system: The system message. None continues with the system message of the file. Any other
            text replaces that message from the next turn on; an empty text removes it.
        window: Maximum number of tokens of a prompt and its answer together. None uses the context
            window that the server reports: the allocated window, or else the window that the model
            was trained for.
        wait_s: Seconds to wait for another process that has the file open.

    Attributes:
        path: The path of the file as a string, or None.
        system: The system message of the next turn, or None. It may be set.
        left_out: Number of earlier messages that were not part of the last request.
        warnings: One warning if the last line of the file is incomplete; otherwise empty.

    Raises:
        LockHeldError: Another process has the file open.
        IntegrityError: Another program changed a line of the file. The error contains the number of
            the line.
        ConfigurationError: The file cannot be opened or is no conversation, or a value is
            impossible.
    """

    @exact_keywords
    def __init__(
        self,
        path: Optional[_PathLike] = None,
        *,
        system: Optional[str] = None,
        window: Optional[int] = None,
        wait_s: float = 0.0,
    ) -> None:
        _check("system", system, str, "a text")
        _check("window", window, int, "a number of tokens, 1 or more")
        self._window = window
        self._file = None if path is None else ConversationFile(path, wait_s)
        self._is_closed = False
        content = files.Content((), 0, b"", 1) if self._file is None else self._file.content
        self._fill(content, None if self._file is None else self._file.path)
        found = self._recorded_system if system is None else system
        self.system: Optional[str] = found or None

    def _fill(self, content: files.Content, path: Optional[str]) -> None:
        self.path: Optional[str] = path
        self.left_out: int = 0
        self.warnings: Tuple[str, ...] = ()
        if content.rest:
            self.warnings = (
                f"line {content.line} of {path!r} is incomplete "
                f"({count_with_noun(len(content.rest), 'byte')}), "
                "and is not part of the conversation",
            )
        self._turns: List[Turn] = list(content.turns)
        self._known_windows: Dict[Any, int] = {}
        self._open_stream: Optional[weakref.ref[ConversationStream]] = None

    @classmethod
    def load(cls, path: _PathLike) -> Conversation:
        """Read a file into a conversation in memory, which is not written to the file.

        The file is not locked, so another process may have it open.

        Raises:
            IntegrityError: Another program changed a line of the file.
            ConfigurationError: The file cannot be read, or is no conversation.
        """
        made = cls()
        made._fill(files.read(path), os.fsdecode(path))
        made.path, made.system = None, made._recorded_system
        return made

    @property
    def _recorded_system(self) -> Optional[str]:
        texts = [turn.system for turn in self._turns if turn.system is not None]
        return (texts[-1] or None) if texts else None

    @property
    def messages(self) -> Tuple[Message, ...]:
        """All messages except the system message. The last message is an answer."""
        return tuple(message for turn in self._turns for message in turn.messages)

    def ask(
        self,
        provider: ModelProvider,
        messages: Messages,
        *,
        model: Optional[ModelLike] = None,
        tools: Tools = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> CompletionResponse:
        """Send the conversation with new messages; add them and the answer, and return the answer.

        Args:
            provider: The provider that answers.
            messages: The new messages: a text, a `Message`, or several messages. After an answer
                with tool calls, these are the results, made with `Message.tool`.
            model: Name of the model, or its `ModelInfo`; None uses the provider's model.
            tools: A tool that the model may call, or several of them.
            timeout: Seconds for the complete call, or a `Limits` value; None uses the provider's
                limits. Counting tokens is part of the call.
            cancel: A token that ends the call when another thread sets it.
            fields: Further fields of `CompletionRequest`, such as ``temperature=0``. The number of
                tokens that stay free for the answer is ``max_tokens``; without that field, it is a
                quarter of the window, but at most 1,024.

        Raises:
            ValueError: The messages are empty or malformed, or the value of a field is
                impossible.
            TypeError: There is no such field, or `provider` is no provider.
            ConfigurationError: The conversation is closed, another answer is still being streamed,
                or the last answer has tool calls without results.
            IntegrityError: Another program changed, removed or replaced the file. Nothing was sent.
            ContextOverflowError: The new messages alone are too long.
            OSError: The answer is complete, but its line cannot be written, for example because
                the disk is full. The turn is part of `messages`, and is written with the next
                turn or by `close`.
            ProviderError: The server refused the request, or failed. Nothing was added.
        """
        sealed = Sealed((messages, fields))
        del messages, fields
        with self._start(
            sealed, provider, model=model, tools=tools, timeout=timeout, cancel=cancel, verb="chat"
        ) as stream:
            return stream.result()

    def stream(
        self,
        provider: ModelProvider,
        messages: Messages,
        *,
        model: Optional[ModelLike] = None,
        tools: Tools = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> ConversationStream:
        """Send the conversation with new messages, and return a stream of the answer.

        The new messages and the answer are added when the last chunk has been read. If the stream
        ends earlier, the conversation stays as it was.

        Args:
            provider: The provider that answers.
            messages: The new messages, as in `ask`.
            model: Name of the model, or its `ModelInfo`; None uses the provider's model.
            tools: A tool that the model may call, or several of them.
            timeout: Seconds for the complete call, or a `Limits` value; None uses the provider's
                limits. The time between two chunks counts.
            cancel: A token that ends the call when another thread sets it.
            fields: Further fields of `CompletionRequest`, as in `ask`.

        Raises:
            ValueError: The messages are empty or malformed, or the value of a field is
                impossible.
            TypeError: There is no such field, or `provider` is no provider.
            ConfigurationError: The conversation is closed, another answer is still being streamed,
                or the last answer has tool calls without results.
            IntegrityError: Another program changed, removed or replaced the file. Nothing was sent.
            ContextOverflowError: The new messages alone are too long.
            ProviderError: The server refused the request, or failed. Nothing was added.
        """
        sealed = Sealed((messages, fields))
        del messages, fields
        return self._start(
            sealed,
            provider,
            model=model,
            tools=tools,
            timeout=timeout,
            cancel=cancel,
            verb="stream",
        )

    def _start(
        self,
        sealed: Any,
        provider: ModelProvider,
        *,
        model: Optional[ModelLike],
        tools: Tools,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        verb: str,
    ) -> ConversationStream:
        """Send the request, and return the stream of its answer."""
        if not isinstance(provider, ModelProvider):
            raise TypeError(
                f"provider is {kind_of(provider)}; write conversation.ask(provider, text)"
            )
        if "system" in sealed.cell_contents[1]:
            raise TypeError("system is not an argument here; write conversation.system = text")
        self._check_usable()
        new = self._new_messages(sealed.cell_contents[0])
        request = make_chat_request(
            ModelProvider,
            new,
            self.system,
            sealed.cell_contents[1],
            model=model,
            tools=tools,
            verb=verb,
        )
        shared = SharedDeadline(provider, timeout, cancel, verb=verb)
        planner = Planner(
            shared,
            provider,
            request,
            self.messages,
            most=self._window,
            known=self._known_windows,
        )
        try:
            stream = self._opened(shared, planner, new)
        except BaseException:
            shared.finish()
            raise
        self._open_stream = weakref.ref(stream)
        return stream

    def _opened(
        self, shared: SharedDeadline, planner: Planner, new: Tuple[Message, ...]
    ) -> ConversationStream:
        plan = planner.plan()
        try:
            stream = shared.open(plan.request)
        except ContextOverflowError as error:
            shorter = None if error.partial else planner.shorter(plan, error)
            if shorter is None:
                raise
            plan = shorter
            stream = shared.open(plan.request)
        self.left_out = plan.left_out
        system = self.system or ""

        def keep(response: CompletionResponse) -> None:
            self._add((*new, response.message), system, response)

        return ConversationStream(stream, shared, plan, keep)

    def _new_messages(self, messages: Messages) -> Tuple[Message, ...]:
        new = as_messages(messages)
        _refuse_system(new)
        last = self._turns[-1].messages[-1] if self._turns else None
        if last is not None and last.tool_calls and new[0].role != "tool":
            names = ", ".join(call.name for call in last.tool_calls)
            raise ConfigurationError(
                f"the last answer has tool calls without results: {names}",
                hint="pass the results first: [Message.tool(result, call) for each call]",
            )
        return new

    def add(self, messages: Messages, response: Optional[CompletionResponse] = None) -> None:
        """Add and write a turn that another method, such as `ModelProvider.run_tools`, has made.

        Args:
            messages: The new messages of the turn. The last one is the answer.
            response: The answer as a response. Its facts, such as the model, are written, too.

        Raises:
            ValueError: The messages are empty or malformed.
            ConfigurationError: The last message is no answer, a message is a system message, or the
                conversation is closed.
            IntegrityError: Another program changed, removed or replaced the file.
            OSError: The line cannot be written. The turn is part of `messages`, and is written with
                the next turn or by `close`.
        """
        made = as_messages(messages)
        _refuse_system(made)
        if made[-1].role != "assistant":
            raise ConfigurationError(
                f"the last message of the turn has the role {made[-1].role}",
                hint="add the complete turn: the question, and the answer as its last message",
            )
        self._check_usable()
        self._add(made, self.system or "", response)

    def _add(
        self, messages: Tuple[Message, ...], system: str, response: Optional[CompletionResponse]
    ) -> None:
        changed = system != (self._recorded_system or "")
        self._turns.append(Turn(messages, system if changed else None, facts_of(response)))
        if self._file is not None:
            self._file.append(self._turns)

    def save(self, path: _PathLike, *, replace: bool = False) -> None:
        """Write all turns to another file, which appears complete or not at all.

        Later turns are not written to this file. To continue in it, open it as a new conversation.

        Args:
            path: The new file. Only its owner may read it.
            replace: True replaces a file that exists.

        Raises:
            ConfigurationError: The file exists, its folder does not exist, or the path is a
                symbolic link.
            LockHeldError: A conversation has the file open.
            OSError: The disk is full, or the file cannot be written.
        """
        files.save(path, self._turns, replace=replace)

    def close(self) -> None:
        """Write turns that could not be written before, and release the file.

        This method may be called again.

        Raises:
            OSError: There are unwritten turns, and they still cannot be written.
            IntegrityError: There are unwritten turns, and another program changed the file.
        """
        self._is_closed = True
        if self._file is None:
            return
        try:
            if self._file.is_open and self._file.written < len(self._turns):
                self._file.append(self._turns)
        finally:
            self._file.close()

    def _check_usable(self) -> None:
        if self._is_closed:
            raise ConfigurationError(
                "the conversation is closed", hint="open the file again: Conversation(path)"
            )
        stream = None if self._open_stream is None else self._open_stream()
        if stream is not None and stream.is_open:
            raise ConfigurationError(
                "another answer of this conversation is still being streamed",
                hint="read it to its end, or close it",
            )
        if self._file is not None:
            self._file.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else repr(self.path)
        return f"<Conversation {where}, {len(self.messages)} messages>"


def _check(name: str, value: Any, kind: type, rule: str) -> None:
    is_right = isinstance(value, kind) and not isinstance(value, bool)
    if value is not None and (not is_right or (kind is int and value < 1)):
        shown = repr(value) if isinstance(value, (int, float)) else kind_of(value)
        raise ConfigurationError(
            f"{name} is {shown}, but must be {rule}", hint=f"leave {name} out, or pass {rule}"
        )


def _refuse_system(messages: Tuple[Message, ...]) -> None:
    if any(message.role == "system" for message in messages):
        raise ConfigurationError(
            "a new message is a system message",
            hint="set the attribute instead: conversation.system = text",
        )
