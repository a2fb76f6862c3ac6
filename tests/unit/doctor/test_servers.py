"""The commands that correct the cause of a server's error, on facts that are not of this machine."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Optional

import pytest

from localproviders import (
    AuthenticationError,
    CertificateError,
    LimitError,
    LocalityError,
    ModelError,
    ProtocolError,
    ProviderError,
    UnreachableError,
)
from localproviders.discovery import Discovery, FoundServer
from localproviders.doctor import Facts, Finding
from localproviders.doctor.facts import AskedServer
from localproviders.doctor.servers import check_named

BOX = AskedServer(
    name="box",
    kind="lmstudio",
    endpoint="http://192.168.1.20:1234",
    source="a.toml, line 3",
    is_local=False,
    start_command="lms server start",
    key_variable="LM_API_TOKEN",
)
HERE = BOX._replace(endpoint="https://127.0.0.1:1234", is_local=True)


def _finding(asked: AskedServer, error: ProviderError, **facts: Any) -> Finding:
    (found,) = check_named(Facts(asked=(asked._replace(error=error),), **facts))
    return found


@pytest.mark.parametrize(
    ("asked", "error", "fix"),
    [
        (BOX, UnreachableError("gone"), "ssh 192.168.1.20 'lms server start'"),
        (BOX._replace(start_command=""), UnreachableError("gone"), None),
        (HERE, UnreachableError("gone"), "lms server start"),
        (BOX, LocalityError("no"), "export LOCALPROVIDERS_LOCALITY=private"),
        (
            BOX._replace(endpoint="http://gpu-box:1234"),
            LocalityError("no"),
            "export LOCALPROVIDERS_LOCALITY=private",
        ),
        (
            BOX._replace(endpoint="https://[2001:db8::1]:1234"),
            LocalityError("no"),
            "export LOCALPROVIDERS_LOCALITY=any",
        ),
        *(
            (
                BOX._replace(endpoint=f"https://{host}/v1"),
                LocalityError("no"),
                "export LOCALPROVIDERS_LOCALITY=any",
            )
            for host in ("api.openai.com", "eu.api.openai.com", "api.anthropic.com", "api.groq.com")
        ),
        (BOX, AuthenticationError("key"), "export LM_API_TOKEN=..."),
        (
            BOX._replace(key_source="b.toml, line 9"),
            AuthenticationError("key"),
            "${EDITOR:-vi} +9 b.toml",
        ),
        (
            BOX._replace(kind="ollama", source="the variable LOCALPROVIDERS_SERVERS_BOX_ENDPOINT"),
            AuthenticationError("key"),
            "export LOCALPROVIDERS_SERVERS_BOX_API_KEY=...",
        ),
        (
            HERE,
            CertificateError("tls"),
            "export LOCALPROVIDERS_SERVERS_BOX_ENDPOINT=http://127.0.0.1:1234",
        ),
        (BOX._replace(endpoint="https://box:1234"), CertificateError("tls"), None),
        (HERE, ProtocolError("page"), "ss -tlnp 'sport = :1234'"),
        (BOX, ProtocolError("page"), None),
        (
            HERE,
            LimitError("late", limit="total_s", limit_s=5.0, elapsed_s=5.0),
            "ss -tlnp 'sport = :1234'",
        ),
        (HERE, ModelError("other"), None),
    ],
)
def test_the_command_fits_the_error_and_the_place(
    asked: AskedServer, error: ProviderError, fix: Optional[str]
) -> None:
    found = _finding(asked, error)
    assert (found.mark, found.exit_code, found.fix) == ("error", error.exit_code, fix)


def test_the_variable_of_an_address_is_changed() -> None:
    asked = HERE._replace(source="OLLAMA_HOST")
    found = _finding(asked, CertificateError("tls"), environ={"OLLAMA_HOST": "https://127.0.0.1"})
    assert found.fix == "export OLLAMA_HOST=http://127.0.0.1:1234"


def test_a_server_at_a_unix_socket_is_shown_by_its_file() -> None:
    asked = HERE._replace(endpoint="unix:///run/llama.sock")
    assert _finding(asked, ProtocolError("page")).fix == "ls -l /run/llama.sock"


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (None, "answers and lists no models"),
        (AuthenticationError("key"), "at http://192.168.1.20:1234: key"),
        (ProtocolError("page"), "is configured as lmstudio, but Ollama answers at"),
        (UnreachableError("gone"), "is configured as lmstudio, but Ollama answers at"),
    ],
)
def test_a_server_of_another_kind_is_named_only_if_a_call_fails_for_it(
    error: Optional[ProviderError], fact: str
) -> None:
    other = FoundServer(
        kind="ollama", name="o", endpoint=BOX.endpoint, state="available", product="Ollama"
    )
    search = Discovery(servers=(other,), found_at=datetime.now(timezone.utc))
    (found,) = check_named(Facts(asked=(BOX._replace(error=error),), search=search))
    assert fact in found.fact
    assert found.exit_code == (0 if error is None else error.exit_code)
