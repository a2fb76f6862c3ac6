"""Requests that change which models the server has, to Ollama's JSON (§2.9 to §2.12)."""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._http.framing import parse_json
from localproviders.errors import LocalityError
from localproviders.ollama.wire.answers import checked
from localproviders.ollama.wire.requests import merged, message_payload
from localproviders.types.message import Message


def transfer_payload(model: str, insecure: bool) -> Dict[str, Any]:
    """Give the JSON of a pull or a push (§2.9, §2.10)."""
    return {"model": model, "stream": True, **({"insecure": True} if insecure else {})}


def copy_payload(source: str, destination: str) -> Dict[str, Any]:
    """Give the JSON of a copy (§2.12)."""
    return {"source": source, "destination": destination}


def delete_payload(model: str) -> Dict[str, Any]:
    """Give the JSON of a deletion, which goes with a DELETE request (§2.12)."""
    return {"model": model}


class Recipe(NamedTuple):
    """What a model is to be made of; see `OllamaProvider.create`."""

    from_model: Optional[str]
    template: Optional[str]
    system: Optional[str]
    parameters: Optional[Mapping[str, Any]]
    license: Optional[Sequence[str]]
    messages: Tuple[Message, ...]
    quantize: Optional[str]
    extra_body: Mapping[str, Any]

    def __repr__(self) -> str:
        return "<recipe of a model>"  # it is a local variable, and a system text is a prompt

    @property
    def texts(self) -> Sequence[str]:
        """What it says, and no error is to quote."""
        said = [self.template, self.system, *(message.content for message in self.messages)]
        return [item for item in said if item]


def create_payload(
    model: str, recipe: Recipe, files: Mapping[str, str], adapters: Mapping[str, str]
) -> Dict[str, Any]:
    """Give the JSON of a creation; files and adapters are digests by name (§2.11)."""
    license_ = recipe.license
    fields: Dict[str, Any] = {
        "from": recipe.from_model,
        "files": dict(files),
        "adapters": dict(adapters),
        "template": recipe.template,
        "system": recipe.system,
        "parameters": dict(recipe.parameters or {}),
        "license": license_ if license_ is None or isinstance(license_, str) else list(license_),
        "messages": [message_payload(message) for message in recipe.messages],
        "quantize": recipe.quantize,
    }
    kept = {name: value for name, value in fields.items() if value not in (None, {}, [])}
    return merged({"model": model, "stream": True, **kept}, recipe.extra_body)


def blob_path(digest: str) -> str:
    """Give the path of a blob; the server wants lower case and the colon (§2.13)."""
    return f"/api/blobs/{digest}"


def check_done(text: str, max_json_depth: int) -> None:
    """Check the body of an answer that has nothing to say, and mostly says nothing (§2.12).

    Raises:
        ProviderError: It is an error, or something else than JSON.
    """
    if text.strip():
        checked(parse_json(text, max_json_depth))


def refuse_push(model: str, locality: str) -> LocalityError:
    """Make the error for a model that would leave this machine."""
    return LocalityError(
        f'pushing {model!r} sends it to a registry, and locality is "{locality}"',
        hint='to allow it, pass locality="any" or set LOCALPROVIDERS_LOCALITY=any',
        model=model,
    )
