"""Suggestions for misspelt names in error messages."""

from __future__ import annotations

import re
import warnings
from itertools import islice
from types import FrameType
from typing import TYPE_CHECKING, Any, Iterable, List, NoReturn, Optional, Tuple, TypeVar

from localproviders._patterns import pattern

T = TypeVar("T")

# A number in Python's notation. Longer numbers are not suggested.
_NUMBER = pattern(r"\d{1,18}(\.\d{1,18})?", re.ASCII)


def _names() -> Any:
    from localproviders import _habits  # only an error needs these tables

    return _habits


def _keywords() -> Any:
    from localproviders import _other_keywords  # only an error needs these tables

    return _other_keywords


def suggest_number(
    name: str,
    value: Any,
    *,
    least: float = 0,
    most: float = float("inf"),
    is_whole: bool = False,
    is_positive: bool = False,
) -> str:
    """Return the end of the error text for a number that was given as text, as in ``seed="1"``.

    The end is, for example, ``: write seed=1``. It is empty if the value is not the text of a
    valid number.

    Args:
        name: Name of the argument.
        value: The value.
        least: The lowest valid number.
        most: The highest valid number.
        is_whole: Whether only whole numbers are valid.
        is_positive: Whether zero is not valid.
    """
    text = value.strip() if isinstance(value, str) else ""
    found = _NUMBER.fullmatch(text)
    if found is None or (is_whole and found.group(1)) or not least <= float(text) <= most:
        return ""
    if is_positive and not float(text):
        return ""
    return f": write {name}={text}"


def image_message() -> str:
    """Return an example of Python code that passes an image, for the text of an error."""
    return str(_keywords().IMAGE_MESSAGE)


def did_you_mean(word: str, known: List[str]) -> str:
    """Return a suggestion such as "; did you mean 'x'?", or an empty string.

    Args:
        word: The unknown word.
        known: The known words. The suggestion is the most similar one.
    """
    near = most_similar(word, known)
    return f"; did you mean {near!r}?" if near else ""


# Limits for the comparison of words, because a server may list any number of names of any length.
_MOST_WORDS, _LONGEST_WORD = 1_000, 200


