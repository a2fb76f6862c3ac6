"""Opens the conversation of ``--session``, or a conversation in memory."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, Optional

from localproviders.cli.output import unwritable
from localproviders.cli.run import Run
from localproviders.conversation import Conversation
from localproviders.errors import ProviderError


@contextlib.contextmanager
def open_conversation(run: Run) -> Iterator[Conversation]:
    """Open the conversation of a run, for a ``with`` block. Without ``--session`` it has no file.

    If another process has the file open, the ``with`` statement waits for it, at most for the time
    of ``--lock-wait``. A new file is removed if the block ends before the first turn.

    Raises:
        LockHeldError: Another process has the file open.
        IntegrityError: Another program changed the file.
        ConfigurationError: The file cannot be opened, or is no conversation.
        OutputError: The file cannot be written.
    """
    path: Optional[str] = run.arguments.session
    is_new = path is not None and not os.path.lexists(path)
    with _as_output_errors(str(path)):
        made = Conversation(path, system=run.arguments.system, wait_s=run.arguments.lock_wait)
        try:
            run.warn_all(made.warnings)
            yield made
        finally:
            # A process that waits for the lock of this file notices the removal, and makes a new
            # file.
            if is_new and made.path is not None and not made.messages:
                with contextlib.suppress(OSError):
                    os.remove(made.path)
            made.close()


@contextlib.contextmanager
def _as_output_errors(path: str) -> Iterator[None]:
    """Convert an `OSError` about the file to an `OutputError`."""
    try:
        yield
    except (BrokenPipeError, ProviderError):  # a closed pipe, or a failed call
        raise
    except OSError as error:
        raise unwritable(error, error.filename or path, "choose another --session") from None
