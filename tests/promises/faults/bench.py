"""Checks of one faulty call: its error, the text so far, its duration, its connection."""

from __future__ import annotations

import contextlib
import functools
import pickle
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
    AnthropicProvider,
    CompletionResponse,
    Decisions,
    EmbeddingResponse,
    LimitError,
    Limits,
    LlamaCppProvider,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    OpenAIProvider,
    ProviderError,
    Ranking,
    RequestRejectedError,
    RetryPolicy,
    Score,
    ServerBusyError,
    ServerError,
)
from localproviders.testing import (
    FakeAnthropic,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
)
from tests.support.fake_time import in_use, now
from tests.support.timing import GRACE_S

PROMPT = "A question that no error may quote"
TEXT = "Hello there, friend."
FIRST = "Hello"  # the text that the client has received before the fault
TEXTS = ("a dog runs", "a cat sleeps")

#: The total limit of a call that must run into it.
LIMIT_S = 0.25
#: The limits of all other calls.
LIMITS = Limits(load_s=0.25, first_token_s=10, idle_s=10, total_s=60)
#: For `Outcome.sent`: the number of requests does not matter.
ANY_COUNT = -1
#: The number of requests where a batch of both texts is refused: both texts, then each alone.
HALVED = 3
#: Size limits that are small enough to be reached quickly.
MAX_BYTES = 1024 * 1024

FORMS = ("complete", "stream", "embed", "list", "decide", "decisions", "rerank")

#: One question of each kind.
QUESTIONS: Mapping[str, Any] = {
    "late": "Is it late?",
    "team": ["sales", "billing", "support"],
    "urgent": Score("How urgent is it?", ["not", "rather", "very"]),
}


class Backend(NamedTuple):
    """A provider, its fake server, and the kind of response for each call form."""

    name: str
    server: Callable[..., FakeServer]
    provider: Callable[..., Any]
    list_path: str
    streams_as: str
    ranks: bool = False
    #: The kinds of responses of the two routes for decisions; empty for a route that is missing.
    decides_as: Tuple[str, str] = ("systemone", "decisions")
    embeds: bool = True

    def kind(self, form: str) -> str:
        """Return the kind of response that a call form receives, as in the fault catalogue."""
        if form == "rerank":
            return "ranking" if self.ranks else ""
        decide, decisions = self.decides_as
        vectors = "vectors" if self.embeds else ""
        kinds = {"embed": vectors, "list": "list", "decide": decide, "decisions": decisions}
        return kinds.get(form, self.streams_as)

    def start(self, **options: Any) -> FakeServer:
        """Start the fake server with a model for each task."""
        models = [
            FakeModel(name="chat-model", loaded=True),
            FakeModel(name="vector-model", abilities=("embeddings",), loaded=True),
            FakeModel(name="decision-model", abilities=("decision",), loaded=True),
        ]
        if self.ranks:
            models.append(FakeModel(name="rank-model", abilities=("rerank",), loaded=True))
        server = self.server(models, **options)
        if isinstance(server, FakeOpenAICompatible):
            server.decision_routes = ("/v1/systemone", "/v1/decisions")
        return server

    def over(self, socket_path: str) -> Backend:
        """Return this backend with a fake server that listens on a UNIX socket."""
        return self._replace(server=functools.partial(self.server, unix=socket_path))


BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            "ollama", FakeOllama, OllamaProvider, "/api/tags", "lines", False, ("systemone", "")
        ),
        Backend("lmstudio", FakeLMStudio, LMStudioProvider, "/api/v1/models", "events"),
        Backend(
            "llamacpp",
            FakeLlamaCpp,
            LlamaCppProvider,
            "/v1/models",
            "events",
            ranks=True,
            decides_as=("systemone", ""),
        ),
        Backend(
            "openai", FakeOpenAICompatible, OpenAICompatibleProvider, "/v1/models", "events", True
        ),
        Backend(
            "anthropic",
            FakeAnthropic,
            AnthropicProvider,
            "/v1/models",
            "messages",
            decides_as=("", ""),
            embeds=False,
        ),
        # The rules of a service change its requests, its errors and their hints.
        Backend("service", FakeOpenAICompatible, OpenAIProvider, "/v1/models", "events", True),
    )
}


