"""Translation of Ollama's JSON to chunks, responses and vectors.

The module also reads the host where a model runs: a call checks this host before it sends a prompt
(docs/reference/ollama.md, "Cloud models"). It also reads the reports of a pull, a push or a
creation (docs/reference/ollama.md, "Progress").
"""

from __future__ import annotations

from array import array
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from localproviders._dialect.common import (
    Row,
    Vectors,
    arguments_of,
    check_reason,
    logprob_tally,
    named,
    parse_logprobs,
    parse_record,
    read_arguments,
    unexpected,
    unread_calls,
)
from localproviders._dialect.common import checked as _checked
from localproviders._dialect.error_answers import from_words, read_words
from localproviders._dialect.repeated_records import Template
from localproviders._dialect.thinking import ThinkingSplitter
from localproviders._dialect.values import count, integer, mapping, nonempty_text, number, text
from localproviders._http.framing import (
    MOST_CALLS,
    MOST_WEIGHT,
    Look,
    Tally,
    no_look,
    parse_json,
    weigh,
)
from localproviders.errors import (
    EmbeddingError,
    ProtocolError,
    ToolCallError,
    UnsupportedError,
)
from localproviders.ollama.wire.errors import RULES
from localproviders.types.inputs import hex_digest
from localproviders.types.messages import ToolCall
from localproviders.types.models import Progress
from localproviders.types.responses import CompletionChunk, ServerTimings, Usage


