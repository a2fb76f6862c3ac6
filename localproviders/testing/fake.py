"""What both fake servers share: models that load, scripted replies, faults on request."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import zlib
from abc import abstractmethod
from collections import deque
from math import sqrt
from typing import Any, Deque, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from localproviders.testing.answers import Answer, dumps
from localproviders.testing.faults import Fault, find_fault
from localproviders.testing.scripted import Exchange, ScriptedServer, Step
from localproviders.testing.values import FakeModel, Refusal, Reply, Scripted

#: How a model fails whose vector holds no number (ollama#15582).
POISONED = Refusal(
    status="500 Internal Server Error",
    body={"error": "failed to encode response: json: unsupported value: NaN"},
)


class FakeServer(ScriptedServer):
    """Base of the fake servers: a real HTTP server on loopback; use it in a ``with`` block.

    Args:
        models: Names, or `FakeModel` values.
        api_key: A key without which it refuses everything; None asks for none.
        tls: Context to serve TLS with, or None.
        one_byte_writes: Send every answer a byte at a time.
        port: The port to listen on; 0 takes a free one.
    """

    #: The models of a server that was given none.
    default_models: Sequence[Union[str, FakeModel]] = ()
    #: The kinds of answers that it sends, for faults to spoil.
    kinds: Tuple[str, ...] = ()
    #: Paths of the requests that ask a model to work: those that faults strike by default.
    work_paths: Tuple[str, ...] = ()
    #: Paths of the requests that ask for its models.
    list_paths: Tuple[str, ...] = ()
    #: Paths of the requests that move models: pull, push and the like.
    transfer_paths: Tuple[str, ...] = ()

    def __init__(
        self,
        models: Optional[Sequence[Union[str, FakeModel]]] = None,
        *,
        api_key: Optional[str] = None,
        tls: Optional[ssl.SSLContext] = None,
        one_byte_writes: bool = False,
        port: int = 0,
    ) -> None:
        super().__init__(self._answer_steps, tls=tls, one_byte_writes=one_byte_writes, port=port)
        given = self.default_models if models is None else models
        #: The models, in the order in which they are listed.
        self.models: List[FakeModel] = [
            model if isinstance(model, FakeModel) else self.make_model(model) for model in given
        ]
        self.api_key = api_key
        #: What it answers when nothing is scripted.
        self.usual: Scripted = Reply()
        #: The windows of the models in memory, by name.
        self.loaded: Dict[str, int] = {m.name: m.context_length for m in self.models if m.loaded}
        self._poisons: Dict[str, Union[Refusal, Sequence[Any]]] = {}
        self._replies: Deque[Scripted] = deque()
        self._armed: List[_Armed] = []
        self._loading = threading.Lock()

    # --- scripting ------------------------------------------------------------------------

    def make_model(self, name: str) -> FakeModel:
        """Make a model out of its name: one that chats, or makes vectors if so called."""
        if re.search("embed|minilm", name):
            return FakeModel(name=name, abilities=("embeddings",))
        return FakeModel(name=name)

    def reply_with(self, *replies: Scripted) -> None:
        """Answer the next requests for text so, in this order; then as `usual` again.

        Raises:
            TypeError: One is no text, `Reply`, `Refusal` or function.
        """
        for reply in replies:
            if not (isinstance(reply, (str, Reply, Refusal)) or callable(reply)):
                raise TypeError(f"{reply!r} is no reply: pass a text, Reply, Refusal or function")
        self._replies.extend(replies)

    def break_next(
        self, fault: Union[Fault, str], *, times: Optional[int] = 1, path: str = ""
    ) -> None:
        """Let a fault strike.

        Args:
            fault: One of `FAULTS`, or its name.
            times: How many requests it strikes; None strikes until `heal`.
            path: Begin of the path of the requests that it strikes; empty takes those that
                ask a model to work; for a fault of lists those that ask for the list, and
                for a fault of transfers those that move models.

        Raises:
            ValueError: There is no fault of this name, this server cannot have it, or
                `times` is below one.
        """
        if times is not None and times < 1:
            raise ValueError(f"times is {times}, and must be at least 1; None strikes until heal()")
        found = find_fault(fault)
        if not set(found.kinds) & set(self.kinds):
            raise ValueError(f"{type(self).__name__} sends nothing that {found.name!r} can spoil")
        special: Dict[Tuple[str, ...], Tuple[str, ...]] = {
            ("list",): self.list_paths,
            ("progress",): self.transfer_paths,
        }
        usual = special.get(found.kinds, self.work_paths)
        self._armed.append(_Armed(found, times, (path,) if path else usual))

    def poison(self, text: str, how: Union[Refusal, Sequence[Any]] = POISONED) -> None:
        """Let a model fail at a text, whichever texts it is embedded with, until `heal`.

        Args:
            text: The whole text.
            how: How a request with it is refused; or the values of its vector, if the
                request succeeds.
        """
        self._poisons[text] = how

    def heal(self) -> None:
        """Forget all poisoned texts, and the faults and replies that have not been used."""
        self._poisons.clear()
        self._armed.clear()
        self._replies.clear()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Refuse all connections inside the ``with`` block; listen again behind it."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    # --- what a dialect says --------------------------------------------------------------

    @abstractmethod
    def answer(self, exchange: Exchange) -> Answer:
        """Give the good answer to a request."""

    # --- pieces for dialects --------------------------------------------------------------

    def next_reply(self, exchange: Exchange) -> Union[Reply, Refusal]:
        """Give what the script says next."""
        scripted: Any = self._replies.popleft() if self._replies else self.usual
        if callable(scripted):
            scripted = scripted(exchange)
        return Reply(text=scripted) if isinstance(scripted, str) else scripted

    def load(self, model: FakeModel, exchange: Exchange, window: Optional[int] = None) -> float:
        """Bring a model into memory, in silence; give the seconds that it took."""
        window = window or self.loaded.get(model.name) or model.context_length
        with self._loading:
            if self.loaded.get(model.name) == window:
                return 0.0
            if model.load_s:
                exchange.hold(model.load_s)
            self.loaded[model.name] = window
        return model.load_s

    def refuses(self, texts: Sequence[str]) -> Optional[Refusal]:
        """Give the refusal of the first poisoned text, if there is one."""
        found = (self._poisons.get(text) for text in texts)
        return next((how for how in found if isinstance(how, Refusal)), None)

    def vector_of(self, text: str, dimensions: int) -> Any:
        """Give the vector of a text, or the poisoned one."""
        how = self._poisons.get(text)
        return vector_of(text, dimensions) if how is None or isinstance(how, Refusal) else how

    def refusal(self, refusal: Refusal) -> Answer:
        """Turn a scripted refusal into an answer."""
        body = refusal.body
        json_like = not isinstance(body, (bytes, str))
        text = dumps(body) if json_like else body.decode() if isinstance(body, bytes) else body
        return Answer(
            [text],
            status=refusal.status,
            headers=refusal.headers.items(),
            content_type="application/json" if json_like else "text/plain",
        )

    # --- serving --------------------------------------------------------------------------

    def _fault_for(self, exchange: Exchange, kind: Optional[str]) -> Optional[Fault]:
        """Give the fault for an answer of this kind; for no kind yet, one that comes early."""
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
        # The loading of a model comes before the fault, as it would.
        answer = self.answer(exchange)
        fault = self._fault_for(exchange, answer.kind)
        return answer.steps() if fault is None else list(fault.steps(answer))


class _Armed:
    """A fault that waits for its requests."""

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
    """Make llama.cpp's refusal of a prompt that does not fit; Ollama hands it on as text."""
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
    """Count as the fakes do: words."""
    return len(text.split())


def vector_of(text: str, dimensions: int) -> List[float]:
    """Make a vector of length one out of a text: texts that share words are near."""
    counts = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        counts[zlib.crc32(word.encode("utf-8")) % dimensions] += 1.0
    norm = sqrt(sum(count * count for count in counts))
    return [count / norm for count in counts]
