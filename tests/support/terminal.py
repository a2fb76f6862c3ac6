"""Runs the command as a real process on a pseudo-terminal, as a person would."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

# Seconds after which a test fails, because the expected text has not appeared.
_LIMIT_S = 60.0


class Terminal:
    """A process whose standard streams are a pseudo-terminal, which is its controlling terminal.

    Use it in a ``with`` block, which ends the process.

    Args:
        words: The command.
        env: The environment.
        options: Arguments of `subprocess.Popen`, such as another ``stdout``.

    Attributes:
        process: The process.
        shown: Everything that the terminal has shown so far.
    """

    def __init__(self, words: List[str], env: Dict[str, str], **options: Any) -> None:
        import fcntl  # not on Windows
        import pty  # as above
        import termios  # as above

        self._master, self._slave = pty.openpty()
        self._first_settings = termios.tcgetattr(self._slave)

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        streams = {"stdin": self._slave, "stdout": self._slave, "stderr": self._slave}
        self.process: Any = subprocess.Popen(
            words, env=env, preexec_fn=take_terminal, **{**streams, **options}
        )
        self.shown = ""
        self._seen = 0
        self._bytes = b""

    def expect(self, text: str, keys: str = "") -> str:
        """Read until a text appears after the last expected one; return what precedes it.

        Args:
            text: The text.
            keys: Keys that are pressed again each second until the text appears.
        """
        begin = time.monotonic()
        pressed = 0
        while text not in self.shown[self._seen :]:
            elapsed_s = time.monotonic() - begin
            assert elapsed_s < _LIMIT_S, f"{text!r} is not in {self.shown!r}"
            if keys and elapsed_s >= pressed:
                self.press(keys)
                pressed += 1
            # This process holds the terminal open, so its end is not an end of the output.
            has_ended = self.process.poll() is not None
            if select.select([self._master], [], [], 0 if has_ended else 1.0)[0]:
                self._read()
            else:
                assert not has_ended, f"the process ended without {text!r}: {self.shown!r}"
        before, at = self._seen, self.shown.index(text, self._seen)
        self._seen = at + len(text)
        return self.shown[before:at]

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # on Linux, the end of the terminal
            return False
        self._bytes += data
        self.shown = self._bytes.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)

    def type(self, text: str) -> None:
        """Type a text, and press the return key."""
        self.press(f"{text}\r")

    def press(self, keys: str) -> None:
        """Press keys, such as ``\\x03`` for Ctrl-C."""
        os.write(self._master, keys.encode())

    def interrupt(self, text: str) -> None:
        """Press Ctrl-C until a text appears.

        Python notices a signal at the next key, if it arrives while `readline` handles a key.
        """
        self.expect(text, "\x03")

    def press_bytes(self, data: bytes) -> None:
        """Send bytes that may be no text."""
        os.write(self._master, data)

    def has_first_settings(self) -> bool:
        """Return whether the terminal has the settings again that it had before the process."""
        import termios  # not on Windows

        return termios.tcgetattr(self._slave) == self._first_settings

    def hang_up(self) -> None:
        """Close the terminal. The system sends SIGHUP to its processes."""
        for name in ("_slave", "_master"):
            descriptor: Optional[int] = getattr(self, name)
            if descriptor is not None:
                os.close(descriptor)
            setattr(self, name, None)

    def end(self, number: int = 0, keys: str = "") -> int:
        """Return the exit code of the process, after it has ended; keep the last output.

        Args:
            number: A signal that is sent each second until the process ends; 0 sends none. Python
                notices a signal at the next one, if it arrives just before `readline` waits.
            keys: Keys that are pressed each second until the process ends.
        """
        end = time.monotonic() + _LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < end, f"the process does not end: {self.shown!r}"
            if number:
                self.process.send_signal(number)
            if keys:
                self.press(keys)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            self._read_rest()
        self._read_rest()
        code: int = self.process.returncode
        return code

    def _read_rest(self) -> None:
        while self._master is not None and select.select([self._master], [], [], 0)[0]:
            if not self._read():
                break

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.hang_up()


#: Why these tests are skipped; None if they can run.
WHY_NOT = "needs pseudo-terminals" if sys.platform == "win32" else None
