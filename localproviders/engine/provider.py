"""The provider of a named model of the embedded engine."""

from __future__ import annotations

from typing import List, Mapping, Tuple

from localproviders.llamacpp import LlamaCppProvider
from localproviders.types.requests import CompletionRequest

_TEMPLATE_FIELD = "chat_template_kwargs"


class NamedModelProvider(LlamaCppProvider):
    """A provider that tells the chat template whether a request has a schema.

    llama.cpp does not tell the template about the schema. In this case, the small model needs
    examples with JSON. Other requests must not have such examples: see ``chat.jinja``.
    """

    def _adapt(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        request, warnings = super()._adapt(request)
        given = request.extra_body.get(_TEMPLATE_FIELD, {})
        if request.response_schema is not None and isinstance(given, Mapping):
            fields = {_TEMPLATE_FIELD: {"has_schema": True, **given}}
            request = request.replace(extra_body={**request.extra_body, **fields})
        return request, warnings
