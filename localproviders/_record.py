"""The base class and the decorator of the public frozen dataclasses.

This module defines what these classes have in common: keyword-only constructors, so that fields can
be added later; equality and a hash; a repr without content; conversion to and from plain
dictionaries; and pickles without the server's raw record. In this package, a value is an instance
of such a class.
"""

from __future__ import annotations

import base64
import collections.abc as abc
import inspect
import sys
from array import array
from dataclasses import MISSING, Field, fields
from dataclasses import field as field
from datetime import date, time, timedelta
from enum import Enum
from types import CellType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Collection,
    Dict,
    List,
    Mapping,
    NoReturn,
    Optional,
    Tuple,
    Type,
    TypeVar,
    cast,
)

from localproviders._did_you_mean import (
    name_other_attribute,
    refuse_item,
    refuse_position,
    suggest_keyword,
    warn_of_comparison,
)
from localproviders._frozen_dataclass import (
    Compile,
    Frozen,
    dataclass_transform,
    frozen_dataclass,
)
from localproviders._redact import each_on_one_line, in_markdown
from localproviders._signatures import Self, unknown_keywords

#: A function that converts the argument for a field to a value that may be shown. For example, an
#: API key becomes a `SecretString`. It receives the argument sealed, that is, in a cell
#: (`secret.Sealed`), because tracebacks with local variables do not show the content of a cell.
Hide = Callable[[CellType], Any]

#: A function that sets the fields of a new value from its arguments.
Fill = Callable[[Any, Dict[str, Any]], None]


def _sealed(cls: Any, fill: Fill) -> Callable[..., None]:
    """Return a constructor that first hides the secret arguments.

    The plain values must not be in any frame of the package, because a traceback with local
    variables would show them.
    """
    names, hides = [each.name for each in fields(cls)], cls._hides

    def __init__(self: Any, *args: Any, **fields: Any) -> None:  # noqa: N807  # it becomes a method
        given, args, fields = CellType((args, fields)), (), {}
        if given.cell_contents[0]:
            raise refuse_position(cls)
        fill(self, hidden(cls.__name__, names, hides, CellType(given.cell_contents[1])))

    return __init__


def hidden(
    what: str, names: Collection[str], hides: Mapping[str, Hide], given: CellType
) -> Dict[str, Any]:
    """Return keyword arguments, with the secret ones hidden.

    Args:
        what: Name of the class or function, for the message.
        names: The names of the arguments of the class or function.
        hides: For each argument that may contain a secret, the function that hides it.
        given: The sealed dictionary of the arguments.

    Raises:
        TypeError: A name is unknown. Its value is not shown, because a misspelt argument may be
            a secret.
    """
    unknown = [name for name in given.cell_contents if name not in names]
    if unknown:
        raise unknown_keywords(unknown, what, names)
    # The loop is over the names: a loop over the values would have each value in this frame.
    return {
        name: hides[name](CellType(given.cell_contents[name]))
        if name in hides
        else given.cell_contents[name]
        for name in given.cell_contents
    }


K = TypeVar("K")
V = TypeVar("V")


def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
    what, copy = ("list", "[*it, item]") if isinstance(self, list) else _DICTIONARY
    raise TypeError(
        f"this {what} is part of a frozen value and cannot be changed; make a changed copy with"
        f" {copy} or from to_dict() of the value, and pass the copy to replace(...) of the value"
    )


_DICTIONARY = ("dictionary", "{**it, key: value}")


class FrozenDict(Dict[K, V]):
    """A dictionary that refuses changes and has a hash.

    It is a subclass of `dict`, not a view of one, so that `json`, `pickle`, `copy` and
    `dataclasses.asdict` accept it. Calls of the base class, such as `dict.update(it, ...)` or
    `it.__init__(...)`, can still change it, just as `object.__setattr__` can change any frozen
    dataclass. `copy()` returns a plain `dict`.
    """

    # Type checkers see a plain dict; the fields that contain one are annotated as Mapping.
    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # a plain dict has none
        return hash_of(self)

    def __reduce__(self) -> Tuple[Any, ...]:
        # By default, pickle fills a new dictionary item by item, which this class refuses.
        return type(self), (dict(self),)


