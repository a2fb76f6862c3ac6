"""The list of models in this dialect."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence

from localproviders._http.rejection import Rule
from localproviders._values import mappings, text
from localproviders._wire import checked, unexpected
from localproviders.openai_compatible.wire.capabilities import capabilities
from localproviders.types.model import ModelInfo


def parse_models(data: Any, provider: str, rules: Sequence[Rule]) -> List[ModelInfo]:
    """Read the list of models; `data` is null where there is none (ollama-api §2.20).

    Raises:
        ProviderError: It is an error, or no list.
    """
    data = checked(data, rules)
    if "data" not in data or not isinstance(data["data"] or [], list):
        unexpected("'data' list")
    return [_model_info(model, provider) for model in mappings(data["data"])]


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    name = text(data.get("id"))
    return ModelInfo(name=name, provider=provider, capabilities=capabilities(name, data), raw=data)
