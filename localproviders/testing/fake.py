"""The base class of the fake servers: models that load, scripted replies, and faults."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import zlib
from abc import abstractmethod
from collections import deque
from math import sqrt
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypedDict,
    Union,
)

from localproviders import kinds
from localproviders._signatures import exact_keywords
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer, as_text, dumps
from localproviders.testing.faults import Fault, find_fault
from localproviders.testing.scripted import Exchange, ScriptedServer, ScriptEndsError, Step
from localproviders.testing.values import FakeModel, Refusal, Reply, Scripted, words_of
from localproviders.types.messages import ToolCall

#: The models of a fake server: names or `FakeModel` values; None for its default models.
Models = Optional[Sequence[Union[str, FakeModel]]]

# For a pattern in the name of a model, the ability of the model. The patterns for decision models
# are names from Ollama's library, and names of llama.cpp's model types.
_SUGGESTED: Mapping[str, str] = {
    "rerank": "rerank",
    "embed|minilm": "embeddings",
    "decider|nimble|tev1|clef|openjev": "decision",
}

#: The response of Ollama to a text whose vector contains NaN (ollama#15582).
POISONED = Refusal(
    status="500 Internal Server Error",
    body={"error": "failed to encode response: json: unsupported value: NaN"},
)


class FakeOptions(TypedDict, total=False):
    """The keyword arguments of every fake server; see `FakeServer`."""

    api_key: Optional[str]
    tls: Optional[ssl.SSLContext]
    one_byte_writes: bool
    port: int
    unix: Optional[str]


class FakeServer(ScriptedServer):
    """The base class of the fake servers, real HTTP servers on this machine.

    Use a fake server in a ``with`` block.

    Args:
        models: Names, or `FakeModel` values.
        api_key: The key that every request must have; None accepts requests without a key.
        tls: The TLS context of the server; None serves plain HTTP.
        one_byte_writes: Send every response one byte at a time.
        port: The port to listen on; 0 uses a free port.
        unix: The path of a UNIX socket to listen on, instead of a port.
    """

    #: The models if the constructor receives no models.
    default_models: Sequence[Union[str, FakeModel]] = ()
    #: The kinds of responses that this server sends, for faults that apply to some kinds only.
    kinds: Tuple[str, ...] = ()
    #: Paths of the requests that run a model. By default, faults apply to these requests.
    work_paths: Tuple[str, ...] = ()
    #: Paths of the requests for the model list.
    list_paths: Tuple[str, ...] = ()
    #: Paths of the requests that transfer models, such as pull and push.
    transfer_paths: Tuple[str, ...] = ()

    @exact_keywords
    def __init__(
        self,
        models: Models = None,
        *,
        api_key: Optional[str] = None,
        tls: Optional[ssl.SSLContext] = None,
        one_byte_writes: bool = False,
        port: int = 0,
        unix: Optional[str] = None,
    ) -> None:
        key, api_key = Sealed(api_key), None
        super().__init__(
            self._answer_steps, tls=tls, one_byte_writes=one_byte_writes, port=port, unix=unix
        )
        given = self.default_models if models is None else models
        #: The models, in the order of the model list.
        self.models: List[FakeModel] = [
            model if isinstance(model, FakeModel) else self.make_model(model) for model in given
        ]
        self.api_key: Optional[str] = key.cell_contents
        #: The answer to a request for text if no scripted reply is left.
        self.usual: Scripted = Reply()
        #: Further headers of every response, such as ``X-Request-Id``.
        self.headers: Dict[str, str] = {}
        #: The context windows of the models in memory, by name.
        self.loaded: Dict[str, int] = {m.name: m.context_length for m in self.models if m.loaded}
        self._poisons: Dict[str, Union[Refusal, Sequence[Any]]] = {}
        self._scores: Dict[str, Any] = {}
        self._replies: Deque[Scripted] = deque()
        self._armed: List[_Armed] = []
        # Seconds of silence before a response that is not a stream, by the id of the exchange.
        self._silences: Dict[int, float] = {}
        self._loading = threading.Lock()

    # --- scripting ------------------------------------------------------------------------

    def make_model(self, name: str) -> FakeModel:
        """Make a model with the ability that the name suggests; a chat model if it suggests none.

        For example, a name with ``embed`` suggests an embedding model.
        """
        for pattern, ability in _SUGGESTED.items():
            if re.search(pattern, name):
                return FakeModel(name=name, abilities=(ability,))
        return FakeModel(name=name)

    def reply_with(self, *replies: Scripted) -> None:
        """Answer the next requests for text with these replies, in order, and then with `usual`.

        If a reply is a function and raises an exception, the client receives status 500. `stop`,
        or the end of the ``with`` block, raises the exception again, so that a failed assertion in
        the function fails the test. Until then, `errors` contains it.

        Raises:
            TypeError: A reply is not a string, `Reply`, `Refusal` or function.
        """
        for reply in replies:
            if not (isinstance(reply, (str, Reply, Refusal)) or callable(reply)):
                raise TypeError(
                    f"expected a string, Reply, Refusal or function as a reply, got {reply!r}"
                )
        self._replies.extend(replies)

    def break_next(
        self, fault: Union[Fault, str], *, times: Optional[int] = 1, path: str = ""
    ) -> None:
        """Simulate a fault in the responses to the next requests.

        Args:
            fault: One of `FAULTS`, or its name.
            times: The number of requests that the fault applies to; None means all requests
                until `heal`.
            path: The start of the path of these requests. If it is empty, a fault of model lists
                applies to requests for the list, a fault of transfers to requests that transfer
                models, and any other fault to requests that run a model.

        Raises:
            ValueError: There is no fault of this name, the fault does not apply to any response
                of this server, or `times` is less than 1.
        """
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, or None for no limit, but is {times}")
        found = find_fault(fault)
        if not set(found.kinds) & set(self.kinds):
            raise ValueError(
                f"the fault {found.name!r} does not apply to any response of {type(self).__name__}"
            )
        special: Dict[Tuple[str, ...], Tuple[str, ...]] = {
            ("list",): self.list_paths,
            ("progress",): self.transfer_paths,
        }
        usual = special.get(found.kinds, self.work_paths)
        self._armed.append(_Armed(found, times, (path,) if path else usual))

    def poison(self, text: str, how: Union[Refusal, Sequence[Any]] = POISONED) -> None:
        """Make the embedding of a text fail, in any batch that contains it, until `heal`.

        Args:
            text: The complete text.
            how: The response to each request that contains this text, also to a rerank request. Or
                the values of the text's vector, such as NaN, if the request should succeed.
        """
        self._poisons[text] = how

    def score(self, document: str, score: Any) -> None:
        """Set the score of a document in every ranking, until `heal`.

        Args:
            document: The complete text.
            score: The score: a number, or any other value of JSON, for tests of clients.
        """
        self._scores[document] = score

    def heal(self) -> None:
        """Undo all calls of `poison` and `score`, and remove faults and replies not used so far."""
        self._poisons.clear()
        self._scores.clear()
        self._armed.clear()
        self._replies.clear()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Close all connections, refuse new ones inside the block, and listen again after it."""
        self._close()  # unlike `stop`, this raises no error of the script
        try:
            yield
        finally:
            self.start()

    # --- the dialect ----------------------------------------------------------------------

    @abstractmethod
    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request."""

    # --- helpers for dialects -------------------------------------------------------------

    def next_reply(self, exchange: Exchange) -> Union[Reply, Refusal]:
        """Return the next scripted reply; the usual reply if none is left."""
        scripted = self._replies.popleft() if self._replies else self.usual
        if callable(scripted):
            scripted = self._call(scripted, exchange)
        reply = Reply(text=scripted) if isinstance(scripted, str) else scripted
        if isinstance(reply, Reply) and reply.pause_s:
            pieces = len(words_of(reply.text)) + len(words_of(reply.thinking))
            pieces += count_call_tokens(reply.tool_calls)
            silence_s = self._silences.get(id(exchange), 0.0) + reply.pause_s * max(1, pieces)
            self._silences[id(exchange)] = silence_s
        return reply

    def _call(
        self, function: Callable[[Exchange], Union[str, Reply, Refusal]], exchange: Exchange
    ) -> Union[str, Reply, Refusal]:
        """Call a reply function. If it raises, keep the exception, and return it as a refusal."""
        try:
            reply = function(exchange)
            if not isinstance(reply, (str, Reply, Refusal)):
                raise TypeError(
                    f"the reply function returned {reply!r}, and must return a string, Reply or "
                    f"Refusal"
                )
        except (ScriptEndsError, ConnectionError):
            raise  # the function closed the connection, or the client did
        except BaseException as error:
            self._keep_failure(error)
            words = f"the reply function raised {type(error).__name__}: {error}"
            return Refusal(status="500 Internal Server Error", body={"error": words})
        return reply

    def load(self, model: FakeModel, exchange: Exchange, window: Optional[int] = None) -> float:
        """Load a model into memory. Meanwhile, send nothing. Return the seconds of the load."""
        window = window or self.loaded.get(model.name) or model.context_length
        with self._loading:
            if self.loaded.get(model.name) == window:
                return 0.0
            if model.load_s:
                exchange.hold(model.load_s)
            self.loaded[model.name] = window
        return model.load_s

    def refuses(self, texts: Sequence[str]) -> Optional[Refusal]:
        """Return the refusal that `poison` has set for one of these texts; None if it set none."""
        found = (self._poisons.get(text) for text in texts)
        return next((how for how in found if isinstance(how, Refusal)), None)

    def vector_of(self, text: str, dimensions: int) -> Any:
        """Return the vector of a text, or the values from `poison`."""
        how = self._poisons.get(text)
        return vector_of(text, dimensions) if how is None or isinstance(how, Refusal) else how

    def refusal(self, refusal: Refusal) -> Answer:
        """Return the response for a scripted refusal."""
        body = refusal.body
        json_like = not isinstance(body, (bytes, str))
        if isinstance(body, bytes):
            text = as_text(body)
        elif isinstance(body, str):
            text = body
        else:
            text = dumps(body)
        return Answer(
            [text],
            status=refusal.status,
            headers=refusal.headers.items(),
            content_type="application/json" if json_like else "text/plain",
        )

    # --- serving --------------------------------------------------------------------------

    def _fault_for(self, exchange: Exchange, kind: Optional[str]) -> Optional[Fault]:
        """Return the fault for a response of this kind.

        If `kind` is None, return a fault that happens before the request body is read.
        """
        for armed in self._armed:
            early = armed.fault.early is not None
            fits = early if kind is None else not early and kind in (*armed.fault.kinds, "other")
            if fits and armed.strikes(exchange):
                armed.use()
                if armed.times == 0:
                    self._armed.remove(armed)
                return armed.fault
        return None

    def _before_body(self, exchange: Exchange) -> None:
        fault = self._fault_for(exchange, None)
        if fault is not None and fault.early is not None:
            fault.early(exchange)

    def _answer_steps(self, exchange: Exchange) -> Sequence[Step]:
        # The response is made before a fault changes it, because making it loads the model. A real
        # server also loads the model before such a fault happens.
        answer = self.answer(exchange)
        answer.headers.extend(self.headers.items())
        silence_s = self._silences.pop(id(exchange), 0.0)
        if exchange.method == "HEAD":
            return [answer.head()]  # the client would take a body for the next response
        if not answer.streams and not answer.pause_s:
            answer = answer.replace(pause_s=silence_s)
        fault = self._fault_for(exchange, answer.kind)
        return answer.steps() if fault is None else list(fault.steps(answer))


def fake_of(kind: str) -> Type[FakeServer]:
    """Return the class of the fake server of a provider kind, such as ``ollama``.

    Raises:
        ConfigurationError: There is no such kind, or it has no fake server.
    """
    found: Type[FakeServer] = kinds.get(kind).resolve("fake")
    return found


class _Armed:
    """A fault, the number of times that it still applies, and the paths to which it applies."""

    def __init__(self, fault: Fault, times: Optional[int], paths: Tuple[str, ...]) -> None:
        self.fault = fault
        self.times = times
        self._paths = paths

    def strikes(self, exchange: Exchange) -> bool:
        return exchange.path.startswith(self._paths)

    def use(self) -> None:
        if self.times is not None:
            self.times -= 1


def overflow_error(tokens: int, window: int) -> Dict[str, Any]:
    """Return llama.cpp's error for too long a prompt. Ollama sends this error as a string."""
    return {
        "error": {
            "code": 400,
            "message": f"request ({tokens} tokens) exceeds the available context size "
            f"({window} tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": window,
        }
    }


def count_tokens(text: str) -> int:
    """Return the number of words, which the fakes use as the number of tokens."""
    return len(text.split())


def count_call_tokens(calls: Sequence[ToolCall]) -> int:
    """Return the number of tokens of tool calls: the words of their names and arguments."""
    return sum(count_tokens(f"{call.name} {dumps(dict(call.arguments))}") for call in calls)


def vector_of(text: str, dimensions: int) -> List[float]:
    """Return a unit vector for a text. Texts that share words have similar vectors."""
    counts = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        counts[zlib.crc32(word.encode("utf-8")) % dimensions] += 1.0
    norm = sqrt(sum(count * count for count in counts))
    return [count / norm for count in counts]