class FrozenList(List[V]):
    """A list that refuses changes and has a hash.

    It is a subclass of `list` and not a tuple, because a tuple never equals a list.
    """

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
        append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # a plain list has none
        return hash_of(self)

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (list(self),)


# Number of levels of containers that are frozen. By default, a server's JSON may have as many
# levels (`Settings.max_json_depth`).
_MAX_FROZEN_DEPTH = 100
# Most values in JSON have these types, and need not be frozen. Looking up the type first saves most
# of the time.
_IMMUTABLE_TYPES = frozenset({str, int, float, bool, type(None)})


def frozen(value: Any) -> Any:
    """Return a copy in which the mappings, lists and tuples on all levels cannot be changed.

    Mappings become `FrozenDict`, and lists become `FrozenList`. Other values are not copied.
    Containers that are nested more than 100 levels deep, or that contain themselves, are not
    frozen.
    """
    return _frozen(value, {}, 0)


def _frozen(value: Any, seen: Dict[int, Tuple[Any, Any]], depth: int) -> Any:
    if type(value) in _IMMUTABLE_TYPES or isinstance(value, (FrozenDict, FrozenList)):
        return value
    if depth > _MAX_FROZEN_DEPTH or not _can_freeze(value):
        return value
    if id(value) not in seen:
        # Each container is copied only once. So a container that is used in two places is shared by
        # the copies, and a container that contains itself does not recurse for ever. `seen` also
        # keeps the original alive: otherwise Python could use its id for another object.
        seen[id(value)] = (value, value)
        seen[id(value)] = (value, _frozen_container(value, seen, depth + 1))
    return seen[id(value)][1]


def _can_freeze(value: Any) -> bool:
    return isinstance(value, (list, dict, Mapping)) or type(value) is tuple


def _frozen_container(value: Any, seen: Dict[int, Tuple[Any, Any]], depth: int) -> Any:
    if isinstance(value, (dict, Mapping)):  # the check for dict is much faster
        return FrozenDict({name: _frozen(value[name], seen, depth) for name in value})
    make = FrozenList if isinstance(value, list) else tuple
    return make([_frozen(item, seen, depth) for item in value])


def thawed(value: Any) -> Any:
    """Return a copy of a frozen value in which dictionaries and lists can be changed."""
    if isinstance(value, FrozenDict):
        return {name: thawed(item) for name, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, FrozenList) else value


def hash_of(value: Any) -> int:
    """Return a hash that is consistent with equality, also for lists, dictionaries and sets.

    These containers are hashed by their content, so that equal containers have equal hashes.

    Raises:
        TypeError: The content has no hash. For example, it contains an `array`.
    """
    if isinstance(value, (tuple, list)):
        return hash(tuple(map(hash_of, value)))
    if isinstance(value, Mapping):
        return hash(frozenset((key, hash_of(item)) for key, item in value.items()))
    if isinstance(value, (set, bytearray)):
        # A set equals a frozenset, and a bytearray equals bytes, so the hashes must be equal, too.
        return hash(frozenset(value) if isinstance(value, set) else bytes(value))
    return hash(value)


T = TypeVar("T")

#: Metadata of a field that contains text of a user or a model. The repr shows only its size.
CONTENT: Mapping[str, Any] = {"content": True}

#: Metadata of a field that repr, dictionaries and pickles leave out, such as the server's own
#: record. Each such field is also excluded from equality by ``compare=False``.
RAW: Mapping[str, Any] = {"raw": True}

#: Metadata of a field that repr leaves out, but dictionaries and pickles contain.
UNSHOWN: Mapping[str, Any] = {"unshown": True}


# Marks in the metadata of the fields that repr leaves out.
_UNSHOWN = frozenset({"raw", "unshown"})

