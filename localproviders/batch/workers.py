"""The workers of a run: threads that end with the run, or an executor of `concurrent.futures`."""

from __future__ import annotations

import contextvars
import io
import pickle
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from hashlib import blake2b
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

from localproviders.batch.jobs import Answer, Job, perform
from localproviders.errors import ConfigurationError
from localproviders.provider import ModelProvider
from localproviders.secret import SecretString
from localproviders.types.limits import CancelToken, Timeout

if TYPE_CHECKING:
    AnyFuture = Future[Any]
    Answers = Future[List[Answer]]
else:
    # Before Python 3.9, `Future` cannot be subscripted when type hints are evaluated.
    AnyFuture = Answers = Future

# Seconds to wait for threads whose calls were cancelled.
_PATIENCE_S = 5.0

#: A work item for a thread: a future, a function and its arguments; None ends the thread.
_Work = Optional[Tuple["Future[Any]", Callable[..., Any], Tuple[Any, ...]]]


class CallThreads(Executor):
    """Threads that are started when they are needed, and end with `shutdown`.

    They are daemons, unlike those of `ThreadPoolExecutor`: a call that never returns does not keep
    the program from ending.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[_Work] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: List[threading.Thread] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AnyFuture:
        """Run a function in a thread, and return its future."""
        future: Future[Any] = Future()
        self._work.put((future, fn, args))
        if not self._idle.acquire(blocking=False):
            context = contextvars.copy_context()
            thread = threading.Thread(
                target=context.run, args=(self._run,), name="localproviders-batch", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        return future

    def _run(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            _run_work(*work)
            del work  # so that the request does not stay in memory while the thread waits
            self._idle.release()

    def shutdown(self, wait: bool = True, **_: Any) -> None:
        """End all threads after their work."""
        for _thread in self._threads:
            self._work.put(None)
        end = time.monotonic() + _PATIENCE_S
        for thread in self._threads if wait else ():
            thread.join(max(0.0, end - time.monotonic()))


def _run_work(future: Future[Any], function: Callable[..., Any], args: Tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args)
    except BaseException as error:  # raised in the caller's thread, by `Future.result`
        future.set_exception(error)
    else:
        future.set_result(result)


class Workers:
    """A sender of the requests of jobs, in threads or in the processes of an executor.

    Args:
        provider: The provider.
        executor: The executor; None makes threads.
        timeout: The timeout of each request.

    Raises:
        ConfigurationError: The executor may use other processes, and the provider cannot be sent
            to them.
    """

    def __init__(
        self, provider: ModelProvider, executor: Optional[Executor], timeout: Timeout
    ) -> None:
        self._executor = CallThreads() if executor is None else executor
        self._is_own = executor is None
        self._timeout = timeout
        self._drop = CancelToken()
        if isinstance(self._executor, (CallThreads, ThreadPoolExecutor)):
            self._submit = self._submit_here
            self._provider = provider
        else:
            self._submit = self._submit_there
            self._pickled = pickled(provider)
            self._name = blake2b(self._pickled, digest_size=16).hexdigest()

    def submit(self, jobs: Sequence[Job]) -> Answers:
        """Send one request, and return the future of its answers."""
        return self._submit(jobs)

    def _submit_here(self, jobs: Sequence[Job]) -> Answers:
        return self._executor.submit(perform, self._provider, jobs, self._timeout, self._drop)

    def _submit_there(self, jobs: Sequence[Job]) -> Answers:
        return self._executor.submit(perform_there, self._name, self._pickled, jobs, self._timeout)

    def drop(self) -> None:
        """Cancel all requests in flight. Those in other processes end at their own time limits."""
        self._drop.cancel()

    def close(self) -> None:
        """End the threads of this object. An executor of the caller stays open."""
        if self._is_own:
            self._executor.shutdown()


# --- other processes --------------------------------------------------------------------------

# The providers of a worker process, by the digests of their pickles. They are kept for later
# requests, so that their connections stay open.
_providers: Dict[str, ModelProvider] = {}


def perform_there(
    name: str, provider: bytes, jobs: Sequence[Job], timeout: Timeout
) -> List[Answer]:
    """Send one request in a worker process.

    Args:
        name: Digest of the pickle.
        provider: The pickled provider. It is loaded once in each process.
        jobs: The jobs.
        timeout: The timeout of the call.
    """
    if name not in _providers:
        _providers[name] = pickle.loads(provider)  # noqa: S301  # made by `pickled`
    return perform(_providers[name], jobs, timeout)


class _Pickler(pickle.Pickler):
    """A pickler that notes whether a secret was passed as a literal. Pickles omit such secrets."""

    has_literal = False

    def persistent_id(self, value: Any) -> None:
        """Look at a value, and return None: every value is pickled as usual."""
        if isinstance(value, SecretString) and value._origin is None:
            self.has_literal = True


def pickled(provider: ModelProvider) -> bytes:
    """Return the pickle of a provider for worker processes.

    Raises:
        ConfigurationError: The provider has an API key that was passed as a literal, which no
            pickle contains; or the provider cannot be pickled.
    """
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(provider)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ConfigurationError(
            f"the provider cannot be sent to worker processes: {error}",
            hint="leave out listeners that cannot be pickled, or use threads: executor=None",
        ) from None
    if pickler.has_literal:
        raise ConfigurationError(
            "the provider has an API key as a literal, which is not sent to worker processes",
            hint="pass SecretString.from_env(NAME), and set the variable on all machines",
        )
    return file.getvalue()
