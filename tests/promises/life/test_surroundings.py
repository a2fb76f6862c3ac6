"""Every promise holds with an odd environment, odd interpreter flags and closed streams."""

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
from tests.promises.life.child import Child, start_program
from tests.promises.life.programs.surroundings import ASKED
from tests.promises.life.serving import CHUNKED, CountingServer, close, echo, event, hold, question
from tests.support.covering import in_usual_run

_POSIX = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")

# On some systems Python does not start without these variables.
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
    "a deleted working folder": 'rmdir "$PWD" && exec "$@"',
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
    options["flags"] = [
        "-B",
        *options.get("flags", ()),
    ]  # -B: no bytecode files of Python among the written files
    with CountingServer(_script, tls=tls) as server:
        with start_program("surroundings", server.url, then, **options) as child:
            promises, broken, written = child.read_result()
            assert child.exit_status() == 0
        assert server.wait_until_open(0)

    assert (broken, written) == ([], [])
    assert promises == 16
    asked = {question(exchange) for exchange in server.exchanges if b'"messages"' in exchange.body}
    assert asked == {ASKED, "cut", "silent"}


_USUAL_ENVIRONMENTS = ("empty", "C locale", "dead proxies")
_USUAL_FLAGS = ("without asserts and docstrings", "isolated and without site", "development mode")


@pytest.mark.sample(0)
@pytest.mark.parametrize(
    "name", in_usual_run(_ENVIRONMENTS, lambda name: name in _USUAL_ENVIRONMENTS)
)
def test_the_environment_does_not_matter(name: str) -> None:
    _check(env={**_BARE, **_ENVIRONMENTS[name]})


@pytest.mark.sample(0)
@pytest.mark.parametrize("name", in_usual_run(_FLAGS, lambda name: name in _USUAL_FLAGS))
def test_the_interpreters_flags_do_not_matter(name: str) -> None:
    site = str(Path(requests.__file__).parents[1])
    _check(flags=_FLAGS[name], paths=[site] if "-S" in _FLAGS[name] else [])


@pytest.mark.sample(0)
@_POSIX
@pytest.mark.parametrize("name", _SHELLS)
def test_closed_streams_and_missing_resources_do_not_matter(name: str, tmp_path: Path) -> None:
    shell = ["sh", "-c", _SHELLS[name], "sh"]
    # -I, because Python 3.13.0 cannot import socket in a deleted working folder.
    _check(through=shell, cwd=str(tmp_path), report=True, flags=["-I"])


@pytest.mark.sample(0)
@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can change its user"
)
def test_a_read_only_working_folder_does_not_matter(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    _check("as nobody", cwd=str(tmp_path))


@pytest.mark.sample(0)
@pytest.mark.parametrize("name", ["C locale", "certificates that do not exist", "dead proxies"])
def test_a_certificate_file_with_a_non_ascii_name_is_found(name: str, tmp_path: Path) -> None:
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
def test_an_error_is_not_written_to_stdout_if_stderr_is_closed() -> None:
    code = """
from localproviders import DependencyError, cli, engine
def fail():
    raise DependencyError("gone")
engine.why_unsupported = fail
sys.exit(cli.main(["engine", "install"]))
"""
    with Child(code, through=["sh", "-c", 'exec "$@" 2>&-', "sh"]) as child:
        assert child.exit_status() == DependencyError.exit_code


@pytest.mark.sample(1)
@_POSIX
@pytest.mark.parametrize(
    ("closing", "code", "said"),
    [
        # A line that cannot be written is an error: a lost output is not a success.
        ('exec "$@" <&- >&- 2>&-', 74, b""),
        ('exec "$@" >&-', 74, b"standard output is closed (hint: add > FILE)"),
        ('exec "$@" 2>&-', 0, b""),
        ('exec "$@" <&-', 0, b""),
    ],
)
def test_the_command_works_with_closed_streams(closing: str, code: int, said: bytes) -> None:
    arguments = ["engine", "install", "--if-supported"]
    with Child(_COMMAND, *arguments, through=["sh", "-c", closing, "sh"]) as child:
        stdout, stderr = child.process.communicate()

    assert child.process.returncode == code
    assert said in stderr
    assert stderr.count(b"\n") == bool(said)
    assert stdout.decode() in ("", "skipped: größe\n")


def test_the_command_writes_utf_8_into_a_pipe_in_every_locale() -> None:
    env = {**_BARE, **_C_LOCALE}
    with Child(_COMMAND, "engine", "install", "--if-supported", env=env) as child:
        stdout, stderr = child.process.communicate()

    assert (child.process.returncode, stderr) == (0, b"")
    assert stdout == b"skipped: gr\xc3\xb6\xc3\x9fe\n"
