"""One faulty call, looked at from every side: the error, the text so far, the connection."""

from __future__ import annotations

import contextlib
import pickle
import time
from typing import (
    Any,
    Callable,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    Type,
    Union,
)

from localproviders import (
    BusyError,
    CompletionResponse,
    EmbeddingResponse,
    LimitError,
    Limits,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    ServerError,
)
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
)

PROMPT = "A question that no error may quote"
TEXT = "Hello there, friend."
FIRST = "Hello"  # the piece that has come before a fault strikes
TEXTS = ("a dog runs", "a cat sleeps")

#: How late a limit may be on a shared machine; one that does not work never ends.
GRACE_S = 2.0
#: The total of a call that is to run into it.
LIMIT_S = 0.25
#: Without the total, these end a stalled call, so that a broken limit shows soon.
LIMITS = Limits(load_s=0.2, first_token_s=3, idle_s=3, total_s=20)
#: A number of sendings that does not matter.
ANY = -1
#: How often both texts go out where a batch is refused: together, then each alone.
HALVED = 3
#: Sizes small enough to be reached quickly.
MAX_BYTES = 1024 * 1024

FORMS = ("complete", "stream", "embed", "list")


class Backend(NamedTuple):
    """A provider, its fake server, and the kinds of answers of its call forms."""

    name: str
    server: Callable[..., FakeServer]
    provider: Callable[..., Any]
    list_path: str
    streams_as: str

    def kind(self, form: str) -> str:
        return {"embed": "vectors", "list": "list"}.get(form, self.streams_as)

    def start(self, **options: Any) -> FakeServer:
        models = [
            FakeModel(name="chat-model", loaded=True),
            FakeModel(name="vector-model", abilities=("embeddings",), loaded=True),
        ]
        return self.server(models, **options)


BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("ollama", FakeOllama, OllamaProvider, "/api/tags", "lines"),
        Backend("lmstudio", FakeLMStudio, LMStudioProvider, "/api/v1/models", "events"),
        Backend("openai", FakeOpenAICompatible, OpenAICompatibleProvider, "/v1/models", "events"),
    )
}


class Outcome(NamedTuple):
    """How a call is to end.

    Attributes:
        error: The class of the error, or several that are right; None is a good answer.
        partial: The text that the error of a stream carries.
        kept: Whether the connection serves the next call; None is either.
        limited: Whether a limit has to end it.
        limit: Which limit.
        check: What else must be true of the answer or the error.
        sent: How often the request goes out; None is once, or as often as the policy says
            where the server is busy.
    """

    error: Union[Type[ProviderError], Tuple[Type[ProviderError], ...], None] = None
    partial: str = ""
    kept: Optional[bool] = None
    limited: bool = False
    limit: str = "total_s"
    check: Optional[Callable[[Any], bool]] = None
    sent: Optional[int] = None


