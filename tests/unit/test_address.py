"""Addresses of servers: parsing, and the locality of each."""

from __future__ import annotations

import ipaddress
from typing import Optional, Tuple

import pytest

from localproviders._address import (
    Endpoint,
    allows,
    is_localhost,
    literal,
    parse_endpoint,
    place_of,
    short_form_hint,
)
from localproviders.errors import ConfigurationError

# Ollama's own rules (docs/reference/ollama.md, "Connecting"), but with loopback for a bind
# address.
_OLLAMA_HOST = [
    ("", "http://127.0.0.1:11434"),
    ("   ", "http://127.0.0.1:11434"),
    ('""', "http://127.0.0.1:11434"),
    ("1.2.3.4", "http://1.2.3.4:11434"),
    ("example.com", "http://example.com:11434"),
    ("1.2.3.4:1234", "http://1.2.3.4:1234"),
    ("example.com:1234", "http://example.com:1234"),
    (":1234", "http://127.0.0.1:1234"),
    ("::1", "http://[::1]:11434"),
    ("[::1]", "http://[::1]:11434"),
    ("[::1]:1337", "http://[::1]:1337"),
    ("[::]", "http://[::1]:11434"),
    ("[::]:99", "http://[::1]:99"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:80", "http://127.0.0.1:80"),
    ("http://0.0.0.0", "http://127.0.0.1:80"),
    ("http://1.2.3.4", "http://1.2.3.4:80"),
    ("https://1.2.3.4", "https://1.2.3.4:443"),
    ("https://1.2.3.4:4321", "https://1.2.3.4:4321"),
    ("HTTPS://1.2.3.4", "https://1.2.3.4:443"),
    ("https://example.com/ollama", "https://example.com:443/ollama"),
    ("https://example.com/a/b/", "https://example.com:443/a/b"),
    ("ollama.com", "https://ollama.com:443"),
    ("ollama.com:443", "http://ollama.com:443"),
    ("ollama.com/", "http://ollama.com:11434"),
    ('"1.2.3.4"', "http://1.2.3.4:11434"),
    ("' 1.2.3.4 '", "http://1.2.3.4:11434"),
]
_BAD_PORTS = [":66000", ":-1", "h:abc", "h:", "h:٣", "[::1]:x", "h: 1", "h:1_0", "h:999999999"]


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(("text", "url"), _OLLAMA_HOST)
def test_an_address_is_read_as_ollama_reads_it(text: str, url: str, lenient: bool) -> None:
    assert str(parse_endpoint(text, default_port=11434, lenient=lenient)) == url


@pytest.mark.parametrize("text", _BAD_PORTS)
def test_an_impossible_port_is_an_error_or_leniently_the_default(text: str) -> None:
    with pytest.raises(ConfigurationError, match="port is"):
        parse_endpoint(text, default_port=11434)
    assert parse_endpoint(text, default_port=11434, lenient=True).port == 11434


@pytest.mark.parametrize(("text", "port"), [("http://h:x", 80), ("https://h:66000", 443)])
def test_the_default_for_an_impossible_port_is_that_of_the_scheme(text: str, port: int) -> None:
    assert parse_endpoint(text, default_port=11434, lenient=True).port == port


def test_port_zero_is_kept_leniently_and_refused_else() -> None:
    assert parse_endpoint(":0", default_port=1, lenient=True).port == 0
    with pytest.raises(ConfigurationError):
        parse_endpoint(":0", default_port=1)


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize("text", ["ftp://h", "ws://h:1", "://h"])
def test_another_scheme_is_an_error(text: str, lenient: bool) -> None:
    with pytest.raises(ConfigurationError, match="scheme"):
        parse_endpoint(text, default_port=1, lenient=lenient)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ws://localhost:1234", "write http://localhost:1234"),
        ("ws://localhost:1234/llm", "write http://localhost:1234"),
        ("WSS://gpu-box.lan:443", "write https://gpu-box.lan:443"),
        ("tcp://127.0.0.1:11434", "write http://127.0.0.1:11434"),
        ("ws://127.0.0.1", "write http://127.0.0.1"),
        ("ws://[::1]", "write http://[::1]"),
        ("ws://[::1]:1234", "write http://[::1]:1234"),
        ("ws://sk-1234567890", None),
        ("ws://sk-ABC:1234", None),
        ("ftp://localhost", None),
    ],
)
def test_the_address_to_write_is_shown_unless_it_may_be_a_key(
    text: str, hint: Optional[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_endpoint(text, default_port=1)
    assert caught.value.hint == hint


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize("text", ["a b", "h?x=1", "h#x", "a\\b", "[::1", "::1]", "1:2:3", "[:x]"])
def test_what_is_no_host_is_an_error(text: str, lenient: bool) -> None:
    with pytest.raises(ConfigurationError, match="the host of the address is invalid"):
        parse_endpoint(text, default_port=1, lenient=lenient)


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "user:hunter2@host:1234",
        "http://user:hunter2@host",
        "https://hunter2@host/path",
        "http://user:hunter2/more@host",
        "http://user:hunter2?x@host",
        "user:hunter2://x@host",
    ],
)
def test_credentials_are_refused_without_being_quoted(text: str, lenient: bool) -> None:
    with pytest.raises(ConfigurationError, match="credentials") as caught:
        parse_endpoint(text, default_port=1, lenient=lenient)
    assert "hunter2" not in f"{caught.value}{caught.value!r}"


