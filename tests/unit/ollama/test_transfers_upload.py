"""Uploads of files: sent in pieces with their digest, and restarted after a failure."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tracemalloc
from pathlib import Path
from typing import Any, Callable, List, Optional

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    LimitError,
    Limits,
    OllamaProvider,
    Progress,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders._http import upload
from localproviders._http.upload import PIECE, Upload
from localproviders.ollama import transfers
from localproviders.testing import Exchange, FakeOllama
from localproviders.testing.answers import Answer
from localproviders.testing.ollama.answers import RefusedError
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S

MB = 1024 * 1024


def write(path: Path, size: int) -> str:
    """Write a file that begins like a GGUF file; return its digest."""
    data = b"GGUF" + os.urandom(min(size, MB))
    found = hashlib.sha256()
    with path.open("wb") as file:
        while size > 0:
            piece = data[: min(size, len(data))]
            file.write(piece)
            found.update(piece)
            size -= len(piece)
    return f"sha256:{found.hexdigest()}"


def uploads(server: FakeOllama) -> List[Exchange]:
    return [e for e in server.exchanges if e.path.startswith("/api/blobs/") and e.method == "POST"]


def test_a_file_is_uploaded_under_its_digest(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    digest = write(tmp_path / "my model.gguf", 2 * PIECE + 7)
    reports: List[Progress] = []
    info = ollama.create("mine", files=tmp_path / "my model.gguf", on_progress=reports.append)
    assert info.name == "mine:latest"
    assert list(server.blobs) == [digest]
    (sent,) = uploads(server)
    assert sent.path == f"/api/blobs/{digest}"
    assert sent.headers["content-type"] == "application/octet-stream"
    assert server.made["mine:latest"]["files"] == {"my model.gguf": digest}
    size = 2 * PIECE + 7
    for status in ("reading my model.gguf", "uploading my model.gguf"):
        told = [r for r in reports if r.status == status]
        assert [r.completed_bytes for r in told] == [PIECE, 2 * PIECE, size]
        assert {r.total_bytes for r in told} == {size}
        assert told[-1].fraction == 1.0
    assert reports[-1].status == "success"
    assert len({e.connection for e in server.exchanges}) == 1


def test_a_file_that_the_server_has_is_not_sent(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    write(tmp_path / "a.gguf", 100)
    ollama.create("one", files=str(tmp_path / "a.gguf"))
    ollama.create("two", files={"renamed.gguf": tmp_path / "a.gguf"})
    assert len(uploads(server)) == 1
    assert list(server.made["two:latest"]["files"]) == ["renamed.gguf"]


def test_an_adapter_is_uploaded_too(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    digest = write(tmp_path / "lora.gguf", 100)
    ollama.create("mine", from_model="llama3.2", adapters=tmp_path / "lora.gguf")
    assert server.made["mine:latest"]["adapters"] == {"lora.gguf": digest}
    assert "files" not in server.made["mine:latest"]


@pytest.mark.sample(0)
def test_a_large_file_takes_little_memory(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    ollama.version()  # loads requests
    write(tmp_path / "a.gguf", 64 * MB)
    tracemalloc.start()
    try:
        ollama.create("mine", files=tmp_path / "a.gguf")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MB


def test_what_is_no_gguf_file_is_rejected(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(RequestRejectedError, match="not in GGUF format"):
        ollama.create("mine", files=tmp_path / "a.txt")


PIPE = getattr(os, "mkfifo", lambda path: None)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.touch(), PIPE])
def test_a_file_that_cannot_be_sent_is_refused(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "a.gguf"
    make(path)
    with pytest.raises(ConfigurationError, match=r"a\.gguf"):
        ollama.create("mine", files=path)
    assert server.exchanges == []


def test_an_impossible_path_is_refused(server: FakeOllama, ollama: OllamaProvider) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ollama.create("mine", files="a\0b.gguf")
    assert server.exchanges == []


class Failing(io.BytesIO):
    """A file on a disk that fails after some bytes."""

    good = PIECE

    def fileno(self) -> int:
        raise AssertionError("nobody may ask")

    def read(self, size: Optional[int] = -1) -> bytes:
        if self.tell() >= self.good:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("at", ["reading", "uploading"])
def test_a_disk_that_fails_is_an_error_of_ours(
    server: FakeOllama,
    ollama: OllamaProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    path = tmp_path / "a.gguf"
    write(path, 3 * PIECE)
    module = {"reading": transfers, "uploading": upload}[at]
    # The size is read from another file object and stays right.
    usual = upload.open_file
    opened = iter([usual] if at == "reading" else [])
    monkeypatch.setattr(
        module, "open_file", lambda p: next(opened, lambda _: Failing(path.read_bytes()))(p)
    )
    with pytest.raises(ConfigurationError, match=r"a\.gguf.*Input/output error"):
        ollama.create("mine", files=path)
    assert server.blobs == {}


# --- a file that changes --------------------------------------------------------------------


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    path = tmp_path / "a.gguf"
    write(path, 3 * PIECE)

    def shrink(report: Progress) -> None:
        if report.status.startswith("uploading"):
            os.truncate(path, PIECE)

    with pytest.raises(ConfigurationError, match="changed while it was being read"):
        ollama.create("mine", files=path, on_progress=shrink)
    assert server.blobs == {}
    assert server.wait_for_connections(0, GRACE_S)


def test_a_file_whose_bytes_change_is_an_error(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    path = tmp_path / "a.gguf"
    write(path, 100)

    def change(report: Progress) -> None:
        path.write_bytes(b"GGUF" + b"x" * 96)

    with pytest.raises(RequestRejectedError, match="digest mismatch") as caught:
        ollama.create("mine", files=path, on_progress=change)
    assert "changed" in str(caught.value.hint)


# --- a line that breaks ---------------------------------------------------------------------


class Busy(FakeOllama):
    """A server that reads the first upload and then refuses it as busy."""

    refused = 0

    def _blob(self, exchange: Exchange) -> Answer:
        if exchange.method == "POST" and not self.refused:
            self.refused += 1
            raise RefusedError("server busy", "503 Service Unavailable")
        return super()._blob(exchange)


def test_an_upload_is_sent_again_from_its_first_byte(tmp_path: Path) -> None:
    digest = write(tmp_path / "a.gguf", 3 * PIECE)
    reports: List[Progress] = []
    policy = RetryPolicy(first_wait_s=0)
    with Busy() as server, OllamaProvider(server.url, retry=policy) as provider:
        provider.create("mine", files=tmp_path / "a.gguf", on_progress=reports.append)
        assert list(server.blobs) == [digest]
        assert server.refused == 1
    sent = [r.completed_bytes for r in reports if r.status.startswith("uploading")]
    assert sent == [PIECE, 2 * PIECE, 3 * PIECE] * 2


def test_a_server_that_does_not_read_ends_the_upload_in_time(
    tmp_path: Path, fake_clock: FakeTime
) -> None:
    write(tmp_path / "a.gguf", 48 * MB)

    class Deaf(FakeOllama):
        def _before_body(self, exchange: Exchange) -> None:
            if exchange.method == "POST" and exchange.path.startswith("/api/blobs"):
                exchange.hold()

    with Deaf() as deaf, OllamaProvider(deaf.url, timeout=Limits(idle_s=8)) as provider:
        with pytest.raises(LimitError) as caught:
            provider.create("mine", files=tmp_path / "a.gguf")
        assert (caught.value.limit, caught.value.elapsed_s) == ("idle_s", 8)


def test_a_refusal_in_the_middle_of_an_upload_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", 48 * MB)

    class Refusing(FakeOllama):
        def _before_body(self, exchange: Exchange) -> None:
            if exchange.method == "POST" and exchange.path.startswith("/api/blobs"):
                body = b'{"error": "no room"}'
                head = b"HTTP/1.1 507 No\r\nContent-Length: %d\r\n\r\n" % len(body)
                exchange.sock.sendall(head + body)
                exchange.hold()

    with Refusing() as server, OllamaProvider(server.url, timeout=60) as provider:
        with pytest.raises(ProviderError, match="no room"):
            provider.create("mine", files=tmp_path / "a.gguf")


def test_a_connection_that_breaks_in_an_upload_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", 32 * MB)

    class Breaking(FakeOllama):
        def _before_body(self, exchange: Exchange) -> None:
            if exchange.method == "POST" and exchange.path.startswith("/api/blobs"):
                exchange.reader.read(PIECE)
                exchange.reset()

    with Breaking() as server, OllamaProvider(server.url, timeout=60) as provider:
        with pytest.raises(StreamInterruptedError):
            provider.create("mine", files=tmp_path / "a.gguf")


def test_a_server_that_has_got_the_file_meanwhile_may_hang_up(tmp_path: Path) -> None:
    digest = write(tmp_path / "a.gguf", 32 * MB)

    class Overtaken(FakeOllama):
        def _before_body(self, exchange: Exchange) -> None:
            if exchange.method == "POST" and exchange.path.startswith("/api/blobs"):
                self.blobs[digest] = b"GGUF"
                exchange.reset()

    with Overtaken() as server, OllamaProvider(server.url, timeout=60) as provider:
        assert provider.create("mine", files=tmp_path / "a.gguf").name == "mine:latest"


class Mine(Exception):  # noqa: N818  # what a caller's function raises
    pass


@pytest.mark.sample(6)
@pytest.mark.parametrize("at", ["reading", "uploading"])
@pytest.mark.parametrize(
    "raised", [Mine("x"), OSError("x"), UnreachableError("x"), KeyboardInterrupt()]
)
def test_what_a_listener_raises_comes_out_as_it_is(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path, at: str, raised: BaseException
) -> None:
    write(tmp_path / "a.gguf", 3 * PIECE)

    def fail(report: Progress) -> None:
        if report.status.startswith(at):
            raise raised

    with pytest.raises(type(raised)) as caught:
        ollama.create("mine", files=tmp_path / "a.gguf", on_progress=fail)
    assert caught.value is raised
    assert server.blobs == {}
    del caught
    # After the end of the connection, the server has seen all sent bytes.
    assert server.wait_for_connections(0 if at == "uploading" else 1, GRACE_S)
    assert len(uploads(server)) == (at == "uploading")


def test_an_upload_can_be_cancelled(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    write(tmp_path / "a.gguf", 3 * PIECE)
    token = CancelToken()
    with pytest.raises(CancelledError):
        ollama.create(
            "mine", files=tmp_path / "a.gguf", on_progress=lambda _: token.cancel(), cancel=token
        )
    assert [e.path for e in server.exchanges] == []


def test_a_total_bounds_reading_and_sending(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path, fake_clock: FakeTime
) -> None:
    write(tmp_path / "a.gguf", 3 * PIECE)
    with pytest.raises(LimitError) as caught:
        ollama.create(
            "mine",
            files=tmp_path / "a.gguf",
            on_progress=lambda report: fake_clock.advance(2),
            timeout=3,
        )
    assert (caught.value.limit, caught.value.elapsed_s) == ("total_s", 4)


def test_reading_a_second_file_is_not_the_servers_silence(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path, fake_clock: FakeTime
) -> None:
    write(tmp_path / "a.gguf", 100)
    # The clock is checked for each piece, and the second piece comes after the wait.
    write(tmp_path / "b.gguf", 2 * PIECE)

    def slow(report: Progress) -> None:
        if report.status == "reading b.gguf":
            fake_clock.advance(6)

    files = {name: tmp_path / name for name in ("a.gguf", "b.gguf")}
    limits = Limits(load_s=2, first_token_s=2)
    ollama.create("mine", files=files, on_progress=slow, timeout=limits)
    assert len(server.blobs) == 2


def test_an_upload_closes_its_file_and_says_only_its_size(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", 10)
    sent = Upload(str(tmp_path / "a.gguf"), 10, lambda sent: None)
    assert repr(sent) == "<upload of 10 bytes>"
    assert b"".join(sent) == (tmp_path / "a.gguf").read_bytes()
    assert sent.tell() == 10
    sent.rewind()
    assert (sent.tell(), len(sent.read())) == (0, 10)
    sent.close()


def test_nothing_is_left_open(server: FakeOllama, ollama: OllamaProvider, tmp_path: Path) -> None:
    folder: Any = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not list open files")
    write(tmp_path / "a.gguf", 3 * PIECE)
    ollama.create("mine", files=tmp_path / "a.gguf")
    open_files = [os.readlink(f) for f in folder.iterdir() if f.exists()]
    assert str(tmp_path / "a.gguf") not in open_files
