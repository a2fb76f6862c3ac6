"""Every promise holds where the surroundings are hostile."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import pytest
import requests
import trustme

from localproviders import DependencyError
from localproviders.testing import Exchange, http_answer
from tests.life.child import Child, program
from tests.life.programs.surroundings import ASKED
from tests.life.serving import CHUNKED, CountingServer, close, echo, event, hold, question

_POSIX = pytest.mark.skipif(os.name != "posix", reason="this is about a POSIX shell")

# Without these, Python itself does not start on some systems.
_BARE = {name: os.environ[name] for name in ("SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
_NOWHERE = str(Path("nowhere", "at", "all").absolute())
_C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

_ENVIRONMENTS: Dict[str, Mapping[str, str]] = {
    "empty": {},
    "a home that does not exist": {"HOME": _NOWHERE, "XDG_CONFIG_HOME": _NOWHERE},
    "no temporary folder": dict.fromkeys(("TMPDIR", "TEMP", "TMP"), _NOWHERE),
    "C locale": _C_LOCALE,
    "a locale that does not exist": {"LC_ALL": "xx_YY.nothing", "LANG": "xx_YY.nothing"},
    "certificates that do not exist": dict.fromkeys(
        ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"), _NOWHERE
    ),
    "dead proxies": dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"),
        "http://127.0.0.1:1",
    ),
}

_FLAGS: Dict[str, Sequence[str]] = {
    "without asserts": ["-O"],
    "without asserts and docstrings": ["-OO"],
    "isolated": ["-I"],
    "isolated and without site": ["-I", "-S"],
    "development mode": ["-X", "dev"],
    "bytes are no text": ["-bb"],
}

_SHELLS: Dict[str, str] = {
    "closed streams": 'exec "$@" <&- >&- 2>&-',
    "a full disk": 'ulimit -f 0 && exec "$@"',
    "few descriptors": 'ulimit -n 24 && exec "$@"',
    "a working folder that is gone": 'rmdir "$PWD" && exec "$@"',
}


def _script(exchange: Exchange) -> Any:
    if exchange.path.endswith(("/tags", "/models")):
        models = [{"name": name, "id": name} for name in ("m", "größe")]
        return [http_answer({"models": models, "data": models})]
    if "input" in exchange.json:
        return echo(exchange)
    faults: Dict[str, List[Any]] = {
        "cut": [CHUNKED, event("Größe"), close],
        "silent": [CHUNKED, event("Größe"), hold],
    }
    return faults.get(question(exchange)) or echo(exchange)


def _check(then: str = "", *, tls: Any = None, **options: Any) -> None:
    options.setdefault("env", _BARE)
    options["flags"] = ["-B", *options.get("flags", ())]  # Python's own files do not count
    with CountingServer(_script, tls=tls) as server:
        with program("surroundings", server.url, then, **options) as child:
            promises, broken, written = child.hear()
            assert child.ends() == 0
        assert server.comes_to(0)

    assert (broken, written) == ([], [])
    assert promises == 16
    asked = {question(exchange) for exchange in server.exchanges if b'"messages"' in exchange.body}
    assert asked == {ASKED, "cut", "silent"}


@pytest.mark.parametrize("name", _ENVIRONMENTS)
def test_the_environment_does_not_matter(name: str) -> None:
    _check(env={**_BARE, **_ENVIRONMENTS[name]})


@pytest.mark.parametrize("name", _FLAGS)
def test_the_interpreters_flags_do_not_matter(name: str) -> None:
    site = str(Path(requests.__file__).parents[1])
    _check(flags=_FLAGS[name], paths=[site] if "-S" in _FLAGS[name] else [])


@_POSIX
@pytest.mark.parametrize("name", _SHELLS)
def test_what_the_shell_took_away_does_not_matter(name: str, tmp_path: Path) -> None:
    shell = ["sh", "-c", _SHELLS[name], "sh"]
    # Isolated, because Python 3.13.0 itself cannot import socket in a folder that is gone.
    _check(through=shell, cwd=str(tmp_path), report=True, flags=["-I"])


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can be nobody")
def test_a_folder_that_nobody_may_write_does_not_matter(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    _check("as nobody", cwd=str(tmp_path))


@pytest.mark.parametrize("name", ["C locale", "certificates that do not exist", "dead proxies"])
def test_a_certificate_with_a_name_beyond_ascii_is_found(name: str, tmp_path: Path) -> None:
    made = trustme.CA()
    path = tmp_path / "größe" / "世界.pem"
    path.parent.mkdir()
    made.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1").configure_cert(context)
    _check(str(path), tls=context, env={**_BARE, **_ENVIRONMENTS[name]})


_COMMAND = """
from localproviders import cli, engine
engine.why_unsupported = lambda: "gr\\xf6\\xdfe"
sys.exit(cli.main(sys.argv[2:]))
"""


@_POSIX
def test_a_complaint_without_a_place_to_go_stays_out_of_the_output() -> None:
    code = """
from localproviders import DependencyError, cli, engine
def fail():
    raise DependencyError("gone")
engine.why_unsupported = fail
sys.exit(cli.main(["engine", "install"]))
"""
    with Child(code, through=["sh", "-c", 'exec "$@" 2>&-', "sh"]) as child:
        assert child.ends() == DependencyError.exit_code


@_POSIX
@pytest.mark.parametrize(
    "closing", ['exec "$@" <&- >&- 2>&-', 'exec "$@" >&-', 'exec "$@" 2>&-', 'exec "$@" <&-']
)
def test_the_command_needs_no_streams(closing: str) -> None:
    arguments = ["engine", "install", "--if-supported"]
    with Child(_COMMAND, *arguments, through=["sh", "-c", closing, "sh"]) as child:
        said, complaint = child.process.communicate()

    assert (child.process.returncode, complaint) == (0, b"")
    assert said.decode() in ("", "skipped: größe\n")


def test_the_command_writes_what_an_ascii_terminal_can_show() -> None:
    env = {**_BARE, **_C_LOCALE}
    with Child(_COMMAND, "engine", "install", "--if-supported", env=env) as child:
        said, complaint = child.process.communicate()

    assert (child.process.returncode, complaint) == (0, b"")
    assert said == b"skipped: gr\\xf6\\xdfe\n"
