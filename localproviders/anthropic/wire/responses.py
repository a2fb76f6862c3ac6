"""Translation of Anthropic's events and messages to chunks."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple

from localproviders._dialect.common import checked, parse_record, read_arguments, unexpected
from localproviders._dialect.error_answers import from_words, read_words
from localproviders._dialect.values import (
    count,
    index_of,
    integer,
    mapping,
    mappings,
    nonempty_text,
    text,
)
from localproviders._http.framing import MOST_PIECES, Look, Tally, no_look
from localproviders._http.summary import GrowingText
from localproviders.anthropic.wire import kept_blocks
from localproviders.anthropic.wire.errors import RULES, request_id_in
from localproviders.errors import ProtocolError, StreamInterruptedError
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.types.messages import ToolCall
from localproviders.types.responses import CompletionChunk, Usage

#: The stop reason of an answer that the service refuses to give.
REFUSAL = "refusal"

# The fields of `usage` whose sum is the length of the prompt.
_INPUT = "input_tokens"
_WRITTEN, _CACHED = "cache_creation_input_tokens", "cache_read_input_tokens"


class _Block:
    """A block of the answer that is still arriving.

    Attributes:
        start: The block in the first event about it.
        pieces: Its text or its thinking; or, if the service itself runs a tool, the JSON of the
            tool's input.
        signature: The signature of the thinking, or None.
    """

    __slots__ = ("pieces", "signature", "start")

    def __init__(self, start: Dict[str, Any]) -> None:
        self.start = start
        self.pieces = GrowingText()
        self.signature: Optional[str] = None

    @property
    def kind(self) -> Any:
        return self.start.get("type")

    def whole(self, max_depth: int, look: Look) -> Dict[str, Any]:
        """Return the complete block, except the input of a tool call, which `_end` adds."""
        made, written = dict(self.start), self.pieces.so_far
        if self.kind in ("text", "thinking"):
            made[self.kind] = written
        elif written:
            made["input"] = read_arguments(written, max_depth, look) or {}
        if self.kind == "thinking":
            made["signature"] = self.signature or made.get("signature") or ""
        return made


class EventParser:
    """A parser of the events of one answer, or of a complete answer in one JSON body.

    The blocks of local servers overlap, so the index in an event shows to which block the event
    belongs. Events, blocks and deltas of unknown types are ignored, because Anthropic may add new
    types to the API.

    Args:
        model: Name of the requested model. It is stored with the blocks that must be sent back.
        max_json_depth: Deepest nesting of a record.
        look: Function that checks the limits of the call.
    """

    def __init__(self, model: str, max_json_depth: int, look: Look = no_look) -> None:
        self._model = model
        self._max_depth, self._look = max_json_depth, look
        self._calls = ToolCallAssembler(max_json_depth, look)
        self._pieces = Tally("pieces of the answer", MOST_PIECES, look)
        self._blocks: Dict[int, _Block] = {}
        self._usage: Dict[str, Any] = {}
        self._reason: Optional[str] = None
        self._began = self._has_text = False
        self._last_delta: Optional[Mapping[str, Any]] = None
        self.ended: bool = False
        self.is_single_record = False
        #: Received text that is in no chunk. No text is held back in a stream, because thinking and
        #: text arrive in separate blocks.
        self.held = ""

    def quick(self, record: str) -> Optional[CompletionChunk]:
        """Return None: there is no fast path, because `parse` collects blocks from all records."""
        return None

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Read one record; return None for a record without content, such as a ping.

        Raises:
            ProviderError: The record is an error, or not part of a response.
        """
        if not record.strip():
            return None
        data = parse_record(record, self._max_depth, self._look)
        kind = data.get("type") if isinstance(data, dict) else None
        if kind == "message":
            return self._read_message(checked(data, RULES))
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None or self.is_single_record:
            self._read_other(data, record)
            return None
        return reader(self, data)

    def _read_other(self, data: Any, record: str) -> None:
        """Read a record of an unknown type.

        Raises:
            ProviderError: The record is an error, or no event.
        """
        words = read_words(data)
        if words is not None:
            error = from_words(words, RULES)
            error.request_id = request_id_in(record)
            raise error
        is_event = isinstance(data, dict) and nonempty_text(data.get("type")) is not None
        if not is_event or self.is_single_record:
            unexpected("'content' list" if self.is_single_record else "'type' of an event")

    # --- a complete answer ------------------------------------------------------------------

    def _read_message(self, data: Mapping[str, Any]) -> CompletionChunk:
        content = data.get("content")
        if not isinstance(content, list) and content is not None:
            unexpected("'content' list")
        self._begin(data)
        for index, block in enumerate(content or ()):
            self._start_block(
                index, block if isinstance(block, dict) else unexpected("readable block")
            )
        self._reason = nonempty_text(data.get("stop_reason"))
        made = self._end(data)
        self.ended = self._is_finished
        return made

    # --- events -----------------------------------------------------------------------------

    def _read_start(self, data: Mapping[str, Any]) -> CompletionChunk:
        message = data.get("message")
        if not isinstance(message, dict):
            unexpected("'message' object")
        self._begin(message)
        # Blocks that the first event already contains. Their indexes are negative, so they come
        # before the first block of the stream.
        before = mappings(message.get("content"))
        found = [self._start_block(at - len(before), block) for at, block in enumerate(before)]
        thinking, words = ("".join(each) for each in zip(*found)) if found else ("", "")
        return self._chunk(data, words, thinking)

    def _begin(self, message: Mapping[str, Any]) -> None:
        self._began = True
        self._served = nonempty_text(message.get("model"))
        self._add_usage(message)

    def _read_block_start(self, data: Mapping[str, Any]) -> Optional[CompletionChunk]:
        block = data.get("content_block")
        if not isinstance(block, dict):
            unexpected("'content_block' object")
        index = self._index_of(data)
        if index in self._blocks:
            raise ProtocolError("the response has two blocks with the same index")
        thinking, words = self._start_block(index, block)
        return self._chunk(data, words, thinking) if words or thinking else None

    def _start_block(self, index: int, block: Mapping[str, Any]) -> Tuple[str, str]:
        """Add a block; return the thinking and the text in it."""
        self._pieces.add()
        made = self._blocks[index] = _Block(dict(block))
        if made.kind == "tool_use":
            given = block.get("input")
            self._calls.add(
                {
                    "index": index,
                    "id": block.get("id"),
                    "function": {"name": block.get("name"), "arguments": given or None},
                }
            )
        found = text(block.get(made.kind)) if made.kind in ("text", "thinking") else ""
        return self._add_words(made, found)

    def _add_words(self, block: _Block, words: str) -> Tuple[str, str]:
        if not words:
            return "", ""
        block.pieces.append(words)
        block.pieces.fold()
        if block.kind == "thinking":
            return words, ""
        self._has_text = True
        return "", words

    def _read_delta(self, data: Mapping[str, Any]) -> Optional[CompletionChunk]:
        delta = data.get("delta")
        if not isinstance(delta, dict):
            unexpected("'delta' object")
        kind, index = delta.get("type"), self._index_of(data)
        if kind not in _DELTAS:
            return None
        self._pieces.add()
        block = self._blocks.get(index)
        if block is None:
            unexpected("start of a block")
        if kind == "input_json_delta":
            self._add_input(index, block, text(delta.get("partial_json")))
            return None
        if kind == "signature_delta":
            block.signature = text(delta.get("signature"))
            return None
        thinking, words = self._add_words(block, text(delta.get(_DELTAS[kind])))
        return self._chunk(data, words, thinking) if words or thinking else None

    def _add_input(self, index: int, block: _Block, piece: str) -> None:
        """Add a piece of a tool's input. Either the caller or the service itself runs the tool."""
        if block.kind == "tool_use":
            self._calls.add([{"index": index, "function": {"arguments": piece}}])
        else:
            block.pieces.append(piece)
            block.pieces.fold()

    def _index_of(self, data: Mapping[str, Any]) -> int:
        if not self._began:
            raise ProtocolError("the response has a block before its first record")
        found = index_of(data.get("index"))
        return unexpected("'index' of a block") if found is None else found

    def _read_message_delta(self, data: Mapping[str, Any]) -> Optional[CompletionChunk]:
        self._reason = nonempty_text(mapping(data.get("delta")).get("stop_reason")) or self._reason
        self._add_usage(data)
        self._last_delta = data
        return None

    def _read_stop(self, data: Mapping[str, Any]) -> CompletionChunk:
        if not self._began:
            raise ProtocolError("the response ended before its first record")
        made = self._end(self._last_delta or data, is_streamed=True)
        self.ended = self._is_finished
        return made

    @property
    def _is_finished(self) -> bool:
        """Whether the server has reported why the answer ended. If not, it may be incomplete."""
        return self._reason is not None

    def _pass_over(self, data: Mapping[str, Any]) -> None:
        """Read an event without content."""

    # --- chunks -----------------------------------------------------------------------------

    def _chunk(
        self, data: Mapping[str, Any], words: str = "", thinking: str = ""
    ) -> CompletionChunk:
        return CompletionChunk(text=words, thinking=thinking, model=self._served, raw=data)

    def _end(self, data: Mapping[str, Any], *, is_streamed: bool = False) -> CompletionChunk:
        """Return the last chunk: the tool calls, the token counts, and the blocks to keep.

        If the answer came in one JSON body, this chunk also contains its text and its thinking.

        Raises:
            StreamInterruptedError: The answer has no stop reason, so it may be incomplete.
            ToolCallError: A tool call is incomplete.
        """
        found = [self._blocks[index] for index in sorted(self._blocks)]
        blocks = [block.whole(self._max_depth, self._look) for block in found]
        unsaid = [] if is_streamed else blocks
        words = "".join(block["text"] for block in unsaid if block.get("type") == "text")
        if self._reason is None:
            self.held = words
            raise StreamInterruptedError("the answer ended without a stop reason")
        calls = self._complete_calls()
        inputs = {call.id: call.arguments for call in calls}
        for block in blocks:
            if block.get("type") == "tool_use" and block.get("id") in inputs:
                block["input"] = inputs[block["id"]]
        return CompletionChunk(
            text=words,
            thinking="".join(b["thinking"] for b in unsaid if b.get("type") == "thinking"),
            tool_calls=calls,
            model=self._served,
            finish_reason=self._reason,
            usage=usage_of(self._usage),
            provider_data=kept_blocks.keep(blocks, self._model),
            raw=data,
        )

    def _complete_calls(self) -> Tuple[ToolCall, ...]:
        """Return the tool calls. A refused answer must not be used, so it has none."""
        if self._reason == REFUSAL:
            return ()
        return self._calls.complete_calls(self._reason, has_text=self._has_text)

    def _add_usage(self, data: Mapping[str, Any]) -> None:
        """Store the token counts of a record.

        A count that is missing or null in the record keeps its earlier value.
        """
        found = mapping(data.get("usage"))
        self._usage.update({name: found[name] for name in found if found[name] is not None})

    _served: Optional[str] = None


