"""Parser of the list of models in OpenAI's dialect.

Few servers report directly that a model lacks an ability. Most lists only name the purpose of the
model, such as reranking. Missing abilities are inferred from this purpose.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._dialect.common import checked, named, tell_apart, unexpected
from localproviders._dialect.error_answers import read_words
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.values import count, integer, mapping, nonempty_text, text, texts
from localproviders._http.framing import Look, no_look
from localproviders.capabilities import Evidence, detect
from localproviders.types.models import ModelCapabilities, ModelInfo

_DETAIL = "GET /v1/models"

# llama.cpp's names for inputs of a model, and this package's names for the abilities.
_INPUTS = {"image": "vision", "audio": "audio"}

# Purposes of models that write no text: by the field that names the purpose, and by the word in
# this field. The first field is that of llama.cpp and OpenRouter, the second that of Lemonade, and
# the third that of Together.
_PURPOSES: Mapping[str, Mapping[str, str]] = {
    "output_modalities": {
        "decisions": "decision",
        "rerank": "rerank",
        "embeddings": "embeddings",
        "image": "image_generation",
    },
    "labels": {"reranking": "rerank", "embeddings": "embeddings", "image": "image_generation"},
    "type": {"rerank": "rerank", "embedding": "embeddings", "image": "image_generation"},
}
# The output of a model that writes text. Such a model may also have another purpose. llama.cpp
# reports this output for every model that is not a decision model, so a model that has only this
# output may still be unable to chat.
_TEXT = "text"
# Abilities that a model lacks if its list of outputs does not name them.
_LISTED_OUTPUTS = ("decision", "image_generation")
# A price as a decimal number, without a sign.
_PRICE = re.compile(r"\d{1,9}(\.\d{1,18})?(e-\d{1,2})?")
_TEXT_ABILITIES = frozenset(("chat", "completion"))
# Names of the field with the program that runs a model. The second one is Infinity's.
_RUNNERS = ("runner", "backend")
# Flags that are false for a model that cannot chat, at Fireworks and at Mistral.
_CHAT_FLAGS = ("supports_chat", "completion_chat")


# Names of the field with a model's largest window, in this order: at Together and OpenRouter, at
# Groq, at Mistral.
_WINDOWS = ("context_length", "context_window", "max_context_length")


def _first(*values: Any) -> Optional[int]:
    return next((found for found in map(count, values) if found), None)


def capabilities(name: str, data: Mapping[str, Any]) -> ModelCapabilities:
    """Return a model's facts and abilities from its record in the list."""
    return detect(name, evidence_of(data))


