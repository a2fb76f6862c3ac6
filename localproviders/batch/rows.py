"""Read each row of a source: its id, and the request that it describes.

A row is a line of OpenAI's batch files, a short line, or a plain text. A short line is a mapping
with the fields of a request. The kind of a row is the kind of its request, such as ``chat``.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields as dataclass_fields
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

from localproviders import _decision_verbs as decision_verbs
from localproviders._did_you_mean import did_you_mean
from localproviders._lazy import LazyModule
from localproviders._rerank_verb import RerankRequest
from localproviders.batch.jobs import CHAT, COMPLETION, DECISION, EMBEDDING, RERANK, Job
from localproviders.batch.sources import RawRow, RowFile
from localproviders.batch.wire.bodies import read_body
from localproviders.errors import ConfigurationError
from localproviders.secret import errors_without_frames
from localproviders.types.messages import as_messages
from localproviders.types.questions import Question, as_questions
from localproviders.types.requests import CompletionRequest, EmbeddingRequest

if TYPE_CHECKING:
    from localproviders import schema
else:
    schema = LazyModule("localproviders.schema")

# A JSON object, such as a row.
_Object = Mapping[str, Any]

#: Fields that may have the id if `id_field` is None. The first one that the row has is used.
ID_FIELDS = ("id", "custom_id")

# The kind of a short line, by the field that only this kind has.
_SHORT: Mapping[str, str] = {
    "messages": CHAT,
    "prompt": COMPLETION,
    "text": EMBEDDING,
    "state": DECISION,
    "query": RERANK,
}
_LINE = ("custom_id", "method", "url", "body")

_COMPLETION_FIELDS = tuple(each.name for each in dataclass_fields(CompletionRequest))
_CHAT_ONLY = ("messages", "tools", "tool_choice", "system")
# The fields of each kind of row.
_FIELDS: Mapping[str, Tuple[str, ...]] = {
    CHAT: (*(n for n in _COMPLETION_FIELDS if n not in ("prompt", "suffix")), "system"),
    COMPLETION: tuple(name for name in _COMPLETION_FIELDS if name not in _CHAT_ONLY),
    EMBEDDING: ("texts", "model", "dimensions", "truncate", "keep_alive", "expect_digest"),
    RERANK: ("query", "documents", "model", "top_n", "extra_body"),
    DECISION: (
        *("state", "questions", "model", "images", "method", "min_mass", "keep_alive"),
        "expect_digest",
    ),
}


class Row(NamedTuple):
    """A row of a source.

    Attributes:
        number: Number of the row; the first row has 0.
        id: The id.
        job: The request; None if the row cannot be sent.
        error: The reason why the row cannot be sent; None if it can be sent.
        value: The row itself: a text or a mapping; None if the row cannot be read.
    """

    number: int
    id: str
    job: Optional[Job]
    error: Optional[ConfigurationError]
    value: Any = None


class RowRules(NamedTuple):
    """The arguments of a run that decide how its rows are read.

    Attributes:
        template: The text of a chat, or of a state, with names of columns in braces.
        id_field: Name of the column with the id.
        questions: The questions of rows with a state.
        fields: Defaults for fields that a row does not have: ``model``, ``system``, and fields of
            requests.
        decision: Defaults for rows with a state that do not have these fields: ``method`` and
            ``min_mass``.
    """

    template: Optional[str]
    id_field: Optional[str]
    questions: Optional[Mapping[str, Any]]
    fields: Mapping[str, Any]
    decision: Mapping[str, Any] = MappingProxyType({})


class RowReader:
    """A reader of the rows of a source.

    Args:
        rules: The arguments of the run.
        file: The file with the rows.

    Raises:
        ConfigurationError: The file does not have a column that the arguments name.
        ValueError: A question is malformed.
    """

    def __init__(self, rules: RowRules, file: RowFile) -> None:
        self._rules = rules
        self._file = file
        self._questions = None if rules.questions is None else as_questions(rules.questions)
        self._is_table = file.columns is not None
        self._check_columns()

    def _check_columns(self) -> None:
        columns, names = self._file.columns, columns_of(self._rules.template or "")
        if columns is None:
            return
        names += [self._rules.id_field] if self._rules.id_field is not None else []
        for name in names:
            if name not in columns:
                raise ConfigurationError(
                    f"the file has no column {name!r}{did_you_mean(name, columns)}",
                    hint=f"its columns are {', '.join(columns[:_MOST_NAMES])}",
                )

    def read_id(self, number: int, raw: RawRow) -> str:
        """Return the id of a row; its number if the row has no id or cannot be read."""
        try:
            value = self._file.value(raw)
            name = self._id_field(value)
            return str(number) if name is None else str(value[name])
        except ValueError:
            return str(number)

    def read(self, number: int, raw: RawRow) -> Row:
        """Return a row. If the row cannot be sent, its `error` says why."""
        name, value = str(number), None
        try:
            value = self._file.value(raw)
            name, rest = self._id_of(number, value)
            return Row(number, name, self._job(rest), None, value)
        except (ValueError, TypeError) as error:
            return Row(number, name, None, _row_error(number, error), value)

    def _id_of(self, number: int, value: Any) -> Tuple[str, Any]:
        """Return the id of a row, and the row without the field of the id."""
        name = self._id_field(value)
        if name is None:
            return str(number), value
        rest = dict(value)
        if name != "custom_id":  # a line of OpenAI's batches has this field, too
            del rest[name]
        return str(value[name]), rest

    def _id_field(self, value: Any) -> Optional[str]:
        """Return the name of the field with the id of a row; None if it has none.

        Raises:
            ValueError: The row has no field of the name `id_field`, or the id is neither a text
                nor a whole number.
        """
        if not isinstance(value, dict):
            return None
        own = self._rules.id_field
        if own is not None and own not in value:
            raise ValueError(f"it has no field {own!r}, which should contain its id")
        name = own or ("id" if "id" in value else "custom_id" if "custom_id" in value else None)
        found = "0" if name is None else value[name]
        if isinstance(found, bool) or not isinstance(found, (str, int)) or found == "":
            raise ValueError(f"its id is {found!r}, and must be a text or a whole number")
        return name

    # --- requests -----------------------------------------------------------------------------

    def _job(self, value: Any) -> Job:
        kind, fields = self._read(value)
        given = {**self._defaults(kind, fields), **fields}
        unknown = [name for name in given if name not in _FIELDS[kind]]
        if unknown:
            known = [name for name in _FIELDS[kind] if name != "texts"]
            raise ValueError(
                f"{unknown[0]!r} is not a field of a row of the kind {kind!r}"
                f"{did_you_mean(unknown[0], known)}"
            )
        return Job(kind, _MAKERS[kind](given))

    def _defaults(self, kind: str, fields: _Object) -> _Object:
        found = dict(self._rules.fields)
        if kind == DECISION:
            found.update(self._rules.decision)
        if kind == DECISION and self._questions is not None:
            found["questions"] = self._questions
        return found

    def _read(self, value: Any) -> Tuple[str, Dict[str, Any]]:
        """Return the kind of a row, and the fields that the row itself has."""
        template = self._rules.template
        if template is not None:
            row = {"text": value} if isinstance(value, str) else value
            return self._subject(filled(template, row))
        if isinstance(value, str):
            return self._subject(value)
        if not self._is_table and ("body" in value or "url" in value):
            return self._line(value)
        if self._is_table and self._questions is not None:
            return DECISION, {"state": value}
        return self._short(value)

    def _subject(self, text: str) -> Tuple[str, Dict[str, Any]]:
        """Return kind and fields for a text: a chat, or, if there are questions, a decision."""
        if self._questions is not None:
            return DECISION, {"state": text}
        return CHAT, {"messages": text}

    def _line(self, value: _Object) -> Tuple[str, Dict[str, Any]]:
        """Return kind and fields of a line of OpenAI's batch files."""
        for name in value:
            if name not in _LINE:
                raise ValueError(
                    f"{name!r} is not a field of a batch line{did_you_mean(name, list(_LINE))}"
                )
        method = value.get("method", "POST")
        if method != "POST":
            raise ValueError(f"method is {method!r}, and can only be 'POST'")
        return read_body(value.get("url"), value.get("body"))

    def _short(self, value: _Object) -> Tuple[str, Dict[str, Any]]:
        """Return kind and fields of a short line."""
        fields = {name: value[name] for name in value if name not in ID_FIELDS}
        kinds = [name for name in _SHORT if name in fields]
        if len(kinds) != 1:
            names = ", ".join(_SHORT)
            found = f"more than one of them: {', '.join(kinds)}" if kinds else "none of them"
            raise ValueError(
                f"it must have one of the fields {names}, and has {found}; for other columns, use "
                "a template"
            )
        kind = _SHORT[kinds[0]]
        if kind == EMBEDDING:
            fields["texts"] = [_text_of(fields.pop("text"))]
        return kind, fields


