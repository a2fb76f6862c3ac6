"""The file of a conversation: locks, incomplete lines, changes by others, full disks, kills."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from localproviders import ConfigurationError, IntegrityError, LockHeldError, Message
from localproviders.conversation import Conversation
from localproviders.conversation.turns import Turn, line_of

needs_posix = pytest.mark.skipif(os.name != "posix", reason="Windows has other rights and signals")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.jsonl"


def _turn(number: int, words: str = "") -> Tuple[Message, Message]:
    return Message.user(f"question {number}{words}"), Message.assistant(f"answer {number}")


def _filled(path: Path, turns: int = 2) -> List[bytes]:
    """Write a conversation, and return its lines."""
    with Conversation(path) as conversation:
        for number in range(turns):
            conversation.add(_turn(number))
    return path.read_bytes().splitlines(keepends=True)


def _questions(path: Path) -> List[str]:
    messages = Conversation.load(path).messages
    return [message.content for message in messages if message.role == "user"]


# --- who may open it -----------------------------------------------------------------------


@needs_posix
def test_a_new_file_is_for_its_owner(path: Path) -> None:
    with Conversation(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == b""


@needs_posix
def test_the_rights_of_an_existing_file_stay(path: Path) -> None:
    path.touch(0o640)
    path.chmod(0o640)
    _filled(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


HOLDER = """
import sys
from localproviders.conversation import Conversation
with Conversation(sys.argv[1]) as conversation:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_cannot_open_it_but_can_load_it(path: Path) -> None:
    _filled(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"open\n"
        with pytest.raises(LockHeldError) as caught:
            Conversation(path)
        assert (caught.value.path, caught.value.exit_code) == (str(path), 75)
        assert _questions(path) == ["question 0", "question 1"]
        process.kill()
    with Conversation(path, wait_s=60) as conversation:
        assert len(conversation.messages) == 4


def test_a_second_conversation_of_this_process_cannot_open_it(path: Path) -> None:
    with Conversation(path), pytest.raises(LockHeldError):
        Conversation(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_cannot_write(path: Path) -> None:
    with Conversation(path) as conversation:
        child = os.fork()
        if child == 0:  # pragma: no cover  # in the child
            status = 1
            with contextlib.suppress(BaseException):
                try:
                    conversation.add(_turn(1))
                except LockHeldError:
                    conversation.close()
                    status = 0
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        conversation.add(_turn(2))
    assert _questions(path) == ["question 2"]


@needs_posix
def test_a_link_is_refused(path: Path) -> None:
    target = path.parent / "target"
    target.write_text("")
    path.symlink_to(target)
    with pytest.raises(ConfigurationError, match="symbolic link"):
        Conversation(path)
    assert target.read_text() == ""


@pytest.mark.parametrize("make", [Conversation, Conversation.load])
def test_a_missing_folder_is_refused(path: Path, make: Callable[[Path], Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(path / "missing")
    assert "missing" in str(caught.value) and "\n" not in str(caught.value)
    assert not path.exists()


# --- incomplete lines ----------------------------------------------------------------------


def test_a_line_that_was_cut_off_anywhere_is_replaced_by_the_next_turn(path: Path) -> None:
    first, last = _filled(path)
    for length in range(1, len(last) - 1):
        path.write_bytes(first + last[:length])
        with Conversation(path) as conversation:
            (warning,) = conversation.warnings
            cut = "1 byte" if length == 1 else f"{length} bytes"
            assert warning == (
                f"line 2 of '{path}' is incomplete ({cut}), and is not part of the conversation"
            )
            assert path.read_bytes() == first + last[:length]
            conversation.add(_turn(7))
        assert _questions(path) == ["question 0", "question 7"]
        assert path.read_bytes().startswith(first + b"{")


@pytest.mark.parametrize("rest", [b"\0" * 500, b'{"messages": [{"ro' + b"\0" * 500])
def test_zeros_after_a_loss_of_power_are_replaced(path: Path, rest: bytes) -> None:
    first, _ = _filled(path)
    path.write_bytes(first + rest)
    with Conversation(path) as conversation:
        assert conversation.warnings
        conversation.add(_turn(7))
    assert _questions(path) == ["question 0", "question 7"]


def test_a_complete_line_without_its_line_end_stays(path: Path) -> None:
    first, last = _filled(path)
    path.write_bytes(first + last[:-1])
    with Conversation(path) as conversation:
        assert conversation.warnings == ()
        conversation.add(_turn(7))
    assert _questions(path) == ["question 0", "question 1", "question 7"]


def test_an_incomplete_line_is_left_alone_if_nothing_is_added(path: Path) -> None:
    first, last = _filled(path)
    path.write_bytes(first + last[:30])
    with Conversation(path):
        pass
    assert path.read_bytes() == first + last[:30]


@pytest.mark.parametrize("content", ["hello", '{"a": 1', "{}\n", "notes\nmore\n", "\0\nx\n"])
def test_the_file_of_another_program_is_refused_and_stays(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="is no conversation"):
        Conversation(path)
    assert path.read_text() == content


# --- changes by others ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [Conversation, Conversation.load])
def test_a_changed_line_is_named(path: Path, make: Callable[[Path], Any]) -> None:
    first, second, third = _filled(path, 3)
    path.write_bytes(first + second.replace(b'"role"', b'"rule"', 1) + third)
    with pytest.raises(IntegrityError, match=r"line 2 of .*: the file was changed") as caught:
        make(path)
    assert (caught.value.path, caught.value.line, caught.value.exit_code) == (str(path), 2, 15)
    assert "sed -n 2p" in str(caught.value.hint)


def test_two_lines_joined_by_a_missing_line_end_are_not_read(path: Path) -> None:
    first, second, third = _filled(path, 3)
    path.write_bytes(first + second[:-1] + third)
    with pytest.raises(IntegrityError, match="line 2"):
        Conversation(path)


def test_empty_lines_are_ignored(path: Path) -> None:
    first, second = _filled(path)
    path.write_bytes(first + b"\n \n" + second + b"\n")
    with Conversation(path) as conversation:
        conversation.add(_turn(7))
    assert _questions(path) == ["question 0", "question 1", "question 7"]


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"other\n")


def _replace(path: Path) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


_CHANGES = [_append, _replace, lambda path: path.write_bytes(b""), lambda path: path.unlink()]


@pytest.mark.parametrize("change", _CHANGES)
def test_a_file_that_another_program_changes_meanwhile_is_not_written(
    path: Path, change: Callable[[Path], Any]
) -> None:
    with Conversation(path) as conversation:
        conversation.add(_turn(0))
        change(path)
        after = path.read_bytes() if path.exists() else None
        with pytest.raises(IntegrityError, match="another program changed, removed or replaced"):
            conversation.add(_turn(1))
    assert (path.read_bytes() if path.exists() else None) == after


# --- failures of the disk ------------------------------------------------------------------


def _full(after: int) -> Callable[..., int]:
    """Return an `os.write` for a disk on which so many bytes fit."""
    really, left = os.write, [after]

    def write(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = really(descriptor, data[: left[0]])
        left[0] -= done
        return done

    return write


@pytest.mark.parametrize("fitting", [0, 10, 60])
def test_a_full_disk_loses_no_turn(
    path: Path, monkeypatch: pytest.MonkeyPatch, fitting: int
) -> None:
    (first,) = _filled(path, 1)
    with Conversation(path) as conversation:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", _full(fitting))
            with pytest.raises(OSError, match="No space left") as caught:
                conversation.add(_turn(1))
        assert caught.value.filename == str(path)
        assert len(conversation.messages) == 4
        assert path.read_bytes()[: len(first)] == first
        assert len(Conversation.load(path).messages) == 2
        conversation.add(_turn(2))
    assert _questions(path) == ["question 0", "question 1", "question 2"]


def test_close_writes_what_is_missing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = Conversation(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", _full(5))
        with pytest.raises(OSError, match="No space left"):
            conversation.add(_turn(1))
    conversation.close()
    conversation.close()
    assert _questions(path) == ["question 1"]


def test_an_exception_after_the_write_does_not_write_a_turn_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with Conversation(path) as conversation:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", interrupted)
            with pytest.raises(KeyboardInterrupt):
                conversation.add(_turn(1))
        conversation.add(_turn(2))
    assert _questions(path) == ["question 1", "question 2"]


# --- kills ---------------------------------------------------------------------------------

#: A program that adds turns without end, and prints the number of each turn that is written.
WRITER = """
import sys
from localproviders import Message
from localproviders.conversation import Conversation
words = " word" * 60_000
with Conversation(sys.argv[1], wait_s=60) as conversation:
    number = len(conversation.messages) // 2
    while True:
        conversation.add([Message.user(f"question {number}" + words), Message.assistant("x")])
        print(number, flush=True)
        number += 1
"""


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


@needs_posix
@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", range(20))
def test_a_kill_at_a_random_moment_leaves_whole_turns(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    written = -1
    for _ in range(2):
        with _writer(path) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                written = int(process.stdout.readline())
            for _ in range(chance.randrange(20_000)):
                pass  # the writer goes on meanwhile
            process.kill()
            rest = process.stdout.read().split()
            written = int(rest[-1]) if rest else written
        numbers = [int(question.split()[1]) for question in _questions(path)]
        # At most one turn is written and not yet printed.
        assert numbers == list(range(len(numbers)))
        assert len(numbers) - 1 - written in (0, 1)
    with Conversation(path) as conversation:
        conversation.add(_turn(-1))
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [bool(json.loads(line)["messages"]) for line in lines] == [True] * len(lines)


# --- save ----------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Conversation:
    conversation = Conversation(system="Be brief.")
    conversation.add(_turn(0))
    conversation.add(_turn(1))
    return conversation


def test_a_conversation_in_memory_is_saved(path: Path, memory: Conversation) -> None:
    memory.save(path)
    again = Conversation.load(path)
    assert (again.messages, again.system) == (memory.messages, "Be brief.")
    assert os.listdir(path.parent) == [path.name]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_replaced_only_on_request(path: Path, memory: Conversation) -> None:
    path.write_text("other")
    with pytest.raises(ConfigurationError, match="already exists"):
        memory.save(path)
    assert path.read_text() == "other"
    memory.save(path, replace=True)
    assert _questions(path) == ["question 0", "question 1"]


def test_a_file_that_appears_meanwhile_is_not_replaced(
    path: Path, memory: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.fsync

    def late(descriptor: int) -> None:
        really(descriptor)
        path.write_text("other")

    monkeypatch.setattr(os, "fsync", late)
    with pytest.raises(ConfigurationError, match="already exists"):
        memory.save(path)
    assert path.read_text() == "other" and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("is_late", [False, True])
def test_without_hard_links_no_file_is_replaced_either(
    path: Path, memory: Conversation, is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.replace

    def refuse(*_: Any) -> None:
        if not is_late:
            path.write_text("other")
        raise PermissionError(1, "no links here")

    def late(*arguments: Any) -> None:
        with pytest.raises(FileExistsError):
            path.open("x")
        really(*arguments)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", late)
    if is_late:
        memory.save(path)
        assert path.read_bytes().startswith(line_of(Turn(_turn(0), "Be brief.")))
    else:
        with pytest.raises(ConfigurationError, match="already exists"):
            memory.save(path)
        assert path.read_text() == "other"
    assert os.listdir(path.parent) == [path.name]


def test_the_file_of_an_open_conversation_is_not_replaced(path: Path, memory: Conversation) -> None:
    with Conversation(path), pytest.raises(LockHeldError):
        memory.save(path, replace=True)
    assert path.read_bytes() == b""


@needs_posix
def test_a_link_is_not_saved_to(path: Path, memory: Conversation) -> None:
    path.symlink_to(path.parent / "target")
    with pytest.raises(ConfigurationError):
        memory.save(path)
    with pytest.raises(ConfigurationError, match="symbolic link"):
        memory.save(path, replace=True)
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_leaves_no_half_of_a_file(
    path: Path, memory: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", _full(100))
    with pytest.raises(OSError, match="No space left"):
        memory.save(path)
    assert os.listdir(path.parent) == []


def test_the_next_save_reuses_what_a_killed_one_left(path: Path, memory: Conversation) -> None:
    left = path.parent / f".{path.name}.localproviders-tmp"
    left.write_text("x" * 10_000)
    memory.save(path)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes().startswith(line_of(Turn(_turn(0), "Be brief.")))
