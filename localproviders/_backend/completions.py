"""The road of a question whose answer comes in pieces."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple

from localproviders._backend.base import Backend
from localproviders._backend.inspector import Inspector
from localproviders._http.deadline import Call
from localproviders._http.framing import NDJSONDecoder, SSEDecoder, WholeDecoder
from localproviders._http.stream import ChunkParser, Decoder, Stream
from localproviders._http.summary import Summary
from localproviders._http.transport import Body, encode
from localproviders.errors import ProviderError, UnsupportedError
from localproviders.telemetry import Span
from localproviders.types.answer import CompletionResponse, Usage
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.request import CompletionRequest
from localproviders.types.tokens import TokenCount

if TYPE_CHECKING:
    from localproviders._http.answer import Answer

_FRAMINGS: Mapping[str, Callable[[int], Decoder]] = {
    "application/json": WholeDecoder,
    "application/x-ndjson": NDJSONDecoder,
    "text/event-stream": SSEDecoder,
    "text/html": WholeDecoder,  # a proxy's page: refused with these words, not as a cut stream
}


class Completions(Backend):
    """The half of `HTTPProvider` that answers with text."""

    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        if not isinstance(request, CompletionRequest):
            raise TypeError("this takes a CompletionRequest; chat and stream take a text")
        model = self._model(request.model, timeout, cancel)
        request, warnings = self._fit(request)
        return self._streamed(
            "stream",
            request,
            model,
            warnings,
            lambda call: self._question(request, model),
            timeout=timeout,
            cancel=cancel,
        )

    def _streamed(
        self,
        operation: str,
        request: CompletionRequest,
        model: str,
        warnings: List[str],
        question: Callable[[Call], Tuple[str, Dict[str, Any], ChunkParser]],
        *,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Stream:
        """Send a question, in whatever words the dialect puts it, and stream its answer."""
        task = "chat" if request.prompt is None else "completion"
        call = self._call(timeout, cancel)
        span = self._span(operation, model, call, task, request)
        try:
            self._before_sending(model, call)
            self._check_abilities(request, model, call)
            path, payload, parser = question(call)
            body = encode(payload)
            del payload  # a traceback with locals shows no prompt
            answer = self._send_to_model(model, path, body, call, warnings)
            decoder = self._decoder(answer.content_type)
            parser.whole = isinstance(decoder, WholeDecoder)
            inspector = Inspector(partial(self._check_answer, request, model, call=call), warnings)
            return Stream(
                answer,
                decoder,
                parser,
                max_bytes=self.settings.max_body_bytes,
                inspect=inspector,
                conclude=lambda summary: self._conclude(
                    summary, request, model, warnings, span, call
                ),
                explain=lambda error: self._failed(error, request, model, span),
                abandon=span.failed,
            )
        except BaseException as error:
            call.over()
            if isinstance(error, ProviderError):
                raise self._failed(error, request, model, span) from error.__cause__
            span.failed(error)
            raise

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        model = self._model(request.model, timeout, cancel)
        exact = self._count_exactly(request, model, timeout, cancel)
        return self._calibration.count(model, request) if exact is None else exact

    def _check_abilities(self, request: CompletionRequest, model: str, call: Call) -> None:
        """Refuse what the model surely lacks, before the prompt is sent."""
        self._abilities.check(
            request,
            model,
            ask=lambda: self._capabilities_of(model, call),
            listed=lambda: self.list_models(timeout=call.limits_left(), cancel=call.token),
        )

    def _send_to_model(
        self, model: str, path: str, body: Body, call: Call, warnings: List[str]
    ) -> Answer:
        """Send a question; once more if the model had left memory, and could be reloaded."""
        try:
            return self._transport.open("POST", path, call=call, body=body, accept=self._accept)
        except ProviderError as error:
            revived = self._revive(error, model, call)
            if revived is None:
                raise
        answer = self._transport.open("POST", path, call=call, body=body, accept=self._accept)
        answer.attempts += 1
        warnings.append(revived)
        return answer

    def _fit(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        """Refuse what the server cannot take, or leave it out with a warning."""
        warnings = []
        unsupported = dict(self._unsupported)
        if request.prompt is not None:
            unsupported.update(dict.fromkeys(self._chat_only, "pass messages instead of prompt"))
        for name, instead in unsupported.items():
            value = getattr(request, name)
            if value is None or value == ():
                continue
            message = f"{self.name} cannot take {name}"
            if request.strict:
                raise UnsupportedError(
                    message, hint=f"{instead}; or pass strict=False", provider=self.name
                )
            warnings.append(f"{message}; it was left out")
            request = request.replace(**{name: () if value == () else None})
        return request, warnings

    def _decoder(self, content_type: str) -> Decoder:
        """Choose the framing that the answer says it has, else the one that was asked for."""
        framing = content_type if content_type in _FRAMINGS else self._accept
        decoder = _FRAMINGS[framing]
        settings = self.settings
        return decoder(
            settings.max_body_bytes if decoder is WholeDecoder else settings.max_line_bytes
        )

    def _conclude(
        self,
        summary: Summary,
        request: CompletionRequest,
        model: str,
        warnings: List[str],
        span: Span,
        call: Call,
    ) -> CompletionResponse:
        lost = self._windows.check(
            request,
            model,
            summary.usage or Usage(),
            ask=lambda: self._window(model, call),
            on_loss=span.overflowed,
        )
        told = (*warnings, lost) if lost else tuple(warnings)
        response = summary.response(provider=self.name, model=model, warnings=told)
        self._calibration.learn(model, request, response.usage.prompt_tokens)
        span.answered(response)
        return response

    def _window(self, model: str, call: Call) -> Optional[int]:
        """Ask for the window that is allocated for a model; None where nobody can tell."""
        try:
            loaded = self.loaded_models(timeout=call.limits_left(), cancel=call.token)
        except UnsupportedError:
            return None
        return next((m.context_length for m in loaded if self._is_same(m.name, model)), None)
