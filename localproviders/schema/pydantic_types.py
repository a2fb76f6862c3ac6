"""Types that pydantic describes and validates: its models, and types with its validators.

The result for each type is a `Kind`: the JSON Schema, and the function that makes the values.

Pydantic models are recognized by their attributes, because this package never imports pydantic.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, List

from localproviders._interrupts import is_injected
from localproviders._redact import one_line
from localproviders.errors import ConfigurationError
from localproviders.schema.json_types import Kind, Make, Place, name_of
from localproviders.schema.keywords import inline_inside, item_path, key_path
from localproviders.schema.shapes import unwrap

# Names of the method that returns the schema, and of the method that validates a value. In each
# pair, the first name is that of pydantic 2, and the second that of pydantic 1.
_SCHEMA = ("model_json_schema", "schema")
_VALIDATE = ("model_validate", "parse_obj")


def is_model(cls: Any) -> bool:
    """Return whether a class is a pydantic model, of version 1 or 2."""
    return isinstance(cls, type) and any(
        callable(getattr(cls, schema, None)) and callable(getattr(cls, validate, None))
        for schema, validate in zip(_SCHEMA, _VALIDATE)
    )


def kind_of_model(cls: Any, place: Place) -> Kind:
    """Return the kind of a pydantic model, whose values pydantic validates.

    Raises:
        ConfigurationError: The model has no schema, or a schema that `check` does not support.
    """
    kind = _kind_by_pydantic(
        cls.__name__, lambda: _method(cls, _SCHEMA)(), lambda: _method(cls, _VALIDATE), place
    )
    if "description" not in kind.schema:
        place.scope.undescribed.append(cls.__name__)
    return kind


def kind_by_adapter(annotation: Any, place: Place) -> Kind:
    """Return the kind of a type that only pydantic can describe, such as one with a validator.

    Raises:
        ConfigurationError: pydantic cannot describe the type.
    """
    adapter: Any = getattr(sys.modules.get("pydantic"), "TypeAdapter", None)
    if adapter is None:
        raise place.error(
            f"only pydantic can describe {name_of(annotation)}, and pydantic 2 is not loaded",
            "import pydantic, or remove the part of the annotation that needs it",
        )
    made: List[Any] = []

    def schema() -> Any:
        made.append(adapter(annotation))
        return made[0].json_schema()

    kind = _kind_by_pydantic(name_of(annotation), schema, lambda: made[0].validate_python, place)
    bare = unwrap(annotation)[0]
    return kind._replace(hashable=getattr(bare, "__hash__", None) is not None)


def _kind_by_pydantic(
    name: str, schema: Callable[[], Any], validator: Callable[[], Any], place: Place
) -> Kind:
    try:
        found, definitions = inline_inside(schema(), place.scope.reserve)
    except ConfigurationError:
        raise
    except Exception as error:  # an error of pydantic, whose classes are not imported
        if is_injected(error):
            raise
        raise place.error(
            f"{name} has no JSON Schema: {type(error).__name__}: {one_line(str(error))}",
            "use types that pydantic can describe",
        ) from None
    place.scope.definitions.update(definitions)
    return Kind(found, _make_by_validation(validator()), hashable=False)


def _make_by_validation(validate: Callable[[Any], Any]) -> Make:
    def make(value: Any, path: str) -> Any:
        try:
            return validate(value)
        except ValueError as error:
            reasons = "\n".join(_reasons(error, path))
        raise ValueError(reasons)

    return make


def _method(cls: Any, names: Any) -> Any:
    return next(getattr(cls, name) for name in names if hasattr(cls, name))


def _reasons(error: Any, path: str) -> List[str]:
    if not callable(getattr(error, "errors", None)):
        return [f"{path}: {one_line(str(error))}"]
    return [f"{_path(path, each['loc'])}: {one_line(each['msg'])}" for each in error.errors()]


def _path(path: str, steps: Any) -> str:
    for step in steps:
        path = item_path(path, step) if isinstance(step, int) else key_path(path, str(step))
    return path
