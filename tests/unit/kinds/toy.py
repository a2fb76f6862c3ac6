"""A provider kind that this package does not include, for a server with a small HTTP dialect.

``GET /toy`` identifies the server, ``GET /toy/models`` lists its models, ``POST /toy/say`` streams
words, and ``POST /toy/vectors`` returns vectors.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

from localproviders import (
    CompletionChunk,
    CompletionRequest,
    EmbeddingRequest,
    ModelInfo,
    ProviderError,
    ToolCall,
)
from localproviders._address import parse_endpoint
from localproviders._dialect.common import Vectors
from localproviders._dialect.error_answers import explain
from localproviders._http_provider import HTTPProvider
from localproviders._http_provider.provider import EmbeddingExchange
from localproviders.kinds import KindKey, Look, ProviderKind
from localproviders.settings import Settings, make_settings
from localproviders.testing import Exchange, FakeServer, Refusal
from localproviders.testing.answers import Answer, as_line
from localproviders.testing.values import words_of
from localproviders.types import ServerTimings, Usage

KIND = ProviderKind(
    name="toy",
    title="Toy",
    provider="tests.unit.kinds.toy:ToyProvider",
    aliases=("toy-server",),
    default_address="http://127.0.0.1:4711",
    ports=((4711, "Toy"),),
    fingerprint="tests.unit.kinds.toy:recognise",
    fake="tests.unit.kinds.toy:FakeToy",
    keys=(KindKey("color", "text", "The color of the answers", 'color = "red"'),),
    start_hint="wind it up",
    start_command="toy --serve",
)


def recognise(look: Look) -> Optional[object]:
    """Return the result of a probe, or None if the server is not a toy server."""
    if look.ask("/toy").json.get("toy") is not True:
        return None
    return look.listed(lambda provider, **limits: {"version": provider.version(**limits)})


class Parser:
    """Parser for lines such as ``{"word": "Hello"}``, with ``{"end": "stop"}`` as the last one."""

    held = ""
    is_single_record = False

    def __init__(self) -> None:
        self.ended = False

    def quick(self, record: str) -> Optional[CompletionChunk]:
        return None

    def parse(self, record: str) -> Optional[CompletionChunk]:
        said = json.loads(record)
        calls = tuple(
            ToolCall(id=str(number), name=call["tool"], arguments=call["with"])
            for number, call in enumerate(said.get("calls", ()))
        )
        self.ended = "end" in said
        usage = Usage(prompt_tokens=1, completion_tokens=1) if self.ended else None
        return CompletionChunk(
            text=said.get("word", ""), tool_calls=calls, finish_reason=said.get("end"), usage=usage
        )


class ToyProvider(HTTPProvider):
    """A provider as another package would define it."""

    _accept = "application/x-ndjson"

    def __init__(
        self,
        host: str = "http://127.0.0.1:4711",
        *,
        name: str = "toy",
        settings: Optional[Settings] = None,
        color: str = "grey",
        **options: Any,
    ) -> None:
        self.color = color
        if settings is None:
            place = parse_endpoint(host, default_port=4711)
            settings = make_settings(endpoint=place, endpoint_origin="host", name=name, **options)
        super().__init__(settings)

    def version(self, **limits: Any) -> str:
        found: str = self._runner.ask("GET", "/toy", lambda data, _: data["version"], **limits)
        return found

    def list_models(self, **limits: Any) -> List[ModelInfo]:
        return self._runner.ask(
            "GET",
            "/toy/models",
            lambda data, _: [ModelInfo(name=name, provider=self.name) for name in data["names"]],
            **limits,
        )

    def model_info(self, model: str, **limits: Any) -> ModelInfo:
        return next(info for info in self.list_models(**limits) if info.name == model)

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        return explain(status, text, headers, ())

    def _wire_request(
        self, request: CompletionRequest, model: str, call: Any
    ) -> Tuple[str, Dict[str, Any], Any]:
        said = [message.content or "" for message in request.messages]
        return "/toy/say", {"model": model, "said": said}, Parser()

    def _embed_exchange(self, batch: EmbeddingRequest, model: str, call: Any) -> EmbeddingExchange:
        def read(data: Any) -> Vectors:
            return Vectors(data["rows"], model, Usage(), ServerTimings())

        return "/toy/vectors", {"model": model, "texts": list(batch.texts)}, read

    def _check_served(self, *_: Any) -> Optional[str]:
        return None


class FakeToy(FakeServer):
    """A fake of the program ``toy --serve``."""

    default_models = ("bricks",)
    kinds = ("lines", "vectors", "list")
    work_paths = ("/toy/say", "/toy/vectors")
    list_paths = ("/toy/models",)

    def answer(self, exchange: Exchange) -> Answer:
        known: Dict[str, Any] = {
            "/toy": lambda _: self._json({"toy": True, "version": "1.0"}),
            "/toy/models": lambda _: self._json({"names": [m.name for m in self.models]}, "list"),
            "/toy/say": self._say,
            "/toy/vectors": self._vectors,
        }
        route = known.get(exchange.path)
        if route is not None:
            found: Answer = route(exchange)
            return found
        return Answer(["no such toy"], status="404 Not Found", content_type="text/plain")

    def _json(self, value: Any, kind: str = "other") -> Answer:
        return Answer([json.dumps(value)], kind=kind)

    def _say(self, exchange: Exchange) -> Answer:
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        calls = [{"tool": call.name, "with": dict(call.arguments)} for call in reply.tool_calls]
        records = [{"word": word} for word in words_of(reply.text)]
        last: List[Dict[str, Any]] = [{"calls": calls, "end": reply.finish_reason}]
        return Answer(
            [json.dumps(record) for record in [*records, *last]],
            kind="lines",
            frame=as_line,
            content_type="application/x-ndjson",
        )

    def _vectors(self, exchange: Exchange) -> Answer:
        rows = [self.vector_of(text, 4) for text in exchange.json["texts"]]
        return self._json({"rows": rows}, "vectors")
