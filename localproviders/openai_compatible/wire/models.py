"""The list of models in this dialect. It never says that a model lacks an ability."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence

from localproviders._dialect.common import checked, named, unexpected
from localproviders._dialect.error_answers import Rule, read_words
from localproviders._dialect.values import count, integer, mapping, nonempty_text, text, texts
from localproviders._http.framing import Look, no_look
from localproviders.capabilities import Evidence, detect
from localproviders.types.models import ModelCapabilities, ModelInfo

# llama.cpp's names for inputs of a model, and this package's names for the abilities.
_INPUTS = {"image": "vision", "audio": "audio"}


# Names of the field with a model's largest window, in this order: at Together and OpenRouter, at
# Groq, at Mistral.
_WINDOWS = ("context_length", "context_window", "max_context_length")


def _first(*values: Any) -> Optional[int]:
    return next((found for found in map(count, values) if found), None)


def capabilities(name: str, data: Mapping[str, Any]) -> ModelCapabilities:
    """Return a model's facts and abilities from its record in the list.

    llama.cpp adds `meta` and `architecture`, and others add a context window. None of them reports
    which abilities a model lacks.
    """
    meta = mapping(data.get("meta"))
    inputs = texts(mapping(data.get("architecture")).get("input_modalities"))
    return detect(
        name,
        Evidence(
            detail="GET /v1/models",
            can=frozenset(ours for theirs, ours in _INPUTS.items() if theirs in inputs),
            facts={
                "max_context_length": _first(
                    meta.get("n_ctx_train"), *(data.get(name) for name in _WINDOWS)
                ),
                # vLLM reports the window that it accepts, which may be less than the trained
                # window.
                "loaded_context_length": _first(meta.get("n_ctx"), data.get("max_model_len")),
                "embedding_length": integer(meta.get("n_embd")),
                "parameter_count": integer(meta.get("n_params")),
                "quantization": nonempty_text(meta.get("ftype")),
                "size_bytes": integer(meta.get("size")),
            },
        ),
    )


def parse_models(
    data: Any, provider: str, rules: Sequence[Rule], look: Look = no_look
) -> List[ModelInfo]:
    """Read the list of models; omit records without a name.

    If the server has no model, `data` can be null (docs/reference/ollama.md, "The OpenAI dialect").
    Some servers send the list itself (docs/dialects.md, "Lists of models").

    Raises:
        ProviderError: The response is an error, is too long, or is not a list of models; or a
            limit of the call expired, or the call was cancelled.
    """
    is_bare = isinstance(data, list) and bool(data)
    data = {"data": data} if is_bare and read_words(data) is None else checked(data, rules)
    if "data" not in data or not isinstance(data["data"] or [], list):
        unexpected("'data' list")
    models = named(data["data"] or [], _name_of, look)
    return [_model_info(model, provider) for model in models]


def _name_of(data: Mapping[str, Any]) -> str:
    return text(data.get("id"))


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    name = _name_of(data)
    return ModelInfo(name=name, provider=provider, capabilities=capabilities(name, data), raw=data)