def most_similar(word: str, known: Iterable[str]) -> Optional[str]:
    """Return the most similar of the known words, ignoring case; None if none is similar."""
    import difflib  # needed only for errors, and slow to import

    compared = [each for each in islice(known, _MOST_WORDS) if len(each) <= _LONGEST_WORD]
    # `str`, because callers also pass wrong values that are not strings.
    given = str(word)[:_LONGEST_WORD]
    # Of several words that differ only in case, the one with the given case is the most similar.
    by_lower = {each.lower(): each for each in sorted(compared, key=given.__eq__)}
    near = difflib.get_close_matches(given.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def suggest_keyword(keyword: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown keyword, or an empty string.

    The suggestion is the first of these that exists: the advice about this keyword; the parameter
    with the same meaning, if the keyword belongs to another client; or the most similar parameter.

    Args:
        keyword: The keyword that the caller passed.
        known: The names of the parameters of the function that was called.
    """
    names = sorted(known)
    for keywords, parameter, advice in _keywords().ADVICE:
        if parameter in names and keyword in keywords.split():
            return f"; {advice}"
    for own, others in _keywords().OTHER_NAMES.items():
        if own in names and keyword in others.split():
            return f"; did you mean {own!r}?"
    is_for_prompts = "messages" in names and "temperature" not in names
    if is_for_prompts and keyword in _keywords().FOR_AN_ANSWER:
        return "; leave it out: it does not change the prompt"
    return did_you_mean(keyword, names)


def name_other_attribute(value: object, name: str) -> Any:
    """Raise the error for a missing attribute of a value, an error or a provider.

    If other clients use the name for something, the error says what to write instead.

    This is the `__getattr__` of the providers, values and errors. Python calls it only for a name
    that does not exist, or after an `AttributeError` within a property.
    """
    # A name with an underscore belongs to one of Python's protocols, or is a private field of an
    # object whose constructor has not finished.
    if name[:1] != "_":
        words = _names().words_for_attribute(value, name)
        if words:
            raise AttributeError(f"{_kind(value)!r} object has no attribute {name!r}; {words}")
    return object.__getattribute__(value, name)  # raises Python's own error


def refuse_item(value: object, key: object) -> NoReturn:
    """Raise the error for ``value[key]``, and for iterating over a value.

    This is the `__getitem__` of the values. If a value has no `__iter__`, Python also calls this
    method with numbers: in ``for`` and ``in``, and in functions such as `list` and `dict`.
    """
    words = _names().words_for_item(value, key)
    raise TypeError(f"{_kind(value)!r} object is neither a dictionary nor a list; {words}")


def refuse_use(value: object, *_: object) -> NoReturn:
    """Raise the error for a value that is used like its content, such as in ``len(value)``."""
    words = _names().words_for_content(value)
    raise TypeError(f"{_kind(value)!r} object cannot be used like its content; {words}")


_CALLS = "call its method chat(messages), or write parse(text, City).value"


def refuse_call(value: object, *_: object, **__: object) -> NoReturn:
    """Raise the error for a provider that is called like a function."""
    raise TypeError(f"{_kind(value)!r} object is not callable; {_CALLS}")


def warn_of_comparison(value: object, own: str, other: object) -> None:
    """Warn if a value is compared with something like its content, which it never equals.

    Args:
        value: The value.
        own: Name of the attribute with the content.
        other: The object with which the value is compared.
    """
    content = getattr(value, own, None)
    if content is None or other is None or type(other) is object:
        return
    if isinstance(other, type(content)) or isinstance(content, type(other)):
        words = f"a {_kind(value)} never equals a {_kind(other)}: compare .{own} with it"
        warnings.warn(words, RuntimeWarning, stacklevel=3)


class ContentHolder:
    """The base class of the values that scripts use like their content, such as a text."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers find these errors themselves
        __len__ = __add__ = __radd__ = refuse_use

        def __bool__(self) -> bool:
            return True  # without this method, Python would call `__len__`

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def refuse_position(cls: type) -> TypeError:
    """Return the error for a constructor that was called with positional arguments."""
    words = _names().POSITION_ADVICE.get(cls.__name__)
    more = f"; {words}" if words else ""
    return TypeError(f"{cls.__name__}() takes keyword arguments only{more}")


def _kind(value: object) -> str:
    return type(value).__name__


class ListOf(List[T]):
    """A list whose errors explain expressions of other clients, for example ``models["models"]``.

    Its copies, slices and pickles are plain lists.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers see a plain list

        def __getattr__(self, name: str) -> Any:
            known = name in ("data", "models", "items")
            words = "; it is a list of the models: leave this out" if known else ""
            raise AttributeError(f"'list' object has no attribute {name!r}{words}")

        def __getitem__(self, key: Any) -> Any:
            if isinstance(key, str):
                raise TypeError(
                    f"this is a list of the models: leave [{key!r}] out, and write .name for the "
                    "name of a model"
                )
            return list.__getitem__(self, key)

    def __reduce__(self) -> Tuple[Any, ...]:
        return list, (list(self),)


class OtherRoute:
    """A part of another client's path to a method: ``completions`` in ``chat.completions.create``.

    The error about the method says what to write instead.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no method {name!r} here; {self._advice}")

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Raise the error for a call, as in ``chat.complete(messages=[])``."""
        raise AttributeError(f"there is no such method here; {self._advice}")


def missing_name(module: str, name: str, known: Iterable[str], caller: FrameType) -> Exception:
    """Return the error for a name that a module does not have.

    It is an `ImportError` for ``from module import name``: there, Python would replace an
    `AttributeError` by its own error without the suggestion.

    Args:
        module: Name of the module.
        name: The name.
        known: The public names of the module.
        caller: The frame of the code that uses the name.
    """
    from opcode import opmap

    words = other_public_name(name, known)
    code, at = caller.f_code.co_code, caller.f_lasti
    if words and 0 <= at < len(code) and code[at] == opmap["IMPORT_FROM"]:
        return ImportError(f"cannot import name {name!r} from {module!r}{words}")
    return AttributeError(f"module {module!r} has no attribute {name!r}{words}")


def other_public_name(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for a class of another client or a misspelt class.

    For a name in lower case, no similar name is searched for, because the search would take too
    long: such a name may be a module of the package, and before Python imports a module, it looks
    up the name in the package.
    """
    if name[:1] == "_":
        return ""
    names = list(known)
    for words, advice in _names().PUBLIC_ADVICE if "OllamaProvider" in names else ():
        if name in words.split():
            return f"; {advice}"
    for own, words in _names().OTHER_PUBLIC_NAMES.items():
        if own in names and name in words.split():
            return f"; did you mean {own!r}?"
    return did_you_mean(name, names) if name[:1].isupper() else ""
