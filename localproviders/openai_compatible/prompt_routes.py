"""Routes that some servers have in addition to those of OpenAI's dialect.

These routes count tokens, render prompts, and return the tokens of a text.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._dialect.label_prompts import LabelTokens
from localproviders._http.deadline import Call
from localproviders._http.transport import Transport
from localproviders._http_provider.sending import Sending
from localproviders._token_estimate import has_media
from localproviders.errors import (
    AuthenticationError,
    ModelError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    ServerBusyError,
    ServerError,
    UnsupportedError,
)
from localproviders.openai_compatible.root import VERSION
from localproviders.openai_compatible.wire.label_tokens import (
    bias_fields,
    labels_payload,
    parse_label_tokens,
)
from localproviders.openai_compatible.wire.requests import (
    conversation_payload,
    parse_count,
    parse_prompt,
    parse_tokens,
    render_payload,
    templated_payload,
)
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import TokenCount

# Status codes of responses for a path that does not exist.
_NOT_FOUND_STATUSES = (404, 405, 501)

# Status codes of a route that expects a request of another form.
_OTHER_ROUTE_STATUSES = (400, 422)

# Errors that only mean that there is no exact count. If a chat with the same prompt fails for the
# same reason, the chat raises its own error.
_REFUSALS = (ServerError, ModelError, AuthenticationError, UnsupportedError)

#: A function that sends a request and returns the result of its reader. Its arguments are the path,
#: a function that makes the JSON, and the reader, which is a function of the JSON of the response.
Ask = Callable[[str, Callable[[], Mapping[str, Any]], Callable[[Any], Any]], Any]


class Method(NamedTuple):
    """A way to count the tokens of a request.

    Attributes:
        ask_count: Function that asks the server for the number of tokens, and returns it.
        is_unfit: Function that returns whether the method is unfit for a request: the server
            might count only a part of the request, without an error.
    """

    ask_count: Callable[[Ask, CompletionRequest, str], int]
    is_unfit: Callable[[CompletionRequest], bool]


def _count_by_template(ask: Ask, request: CompletionRequest, model: str) -> int:
    """Count tokens with llama.cpp: apply the chat template, then tokenize the result."""
    template = partial(conversation_payload, request, model)
    tokenize = ask("/apply-template", template, partial(templated_payload, model=model))
    tokens: int = ask("/tokenize", lambda: tokenize, parse_tokens)
    return tokens


def _count_by_messages(ask: Ask, request: CompletionRequest, model: str) -> int:
    """Count the tokens of the conversation with vLLM."""
    tokens: int = ask("/tokenize", partial(conversation_payload, request, model), parse_count)
    return tokens


def _has_tools_or_media(request: CompletionRequest) -> bool:
    return bool(request.tools) or has_media(request)


#: The method of llama.cpp's servers, by its description.
BY_TEMPLATE: Mapping[str, Method] = {
    "the server's /apply-template and /tokenize": Method(_count_by_template, has_media)
}
# vLLM: older servers do not count the tools, and do not report that they left them out.
_BY_MESSAGES: Mapping[str, Method] = {
    "the server's /tokenize": Method(_count_by_messages, _has_tools_or_media)
}


class PromptRoutes:
    """Client of the routes that count the tokens of a prompt, render it, or tokenize a text.

    If the server lacks a route for counting, this route is not used again.

    Args:
        server: Transport to the address of these routes; None if the address is not known.
        send: Function that returns the `Sending` of a request, for a model and a call. A `Sending`
            changes a request that the chat template refuses, and sends it again. The requests to
            these routes need this as well, because the server fills the same chat template.
    """

    #: The methods that count, by their descriptions. The first method that the server supports is
    #: used.
    all_methods: Mapping[str, Method] = {**BY_TEMPLATE, **_BY_MESSAGES}

    def __init__(self, server: Optional[Transport], send: Callable[..., Sending]) -> None:
        self._server = server
        self._send = send
        self._has_token_texts = server is not None
        self._methods: Mapping[str, Method] = {} if server is None else self.all_methods
        self._labels: Dict[Tuple[str, str], LabelTokens] = {}

    def can_count(self, request: CompletionRequest) -> bool:
        """Return whether the server may be able to count this request."""
        return not all(method.is_unfit(request) for method in self._methods.values())

    def count(self, request: CompletionRequest, model: str, call: Call) -> Optional[TokenCount]:
        """Return the server's token count; None if the server cannot count this request.

        Raises:
            ServerBusyError: The server is busy.
            ModelNotFoundError: The server does not have the model.
            ProviderError: The server cannot be reached; or JSON cannot express a value of the
                request; or a limit expired, or the call was cancelled.
        """
        ask = partial(self._ask, model, call)
        for name, method in self._methods.items():
            if method.is_unfit(request):
                continue
            try:
                tokens = method.ask_count(ask, request, model)
                return TokenCount(tokens=tokens, source="exact", detail=name)
            except (ServerBusyError, ModelNotFoundError):
                raise
            except _REFUSALS as error:
                if not _means_no_route(error):
                    return None
                self._methods = {other: m for other, m in self._methods.items() if other != name}
        return None

    def label_tokens(self, labels: Sequence[str], model: str, call: Call) -> Optional[LabelTokens]:
        """Return the tokens of labels; None if the server is not a llama.cpp server.

        A label, such as A or B, is the short form of one answer to a question. The tokens are
        cached for each pair of a model and a first label.

        Raises:
            ServerBusyError: The server is busy.
            ModelNotFoundError: The server does not have the model.
            ProviderError: The server cannot be reached; or a limit expired, or the call was
                cancelled.
        """
        key = model, labels[0]
        if self._has_token_texts and key not in self._labels:
            try:
                self._labels[key] = self._ask_label_tokens(labels, model, call)
            except (ServerBusyError, ModelNotFoundError):
                raise
            except _REFUSALS as error:
                # vLLM has a different route with the same name, which refuses this request.
                is_other = error.status in _OTHER_ROUTE_STATUSES or _means_no_route(error)
                self._has_token_texts = not is_other
        return self._labels.get(key)

    def _ask_label_tokens(self, labels: Sequence[str], model: str, call: Call) -> LabelTokens:
        payload = partial(labels_payload, labels, model)
        read = partial(parse_label_tokens, labels=labels)
        tokens = self._ask(model, call, "/tokenize", payload, read, loads=True)
        return LabelTokens(tokens, bias_fields, self._labels.clear)

    def render(self, request: CompletionRequest, model: str, call: Call) -> str:
        """Return the prompt that llama.cpp makes from a conversation.

        Raises:
            UnsupportedError: The server has no route that renders prompts.
            ProviderError: The server cannot be reached, or refused the request; or JSON cannot
                express a value of the request; or a limit expired, or the call was cancelled.
        """
        if self._server is None:
            raise _no_template_route(f"the address does not end in {VERSION}")
        payload = partial(render_payload, request, model)
        try:
            prompt: str = self._ask(
                model, call, "/apply-template", payload, parse_prompt, loads=True
            )
            return prompt
        except ModelNotFoundError:
            raise
        except _REFUSALS as error:
            if error.status not in _NOT_FOUND_STATUSES and not isinstance(error, UnsupportedError):
                raise
        raise _no_template_route("the server has no /apply-template")

    def _ask(
        self,
        model: str,
        call: Call,
        path: str,
        payload: Callable[[], Mapping[str, Any]],
        read: Callable[[Any], Any],
        loads: bool = False,
    ) -> Any:
        sending = self._send(model, call, lambda _: (path, payload(), read))
        assert self._server is not None  # noqa: S101  # without a server, no method calls this
        return sending.ask(self._server, loads=loads, large=True)


def _no_template_route(reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"render() is not possible: {reason}",
        hint="use a llama.cpp server at an address that ends in /v1, or OllamaProvider for Ollama",
    )


def _means_no_route(error: ProviderError) -> bool:
    """Return whether an error means that the server lacks a route."""
    return error.status in _NOT_FOUND_STATUSES or isinstance(
        error, (ProtocolError, UnsupportedError)
    )
