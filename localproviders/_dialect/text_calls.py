"""Tool calls that a server left in the text of an answer, in the formats of several models.

The server did not know the format of the model, or the model did not keep to it (docs/tools.md,
"Calls in the text").
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from localproviders._dialect.common import arguments_of, parse_written_json, read_arguments
from localproviders._dialect.written_json import values_in_words, without_fence
from localproviders._http.framing import MOST_CALLS, Look
from localproviders.errors import AnswerTooLargeError, ProtocolError
from localproviders.types.messages import ToolCall

_MAX_DEPTH = 100

# Marks of a call: Qwen, Hermes, GLM, Granite, LFM2; Llama; Mistral; DeepSeek; gpt-oss; MiniMax.
_MARK = re.compile(
    r"</?(?:tool_call|function_call|invoke)\b|<\|/?tool_calls?|<function=|<\|python_tag\|>"
    r"|\[/?TOOL_(?:CALLS?|REQUEST)\]|<｜tool|to=functions\.|<minimax:tool_call>"
)
# Patterns of calls between two marks. If the second mark is missing, the call extends to the end of
# the text.
_BLOCKS: Tuple[str, ...] = (
    r"<tool_call>(.*?)(?:</tool_call>|\Z)",
    r"<function_call>(.*?)(?:</function_call>|\Z)",
    r"(<function=.*?)(?:</function>|\Z)",
    r"\[TOOL_CALL\](.*?)(?:\[/TOOL_CALL\]|\Z)",
    r"\[TOOL_REQUEST\](.*?)(?:\[END_TOOL_REQUEST\]|\Z)",
    r"<\|python_tag\|>(.*)\Z",
    r"<\|tool_call\|>(.*)\Z",
    r"\[TOOL_CALLS\](.*?)(?=\[TOOL_CALLS\]|\Z)",
    r"(?:<\|start\|>assistant)?(?:<\|channel\|>\w+ ?)?(to=functions\..*?)(?:<\|call\|>|\Z)",
)
_FUNCTION = re.compile(r"<function=([^\s<>]+)>(.*?)(?:</function>)?", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^<>]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
# GLM's format.
_GLM = re.compile(r"([\w.:/-]+)\s*(<arg_key>.*)?", re.DOTALL)
_GLM_ARGUMENT = re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_TAGS = ("parameter", "arg_key", "arg_value")
# The name of the tool and the marks before the arguments, in Mistral's newer format and in the
# format of gpt-oss.
_NAMED = re.compile(
    r"(?:to=)?([\w.-]+) ?(?:<\|channel\|>\w+)? ?(?:<\|constrain\|>)?(?:json)?"
    r"(?:\[ARGS\]|<\|message\|>)?"
)


class TextCalls(NamedTuple):
    """The tool calls in a text, and the text without the calls.

    If the calls could not be read, `calls` is empty, and `rest` is the complete text.
    """

    calls: Tuple[ToolCall, ...]
    rest: str


def find_calls(text: str, is_tool: Callable[[str], bool], look: Look) -> Optional[TextCalls]:
    """Find tool calls in the text of an answer; return None if it has none.

    If one of the calls cannot be read, `calls` of the result is empty. JSON without marks is a call
    only if it has the name of a tool and the arguments, and nothing else except an id or a type.

    Args:
        text: The text of a complete answer.
        is_tool: Returns whether there is a tool with the given name.
        look: Checks the limits of the public call.
    """
    reader = _Reader(is_tool, look)
    if not _MARK.search(text):
        calls = reader.bare(text)
        return TextCalls(tuple(calls), "") if calls else None
    for pattern in _BLOCKS:
        blocks = list(re.finditer(pattern, text, re.DOTALL))
        if not blocks:
            continue
        rest = re.sub(pattern, "", text, flags=re.DOTALL).strip()
        read = [reader.block(block.group(1).strip()) for block in blocks[:MOST_CALLS]]
        if _MARK.search(rest) or not all(read):
            return TextCalls((), text)
        return TextCalls(tuple(call for calls in read for call in calls), rest)
    return TextCalls((), text)


class _Reader:
    """A reader of the calls in one text. It numbers the calls."""

    def __init__(self, is_tool: Callable[[str], bool], look: Look) -> None:
        self._is_tool = is_tool
        self._look = look
        self._number = 0

    def bare(self, text: str) -> List[ToolCall]:
        """Return the calls of a text without marks; an empty list if it has none."""
        content = without_fence(text, may_be_open=True)
        lines = [line for line in content.splitlines() if line.strip()]
        words = list(values_in_words(text, only_object=True))
        for parts in ([content], lines, words):
            if not all(part.lstrip().startswith(("{", "[")) for part in parts):
                continue
            calls = [self._calls_of(self._json(part), is_marked=False) for part in parts]
            if calls and all(calls):
                return [call for each in calls for call in each]
        return []

    def block(self, text: str) -> List[ToolCall]:
        """Return the calls between two marks; an empty list if they cannot be read."""
        value = self._json(without_fence(text, may_be_open=True))
        if value is not None:
            return self._calls_of(value, is_marked=True)
        function = _FUNCTION.fullmatch(text)
        if function:
            return self._of_function(function.group(1), function.group(2).strip())
        words, _, _ = text.partition("{")
        named = _NAMED.fullmatch(words.strip())
        if named and len(words) < len(text):
            return self._with(named.group(1), self._arguments(text[len(words) :]))
        glm = _GLM.fullmatch(text)
        if glm:
            return self._of_pairs(glm.group(1), _GLM_ARGUMENT, glm.group(2) or "")
        return []

    def _of_function(self, name: str, content: str) -> List[ToolCall]:
        if content.startswith("{"):
            return self._with(name, self._arguments(content))
        return self._of_pairs(name, _PARAMETER, content)

    def _of_pairs(self, name: str, pattern: re.Pattern[str], content: str) -> List[ToolCall]:
        """Return a call whose arguments are between tags; an empty list if there is other text."""
        # If many tags have no end, searching for their ends would take quadratic time.
        has_ends = all(content.count(f"<{tag}") <= content.count(f"</{tag}>") for tag in _TAGS)
        is_clean = has_ends and not pattern.sub("", content).strip()
        return self._with(name, dict(pattern.findall(content)) if is_clean else None)

    def _calls_of(self, value: Any, *, is_marked: bool) -> List[ToolCall]:
        """Return the calls in a JSON value; an empty list if a part of it is not a call."""
        values = value if isinstance(value, list) else [value]
        calls = [self._call_of(each, is_marked) for each in values[:MOST_CALLS]]
        return [call for each in calls for call in each] if all(calls) else []

    def _call_of(self, value: Any, is_marked: bool) -> List[ToolCall]:
        if not isinstance(value, dict):
            return []
        function = value.get("function")
        if isinstance(function, dict):
            return self._call_of(function, is_marked)
        names = [key for key in ("name", "function", "tool", "tool_name") if key in value]
        others = [key for key in value if key not in (*names, "type", "id")]
        name = value[names[0]] if len(names) == 1 else None
        # Without marks, an object with a name could be anything.
        is_call = isinstance(name, str) and (
            is_marked or (len(others) == 1 and self._is_tool(name))
        )
        return self._with(str(name), self._arguments(_given(value))) if is_call else []

    def _with(self, name: str, arguments: Optional[Dict[str, Any]]) -> List[ToolCall]:
        if arguments is None:
            return []
        self._number += 1
        return [ToolCall(id=f"call_{self._number}", name=name, arguments=arguments)]

    def _arguments(self, given: Any) -> Optional[Dict[str, Any]]:
        if isinstance(given, str):
            return read_arguments(given, _MAX_DEPTH, self._look)
        return given if isinstance(given, dict) else None

    def _json(self, text: str) -> Any:
        """Return the JSON value of a text; None if the text is not JSON."""
        try:
            return parse_written_json(text, _MAX_DEPTH, self._look)
        except (ProtocolError, AnswerTooLargeError):
            return None


def _given(value: Dict[str, Any]) -> Any:
    """Return the arguments in the JSON of a call; an empty object if it has none."""
    found = arguments_of(value)
    return {} if found is None or found == [] else found