# Types of deltas that have a part of the answer, and the fields with it.
_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
}

_READERS = {
    "message_start": EventParser._read_start,
    "content_block_start": EventParser._read_block_start,
    "content_block_delta": EventParser._read_delta,
    "content_block_stop": EventParser._pass_over,
    "message_delta": EventParser._read_message_delta,
    "message_stop": EventParser._read_stop,
    "ping": EventParser._pass_over,
}


def usage_of(found: Mapping[str, Any]) -> Optional[Usage]:
    """Return the token counts; None if there are none.

    The length of the prompt is a sum, because the field `input_tokens` does not include tokens that
    were read from the cache or written to it.
    """
    if not found:
        return None
    parts = [count(found.get(name)) for name in (_INPUT, _WRITTEN, _CACHED)]
    details = mapping(found.get("output_tokens_details"))
    return Usage(
        prompt_tokens=None if parts[0] is None else sum(part or 0 for part in parts),
        completion_tokens=count(found.get("output_tokens")),
        thinking_tokens=count(details.get("thinking_tokens")),
        cached_tokens=parts[2],
        cache_write_tokens=parts[1],
    )


def parse_count(data: Any) -> int:
    """Return the number of tokens in the response of the route that counts tokens.

    Raises:
        ProviderError: The response is an error, or has no count.
    """
    tokens = integer(checked(data, RULES).get("input_tokens"))
    return unexpected("'input_tokens'") if tokens is None else tokens


def refusal_of(record: Mapping[str, Any]) -> Optional[str]:
    """Return the category of a refusal from the last record of an answer; None if it is missing."""
    details = record.get("stop_details") or mapping(record.get("delta")).get("stop_details")
    return nonempty_text(mapping(details).get("category"))
