"""The road of texts whose vectors come in one body for each batch."""

from __future__ import annotations

from functools import partial
from typing import Optional, Tuple

from localproviders._backend.base import Backend
from localproviders._http.deadline import Call
from localproviders._wire import Vectors
from localproviders.errors import ContextOverflowError, ProviderError, UnsupportedError
from localproviders.provider import Texts, bare
from localproviders.types.answer import EmbeddingResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.request import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    EmbeddingRequest,
    as_embedding_request,
    texts_of,
)


class Vectorizing(Backend):
    """The half of `HTTPProvider` that answers with vectors."""

    def embed(
        self,
        texts: Texts,
        *,
        model: Optional[str] = None,
        dimensions: Optional[int] = None,
        truncate: bool = False,
        keep_alive: Optional[float] = None,
        batch_size: int = BATCH_SIZE,
        batch_characters: int = BATCH_CHARACTERS,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> EmbeddingResponse:
        try:
            request = as_embedding_request(
                texts,
                model=model,
                dimensions=dimensions,
                truncate=truncate,
                keep_alive=keep_alive,
                batch_size=batch_size,
                batch_characters=batch_characters,
            )
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del texts  # a traceback with locals shows no text
        self._check_embedding(request)
        return self._embed_all(request, timeout, cancel)

    def _embed_all(
        self, request: EmbeddingRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> EmbeddingResponse:
        """Send all batches on one call, with its events; an error keeps what was done."""
        from localproviders._backend import embedding

        chosen = self._model(request.model, timeout, cancel)
        call = self._call(timeout, cancel)
        span = self._span("embed", chosen, call, "embedding")
        work = embedding.Embedding(request, partial(self._embed_batch, chosen, call))
        try:
            response = work.run(self.name)
        except ProviderError as error:
            self._transport.locate(work.keep_in(error)).add_context(model=chosen)
            span.failed(error)
            raise error from error.__cause__
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            call.over()
        span.finished(
            prompt_tokens=response.usage.prompt_tokens,
            served_model=response.model,
            attempts=response.attempts,
        )
        return response

    def _embed_batch(self, model: str, call: Call, batch: EmbeddingRequest) -> Tuple[Vectors, int]:
        """Send one batch, where it may go; an error shows nothing of it."""
        try:
            self._before_sending(model, call)
            return self._embed_alive(batch, model, call)
        except ProviderError as error:
            if (
                isinstance(error, ContextOverflowError)
                and "truncate" not in self._embed_unsupported
            ):
                error.hint = "shorten the text, or let the server cut it with truncate=True"
            # Only this batch can be quoted; looking for all texts would take long.
            self._transport.locate(error, texts_of(batch)).add_context(model=model)
            raise

    def _embed_alive(self, batch: EmbeddingRequest, model: str, call: Call) -> Tuple[Vectors, int]:
        """Send one batch; once more if the model had left memory, and could be reloaded."""
        try:
            return self._embed(batch, model, call)
        except ProviderError as error:
            revived = self._revive(error, model, call)
            if revived is None:
                raise
        found, attempts = self._embed(batch, model, call)
        return found._replace(warnings=(*found.warnings, revived)), attempts + 1

    def _check_embedding(self, request: EmbeddingRequest) -> None:
        for name, instead in self._embed_unsupported.items():
            if getattr(request, name) is not None and getattr(request, name) is not False:
                raise UnsupportedError(
                    f"{self.name} cannot take {name}", hint=instead, provider=self.name
                )
