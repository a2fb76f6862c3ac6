"""A TLS connection is made only to a server with a right certificate; a cut response is an error."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Any, Callable, List, Mapping, Tuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from localproviders import (
    CertificateError,
    LimitError,
    ProtocolError,
    ProviderError,
    StreamInterruptedError,
    TransportError,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.locality import (
    CALLS,
    KEY,
    PROVIDERS,
    Authority,
    after_model_list,
    good,
    make,
    server_context,
)

_NOW = datetime.now(timezone.utc)


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_every_call_works_with_the_authority_of_the_user(
    kind: str, host: str, authority: Authority
) -> None:
    with ScriptedServer(good, tls=authority.context()) as server:
        url = server.url.replace("127.0.0.1", host)
        with make(kind, url, ca_bundle=authority.bundle) as provider:
            for call in CALLS.values():
                call(provider)


# --- wrong certificates -------------------------------------------------------------


def _not_yet_valid(authority: Authority) -> ssl.SSLContext:
    """Make a certificate that is valid from tomorrow on, which the oldest trustme cannot do."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(authority.made.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority.made.cert_pem.bytes())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tomorrow")])
    places = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW + timedelta(days=1))
        .not_valid_after(_NOW + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]  # as above
            critical=False,
        )
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]  # an elliptic key, as trustme's
    )
    path = authority.write(
        "tomorrow.pem",
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


# Wrong certificates of a server, and words of the error.
_WRONG: Mapping[str, Tuple[Callable[[Authority], ssl.SSLContext], str]] = {
    "another address": (lambda a: a.context("127.0.0.2"), "127.0.0.1"),
    "another name": (lambda a: a.context("example.org"), "127.0.0.1"),
    "only a name": (lambda a: a.context("localhost"), "127.0.0.1"),
    "a common name only": (lambda a: a.context("x", common_name="127.0.0.1"), "127.0.0.1"),
    "expired": (lambda a: a.context(not_after=_NOW - timedelta(days=1)), "expired"),
    "not yet valid": (_not_yet_valid, "not yet valid"),
    "another authority": (
        lambda _: server_context(trustme.CA().issue_cert("127.0.0.1")),
        "issuer certificate",
    ),
    "self-signed": (lambda _: _self_signed(), "self.signed"),
}


def _self_signed() -> ssl.SSLContext:
    """Return a context with the certificate of an authority itself."""
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with made.private_key_pem.tempfile() as key, made.cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    return context


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("wrong", _WRONG)
def test_a_wrong_certificate_ends_every_call(kind: str, wrong: str, authority: Authority) -> None:
    context, words = _WRONG[wrong]
    with ScriptedServer(good, tls=context(authority)) as server:
        with make(kind, server, ca_bundle=authority.bundle, api_key=KEY) as provider:
            for call in CALLS.values():
                with pytest.raises(CertificateError, match=words) as caught:
                    call(provider)
                assert not caught.value.retryable
                assert "ca_bundle" in str(caught.value.hint)

    assert server.exchanges == []


@pytest.mark.parametrize("kind", PROVIDERS)
def test_an_unknown_authority_is_not_trusted(kind: str, authority: Authority) -> None:
    with ScriptedServer(good, tls=authority.context()) as server, make(kind, server) as provider:
        with pytest.raises(CertificateError, match="issuer certificate"):
            provider.list_models()

    assert server.exchanges == []


def test_the_name_is_checked_as_the_user_wrote_it(authority: Authority) -> None:
    with ScriptedServer(good, tls=authority.context("127.0.0.1")) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with make("ollama", url, ca_bundle=authority.bundle) as provider:
            with pytest.raises(CertificateError, match="localhost"):
                provider.list_models()


# --- client certificates ------------------------------------------------------------------


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("clients"))


def _asking(authority: Authority, clients: Authority, version: str = "") -> ssl.SSLContext:
    context = authority.context(client_authority=clients)
    if version:
        context.maximum_version = ssl.TLSVersion[version]
    return context


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_client_certificate_is_accepted(
    kind: str, files: int, version: str, authority: Authority, clients: Authority
) -> None:
    mine = clients.made.issue_cert("me@example.org")
    chain, key = mine.cert_chain_pems[0].bytes(), mine.private_key_pem.bytes()
    pair = (clients.write("chain.pem", chain), clients.write("key.pem", key))
    one = clients.write("one.pem", chain + key)
    with ScriptedServer(good, tls=_asking(authority, clients, version)) as server:
        with make(
            kind, server, ca_bundle=authority.bundle, client_cert=one if files == 1 else pair
        ) as provider:
            for call in CALLS.values():
                call(provider)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("shown", ["none", "of a stranger"])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_missing_or_wrong_client_certificate_ends_every_call(
    kind: str, shown: str, version: str, authority: Authority, clients: Authority
) -> None:
    stranger = trustme.CA().issue_cert("you@example.org").private_key_and_cert_chain_pem
    path = clients.write("stranger.pem", stranger.bytes())
    with ScriptedServer(good, tls=_asking(authority, clients, version)) as server:
        with make(
            kind,
            server,
            ca_bundle=authority.bundle,
            client_cert=None if shown == "none" else path,
            timeout=10,
        ) as provider:
            for call in CALLS.values():
                with pytest.raises(TransportError) as caught:
                    call(provider)
                # With TLS 1.3 the client sends first, and the reset can arrive before the alert.
                if version == "TLSv1_2":
                    assert isinstance(caught.value, CertificateError)
                    assert "client_cert" in str(caught.value.hint)
                assert not isinstance(caught.value, LimitError)

    assert server.exchanges == []


# --- the wrong port -----------------------------------------------------------------------


