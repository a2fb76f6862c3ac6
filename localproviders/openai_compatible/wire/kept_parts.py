"""The parts of an answer that a service needs back unchanged: its reasoning and its signatures.

They are kept in `Message.provider_data`: OpenRouter's `reasoning_details`, and the signatures that
Gemini adds to tool calls (docs/reference/clouds.md, "Thinking in later turns"). They are valid only
for the model that made them.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._dialect.thinking import DETAILS
from localproviders._dialect.values import mapping, mappings, nonempty_text
from localproviders.openai_compatible.wire.service_rules import ServiceRules
from localproviders.types.messages import Message, ToolCall

#: The value of the field `api` of the kept data.
API = "openai-compatible"
# The field of a tool call with Gemini's signature.
EXTRA = "extra_content"
# Fields of a part that arrive in pieces. All others are sent once.
_PIECES = ("text", "summary", "data")


class KeptParts:
    """The kept parts of one answer, while its records arrive."""

    def __init__(self) -> None:
        self._details: List[Dict[str, Any]] = []
        #: The extras of tool calls, each with the id of its call or None, and with its place.
        self._extras: List[Tuple[Optional[str], int, Any]] = []

    def add(self, source: Mapping[str, Any], calls_before: int) -> None:
        """Add the parts of one delta or message.

        Args:
            source: The delta or message.
            calls_before: Number of the tool calls in earlier records.
        """
        for part in mappings(source.get(DETAILS)):
            self._add_detail(part)
        for place, call in enumerate(mappings(source.get("tool_calls")), calls_before):
            if call.get(EXTRA):
                self._extras.append((nonempty_text(call.get("id")), place, call[EXTRA]))

    def _add_detail(self, part: Mapping[str, Any]) -> None:
        """Add a part, or join it to the last one if it continues that one."""
        last = self._details[-1] if self._details else None
        if last is None or part.get("index") is None or not _continues(last, part):
            self._details.append(dict(part))
            return
        for name, value in part.items():
            is_piece = name in _PIECES and isinstance(value, str)
            if is_piece and isinstance(last.get(name), str):
                last[name] += value
            elif value is not None:
                last[name] = value

    def data(self, model: str, calls: Sequence[ToolCall]) -> Optional[Dict[str, Any]]:
        """Return the data to keep of the complete answer; None if there is nothing to keep.

        Args:
            model: Name of the model.
            calls: The complete tool calls, to which signatures may belong.
        """
        found: Dict[str, Any] = {}
        if self._details:
            found[DETAILS] = self._details
        ids = [call.id for call in calls]
        extras = {
            (given if given in ids else ids[place]): extra
            for given, place, extra in self._extras
            if given in ids or place < len(ids)
        }
        if extras:
            found[EXTRA] = extras
        return {"api": API, "model": model, **found} if found else None


def _continues(last: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return all(last.get(name) == part.get(name) for name in ("index", "type"))


def history_fields(
    message: Message, payload: Mapping[str, Any], rules: ServiceRules, model: str
) -> Dict[str, Any]:
    """Return the fields of an earlier answer with its thinking, in the form of a service.

    Args:
        message: The answer.
        payload: The JSON of the answer so far.
        rules: The rules of the service.
        model: Name of the model to which the answer is sent.
    """
    if rules.history == "content":
        return _content_parts(message)
    data = message.provider_data
    is_same = data.get("api") == API and rules.same_model(str(data.get("model")), model)
    if not is_same:
        return {}
    if rules.history == DETAILS:
        return {DETAILS: list(data[DETAILS])} if data.get(DETAILS) else {}
    extras, calls = mapping(data.get(EXTRA)), payload.get("tool_calls", ())
    if not (extras and calls):
        return {}
    signed = [
        {**call, EXTRA: extras[call["id"]]} if call["id"] in extras else call for call in calls
    ]
    return {"tool_calls": signed}


def _content_parts(message: Message) -> Dict[str, Any]:
    """Return the thinking and the text as parts, as Mistral writes them."""
    if not message.thinking:
        return {}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": message.thinking}]}
    text = [{"type": "text", "text": message.content}] if message.content else []
    return {"content": [thinking, *text]}
