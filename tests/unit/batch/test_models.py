"""Digests and slots, which a run asks for before its first row."""

from __future__ import annotations

from typing import Any

import pytest

from localproviders import (
    LlamaCppProvider,
    LocalityError,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    UnreachableError,
)
from localproviders.batch.arguments import Arguments
from localproviders.batch.models import served_digest, slots_of
from localproviders.batch.rows import RowRules
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
