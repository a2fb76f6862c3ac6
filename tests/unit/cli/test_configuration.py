"""The verbs ``config show``, ``path``, ``check`` and ``init``."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Dict, List

import pytest

from localproviders import Config
from localproviders.cli import configuration as verbs
from localproviders.config.keys import ANY, KEYS
from tests.support.model_command import call, run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's file, in a home that has no other file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "config" / "localproviders" / "config.toml"


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


_SECRETS = """
model = "fast"
[aliases]
"a.b" = ["ollama/llama3.2", "gpu/m"]
[servers.gpu]
kind = "openai-compatible"
endpoint = "http://127.0.0.1:8000/v1"
username = "the-user"
password = "the-password"
[servers.gpu.headers]
X-Team = "the-header"
[servers.gpu.limits]
total_s = inf
[servers.cloud]
kind = "openai-compatible"
endpoint = "https://api.example.com/v1"
locality = "any"
api_key = "the-key"
proxies = {https = "http://me:the-proxy@127.0.0.1:3128"}
"""


class TestShow:
    def test_each_value_has_its_origin(
        self, user_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write(user_file, 'model = "fast"\n[limits]\ntotal_s = 90\n')
        monkeypatch.setenv("LOCALPROVIDERS_STRATEGY", "loaded")
        done = call(capsys, "config", "show", "--locality", "private")
        assert (done.code, done.err) == (0, "")
        found = {row[0]: " ".join(row[1:]) for row in done.rows}
        assert found["model"] == f"fast {user_file}, line 1"
        assert found["limits.total_s"] == f"90 {user_file}, line 3"
        assert found["strategy"] == "loaded the variable LOCALPROVIDERS_STRATEGY"
        assert found["locality"] == "private the argument locality"
        assert found["limits.idle_s"] == "120 default"

    def test_all_general_keys_are_shown(self, user_file: Path, capsys: Capture) -> None:
        found = {row[0] for row in call(capsys, "config", "show").rows}
        assert found == {key.dotted for key in KEYS if ANY not in key.path}

    def test_no_secret_is_shown(self, user_file: Path, capsys: Capture) -> None:
        _write(user_file, _SECRETS)
        for words in ([], ["--json"]):
            done = call(capsys, "config", "show", *words)
            assert done.code == 0, done.err
            assert "the-" not in done.out + done.err
            assert "servers.gpu.password" in done.out and "servers.cloud.api_key" in done.out

    def test_json_is_one_object_that_any_parser_reads(
        self, user_file: Path, capsys: Capture
    ) -> None:
        _write(user_file, _SECRETS)

        def refuse(name: str) -> Any:
            raise AssertionError(name)

        text = call(capsys, "config", "show", "--json").out
        values = json.loads(text, parse_constant=refuse)["values"]
        found = {each["key"]: each for each in values}
        assert found["servers.gpu.limits.total_s"]["value"] == "inf"
        assert found["aliases.a.b"]["value"] == ["ollama/llama3.2", "gpu/m"]
        assert found["model"]["origin"]["line"] == 2
        assert found["retry.attempts"]["value"] == 3

    def test_an_invalid_file_is_one_line(self, user_file: Path, capsys: Capture) -> None:
        _write(user_file, "modle = 1\n")
        done = call(capsys, "config", "show")
        assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
        assert "'modle'" in done.err and "localproviders config check" in done.err


class TestPath:
    def test_the_files_in_their_order(self, user_file: Path, capsys: Capture) -> None:
        _write(user_file, "")
        done = call(capsys, "config", "path")
        assert [row[0] for row in done.rows] == ["system", "user", "project"]
        assert done.rows[1] == ["user", "read", str(user_file)]
        assert done.rows[2] == ["project", "missing", str(Path.cwd() / "localproviders.toml")]

    @pytest.mark.parametrize(
        ("name", "text"),
        [("localproviders.toml", "not = toml ="), ("pyproject.toml", "[tool.localproviders]\n")],
    )
    def test_the_project_file_of_a_parent(
        self, name: str, text: str, user_file: Path, capsys: Capture, monkeypatch: Any
    ) -> None:
        Path(name).write_text(text, encoding="utf-8")
        expected = str(Path.cwd() / name)
        Path("inner").mkdir()
        monkeypatch.chdir("inner")
        Path("pyproject.toml").write_text("[project]\n", encoding="utf-8")
        found = call(capsys, "config", "path", "--json").json["files"]
        assert found[2] == {"file": "project", "path": expected, "exists": True}

    @pytest.mark.skipif(os.name == "nt", reason="Windows has other variables")
    def test_without_a_home(self, user_file: Path, capsys: Capture, monkeypatch: Any) -> None:
        monkeypatch.delenv("HOME")
        monkeypatch.delenv("XDG_CONFIG_HOME")
        done = call(capsys, "config", "path")
        assert done.code == 0 and "user     no home directory  -" in done.out


class TestCheck:
    def test_a_right_file(self, user_file: Path, capsys: Capture) -> None:
        _write(user_file, 'model = "fast"\n')
        done = call(capsys, "config", "check")
        assert (done.code, done.out, done.err) == (0, f"no problem in {user_file}\n", "")

    def test_without_a_file(self, user_file: Path, capsys: Capture) -> None:
        assert call(capsys, "config", "check").out == "no problem in the environment variables\n"

    def test_one_line_for_each_problem(
        self, user_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write(user_file, 'modle = 1\nlocality = "x"\n[retry]\nattempts = "many"\n')
        monkeypatch.setenv("LOCALPROVIDERS_LOCALITTY", "any")
        done = call(capsys, "config", "check")
        assert (done.code, done.err) == (2, "")
        lines = done.out.splitlines()
        assert [line.startswith(f"{user_file}, line {n}: ") for line, n in zip(lines, (1, 2, 4))]
        assert len(lines) == 4 and "LOCALPROVIDERS_LOCALITTY" in lines[3]

    def test_json(self, user_file: Path, capsys: Capture) -> None:
        _write(user_file, "modle = 1\n")
        done = call(capsys, "config", "check", "--json")
        (problem,) = done.json["problems"]
        assert done.code == 2 and "did you mean 'model'" in problem["problem"]
        assert done.json["files"] == [str(user_file)]


class TestInit:
    def test_it_writes_a_file_for_this_user_only(self, user_file: Path) -> None:
        done = run("config", "init")
        assert (done.code, done.out, done.err) == (0, f"written: {user_file}\n", "")
        if os.name == "posix":
            assert stat.S_IMODE(user_file.stat().st_mode) == 0o600
            assert stat.S_IMODE(user_file.parent.stat().st_mode) == 0o700
        assert run("config", "check").code == 0

    def test_each_line_that_is_enabled_is_right(
        self, user_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = re.sub(r"(?m)^#(?! )", "", verbs.FIRST_FILE)
        _write(user_file, text)
        _write(user_file.parent / "gpu-box.key", "secret")
        config = Config.load()
        assert [server.name for server in config.servers] == ["ollama", "gpu-box"]
        changed: Dict[str, object] = {
            each.key: each.value
            for each in verbs.settings_of(config)
            if each.key.startswith(("limits", "retry", "strategy", "locality"))
        }
        # The lines show the defaults, so that enabling one changes nothing.
        _write(user_file, "")
        assert changed == {
            each.key: each.value for each in verbs.settings_of(Config.load()) if each.key in changed
        }

    def test_an_existing_file_stays(self, user_file: Path, capsys: Capture) -> None:
        _write(user_file, "# mine\n", 0o644)
        done = call(capsys, "config", "init")
        assert (done.code, done.out) == (2, "") and "--force" in done.err
        assert user_file.read_text("utf-8") == "# mine\n"
        assert call(capsys, "config", "init", "--force", "--json").json == {
            "written": str(user_file)
        }
        assert user_file.read_text("utf-8") == verbs.FIRST_FILE
        if os.name == "posix":
            assert stat.S_IMODE(user_file.stat().st_mode) == 0o600
        assert [path.name for path in user_file.parent.iterdir()] == ["config.toml"]

    def test_another_place(self, user_file: Path, capsys: Capture) -> None:
        done = call(capsys, "config", "init", "-o", "localproviders.toml")
        assert (done.code, done.out) == (0, "") and not user_file.exists()
        assert Path("localproviders.toml").read_text("utf-8") == verbs.FIRST_FILE

    @pytest.mark.skipif(os.name == "nt", reason="Windows has other variables")
    def test_without_a_home(self, user_file: Path, capsys: Capture, monkeypatch: Any) -> None:
        monkeypatch.delenv("HOME")
        monkeypatch.delenv("XDG_CONFIG_HOME")
        done = call(capsys, "config", "init")
        assert done.code == 2 and "-o localproviders.toml" in done.err

    def test_a_folder_that_cannot_be_made(
        self, user_file: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        (tmp_path / "config").write_text("a file", encoding="utf-8")
        done = call(capsys, "config", "init")
        assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["config"], ["config", "shwo"], ["config", "show", "x"], ["config", "init", "--yes"]]
)
def test_wrong_words_are_one_line(words: List[str], user_file: Path, capsys: Capture) -> None:
    done = call(capsys, *words)
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
    assert not user_file.exists()
