"""`LocalEngine`: starts the engine's process, returns its provider, and stops the process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import selectors
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ContextManager, Dict, Optional, Union

from localproviders._redact import one_line
from localproviders._signatures import exact_keywords
from localproviders.engine.install import (
    OTHER_SERVERS_HINT,
    engine_environ,
    interpreter,
    require_engine,
    scratch_folder,
)
from localproviders.engine.models import RECIPES, open_model, path_of
from localproviders.engine.provider import NamedModelProvider
from localproviders.errors import ConfigurationError, DependencyError, LimitError, ModelLoadError
from localproviders.llamacpp import LlamaCppProvider
from localproviders.secret import Unseen

if TYPE_CHECKING:
    import subprocess

_SIGILL = 4
_STDERR_TAIL = 800
# Maximum length in bytes of the line with the address, which usually has about 40 bytes.
_LONGEST_LINE = 1024
_ADDRESS = re.compile(rb'\{"address": "(http://127\.0\.0\.1:[0-9]{1,5})"\}\n')
# Seconds to wait for the exit status of a process that has closed its output.
_END_S = 5.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class LocalEngine:
    """A llama.cpp server with a small model, in a separate process.

    The server listens on a free loopback port and requires a random key, which only its
    provider has. The server's process ends when the process that started it ends, even if that
    process is killed. Use the engine in a ``with`` block: ``as`` binds the provider.

    Args:
        model: ``chat`` (Gemma 3 270M), ``thinking`` (the same model, which reasons before it
            answers), ``embedding`` (all-MiniLM-L6-v2, vectors of 384 values), or the path of
            a GGUF file.
        context_length: Context window in tokens.
        embedding: True if the GGUF file is an embedding model. Ignored for the named models.
        rerank: True if the GGUF file is a reranking model, for `rerank`. The server can then do
            nothing else. Ignored for the named models.
        start_timeout_s: Maximum number of seconds to start the process and load the model.

    Raises:
        ConfigurationError: There is no such model or file.
        TypeError: A keyword argument is unknown.
    """

    @exact_keywords
    def __init__(
        self,
        model: Union[str, Path] = "chat",
        *,
        context_length: int = 2048,
        embedding: bool = False,
        rerank: bool = False,
        start_timeout_s: float = 120.0,
    ) -> None:
        model = "chat" if model is None else model
        known = model in RECIPES
        if not known and not Path(model).is_file():
            raise ConfigurationError(
                f"there is no engine model {str(model)!r}",
                hint=f"pass {', '.join(RECIPES)}, or the path of a GGUF file",
            )
        self._recipe = RECIPES[str(model)] if known else None
        self._name = str(model) if known else Path(model).stem
        self._path = None if known else Path(model).resolve()
        self._file_name = str(self._path)
        self._embedding = self._recipe.embedding if self._recipe else embedding
        self._rerank = rerank and self._recipe is None
        self._context_length = 2048 if context_length is None else context_length
        self._start_timeout_s = 120.0 if start_timeout_s is None else start_timeout_s
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._scratch: Optional[tempfile.TemporaryDirectory[str]] = None
        self._log: Optional[IO[bytes]] = None
        self._provider: Optional[LlamaCppProvider] = None
        self._base_url: Optional[str] = None
        self._reset_lock()

    @property
    def pid(self) -> Optional[int]:
        """The process ID of the engine; None while the engine is not running."""
        return self._process.pid if self._process else None

    @property
    def base_url(self) -> Optional[str]:
        """The address of the engine, such as ``http://127.0.0.1:4711/v1``.

        None while the engine is not running.
        """
        return self._base_url

    def start(self) -> LlamaCppProvider:
        """Start the engine, wait until the model is loaded, and return its provider.

        If the engine is already running, its provider is returned. Threads that call this
        method at the same time all receive the same provider.

        Raises:
            DependencyError: The engine cannot run on this machine, or is not installed. The
                hint says what to do.
            ModelLoadError: The process ended, or wrote something other than its address.
                `server_message` has a part of the output of the process.
            LimitError: The start took longer than `start_timeout_s`.
            ConfigurationError: Other users can write to the cache of the model files.
            OSError: Neither the cache nor the folder of temporary files has enough space for
                the model file.
        """
        with self._exclusive():
            return self._provider or self._start()

    def _reset_lock(self) -> None:
        # If another thread holds the lock during a fork, the child's copy stays locked for
        # ever. So the lock belongs to one process, and a child makes a new one.
        self._owner, self._lock = os.getpid(), threading.RLock()

    def _exclusive(self) -> ContextManager[bool]:
        if self._owner != os.getpid():
            self._reset_lock()
        return self._lock

    def _start(self) -> LlamaCppProvider:
        require_engine()
        key = Unseen(secrets.token_urlsafe(24))
        try:
            self._scratch = scratch_folder()
            self._launch(key)
            self._base_url = f"{self._await_address()}/v1"
            provider = NamedModelProvider if self._recipe else LlamaCppProvider
            self._provider = provider(
                self._base_url, model=self._name, name=f"engine:{self._name}", api_key=key
            )
        except BaseException:
            self.stop()
            raise
        return self._provider

    def stop(self) -> None:
        """Close the provider and end the process. May be called more than once.

        If another thread is starting the engine, this waits until that start has ended. If the
        process is already running, it is killed first, so that the start fails immediately.
        """
        process = self._process
        if process is not None:
            process.kill()  # it has no state that a graceful exit would save
        with self._exclusive():
            self._stop()

    def _stop(self) -> None:
        provider, self._provider, self._base_url = self._provider, None, None
        if provider is not None:
            provider.close()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._log is not None:
            self._log.close()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._log = self._scratch = None

    def __enter__(self) -> LlamaCppProvider:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, key: Unseen) -> None:
        assert self._scratch is not None  # noqa: S101  # `_start` has just made it
        if self._recipe is None:
            self._run({**self._settings(key), "path": str(self._path)})
            return
        with open_model(self._recipe, Path(self._scratch.name)) as file:
            self._file_name = file.name
            # The process inherits the open file. So it reads the file that was checked, even if
            # another file has taken its name since.
            self._run({**self._settings(key), "path": path_of(file)}, file.fileno())

    def _run(self, settings: Dict[str, Any], *descriptors: int) -> None:
        import subprocess  # slow to import, and only a start needs it

        # A file, not a pipe: no thread would read the pipe, and a full pipe blocks the engine.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # `stop` closes it
        self._process = subprocess.Popen(  # noqa: S603  # a fixed command
            [*interpreter(), "-m", "localproviders.engine.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # "-m" searches the current directory of the process first. In the user's directory, a
            # file such as json.py would be imported instead of the standard module.
            cwd=str(_PACKAGE_ROOT),
            env=engine_environ(os.environ),
            pass_fds=descriptors,
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101  # because of stdin=PIPE
        # The settings contain the key. They are sent through the pipe, because other users can
        # see the arguments and the environment of a process.
        with contextlib.suppress(BrokenPipeError):  # the process died; `_await_address` reports it
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")

    def _settings(self, key: Unseen) -> Dict[str, Any]:
        template = None
        if self._recipe is not None and self._recipe.template is not None:
            template = (Path(__file__).parent / self._recipe.template).read_text("utf-8")
        return {
            "owner": os.getpid(),
            "name": self._name,
            "template": template,
            "stop": self._recipe.stop if self._recipe else (),
            "context_length": self._context_length,
            "embedding": self._embedding,
            "rerank": self._rerank,
            "api_key": key,
        }

    def _await_address(self) -> str:
        """Read the line that the process writes when the model is loaded; return its address."""
        assert self._process is not None  # noqa: S101  # `_run` has set it
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101  # because of stdout=PIPE
        started = time.monotonic()
        line = b""
        while not line.endswith(b"\n"):
            left_s = started + self._start_timeout_s - time.monotonic()
            if left_s <= 0 or not _readable(pipe, left_s):
                raise LimitError(
                    f"the engine did not start within {self._start_timeout_s:g} s",
                    limit="load_s",
                    limit_s=self._start_timeout_s,
                    elapsed_s=time.monotonic() - started,
                )
            piece = pipe.read(_LONGEST_LINE)
            if not piece:
                raise self._exit_error()
            line += piece
            if len(line) > _LONGEST_LINE:
                break
        return self._address_in(line)

    def _address_in(self, line: bytes) -> str:
        """Return the address in a line, which must match exactly.

        The line is not trusted, because the process that wrote it has read a model file from an
        unknown source.
        """
        found = _ADDRESS.fullmatch(line)
        if found is None:
            raise ModelLoadError(
                f"the engine printed an unexpected line while it loaded {self._name!r}",
                hint="check whether a sitecustomize.py or a .pth file of this Python prints text",
                server_message=line[:_STDERR_TAIL].decode("utf-8", "replace"),
                model=self._name,
            )
        return found.group(1).decode("ascii")

    def _exit_error(self) -> Exception:
        import subprocess  # already imported by `_run`

        assert self._process is not None  # noqa: S101  # `_run` has set it
        try:
            status: Optional[int] = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:  # it has closed its output, but is still running
            status = None
        if status in (-_SIGILL, 128 + _SIGILL):
            return DependencyError(
                "the embedded engine needs a processor with AVX2", hint=OTHER_SERVERS_HINT
            )
        how = "closed its output" if status is None else f"exited with status {status}"
        return ModelLoadError(
            f"the engine {how} while it loaded {self._name!r}",
            hint=f"check that {one_line(self._file_name)} is complete, and that llama.cpp supports "
            "its architecture",
            server_message=self._log_tail() or None,
            model=self._name,
        )

    def _log_tail(self) -> str:
        assert self._log is not None  # noqa: S101  # `_run` has set it
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4 * _STDERR_TAIL))
        output = self._log.read(4 * _STDERR_TAIL)
        return output.decode("utf-8", "replace")[-_STDERR_TAIL:]


def _readable(pipe: IO[bytes], timeout_s: float) -> bool:
    """Wait for bytes or the end of a pipe. `select.select` would refuse descriptors above 1023."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))
