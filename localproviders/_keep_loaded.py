"""The ``with`` blocks of `keep_loaded`, which keep a model in memory and then restore its state.

Blocks of one provider for the same model may be nested, or run in several threads. They are listed
in the order in which they began. The last block to end restores the state that the first load of
these blocks found. If the newest block ends before others, it restores the state of the block that
began before it. If an older block ends while a newer one runs, the model does not change.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from datetime import datetime, timezone
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    MutableMapping,
    Optional,
    Protocol,
    Tuple,
)

from localproviders._http.deadline import Call, wait
from localproviders._interrupts import is_callers
from localproviders.errors import ModelNotFoundError, UnsupportedError
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Limits, Timeout
from localproviders.types.models import LoadedModel

#: A model, and the process in which it is used. A forked child must not wait for threads that it
#: does not have, nor change the model that its parent keeps.
Key = Tuple[int, str]

#: A function that receives the model that is in memory before a load, or None.
OnFound = Callable[[Optional[LoadedModel]], None]


class State:
    """The state of a model in memory, as the server reported it, and the moment of the report.

    Attributes:
        loaded: The model.
        keep_alive: The `keep_alive` with which a block has loaded it; None if there was none.
        facts: Further facts about the model that the loader needs to restore this state.
    """

    def __init__(self, loaded: LoadedModel, keep_alive: Any = None, facts: Any = None) -> None:
        self.loaded = loaded
        self.keep_alive = keep_alive
        self.facts = facts
        self._at = datetime.now(timezone.utc)

    @property
    def timer(self) -> Any:
        """The `keep_alive` for a load that restores the server's unload timer.

        It is the `keep_alive` of the block, or else the time that was left when the server
        reported the model; infinity if the server reported no time.
        """
        if self.keep_alive is not None:
            return self.keep_alive
        ends = self.loaded.expires_at
        return math.inf if ends is None else max((ends - self._at).total_seconds(), 1.0)


class Blocks:
    """The blocks that keep one model in memory, in the order in which they began.

    Attributes:
        running: The blocks.
        found: The model as it was before the first load of these blocks; None if it was not in
            memory.
    """

    def __init__(self) -> None:
        self.running: List[Block] = []
        self.found: Optional[State] = None
        self._has_looked = False

    def saw(self, state: Optional[State]) -> None:
        """Store the state that the first load found. Later calls are ignored."""
        if not self._has_looked:
            self._has_looked, self.found = True, state


class Block:
    """One ``with`` block that keeps a model in memory.

    Attributes:
        group: All blocks that keep this model.
        loaded: The model as this block has loaded it; None while it is loading.
        has_own_timer: Whether a `keep_alive` may have replaced the unload timer that the model had
            in an earlier state.
    """

    def __init__(self, group: Blocks) -> None:
        self.group = group
        self.loaded: Optional[State] = None
        self.has_own_timer = False

    def has_other_window(self, state: State) -> bool:
        """Return whether this block has loaded the model with another context window."""
        now = None if self.loaded is None else self.loaded.loaded.context_length
        before = state.loaded.context_length
        return before is not None and now is not None and before != now


class Loader(Protocol):
    """An object that loads and unloads models for the blocks."""

    def block_key(self, model: str) -> str:
        """Return the same text for all names of a model."""
        ...

    def load_for_block(self, block: Block, model: str, options: Mapping[str, Any]) -> LoadedModel:
        """Load a model with the arguments of `load`, and set the attributes of the block.

        Before the load, this method must call `saw` of the block's `group` with the state of the
        model in memory.
        """
        ...

    def restore(self, block: Block, model: str, state: State, timeout: Timeout) -> None:
        """Restore an earlier state of a model after the block has changed the model."""

    def unload(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> None:
        """Unload a model."""


class PublicLoader:
    """A loader that uses the public methods of a provider.

    Args:
        provider: The provider, a `ModelProvider`.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def block_key(self, model: str) -> str:
        """Return the name of the model."""
        return model

    def load_for_block(self, block: Block, model: str, options: Mapping[str, Any]) -> LoadedModel:
        """Look for the model in memory, and load it."""
        with contextlib.suppress(UnsupportedError):
            listed = self._provider.loaded_models(
                timeout=options["timeout"], cancel=options["cancel"]
            )
            found = next((each for each in listed if each.name == model), None)
            block.group.saw(None if found is None else State(found))
        loaded: LoadedModel = self._provider.load(model, **options)
        block.loaded = State(loaded, options["keep_alive"])
        block.has_own_timer = options["keep_alive"] is not None
        return loaded

    def restore(self, block: Block, model: str, state: State, timeout: Timeout) -> None:
        """Load the model with the context window and the unload timer that it had."""
        window = state.loaded.context_length
        self._provider.load(model, context_length=window, keep_alive=state.timer, timeout=timeout)

    def unload(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> None:
        """Unload the model."""
        self._provider.unload(model, timeout=timeout, cancel=cancel)


class KeptModels:
    """The blocks of one provider that keep models in memory."""

    def __init__(self) -> None:
        self._groups: Dict[Key, Blocks] = {}
        self._turns: Dict[Key, List[threading.Event]] = {}

    @contextlib.contextmanager
    def keep(
        self, loader: Loader, model: str, limits: Limits, **options: Any
    ) -> Iterator[LoadedModel]:
        """Load a model for a block, and restore the earlier state of the model after the block.

        Args:
            loader: The object that loads and unloads the model.
            model: Name of the model.
            limits: Limits of the caller's `timeout`.
            options: Arguments of `load`.
        """
        key, group = (os.getpid(), loader.block_key(model)), Blocks()
        block = Block(group)
        try:
            # This waits only while the end of another block unloads or restores the model.
            with self._turn(key, limits, options["cancel"]):
                block.group = self._groups.setdefault(key, group)
                block.group.running.append(block)
            yield loader.load_for_block(block, model, options)
        except BaseException:
            soon = limits.replace(total_s=min(limits.total_s, LISTING_TOTAL_S))
            try:
                with self._turn(key, soon):
                    self._end(key, block, loader, model, soon)
            except Exception as failure:
                # A failed unload must not replace the error of the block. But an exception of a
                # signal handler, such as an alarm, must not be lost: it is raised, with the error
                # of the block as its context.
                if is_callers(failure):
                    raise
            raise
        with self._turn(key, limits):
            self._end(key, block, loader, model, options["timeout"])

    @contextlib.contextmanager
    def _turn(
        self, key: Key, limits: Limits, cancel: Optional[CancelToken] = None
    ) -> Iterator[None]:
        call = Call(limits, cancel)
        try:
            with taking_turns(self._turns, key, call):
                yield
        finally:
            call.finish()

    def _end(self, key: Key, block: Block, loader: Loader, model: str, timeout: Timeout) -> None:
        """Remove a block. If it was the newest one, restore the state before it."""
        blocks = block.group.running
        if key[0] != os.getpid() or block not in blocks:
            return  # in a forked child, the block belongs to the parent
        place = blocks.index(block)
        blocks.remove(block)
        if not blocks:
            self._groups.pop(key, None)
        if place < len(blocks):
            blocks[place].has_own_timer |= block.has_own_timer
        elif block.loaded is not None:
            state = blocks[-1].loaded if blocks else block.group.found
            if state is not None:
                if block.has_own_timer or block.has_other_window(state):
                    loader.restore(block, model, state, timeout)
            elif not blocks:  # otherwise another block is loading the model now
                _unload(loader, model, timeout)


def _unload(loader: Loader, model: str, timeout: Timeout) -> None:
    """Unload a model after a block. It is not an error if the model was deleted in the meantime."""
    try:
        loader.unload(model, timeout, None)
    except ModelNotFoundError as error:
        # If the server itself refused to unload the deleted model, the model is still in memory.
        if error.server_message is not None:
            raise


@contextlib.contextmanager
def taking_turns(
    table: MutableMapping[Key, List[threading.Event]], key: Key, call: Call
) -> Iterator[None]:
    """Let one thread at a time enter a block. The others wait within the limits of their calls.

    A table of events is used instead of a lock, for two reasons. A waiting thread must notice its
    own limits and cancellation. A lock that is held during a fork would stay locked in the child,
    where no thread releases it.

    Args:
        table: For each key in use, the events of the threads that wait.
        key: The process and the name for which one thread at a time may run.
        call: Call whose limits apply to the wait.
    """
    waiters: List[threading.Event] = []
    try:
        others = table.setdefault(key, waiters)
        while others is not waiters:
            woken = threading.Event()
            others.append(woken)
            # If the entry was removed, its owner may have set the events before the event of this
            # thread was in the list. Then nothing would wake this thread, so it does not wait.
            if table.get(key) is others:
                wait(call, woken)
            others = table.setdefault(key, waiters)
        yield
    finally:
        # A KeyboardInterrupt can arrive at any line above. Only the table shows whether this
        # thread owns the entry.
        if table.get(key) is waiters:
            table.pop(key, None)
        for event in waiters:
            event.set()