_MOST_NAMES = 20


def _text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text is {type(value).__name__}, and must be text")
    return value


def _row_error(number: int, error: Exception) -> ConfigurationError:
    message = error.message if isinstance(error, ConfigurationError) else str(error)
    return ConfigurationError(f"row {number}: {message}", hint=getattr(error, "hint", None))


# --- templates --------------------------------------------------------------------------------

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def columns_of(template: str) -> List[str]:
    """Return the column names that a template has in braces.

    Raises:
        ConfigurationError: A brace has no partner, or there is no name between two braces.
    """
    found: Dict[str, None] = {}
    for match in _FIELD.finditer(template):
        if match.group() in ("{", "}", "{}"):
            raise ConfigurationError(
                f"the template has a brace without a name at character {match.start()}",
                hint="write {name} for a column, and {{ or }} for a brace",
            )
        if match.group(1):
            found[match.group(1)] = None
    return list(found)


def filled(template: str, row: _Object) -> str:
    """Fill a template with the values of a row.

    Raises:
        ValueError: The row has no value for a column that the template names.
    """

    def value_of(match: Any) -> str:
        name = match.group(1)
        if not name:
            return str(match.group()[0])
        if row.get(name) is None:
            raise ValueError(
                f"it has no value for {{{name}}} of the template{did_you_mean(name, list(row))}"
            )
        value = row[name]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _FIELD.sub(value_of, template)