def _replying(reply: bytes) -> Callable[[socket.socket], None]:
    """Reply to the first bytes, whatever they are, as a server without TLS does."""

    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(reply)

    return serve


class _RawServer(ScriptedServer):
    """A server that handles raw bytes instead of requests."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        super().__init__(b"")
        self._serve_bytes = serve

    def _serve(self, sock: socket.socket, *_: Any) -> None:
        with sock:
            self._serve_bytes(sock)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (http_answer(status="400 Bad Request"), "does not speak TLS"),
        (b"Client sent garbage\n", "does not speak TLS"),
        (b"", "TLS failed"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "TLS failed"),  # a fatal alert
    ],
    ids=["a refusal", "words", "nothing", "an alert"],
)
def test_https_to_a_plain_server(kind: str, reply: bytes, words: str) -> None:
    with _RawServer(_replying(reply)) as server:
        with make(kind, server.url.replace("http", "https"), timeout=10) as provider:
            for call in CALLS.values():
                with pytest.raises(CertificateError, match=words):
                    call(provider)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_http_to_a_tls_server(kind: str, authority: Authority) -> None:
    with ScriptedServer(good, tls=authority.context()) as server:
        with make(kind, server.url.replace("https", "http"), timeout=10) as provider:
            for call in CALLS.values():
                with pytest.raises((StreamInterruptedError, ProtocolError)):
                    call(provider)

    assert server.exchanges == []


def test_http_to_a_tls_server_that_says_so() -> None:
    def alert(sock: socket.socket) -> None:
        while b"\r\n\r\n" not in sock.recv(65536):
            pass
        sock.sendall(b"\x15\x03\x01\x00\x02\x02\x28")

    with _RawServer(alert) as server, make("ollama", server, timeout=10) as provider:
        with pytest.raises(ProtocolError, match="not HTTP") as caught:
            provider.list_models()

    assert "https://" in str(caught.value.hint)


# --- cut bodies -------------------------------------------------------------------

_SSE = b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n'
_NDJSON = b'{"model":"m","message":{"content":"Hi"},"done":false}\n'
_FRAMES: Mapping[str, Callable[[bytes], bytes]] = {
    "until it closes": lambda body: b"\r\n" + body,
    "in chunks": lambda body: b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(body), body),
    "with a length": lambda body: b"Content-Length: 9999\r\n\r\n" + body,
}


def _cut(exchange: Exchange) -> None:
    """Close the connection without the closing alert of TLS."""
    socket.socket.shutdown(exchange.sock, socket.SHUT_RDWR)
    exchange.close()


def _reset(exchange: Exchange) -> None:
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.sock.close()
    exchange.close()


def _garbage(exchange: Exchange) -> None:
    """Write bytes without TLS to the socket, and wait for the client to disconnect."""
    under = os.dup(exchange.sock.fileno())
    try:
        os.write(under, b"no record at all" * 4)
    finally:
        os.close(under)
    exchange.hold()


_ENDS = {"cut": _cut, "reset": _reset, "garbage": _garbage}


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("framing", _FRAMES)
@pytest.mark.parametrize("end", _ENDS)
def test_a_cut_stream_keeps_the_text_so_far(
    kind: str, framing: str, end: str, authority: Authority
) -> None:
    body = _NDJSON if kind == "ollama" else _SSE
    media = b"application/x-ndjson" if kind == "ollama" else b"text/event-stream"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n" % media
    steps: List[Any] = [head + _FRAMES[framing](body), _ENDS[end]]
    with ScriptedServer(after_model_list(steps), tls=authority.context()) as server:
        with make(kind, server, ca_bundle=authority.bundle, timeout=10) as provider:
            for ask in ("chat", "stream"):
                with pytest.raises(StreamInterruptedError) as caught:
                    CALLS[ask](provider)
                # The client may see the reset before it has read the text.
                assert caught.value.partial == "Hi" or (end == "reset" and not caught.value.partial)


@pytest.mark.sample(7)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("framing", _FRAMES)
@pytest.mark.parametrize("end", _ENDS)
@pytest.mark.parametrize("ask", ["list_models", "embed", "model_capabilities"])
def test_a_cut_json_response_is_an_error(
    kind: str, framing: str, end: str, ask: str, authority: Authority
) -> None:
    half = b'{"models": [{"name": "m:latest"}], "data": [{"id": "m"'
    steps: List[Any] = [b"HTTP/1.1 200 OK\r\n" + _FRAMES[framing](half), _ENDS[end]]
    with ScriptedServer(lambda _: steps, tls=authority.context()) as server:
        with make(kind, server, ca_bundle=authority.bundle, timeout=10) as provider:
            with pytest.raises(ProviderError) as caught:
                CALLS[ask](provider)

    assert isinstance(caught.value, (StreamInterruptedError, ProtocolError))


@pytest.mark.parametrize("end", ["cut", "reset"])
def test_a_connection_that_ends_before_the_response_is_an_error(
    end: str, authority: Authority
) -> None:
    with ScriptedServer(lambda _: [_ENDS[end]], tls=authority.context()) as server:
        with make("openai", server, ca_bundle=authority.bundle) as provider:
            with pytest.raises(StreamInterruptedError, match="without a response"):
                provider.chat("Hi")


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_next_call_works_after_each_cut(kind: str, authority: Authority) -> None:
    ends = list(_ENDS.values())

    def script(exchange: Exchange) -> List[Any]:
        return (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", ends.pop()]
            if ends
            else good(exchange)
        )

    with ScriptedServer(script, tls=authority.context()) as server:
        with make(kind, server, ca_bundle=authority.bundle, timeout=10) as provider:
            for _ in list(ends):
                with pytest.raises(StreamInterruptedError):
                    provider.list_models()
            provider.chat("Hi")
