"""Certificates: which ones are trusted or presented, and the errors for a wrong path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Mapping

import pytest
from cryptography.hazmat.primitives import serialization

from localproviders import CertificateError, ConfigurationError
from localproviders.testing import ScriptedServer
from tests.support.locality import CALLS, PROVIDERS, Authority, good, make

_ROOT = Path(__file__).parents[3]
_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


# --- certificates of the environment ---------------------------------------------------------


@pytest.fixture
def folder(authority: Authority, tmp_path: Path) -> Path:
    """Return a folder with the authority's certificate under its hash, as OpenSSL expects it."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("needs the openssl command")
    arguments = ["x509", "-hash", "-noout", "-in", authority.bundle]
    name = subprocess.run([command, *arguments], capture_output=True, check=True).stdout
    shutil.copy(authority.bundle, tmp_path / f"{name.decode().strip()}.0")
    return tmp_path


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("variable", _VARIABLES[:3])
def test_certificates_of_the_environment_are_trusted_on_request(
    kind: str, variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, authority.bundle)
    with ScriptedServer(good, tls=authority.context()) as server:
        with make(kind, server, ca_bundle="environment") as provider:
            for call in CALLS.values():
                call(provider)


def test_a_folder_of_certificates_is_trusted_on_request(
    authority: Authority, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    with ScriptedServer(good, tls=authority.context()) as server:
        with make("ollama", server, ca_bundle="environment") as provider:
            provider.list_models()
        with make("ollama", server, ca_bundle=str(folder)) as provider:
            provider.list_models()


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("variable", _VARIABLES)
def test_certificates_of_the_environment_are_not_trusted_by_default(
    kind: str, variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = authority.bundle if variable != "SSL_CERT_DIR" else str(authority.folder)
    monkeypatch.setenv(variable, value)
    with ScriptedServer(good, tls=authority.context()) as server, make(kind, server) as provider:
        with pytest.raises(CertificateError):
            provider.list_models()


@pytest.mark.parametrize("first", range(3))
def test_the_first_variable_that_is_set_counts(
    first: int, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, name in enumerate(_VARIABLES):
        value = "" if index < first else "/no/such/path"
        monkeypatch.setenv(name, authority.bundle if index == first else value)
    with ScriptedServer(good, tls=authority.context()) as server:
        with make("ollama", server, ca_bundle="environment") as provider:
            provider.list_models()


def test_without_a_variable_the_bundled_certificates_are_trusted(authority: Authority) -> None:
    with ScriptedServer(good, tls=authority.context()) as server:
        with make("ollama", server, ca_bundle="environment") as provider:
            with pytest.raises(CertificateError, match="issuer certificate"):
                provider.list_models()


def test_the_variable_is_read_at_the_first_call(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(good, tls=authority.context()) as server:
        with make("ollama", server, ca_bundle="environment") as provider:
            monkeypatch.setenv("SSL_CERT_FILE", authority.bundle)
            provider.list_models()
            monkeypatch.delenv("SSL_CERT_FILE")
            provider.list_models()
            provider.close()
            with pytest.raises(CertificateError):
                provider.list_models()


# --- wrong paths --------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize(
    "options",
    [
        {"ca_bundle": "/no/such/path.pem"},
        {"client_cert": "/no/such/path.pem"},
        {"client_cert": ("/no/such/path.pem", "/no/other.pem")},
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_path_that_does_not_exist_is_named(kind: str, options: Any, scheme: str) -> None:
    with make(kind, f"{scheme}://127.0.0.1:1", **options) as provider:
        for call in CALLS.values():
            with pytest.raises(ConfigurationError, match=r"/no/such/path\.pem.*no such") as caught:
                call(provider)
            assert type(caught.value) is ConfigurationError
            assert next(iter(options)) in str(caught.value)


def test_the_variable_with_a_wrong_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", "/no/such/path.pem")
    with make("ollama", "https://127.0.0.1:1", ca_bundle="environment") as provider:
        with pytest.raises(ConfigurationError, match=r"CURL_CA_BUNDLE.*/no/such/path.pem"):
            provider.list_models()


def test_a_missing_key_file_is_named(authority: Authority) -> None:
    with make(
        "ollama", "https://127.0.0.1:1", client_cert=(authority.bundle, "/no/key.pem")
    ) as provider:
        with pytest.raises(ConfigurationError, match=r"/no/key\.pem"):
            provider.list_models()


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nx"])
def test_a_file_without_certificates_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.write_bytes(content)
    for options in ({"ca_bundle": str(path)}, {"client_cert": str(path)}):
        with make("ollama", "https://127.0.0.1:1", **options) as provider:
            with pytest.raises(ConfigurationError, match=r"empty\.pem"):
                provider.list_models()


def test_a_key_of_another_certificate_is_named(authority: Authority) -> None:
    mine, other = (authority.made.issue_cert("me@example.org") for _ in range(2))
    pair = (
        authority.write("mine.pem", mine.cert_chain_pems[0].bytes()),
        authority.write("other.pem", other.private_key_pem.bytes()),
    )
    with make("ollama", "https://127.0.0.1:1", client_cert=pair) as provider:
        with pytest.raises(ConfigurationError, match=r"other\.pem"):
            provider.list_models()


# --- a key with a password ---------------------------------------------------------------

_FORMATS: Mapping[str, Any] = {
    "old": serialization.PrivateFormat.TraditionalOpenSSL,
    "new": serialization.PrivateFormat.PKCS8,
}
_CHILD = """
import sys
from localproviders import ConfigurationError
from tests.support.locality import make
files = sys.argv[1] if len(sys.argv) == 2 else tuple(sys.argv[1:])
with make("ollama", "https://127.0.0.1:1", client_cert=files) as provider:
    try:
        provider.list_models()
    except ConfigurationError as error:
        print(error)
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", _FORMATS)
@pytest.mark.parametrize("files", [1, 2])
def test_a_key_with_a_password_is_refused_without_a_prompt_for_it(
    form: str, files: int, authority: Authority
) -> None:
    mine = authority.made.issue_cert("me@example.org")
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        _FORMATS[form],
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    chain = mine.cert_chain_pems[0].bytes()
    paths = [authority.write("chain.pem", chain), authority.write(f"locked-{form}.pem", locked)]
    if files == 1:
        paths = [authority.write(f"one-{form}.pem", chain + locked)]

    output = _run_with_open_input([sys.executable, "-c", _CHILD, *paths])

    assert "protected by a password" in output
    assert "pass phrase" not in output


def _run_with_open_input(command: List[str]) -> str:
    """Return the output of a process whose input stays open, so that a prompt would wait."""
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # without a terminal, in which OpenSSL would ask instead
    )
    with process:
        try:
            process.wait(30)
        finally:
            process.kill()
        assert process.stdout is not None
        return process.stdout.read().decode()