class Bench:
    """A backend with its fake server, a provider, and one call form."""

    def __init__(
        self, backend: Backend, form: str, server: FakeServer, outcome: Outcome, **options: Any
    ) -> None:
        self.backend = backend
        self.form = form
        self.server = server
        self.outcome = outcome
        #: Whether the request is too large for the buffers between client and server.
        self.large = False
        total_s = LIMIT_S if outcome.limited else 20.0
        options.setdefault("timeout", LIMITS.replace(total_s=total_s))
        options.setdefault("url", server.url)
        self.provider = backend.provider(
            options.pop("url") + ("/v1" if backend.name == "openai" else ""),
            retry=RetryPolicy(first_wait_s=0),
            max_line_bytes=MAX_BYTES,
            max_body_bytes=MAX_BYTES,
            **options,
        )

    @property
    def path(self) -> str:
        """The path that this call form asks."""
        return self.backend.list_path if self.form == "list" else ""

    def call(self) -> Any:
        """Make the call, and give its answer."""
        provider = self.provider
        prompt = PROMPT * (200_000 if self.large else 1)
        if self.form == "list":
            return provider.list_models()
        if self.form == "embed":
            texts = [text * (400_000 if self.large else 1) for text in TEXTS]
            return provider.embed(texts, model="vector-model")
        if self.form == "complete":
            return provider.chat(prompt, model="chat-model")
        with provider.stream(prompt, model="chat-model") as stream:
            for _ in stream:
                pass
            return stream.result()

    # --- looking at it --------------------------------------------------------------------

    def check(self) -> Any:
        """Make the faulty call and look at all that is promised of it; give what came."""
        started = time.monotonic()
        try:
            came = self.call()
        except ProviderError as error:
            came = error
        took_s = time.monotonic() - started
        self._check_end(came)
        self._check_time(came, took_s)
        self._check_sent(came)
        if self.outcome.check is not None:
            assert self.outcome.check(came), f"not what was promised: {came!r}"
        return came

    def check_next(self) -> None:
        """Make the same call again, without the fault: it works, and leaves nothing behind."""
        before = self.server.exchanges[-1].connection if self.server.exchanges else None
        mark = len(self.server.exchanges)
        self.server.heal()
        self.large = False
        with self._patient():
            self._check_good(self.call())
        after = self.server.exchanges[mark].connection
        if self.outcome.kept is not None:
            said = "kept" if after == before else "closed"
            assert (after == before) == self.outcome.kept, f"the connection was {said}"
        # Where a list is asked in the middle of a call, it has a connection of its own.
        most = 1 if self.outcome.kept is not None else 2
        assert self.server.wait_for_connections(most), "a connection was left open"
        self.provider.close()
        assert self.server.wait_for_connections(0), "the kept connection was not closed"

    @contextlib.contextmanager
    def _patient(self) -> Iterator[None]:
        settings = self.provider.settings
        patient = settings.replace(limits=LIMITS)
        object.__setattr__(self.provider, "settings", patient)
        try:
            yield
        finally:
            object.__setattr__(self.provider, "settings", settings)

    def _check_end(self, came: Any) -> None:
        wanted = self.outcome.error
        if wanted is None:
            if isinstance(came, ProviderError):
                raise AssertionError("a good answer was expected") from came
            return
        if not isinstance(came, ProviderError):
            raise AssertionError(f"an error was expected, and this came: {came!r}")
        classes = wanted if isinstance(wanted, tuple) else (wanted,)
        if type(came) not in classes:
            raise AssertionError(f"{type(came).__name__} is not {classes}") from came
        self._check_error(came)

    def _check_error(self, error: ProviderError) -> None:
        partial = self.outcome.partial if self.form in ("complete", "stream") else ""
        assert error.partial == partial, f"partial is {error.partial!r}"
        assert error.provider == self.provider.name
        assert error.endpoint == self.provider.settings.endpoint.url
        assert error.model is not None or self.form == "list"
        again = pickle.loads(pickle.dumps(error))
        # The errors of single texts are no values that could be compared.
        assert (type(again), again.to_dict()) == (type(error), error.to_dict())
        shown = f"{error} {error!r} {error.to_dict()} {pickle.dumps(error)!r}"
        assert PROMPT not in shown and TEXTS[0] not in shown, "the error quotes the prompt"

    def _check_time(self, came: Any, took_s: float) -> None:
        if isinstance(came, LimitError):
            assert came.limit == self.outcome.limit, f"{came.limit} ended it"
            assert took_s < came.limit_s + GRACE_S, f"{took_s} s"
        if self.outcome.limited:
            assert LIMIT_S - 0.05 <= took_s < LIMIT_S + GRACE_S, f"{took_s} s"
        else:
            assert took_s < 10, f"it took {took_s} s, without a limit"

    def _check_sent(self, came: Any) -> None:
        struck = self.path or self.server.work_paths
        sent = [e for e in self.server.exchanges if e.path.startswith(struck)]
        wanted = 3 if isinstance(came, BusyError) else 1
        if self.form == "embed" and type(came) in (RequestRejectedError, ServerError):
            # Either text may be to blame; large ones are sent alone.
            wanted = len(TEXTS) if self.large else HALVED
        if self.outcome.sent is not None and self.outcome.sent != ANY:
            wanted = self.outcome.sent
        if self.outcome.sent != ANY and self.outcome.limit != "load_s":
            assert len(sent) == wanted, f"it was sent {len(sent)} times"

    def _check_good(self, came: Any) -> None:
        if self.form == "list":
            names = [info.name.partition(":")[0] for info in came]
            assert names == ["chat-model", "vector-model"]
        elif self.form == "embed":
            assert isinstance(came, EmbeddingResponse)
            assert (len(came.vectors), came.dimensions) == (2, 16)
        else:
            assert isinstance(came, CompletionResponse)
            assert came.text == TEXT
