"""An examination of a real llama.cpp server with a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from localproviders.doctor import examine
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.llamacpp.provider import LlamaCppProvider

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppProvider]:
    with LocalEngine("chat", context_length=512) as provider:
        yield provider


@pytest.fixture
def configuration(
    engine: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """Return a configuration with the server; the key is in the variable ``ENGINE_KEY``."""
    assert engine.settings.api_key is not None
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("ENGINE_KEY", engine.settings.api_key.reveal())
    file = tmp_path / "localproviders" / "config.toml"
    file.parent.mkdir()
    (model,) = engine.list_models()
    text = (
        f'model = "box/{model.name}"\n[servers.box]\nkind = "llamacpp"\n'
        f'endpoint = "{engine.settings.endpoint.url}"\n'
    )
    file.write_text(text + 'api_key = { env = "ENGINE_KEY" }\n', encoding="utf-8")
    file.chmod(0o600)
    return file


def test_a_real_server_and_its_window_are_found(
    engine: LlamaCppProvider, configuration: Path
) -> None:
    report = examine(timeout_s=60)
    (model,) = engine.list_models()
    said = str(report)
    assert f"box at {engine.settings.endpoint.url} answers and lists 1 model" in said
    assert f"box/{model.name} is in memory" in said
    assert "has no chat template" not in said
    assert f"warning: {model.name} has a context window of 512 tokens" in said
    assert report.with_mark("error") == []


def test_a_real_server_without_its_key_is_an_error(configuration: Path) -> None:
    text = configuration.read_text(encoding="utf-8").partition("api_key")[0]
    configuration.write_text(text, encoding="utf-8")
    report = examine(timeout_s=60)
    assert [each.exit_code for each in report.with_mark("error")] == [4]
    assert report.exit_code == 4
