"""A server of a model with a known distribution of the next token, in several dialects.

It reads logits as llama.cpp, Ollama and OpenAI's API do: alternatives are those of the free
distribution, except with llama.cpp's `post_sampling_probs`.
"""

from __future__ import annotations

import json
import math
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.locality import GOOD

#: Probabilities of the next token.
Distribution = Mapping[str, float]


class NextTokens:
    """The script of a `ScriptedServer`.

    Args:
        kind: ``llamacpp``, ``openai``, ``vllm`` or ``ollama``.
        distribution: Probabilities of the next token.
        refuses: Fields of a request that the server refuses with status 400.

    Attributes:
        distribution: The same. It may be changed.
        refuses_begun: Whether the server refuses a last message of the assistant.
        is_silent: Whether the server ignores `logprobs`.
        merges_lines: Whether a line break and a letter are one token.
        thinks: Whether the first token belongs to the thinking.
        quotes: Whether the server refuses each request in a text that quotes it.
        status: The status of these refusals.
        most: Most alternatives for a token, except for llama.cpp.
        wait_s: Seconds before the response to a chat.
        on_chat: Called before the response to a chat, or None.
    """

    def __init__(self, kind: str, distribution: Distribution, *refuses: str) -> None:
        self.kind = kind
        self.distribution = dict(distribution)
        self.refuses = refuses
        self.is_silent = False
        self.refuses_begun = self.thinks = self.quotes = self.merges_lines = False
        self.status = "400 Bad Request"
        self.wait_s, self.most = 0, 20
        self.on_chat: Optional[Callable[[], object]] = None
        # Tokens of the vocabulary with their numbers; letters and digits come first.
        self._ids: Dict[str, int] = {}

    def serve(self) -> ScriptedServer:
        """Return the server, for a ``with`` block."""
        return ScriptedServer(self)

    def __call__(self, exchange: Exchange) -> List[Any]:
        """Return the steps of the response to a request."""
        if exchange.path == "/tokenize":
            return [self._tokenized(exchange.json)]
        if exchange.path in ("/api/chat", "/v1/chat/completions"):
            return [*self._before(), self._answered(exchange)]
        is_missing = exchange.path in ("/v1/systemone", "/v1/decisions")
        return [_MISSING if is_missing else GOOD.get(exchange.path, _MISSING)]

    def _before(self) -> List[Any]:
        if self.on_chat is not None:
            self.on_chat()
        return [lambda exchange: exchange.hold(self.wait_s)] if self.wait_s else []

    def _answered(self, exchange: Exchange) -> bytes:
        if self.quotes:
            return _refusal(f"logprobs is not supported in {exchange.body.decode()}", self.status)
        for name in self.refuses:
            if name in exchange.json:
                return _refusal(f"Unrecognized request argument supplied: {name}")
        answer = self._ollama if exchange.path == "/api/chat" else self._chat
        return answer(exchange.json)

    def id_of(self, token: str) -> int:
        """Return the number of a token."""
        return self._ids.setdefault(token, 1000 + len(self._ids))

    def _tokenized(self, body: Mapping[str, Any]) -> bytes:
        if self.kind == "vllm":
            words = "[{'type': 'missing', 'loc': ('body', 'prompt'), 'msg': 'Field required'}]"
            return http_answer({"error": {"message": words, "code": 400}}, status="400 Bad Request")
        if self.kind != "llamacpp":
            return http_answer({"error": {"message": "not found"}}, status="404 Not Found")
        pieces: List[str] = []
        for line in body["content"].split("\n")[1:]:
            pieces += [f"\n{line}"] if self.merges_lines else ["\n", line]
        return http_answer({"tokens": [{"id": self.id_of(p), "piece": p} for p in pieces]})

    # --- OpenAI's dialect -----------------------------------------------------------------

    def _chat(self, body: Mapping[str, Any]) -> bytes:
        if self.kind != "llamacpp" and (body.get("top_logprobs") or 0) > self.most:
            return _refusal(f"Invalid value for top_logprobs: must be between 0 and {self.most}.")
        if self.refuses_begun and body["messages"][-1]["role"] == "assistant":
            return _refusal("Assistant response prefill is incompatible with enable_thinking.")
        shown = self._entries(body)
        choice: Dict[str, Any] = {"index": 0, "delta": {"content": shown[0]["token"]}}
        if body.get("logprobs") and not self.is_silent:
            choice["logprobs"] = {"content": [{**shown[0], self._list_name(body): shown}]}
        records = [
            {"model": body["model"], "choices": [{**choice, "finish_reason": None}]},
            {"model": body["model"], "choices": [{"delta": {}, "finish_reason": "length"}]},
            {"model": body["model"], "choices": [], "usage": _USAGE},
        ]
        events = "".join(f"data: {json.dumps(record)}\n\n" for record in records)
        return http_answer(
            f"{events}data: [DONE]\n\n", content_type="text/event-stream", chunked=True
        )

    @staticmethod
    def _list_name(body: Mapping[str, Any]) -> str:
        return "top_probs" if body.get("post_sampling_probs") else "top_logprobs"

    def _entries(self, body: Mapping[str, Any]) -> List[Dict[str, Any]]:
        """Return the alternatives that a request asks for, the likeliest first."""
        found: Dict[str, float] = dict(self.distribution)
        is_sampled = self.kind == "llamacpp" and body.get("post_sampling_probs")
        if is_sampled:
            assert body["samplers"] == ["temperature"] and body["temperature"] == 1.0
            wanted = {int(token) for token in body["logit_bias"]}
            found = {t: p for t, p in self._all().items() if self.id_of(t) in wanted}
            total = sum(found.values())
            found = {t: p / total for t, p in found.items()}
        ranked: List[Tuple[str, float]] = sorted(found.items(), key=lambda e: -e[1])
        number = "prob" if is_sampled else "logprob"
        return [
            {"token": t, "bytes": [*t.encode()], number: p if is_sampled else math.log(p)}
            for t, p in ranked[: max(1, body.get("top_logprobs") or 1)]
        ]

    def _all(self) -> Dict[str, float]:
        """Return the distribution with all other tokens that were asked for, each unlikely."""
        return {**dict.fromkeys(self._ids, 1e-9), **self.distribution}

    # --- Ollama ---------------------------------------------------------------------------

    def _ollama(self, body: Mapping[str, Any]) -> bytes:
        assert 0 <= body["top_logprobs"] <= 20 and body["logprobs"] is True
        shown = self._entries(body)
        record = {
            "model": body["model"],
            "message": {
                "role": "assistant",
                "thinking" if self.thinks else "content": shown[0]["token"],
            },
            "done": True,
            "done_reason": "length",
            "logprobs": [{**shown[0], "top_logprobs": shown}],
            "prompt_eval_count": 50,
            "eval_count": 1,
        }
        return http_answer(
            f"{json.dumps(record)}\n", content_type="application/x-ndjson", chunked=True
        )


_MISSING = http_answer(
    {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}},
    status="404 Not Found",
)
_USAGE = {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51}


def _refusal(message: str, status: str = "400 Bad Request") -> bytes:
    return http_answer(
        {"error": {"message": message, "type": "invalid_request_error"}}, status=status
    )