class ChunkParser:
    """A parser of the NDJSON records of a chat or a plain completion.

    Described in docs/reference/ollama.md, "Streaming".
    """

    def __init__(self, max_json_depth: int, look: Look = no_look) -> None:
        self._max_depth = max_json_depth
        self._look = look
        self._logprobs = logprob_tally(look)
        self._tally = Tally("tool calls", MOST_CALLS)
        self._weight_left = MOST_WEIGHT
        #: The tool calls so far. Each has the reason why its arguments could not be read, or an
        #: empty text if they were read.
        self._calls: List[Tuple[ToolCall, str]] = []
        self._thinking = ThinkingSplitter()
        self._began = False
        # Text of the last record, if an error stopped the parser before it returned the chunk.
        self._unread = ""
        self._template = Template(_changing_strings, max_json_depth)
        self.quick: Callable[[str], Optional[CompletionChunk]] = self._template.read
        self.ended: bool = False
        self.is_single_record = False

    def parse(self, record: str) -> CompletionChunk:
        """Read one record.

        Raises:
            ProviderError: The record is an error, or not part of a response.
        """
        data = parse_record(record, self._max_depth, self._look)
        # An error has priority over all other keys, which can be present as well
        # (docs/reference/ollama.md, "Errors in a stream").
        error = read_words(data)
        if error is not None:
            raise from_words(error, RULES)
        if not isinstance(data, dict) or not isinstance(data.get("done"), bool):
            unexpected("'done' field")
        self._check_end(data)
        source = self._source(data)
        reason = nonempty_text(data.get("done_reason"))
        thinking = text(_thinking_in(source))
        content = text(source.get("response" if source is data else "content"))
        # `held` returns this text if the rest of the record cannot be read.
        self._unread = content
        if reason is not None:
            check_reason(reason)
        chunk = CompletionChunk(
            tool_calls=self._tool_calls(source.get("tool_calls"), record),
            logprobs=parse_logprobs(data.get("logprobs"), self._logprobs),
            model=nonempty_text(data.get("model")),
            finish_reason=reason,
            usage=_usage(data) if self.ended else None,
            server_timings=_timings(data) if self.ended else None,
            raw=data,
        )
        self._unread = ""
        self._add_words(chunk, thinking, content, is_plain=source is data)
        if self._thinking.settled and not self.ended:
            self._template.make(record, chunk)
        return chunk

    def _add_words(
        self, chunk: CompletionChunk, thinking: str, content: str, *, is_plain: bool
    ) -> None:
        """Set thinking and text of a chunk."""
        if is_plain:
            self._thinking.give_up()
        elif thinking:
            self._thinking.separated()
        split = self._thinking.split(content)
        inner, chunk.text = self._thinking.finish(split) if self.ended else split
        chunk.thinking = thinking + inner
        chunk.thinking_inferred = self._thinking.found

    def _source(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the JSON object that contains the text: the message, or the record itself.

        Raises:
            ProtocolError: The message is not an object; or this is the last record, and no record
                of the response has such an object.
        """
        message = data.get("message")
        if type(message) is dict:
            self._began = True
            return message
        # Only the last record may have null for a message, because no text can come with it.
        may_be_null = self.ended or "message" not in data or "response" in data
        if not (message is None and may_be_null):
            unexpected("readable message")
        self._began = self._began or "response" in data
        if self.ended and not self._began:
            unexpected("message")
        return data if "response" in data else {}

    @property
    def held(self) -> str:
        """Received text that is in no chunk.

        It comes from an unreadable record, or may be the beginning of a thinking tag.
        """
        return self._thinking.held + self._unread

    def reread(self, text: str) -> Optional[Tuple[str, str]]:
        """Split the complete text at a closing thinking tag that has no opening tag.

        Return the thinking and the text; None if there is no such tag.
        """
        return self._thinking.reread(text)

    def _check_end(self, data: Mapping[str, Any]) -> None:
        self.ended = data["done"] is True
        reason = data.get("done_reason")
        if self.ended and reason in ("load", "unload"):
            raise ProtocolError(f"the server {reason}ed the model instead of answering")

    def _tool_calls(self, calls: Any, record: str) -> Tuple[ToolCall, ...]:
        """Read the tool calls of a record; each call is complete within one record."""
        # Described in docs/reference/ollama.md, "Streaming". The weights of the JSON texts (see
        # `weigh`) are added up, because all calls of a response are kept in memory until its end.
        if not calls:
            return ()
        if isinstance(calls, dict) and _function_of(calls) is not None:
            calls = [calls]
        if not isinstance(calls, list):
            raise ToolCallError("the tool calls of the response are not a list")
        self._weight_left -= weigh(record, most=self._weight_left, look=self._look)
        read = [self._tool_call(call) for call in calls]
        unread = next((reason for _, reason in read if reason), None)
        if unread is not None:
            raise unread_calls(unread, self._calls)
        return tuple(call for call, _ in read)

    def _tool_call(self, call: Any) -> Tuple[ToolCall, str]:
        self._tally.add()
        function = _function_of(call)
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise ToolCallError("a tool call in the response has no name")
        arguments = self._arguments(arguments_of(function))
        reason = f"the arguments of the call of {name!r} are not an object"
        call_id = str(call.get("id") or f"call_{len(self._calls) + 1}")
        read = ToolCall(id=call_id, name=name, arguments=arguments or {})
        self._calls.append((read, reason if arguments is None else ""))
        return self._calls[-1]

    def _arguments(self, arguments: Any) -> Optional[Dict[str, Any]]:
        """Return the arguments of a tool call; None if they cannot be read.

        Servers send them as an object or as JSON text.
        """
        if isinstance(arguments, str) and arguments.strip():
            return read_arguments(arguments, self._max_depth, self._look, self._spend)
        if arguments is None or arguments == [] or isinstance(arguments, str):
            return {}
        return arguments if isinstance(arguments, dict) else None

    def _spend(self, text: str) -> None:
        self._weight_left -= weigh(text, most=self._weight_left, look=self._look)


def _function_of(call: Any) -> Any:
    """Return the object with the name and the arguments of a call; None if there is none."""
    if not isinstance(call, dict):
        return None
    is_flat = "function" not in call and "name" in call
    return call if is_flat else call.get("function")


def _thinking_in(source: Mapping[str, Any]) -> Any:
    """Return the thinking: in Ollama's field, or in a field of servers that imitate Ollama."""
    return source.get("thinking") or source.get("reasoning") or source.get("reasoning_content")


def _changing_strings(data: Any, kind: str) -> Sequence[Any]:
    """Return the strings in which a record differs from the previous one."""
    # Described in docs/reference/ollama.md, "Streaming".
    message = data.get("message")
    source, name = (message, "content") if isinstance(message, dict) else (data, "response")
    piece = _thinking_in(source) if kind == "thinking" else source.get(name)
    return (data["created_at"], piece) if "created_at" in data else (piece,)


def parse_vectors(data: Any) -> Vectors:
    """Read an embedding response (docs/reference/ollama.md, "Embeddings").

    Raises:
        ProviderError: The response is an error, or has no vectors.
    """
    rows = checked(data).get("embeddings")
    if not isinstance(rows, (list, array)):
        unexpected("'embeddings' list")
    if not all(isinstance(row, (list, array)) for row in rows):
        raise EmbeddingError("a vector in the response is not a list")
    return Vectors(rows, text(data.get("model")), _usage(data), _timings(data))


def parse_old_vector(data: Any) -> Row:
    """Read the vector in a response of ``/api/embeddings``, the older route.

    Raises:
        ProviderError: The response is an error, or has no vector.
    """
    row = checked(data).get("embedding")
    if not isinstance(row, (list, array)):
        unexpected("'embedding' list")
    return row


def old_vectors(rows: List[Row], model: str) -> Vectors:
    """Join the vectors from the older route, which returns no model name and no counts."""
    warning = "this Ollama server is too old for /api/embed; its vectors may not have length one"
    return Vectors(rows, model, Usage(), ServerTimings(), (warning,), "none")


def checked(data: Any) -> Mapping[str, Any]:
    """Return the response if it is an object and not an error.

    Raises:
        ProviderError: The response is an error, or not an object.
    """
    return _checked(data, RULES)


def parse_prompt(data: Mapping[str, Any]) -> str:
    """Read the prompt in the response to a request of `render_payload`.

    Raises:
        UnsupportedError: The server has answered the prompt instead.
        ProtocolError: The response is neither a prompt nor an answer.
    """
    prompt = mapping(data.get("_debug_info")).get("rendered_template")
    if isinstance(prompt, str):
        return prompt
    if "_debug_info" in data or not isinstance(data.get("done"), bool):
        unexpected("rendered prompt")
    raise UnsupportedError(
        "this Ollama server is too old for render(): it answered the prompt",
        hint="update the server",
    )


def _usage(data: Mapping[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=count(data.get("prompt_eval_count")),
        completion_tokens=count(data.get("eval_count")),
    )


def _timings(data: Mapping[str, Any]) -> ServerTimings:
    return ServerTimings(
        load_s=_seconds(data.get("load_duration")),
        prompt_s=_seconds(data.get("prompt_eval_duration")),
        generation_s=_seconds(data.get("eval_duration")),
        total_s=_seconds(data.get("total_duration")),
    )


def _seconds(nanoseconds: Any) -> Optional[float]:
    duration = number(integer(nanoseconds))
    return None if duration is None else duration / 1e9


def remote_host(data: Optional[Mapping[str, Any]]) -> Optional[str]:
    """Return the host that runs a model, according to a record about it; None means this server."""
    host = (data or {}).get("remote_host")
    return str(host) if host else None


class Listed(NamedTuple):
    """An entry of the list of installed models.

    Attributes:
        name: Name of the model.
        host: The other host that runs the model, for the stub of a cloud model; otherwise None.
        digest: Digest of the model's manifest in lower case, or None.
    """

    name: str
    host: Optional[str]
    digest: Optional[str]


def parse_listed(data: Any) -> List[Listed]:
    """Read the name, the host and the digest of each model from the list of installed models.

    Raises:
        ProviderError: The response is an error, or not a list.
    """
    return [
        Listed(name_of(model), remote_host(model), hex_digest(model.get("digest")))
        for model in read_records(data)
    ]


def read_records(data: Any, look: Look = no_look) -> Iterator[Mapping[str, Any]]:
    """Read the records in a list of models; omit records without a name.

    If the server has no model, the list can be null (docs/reference/ollama.md, "Model list").

    Raises:
        ProviderError: The response is an error, not a list of models, or too long; or a limit
            of the call expired, or the call was cancelled.
    """
    found = checked(data)
    models = found.get("models") or []
    if "models" not in found or not isinstance(models, list):
        unexpected("'models' list")
    return named(models, name_of, look)


def name_of(data: Mapping[str, Any]) -> str:
    """Return the name of a model in a list of models.

    Raises:
        ProtocolError: The name is not a string.
    """
    return text(data.get("name") or data.get("model"))


#: Status of the last report, and the only sign of success (docs/reference/ollama.md, "Progress").
SUCCESS = "success"

# Digest in the reports about converting and quantizing. It does not belong to a file.
_DUMMY_DIGEST = "sha256:" + "0" * 64


def parse_progress(record: str, max_json_depth: int, look: Look = no_look) -> Progress:
    """Read one report of a transfer.

    Raises:
        ProviderError: The record is an error, or not a report; or a limit of the call expired,
            or the call was cancelled.
    """
    data = checked(parse_json(record, max_json_depth, look=look))
    status = nonempty_text(data.get("status"))
    if status is None:
        unexpected("'status' string")
    digest, total = nonempty_text(data.get("digest")), integer(data.get("total"))
    # The server omits zeros, so the first report of a layer has only a total.
    completed = integer(data.get("completed"))
    if completed is None and total is not None:
        completed = 0
    return Progress(
        status=status,
        digest=digest,
        completed_bytes=completed,
        total_bytes=total,
        fraction=_fraction(completed, total),
        raw=data,
    )


def _fraction(completed: Optional[int], total: Optional[int]) -> Optional[float]:
    if completed is None or total is None or total <= 0:
        return None
    return min(max(completed / total, 0.0), 1.0)


def is_file_transfer(progress: Progress) -> bool:
    """Return whether a report is about the transfer of a file, not about work of the server."""
    return progress.digest not in (None, _DUMMY_DIGEST)
