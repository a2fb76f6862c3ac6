"""Keyword arguments at run time: type hints, signatures for `help()`, errors for misspelt names.

`Self` and `Unpack` come from `typing`. Before Python 3.11, `typing` lacks both. This module then
defines stand-ins, so that `typing.get_type_hints` works without another package. `Vector` is
``array[float]`` to type checkers. At run time it is ``array``, so that `typing.get_type_hints`
works on all versions.
"""

from __future__ import annotations

import inspect
import math
import sys
from array import array
from dataclasses import MISSING
from functools import lru_cache, partial, wraps
from types import CellType, MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    FrozenSet,
    Generic,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    TypeVar,
    cast,
)

from localproviders._did_you_mean import suggest_keyword

T = TypeVar("T")
_Function = TypeVar("_Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    from typing_extensions import Self as Self
    from typing_extensions import Unpack as Unpack
elif sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:
    Self = TypeVar("Self")

    class Unpack(Generic[T]):
        """Stand-in for `typing.Unpack`: ``Unpack[Fields]`` has `Fields` as its argument."""


if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    Vector: TypeAlias = "array[float]"
else:
    Vector = array  # cannot be subscripted before Python 3.12


def show_keywords(
    fields: Any, source: Optional[Callable[..., Any]] = None
) -> Callable[[_Function], _Function]:
    """Decorate a function so that its signature shows the keywords of its ``**fields``.

    Type checkers read the keywords from the annotation ``**fields: Unpack[Fields]``. `help()`,
    `inspect.signature` and the completion of an interactive prompt read them from the attribute
    ``__signature__``, which this decorator sets. The decorator returns the function itself, so a
    call has no additional frame.

    Args:
        fields: The `TypedDict` in that annotation.
        source: The dataclass or the constructor that has the defaults of the keywords. Without
            it, each default is shown as ``...``.
    """

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        own = _without_variable(signature)
        # In every method that has `timeout` and `cancel`, they are the last parameters.
        end = len(own) - 2 if [each.name for each in own[-2:]] == ["timeout", "cancel"] else None
        shown = [*own[:end], *_parameters(fields, source), *(own[end:] if end else ())]
        # A function accepts any attribute, but its type does not say so.
        made: Any = function
        made.__signature__ = signature.replace(parameters=shown)
        return function

    return decorate


def _without_variable(signature: inspect.Signature) -> List[inspect.Parameter]:
    """Return the parameters without ``*others`` and ``**unknown``, which are not for callers."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in signature.parameters.values() if each.kind not in variable]


@lru_cache(maxsize=None)  # several methods have the fields of a request
def _parameters(fields: Any, source: Optional[Callable[..., Any]]) -> Tuple[inspect.Parameter, ...]:
    return tuple(
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(source, name),
            # The annotation is text, like the annotations of the function's own parameters.
            annotation=getattr(hint, "__forward_arg__", hint),
        )
        for name, hint in fields.__annotations__.items()
    )


def _default(source: Any, name: str) -> Any:
    if source is None:
        return ...
    if not hasattr(source, "__dataclass_fields__"):
        return inspect.signature(source).parameters[name].default
    field = source.__dataclass_fields__[name]
    return field.default if field.default_factory is MISSING else field.default_factory()


if TYPE_CHECKING:
    from typing_extensions import TypedDict as _TypedDict

    # The type is closed (PEP 728), so that an override without ``**unknown`` is compatible.
    class NoKeywords(_TypedDict, closed=True):
        """A `TypedDict` without keys: the type of ``**unknown`` in functions of `name_misspelt`."""

else:

    class NoKeywords(TypedDict):
        """A `TypedDict` without keys: the type of ``**unknown`` in functions of `name_misspelt`."""


#: The type of ``*others`` in functions of `name_misspelt` and `accept_absent`: no arguments.
NoArguments = Tuple[()]

#: The default of a required argument in a function that `name_misspelt` decorates.
ABSENT: Any = Ellipsis


def name_misspelt(function: _Function) -> _Function:
    """Decorate a function that itself raises the error for a misspelt keyword.

    `exact_keywords` has the same purpose, but adds one frame to each call. This decorator changes
    the function and returns it. The function must have ``*others: Unpack[NoArguments]`` and
    ``**unknown: Unpack[NoKeywords]``. It can then be called without its required arguments, with
    too many arguments and with any keywords. It must raise the error from `wrong_call` if an
    argument is `ABSENT`, or if `others` or `unknown` is not empty. Type checkers and `help()` show
    the signature without these two, and with required arguments.
    """
    signature = inspect.signature(function)
    made: Any = function
    made.__signature__ = signature.replace(parameters=_without_variable(signature))
    return accept_absent(function)


def accept_absent(function: _Function) -> _Function:
    """Let a method be called without its required arguments, which are then `ABSENT`.

    The method must raise the error for a missing argument itself (`check_given`). So the error can
    name a misspelt keyword instead, even if this keyword was meant as a required argument. The
    method must also raise the error from `too_many_arguments` if its
    ``*others: Unpack[NoArguments]`` are not empty. The attribute ``__signature__`` must be set
    before this decorator is applied.
    """
    made: Any = function
    made.__defaults__ = (ABSENT,) * (function.__code__.co_argcount - 1)
    return function


def wrong_call(function: Callable[..., Any], unknown: Any, is_too_many: bool = False) -> TypeError:
    """Return the error for a call with a misspelt keyword, or with too few or too many arguments.

    Args:
        function: The public function that was called, a method.
        unknown: The unknown keywords of the call. This function removes them from the dictionary,
            because a value may be a prompt, and the frame with the dictionary is in the traceback.
        is_too_many: Whether there are positional arguments that must be keyword arguments.
    """
    names = list(unknown)
    unknown.clear()
    parameters = list(inspect.signature(function).parameters)
    if names:
        return unknown_keywords(names, function.__name__, parameters)
    if is_too_many:
        return too_many_arguments(function)
    return _missing_argument(function.__name__, parameters[1])


def check_given(called: str, **arguments: Any) -> None:
    """Check that no required argument of a function with `accept_absent` is missing.

    Args:
        called: Name of the function.
        arguments: Its required arguments.

    Raises:
        TypeError: One of them is `ABSENT`.
    """
    missing = [name for name, value in arguments.items() if value is ABSENT]
    arguments.clear()  # a traceback must not show prompts
    if missing:
        raise _missing_argument(called, missing[0])


def _missing_argument(called: str, name: str) -> TypeError:
    return TypeError(f"{called}() needs the argument {name!r}")


def defined_by(function: _Function) -> Callable[[Callable[..., Any]], _Function]:
    """Decorate an empty method in a class, and replace it with a function of another module.

    The decorator tells all type checkers the type of the method. If the function were only assigned
    to an attribute of the class, each type checker would infer another type.
    """
    return lambda _: function


def exact_keywords(function: _Function) -> _Function:
    """Decorate a function so that the error for a misspelt keyword suggests the right one.

    The `TypeError` names the function. For a constructor it names the class that was called,
    which may be a subclass. It does not show the value, because the value of a misspelt keyword
    may be an API key.
    """
    # The names are computed at the first call. Computing them here would slow down the import.
    known = lru_cache(maxsize=None)(partial(_keywords_of, function))
    most = lru_cache(maxsize=None)(partial(_most_positional, function))

    @wraps(function)
    def checked(*args: Any, **keywords: Any) -> Any:
        given, args, keywords = CellType((args, keywords)), (), {}
        unknown = [name for name in given.cell_contents[1] if name not in known()]
        if unknown:
            raise _misspelt_keywords(function, unknown, *given.cell_contents[0][:1])
        if len(given.cell_contents[0]) > most():
            raise too_many_arguments(function, *given.cell_contents[0][:1])
        return function(*given.cell_contents[0], **given.cell_contents[1])

    return cast("_Function", checked)


# The highest number of unknown keywords in an error.
_MOST_NAMES = 3


def unknown_keywords(
    names: Sequence[str],
    called: str,
    known: Iterable[str],
    advice: Mapping[str, str] = MappingProxyType({}),
) -> TypeError:
    """Return the error for misspelt keyword arguments. It does not show the values.

    Args:
        names: The keywords that were given, at least one.
        called: The name of the function, or of the class, that was called.
        known: The names of its parameters.
        advice: Texts that replace the suggestions for some keywords.
    """
    parameters = {*known} - {"self", "cls"}
    answers = [
        f"{name!r}; {advice[name]}"
        if name in advice
        else f"{name!r}{suggest_keyword(name, parameters)}"
        for name in names[:_MOST_NAMES]
    ]
    shown = "; and ".join(answers).replace("?; and", "? and")
    return TypeError(f"{called}() got an unexpected keyword {shown}")


def _keywords_of(called: Callable[..., Any]) -> FrozenSet[str]:
    parameters = inspect.signature(called).parameters.values()
    return frozenset(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)


def _most_positional(called: Callable[..., Any]) -> float:
    """Return how many positional arguments a function accepts."""
    kinds = [each.kind for each in inspect.signature(called).parameters.values()]
    variable, by_name = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY
    return math.inf if variable in kinds else sum(kind < by_name for kind in kinds)


# For each argument, an example model for the text of errors: functions with this argument need such
# a model.
_MODELS = (("texts", "nomic-embed-text"), ("documents", "bge-reranker-v2-m3"))


def too_many_arguments(function: Callable[..., Any], *first: object) -> TypeError:
    """Return the error for too many positional arguments. It shows none of the values.

    Args:
        function: The public function that was called.
        first: Its first argument, the object or the class.
    """
    known = inspect.signature(function).parameters
    is_constructor = function.__name__ == "__init__"
    called = type(first[0]).__name__ if is_constructor else function.__name__
    own = [each for each in known.values() if each.name not in ("self", "cls")]
    by_name = [each.name for each in own if each.kind is each.KEYWORD_ONLY]
    without = [each.name for each in own if each.name not in by_name]
    takes = f"takes only {' and '.join(without)} by position" if without else "takes no argument"
    if not by_name:
        return TypeError(f"{called}() {takes if without else takes + 's'}")
    if not without:
        takes += " by position"
    model = next((name for first, name in _MODELS if first in without), "llama3.2")
    example = f'model="{model}"' if "model" in by_name else f"{by_name[0]}=..."
    return TypeError(f"{called}() {takes}: write {called}({', '.join((*without, example))})")


def _misspelt_keywords(
    function: Callable[..., Any], names: Sequence[str], *first: object
) -> TypeError:
    known = _keywords_of(function)
    if function.__name__ != "__init__":
        return unknown_keywords(names, function.__name__, known)
    # The caller may have called a subclass, whose constructor passed the keyword to this one.
    cls = type(first[0])
    return unknown_keywords(names, cls.__name__, known | _keywords_of(cls))
