"""Assembly of complete tool calls from the pieces in which servers send them.

Servers write the pieces in many forms (docs/dialects.md, "Tool calls"). Pieces with the same index
belong to the same call. Without an index, the id decides, and without an id, the order. Two
different complete calls are never joined.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from localproviders._dialect.common import (
    arguments_of,
    is_too_long,
    read_arguments,
    unread_calls,
)
from localproviders._dialect.values import index_of, nonempty_text
from localproviders._http.framing import (
    MOST_CALLS,
    MOST_PIECES,
    MOST_WEIGHT,
    Look,
    Tally,
    no_look,
    weigh,
)
from localproviders.errors import ToolCallError
from localproviders.types.messages import ToolCall

# Maximum length of a name that arrives in pieces.
_LONGEST_NAME = 256

# Finish reasons of a response with tool calls. vLLM also sends them if it could not read the tool
# call that the model wrote. This tool call is then lost.
_CALLED = ("tool_calls", "function_call")

# While pieces arrive, the arguments of a call are parsed to find out whether they are complete.
# This is the maximum number of characters that are parsed for this purpose. After that, all
# arguments count as incomplete, so a further piece continues the current call.
_MAX_PARSED = 4_000_000


class _PendingCall:
    """The parts of one call that have arrived."""

    __slots__ = ("arguments", "begun", "id", "index", "is_whole", "name", "record")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: List[str] = []
        #: Whether any part of the arguments has arrived, apart from blanks.
        self.begun = False
        #: Whether the arguments are complete; None if that is not known.
        self.is_whole: Optional[bool] = None
        #: Number of the record with the latest piece of this call.
        self.record = 0


class ToolCallAssembler:
    """An assembler of the tool calls of one response, which arrive in pieces.

    The first id and the first name that are not empty are kept. A name may arrive in pieces
    before the arguments. Arguments are joined in the order of their arrival. A piece with a new id
    and a name begins another call, even if its index was used before. A name after complete
    arguments also begins another call. A call is complete only when the response is complete
    (docs/reference/lmstudio.md, "Streaming").

    Args:
        max_json_depth: Deepest nesting of a call's arguments.
        look: Function that checks the limits of the public call.
    """

    def __init__(self, max_json_depth: int = 100, look: Look = no_look) -> None:
        self._max_depth = max_json_depth
        self._look = look
        self._tally = Tally("tool calls", MOST_CALLS)
        self._pieces = Tally("pieces of tool calls", MOST_PIECES, look)
        self._weight_left = MOST_WEIGHT
        self._tried = 0
        self._record = 0
        #: All calls, in the order in which they began.
        self._calls: List[_PendingCall] = []
        self._by_index: Dict[int, _PendingCall] = {}
        self._by_id: Dict[str, _PendingCall] = {}
        self._last: Optional[_PendingCall] = None

    @property
    def is_empty(self) -> bool:
        """Whether no piece has arrived."""
        return not self._calls

    def add(self, pieces: Any) -> None:
        """Add the pieces of one record: a list of pieces, or a single piece.

        Raises:
            ToolCallError: A piece is not an object, or has parts of the wrong type.
            AnswerTooLargeError: The response has too many calls.
        """
        if not pieces or self._add_arguments(pieces):
            return
        if isinstance(pieces, dict):
            pieces = [pieces]
        if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
            raise ToolCallError("the tool calls of the response are not a list of objects")
        self._record += 1
        by_position = len(pieces) > 1 and not any(map(_shows_its_call, pieces))
        for position, piece in enumerate(pieces):
            self._add_one(piece, position if by_position else None)

    def _add_arguments(self, pieces: Any) -> bool:
        """Add a single piece that has only an index and arguments.

        Return False and add nothing if `pieces` has another form. This is the fast path: almost
        all pieces of a long call have this form.
        """
        if type(pieces) is not list or len(pieces) != 1 or type(pieces[0]) is not dict:
            return False
        piece = pieces[0]
        function, index = piece.get("function"), piece.get("index")
        if type(function) is not dict or type(index) is not int or piece.get("id"):
            return False
        text, held = function.get("arguments"), self._by_index.get(index)
        if type(text) is not str or held is None or function.get("name"):
            return False
        self._record += 1
        self._pieces.add()
        self._extend(held, "", "", text)
        return True

    def _add_one(self, piece: Mapping[str, Any], position: Optional[int]) -> None:
        function, index = _function_of(piece), index_of(piece.get("index"))
        if not isinstance(function, dict) or (index is None and piece.get("index") is not None):
            raise ToolCallError("a tool call in the response has an invalid function or index")
        self._pieces.add()
        new_id, name = (
            nonempty_text(piece.get("id")) or "",
            nonempty_text(function.get("name")) or "",
        )
        text = self._text_of(arguments_of(function))
        held = self._continued(index, new_id, name, position)
        if held is None or self._is_another(held, index, new_id, name, text):
            held = self._begin(index)
        self._extend(held, new_id, name, text)

    def _text_of(self, arguments: Any) -> str:
        if isinstance(arguments, str):
            return arguments
        if isinstance(arguments, dict):
            # Converting large arguments to JSON takes long, so the limits are checked before and
            # after it.
            self._look()
            arguments = json.dumps(arguments)
            self._look()
            return str(arguments)
        if arguments is None or arguments == []:
            return ""
        raise ToolCallError("the arguments of a tool call are not a string")

    def _continued(
        self, index: Optional[int], new_id: str, name: str, position: Optional[int]
    ) -> Optional[_PendingCall]:
        """Return the call that a piece may continue."""
        if index is not None:
            return self._by_index.get(index)
        if new_id:
            is_late = self._last is not None and not self._last.id
            return self._by_id.get(new_id) or (self._last if is_late else None)
        if position is not None and position < len(self._calls):
            return self._calls[position]
        return self._last

    def _is_another(
        self, held: _PendingCall, index: Optional[int], new_id: str, name: str, text: str
    ) -> bool:
        """Return whether a piece begins another call than the one that it may continue."""
        if not name:
            return False
        if new_id and held.id and new_id != held.id:
            return True
        if new_id and held.id:
            # If the same call arrives again, the model may want one call or two. The arguments of
            # both are joined. The result is not valid JSON, so `complete_calls` raises an error.
            is_new = bool(text.strip()) and self._is_whole(held)
            return is_new and (name, text) != (held.name, "".join(held.arguments))
        if held.record == self._record and held.name:
            return True
        is_other = bool(held.name) and name != held.name
        if self._is_whole(held):
            return is_other or bool(held.name and text.strip())
        # A name arrives in pieces only before the arguments, and only with an index or an id.
        return is_other and (held.begun or (index is None and not held.id))

    def _is_whole(self, held: _PendingCall) -> bool:
        """Return whether the arguments that have arrived are a complete object."""
        if held.is_whole is None:
            text = "".join(held.arguments) if held.begun else ""
            self._tried += len(text)
            held.is_whole = (
                bool(text)
                and self._tried <= _MAX_PARSED
                and (read_arguments(text, self._max_depth, self._look) is not None)
            )
        return held.is_whole

    def _begin(self, index: Optional[int]) -> _PendingCall:
        self._tally.add()
        if index is None:
            index = 1 + max((held.index for held in self._calls), default=-1)
        held = self._by_index[index] = _PendingCall(index)
        self._calls.append(held)
        return held

    def _extend(self, held: _PendingCall, new_id: str, name: str, text: str) -> None:
        self._last, held.record = held, self._record
        if new_id and not held.id:
            held.id = new_id
            self._by_id[new_id] = held
        if name and not held.begun and not name.startswith(held.name):
            held.name += name  # one more piece of the name
            if len(held.name) > _LONGEST_NAME:
                raise ToolCallError("the name of a tool call in the response is too long")
        elif name and not (held.begun and held.name):
            held.name = name  # the first name, the same again, or the name up to this point
        if text:
            held.arguments.append(text)
            held.begun = held.begun or bool(text.strip())
            held.is_whole = None

    def complete_calls(
        self, finish_reason: object, *, has_text: bool = False
    ) -> Tuple[ToolCall, ...]:
        """Return the calls of a complete response.

        Args:
            finish_reason: The finish reason of the response.
            has_text: Whether the response has text.

        Raises:
            ToolCallError: A call has no name, or its arguments are not a JSON object; or the finish
                reason announces a call, but the response has neither a call nor text.
            AnswerTooLargeError: The arguments of all calls together have too many values.
        """
        if self.is_empty and not has_text and finish_reason in _CALLED:
            raise unread_calls(
                f"the answer has the finish reason {finish_reason!r}, but no tool call and no text"
            )
        calls = sorted(self._join_nameless(), key=lambda held: held.index)
        used: Set[str] = set()
        read = [
            self._complete_call(number, held, finish_reason, used)
            for number, held in enumerate(calls, start=1)
        ]
        unread = next((reason for _, reason in read if reason), None)
        if unread is not None and _is_cut(finish_reason):
            hint = "raise max_tokens" if is_too_long(finish_reason) else None
            raise ToolCallError(unread, hint=hint)
        if unread is not None:
            raise unread_calls(unread, read)
        return tuple(call for call, _ in read)

    def _join_nameless(self) -> List[_PendingCall]:
        """Return the calls, after joining arguments that have another index than their call.

        An entry that has arguments, but no name and no id, is joined to the earlier call that has
        no arguments, if there is exactly one.
        """
        calls: List[_PendingCall] = []
        for held in self._calls:
            lacking = [other for other in calls if other.name and not other.begun]
            if held.begun and not held.name and not held.id and len(lacking) == 1:
                lacking[0].arguments, lacking[0].begun = held.arguments, True
            else:
                calls.append(held)
        return calls

    def _complete_call(
        self, number: int, held: _PendingCall, finish_reason: object, used: Set[str]
    ) -> Tuple[ToolCall, str]:
        """Return a call, and the reason why its arguments cannot be read, or an empty text."""
        if not held.name:
            raise ToolCallError("a tool call in the response has no name")
        text = _written_arguments(held.arguments)
        # An empty string means a call without arguments, unless the response was cut before them.
        text = text or ("" if _is_cut(finish_reason) else "{}")
        arguments = read_arguments(text, self._max_depth, self._look, self._spend)
        call_id = held.id if held.id and held.id not in used else f"call_{number}"
        used.add(call_id)
        read = ToolCall(id=call_id, name=held.name, arguments=arguments or {})
        reason = f"{_describe_call(held.name)} is incomplete: its arguments are not a JSON object"
        return read, reason if arguments is None else ""

    def _spend(self, text: str) -> None:
        """Count the values of a text.

        Raises:
            AnswerTooLargeError: All calls together have too many values.
        """
        self._weight_left -= weigh(text, most=self._weight_left, look=self._look)


def _written_arguments(pieces: List[str]) -> str:
    """Return the arguments in the pieces, without an empty object that was only a placeholder."""
    rest = "".join(pieces[1:]).strip()
    if pieces and pieces[0].strip() == "{}" and rest.startswith("{") and rest != "{}":
        return rest
    return "".join(pieces).strip()


def _is_cut(finish_reason: object) -> bool:
    """Return whether the response may have been cut off in the middle of a tool call."""
    return is_too_long(finish_reason) or finish_reason == "content_filter"


def _function_of(piece: Mapping[str, Any]) -> Any:
    """Return the object with the name and the arguments of a piece.

    Some servers put the name and the arguments next to the id, without the field ``function``.
    """
    is_flat = "function" not in piece and ("name" in piece or arguments_of(piece) is not None)
    return piece if is_flat else piece.get("function") or {}


def _shows_its_call(piece: Mapping[str, Any]) -> bool:
    """Return whether a piece has an index, an id or a name, which shows the call it belongs to."""
    function = _function_of(piece)
    has_name = isinstance(function, dict) and bool(function.get("name"))
    return piece.get("index") is not None or bool(piece.get("id")) or has_name


def _describe_call(name: str) -> str:
    """Return a description of a call; its name is left out if it could be text from the prompt."""
    return f"the call of {name!r}" if re.fullmatch(r"[\w.:/-]{1,64}", name) else "a tool call"
