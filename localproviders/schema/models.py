"""Pydantic's models, known by their looks: pydantic is never imported here."""

from __future__ import annotations

from typing import Any, List

from localproviders.schema.inline import inlined, refers_to_itself
from localproviders.schema.kinds import Kind, Make, Place
from localproviders.schema.words import item, key

# Version 2's name of a thing, then version 1's.
_SCHEMA = ("model_json_schema", "schema")
_VALIDATE = ("model_validate", "parse_obj")


def is_model(cls: Any) -> bool:
    """Tell whether a class is a pydantic model, of version 1 or 2."""
    return isinstance(cls, type) and any(
        callable(getattr(cls, schema, None)) and callable(getattr(cls, validate, None))
        for schema, validate in zip(_SCHEMA, _VALIDATE)
    )


def kind_of_model(cls: Any, place: Place) -> Kind:
    """Give the kind of a model: its own schema, references inlined, and its own validation.

    Raises:
        ConfigurationError: The model has no schema, or one that cannot be checked here.
    """
    try:
        schema = _method(cls, _SCHEMA)()
    except Exception as error:  # pydantic's own errors, which are not known here
        raise place.refuse(
            f"{cls.__name__} has no JSON Schema: {type(error).__name__}: {error}",
            "use types that pydantic can describe",
        ) from None
    return Kind(inlined(schema), _maker(cls), hashable=False)


def kind_of_inner_model(cls: Any, place: Place) -> Kind:
    """Give the kind of a model inside another type, where no reference could stay.

    Raises:
        ConfigurationError: As above, or the model contains itself.
    """
    kind = kind_of_model(cls, place)
    if refers_to_itself(kind.schema):
        raise place.refuse(
            f"{cls.__name__} contains itself, and references are inlined",
            "ask for the model alone, or give nested levels types of their own",
        )
    return kind


def _maker(cls: Any) -> Make:
    def make(value: Any, path: str) -> Any:
        try:
            return _method(cls, _VALIDATE)(value)
        except ValueError as error:
            reasons = "\n".join(_reasons(error, path))
        raise ValueError(reasons)

    return make


def _method(cls: Any, names: Any) -> Any:
    return next(getattr(cls, name) for name in names if hasattr(cls, name))


def _reasons(error: Any, path: str) -> List[str]:
    if not callable(getattr(error, "errors", None)):
        return [f"{path}: {error}"]
    return [f"{_path(path, each['loc'])}: {each['msg']}" for each in error.errors()]


def _path(path: str, steps: Any) -> str:
    for step in steps:
        path = item(path, step) if isinstance(step, int) else key(path, str(step))
    return path
