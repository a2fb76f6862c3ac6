"""The provider for a model that the embedded engine knows by name, such as ``chat``."""

from __future__ import annotations

from typing import List, Mapping, Tuple

from localproviders.llamacpp import LlamaCppProvider
from localproviders.types.requests import CompletionRequest

_TEMPLATE_FIELD = "chat_template_kwargs"


class NamedModelProvider(LlamaCppProvider):
    """A provider that tells the chat template whether a request has a schema.

    llama.cpp itself does not tell the template about the schema. With a schema, the small model
    needs examples with JSON in its prompt. Without one, such examples do harm: see ``chat.jinja``.
    """

    def _adapt(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        request, warnings = super()._adapt(request)
        given = request.extra_body.get(_TEMPLATE_FIELD, {})
        if request.response_schema is not None and isinstance(given, Mapping):
            fields = {_TEMPLATE_FIELD: {"has_schema": True, **given}}
            request = request.replace(extra_body={**request.extra_body, **fields})
        return request, warnings
