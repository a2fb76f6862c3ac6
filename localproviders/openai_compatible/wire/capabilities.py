"""What a list of models in this dialect says about one of them: little, and no denial."""

from __future__ import annotations

from typing import Any, Mapping

from localproviders._values import mapping, whole, word, words
from localproviders.capabilities import Evidence, detect
from localproviders.types.model import ModelCapabilities

# llama.cpp's words for what a model reads, and ours.
_INPUTS = {"image": "vision", "audio": "audio"}


def capabilities(name: str, data: Mapping[str, Any]) -> ModelCapabilities:
    """Say what is known from an entry of the list.

    llama.cpp adds `meta` and `architecture`, vLLM the window that it serves. Neither tells
    what a model lacks.
    """
    meta = mapping(data.get("meta"))
    inputs = words(mapping(data.get("architecture")).get("input_modalities"))
    return detect(
        name,
        Evidence(
            detail="GET /v1/models",
            can=frozenset(ours for theirs, ours in _INPUTS.items() if theirs in inputs),
            facts={
                "max_context_length": whole(meta.get("n_ctx_train")),
                # vLLM's is what it accepts, and may be less than the model was trained for.
                "loaded_context_length": whole(meta.get("n_ctx"))
                or whole(data.get("max_model_len")),
                "embedding_length": whole(meta.get("n_embd")),
                "parameter_count": whole(meta.get("n_params")),
                "quantization": word(meta.get("ftype")),
                "size_bytes": whole(meta.get("size")),
            },
        ),
    )
