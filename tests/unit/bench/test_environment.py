from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    LlamaCppProvider,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    UnreachableError,
    __version__,
)
from localproviders.bench import Environment
from localproviders.bench.environment import ServerFacts, machine_facts, product_of
from localproviders.testing import FakeLlamaCpp, FakeModel, FakeOllama
from tests.support.bench import WrittenProvider


def test_the_facts_about_this_machine_are_fields_of_an_environment() -> None:
    facts = machine_facts()
    made = Environment(**facts)
    assert made.package == __version__
    assert made.python is not None and made.python.startswith("3.")
    assert made.cpu_count is None or made.cpu_count >= 1
    assert str(made.measured_at).endswith("Z")


def test_no_fact_names_the_machine_or_the_user() -> None:
    import getpass
    import platform

    facts = " ".join(str(value) for value in machine_facts().values()).split()
    assert platform.node() not in facts and getpass.getuser() not in facts


def test_the_processor_is_read_where_the_system_names_it(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    text = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags : a\nmodel name\t: Other\n"
    (tmp_path / "proc/cpuinfo").write_text(text, encoding="utf-8")
    assert machine_facts(tmp_path)["processor"] == "Some CPU @ 3 GHz"


def test_an_unknown_processor_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROCESSOR_IDENTIFIER", raising=False)
    assert machine_facts(tmp_path)["processor"] is None


def _facts(provider: Any, endpoint: Any = None) -> Dict[str, Any]:
    return ServerFacts(provider, "m", lambda: 5.0, CancelToken()).all(endpoint)


def test_the_facts_of_ollama() -> None:
    models = [FakeModel(name="m:latest", digest="a" * 64, loaded=True, context_length=8192)]
    with FakeOllama(models) as fake, OllamaProvider(fake.url) as provider:
        facts = _facts(provider, fake.url)
        version = provider.version()
    assert (facts["server"], facts["server_version"]) == ("Ollama", version)
    assert (facts["digest"], facts["context_length"]) == ("a" * 64, 8192)
    assert facts["is_local"] is True and facts["quantization"]
    Environment(**facts)


def test_the_facts_of_llama_cpp() -> None:
    with FakeLlamaCpp(["m"]) as fake, LlamaCppProvider(fake.url) as provider:
        facts = _facts(provider, fake.url)
    assert facts["server"] == "llama.cpp's server" and facts["server_version"]
    Environment(**facts)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("https://192.0.2.7:443", False),
        (None, None),
        ("not an address", None),
    ],
)
def test_a_server_on_another_machine_is_known_by_its_address(endpoint: Any, expected: Any) -> None:
    assert _facts(WrittenProvider(), endpoint)["is_local"] is expected


def test_a_server_that_reports_nothing_is_still_an_environment() -> None:
    class Silent(WrittenProvider):
        def model_info(self, model: Any, *, timeout: Any = None, cancel: Any = None) -> Any:
            raise UnreachableError("down")

    facts = _facts(Silent())
    assert {name for name, value in facts.items() if value is not None} == {"model"}
    Environment(**facts)


def test_a_cancelled_request_is_not_ignored() -> None:
    class Cancelled(WrittenProvider):
        def model_info(self, model: Any, *, timeout: Any = None, cancel: Any = None) -> Any:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        _facts(Cancelled())


def test_each_kind_has_its_title() -> None:
    assert product_of(OllamaProvider()) == "Ollama"
    assert product_of(LMStudioProvider()) == "LM Studio"
    assert product_of(OpenAICompatibleProvider("http://127.0.0.1:1/v1")) is not None
    assert product_of(WrittenProvider()) is None