def evidence_of(data: Mapping[str, Any]) -> Evidence:
    """Return the facts about a model in its record of the list.

    llama.cpp adds `meta` and `architecture`, and other servers add a context window. The
    `capabilities` in llama.cpp's second list, `models`, are not read, because they are
    ``completion`` for every model, even for a decision model.
    """
    meta = mapping(data.get("meta"))
    inputs = texts(mapping(data.get("architecture")).get("input_modalities"))
    seen = frozenset(ours for theirs, ours in _INPUTS.items() if theirs in inputs)
    purposes, denied = _purposes(data)
    has, lacks = _parameters(data)
    reasoning = mapping(data.get("reasoning"))
    return Evidence(
        detail=_DETAIL,
        can=seen | frozenset(purposes) | frozenset(has),
        cannot=frozenset(denied) | frozenset(lacks),
        said={**purposes, **denied, **has, **lacks},
        follows=_conclusions(data),
        facts={
            "thinking_levels": tuple(_levels(reasoning)),
            "thinking_default": nonempty_text(reasoning.get("default_effort")),
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
    )


# Request fields in OpenRouter's list `supported_parameters`, and this package's names of the
# abilities that they show.
_PARAMETERS = {
    "tools": "tools",
    "reasoning": "thinking",
    "structured_outputs": "structured_output",
}


def _parameters(data: Mapping[str, Any]) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Return the abilities that `supported_parameters` shows, and the abilities that it excludes.

    The second result also has the inputs that the model lacks. OpenRouter lists each field that at
    least one provider of the model supports, so no provider supports a field that is not listed.
    `parse` also works without structured outputs, so this ability is not excluded.
    """
    listed = texts(data.get("supported_parameters"))
    if not listed:
        return {}, {}
    found = {
        ours: f"supported_parameters has {name}"
        for name, ours in _PARAMETERS.items()
        if name in listed
    }
    denied = {
        ours: f"supported_parameters lacks {name}"
        for name, ours in _PARAMETERS.items()
        if name not in listed and name != "structured_outputs"
    }
    modalities = texts(mapping(data.get("architecture")).get("input_modalities"))
    words = f"input_modalities is {', '.join(modalities)}"
    missing = [ours for theirs, ours in _INPUTS.items() if theirs not in modalities]
    denied.update(dict.fromkeys(missing if modalities else (), words))
    return found, denied


# OpenRouter's word for no thinking, and this package's word for it.
_NONE, _OFF = "none", "off"


def _levels(reasoning: Mapping[str, Any]) -> List[str]:
    """Return a model's levels of thinking, with ``off`` if thinking can be switched off.

    OpenRouter reports them. Without its field `mandatory`, it is not known whether thinking can be
    switched off.
    """
    levels = [each for each in texts(reasoning.get("supported_efforts")) if each != _NONE]
    return [_OFF, *levels] if levels and reasoning.get("mandatory") is False else levels


def _purposes(data: Mapping[str, Any]) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Return the purposes of a model, and the abilities that they exclude.

    Both are mappings from an ability to the evidence for it, such as ``type is rerank``.
    """
    found: Dict[str, str] = {}
    denied: Dict[str, str] = {}
    for field, listed in _named_purposes(data).items():
        words = f"{field} is {', '.join(listed)}"
        known = [_PURPOSES[field][word] for word in listed if word in _PURPOSES[field]]
        found.update(dict.fromkeys(known, words))
        if known and _TEXT not in listed:
            denied.update(dict.fromkeys(_TEXT_ABILITIES, words))
    for flag in _CHAT_FLAGS:
        if data.get(flag) is False or mapping(data.get("capabilities")).get(flag) is False:
            denied.setdefault("chat", f"{flag} is false")
    return found, denied


def _named_purposes(data: Mapping[str, Any]) -> Dict[str, List[str]]:
    """Return the values of each field that can name a purpose, without empty fields."""
    words = {
        "output_modalities": texts(mapping(data.get("architecture")).get("output_modalities")),
        "labels": texts(data.get("labels")),
        "type": texts([data.get("type")]),
    }
    return {field: listed for field, listed in words.items() if listed}


def _conclusions(data: Mapping[str, Any]) -> Dict[str, Tuple[Any, str]]:
    """Infer from a model's outputs which outputs it lacks, and whether it can chat."""
    listed = _named_purposes(data).get("output_modalities", [])
    if not listed:
        return {}
    reason = f"{_DETAIL}: output_modalities is {', '.join(listed)}"
    found: Dict[str, Tuple[Any, str]] = dict.fromkeys(_LISTED_OUTPUTS, (False, reason))
    if _TEXT in listed and len(listed) > 1:
        found["chat"] = (True, reason)
    return found


def parse_models(
    data: Any, provider: str, rules: Sequence[Rule], look: Look = no_look
) -> List[ModelInfo]:
    """Read the list of models; omit records without a name.

    If the server has no model, `data` can be null (docs/reference/ollama.md, "The OpenAI dialect").
    Some servers send the list without an object around it (docs/dialects.md, "Lists of models").

    Raises:
        ProviderError: The response is an error, is too long, or is not a list of models; or a
            limit of the call expired, or the call was cancelled.
    """
    is_bare = isinstance(data, list) and bool(data)
    data = {"data": data} if is_bare and read_words(data) is None else checked(data, rules)
    if "data" not in data or not isinstance(data["data"] or [], list):
        unexpected("'data' list")
    models = named(data["data"] or [], _name_of, look)
    return tell_apart(_model_info(model, provider) for model in models)


def _name_of(data: Mapping[str, Any]) -> str:
    return text(data.get("id"))


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    name = _name_of(data)
    runners = (nonempty_text(data.get(field)) for field in _RUNNERS)
    return ModelInfo(
        name=name,
        provider=provider,
        runner=next(filter(None, runners), None),
        capabilities=capabilities(name, data),
        usd_per_million_prompt_tokens=_price(data, "prompt"),
        usd_per_million_completion_tokens=_price(data, "completion"),
        raw=data,
    )


_TOKENS = 1_000_000


def _price(data: Mapping[str, Any], name: str) -> Optional[float]:
    """Return the price of a million tokens; None if it is unknown.

    OpenRouter writes the price of one token as a text, and -1 if it depends on the request.
    """
    price = text(mapping(data.get("pricing")).get(name))
    return round(float(price) * _TOKENS, 6) if _PRICE.fullmatch(price) else None