# --- making requests --------------------------------------------------------------------------


def _make_chat(fields: _Object) -> CompletionRequest:
    given = dict(fields)
    messages = as_messages(given.pop("messages", ()), given.pop("system", None))
    tools = given.pop("tools", None)
    made = schema.as_tools(tools) if tools else ()
    return CompletionRequest(messages=messages, tools=made, **given)


def _make_completion(fields: _Object) -> CompletionRequest:
    return CompletionRequest(**fields)


def _make_embedding(fields: _Object) -> EmbeddingRequest:
    return EmbeddingRequest(**fields)


def _make_rerank(fields: _Object) -> RerankRequest:
    missing = next((name for name in ("query", "documents") if name not in fields), None)
    if missing is not None:
        raise ValueError(f"it has no field {missing!r}")
    return RerankRequest(**fields)


def _make_decision(fields: _Object) -> decision_verbs.DecisionRequest:
    given = {**_DECISION, **fields}
    if "state" not in given or "questions" not in given:
        missing = "state" if "state" not in given else "questions"
        raise ValueError(f"it has no {missing}")
    state, questions, images = (given.pop(name) for name in ("state", "questions", "images"))
    request = decision_verbs._make_request(_questions_of(questions), images, **given)
    return decision_verbs._about(request, state)


_DECISION: _Object = dict.fromkeys(("model", "method", "keep_alive", "expect_digest"))
_DECISION = {**_DECISION, "images": (), "min_mass": 0.5}


def _questions_of(questions: Any) -> Any:
    """Return a mapping of questions; questions that are JSON objects become `Question` values."""
    if not isinstance(questions, Mapping):
        return questions
    return {
        name: Question.from_dict(each) if isinstance(each, Mapping) else each
        for name, each in questions.items()
    }


# Without this wrapper, the frames in the traceback of an error would contain the row.
_MAKERS: Mapping[str, Callable[[_Object], Any]] = {
    kind: errors_without_frames(maker)
    for kind, maker in (
        (CHAT, _make_chat),
        (COMPLETION, _make_completion),
        (EMBEDDING, _make_embedding),
        (RERANK, _make_rerank),
        (DECISION, _make_decision),
    )
}
