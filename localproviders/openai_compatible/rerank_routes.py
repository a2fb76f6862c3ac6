"""The routes that rank documents. A server of the dialect has one, which is searched for."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

from localproviders._dialect.error_rules import Rule
from localproviders._http.deadline import Call
from localproviders._http.retry import Attempts
from localproviders._http.transport import Transport, encode
from localproviders._rerank_verb import RerankRequest
from localproviders.errors import ProviderError
from localproviders.openai_compatible.wire.rerank import (
    DOCUMENTS,
    TEXTS,
    is_missing,
    needs_other_field,
    parse_scores,
    refusal_of,
    rerank_payload,
)
from localproviders.secret import without_frames
from localproviders.settings import Settings
from localproviders.types.rankings import Ranking

# Path of the route that is not below the path of the dialect.
_ROUTE = "/rerank"


class _Question(NamedTuple):
    """The arguments of one call of `RerankRoutes.rank`, with its attempts."""

    request: RerankRequest
    model: str
    call: Call
    rules: Sequence[Rule]
    attempts: Attempts


class RerankRoutes:
    """Client of the routes that rank documents.

    Most servers have the route below the address of the dialect. TEI and Infinity have it at the
    same address without ``/v1``. In TEI, the field with the documents has another name. The first
    call finds out which route and which field the server has, and later calls begin with them.

    Args:
        settings: The provider's settings.
        transport: The provider's transport.
        root: Transport to the address without ``/v1``, or None.
    """

    def __init__(self, settings: Settings, transport: Transport, root: Optional[Transport]) -> None:
        self._settings = settings
        self._root = root
        # These tuples are replaced and never changed, because several threads may use them.
        self._servers: Tuple[Transport, ...] = (transport,) if root is None else (transport, root)
        self._fields: Tuple[str, ...] = (DOCUMENTS, TEXTS)

    def rank(
        self, request: RerankRequest, model: str, call: Call, path: str, rules: Sequence[Rule]
    ) -> Ranking:
        """Send a request, and return the sorted documents.

        Args:
            request: The request.
            model: Name of the model.
            call: The call.
            path: Path of the route below the provider's address.
            rules: Rules that translate the server's error texts.

        Raises:
            UnsupportedError: The server has no such route.
            CapabilityError: The model of the server cannot rank.
            ProviderError: The server cannot be reached, or refused the request; or its response is
                not a ranking; or a limit expired, or the call was cancelled.
        """
        attempts = Attempts(self._settings.retry, call)
        question = _Question(request, model, call, rules, attempts)
        failed: Optional[ProviderError] = None
        paths: List[str] = []
        for server in self._servers:
            route = _ROUTE if server is self._root else path
            paths.append(f"{server.path}{route}")
            for field in self._fields:
                if failed is not None:
                    attempts.repeat(failed)
                try:
                    ranking = self._send(question, server, route, field)
                except ProviderError as error:
                    failed = without_frames(error)
                    failed.endpoint = self._settings.endpoint.url  # also for the other route
                    if needs_other_field(failed, field):
                        continue
                    if is_missing(failed):
                        break
                    raise refusal_of(failed, paths) from failed.__cause__
                self._remember(server, field)
                return ranking
        assert failed is not None  # noqa: S101  # there is at least one place
        raise refusal_of(failed, paths)

    def _send(self, question: _Question, server: Transport, path: str, field: str) -> Ranking:
        """Send the request once, and return the ranking."""
        request, model, call = question.request, question.model, question.call
        body = encode(rerank_payload(request, model, field))
        answer = server.open("POST", path, call=call, body=body, attempts=question.attempts)
        data = server.parse(answer)
        scores = parse_scores(data, request, question.rules, call.look)
        return Ranking(
            results=scores.results,
            model=scores.model or model,
            provider=self._settings.name,
            endpoint=self._settings.endpoint.url,
            request_id=call.request_id,
            usage=scores.usage,
            attempts=answer.attempts,
            raw=data,
        )

    def _remember(self, server: Transport, field: str) -> None:
        """Let the next call begin with the route that has answered."""
        self._servers = tuple(sorted(self._servers, key=lambda each: each is not server))
        self._fields = tuple(sorted(self._fields, key=lambda name: name != field))
