"""After an interrupt a frame may hold an object without attributes. Its repr must work."""

from __future__ import annotations

import inspect
import pickle
from importlib import import_module
from typing import Any, List, Tuple

import pytest

import localproviders
from localproviders._record import Record

_MODULES = (
    "localproviders",
    "localproviders.config",
    "localproviders.discovery",
    "localproviders.engine",
    "localproviders.errors",
    "localproviders.exporters",
    "localproviders.llamacpp",
    "localproviders.local",
    "localproviders.ollama",
    "localproviders.lmstudio",
    "localproviders.openai_compatible",
    "localproviders.schema",
    "localproviders.secret",
    "localproviders.settings",
    "localproviders.telemetry",
    "localproviders.testing",
    "localproviders.types",
)


def _classes() -> List[Tuple[str, Any]]:
    found = {}
    for name in _MODULES:
        module = import_module(name)
        for each in getattr(module, "__all__", None) or dir(module):
            try:
                value = getattr(module, each)
            except localproviders.DependencyError:  # an exporter whose package is not installed
                continue
            if inspect.isclass(value) and value.__module__.startswith("localproviders"):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return sorted(found.items())


_CLASSES = _classes()


def test_the_classes_are_found() -> None:
    assert len(_CLASSES) > 80


@pytest.mark.parametrize("name", [name for name, _ in _CLASSES])
def test_an_object_without_attributes_has_a_repr(name: str) -> None:
    cls = dict(_CLASSES)[name]
    if inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
        pytest.skip("the class has no instances")
    if issubclass(cls, (tuple, str, dict)) or cls is Record:
        pytest.skip("an instance has its values from the start, or the class is only a base class")
    made = cls.__new__(cls)

    assert cls.__name__ in repr(made)
    if issubclass(cls, BaseException):
        assert isinstance(str(made), str)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_without_attributes_is_empty(protocol: int) -> None:
    made = localproviders.SecretString.__new__(localproviders.SecretString)

    assert made.scrub("a text") == "a text"
    assert hash(made) == hash(made)
    with pytest.raises(localproviders.ConfigurationError):
        made.reveal()
    assert repr(pickle.loads(pickle.dumps(made, protocol))) == repr(made)
