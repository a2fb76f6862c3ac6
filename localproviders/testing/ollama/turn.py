"""The answer of the fake Ollama to one request, before it takes the form of one of its APIs."""

from __future__ import annotations

import zlib
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from localproviders.testing.answers import dumps
from localproviders.testing.fake import count_call_tokens
from localproviders.testing.next_token import drawn_token, free_distribution, token_entry
from localproviders.testing.values import Reply, words_of
from localproviders.types.messages import ToolCall

_MOST_REPETITIONS = 31
_LOGPROB = -0.125


class Part(NamedTuple):
    """One part of a response: a piece of the text or of the reasoning, or all tool calls."""

    text: str = ""
    thinking: str = ""
    calls: Any = ()
    logprobs: Any = ()


class Turn:
    """A scripted reply, shortened as the server would shorten it.

    Args:
        reply: The scripted reply.
        body: The request.
        budget: The number of tokens after which the answer is cut; None if there is no limit.
        repeat_guard: Whether the answer ends after 31 equal words in a row.
    """

    def __init__(
        self, reply: Reply, body: Mapping[str, Any], budget: Optional[int], repeat_guard: bool
    ) -> None:
        self.reply = reply
        self._body = body
        self.thoughts: List[str] = [] if body.get("think") is False else words_of(reply.thinking)
        self.pieces: List[str] = words_of(reply.text)
        if reply.first_token:
            self.pieces[:1] = [drawn_token(reply, "", {})]
        self.calls: List[ToolCall] = list(reply.tool_calls)
        #: The finish reason; None if the reply has none.
        self.finish = reply.finish_reason
        if budget is not None and self.tokens > budget:
            self._cut(budget)
        #: Whether the repeat guard has ended the answer, so that its last record is missing.
        self.is_ended: bool = repeat_guard and _end_at_repetition(self.pieces)
        if self.is_ended:
            self.calls = []
        #: The number of tokens of the prompt, and the seconds of the load. The caller sets both.
        self.prompt_tokens = 0
        self.load_s: float = 0.0

    def _cut(self, budget: int) -> None:
        # If the answer is cut, no tool call is sent (docs/reference/ollama.md, "Tools").
        self.thoughts = self.thoughts[:budget]
        self.pieces = self.pieces[: budget - len(self.thoughts)]
        self.calls, self.finish = [], "length"

    @property
    def tokens(self) -> int:
        """The number of tokens of the answer."""
        return len(self.thoughts) + len(self.pieces) + count_call_tokens(self.calls)

    @property
    def silence_s(self) -> float:
        """Seconds of silence before a response that is not a stream."""
        return self.reply.pause_s * max(1, self.tokens)

    def parts(self) -> List[Part]:
        """Return the parts of the response, in the order in which a stream sends them."""
        found = [Part(thinking=piece, logprobs=self._logprobs([piece])) for piece in self.thoughts]
        found += [
            Part(text=piece, logprobs=self._logprobs([piece], is_first=at == 0))
            for at, piece in enumerate(self.pieces)
        ]
        if self.calls:
            words = [word for call in self.calls for word in _words_of_call(call)]
            found.append(Part(calls=tuple(self.calls), logprobs=self._logprobs(words)))
        return found

    def whole(self) -> Part:
        """Return all parts joined to one part, for a response that is not a stream."""
        logprobs = [entry for part in self.parts() for entry in part.logprobs]
        text, thinking = "".join(self.pieces), "".join(self.thoughts)
        return Part(text, thinking, tuple(self.calls), logprobs)

    def _logprobs(self, tokens: List[str], is_first: bool = False) -> List[Dict[str, Any]]:
        """Return the log-probabilities of tokens, if the request asks for them.

        Source: docs/reference/ollama.md, "Log probabilities".
        """
        if not self._body.get("logprobs"):
            return []
        number = self._body.get("top_logprobs", 0)
        if is_first and self.reply.first_token:
            return [_scripted_entry(self.reply, tokens[0], number)]
        return [_entry(token, number) for token in tokens]

    def metrics(self) -> Dict[str, int]:
        """Return the token counts and the durations for the last record."""
        return metrics(self.prompt_tokens, self.tokens, self.load_s)


def _entry(token: str, alternatives: int) -> Dict[str, Any]:
    names = [token, *(f" other{number}" for number in range(1, alternatives))]
    entries = [
        {"token": name, "logprob": _LOGPROB - at, "bytes": list(name.encode("utf-8", "replace"))}
        for at, name in enumerate(names)
    ]
    return {**entries[0], **({"top_logprobs": entries} if alternatives else {})}


def _scripted_entry(reply: Reply, token: str, alternatives: int) -> Dict[str, Any]:
    """Return the entry of the first token of the text, whose probabilities are scripted."""
    found = token_entry(token, free_distribution(reply, token), {}, alternatives)
    rows = found.pop("top_logprobs")
    for row in (found, *rows):
        del row["id"]  # Ollama does not report the ids of tokens
    return {**found, **({"top_logprobs": rows} if alternatives else {})}


def _words_of_call(call: ToolCall) -> List[str]:
    return words_of(f"{call.name} {dumps(dict(call.arguments))}")


def metrics(prompt_tokens: int, answer_tokens: int, load_s: float) -> Dict[str, int]:
    """Return the token counts and the durations of a response. Those that are 0 are left out.

    Source: docs/reference/ollama.md, "Chat".
    """
    numbers = {
        "total_duration": int(load_s * 1e9) + 155544425,
        "load_duration": int(load_s * 1e9) + 1121774,
        "prompt_eval_count": prompt_tokens,
        "prompt_eval_duration": 42642000 if answer_tokens else 0,
        "eval_count": answer_tokens,
        "eval_duration": 108380000 if answer_tokens else 0,
    }
    return {name: number for name, number in numbers.items() if number}


def token_ids(text: str) -> List[int]:
    """Return an id for each word of a text; equal words have equal ids."""
    return [zlib.crc32(word.encode("utf-8", "replace")) % 32000 for word in text.split()]


def _end_at_repetition(pieces: List[str]) -> bool:
    """Remove the pieces after 31 equal ones in a row; return whether any piece was removed.

    Source: docs/reference/ollama.md, "Streaming".
    """
    found, times = "", 0
    for at, piece in enumerate(map(str.strip, pieces)):
        found, times = (piece, times + 1) if piece == found else (piece, 1)
        if times > _MOST_REPETITIONS:
            del pieces[at:]
            return True
    return False
