"""A certificate authority for the tests, and an environment without foreign certificates."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any, List, Tuple

import pytest

from localproviders._http import resolve
from tests.support.locality import Authority

_FOREIGN = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC")


@pytest.fixture(autouse=True)
def _no_foreign_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make a certificate authority that no system trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[Any, ...]]:
    """Return the addresses to which sockets connect; refuse all but loopback addresses."""
    addresses: List[Tuple[Any, ...]] = []

    class Watched(socket.socket):
        def connect_ex(self, address: Any) -> int:
            addresses.append(address)
            local = ipaddress.ip_address(address[0].partition("%")[0])
            mapped = getattr(local, "ipv4_mapped", None)
            if not (mapped or local).is_loopback:
                return errno.ECONNREFUSED
            return super().connect_ex(address)

    monkeypatch.setattr(resolve.socket, "socket", Watched)
    return addresses
