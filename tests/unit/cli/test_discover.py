"""The verb ``discover``."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from localproviders import ConfigurationError, Discovery, OllamaProvider, UnreachableError, cli
from localproviders.cli import discover
from localproviders.testing import FakeLMStudio, FakeOllama, FakeOpenAICompatible


def test_discover_names_given_and_configured_servers_and_their_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "localproviders").mkdir()
    with FakeOllama(["one", "two"]) as ollama, FakeLMStudio(["qwen/three"]) as lmstudio:
        text = f'[servers.lmstudio]\nendpoint = "{lmstudio.url}"\n'
        (tmp_path / "localproviders" / "config.toml").write_text(text, "utf-8")
        OllamaProvider(ollama.url).load("two")
        assert cli.main(["discover", ollama.url]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ollama") and ollama.url in line for line in lines)
    assert lines[lines.index("Models:") + 1 :] == [
        "- ollama/one:latest",
        "- ollama/two:latest, loaded",
        "- lmstudio/qwen/three",
    ]


def test_a_configured_server_has_the_name_that_the_other_verbs_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeOpenAICompatible(["one"]) as fake:
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_BOX_ENDPOINT", fake.base_url)
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_BOX_KIND", "openai-compatible")
        assert cli.main(["discover"]) == 0
        line = capsys.readouterr().out.splitlines()[-1]
        assert line == "- box/one"
        assert cli.main(["show", line[2:]]) == 0


def test_discover_takes_the_address_of_a_unix_socket(
    socket_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeOllama(["one"], unix=socket_path) as ollama:
        assert cli.main(["discover", ollama.url]) == 0
    assert f"at {ollama.url}: available" in capsys.readouterr().out
    assert cli.main(["discover", "unix:run/x.sock"]) == ConfigurationError.exit_code
    assert "the path of a UNIX socket must be absolute" in capsys.readouterr().err


def test_discover_that_finds_nothing_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = Discovery(found_at=datetime(2025, 1, 1, tzinfo=timezone.utc))
    monkeypatch.setattr(discover, "discover", lambda addresses, **_: nothing)

    assert cli.main(["discover"]) == UnreachableError.exit_code
    assert "ollama serve" in capsys.readouterr().err


def test_discover_writes_one_json_object(capsys: Any) -> None:
    with FakeOllama(["one"]) as ollama:
        assert cli.main(["discover", "--json", ollama.url]) == 0
    found = Discovery.from_dict(json.loads(capsys.readouterr().out))
    assert ollama.url in [server.endpoint for server in found.servers]
