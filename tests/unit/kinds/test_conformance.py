"""Each method works on each registered provider kind, or raises `UnsupportedError`."""

from __future__ import annotations

import pytest

from localproviders import ModelProvider, OpenAICompatibleProvider, kinds
from localproviders._address import parse_endpoint
from localproviders.openai_compatible.wire.products import PRODUCTS
from localproviders.testing import FakeServer
from tests.unit.kinds.verbs import VERBS, check

_KINDS = {kind.name: kind for kind in kinds.registered()}


@pytest.mark.sample(42)
@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_a_verb_works_or_says_that_it_is_not_supported(
    kind: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(_KINDS[kind], verb, monkeypatch)


def test_every_verb_is_called() -> None:
    assert {name for name in dir(ModelProvider) if not name.startswith("_")} == set(VERBS)


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_what_a_kind_names_can_be_imported(kind: str) -> None:
    described = _KINDS[kind]
    for part in ("provider", "fingerprint", "fake", "from_config"):
        if getattr(described, part) is not None:
            assert callable(described.resolve(part))
    if described.fake is not None:
        assert issubclass(described.resolve("fake"), FakeServer)


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_a_server_has_a_fake_and_a_fingerprint_and_a_file_has_neither(kind: str) -> None:
    described = _KINDS[kind]
    if described.is_service and issubclass(described.resolve("provider"), OpenAICompatibleProvider):
        assert described.fake is None  # the fake of the dialect can be used
        return
    is_product = kind in {product.kind for product in PRODUCTS}
    has = [described.fake is not None, described.fingerprint is not None or is_product]
    # A service on the internet is not searched for.
    assert has == [not described.is_file, not described.is_file and not described.is_service]


def test_no_service_has_ports_on_this_machine() -> None:
    services = [kind for kind in _KINDS.values() if kind.is_service]
    assert [kind.name for kind in services] == ["anthropic", "openai", "openrouter"]
    assert not any(kind.ports for kind in services)


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_the_default_address_is_where_the_provider_goes(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = _KINDS[kind]
    if described.default_address is None:
        return
    for variable in filter(None, (described.address_variable, *described.key_variables)):
        monkeypatch.delenv(variable, raising=False)
    place = parse_endpoint(described.default_address, default_port=80)
    provider = described.make()
    assert getattr(provider, "settings").endpoint == place  # noqa: B009  # no part of the interface
    assert described.is_service or place.port in dict(described.ports)
    assert provider.name == kind
