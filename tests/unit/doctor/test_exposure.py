"""Listening sockets, as each system lists them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import List, Tuple

import pytest

from localproviders.doctor import Facts
from localproviders.doctor.exposure import check_variables, listeners_of
from localproviders.doctor.machine import read_kernel
from tests.unit.doctor.support import ZEROS, socket_line

LOOPBACK_6 = f"{ZEROS}01000000"
MAPPED = "0000000000000000FFFF00000100007F"


@pytest.mark.parametrize(
    ("table", "address", "expected"),
    [
        ("tcp", "0100007F", "127.0.0.1"),
        ("tcp", "00000000", "0.0.0.0"),
        ("tcp", "1401A8C0", "192.168.1.20"),
        ("tcp6", LOOPBACK_6, "::1"),
        ("tcp6", "0" * 32, "::"),
        ("tcp6", MAPPED, "127.0.0.1"),
    ],
)
def test_an_address_of_the_kernel_is_read(table: str, address: str, expected: str) -> None:
    text = "head\n" + socket_line(address, 11434)
    found = listeners_of(Facts(kernel={f"/proc/net/{table}": text}))
    assert [(each.address, each.port) for each in found] == [(expected, 11434)]


def test_a_connection_is_no_listener() -> None:
    text = "head\n" + socket_line("0100007F", 11434, state="01")
    assert listeners_of(Facts(kernel={"/proc/net/tcp": text})) == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("tcp4  0  0  127.0.0.1.11434  *.*  LISTEN", [("127.0.0.1", 11434)]),
        ("tcp46  0  0  *.8080  *.*  LISTEN", [("0.0.0.0", 8080)]),
        ("tcp6  0  0  ::1.1234  *.*  LISTEN", [("::1", 1234)]),
        ("tcp  0  0  127.0.0.1:11434  0.0.0.0:*  LISTEN", [("127.0.0.1", 11434)]),
        ("tcp6  0  0  :::8080  :::*  LISTEN", [("::", 8080)]),
        ("  TCP    0.0.0.0:135   0.0.0.0:0   LISTENING", [("0.0.0.0", 135)]),
        ("  TCP    [::1]:1234   [::]:0   LISTENING   4711", [("::1", 1234)]),
        ("tcp4  0  0  127.0.0.1.11434  127.0.0.1.52000  ESTABLISHED", []),
        ("udp4  0  0  *.5353  *.*", []),
        ("Active Internet connections (including servers)", []),
        ("tcp LISTEN", []),
    ],
)
def test_the_output_of_netstat_is_read(lines: str, expected: List[Tuple[str, int]]) -> None:
    found = listeners_of(Facts(netstat=f"{lines}\n"))
    assert [(each.address, each.port) for each in found] == expected


def test_a_real_socket_is_in_the_tables_of_this_machine() -> None:
    kernel = read_kernel(Path("/"))
    if "/proc/net/tcp" not in kernel:
        pytest.skip("this system has no /proc/net/tcp")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = listeners_of(Facts(kernel=read_kernel(Path("/"))))
    assert [each.address for each in found if each.port == port] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "is_every_network"),
    [
        ("0.0.0.0", True),
        ("0.0.0.0:11434", True),
        ("http://0.0.0.0:80/", True),
        ("[::]:11434", True),
        ("::", True),
        ("0.0.0.0.example", False),
        ("::1", False),
        ("::1/", False),
        ("[::1]:11434", False),
        ("::ffff:127.0.0.1", False),
        ("127.0.0.1:11434", False),
    ],
)
def test_a_variable_that_means_all_networks(host: str, is_every_network: bool) -> None:
    found = list(check_variables(Facts(environ={"OLLAMA_HOST": host})))
    assert any("all networks" in each.fact for each in found) == is_every_network
