"""Whole tool calls out of their pieces. Pure."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Tuple

from localproviders._http.framing import parse_json
from localproviders._values import whole
from localproviders.errors import ProviderError, ToolCallError
from localproviders.types.message import ToolCall


class ToolCallAssembler:
    """Joins the pieces of one answer's calls, by their index (lmstudio-api §3.3).

    The first id and name that say something hold; arguments are joined in the order they
    come. A new id with a name begins another call, even under an index that was used. A
    call is whole only when the answer is.

    Args:
        max_json_depth: Deepest nesting of a call's arguments.
    """

    def __init__(self, max_json_depth: int = 100) -> None:
        self._max_depth = max_json_depth
        self._latest: Dict[int, int] = {}
        self._ids: Dict[Any, str] = {}
        self._names: Dict[Any, str] = {}
        self._arguments: Dict[Any, List[str]] = {}

    def add(self, pieces: Any) -> None:
        """Take the pieces of one record.

        Raises:
            ToolCallError: They are no list of objects.
        """
        if not pieces:
            return
        if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
            raise ToolCallError("the tool calls of the answer are no list of objects")
        for position, piece in enumerate(pieces):
            self._add_one(piece.get("index", position), piece)

    def _add_one(self, index: Any, piece: Mapping[str, Any]) -> None:
        function = piece.get("function") or {}
        if not isinstance(function, dict) or whole(index) is None:
            raise ToolCallError("a tool call of the answer is no object with an index")
        key = self._key(index, piece.get("id"), function.get("name"))
        held = self._arguments.setdefault(key, [])
        for store, value in ((self._ids, piece.get("id")), (self._names, function.get("name"))):
            if value and isinstance(value, str):
                store.setdefault(key, value)
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments)
        if arguments is not None:
            if not isinstance(arguments, str):
                raise ToolCallError("the arguments of a tool call are no text")
            held.append(arguments)

    def _key(self, index: int, new_id: Any, name: Any) -> Tuple[int, int]:
        """Give the call that a piece belongs to: the latest one under its index."""
        key = (index, self._latest.get(index, 0))
        if name and new_id and self._ids.get(key, new_id) != new_id:
            self._latest[index] = key[1] + 1
            return (index, key[1] + 1)
        return key

    def whole(self, finish_reason: object) -> Tuple[ToolCall, ...]:
        """Give the calls, now that the answer is whole.

        Raises:
            ToolCallError: A call has no name, or its arguments are no JSON object.
        """
        return tuple(
            self._whole(number, key, finish_reason)
            for number, key in enumerate(sorted(self._arguments), start=1)
        )

    def _whole(self, number: int, key: Tuple[int, int], finish_reason: object) -> ToolCall:
        name = self._names.get(key)
        if not name:
            raise ToolCallError("a tool call of the answer has no name")
        text = "".join(self._arguments[key]).strip()
        # No text at all is a call without arguments, unless the answer was cut before them.
        text = text or ("" if finish_reason == "length" else "{}")
        try:
            arguments = parse_json(text, self._max_depth)
        except ProviderError:
            arguments = None
        if not isinstance(arguments, dict):
            raise ToolCallError(
                f"the call of {name!r} is incomplete: its arguments are no JSON object",
                hint="raise max_tokens" if finish_reason == "length" else None,
            )
        return ToolCall(id=self._ids.get(key) or f"call_{number}", name=name, arguments=arguments)
