"""The turns of a conversation, and their lines in a file, as pure functions.

A turn is what one call adds to a conversation: the new messages and the answer. Each turn is one
line. So if the last line is cut off, its turn is lost as a whole, never in part.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders.types.messages import Message, as_messages
from localproviders.types.responses import CompletionResponse

#: The beginning of each line that this package writes. It distinguishes a line that was cut off
#: from a line of another program.
LINE_START = b'{"messages": [{'

# The facts that a line has about the answer, in the order in which they are written.
_FACTS = ("model", "provider", "endpoint", "digest", "finish_reason")


class Turn(NamedTuple):
    """The messages of one turn.

    Attributes:
        messages: The new messages and the answer, without a system message.
        system: The system message of this turn and the next ones; an empty text removes it, and
            None leaves the system message of the earlier turns.
        facts: The facts about the answer, by the names that they have in the line.
    """

    messages: Tuple[Message, ...]
    system: Optional[str] = None
    facts: Mapping[str, Any] = {}


def facts_of(response: Optional[CompletionResponse]) -> Dict[str, Any]:
    """Return the facts that a line gets about the answer. Unknown facts are left out."""
    found = {name: getattr(response, name, None) for name in _FACTS}
    return {name: value for name, value in found.items() if value is not None}


def line_of(turn: Turn) -> bytes:
    """Return a turn as one line of JSON in UTF-8, with its line end."""
    data: Dict[str, Any] = {"messages": [message.to_dict() for message in turn.messages]}
    if turn.system is not None:
        data["system"] = turn.system
    data.update(turn.facts)
    try:
        line = json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can express
        line = json.dumps(data).encode("ascii")
    return line + b"\n"


def read_line(line: bytes) -> Turn:
    """Return the turn of a line.

    A line in OpenAI's format for training data is accepted, too. In that format, the system message
    is the first of the messages.

    Raises:
        ValueError: The line is not a turn. The text of the error says what the line has instead; it
            does not quote the line.
    """
    try:
        data = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError):
        raise ValueError("no valid JSON") from None
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list) or not messages:
        raise ValueError('no object with a list "messages"')
    system = data.get("system")
    if not isinstance(system, (str, type(None))):
        raise ValueError('a "system" that is no text')
    return _turn(messages, system, {name: data[name] for name in _FACTS if name in data})


def _turn(messages: List[Any], system: Optional[str], facts: Mapping[str, Any]) -> Turn:
    try:
        found = as_messages(messages)
    except (ValueError, TypeError, RecursionError):
        raise ValueError("a malformed message") from None
    if found[0].role == "system":
        system, found = found[0].content, found[1:]
    if not found or any(message.role == "system" for message in found):
        raise ValueError("only a system message, or a system message after other messages")
    return Turn(found, system, facts)


def groups_of(messages: Sequence[Message]) -> List[Tuple[Message, ...]]:
    """Split messages before each question, so that a group can be left out as a whole.

    A group is one or several user messages, with all messages before the next user message:
    answers, tool calls and their results.
    """
    groups: List[List[Message]] = []
    before = ""
    for message in messages:
        if not groups or (message.role == "user" and before != "user"):
            groups.append([])
        groups[-1].append(message)
        before = message.role
    return [tuple(group) for group in groups]
