"""`LocalEngine`: starts the engine's process, gives a provider, stops it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Dict, Optional, Union

from localproviders.engine.install import require
from localproviders.engine.models import RECIPES, model_file
from localproviders.errors import ConfigurationError, DependencyError, LimitError, ModelLoadError
from localproviders.openai_compatible import OpenAICompatibleProvider

if TYPE_CHECKING:
    import subprocess

_SIGILL = 4
_STDERR_TAIL = 800
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class LocalEngine:
    """A real llama.cpp server with a small model, in a process of its own.

    It listens on a free loopback port, wants a random key that only the given provider
    has, and ends with its owner, even when the owner is killed. Use it in a ``with``
    block, which gives the provider.

    Args:
        model: ``chat`` (Gemma 3 270M), ``thinking`` (the same, reasoning first),
            ``embedding`` (all-MiniLM-L6-v2, 384 values), or the path of a GGUF file.
        context_length: Context window in tokens.
        embedding: For a GGUF file: whether it makes vectors.
        start_timeout_s: Longest time to start and load, in seconds.

    Raises:
        ConfigurationError: There is no such model or file.
    """

    def __init__(
        self,
        model: Union[str, Path] = "chat",
        *,
        context_length: int = 2048,
        embedding: bool = False,
        start_timeout_s: float = 120.0,
    ) -> None:
        known = model in RECIPES
        if not known and not Path(model).is_file():
            raise ConfigurationError(
                f"there is no engine model {str(model)!r}",
                hint=f"pass {', '.join(RECIPES)}, or the path of a GGUF file",
            )
        self._recipe = RECIPES[str(model)] if known else None
        self._name = str(model) if known else Path(model).stem
        self._path = None if known else Path(model).resolve()
        self._embedding = self._recipe.embedding if self._recipe else embedding
        self._context_length = context_length
        self._start_timeout_s = start_timeout_s
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._scratch: Optional[tempfile.TemporaryDirectory[str]] = None
        self._log: Optional[IO[bytes]] = None
        self._provider: Optional[OpenAICompatibleProvider] = None
        self._base_url: Optional[str] = None

    @property
    def pid(self) -> Optional[int]:
        """Number of the engine's process; None while it does not run."""
        return self._process.pid if self._process else None

    @property
    def base_url(self) -> Optional[str]:
        """Address of the engine, such as ``http://127.0.0.1:4711/v1``; None while it is off."""
        return self._base_url

    def start(self) -> OpenAICompatibleProvider:
        """Start the engine, wait until the model is loaded, and give its provider.

        A started engine gives the same provider again.

        Raises:
            DependencyError: It cannot run here or is not installed; the hint says what to
                do.
            ModelLoadError: The process ended; its last words are in `server_message`.
            LimitError: It took longer than `start_timeout_s`.
        """
        if self._provider is not None:
            return self._provider
        require()
        key = secrets.token_urlsafe(24)
        try:
            self._scratch = tempfile.TemporaryDirectory(prefix="localproviders-")
            self._launch(key)
            self._base_url = f"{self._await_address()}/v1"
            self._provider = OpenAICompatibleProvider(
                self._base_url, model=self._name, name=f"engine:{self._name}", api_key=key
            )
        except BaseException:
            self.stop()
            raise
        return self._provider

    def stop(self) -> None:
        """Close the provider and end the process. May be called again."""
        provider, self._provider, self._base_url = self._provider, None, None
        if provider is not None:
            provider.close()
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it holds nothing that a gentle end would save
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._log is not None:
            self._log.close()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._log = self._scratch = None

    def __enter__(self) -> OpenAICompatibleProvider:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, key: str) -> None:
        import subprocess  # heavy, and only a start needs it

        assert self._scratch is not None  # noqa: S101  # `start` has just made it
        settings = self._settings(key, Path(self._scratch.name))
        # Not a pipe: nobody would read it, and a full one would stop the engine.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # `stop` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "localproviders.engine.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # "-m" looks there first: the user's folder may hold a json.py of its own.
            cwd=str(_PACKAGE_ROOT),
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101  # asked for above
        # Through the pipe, because arguments and environment can be seen by others.
        with contextlib.suppress(BrokenPipeError):  # dead already: its silence says so
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")

    def _settings(self, key: str, scratch: Path) -> Dict[str, Any]:
        template = None
        if self._recipe is not None and self._recipe.template is not None:
            template = (Path(__file__).parent / self._recipe.template).read_text("utf-8")
        path = self._path if self._recipe is None else model_file(self._recipe, scratch)
        return {
            "owner": os.getpid(),
            "path": str(path),
            "name": self._name,
            "template": template,
            "context_length": self._context_length,
            "embedding": self._embedding,
            "api_key": key,
        }

    def _await_address(self) -> str:
        """Read the one line that the process writes when the model is loaded."""
        assert self._process is not None  # noqa: S101  # launched
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101  # asked for
        started = time.monotonic()
        line = b""
        while not line.endswith(b"\n"):
            left = started + self._start_timeout_s - time.monotonic()
            if left <= 0 or not _readable(pipe, left):
                raise LimitError(
                    f"the engine did not start within {self._start_timeout_s:g} s",
                    limit="load_s",
                    limit_s=self._start_timeout_s,
                    elapsed_s=time.monotonic() - started,
                )
            piece = pipe.read(4096)
            if not piece:
                raise self._died()
            line += piece
        address: str = json.loads(line)["address"]
        return address

    def _died(self) -> Exception:
        assert self._process is not None  # noqa: S101  # launched
        assert self._log is not None  # noqa: S101  # launched
        status = self._process.wait()
        if status in (-_SIGILL, 128 + _SIGILL):
            return DependencyError("the embedded engine needs a processor with AVX2")
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace")[-_STDERR_TAIL:]
        return ModelLoadError(
            f"the engine ended with status {status} while it loaded {self._name!r}",
            hint="is the file a whole GGUF model of a kind that llama.cpp knows?",
            server_message=said or None,
            model=self._name,
        )


def _readable(pipe: IO[bytes], timeout_s: float) -> bool:
    """Wait for bytes or the end; a selector, because `select` refuses high descriptors."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))
