"""Errors of the configuration name file, line, the nearest key, the rule and the next step."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from localproviders import Config, ConfigurationError, DependencyError, SecretString
from tests.unit.config.conftest import Machine


def refused(machine: Machine, **arguments: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        machine.load(**arguments)
    return caught.value


_WRONG = [
    ("localty = 'any'", 1, "there is no key 'localty'; did you mean 'locality'?", "the keys of this table are"),
    ("default_model = 'm'", 1, "the key 'default_model' is now called 'model'", "write model = ..."),
    ("[profiles.p]\ndefault_model = 'm'", 2, "the key 'profiles.p.default_model' is now called"
     " 'model'", "write model = ..."),
    ("profile = 'a'", 1, "no key 'profile'; did you mean 'profiles'?", "profiles"),
    ("\n[limits]\ntotal = 3", 3, "there is no key 'limits.total'; did you mean 'total_s'?", "idle_s"),
    ("[limits]\ntotal_s = 'long'", 2, "limits.total_s must be a number of seconds, but is a string",
     "total_s = 1800"),
    ("[limits]\ntotal_s = -1", 2, "limits.total_s is -1, and must be above zero", "total_s = 1800"),
    ("[limits]\ntotal_s = true", 2, "limits.total_s is True, and must be a number", "total_s = "),
    ("limits = 3", 1, "limits must be a table, but is a single value", "[limits]"),
    ("retry.attempts = 0", 1, "retry.attempts is 0, and must be at least 1", "attempts = 3"),
    ("retry.attempts = 'x'", 1, "retry.attempts must be a number, but is a string", "attempts = 3"),
    ("[servers.anthropic]\nmax_tokens = 0", 2,
     "max_tokens is 0, but must be a whole number of at least 1", "max_tokens = 8192"),
    ("[servers.anthropic]\nmax_tokens = 2.5", 2,
     "max_tokens must be a whole number of at least 1, but is float", "max_tokens = 8192"),
    ("[servers.anthropic]\nmax_tokens = true", 2, "max_tokens must be a number, but is true or",
     "max_tokens = 8192"),
    ("strategy = 'fist'", 1, "but is 'fist'; did you mean 'first'?", "strategy ="),
    ("model = ''", 1, "model must not be empty", 'model = "fast"'),
    ("model = 3", 1, "model must be a string, but is int", 'model = "fast"'),
    ("[aliases]\n\nfast = 'm'", 3, "aliases.fast must be a list of strings, but is a string", "fast = ["),
    ("[aliases]\nfast = []", 2, "aliases.fast must not be an empty list", "fast = ["),
    ("fallback = ['olama']", 1, "names the server 'olama', which is not configured; did you mean"
     " 'ollama'?", "[servers.olama]"),
    ("[servers.'a/b']\nkind = 'ollama'", 1, "'a/b' is not a valid name of a server", "letters"),
    ("\n[servers.x]\nmodel = 'm'", 2, "servers.x has no kind", 'kind = "openai'),
    ("[servers.x]\nkind = 'openai-compatible'", 1, "servers.x has no endpoint", "write endpoint"),
    ("[servers.x]\nkind = 'gguf'", 1, "servers.x has no gguf", "write gguf"),
    ("[servers.ollama]\ngguf = 'm'\nkind = 'ollama'", 2, "is not a key of a server of the kind"
     " 'ollama'", "remove"),
    ("[servers.x]\ngguf = 'm'\nendpoint = 'h'", 3, "is not a key of a server of the kind 'gguf'",
     "remove"),
    ("[servers.ollama]\nendpoint = 'ftp://h'", 2, "the scheme of the address is 'ftp'", "endpoint ="),
    ("[servers.ollama]\nendpoint = 'http://u:hunter2@h'", 2, "the address contains credentials",
     "api_key"),
    ("[servers.ollama]\nproxies = 'http://u:hunter2@h'", 2, "must be a table of schemes and URLs",
     "proxies ="),
    ("[servers.ollama]\nproxies = 'environment'", 2, 'needs locality = "any"', "locality"),
    ("[servers.ollama]\nclient_cert = ['a']", 2, "must be one path, or a list of two", "client_cert ="),
    ("[servers.ollama]\nallow_plaintext_key = 1", 2, "must be true or false, but is int", "true"),
    ("[servers.ollama]\napi_key = {environ = 'hunter2'}", 2, "must be a string, {env", "api_key ="),
    ("[servers.ollama]\napi_key = '${hunter2}'", 2, "is the name of a variable: write {env",
     "api_key = {env"),
    ("[servers.ollama]\napi_key = '$HUNTER2'", 2, "is the name of a variable", "api_key = {env"),
    ("[servers.ollama]\nendpoint = 'http://${BOX}:1'", 2,
     "host of the address is invalid, because of '$'", "write host, host:port"),
    ('[servers.ollama]\napi_key = "hunter2\\n"', 2, "blanks at its ends", "api_key ="),
    ("[servers.ollama]\napikey = 'hunter2'", 2, "no key 'servers.ollama.apikey'; did you mean"
     " 'api_key'?", "api_key"),
    ("profiles = 3", 1, "profiles must be a table", "[profiles.NAME]"),
    ("[profiles]\nnight = 3", 2, "profiles.night must be a table", "[profiles.NAME]"),
    ("[profiles.night]\nlocalty = 'any'", 2, "'profiles.night.localty'; did you mean", "keys of this table"),
    ("[profiles.night.profiles.x]", 1, "profiles.night must not contain profiles", ""),
    ('[servers.x]\ngguf = "a\\u0000b"', 2, "servers.x.gguf must not contain a NUL", "gguf ="),
    ('[servers.ollama]\napi_key = {file = "a\\u0000"}', 2, "must not contain a NUL", "api_key ="),
    ('[servers.ollama]\napi_key = {command = ["a\\u0000"]}', 2, "must not contain a NUL", "api_key ="),
    ("a = 1\nb = = 2", 2, "the file cannot be parsed as TOML", "[table]"),
    ("a." * 200_000 + "a = 1", None, "its values are nested too deeply", ""),
    ("x = " + "[" * 20000, None, "its values are nested too deeply", ""),
    ("x = " + "1" * 9000, None, "", ""),
]  # fmt: skip


@pytest.mark.sample(19)
@pytest.mark.parametrize(("text", "line", "rule", "hint"), _WRONG, ids=lambda v: str(v)[:30])
def test_a_wrong_file_is_refused_with_its_line(
    machine: Machine, text: str, line: Any, rule: str, hint: str
) -> None:
    path = machine.user(text)
    error = refused(machine)
    assert error.message.startswith(f"{path}, line {line}: " if line else str(path))
    assert rule in error.message
    assert hint in (error.hint or "")
    assert "hunter2" not in "".join(traceback.format_exception(None, error, error.__traceback__))


def test_no_frame_of_an_error_holds_a_key(machine: Machine) -> None:
    machine.user("[servers.ollama]\napi_key = 'hunter2'\n[limits]\ntotal_s = 0\n")
    machine.environ["EXAMPLE_API_KEY"] = "hunter2"
    error = refused(machine)
    seen = [
        (frame.f_code.co_name, repr(frame.f_locals))
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if "localproviders/config" in Path(frame.f_code.co_filename).as_posix()
    ]
    assert [name for name, _ in seen] == ["load"] and "hunter2" not in str(seen)
    assert error.__context__ is None and error.__cause__ is None


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("LOCALPROVIDERS_LOCALTY", "any", "did you mean 'LOCALPROVIDERS_LOCALITY'?"),
        (
            "LOCALPROVIDERS_LOCALITY",
            "an",
            "variable LOCALPROVIDERS_LOCALITY: locality must be one of",
        ),
        ("LOCALPROVIDERS_RETRY_ATTEMPTS", "2.5", "retry.attempts is 2.5, and must be a whole"),
        ("LOCALPROVIDERS_LIMITS_IDLE_S", "long", "must be a number of seconds, but is a string"),
        ("LOCALPROVIDERS_PROFILE", "night", "there is no profile 'night'"),
        ("LOCALPROVIDERS_DEFAULT_MODEL", "m", "is now called LOCALPROVIDERS_MODEL"),
        ("LOCALPROVIDERS_SERVERS_X_MODEL", "m", "there is no variable LOCALPROVIDERS_SERVERS_X"),
        ("LOCALPROVIDERS_SERVERS_A_B_MODEL", "m", "matches several servers"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(
    machine: Machine, name: str, value: str, rule: str
) -> None:
    machine.user("[servers.a-b]\nkind = 'ollama'\n[servers.a_b]\nkind = 'ollama'\n")
    machine.environ[name] = value
    assert rule in refused(machine).message


def test_a_wrong_argument_is_refused_by_name(machine: Machine) -> None:
    with pytest.raises(TypeError, match=r"load\(\) got an unexpected keyword 'modell'"):
        machine.load(modell="m")
    assert "argument limits.idle: there is no" in refused(machine, limits={"idle": 3}).message
    assert "argument servers.1: servers.1 has no kind" in refused(machine, servers={1: {}}).message
    assert "argument limits.1: there is no key" in refused(machine, limits={1: 3}).message


def test_a_variable_of_a_server_that_nobody_names_says_so(machine: Machine) -> None:
    machine.environ["LOCALPROVIDERS_SERVERS_OLLAMA_MODEL"] = "m"
    error = refused(machine)
    assert error.message == "there is no variable LOCALPROVIDERS_SERVERS_OLLAMA_MODEL"
    assert "[servers.NAME]" in str(error.hint)


@pytest.mark.parametrize("mark", ["\x1b]0;x\x07", "\u202e", "\n", "\x9b2J"])
def test_no_word_of_a_file_reaches_a_terminal_raw(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    word = "".join(f"\\u{ord(letter):04x}" for letter in mark)
    for text in (
        f'[aliases]\n"a{word}" = []',
        f'"a{word}" = 1',
        f'[profiles."{word}"]\na = 1',
        f'[servers."{word}"]',
        f'strategy = "{word}"',
        f'fallback = ["{word}"]',
        f'[profiles."{word}"]',
    ):
        machine.user(text)
        error = refused(machine, profile="p")
        assert mark not in error.message and mark not in str(error.hint)


def test_no_name_of_a_folder_reaches_a_terminal_raw(machine: Machine) -> None:
    folder = machine.work / "\x1b]0;x\x07"
    folder.mkdir()
    path = folder / "localproviders.toml"
    path.write_text("a = 1")
    for mode in (0o644, 0o666):
        path.chmod(mode)
        with pytest.raises(ConfigurationError) as caught:
            Config.load(directory=folder, environ=machine.environ)
        assert "\x1b" not in str(caught.value)


def test_an_unknown_profile_is_told_with_those_there_are(machine: Machine) -> None:
    machine.user("[profiles.night]\n[profiles.day]\n")
    error = refused(machine, profile="nigth")
    assert (
        error.message == "the argument profile: there is no profile 'nigth'; did you mean 'night'?"
    )
    assert "the profiles are day, night" in str(error.hint)


def test_a_path_with_a_home_needs_one(machine: Machine) -> None:
    machine.environ.clear()
    error = refused(machine, servers={"x": {"gguf": "~/m.gguf"}})
    assert "begins with ~, but no variable contains the home directory" in error.message


def test_two_files_of_one_project_are_refused(machine: Machine) -> None:
    machine.project("strategy = 'first'")
    machine.project("[tool.localproviders]\nstrategy = 'first'", "pyproject.toml")
    assert "both configure this project" in refused(machine).message


def test_a_table_of_pyproject_that_is_none_is_refused(machine: Machine) -> None:
    path = machine.project("[tool]\nlocalproviders = 3", "pyproject.toml")
    assert f"{path}, line 2: tool.localproviders must be a table" in refused(machine).message


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_what_is_no_regular_file_is_refused_and_not_waited_for(machine: Machine) -> None:
    os.mkfifo(str(machine.work / "localproviders.toml"))
    assert "is not a regular file" in refused(machine).message


def test_an_unreadable_file_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.user("strategy = 'first'")

    def denied(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may read everything
    error = refused(machine)
    assert error.message == f"{path} cannot be read: Permission denied"


def test_a_file_must_be_utf8_and_short(machine: Machine) -> None:
    path = machine.user("")
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    assert f"{path}, line 2: the file is not UTF-8" in refused(machine).message
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "longer than 1 MiB" in refused(machine).message


def test_a_mark_at_the_beginning_is_skipped(machine: Machine) -> None:
    machine.user("").write_bytes(b"\xef\xbb\xbfstrategy = 'loaded'\n")
    assert machine.load().strategy == "loaded"


def test_without_a_parser_the_extra_is_named_and_only_where_a_file_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    assert machine.load() == Config()
    path = machine.user("strategy = 'first'")
    with pytest.raises(DependencyError, match="no TOML parser") as caught:
        machine.load()
    assert caught.value.message.startswith(str(path))
    assert 'extra "config"' in str(caught.value.hint)


# --- keys --------------------------------------------------------------------------------


def key_of(machine: Machine, api_key: Any) -> str:
    key = machine.load(servers={"ollama": {"api_key": api_key}}).servers[0].api_key
    assert key is not None
    return key.reveal()


def test_a_key_comes_from_where_it_is_said_to_be(machine: Machine) -> None:
    machine.environ["EXAMPLE_API_KEY"] = "by-variable"
    file = machine.write("key.txt", "by-file\n")
    file.chmod(0o600)
    command = [sys.executable, "-c", "print('by-command')"]
    assert key_of(machine, "literal") == "literal"
    assert key_of(machine, {"env": "EXAMPLE_API_KEY"}) == "by-variable"
    assert key_of(machine, {"file": str(file)}) == "by-file"
    assert key_of(machine, {"file": file}) == "by-file"
    assert key_of(machine, {"command": command}) == "by-command"


@pytest.mark.skipif(os.name != "posix", reason="scripts of POSIX")
@pytest.mark.parametrize("command", ["./key", "~/.config/localproviders/key"])
def test_a_key_command_begins_where_its_file_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    machine.project("#!/bin/sh\necho somebody-elses\n", "key").chmod(0o755)
    monkeypatch.chdir(machine.work)
    machine.write("home/.config/localproviders/key", "#!/bin/sh\necho mine\n").chmod(0o755)
    machine.user(f"[servers.ollama]\napi_key = {{command = ['{command}']}}\n")
    assert machine.load().servers[0].api_key == SecretString("mine")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_of_others_is_refused_with_the_line_that_helps(
    machine: Machine, mode: int
) -> None:
    machine.user("[servers.ollama]\napi_key = {file = 'key.txt'}\n")
    file = machine.write("home/.config/localproviders/key.txt", "hunter2")
    file.chmod(mode)
    error = refused(machine)
    assert ", line 2: other users can" in error.message and str(file) in error.message
    assert error.hint == f"chmod 600 {file}"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_key_in_the_users_own_file_is_refused_where_others_can_read_it(machine: Machine) -> None:
    machine.environ["XDG_CONFIG_HOME"] = str(machine.root / "a b")
    machine.system("[servers.ollama]\napi_key = 'sk-system'\n").chmod(0o644)
    assert machine.load().servers[0].api_key == SecretString("sk-system")
    path = machine.write(
        "a b/localproviders/config.toml", "[servers.ollama]\napi_key = 'hunter2'\n"
    )
    path.chmod(0o640)
    error = refused(machine)
    assert error.message == f"{path}, line 2: other users can read the key in {path}"
    assert error.hint == f"chmod 600 '{path}'"
    path.chmod(0o600)
    assert machine.load().servers[0].api_key == SecretString("hunter2")


@pytest.mark.parametrize(
    ("api_key", "rule"),
    [
        ({"env": "NOT_SET"}, "the variable NOT_SET is not set"),
        ({"file": "/no/such/key"}, "/no/such/key cannot be read: No such file"),
        ({"command": ["no-such-command-here"]}, "no-such-command-here cannot be run: No such"),
        ({"command": [sys.executable, "-c", "print('hunter2'); exit(3)"]}, "ended with status 3"),
        (
            {"command": [sys.executable, "-c", "pass"]},
            "does not contain a valid key: the key is empty",
        ),
        (
            {"command": [sys.executable, "-c", "print('hunter2\\nb')"]},
            "a header line cannot contain",
        ),
        ({"command": "echo hunter2"}, "must be a list of strings, but is a string"),
        ({"command": []}, "must not be an empty list"),
    ],
)
def test_a_key_that_cannot_be_read_is_told_without_it(
    machine: Machine, api_key: Any, rule: str
) -> None:
    error = refused(machine, servers={"ollama": {"api_key": api_key}})
    assert rule in error.message
    assert error.message.startswith("the argument servers.ollama.api_key")
    assert "hunter2" not in str(error)


def test_a_key_command_is_not_waited_for_without_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localproviders.config.secrets._COMMAND_S", 0.2)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    error = refused(machine, servers={"ollama": {"api_key": {"command": command}}})
    assert "did not end within 0.2 s" in error.message


def test_the_old_name_of_the_model_names_the_new_one(machine: Machine) -> None:
    old: Any = {"default_model": "m"}
    with pytest.raises(TypeError, match="'default_model'; did you mean 'model'"):
        machine.load(**old)
    found: Any = machine.load(model="m")
    with pytest.raises(AttributeError, match="'default_model'; did you mean 'model'"):
        _ = found.default_model
    with pytest.raises(ConfigurationError, match="'default_model'; did you mean 'model'"):
        found.origin_of("default_model")
