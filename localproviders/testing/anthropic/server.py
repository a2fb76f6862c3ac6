"""A fake of Anthropic's service."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union
from urllib.parse import parse_qs, unquote

from localproviders.testing.answers import Answer, dumps
from localproviders.testing.anthropic.answers import MessageAnswer, new_id
from localproviders.testing.anthropic.models import (
    Traits,
    dated,
    page_of,
    record_of,
    traits_of,
)
from localproviders.testing.anthropic.requests import (
    VERSIONS,
    RefusedError,
    check_fields,
    check_messages,
    check_model,
    json_object,
    text_of,
    thinking_type,
)
from localproviders.testing.fake import FakeServer, count_tokens
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal

_ALL = ("chat", "tools", "vision", "thinking")
_USUAL_PAGE, _LARGEST_PAGE = 20, 1000


class FakeAnthropic(FakeServer):
    """A fake of Anthropic's Messages API for tests, to be used in a ``with`` block.

    It checks requests as the service does: the headers, each field, each block, the pairs of tool
    calls and results, and the signatures of thinking. As in the service, the accepted fields depend
    on the model. For example, ``claude-sonnet-4-5`` accepts thinking only with a number of tokens,
    and ``claude-opus-4-8`` does not accept a temperature. A model whose name the service does not
    know accepts thinking with and without a number of tokens, and it accepts a temperature. The
    arguments are those of `FakeServer`.

    Attributes:
        redacts: Whether the fake sends thinking as encrypted blocks.
    """

    default_models: Sequence[Union[str, FakeModel]] = (
        FakeModel(name="claude-opus-4-8", abilities=_ALL, context_length=1_000_000),
        FakeModel(name="claude-haiku-4-5", abilities=_ALL, context_length=200_000),
    )
    kinds: Tuple[str, ...] = ("messages", "list")
    work_paths: Tuple[str, ...] = ("/v1/messages",)
    list_paths: Tuple[str, ...] = ("/v1/models",)
    redacts: bool = False

    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request, with the headers of the service."""
        request_id = new_id("req")
        try:
            self._check_headers(exchange)
            answer = self._route(exchange)
        except RefusedError as refused:
            answer = self._json(refused.body(request_id), refused.status)
        answer.headers += [
            ("request-id", request_id),
            ("anthropic-organization-id", "00000000-0000-0000-0000-000000000000"),
        ]
        return answer

    def _check_headers(self, exchange: Exchange) -> None:
        bearer = exchange.headers.get("authorization", "").partition("Bearer ")[2]
        given = exchange.headers.get("x-api-key") or bearer
        if self.api_key is not None and given != self.api_key:
            words = "invalid x-api-key" if given else "x-api-key header is required"
            raise RefusedError(words, "authentication_error", "401 Unauthorized")
        version = exchange.headers.get("anthropic-version")
        if version is None:
            raise RefusedError("anthropic-version: header is required")
        if version not in VERSIONS:
            raise RefusedError(f'anthropic-version: "{version}" is not a valid version.')

    def _route(self, exchange: Exchange) -> Answer:
        path, _, query = exchange.path.partition("?")
        if exchange.method == "GET" and path == "/v1/models":
            return self._list(query)
        if exchange.method == "GET" and path.startswith("/v1/models/"):
            model = self._choose(unquote(path[len("/v1/models/") :]))
            return self._json(record_of(model))
        if exchange.method == "POST" and path == "/v1/messages":
            return self._create(exchange)
        if exchange.method == "POST" and path == "/v1/messages/count_tokens":
            return self._count(exchange)
        raise RefusedError("Not Found", "not_found_error", "404 Not Found")

    def _json(self, value: Any, status: str = "200 OK", kind: str = "other") -> Answer:
        return Answer([dumps(value)], kind=kind, status=status)

    # --- models -------------------------------------------------------------------------------

    def _list(self, query: str) -> Answer:
        asked = parse_qs(query)
        limit = next(iter(asked.get("limit", [])), str(_USUAL_PAGE))
        if not limit.isdigit() or not 1 <= int(limit) <= _LARGEST_PAGE:
            raise RefusedError("limit: Input should be between 1 and 1000")
        after = next(iter(asked.get("after_id", [])), "")
        return self._json(page_of(self.models, int(limit), after), kind="list")

    def _choose(self, name: Any) -> FakeModel:
        """Return the model with this name. The name may also have the date that the service adds.

        Raises:
            RefusedError: There is no such model.
        """
        found = (each for each in self.models if name in (each.name, dated(each.name)))
        model: Optional[FakeModel] = next(found, None)
        if model is None:
            raise RefusedError(f"model: {name}", "not_found_error", "404 Not Found")
        return model

    # --- messages -----------------------------------------------------------------------------

    def _checked(
        self, exchange: Exchange, *, counts: bool = False
    ) -> Tuple[Mapping[str, Any], FakeModel, Traits]:
        body = json_object(exchange.body)
        version = exchange.headers["anthropic-version"]
        check_fields(body, version, counts=counts)
        model = self._choose(body["model"])
        traits = traits_of(model)
        check_model(body, model, traits)
        check_messages(body, model, traits, self._thoughts)
        return body, model, traits

    def _count(self, exchange: Exchange) -> Answer:
        body, _, _ = self._checked(exchange, counts=True)
        return self._json({"input_tokens": count_tokens(text_of(body))})

    def _create(self, exchange: Exchange) -> Answer:
        body, model, traits = self._checked(exchange)
        tokens, window = count_tokens(text_of(body)), model.context_length
        if tokens > window:
            raise RefusedError(f"prompt is too long: {tokens} tokens > {window} maximum")
        self.load(model, exchange)
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        wanted: Any = body.get("thinking") or {}
        display = wanted.get("display")
        made = MessageAnswer(
            reply,
            model.name,
            body,
            tokens,
            thinking=thinking_type(body, traits) in ("enabled", "adaptive"),
            shows=traits.shows if display is None else display == "summarized",
            redacts=self.redacts,
        )
        for call in reply.tool_calls if made.thoughts else ():
            self._thoughts[call.id] = made.thoughts
        return made.stream() if body.get("stream") else self._json(made.whole())

    @property
    def _thoughts(self) -> Dict[str, List[Dict[str, Any]]]:
        """The thinking blocks before each tool call, by the id of the call."""
        found: Dict[str, List[Dict[str, Any]]] = vars(self).setdefault("_thinking", {})
        return found
