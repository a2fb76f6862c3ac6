"""Parser of Anthropic's list of models, which has pages, and of the lists of local servers."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import quote

from localproviders._dialect.common import checked, named, unexpected
from localproviders._dialect.values import (
    count,
    mapping,
    mappings,
    nonempty_text,
    parse_timestamp,
    text,
)
from localproviders._http.framing import Look, no_look
from localproviders.anthropic.wire.errors import RULES
from localproviders.anthropic.wire.servers import is_own_record
from localproviders.anthropic.wire.thinking import EFFORTS, facts_of
from localproviders.capabilities import Evidence, detect
from localproviders.openai_compatible.wire import models as dialect
from localproviders.types.models import ModelCapabilities, ModelInfo

LIST_PATH = "/v1/models"
#: Number of models in one page: the highest number that the service accepts.
PAGE_SIZE = 1000

_DETAIL = "GET /v1/models"
# The service's names of abilities, and this package's names for them.
_ABILITIES = {"image_input": "vision", "structured_outputs": "structured_output"}
# Types of thinking that correspond to True and False.
_ON, _OFF = ("adaptive", "enabled"), ("disabled", "between_tools")


class Page(NamedTuple):
    """A page of a list of models.

    Attributes:
        models: The models.
        next_id: Id after which the next page begins; None for the last page.
    """

    models: List[ModelInfo]
    next_id: Optional[str]


def page_path(after: Optional[str] = None) -> str:
    """Return the path of a page of the list. Without `after`, this is the first page."""
    more = "" if after is None else f"&after_id={quote(after, safe='')}"
    return f"{LIST_PATH}?limit={PAGE_SIZE}{more}"


def model_path(model: str) -> str:
    """Return the path of one model."""
    return f"{LIST_PATH}/{quote(model, safe='')}"


def parse_page(data: Any, provider: str, look: Look = no_look) -> Page:
    """Read a page of the list, in Anthropic's form or in OpenAI's form.

    Raises:
        ProviderError: The response is an error, is too long, or is not a list of models; or a
            limit of the call expired, or the call was cancelled.
    """
    found = mapping(data)
    is_own = any(is_own_record(each) for each in mappings(found.get("data")))
    if not is_own and "has_more" not in found:
        return Page(dialect.parse_models(data, provider, RULES, look), None)
    listed = checked(data, RULES).get("data")
    if not isinstance(listed, list):
        unexpected("'data' list")
    models = [_model_info(each, provider) for each in named(listed, _name_of, look)]
    has_more = found.get("has_more") is True
    return Page(models, nonempty_text(found.get("last_id")) if has_more else None)


def parse_model(data: Any, provider: str) -> ModelInfo:
    """Read one model.

    Raises:
        ProviderError: The response is an error, or no model.
    """
    found = checked(data, RULES)
    if not _name_of(found):
        unexpected("'id' of a model")
    return _model_info(found, provider)


def _name_of(data: Mapping[str, Any]) -> str:
    return text(data.get("id"))


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    name = _name_of(data)
    return ModelInfo(
        name=name,
        provider=provider,
        modified_at=parse_timestamp(data.get("created_at")),
        capabilities=capabilities(name, data),
        raw=data,
    )


def capabilities(name: str, data: Mapping[str, Any]) -> ModelCapabilities:
    """Return the abilities of a model from its record in the list, with the evidence."""
    reported = mapping(data.get("capabilities"))
    said, known = _reported(reported)
    facts: Dict[str, Any] = {"max_context_length": count(data.get("max_input_tokens"))}
    if mapping(reported.get("thinking")):
        facts["thinking_levels"] = _levels(name, data)
    reason = "every model of this API"
    return detect(
        name,
        Evidence(
            detail=_DETAIL,
            can=frozenset(ability for ability, value in known.items() if value),
            cannot=frozenset(ability for ability, value in known.items() if not value),
            said=said,
            facts=facts,
            follows={
                "chat": (True, reason),
                "tools": (True, reason),
                "embeddings": (False, "this API has no embeddings"),
                "completion": (False, "this API cannot continue plain text"),
                "audio": (False, "this API reads no audio"),
            },
        ),
    )


def _reported(reported: Mapping[str, Any]) -> Tuple[Dict[str, str], Dict[str, bool]]:
    """Return two mappings by ability: a quotation of the server's field, and the field's value."""
    said: Dict[str, str] = {}
    known: Dict[str, bool] = {}
    for name, ability in (*_ABILITIES.items(), ("thinking", "thinking")):
        value = mapping(reported.get(name)).get("supported")
        if isinstance(value, bool):
            known[ability] = value
            said[ability] = f"capabilities.{name}.supported is {str(value).lower()}"
    return said, known


def _levels(name: str, data: Mapping[str, Any]) -> Tuple[str, ...]:
    facts = facts_of(name, data)
    switches = ["on"] if facts.types.intersection(_ON) else []
    switches += ["off"] if facts.types.intersection(_OFF) else []
    return (*switches, *(level for level in EFFORTS if level in (facts.efforts or ())))