# Maximum nesting of a value that `plain` converts. It is well below Python's recursion limit: close
# to that limit, a finalizer that the garbage collector happens to run would fail, too.
_MAX_DEPTH = 300


def loads(load: Callable[[Any], Any], **more: Any) -> Mapping[str, Any]:
    """Return metadata for a field: `from_dict` converts the plain value of the field with `load`.

    Args:
        load: A function that converts a value from a dictionary to the value of the field.
        more: Further metadata.
    """
    return {"load": load, **more}


def loads_each(load: Callable[[Any], Any], **more: Any) -> Mapping[str, Any]:
    """Return metadata for a field with a tuple: `from_dict` converts each item with `load`.

    Args:
        load: A function that converts an item from a dictionary to an item of the tuple.
        more: Further metadata.
    """
    return {"load": lambda items: tuple(load(item) for item in items), **more}


_KEYWORDS_ONLY = {"kw_only": True} if sys.version_info >= (3, 10) else {}


@dataclass_transform(
    frozen_default=True, kw_only_default=True, eq_default=False, field_specifiers=(field,)
)
def record(cls: Type[T]) -> Type[T]:
    """Make a subclass of `Record` a frozen dataclass with keyword-only arguments.

    This works on every Python version.
    """
    made: Any = frozen_dataclass(cls, _make_constructor, **_KEYWORDS_ONLY)
    hides = {each.name: each.metadata["hide"] for each in fields(made) if "hide" in each.metadata}
    if made._names_attributes:
        made.__getattr__ = name_other_attribute
    if hides:
        made._hides = hides
        # The `__replace__` that `dataclass` makes would have the secrets in its frame.
        made.__replace__ = Record.replace
    return cast("Type[T]", made)


def _make_constructor(cls: Any, compiled: Compile) -> Callable[..., None]:
    """Return a constructor with keyword-only arguments.

    The constructor of `dataclass` sets each field by a call, and takes up to 1 ms to be compiled.
    It is compiled only for `inspect` and `help`, which read its signature, and for its errors.
    """
    of_dataclass = _CompiledConstructor(compiled)
    fill = _filler(cls, of_dataclass)
    made: Any = _sealed(cls, fill) if cls._hides else _open(cls, fill)
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    made.__annotations__ = {**{each.name: each.type for each in fields(cls)}, "return": None}
    made.__wrapped__ = of_dataclass
    return cast("Callable[..., None]", made)


class _CompiledConstructor:
    """The constructor that `dataclass` makes, which is compiled when it is first used."""

    def __init__(self, compiled: Compile) -> None:
        self._compile = compiled

    def __getattr__(self, name: str) -> Any:
        if name == "_compile":  # of a copy that is not complete yet
            raise AttributeError(name)
        return getattr(self._function(), name)

    def __call__(self, value: Any, /, **given: Any) -> None:
        self._function()(value, **given)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function())

    def _function(self) -> Callable[..., None]:
        # `cached_property` is not used: before Python 3.12 it has a lock, which a child process
        # would inherit if the process forks at this moment.
        made: Optional[Callable[..., None]] = vars(self).get("_made")
        if made is None:
            compiled = self._compile()
            made = self._made = compiled if _KEYWORDS_ONLY else _without_positions(compiled)
        return made


# The fields of a value with more fields than this are set at once. That is faster than a call for
# each field, but then the dictionary of the value takes more memory. Values with few fields may
# be many, such as the log-probabilities of an answer.
_FEW_FIELDS = 8


