"""Types as the form of an answer: the schema to ask for, and the value to hand back."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from localproviders.schema.checker import check
from localproviders.schema.describe import read
from localproviders.schema.inline import inlined
from localproviders.schema.kinds import Kind, Place, as_it_is, name_of
from localproviders.schema.models import is_model, kind_of_model


def schema_of(response_type: Any) -> Dict[str, Any]:
    """Give the JSON Schema of a type, without references.

    Args:
        response_type: A dataclass, `TypedDict`, `NamedTuple`, `Enum`, a type such as
            ``List[int]`` or ``Literal["a", "b"]`` (`docs/schemas.md` has the table), a
            pydantic model, or a JSON Schema as a mapping.

    Returns:
        A new dictionary. A schema that was passed in has its local references put in place;
        only what refers to itself stays a reference, with its definition under ``$defs``:
        it has no other form, and servers that make a grammar of a schema follow it.

    Raises:
        ConfigurationError: The type has no form in JSON, or the schema is malformed or uses
            what `check` does not know.
    """
    return _kind_of(response_type).schema


def build(response_type: Any, value: Any) -> Any:
    """Make a typed instance of a JSON value.

    Args:
        response_type: What `schema_of` takes.
        value: What `json.loads` gave.

    Returns:
        An instance of the type; nested types likewise. Of a `Union`, the first member whose
        schema fits and that takes the value. A value for a JSON Schema comes back as it is.

    Raises:
        ConfigurationError: As for `schema_of`.
        ValueError: The value does not fit, or a type's own code (such as ``__post_init__``)
            refused it; a line for each reason, as `check` gives them.
    """
    kind = _kind_of(response_type)
    reasons = check(value, kind.schema)
    if reasons:
        raise ValueError("\n".join(reasons))
    return kind.make(value, "answer")


def _kind_of(response_type: Any) -> Kind:
    if isinstance(response_type, Mapping):
        return Kind(inlined(response_type), as_it_is)
    place = Place(f"the type {name_of(response_type)}")
    return (kind_of_model if is_model(response_type) else read)(response_type, place)