@pytest.mark.parametrize("path", ["v1?key=hunter2", "v1#hunter2", "a b", "v1'/", 'a"b', "a\\b"])
def test_a_path_that_no_request_can_follow_is_refused_without_being_quoted(path: str) -> None:
    with pytest.raises(ConfigurationError, match="path of the address") as caught:
        parse_endpoint(f"http://h/{path}", default_port=1)
    assert "hunter2" not in f"{caught.value}{caught.value!r}"


_LM_STUDIO = ("v1", "api/v1", "api/v0")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("http://h:1234/v1", ""),
        ("http://h:1234/v1/", ""),
        ("http://h:1234", ""),
        ("http://h:1234/lm/v1", "/lm"),
        ("http://h:1234/lm", "/lm"),
        ("http://h:1234/lmv1", "/lmv1"),
        ("http://h:1234/v1/more", "/v1/more"),
    ],
)
def test_an_api_suffix_is_taken_off_the_path(text: str, path: str) -> None:
    assert parse_endpoint(text, default_port=1, api_suffixes=("v1",)).path == path


@pytest.mark.parametrize("suffix", ["v1", "api/v1", "api/v0"])
def test_the_longest_suffix_is_listed_first_and_goes_whole(suffix: str) -> None:
    order = tuple(sorted(_LM_STUDIO, key=len, reverse=True))
    assert parse_endpoint(f"h/x/{suffix}", default_port=1, api_suffixes=order).path == "/x"


@pytest.mark.parametrize(
    ("host", "origin"),
    [("h", "http://h:1"), ("::1", "http://[::1]:1"), ("fe80::1%eth0", "http://[fe80::1%25eth0]:1")],
)
def test_an_origin_brackets_ipv6(host: str, origin: str) -> None:
    endpoint = Endpoint(scheme="http", host=host, port=1, path="/p")
    assert endpoint.origin == origin
    assert endpoint.url == str(endpoint) == origin + "/p"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("127.0.0.1.example.com", False),
        ("::ffff:8.8.8.8", False),
        ("2130706433", True),
        ("0x7f.1", True),
        ("127.1", True),
        ("0177.0.0.1", True),
        ("2130706434", True),
        ("134744072", False),
        ("0127.0.0.1", False),
        ("08.0.0.1", False),
    ],
)
def test_an_endpoint_knows_whether_it_is_written_as_loopback(host: str, loopback: bool) -> None:
    assert Endpoint(scheme="http", host=host, port=1).is_loopback is loopback


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.1", "any"),
        ("192.168.1.1", "private"),
        ("192.169.1.1", "any"),
        ("169.254.1.1", "private"),
        ("::ffff:192.168.1.1", "private"),
        ("::ffff:8.8.8.8", "any"),
        ("fc00::1", "private"),
        ("fdff::1", "private"),
        ("fe80::1", "private"),
        ("fec0::1", "any"),
        ("100.64.0.1", "any"),
        ("64:ff9b::7f00:1", "any"),
        ("64:ff9b::a00:1", "any"),
        ("2002:7f00:1::", "any"),
        ("0.0.0.0", "any"),
        ("::", "any"),
        ("192.0.2.1", "any"),
        ("198.18.0.1", "any"),
        ("224.0.0.1", "any"),
        ("255.255.255.255", "any"),
        ("8.8.8.8", "any"),
        ("2001:db8::1", "any"),
    ],
)
def test_the_place_of_an_address_is_the_same_on_every_python(address: str, place: str) -> None:
    assert place_of(ipaddress.ip_address(address)) == place


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%25eth0", "fe80::1"),
        ("localhost", None),
        ("1.2.3", None),
        ("", None),
        ("0x7f.1", None),
    ],
)
def test_a_literal_is_told_from_a_name(host: str, address: object) -> None:
    found = literal(host)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize("zone", ["fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%25eth0]:9"])
def test_a_zone_stays_in_the_host_and_out_of_the_judgement(zone: str) -> None:
    endpoint = parse_endpoint(zone, default_port=1)
    address = literal(endpoint.host)
    assert "%" in endpoint.host
    assert address is not None
    assert place_of(address) == "private"
    assert not endpoint.is_loopback


@pytest.mark.parametrize(
    ("name", "local"),
    [("localhost", True), ("x.LOCALHOST..", True), ("localhos", False), ("", False)],
)
def test_localhost_is_known_by_name(name: str, local: bool) -> None:
    assert is_localhost(name) is local


@pytest.mark.parametrize(
    ("locality", "places"),
    [
        ("loopback", ("loopback",)),
        ("private", ("loopback", "private")),
        ("any", ("loopback", "private", "any")),
    ],
)
def test_a_policy_allows_its_place_and_what_is_nearer(
    locality: str, places: Tuple[str, ...]
) -> None:
    order = ("loopback", "private", "any")
    assert tuple(place for place in order if allows(locality, place)) == places