def _filler(cls: Any, of_dataclass: _CompiledConstructor) -> Fill:
    """Return a function that sets the fields of a new value from its arguments.

    It clears the dictionary with the arguments, because a traceback with local variables must not
    show the content.
    """
    every = fields(cls)
    # The defaults, in the order of the fields. The fields without a default have None here.
    defaults = {each.name: None if each.default is MISSING else each.default for each in every}
    factories: Dict[str, Any] = {
        each.name: each.default_factory for each in every if each.default_factory is not MISSING
    }
    known = frozenset(defaults)
    required = {each.name for each in every if each.default is MISSING}.difference(factories)
    is_large, is_checked = len(every) > _FEW_FIELDS, hasattr(cls, "__post_init__")
    set_field, pairs = object.__setattr__, tuple(defaults.items())

    def refuse(value: Any, given: Dict[str, Any]) -> None:
        """Raise the error if an argument is unknown or missing."""
        unknown = [name for name in given if name not in known]
        if unknown:
            raise unknown_keywords(unknown, cls.__name__, known)
        of_dataclass(value, **dict.fromkeys(given))

    def fill(value: Any, given: Dict[str, Any]) -> None:
        try:
            if not (known.issuperset(given) and required <= given.keys()):
                refuse(value, given)
            for name, make in factories.items():
                if name not in given:
                    given[name] = make()
            # A subclass may define a field in another way, such as by a property.
            if is_large and type(value) is cls:
                # A traceback with local variables shows only that `set_all` is a method, not the
                # content of the dictionary.
                set_all = vars(value).update
                set_all(defaults)
                set_all(given)
            else:
                for name, default in pairs:
                    set_field(value, name, given.get(name, default))
        finally:
            given.clear()
        if is_checked:
            value.__post_init__()

    return fill


def _open(cls: Any, fill: Fill) -> Callable[..., None]:
    """Return a constructor of a class without secret arguments."""

    def __init__(self: Any, *values: Any, **given: Any) -> None:  # noqa: N807  # it becomes a method
        try:
            if values:
                raise refuse_position(cls)
            fill(self, given)
        finally:
            values, given = (), {}  # a traceback with local variables must not show the content

    return __init__


def _without_positions(init: Any) -> Callable[..., None]:
    """Make the arguments of a constructor keyword-only.

    It replaces the argument `kw_only` of `dataclass`, which needs Python 3.10.
    """
    code, defaults = init.__code__, init.__defaults__ or ()
    names = code.co_varnames[1 : code.co_argcount]
    init.__code__ = code.replace(co_argcount=1, co_kwonlyargcount=len(names))
    init.__kwdefaults__ = dict(zip(names[len(names) - len(defaults) :], defaults))
    init.__defaults__ = None
    return cast("Callable[..., None]", init)


# The types of the usual values of a field with a mapping.
_FROZEN = (type(None), FrozenDict)


