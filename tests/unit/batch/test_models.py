"""Digests and slots, which a run asks for before its first row."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, List, Sequence, Type

import pytest

from localproviders import (
    AllFailedError,
    AuthenticationError,
    ConfigurationError,
    LlamaCppProvider,
    LocalityError,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    ProviderError,
    RetryPolicy,
    UnreachableError,
    batch,
)
from localproviders.batch.arguments import Arguments
from localproviders.batch.models import served_digest, slots_of
from localproviders.batch.outages import causes_of
from localproviders.batch.rows import RowRules
from localproviders.provider import ModelProvider
from localproviders.testing import FakeLlamaCpp, FakeOllama


def _arguments(provider: Any, **fields: Any) -> Arguments:
    given = dict.fromkeys(Arguments._fields)
    rules = RowRules(None, None, None, fields)
    return Arguments(**{**given, "provider": provider, "rules": rules})  # type: ignore[arg-type]


def test_a_server_that_reports_its_slots() -> None:
    with FakeLlamaCpp(["llama3.2"]) as server, LlamaCppProvider(server.url) as provider:
        address = provider.settings.endpoint.url
        assert slots_of(_arguments(provider, model="llama3.2")) == {address: 1}
        assert slots_of(_arguments(provider, model="none")) == {address: None}
        assert slots_of(_arguments(provider)) == {}


def test_the_slots_of_several_hosts() -> None:
    with FakeLlamaCpp(["llama3.2"]) as one, FakeOllama(["llama3.2"]) as two:
        hosts = [LlamaCppProvider(one.url), OllamaProvider(two.url)]
        with LocalProvider(hosts, strategy="balanced") as provider:
            found = slots_of(_arguments(provider, model="llama3.2"))
        assert sorted(found.values(), key=str) == [1, None]
        assert len(found) == 2


def test_the_digest_of_a_model() -> None:
    with FakeOllama(["llama3.2"]) as server:
        with OllamaProvider(server.url, model="llama3.2") as provider:
            digest = provider.model_info("llama3.2").digest
            assert served_digest(provider, None) == ("llama3.2", digest)
            with pytest.raises(ModelNotFoundError):
                served_digest(provider, "none")
            with server.down(), pytest.raises(UnreachableError):
                served_digest(provider, None)
        with OllamaProvider(server.url) as provider:
            assert served_digest(provider, None) == (None, None)  # the rows name their models


@pytest.mark.parametrize("count", [1, 2])
def test_another_model_of_the_same_name_is_noticed(count: int, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(FakeOllama(["m"])) for _ in range(count)]
        with _provider(servers) as provider:
            batch.run(["a"], tmp_path / "out.jsonl", provider)
        for server in servers:
            server.models[0] = server.models[0].replace(digest="f" * 64)
        with _provider(servers) as provider, pytest.raises(ConfigurationError, match="digest ffff"):
            batch.run(["a", "b"], tmp_path / "out.jsonl", provider)


def test_a_server_that_lists_no_models_may_answer_all_the_same() -> None:
    with FakeOllama(["llama3.2"]) as server:
        server.break_next("status 500 with text", times=None, path="/api/tags")
        server.break_next("status 500 with text", times=None, path="/api/show")
        with OllamaProvider(server.url, model="llama3.2") as provider:
            assert served_digest(provider, None) == ("llama3.2", None)


def test_an_error_of_all_rows_ends_the_run_before_the_first() -> None:
    class Remote(OllamaProvider):
        def model_info(self, *_: Any, **__: Any) -> Any:
            raise LocalityError("not on this machine")

    with Remote("127.0.0.1:1", model="m") as provider, pytest.raises(LocalityError):
        served_digest(provider, None)


def _refuse(server: FakeOllama) -> None:
    server.api_key = "another key"


def _remove_models(server: FakeOllama) -> None:
    server.models.clear()


def _provider(servers: Sequence[FakeOllama]) -> ModelProvider:
    """Return a provider of one server, or of several."""
    hosts = [
        OllamaProvider(each.url, model="m", name=f"host{number}", retry=RetryPolicy(attempts=1))
        for number, each in enumerate(servers)
    ]
    return LocalProvider(hosts, model="m") if len(hosts) > 1 else hosts[0]


_OUTAGES = [
    (FakeOllama.stop, UnreachableError),
    (_refuse, AuthenticationError),
    (_remove_models, ModelNotFoundError),
]


@pytest.mark.parametrize("sink", ["out.jsonl", "out.csv", "out.npy", "an object"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("begin", "cls"), _OUTAGES)
def test_no_row_is_sent_if_none_can_succeed(
    begin: Callable[[FakeOllama], None],
    cls: Type[ProviderError],
    count: int,
    sink: str,
    tmp_path: Path,
) -> None:
    written: List[batch.BatchRecord] = []

    class Sink:
        def has(self, id: str, /) -> bool:
            return False

        def write(self, record: batch.BatchRecord, /) -> None:
            written.append(record)

    output: Any = Sink() if sink == "an object" else tmp_path / sink
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(FakeOllama(["m"])) for _ in range(count)]
        for server in servers:
            begin(server)
        with _provider(servers) as provider, pytest.raises(ProviderError) as caught:
            batch.run(["a", "b"], output, provider)
    # If all servers lack a model, one error says so.
    assert isinstance(caught.value, (cls, AllFailedError) if count > 1 else cls)
    assert {type(each) for each in causes_of(caught.value)} == {cls}
    assert not written
    assert not (tmp_path / sink).exists()


def test_different_outages_of_several_servers(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with FakeOllama(["m"]) as one, FakeOllama(["m"]) as two, FakeOllama(["m"]) as three:
        one.stop()
        two.models.clear()
        with _provider([one, two, three]) as provider:
            assert batch.run(["a"], output, provider).succeeded == 1
        three.api_key = "another key"
        with _provider([one, two, three]) as provider, pytest.raises(AllFailedError):
            batch.run(["a", "b"], output, provider)
    assert batch.status(output).rows == 1
