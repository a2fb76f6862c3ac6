"""Fake services: OpenAI and OpenRouter, as far as they differ from a local server."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Type

from localproviders.testing import FakeModel, FakeOpenAICompatible
from localproviders.testing.answers import Answer, as_event
from localproviders.testing.openai_answers import TextAnswer
from localproviders.testing.openai_requests import RefusedError
from localproviders.testing.scripted import Exchange

#: The fields of a chat that OpenAI knows (docs/reference/clouds.md, "Fields").
_FIELDS = {
    *("model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format"),
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "n"),
    *("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "reasoning_effort"),
    *("service_tier", "metadata", "parallel_tool_calls"),
}
_OF_A_MESSAGE = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal"}
_REASONING = ("gpt-5", "gpt-6", "o3", "o4")


def refusal(message: str, code: Any, param: Any = None, status: str = "400 X") -> RefusedError:
    """Return a refusal in OpenAI's form."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return RefusedError({"error": error}, status)


class _OpenAIAnswer(TextAnswer):
    """An answer without the text of its thinking, and with a dated name."""

    def usage(self) -> Dict[str, Any]:
        found = super().usage()
        details = {"reasoning_tokens": len(self._hidden)}
        return {**found, "completion_tokens_details": details}

    def extra_fields(self) -> Dict[str, Any]:
        return {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._hidden: List[str] = self.thoughts
        self.thoughts = []
        self.model = f"{self.model}-2026-10-01"


class FakeOpenAI(FakeOpenAICompatible):
    """A fake of OpenAI's service: it refuses unknown names, and what a reasoning model lacks."""

    default_models = ("gpt-6-sol", "gpt-4.1", "text-embedding-3-small")

    def check_chat(self, body: Mapping[str, Any]) -> None:
        """Check a chat as the service does."""
        super().check_chat(body)
        for name in body:
            if name not in _FIELDS:
                raise refusal(f"Unrecognized request argument supplied: {name}", None)
        for place, message in enumerate(body["messages"]):
            for name in message:
                if name not in _OF_A_MESSAGE:
                    path = f"messages[{place}].{name}"
                    raise refusal(f"Unknown parameter: '{path}'.", "unknown_parameter", path)
        self._check_reasoning(body)
        self._check_schema(body)

    def _check_reasoning(self, body: Mapping[str, Any]) -> None:
        is_reasoning = str(body["model"]).startswith(_REASONING)
        if is_reasoning and "max_tokens" in body:
            raise refusal(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
                *("unsupported_parameter", "max_tokens"),
            )
        if is_reasoning and body.get("temperature", 1) != 1:
            raise refusal(
                "Unsupported value: 'temperature' does not support 0.2 with this model. Only the "
                "default (1) value is supported.",
                *("unsupported_value", "temperature"),
            )
        if not is_reasoning and "reasoning_effort" in body:
            raise refusal("Unrecognized request argument supplied: reasoning_effort", None)

    def _check_schema(self, body: Mapping[str, Any]) -> None:
        wanted = (body.get("response_format") or {}).get("json_schema") or {}
        schema = wanted.get("schema", {})
        if wanted.get("strict") and schema.get("additionalProperties") is not False:
            raise refusal(
                "Invalid schema for response_format 'answer': 'additionalProperties' is required "
                "to be supplied and to be false.",
                *(None, "response_format"),
            )

    def choose(self, name: Any, ability: str) -> FakeModel:
        """Return the model of this name, and no other."""
        found = next((model for model in self.models if model.name == name), None)
        if found is None:
            raise refusal(
                f"The model `{name}` does not exist or you do not have access to it.",
                *("model_not_found", None, "404 Not Found"),
            )
        return found

    def answer_class(self, exchange: Exchange) -> Type[TextAnswer]:
        """Return the class of the answers."""
        return _OpenAIAnswer


class _OpenRouterAnswer(TextAnswer):
    """An answer with reasoning details, the provider and the price."""

    def usage(self) -> Dict[str, Any]:
        details = {"reasoning_tokens": len(self.thoughts)}
        price = {"cost": 0.00025, "is_byok": False, "cost_details": {}}
        return {**super().usage(), **price, "completion_tokens_details": details}

    def extra_fields(self) -> Dict[str, Any]:
        return {"provider": "Fake"}

    def records(self) -> List[Dict[str, Any]]:
        records = super().records()
        for record in records:
            for choice in record.get("choices", ()):
                delta = choice.get("delta", {})
                text = delta.pop("reasoning_content", None)
                if text is not None:
                    part = {"type": "reasoning.text", "text": text, "index": 0, "format": "fake-v1"}
                    delta.update(reasoning=text, reasoning_details=[part])
        if self.thoughts:
            signed = {"type": "reasoning.text", "signature": "c2ln", "index": 0}
            records.insert(1 + len(self.thoughts), self.delta({"reasoning_details": [signed]}))
        return records

    @property
    def wants_usage(self) -> bool:
        return True


class FakeOpenRouter(FakeOpenAICompatible):
    """A fake of OpenRouter: prices, reasoning details, comments in the stream."""

    default_models = ("anthropic/claude-sonnet-4.5", "openai/gpt-6-sol", "some/embed")

    def check_chat(self, body: Mapping[str, Any]) -> None:
        """Check a chat as the service does."""
        super().check_chat(body)
        if "/" not in str(body["model"]):
            words = f"{body['model']} is not a valid model ID"
            raise RefusedError({"error": {"message": words, "code": 400}}, "400 X")

    def answer_class(self, exchange: Exchange) -> Type[TextAnswer]:
        """Return the class of the answers."""
        return _OpenRouterAnswer

    def answer(self, exchange: Exchange) -> Answer:
        """Return the answer; a stream has comments before its first record."""
        found = super().answer(exchange)
        if found.kind == "events" and found.frame is as_event:
            found.frame = _with_comment
        return found


def _with_comment(record: str) -> bytes:
    return b": OPENROUTER PROCESSING\n\n" + as_event(record)


def bodies(fake: FakeOpenAICompatible, path: str = "/v1/chat/completions") -> List[Any]:
    """Return the bodies of the requests to a path."""
    return [each.json for each in fake.exchanges if each.path == path]
