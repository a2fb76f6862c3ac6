"""The routes that rank documents by relevance, which differ between servers of OpenAI's dialect."""

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

# Path of the route on servers that do not have it below ``/v1``, the path of OpenAI's dialect.
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

    Most servers have the route below the provider's address, which ends in ``/v1``. TEI and
    Infinity have the route at this address without ``/v1``. In TEI, the field with the documents
    has another name. The first call finds out which route and which field the server has, and
    later calls begin with them.

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
            UnsupportedError: The server has no route that ranks documents.
            CapabilityError: The model cannot rank documents.
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
                    # Errors of both routes name the address that the caller passed.
                    failed.endpoint = self._settings.endpoint.url
                    if needs_other_field(failed, field):
                        continue
                    if is_missing(failed):
                        break
                    raise refusal_of(failed, paths) from failed.__cause__
                self._remember(server, field)
                return ranking
        assert failed is not None  # noqa: S101  # at least one request was sent
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
        """Let the next call begin with the route and the field that the server has accepted."""
        self._servers = tuple(sorted(self._servers, key=lambda each: each is not server))
        self._fields = tuple(sorted(self._fields, key=lambda name: name != field))
