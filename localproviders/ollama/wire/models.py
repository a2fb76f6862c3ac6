"""Ollama's words about itself, its models and what is in its memory, to our values."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Dict, FrozenSet, List, Mapping, Match, Optional, Tuple

from localproviders._values import mapping, mappings, parse_date, text, whole, word, words
from localproviders._wire import unexpected
from localproviders.errors import ProtocolError
from localproviders.ollama.details import ModelDetails
from localproviders.ollama.wire.answers import checked
from localproviders.ollama.wire.capabilities import capabilities
from localproviders.ollama.wire.places import listed, name_of
from localproviders.ollama.wire.requests import residence_fields
from localproviders.types.message import Message
from localproviders.types.model import LoadedModel, ModelInfo

# A model that is kept for ever expires about 292 years from now (ollama-api §2.3).
_NEVER = 2200


def parse_version(data: Any) -> str:
    """Read the server's version (§2.1).

    Raises:
        ProviderError: It is an error, or no version.
    """
    version = word(checked(data).get("version"))
    if version is None:
        unexpected("'version' text")
    return version


def parse_cloud_disabled(data: Any) -> Optional[bool]:
    """Read whether the server's cloud models are switched off (§2.1); None: it does not say.

    Raises:
        ProviderError: It is an error, or no object.
    """
    disabled = mapping(checked(data).get("cloud")).get("disabled")
    return disabled if isinstance(disabled, bool) else None


# --- memory ---------------------------------------------------------------------------------


def parse_models(data: Any, provider: str) -> List[ModelInfo]:
    """Read the list of installed models (§2.2).

    Raises:
        ProviderError: It is an error, or no list.
    """
    return [_model_info(model, provider) for model in listed(data)]


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    name = name_of(data)
    return ModelInfo(
        name=name,
        provider=provider,
        digest=word(data.get("digest")),
        modified_at=parse_date(data.get("modified_at")),
        capabilities=capabilities(name, tags=data),
        raw=data,
    )


def parse_details(data: Any, model: str, provider: str) -> ModelInfo:
    """Read the details of one model (§2.4).

    Raises:
        ProviderError: It is an error, or no object.
    """
    data = checked(data)
    return ModelInfo(
        name=model,
        provider=provider,
        modified_at=parse_date(data.get("modified_at")),
        capabilities=capabilities(model, show=data),
        raw=data,
    )


def parse_loaded(data: Any, provider: str) -> List[LoadedModel]:
    """Read the list of models in memory (§2.3).

    Raises:
        ProviderError: It is an error, or no list.
    """
    models = checked(data).get("models")
    if not isinstance(models, list):
        unexpected("'models' list")
    return [_loaded_model(model, provider) for model in mappings(models)]


def _loaded_model(data: Mapping[str, Any], provider: str) -> LoadedModel:
    return LoadedModel(
        name=text(data.get("name") or data.get("model")),
        provider=provider,
        context_length=whole(data.get("context_length")) or None,
        size_bytes=whole(data.get("size")),
        # Zero is left out by some versions, and means the processor's memory.
        vram_bytes=whole(data.get("size_vram")) or 0,
        expires_at=_expiry(data.get("expires_at")),
        raw=data,
    )


def _expiry(value: Any) -> Optional[datetime]:
    found = parse_date(value)
    return found if found is not None and 1 < found.year < _NEVER else None


def residence_payload(
    model: str, context_length: Optional[int], keep_alive_s: Optional[float]
) -> Dict[str, Any]:
    """Give the JSON of a chat that says nothing: it loads, renews or unloads (§2.5)."""
    payload: Dict[str, Any] = {"model": model, "messages": [], "stream": False}
    return {**payload, **residence_fields(context_length, keep_alive_s)}


def embed_residence_payload(
    model: str, context_length: Optional[int], keep_alive_s: Optional[float]
) -> Dict[str, Any]:
    """Give the JSON of an embedding of nothing: it loads (§2.7)."""
    return {"model": model, "input": [], **residence_fields(context_length, keep_alive_s)}


def check_residence(data: Any, reason: str) -> Mapping[str, Any]:
    """Check that an answer says that the model was loaded, or unloaded; give it.

    Args:
        data: The answer to an empty request.
        reason: ``load`` or ``unload``. An old server gives none (Appendix A).

    Raises:
        ProviderError: It is an error, or another answer.
    """
    answer = checked(data)
    if answer.get("done") is not True or answer.get("done_reason", reason) != reason:
        raise ProtocolError(
            f"the server was asked to {reason} a model, and does not say that it did"
        )
    return answer


def check_embed_residence(data: Any) -> Mapping[str, Any]:
    """Check that an answer is that to an embedding of nothing; give it (§2.7).

    Raises:
        ProviderError: It is an error, or another answer.
    """
    answer = checked(data)
    if answer.get("embeddings") != []:
        unexpected("empty 'embeddings' list")
    return answer


# --- details --------------------------------------------------------------------------------


def joined(shown: ModelInfo, listed: Optional[ModelInfo]) -> ModelInfo:
    """Give the details of a model together with what only its entry in the list tells."""
    if listed is None:
        return shown
    return shown.replace(
        name=listed.name,
        digest=listed.digest,
        modified_at=shown.modified_at or listed.modified_at,
        capabilities=capabilities(listed.name, tags=listed.raw or {}, show=shown.raw or {}),
    )


def show_payload(model: str, verbose: bool = False) -> Dict[str, Any]:
    """Give the JSON that asks for a model's details (§2.4)."""
    return {"model": model, **({"verbose": True} if verbose else {})}


