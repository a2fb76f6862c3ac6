"""llama.cpp's server is recognised by its own properties."""

from __future__ import annotations

from localproviders import discover
from localproviders.testing import FakeLlamaCpp, FakeOpenAICompatible


def test_a_server_is_recognised_with_its_version_and_models() -> None:
    with FakeLlamaCpp(["m"]) as fake:
        (server,) = discover([fake.url]).servers

    assert (server.kind, server.version) == ("llamacpp", "b11549-fake")
    assert [info.name for info in server.models] == ["m"]
    assert server.endpoint == fake.url


def test_another_server_of_the_dialect_is_not() -> None:
    with FakeOpenAICompatible(["m"]) as fake:
        (server,) = discover([fake.url]).servers

    assert server.kind == "openai-compatible"