class Outcome(NamedTuple):
    """The expected end of a call.

    Attributes:
        error: The class of the error, or several allowed classes; None for a good response.
        partial: The text so far in the error of a stream.
        kept: Whether the next call uses the same connection; None if it does not matter.
        limited: Whether the total limit must end the call.
        limit: The name of the limit that fires.
        check: A further condition for the response or the error.
        sent: The number of requests. None for one, or for as many as the retry policy allows if
            the server is busy.
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
        total_s = LIMIT_S if outcome.limited else LIMITS.total_s
        options.setdefault("timeout", LIMITS.replace(total_s=total_s))
        path = "/v1" if backend.name in ("openai", "service") else ""
        url = options.pop("url", None)
        self.provider = backend.provider(
            server.url_of(path) if url is None else url + path,
            retry=RetryPolicy(first_wait_s=0),
            max_line_bytes=MAX_BYTES,
            max_body_bytes=MAX_BYTES,
            **options,
        )

    @property
    def path(self) -> str:
        """Return the path of the requests that the fault affects; empty for all work paths."""
        return self.backend.list_path if self.form == "list" else ""

    def call(self) -> Any:
        """Make the call and return its response."""
        provider = self.provider
        prompt = PROMPT * (200_000 if self.large else 1)
        if self.form == "list":
            return provider.list_models()
        if self.form == "embed":
            texts = [text * (400_000 if self.large else 1) for text in TEXTS]
            return provider.embed(texts, model="vector-model")
        if self.form in ("decide", "decisions"):
            method = "systemone" if self.form == "decide" else "decisions"
            return provider.decide(prompt, QUESTIONS, model="decision-model", method=method)
        if self.form == "rerank":
            # The query shares its words with the last document, which is then the best.
            documents = [text * (400_000 if self.large else 1) for text in TEXTS[::-1]]
            return provider.rerank(f"{PROMPT} {TEXTS[0]}", documents, model="rank-model")
        if self.form == "complete":
            return provider.chat(prompt, model="chat-model")
        with provider.stream(prompt, model="chat-model") as stream:
            for _ in stream:
                pass
            return stream.result()

    # --- checks --------------------------------------------------------------------

    def check(self) -> Any:
        """Make the faulty call, check its outcome, and return the response or the error."""
        started = now()
        try:
            result = self.call()
        except ProviderError as error:
            result = error
        took_s = now() - started
        self._check_end(result)
        self._check_time(result, took_s)
        self._check_sent(result)
        if self.outcome.check is not None:
            assert self.outcome.check(result), f"a condition of the outcome failed: {result!r}"
        return result

    def check_next(self) -> None:
        """Make the same call again without the fault: it works, and no connection is left open."""
        before = self.server.exchanges[-1].connection if self.server.exchanges else None
        mark = len(self.server.exchanges)
        self.server.heal()
        self.large = False
        with self._long_limits():
            self._check_good(self.call())
        after = self.server.exchanges[mark].connection
        if self.outcome.kept is not None:
            state = "kept" if after == before else "closed"
            assert (after == before) == self.outcome.kept, f"the connection was {state}"
        # A model list that is requested in the middle of a call uses a second connection.
        most = 1 if self.outcome.kept is not None else 2
        assert self.server.wait_for_connections(most, GRACE_S), "a connection was left open"
        self.provider.close()
        assert self.server.wait_for_connections(0, GRACE_S), "the kept connection was not closed"

    @contextlib.contextmanager
    def _long_limits(self) -> Iterator[None]:
        """Use the long limits for a call that must succeed."""
        settings = self.provider.settings
        object.__setattr__(self.provider, "settings", settings.replace(limits=LIMITS))
        try:
            yield
        finally:
            object.__setattr__(self.provider, "settings", settings)

    def _check_end(self, result: Any) -> None:
        wanted = self.outcome.error
        if wanted is None:
            if isinstance(result, ProviderError):
                raise AssertionError("expected a good response, got an error") from result
            return
        if not isinstance(result, ProviderError):
            raise AssertionError(f"expected an error, got {result!r}")
        classes = wanted if isinstance(wanted, tuple) else (wanted,)
        if type(result) not in classes:
            raise AssertionError(f"{type(result).__name__} is not {classes}") from result
        self._check_error(result)

    def _check_error(self, error: ProviderError) -> None:
        partial = self.outcome.partial if self.form in ("complete", "stream") else ""
        # On a real clock the limit may fire before the text arrives.
        allowed = (partial,) if in_use() is not None else ("", partial)
        assert error.partial in allowed, f"partial is {error.partial!r}"
        assert error.provider == self.provider.name
        assert error.endpoint == self.provider.settings.endpoint.url
        assert error.model is not None or self.form == "list"
        again = pickle.loads(pickle.dumps(error))
        # The attributes are not compared directly, because errors of single texts have no equality.
        assert (type(again), again.to_dict()) == (type(error), error.to_dict())
        shown = f"{error} {error!r} {error.to_dict()} {pickle.dumps(error)!r}"
        assert PROMPT not in shown and TEXTS[0] not in shown, "the error quotes the prompt"

    def _check_time(self, result: Any, took_s: float) -> None:
        if isinstance(result, LimitError):
            assert result.limit == self.outcome.limit, f"{result.limit} ended the call"
            assert took_s < result.limit_s + GRACE_S, f"the call took {took_s} s"
        if self.outcome.limited:
            late_s = 0.0 if in_use() is not None else GRACE_S
            assert LIMIT_S <= took_s <= LIMIT_S + late_s, f"the call took {took_s} s"
        else:
            assert took_s < LIMITS.idle_s, f"the call took {took_s} s, and no limit was to end it"

    def _check_sent(self, result: Any) -> None:
        paths = self.path or self.server.work_paths
        sent = [e for e in self.server.exchanges if e.path.startswith(paths)]
        wanted = 3 if isinstance(result, ServerBusyError) else 1
        if self.form == "embed" and type(result) in (RequestRejectedError, ServerError):
            # Either text may be the cause, so each is sent alone. Large texts are never sent together.
            wanted = len(TEXTS) if self.large else HALVED
        if self.outcome.sent is not None and self.outcome.sent != ANY_COUNT:
            wanted = self.outcome.sent
        if self.outcome.sent != ANY_COUNT and self.outcome.limit != "load_s":
            assert len(sent) == wanted, f"the request was sent {len(sent)} times"

    def _check_good(self, result: Any) -> None:
        if self.form == "list":
            names = [info.name.partition(":")[0] for info in result]
            assert names == [model.name for model in self.server.models]
        elif self.form == "embed":
            assert isinstance(result, EmbeddingResponse)
            assert (len(result.vectors), result.dimensions) == (2, 16)
        elif self.form == "rerank":
            assert isinstance(result, Ranking)
            found = [(ranked.index, ranked.document) for ranked in result]
            assert found == [(1, TEXTS[0]), (0, TEXTS[1])]
        elif self.form in ("decide", "decisions"):
            assert isinstance(result, Decisions)
            assert list(result) == list(QUESTIONS)
        else:
            assert isinstance(result, CompletionResponse)
            assert result.text == TEXT
