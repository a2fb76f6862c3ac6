"""TLS 1.2 is the oldest version in use, and session keys are not written to a file."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, List, Mapping

import pytest
import requests  # noqa: F401  # releases 2.32.0 to 2.32.4 open the file when they are imported

from localproviders import CertificateError, ProviderError
from localproviders._http import certificates
from localproviders.testing import ScriptedServer, http_answer
from tests.support.locality import CALLS, PROVIDERS, Authority, good, make

_ROOT = Path(__file__).parents[3]

# OpenSSL settings that allow every version, so that the client itself must refuse old ones.
_PERMISSIVE = """
openssl_conf = main
[main]
ssl_conf = all
[all]
system_default = defaults
[defaults]
MinProtocol = TLSv1
CipherString = DEFAULT:@SECLEVEL=0
"""

_CHILD = """
import sys
from localproviders import ProviderError
from tests.support.locality import make
options = {"ca_bundle": sys.argv[2], **({"client_cert": sys.argv[3]} if sys.argv[3:] else {})}
with make("ollama", sys.argv[1], **options) as provider:
    try:
        print(provider.list_models())
    except ProviderError as error:
        print(type(error).__name__, error)
"""


def _list_in_process(arguments: List[str], **variables: str) -> str:
    """List the models of a server in a new process and return its output."""
    environment = {k: v for k, v in os.environ.items() if k != "SSLKEYLOGFILE"}
    found = subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments],
        cwd=_ROOT,
        env={**environment, "PYTHONPATH": str(_ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    return found.stdout.decode()


def _old(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a server context that supports no newer version."""
    context = authority.context()
    with warnings.catch_warnings():  # Python warns of old versions
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _certificate(authority: Authority) -> str:
    mine = authority.made.issue_cert("me@example.org")
    chain = mine.cert_chain_pems[0].bytes()
    return authority.write("me.pem", chain + mine.private_key_pem.bytes())


_VERSIONS: Mapping[str, ssl.TLSVersion] = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("with_certificate", [False, True])
@pytest.mark.parametrize("version", _VERSIONS)
def test_an_old_version_is_refused_even_if_the_system_allows_it(
    version: str, with_certificate: bool, authority: Authority, tmp_path: Path
) -> None:
    system = tmp_path / "openssl.cnf"
    system.write_text(_PERMISSIVE)
    more = [_certificate(authority)] if with_certificate else []
    with ScriptedServer(good, tls=_old(authority, _VERSIONS[version])) as server:
        output = _list_in_process([server.url, authority.bundle, *more], OPENSSL_CONF=str(system))

    assert output.startswith("[ModelInfo" if version == "1.2" else "CertificateError"), output
    assert bool(server.exchanges) == (version == "1.2")


def test_the_context_has_safe_settings() -> None:
    context = certificates.context()

    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.keylog_filename is None


# --- SSLKEYLOGFILE ------------------------------------------------------------------------


@pytest.mark.sample(0)
def test_no_session_key_is_written(authority: Authority, tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    with ScriptedServer(good, tls=authority.context()) as server:
        output = _list_in_process([server.url, authority.bundle], SSLKEYLOGFILE=str(log))

    assert output.startswith("[ModelInfo"), output
    # Some releases of requests create the file when they are imported, but write no key.
    text = log.read_text() if log.exists() else ""
    assert [line for line in text.splitlines() if not line.startswith("#")] == []


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("how", ["plain", "client certificate", "folder", "environment"])
def test_no_call_writes_a_session_key(
    kind: str, how: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "keys.log"
    options: Any = {"ca_bundle": authority.bundle}
    if how == "client certificate":
        options["client_cert"] = _certificate(authority)
    if how == "environment":
        monkeypatch.setenv("SSL_CERT_FILE", authority.bundle)
        options["ca_bundle"] = "environment"
    if how == "folder":  # an empty folder: the handshake fails
        options["ca_bundle"] = str(tmp_path)
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    clients = authority if how == "client certificate" else None
    with ScriptedServer(good, tls=authority.context(client_authority=clients)) as server:
        with make(kind, server, **options) as provider:
            for call in CALLS.values():
                if how == "folder":
                    with pytest.raises(CertificateError):
                        call(provider)
                else:
                    call(provider)

    assert not log.exists()


def test_a_call_through_a_proxy_writes_no_session_key(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    refused = http_answer(b"", status="403 Forbidden")
    with ScriptedServer(refused, tls=authority.context()) as proxy:
        with make(
            "openai",
            "https://example.invalid",
            locality="any",
            ca_bundle=authority.bundle,
            proxies={"https": proxy.url},
        ) as provider:
            with pytest.raises(ProviderError):
                provider.list_models()

    assert proxy.exchanges[0].method == "CONNECT"
    assert not log.exists()