def test_an_endpoint_goes_to_a_dictionary_and_back() -> None:
    endpoint = parse_endpoint("https://h/p", default_port=1)
    assert Endpoint.from_dict(endpoint.to_dict()) == endpoint


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.0.0.1", None),
        ("::1", None),
        ("localhost", None),
        ("127.0.0.1.example", None),
    ],
)
def test_the_hint_for_an_old_form_of_an_address_has_the_usual_form(
    host: str, full: Optional[str]
) -> None:
    hint = short_form_hint(host)
    assert (hint is None) == (full is None)
    assert hint is None or (hint.startswith(f"write the address with {full}:") and host in hint)


# --- UNIX sockets ---------------------------------------------------------------------------

_SOCKETS = [
    ("unix:///run/llama.sock", "/run/llama.sock", ""),
    ("unix:///run/llama.sock:/llm/v1", "/run/llama.sock", "/llm/v1"),
    ("unix:///run/llama.sock:/llm/", "/run/llama.sock", "/llm"),
    ("unix:///run/llama.sock:/", "/run/llama.sock", ""),
    ("unix:///run/llama.sock:", "/run/llama.sock", ""),
    ("unix:///run/llama.sock/", "/run/llama.sock", ""),
    (' "UNIX:///run/llama.sock" ', "/run/llama.sock", ""),
    ("unix:///run/llama.sock:/v1/chat/completions", "/run/llama.sock", "/v1"),
    ("unix:///run/a b/ü@1%20.sock", "/run/a b/ü@1%20.sock", ""),
]
_NO_SOCKETS = [
    ("unix:run/x.sock", "must be absolute"),
    ("unix:/run/x.sock", "must be absolute"),
    ("unix://run/x.sock", "must be absolute"),
    ("unix://~/x.sock", "must be absolute"),
    ("unix:", "must be absolute"),
    ("unix:///", "names no UNIX socket"),
    ("unix:///:/v1", "names no UNIX socket"),
    ("unix:///run/x.sock:8080", "must be followed by a path"),
    ("unix:///run/x.sock:v1", "must be followed by a path"),
    ("unix:///run/x.sock?key=hunter2", "the path of the UNIX socket contains"),
    ("unix:///run/x.sock\\y", "the path of the UNIX socket contains"),
    ("unix:///run/\x1b[2J", "the path of the UNIX socket contains"),
    ("unix:///run/x\x00", "the path of the UNIX socket contains"),
    ("unix:///run/x\ud800", "the path of the UNIX socket contains"),
    ("unix:///run/x.sock:/v1?key=hunter2", "the path of the address contains"),
    ("unix:///run/x.sock:/hunter2@v1", "the address contains credentials"),
    ("https+unix:///run/x.sock", "TLS over a UNIX socket is not supported"),
    ("unixs:///run/x.sock", "TLS over a UNIX socket is not supported"),
    ("unix+tls:///run/x.sock", "TLS over a UNIX socket is not supported"),
    ("http+unix://%2Frun%2Fx.sock", "the scheme of a UNIX socket must be unix"),
]


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(("text", "path", "prefix"), _SOCKETS)
def test_a_unix_socket_is_an_address(text: str, path: str, prefix: str, lenient: bool) -> None:
    endpoint = parse_endpoint(text, default_port=11434, lenient=lenient)

    assert (endpoint.socket_path, endpoint.path) == (path, prefix)
    assert endpoint.is_loopback
    assert endpoint.url == f"unix://{path}" + (f":{prefix}" if prefix else "")
    assert endpoint.request_url == f"http://localhost{prefix}"
    assert parse_endpoint(endpoint.url, default_port=1) == endpoint
    assert Endpoint.from_dict(endpoint.to_dict()) == endpoint


@pytest.mark.parametrize(("text", "why"), _NO_SOCKETS)
def test_what_is_no_unix_socket_is_an_error_of_one_line(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        parse_endpoint(text, default_port=1)

    assert caught.value.hint
    assert len(str(caught.value).splitlines()) == 1
    assert "hunter2" not in f"{caught.value}{caught.value!r}"


def test_a_path_of_the_api_is_added_to_a_unix_socket_that_has_none() -> None:
    def url(text: str, *suffixes: str) -> str:
        return parse_endpoint(
            text, default_port=1, api_suffixes=suffixes, socket_api="/v1"
        ).url  # fmt: skip

    assert url("unix:///x") == "unix:///x:/v1"
    assert url("unix:///x:/llm") == "unix:///x:/llm"
    assert url("unix:///x:/api", "api") == "unix:///x:/v1"
    assert url("http://127.0.0.1:1") == "http://127.0.0.1:1"


def test_another_path_on_a_server_is_written_in_the_form_of_its_address() -> None:
    assert parse_endpoint("unix:///x:/a", default_port=1).at("/v1") == "unix:///x:/v1"
    assert parse_endpoint("unix:///x:/a", default_port=1).at("") == "unix:///x"
    assert parse_endpoint("h:1/a", default_port=1).at("/v1") == "http://h:1/v1"
