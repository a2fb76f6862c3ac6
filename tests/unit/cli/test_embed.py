"""The verb ``embed``: vectors as lines and as matrices, ids, texts that fail, killed runs."""

from __future__ import annotations

import ast
import json
import random
import signal
import struct
import subprocess
import threading
from array import array
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from localproviders import cli
from localproviders.cli import embed
from localproviders.cli.vector_matrix import header_of
from localproviders.testing import Exchange, FakeModel, FakeOllama, Refusal
from localproviders.testing.fake import vector_of
from tests.unit.cli.support import leftovers, run, start

_SIZE = 8


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.chdir(tmp_path)
    model = FakeModel(name="minilm", abilities=("embeddings",), dimensions=_SIZE, context_length=50)
    with FakeOllama([model]) as server:
        yield server


def _words(fake: FakeOllama, *words: str) -> List[str]:
    return ["embed", "-m", "minilm", "--host", f"ollama={fake.url}", *words]


def _embed(fake: FakeOllama, *words: str) -> int:
    return cli.main(_words(fake, *words))


def _lines(text: str) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _floats(data: bytes) -> List[float]:
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _matrix(data: bytes) -> Tuple[Tuple[int, int], List[float]]:
    """Return the shape and the numbers of a NumPy file, by the description of its format."""
    assert data[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack("<H", data[8:10])
    assert (10 + length) % 64 == 0
    header = data[10 : 10 + length]
    assert header.endswith(b"\n")
    described = ast.literal_eval(header.decode("ascii"))
    assert (described["descr"], described["fortran_order"]) == ("<f4", False)
    return described["shape"], _floats(data[10 + length :])


def _vector(text: str) -> List[float]:
    return list(array("f", vector_of(text, _SIZE)))


def _sent(fake: FakeOllama) -> List[List[str]]:
    return [each.json["input"] for each in fake.exchanges if each.path == "/api/embed"]


# --- lines ---------------------------------------------------------------------------------


def test_a_text_is_one_line_of_json(fake: FakeOllama) -> None:
    done = run(*_words(fake, "hello", "world and you"))

    assert (done.returncode, done.stderr) == (0, b"")
    (line,) = _lines(done.stdout.decode())
    assert list(line) == ["index", "embedding"]
    assert list(array("f", line["embedding"])) == _vector("hello world and you")


def test_rows_and_files_have_their_ids(fake: FakeOllama, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.csv").write_text("id,text\nk7,One\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(
        '{"custom_id": 0, "text": "Two"}\n"Three"\n', encoding="utf-8"
    )
    (tmp_path / "c.txt").write_text("Four\n", encoding="utf-8")
    assert _embed(fake, "-f", "a.csv", "-f", "b.jsonl", "-f", "c.txt", "--json") == 0

    lines = _lines(capsys.readouterr().out)
    assert [(line["index"], line.get("id")) for line in lines] == [
        (0, "k7"), (1, 0), (2, None), (3, "c.txt"),
    ]  # fmt: skip
    assert _sent(fake) == [["One", "Two", "Three", "Four\n"]]


def test_a_template_makes_the_texts(fake: FakeOllama, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("t\tb\nOne\tmore\n", encoding="utf-8")
    assert _embed(fake, "-f", "a.tsv", "--template", "{t}: {b}", "--dimensions", "4") == 0
    (sent,) = [each.json for each in fake.exchanges if each.path == "/api/embed"]
    assert (sent["input"], sent["dimensions"]) == (["One: more"], 4)


def test_a_number_is_written_so_that_it_is_the_same_32_bit_float(
    fake: FakeOllama, capsys: Any
) -> None:
    given = array("f", [1 / 3, 1e-30, -1.5e30, 16777217, 0.1, 3.4e-38, 2.0, 0.0])
    fake.poison("x", list(given))
    assert _embed(fake, "x") == 0
    (line,) = _lines(capsys.readouterr().out)
    assert array("f", line["embedding"]) == given


# --- matrices ------------------------------------------------------------------------------


def test_a_numpy_file_has_all_rows_in_order(fake: FakeOllama, tmp_path: Path) -> None:
    texts = [f"text number {number}" for number in range(150)]
    done = run(
        *_words(fake, "--input", "lines", "-o", "v.NPY", "--ids", "v.ids"),
        stdin="\n".join(texts).encode(),
        cwd=tmp_path,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    shape, numbers = _matrix((tmp_path / "v.NPY").read_bytes())
    assert shape == (150, _SIZE)
    assert numbers == [number for text in texts for number in _vector(text)]
    assert (tmp_path / "v.ids").read_text().splitlines() == [str(at) for at in range(150)]
    assert [len(sent) for sent in _sent(fake)] == [64, 64, 22]


def test_numpy_reads_the_file(fake: FakeOllama, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    (tmp_path / "in.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert _embed(fake, "-f", "in.txt", "--input", "lines", "-o", "v.npy") == 0
    found = numpy.load(tmp_path / "v.npy", allow_pickle=False)
    assert (found.shape, found.dtype) == ((2, _SIZE), numpy.dtype("<f4"))
    assert found.tolist() == [_vector("one"), _vector("two")]
    assert numpy.load(tmp_path / "v.npy", mmap_mode="r").shape == (2, _SIZE)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (10**18, 10**6)])
def test_a_header_has_the_same_length_for_every_shape(rows: int, columns: int) -> None:
    header = header_of(rows, columns)
    assert len(header) == 128
    assert _matrix(header) == ((rows, columns), [])


def test_a_file_of_floats_has_no_header(fake: FakeOllama, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\nü 1,One\n2,Two\n", encoding="utf-8")
    assert _embed(fake, "-f", "a.csv", "-o", "v.f32", "--ids", "v.ids") == 0
    assert _floats((tmp_path / "v.f32").read_bytes()) == [*_vector("One"), *_vector("Two")]
    assert (tmp_path / "v.ids").read_text(encoding="utf-8") == "ü 1\n2\n"


def test_lines_in_a_file(fake: FakeOllama, tmp_path: Path) -> None:
    assert _embed(fake, "one", "-o", "v.jsonl") == 0
    assert _lines((tmp_path / "v.jsonl").read_text())[0]["index"] == 0


def test_a_pipe_gets_floats_but_no_numpy_file(fake: FakeOllama, tmp_path: Path) -> None:
    for suffix, code in (("f32", 0), ("npy", 2)):
        path = tmp_path / f"pipe.{suffix}"
        subprocess.run(["mkfifo", str(path)], check=True)
        got: List[bytes] = []

        def read(path: Path = path, got: List[bytes] = got) -> None:
            got.append(path.read_bytes())

        reader = threading.Thread(target=read)
        reader.start()
        done = run(*_words(fake, "one", "-o", str(path)))
        reader.join(60)
        assert (suffix, done.returncode) == (suffix, code)
        assert _floats(got[0]) == (_vector("one") if code == 0 else [])
    assert b"use -o FILE.f32" in done.stderr


def test_memory_does_not_grow_with_the_number_of_rows(fake: FakeOllama, tmp_path: Path) -> None:
    """The texts are read and sent in batches: the first request comes before the last row."""
    with start(
        *_words(fake, "--input", "lines", "-o", "v.f32"), stdin=subprocess.PIPE, cwd=tmp_path
    ) as process:
        for number in range(65):
            process.stdin.write(f"text {number}\n".encode())
        process.stdin.flush()
        while not _sent(fake):
            assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 0
    assert [len(sent) for sent in _sent(fake)] == [64, 1]


def test_long_texts_are_sent_in_small_requests(fake: FakeOllama, tmp_path: Path) -> None:
    texts = ["a" * 60_000, "b" * 60_000, "c" * 30_000]
    (tmp_path / "in.txt").write_text("\n".join(texts), encoding="utf-8")
    assert _embed(fake, "-f", "in.txt", "--input", "lines", "-o", "v.f32") == 0
    assert [len(sent) for sent in _sent(fake)] == [1, 2]


# --- failures ------------------------------------------------------------------------------


def _rows(tmp_path: Path, *texts: str) -> None:
    lines = [json.dumps({"id": f"id {at}", "text": text}) for at, text in enumerate(texts)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_a_text_that_fails_is_a_line_with_its_error(
    fake: FakeOllama, tmp_path: Path, capsys: Any
) -> None:
    fake.poison("two")
    _rows(tmp_path, "one", "two", "three", "long " * 60)
    assert _embed(fake, "-f", "in.jsonl", "-o", "out.jsonl", "--ids", "ids") == 12

    lines = _lines((tmp_path / "out.jsonl").read_text())
    assert [line["id"] for line in lines] == ["id 0", "id 1", "id 2", "id 3"]
    assert [line.get("error", {}).get("error") for line in lines] == [
        None, "EmbeddingError", None, "ContextOverflowError",
    ]  # fmt: skip
    assert lines[1]["input"] == "line 2 of in.jsonl" and "embedding" not in lines[1]
    assert "NaN" in lines[1]["error"]["message"]
    assert (tmp_path / "ids").read_text().count("\n") == 4
    assert "2 of 4 inputs failed (hint: grep" in capsys.readouterr().err


def test_the_last_text_of_a_batch_of_its_own_may_fail(
    fake: FakeOllama, tmp_path: Path, capsys: Any
) -> None:
    fake.poison("last")
    _rows(tmp_path, *["one"] * 64, "last")
    assert _embed(fake, "-f", "in.jsonl") == 12
    assert ["error" in line for line in _lines(capsys.readouterr().out)] == [False] * 64 + [True]


def test_texts_that_are_all_too_long_are_lines(
    fake: FakeOllama, tmp_path: Path, capsys: Any
) -> None:
    _rows(tmp_path, "long " * 60, "longer " * 70)
    assert _embed(fake, "-f", "in.jsonl") == 12
    lines = _lines(capsys.readouterr().out)
    assert [line["input"] for line in lines] == ["line 1 of in.jsonl", "line 2 of in.jsonl"]
    assert {line["error"]["error"] for line in lines} == {"ContextOverflowError"}
    assert _embed(fake, "-f", "in.jsonl", "--truncate") == 0


def test_a_text_that_fails_leaves_no_matrix(fake: FakeOllama, tmp_path: Path, capsys: Any) -> None:
    fake.poison("two")
    _rows(tmp_path, "one", "two", "three")
    assert _embed(fake, "-f", "in.jsonl", "-o", "out.npy", "--ids", "ids") == 10

    said = capsys.readouterr().err
    assert "EmbeddingError: line 2 of in.jsonl: " in said and said.count("\n") == 1
    assert "hint: -o FILE.jsonl keeps the vectors of the other inputs" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_single_text_that_fails_has_the_exit_code_of_its_error(
    fake: FakeOllama, capsys: Any
) -> None:
    fake.poison("two")
    assert _embed(fake, "two") == 10
    assert _embed(fake, "long " * 60) == 9
    assert capsys.readouterr().out == ""


def test_a_server_that_refuses_the_first_text_ends_the_run(
    fake: FakeOllama, tmp_path: Path, capsys: Any
) -> None:
    fake.poison("one", Refusal(status="400 Bad Request", body={"error": "no"}))
    _rows(tmp_path, "one")
    assert _embed(fake, "-f", "in.jsonl") == 7
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", ["jsonl", "npy", "f32"])
def test_vectors_of_different_lengths_are_an_error(
    fake: FakeOllama, tmp_path: Path, capsys: Any, suffix: str
) -> None:
    _rows(tmp_path, *["one"] * 64, "other")
    fake.poison("other", [1.0, 2.0])
    assert _embed(fake, "-f", "in.jsonl", "-o", f"v.{suffix}", "--ids", "ids") == 7
    said = capsys.readouterr().err
    assert f"the vector of line 65 of in.jsonl has 2 numbers instead of {_SIZE}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


# --- bad input -----------------------------------------------------------------------------

#: By name: the arguments, and words of the error.
_WRONG = {
    "an unknown suffix": (["x", "-o", "v.np"], "has no known suffix; did you mean '.npy'"),
    "no suffix": (["x", "-o", "v"], "use one of .jsonl, .npy, .f32"),
    "JSON and a matrix": (["x", "-o", "v.npy", "--json"], "--json and -o 'v.npy'"),
    "ids on standard output": (["x", "--ids", "-"], "is also the file for the vectors"),
    "ids in the vectors": (["x", "-o", "v.f32", "--ids", "./v.f32"], "the file for the vectors"),
    "existing vectors": (["x", "-o", "old.npy", "--ids", "new"], "'old.npy' exists already"),
    "existing ids": (["x", "-o", "v.npy", "--ids", "old.ids"], "'old.ids' exists already"),
    "no folder": (["x", "-o", "no/v.npy"], "'no/v.npy' cannot be written"),
    "an id with a line feed": (["-f", "id.jsonl", "-o", "v.npy", "--ids", "i"], "has a line feed"),
    "an empty text": (["-f", "empty.jsonl"], "line 1 of empty.jsonl is empty"),
    "a row without a text": (["-f", "row.jsonl"], "line 1 of row.jsonl is no text"),
    "a missing field": (["-f", "row.jsonl", "--template", "{c}"], "has no value for {c}"),
    "no dimensions": (["x", "--dimensions", "0"], "'0' is no whole number of at least 1"),
    "no digest": (["x", "--expect-digest", "xyz"], "'xyz' is not 12 to 64 hexadecimal digits"),
    "an option of chat": (["x", "--seed", "1"], "unknown option --seed"),
    "a text and a file": (["x", "-f", "row.jsonl"], "a text and -f cannot be used together"),
    "no UTF-8": (["-f", "latin.txt"], "byte 2 is not valid utf-8"),
    "an empty file": (["-f", "void.csv"], "void.csv has no rows"),
    "no input": (["--no-input"], "--no-input forbids reading standard input"),
}
_FILES = {
    "old.npy": b"old",
    "old.ids": b"old",
    "id.jsonl": b'{"id": "a\\nb", "text": "x"}\n',
    "empty.jsonl": b'""\n',
    "row.jsonl": b'{"a": "1", "b": "2"}\n',
    "latin.txt": b"ab\xe9",
    "void.csv": b"text\n",
}


@pytest.mark.parametrize("case", _WRONG)
def test_wrong_arguments_are_one_line(
    fake: FakeOllama, tmp_path: Path, capsys: Any, case: str
) -> None:
    for name, content in _FILES.items():
        (tmp_path / name).write_bytes(content)
    words, expected = _WRONG[case]

    assert _embed(fake, *words) == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == _FILES


def test_force_replaces_both_files(fake: FakeOllama, tmp_path: Path) -> None:
    for name in ("v.npy", "v.ids"):
        (tmp_path / name).write_bytes(b"old")
    assert _embed(fake, "one", "-o", "v.npy", "--ids", "v.ids", "--force") == 0
    assert _matrix((tmp_path / "v.npy").read_bytes()) == ((1, _SIZE), _vector("one"))
    assert (tmp_path / "v.ids").read_text() == "0\n"


def test_ids_on_standard_output_go_with_a_file(
    fake: FakeOllama, tmp_path: Path, capsys: Any
) -> None:
    _rows(tmp_path, "one")
    assert _embed(fake, "-f", "in.jsonl", "-o", "v.f32", "--ids", "-") == 0
    assert capsys.readouterr().out == "id 0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_its_own_exit_code(fake: FakeOllama, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = run(*_words(fake, "one"), stdout=full)
    assert (done.returncode, done.stderr.count(b"\n")) == (74, 1)
    (tmp_path / "full.f32").symlink_to("/dev/full")
    done = run(*_words(fake, "one", "-o", "full.f32"), cwd=tmp_path)
    assert done.returncode == 74 and b"No space left" in done.stderr


def test_ids_that_cannot_be_written_leave_no_vectors(fake: FakeOllama, tmp_path: Path) -> None:
    (tmp_path / "ids").symlink_to("/dev/full")
    done = run(*_words(fake, "one", "-o", "v.npy", "--ids", "ids"), cwd=tmp_path)
    assert done.returncode == 74
    assert [path.name for path in tmp_path.iterdir()] == ["ids"]


def test_a_reader_that_has_gone_is_no_error(fake: FakeOllama, tmp_path: Path) -> None:
    _rows(tmp_path, *["one"] * 2000)
    with start(*_words(fake, "-f", "in.jsonl"), cwd=tmp_path) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")
    assert len(_sent(fake)) < 2000 // 64


# --- a killed process ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_killed_run_leaves_no_output_and_no_request(
    fake: FakeOllama, tmp_path: Path, seed: int
) -> None:
    """The process is killed when the server reads the nth request, before or after its answer."""
    chosen = random.Random(seed)
    fatal, is_after = chosen.randint(1, 8), chosen.random() < 0.5
    (tmp_path / "in.txt").write_text("text\n" * (64 * 8), encoding="utf-8")
    killed: List[Any] = []

    def kill(exchange: Exchange) -> None:
        if len(_sent(fake)) == fatal and killed:
            killed[0].send_signal(signal.SIGKILL)
            if not is_after:
                exchange.hold(60)  # it ends when the connection does

    answer = fake.answer
    fake.answer = lambda exchange: (kill(exchange), answer(exchange))[1]  # type: ignore[method-assign]
    words = _words(
        fake, "-f", "in.txt", "--input", "lines", "-o", "v.npy", "--ids", "ids", "--lock", "lock"
    )
    with start(*words, cwd=tmp_path, stdout=None, stderr=None) as process:
        killed.append(process)
        assert process.wait(60) == -signal.SIGKILL
    assert fake.wait_for_connections(0)
    assert not (tmp_path / "v.npy").exists() and not (tmp_path / "ids").exists()
    assert leftovers(tmp_path)

    fake.answer = answer  # type: ignore[method-assign]
    assert run(*words, cwd=tmp_path).returncode == 0
    assert leftovers(tmp_path) == []
    assert _matrix((tmp_path / "v.npy").read_bytes())[0] == (64 * 8, _SIZE)
    assert fake.wait_for_connections(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_removes_the_incomplete_files(
    fake: FakeOllama, tmp_path: Path, number: int
) -> None:
    process: List[Any] = []

    def answer(exchange: Exchange, usual: Any = fake.answer) -> Any:
        if exchange.path == "/api/embed":
            process[0].send_signal(number)
            exchange.hold(60)
        return usual(exchange)

    fake.answer = answer  # type: ignore[method-assign]
    process.append(start(*_words(fake, "one", "-o", "v.npy", "--ids", "ids"), cwd=tmp_path))
    with process[0] as running:
        assert running.wait(60) == 128 + number
        assert running.stdout.read() == b""
    assert fake.wait_for_connections(0)
    assert list(tmp_path.iterdir()) == []


def test_every_format_has_a_writer_that_the_help_names() -> None:
    assert all(suffix in embed.VERBS["embed"].description for suffix in embed._WRITERS)


def test_ids_and_vectors_cannot_share_the_standard_output(capsys: Any) -> None:
    for words in (["--ids", "/dev/stdout"], ["--ids", "-", "-o", "/dev/fd/1"]):
        assert cli.main(["embed", "Hi", *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "is also the file for the vectors" in err