def parse_files(data: Any) -> FrozenSet[str]:
    """Read which files a model is made of, and is loaded from, as its Modelfile names them.

    Empty for a stub, and where the server does not tell.

    Raises:
        ProviderError: It is an error, or no object.
    """
    lines = word(checked(data).get("modelfile")) or ""
    return frozenset(re.findall(r"(?m)^(?:FROM|ADAPTER) .*(sha256[-:][0-9a-f]{64})\s*$", lines))


def parse_show(data: Any, info: ModelInfo) -> ModelDetails:
    """Read all of a model's details (§2.4).

    Raises:
        ProviderError: It is an error, or no object.
    """
    data = checked(data)
    details = mapping(data.get("details"))
    return ModelDetails(
        info=info,
        license=word(data.get("license")),
        template=word(data.get("template")),
        system=word(data.get("system")),
        parameters=parse_parameters(word(data.get("parameters")) or ""),
        messages=_messages(data.get("messages")),
        modelfile=word(data.get("modelfile")),
        metadata=mapping(data.get("model_info")),
        projector=mapping(data.get("projector_info")),
        families=tuple(words(details.get("families"))),
        parent_model=word(details.get("parent_model")),
        requires=word(data.get("requires")),
        raw=data,
    )


def _messages(data: Any) -> Tuple[Message, ...]:
    said = [(word(item.get("role")), word(item.get("content"))) for item in mappings(data)]
    known = ("system", "user", "assistant", "tool")
    return tuple(
        Message.from_dict({"role": role, "content": content or ""})
        for role, content in said
        if role in known
    )


def parse_parameters(lines: str) -> Dict[str, Any]:
    """Read a model's parameters: one a line, in Go's spelling, in any order (§2.4, §8).

    Give numbers, texts and truth values by name; ``stop``, and whatever else comes more than
    once, as a list.
    """
    found: Dict[str, List[Any]] = {}
    for line in lines.split("\n"):
        name, _, value = line.strip().partition(" ")
        if name:
            found.setdefault(name, []).append(_go_value(value.strip()))
    return {
        name: values if name == "stop" or len(values) > 1 else values[0]
        for name, values in found.items()
    }


def _go_value(value: str) -> Any:
    """Read a value as Go writes it: ``1.048576e+06`` is a whole number, ``"x"`` a text."""
    if re.fullmatch(r"-?\d{1,300}", value):
        return int(value)
    if re.fullmatch(r"-?\d{1,300}(\.\d{1,300})?(e[+-]?\d{1,3})?", value):
        number = float(value)
        return int(number) if "e+" in value and number.is_integer() else number
    if value in ("true", "false"):
        return value == "true"
    return _go_text(value)


def _go_text(value: str) -> str:
    if len(value) < 2 or value[0] + value[-1] != '""':
        return value
    try:
        # Go has more escapes than JSON; those that only Go knows stay as they are written.
        return str(json.loads(re.sub(r"\\(.)", _json_escape, value), strict=False))
    except ValueError:
        return value[1:-1]


def _json_escape(found: Match[str]) -> str:
    return found.group() if found.group(1) in '"\\/bfnrtu' else "\\" + found.group()