class Record(Frozen):
    """The base class of the public values.

    It defines equality, hash, repr, copies, pickles, and conversion to and from dictionaries.
    """

    #: Name of the field with the content. Some scripts compare the value with such content by
    #: mistake.
    _content: ClassVar[str] = ""

    _hides: ClassVar[Mapping[str, Hide]] = {}

    #: Whether an error for a missing attribute names the right one. This needs `__getattr__`, with
    #: which Python reads each attribute more slowly. So it is False for the classes whose values
    #: every call reads many times.
    _names_attributes: ClassVar[bool] = True

    if not TYPE_CHECKING:  # type checkers find wrong names themselves
        __getitem__ = refuse_item

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or other.__class__ is not self.__class__:
            if self._content:
                warn_of_comparison(self, self._content, other)
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash_of(self._compared())

    def _compared(self) -> List[Any]:
        return [getattr(self, each.name) for each in fields(self) if each.compare]

    def __repr__(self) -> str:
        shown = [
            f"{each.name}={_shown(each, value)}"
            for each in fields(self)
            # `MISSING` stands for a field that is not set yet: a debugger may show a value whose
            # constructor has not finished.
            for value in (getattr(self, each.name, MISSING),)
            if value is not MISSING
            and _UNSHOWN.isdisjoint(each.metadata)
            and value != _default(each)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def to_dict(self) -> Dict[str, Any]:
        """Return this value as plain JSON types. Fields that have their default are left out.

        Bytes become base64 text, and dates become ISO 8601 text. The server's raw record is left
        out, and secrets are redacted. The dictionaries and lists are copies that may be changed.

        `from_dict` makes an equal value from the result, with two exceptions. Secrets are lost.
        Inside a dictionary, such as the arguments of a tool call, tuples become lists and dates
        become text.
        """
        return {
            each.name: plain(value)
            for each in fields(self)
            for value in (getattr(self, each.name),)
            if "raw" not in each.metadata and value != _default(each)
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a value from a dictionary that `to_dict` returned.

        Raises:
            ValueError: A key is not a field of this class, or a required field is missing.
        """
        known = {each.name: each for each in fields(cls)}
        given, data = CellType(data), {}
        for key in given.cell_contents:
            if key not in known or "raw" in known[key].metadata:
                raise ValueError(
                    f"{cls.__name__} has no field {key!r}{suggest_keyword(key, known)}"
                )
        try:
            return cls(**{key: _loaded(known[key], it) for key, it in given.cell_contents.items()})
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed. The checks of the constructor run again.

        Raises:
            TypeError: The class has no field of this name.
            ValueError: The constructor refuses a value.
        """
        given, changes = CellType(changes), {}
        if self._hides:
            names = [each.name for each in fields(self)]
            given = CellType(hidden(type(self).__name__, names, self._hides, given))
        now = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        given, now = CellType({**now, **given.cell_contents}), {}
        return type(self)(**given.cell_contents)

    __replace__ = replace

    def __getstate__(self) -> Dict[str, Any]:
        raw = {each.name for each in fields(self) if "raw" in each.metadata}
        return {name: value for name, value in self.__dict__.items() if name not in raw}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _freeze(self, *names: str) -> None:
        """Replace the mappings in these fields with frozen copies."""
        for name in names:
            value = getattr(self, name)
            # Most fields have None or a FrozenDict, which is not copied.
            if type(value) not in _FROZEN and isinstance(value, Mapping):
                object.__setattr__(self, name, frozen(value))

    def _keep_as_tuples(self, *names: str) -> None:
        """Replace the lists in these fields with tuples, because a list never equals a tuple."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))

    def _put_on_one_line(self, *names: str) -> None:
        """Make each text in these fields a single line, because it may quote text of a server."""
        for name in names:
            texts = getattr(self, name)
            if texts:
                object.__setattr__(self, name, each_on_one_line(texts))


class Line(Record):
    """The base class of public values whose `str` is one line. Notebooks show this line, too."""

    def _repr_markdown_(self) -> str:
        return in_markdown(str(self))


def plain(value: Any, depth: int = 0) -> Any:
    """Convert a value to JSON types.

    Records, dataclasses, attrs classes, pydantic models and named tuples become objects. Bytes
    become base64 text; dates, times and durations become ISO 8601 text; paths, UUIDs, addresses,
    fractions and `Decimal` become text; and enums become their values. Numbers and arrays of numpy
    and similar packages become numbers and lists. The items of containers are converted. A value
    of any other type is returned unchanged.

    Raises:
        ValueError: The value is nested more than 300 levels deep, or contains itself; or two keys
            of a mapping become the same text.
    """
    if type(value) in _IMMUTABLE_TYPES or isinstance(value, type):
        return value
    if depth > _MAX_DEPTH:
        raise ValueError(f"the value has more than {_MAX_DEPTH} levels, or contains itself")
    if isinstance(value, Record):
        return value.to_dict()
    if hasattr(value, "to_dict"):
        return plain(value.to_dict(), depth + 1)
    if isinstance(value, Enum):
        return plain(value.value)
    value, depth = _fields_of(value), depth + 1
    if isinstance(value, Mapping):
        return _plain_mapping(value, depth)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _plain_array(value, depth)
    if isinstance(value, _ITEMS) and not isinstance(value, str):
        return [plain(item, depth) for item in value]
    return _plain_text(value)


# Types that become a list.
_ITEMS = (list, tuple, set, frozenset, array, abc.Sequence, abc.Set, abc.ValuesView)

# Module and name of the types that `str` converts to text. They are compared by name, because their
# modules are slow to import.
_TEXTS = {
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("uuid", "UUID"),
    *(
        ("ipaddress", f"IPv{version}{what}")
        for version in (4, 6)
        for what in ("Address", "Network", "Interface")
    ),
}


def _plain_mapping(value: Mapping[Any, Any], depth: int) -> Dict[str, Any]:
    made = {str(plain(key, depth)): plain(item, depth) for key, item in value.items()}
    if len(made) < len(value):
        raise ValueError("two keys of a mapping become the same text, so a value would be lost")
    return made


def _plain_text(value: Any) -> Any:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration(value)
    if hasattr(value, "__fspath__"):
        return str(value)
    names = {(cls.__module__, cls.__qualname__) for cls in type(value).__mro__}
    # JSON has no number for infinity, and `json` refuses such a value itself.
    is_finite = getattr(value, "is_finite", lambda: True)
    return str(value) if names & _TEXTS and is_finite() else value


def _duration(value: timedelta) -> str:
    """Return a duration as ISO 8601 text, such as ``P1DT2H30M``."""
    size = abs(value)
    minutes, seconds = divmod(size.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{size.microseconds:06d}".rstrip("0") if size.microseconds else ""
    clock = "".join(
        f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M")) if number
    ) + (f"{seconds}{fraction}S" if seconds or fraction else "")
    day = f"{size.days}D" if size.days else ""
    text = f"P{day}{'T' if clock else ''}{clock}" if day or clock else "PT0S"
    return f"-{text}" if value < timedelta() else text


def _plain_array(value: Any, depth: int) -> Any:
    """Convert a number or an array of numpy, or of a package with the same methods."""
    kind = getattr(value.dtype, "kind", "")
    if getattr(value, "shape", None) == ():
        return _plain_number(value, kind, depth)
    # Arrays of dates and of short floats are converted item by item: `tolist` would lose the
    # unit of a date, and would show digits that a short float does not have.
    if kind in ("M", "m") or (kind == "f" and value.dtype.itemsize < 8):
        return [plain(item, depth) for item in value]
    return plain(value.tolist(), depth)


def _plain_number(value: Any, kind: str, depth: int) -> Any:
    if kind in ("M", "m"):
        return str(value)
    if kind == "f":
        return float(str(value))
    names = getattr(value.dtype, "names", None)
    if names:
        return {name: plain(value[name], depth) for name in names}
    made = value.item()
    return made if type(made) is type(value) else plain(made, depth)


def _fields_of(value: Any) -> Any:
    """Return a dictionary with the fields of a value, or the value itself if it has no fields."""
    if hasattr(value, "model_dump"):  # pydantic models
        return value.model_dump(mode="json")
    if hasattr(value, "parse_obj") and hasattr(value, "dict"):  # models of pydantic 1
        return value.dict()
    if hasattr(value, "_asdict"):  # named tuples
        return value._asdict()
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if hasattr(value, "__attrs_attrs__"):
        return {each.name: getattr(value, each.name) for each in value.__attrs_attrs__}
    return value


def size_of(value: Any) -> str:
    """Return the text that shows only the size of a value in a repr: ``<12 characters>``."""
    if value is None:
        return "None"
    units: Mapping[type, str] = {str: "characters", bytes: "bytes"}
    unit = units.get(type(value), "items")
    return f"<{len(value)} {unit}>" if hasattr(value, "__len__") else "<hidden>"


def _default(each: Field[Any]) -> Any:
    """Return the default of a field, or `MISSING` if it has none."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def _shown(each: Field[Any], value: Any) -> str:
    return size_of(value) if "content" in each.metadata else repr(value)


def _loaded(each: Field[Any], value: Any) -> Any:
    load = each.metadata.get("load")
    return value if load is None or value is None else load(value)
