"""The errors of the command itself, and its exit codes."""

from __future__ import annotations

from localproviders.errors import ConfigurationError

#: The verb succeeded.
SUCCESS = 0
#: An error without its own exit code, for example too little memory.
OTHER = 1
#: An option or an input cannot be used.
USAGE = 2
#: A limit of the library, or ``--deadline``, has passed.
LIMIT = 6
#: Some rows of the input failed.
SOME_FAILED = 12
#: The run stopped early. The same command, run again, continues it.
STOPPED = 13
#: An answer is below ``--threshold``.
BELOW_THRESHOLD = 14
#: The output cannot be written.
OUTPUT = 74
#: The terminal was closed, the user pressed Ctrl-C, or the process received SIGTERM.
CLOSED, INTERRUPTED, TERMINATED = 129, 130, 143


class UsageError(ConfigurationError):
    """An option or an input of the command cannot be used. Nothing was sent or written."""


class OutputError(Exception):
    """The output cannot be written, for example because the disk is full.

    Args:
        message: The failure and its reason.
        hint: The next step, such as a shell command.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} (hint: {hint})")


class Stopped(BaseException):
    """The run was ended by a signal or by its deadline.

    It is not an `Exception`, so that code which handles failed calls does not catch it.

    Attributes:
        exit_code: The exit code of the command.
        message: The line for standard error; empty if no line is written.
    """

    def __init__(self, exit_code: int, message: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
