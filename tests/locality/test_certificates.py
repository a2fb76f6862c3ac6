"""Which certificates are trusted and shown, and what comes of a wrong path."""

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
from tests.locality.support import CALLS, PROVIDERS, Authority, good, make

_ROOT = Path(__file__).parents[2]
_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


# --- the environment's, by choice ---------------------------------------------------------


@pytest.fixture
def folder(authority: Authority, tmp_path: Path) -> Path:
    """The authority's certificate as OpenSSL looks for it in a folder: under its hash."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("there is no openssl command to name the certificate")
    arguments = ["x509", "-hash", "-noout", "-in", authority.bundle]
    name = subprocess.run([command, *arguments], capture_output=True, check=True).stdout
    shutil.copy(authority.bundle, tmp_path / f"{name.decode().strip()}.0")
    return tmp_path


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("variable", _VARIABLES[:3])
def test_the_environments_certificates_are_taken_by_choice(
    kind: str, variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, authority.bundle)
    with ScriptedServer(good, tls=authority.context()) as server:
        with make(kind, server, ca_bundle="environment") as provider:
            for call in CALLS.values():
                call(provider)


def test_a_folder_of_certificates_too(
    authority: Authority, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    with ScriptedServer(good, tls=authority.context()) as server:
        with make("ollama", server, ca_bundle="environment") as provider:
            provider.list_models()
        with make("ollama", server, ca_bundle=str(folder)) as provider:
            provider.list_models()


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("variable", _VARIABLES)
def test_and_never_unasked(
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


def test_without_a_variable_the_bundled_ones_are_trusted(authority: Authority) -> None:
    with ScriptedServer(good, tls=authority.context()) as server:
        with make("ollama", server, ca_bundle="environment") as provider:
            with pytest.raises(CertificateError, match="issuer certificate"):
                provider.list_models()


def test_the_variable_is_read_when_the_first_call_is_made(
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


# --- paths that lead nowhere --------------------------------------------------------------


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


def test_so_is_the_variable_that_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", "/no/such/path.pem")
    with make("ollama", "https://127.0.0.1:1", ca_bundle="environment") as provider:
        with pytest.raises(ConfigurationError, match=r"CURL_CA_BUNDLE.*/no/such/path.pem"):
            provider.list_models()


def test_a_second_file_that_does_not_exist_is_named(authority: Authority) -> None:
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


# --- a key under a password ---------------------------------------------------------------

_FORMATS: Mapping[str, Any] = {
    "old": serialization.PrivateFormat.TraditionalOpenSSL,
    "new": serialization.PrivateFormat.PKCS8,
}
_CHILD = """
import sys
from localproviders import ConfigurationError
from tests.locality.support import make
files = sys.argv[1] if len(sys.argv) == 2 else tuple(sys.argv[1:])
with make("ollama", "https://127.0.0.1:1", client_cert=files) as provider:
    try:
        provider.list_models()
    except ConfigurationError as error:
        print(error)
"""


@pytest.mark.parametrize("form", _FORMATS)
@pytest.mark.parametrize("files", [1, 2])
def test_a_key_under_a_password_is_refused_and_asks_nobody(
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

    said = _run_where_somebody_could_type([sys.executable, "-c", _CHILD, *paths])

    assert "under a password" in said
    assert "pass phrase" not in said


def _run_where_somebody_could_type(command: List[str]) -> str:
    """Give what a process says whose input stays open: a question would wait for ever."""
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # with a terminal OpenSSL would ask there instead
    )
    with process:
        try:
            process.wait(30)
        finally:
            process.kill()
        assert process.stdout is not None
        return process.stdout.read().decode()
