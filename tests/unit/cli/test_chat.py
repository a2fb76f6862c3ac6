"""The verb ``chat`` as a filter: its options in the request, its inputs, its session."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from localproviders import cli
from localproviders.conversation import Conversation
from localproviders.testing import FakeLlamaCpp, FakeModel, FakeOllama, Reply
from tests.unit.cli.support import environment, leftovers, run, start

# A picture of one pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "000002000001e221bc330000000049454e44ae426082"
)
DIGEST = "d" * 64


@pytest.fixture
def ollama(monkeypatch: Any, tmp_path: Path) -> Iterator[FakeOllama]:
    abilities = ("chat", "completion", "thinking", "vision")
    model = FakeModel(name="m", abilities=abilities, digest=DIGEST, context_length=100)
    with FakeOllama([model]) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        monkeypatch.setenv("LOCALPROVIDERS_MODEL", "ollama/m")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.txt").write_text("First.", encoding="utf-8")
        (tmp_path / "b.txt").write_text("Second.", encoding="utf-8")
        (tmp_path / "one.png").write_bytes(PNG)
        (tmp_path / "rows.csv").write_text("title,body\nA,a\nB,b\n", encoding="utf-8")
        yield server


def _sent(server: Any, path: str = "/api/chat") -> List[Dict[str, Any]]:
    """Return the requests for answers, without the ends of their texts."""
    return [exchange.json for exchange in server.exchanges if exchange.path == path]


def _texts(server: Any) -> List[str]:
    return [request["messages"][-1]["content"] for request in _sent(server)]


class TestOptions:
    @pytest.mark.parametrize(
        ("words", "where", "value"),
        [
            (["--max-tokens", "7"], ("options", "num_predict"), 7),
            (["--temperature", "0.5"], ("options", "temperature"), 0.5),
            (["--seed", "3"], ("options", "seed"), 3),
            (["--thinking", "off"], ("think",), False),
            (["--thinking", "on"], ("think",), True),
            (["--thinking", "high"], ("think",), "high"),
        ],
    )
    @pytest.mark.parametrize("session", [[], ["--session", "s.jsonl"]])
    def test_an_option_is_in_the_request(
        self, words: List[str], where: Any, value: Any, session: List[str], ollama: FakeOllama
    ) -> None:
        assert cli.main(["chat", "Hi", *session]) == 0
        assert cli.main(["chat", "Hi", *words, *session]) == 0
        before, after = _sent(ollama)
        for name in where:
            before, after = before.get(name, {}), after[name]
        assert after == value != before

    @pytest.mark.parametrize("session", [[], ["--session", "s.jsonl"]])
    def test_a_system_message_and_an_image(
        self, session: List[str], ollama: FakeOllama, capsys: Any
    ) -> None:
        words = ["--system", "Be brief.", "--image", "one.png", *session]
        assert cli.main(["chat", "What is it?", *words]) == 0
        first, last = _sent(ollama)[0]["messages"]
        assert first == {"role": "system", "content": "Be brief."}
        assert last["content"] == "What is it?"
        assert len(last["images"]) == 1
        assert capsys.readouterr().out == "Hello there, friend.\n"

    @pytest.mark.parametrize("session", [[], ["--session", "s.jsonl"]])
    def test_a_grammar(self, session: List[str], monkeypatch: Any, tmp_path: Path) -> None:
        (tmp_path / "g.gbnf").write_text('root ::= "yes"\n', encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        with FakeLlamaCpp(["m"]) as server:
            words = ["--host", f"llamacpp={server.url}", "-m", "m", "--grammar", "g.gbnf"]
            assert cli.main(["chat", "Hi", *words, *session]) == 0
            assert _sent(server, "/v1/chat/completions")[0]["grammar"] == 'root ::= "yes"\n'

    @pytest.mark.parametrize(("digest", "status"), [(DIGEST, 0), ("e" * 64, 8)])
    def test_an_expected_digest(
        self, digest: str, status: int, ollama: FakeOllama, capsys: Any
    ) -> None:
        words = ["--expect-digest", digest, "--session", "s.jsonl"]
        assert cli.main(["chat", "Hi", *words]) == status
        assert bool(capsys.readouterr().out) == (status == 0)
        assert os.path.exists("s.jsonl") == (status == 0)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--image", "none.png"], "'none.png' cannot be read as an image: No such file"),
            (["--image", "a.txt"], "'a.txt' cannot be read as an image"),
            (["--grammar", "none.gbnf"], "'none.gbnf' cannot be read: No such file"),
            (["-f", "none.txt"], "'none.txt' cannot be read: No such file"),
            (["--template", "{title}"], "the text has no value for {title}"),
            (["--template", "{", "-f", "rows.csv"], "template"),
        ],
    )
    def test_what_cannot_be_used_is_one_line_and_leaves_no_file(
        self, words: List[str], said: str, ollama: FakeOllama, capsys: Any
    ) -> None:
        assert cli.main(["chat", "Hi", *words, "--session", "s.jsonl", "-o", "out.txt"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert said in err
        assert _sent(ollama) == []
        assert not {"s.jsonl", "out.txt"} & {*os.listdir(".")}
        assert leftovers(Path()) == []


class TestInputs:
    def test_each_file_is_an_input_after_the_text(self, ollama: FakeOllama, capsys: Any) -> None:
        ollama.reply_with("one", "two")
        assert cli.main(["chat", "Summarize.", "-f", "a.txt", "-f", "b.txt"]) == 0
        assert _texts(ollama) == ["Summarize.\n\nFirst.", "Summarize.\n\nSecond."]
        assert capsys.readouterr().out == "one\ntwo\n"

    def test_each_row_fills_the_template(self, ollama: FakeOllama) -> None:
        words = ["-f", "rows.csv", "--template", "{title}: {body}"]
        assert cli.main(["chat", "Sort.", *words]) == 0
        assert _texts(ollama) == ["Sort.\n\nA: a", "Sort.\n\nB: b"]

    def test_a_pipe_follows_the_text(self, ollama: FakeOllama) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        done = run("chat", "-m", "ollama/m", "Review", "this.", stdin=b"+ a line\n", env=env)
        assert (done.returncode, done.stderr) == (0, b"")
        assert _texts(ollama) == ["Review this.\n\n+ a line\n"]

    def test_an_empty_pipe_is_no_input(self, ollama: FakeOllama) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        done = run("chat", "-m", "ollama/m", stdin=b"", env=env)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"standard input is empty" in done.stderr

    def test_the_answers_before_an_error_are_written(self, ollama: FakeOllama, capsys: Any) -> None:
        assert cli.main(["chat", "-f", "a.txt", "-f", "none.txt"]) == 2
        assert capsys.readouterr().out == "Hello there, friend.\n"

    def test_json_is_a_line_for_each_input(self, ollama: FakeOllama, capsys: Any) -> None:
        ollama.reply_with(Reply(text="one", thinking="Well."), "two")
        assert cli.main(["chat", "-f", "a.txt", "-f", "b.txt", "--json"]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each["text"] for each in found] == ["one", "two"]
        assert found[0]["thinking"] == "Well."


class TestSession:
    def test_a_conversation_goes_on(self, ollama: FakeOllama, capsys: Any) -> None:
        ollama.reply_with("Blue.", "Black.")
        words = ["--session", "s.jsonl"]
        assert cli.main(["chat", "By day?", *words, "--system", "Be brief."]) == 0
        assert cli.main(["chat", "At night?", *words]) == 0
        assert capsys.readouterr() == ("Blue.\nBlack.\n", "")
        assert _sent(ollama)[1]["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "By day?"},
            {"role": "assistant", "content": "Blue."},
            {"role": "user", "content": "At night?"},
        ]
        assert len(Conversation.load("s.jsonl").messages) == 4

    @pytest.mark.parametrize(
        ("system", "sent"), [("Be rude.", ["Be rude."]), ("", [])], ids=["replace", "remove"]
    )
    def test_the_system_message_may_change(
        self, system: str, sent: List[str], ollama: FakeOllama
    ) -> None:
        words = ["chat", "Hi", "--session", "s.jsonl", "--system"]
        assert cli.main([*words, "Be brief."]) == 0
        assert cli.main([*words, system]) == 0
        messages = _sent(ollama)[1]["messages"]
        assert [each["content"] for each in messages if each["role"] == "system"] == sent
        assert len(messages) == len(sent) + 3

    def test_each_input_is_a_turn(self, ollama: FakeOllama) -> None:
        words = ["--session", "s.jsonl", "-f", "a.txt", "-f", "b.txt"]
        assert cli.main(["chat", *words]) == 0
        assert [len(request["messages"]) for request in _sent(ollama)] == [1, 3]

    def test_a_filter_with_json_and_a_file(self, ollama: FakeOllama) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        words = ["-m", "ollama/m", "--session", "s.jsonl", "--json", "-o", "out.jsonl"]
        done = run("chat", "Review.", *words, stdin=b"a line", env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert json.loads(Path("out.jsonl").read_text())["text"] == "Hello there, friend."
        assert Conversation.load("s.jsonl").messages[0].content == "Review.\n\na line"

    def test_it_says_what_it_leaves_out(self, ollama: FakeOllama, capsys: Any) -> None:
        with Conversation("s.jsonl") as conversation:
            for number in range(20):
                conversation.add(
                    [
                        {"role": "user", "content": f"{number} " + "word " * 50},
                        {"role": "assistant", "content": "word " * 50},
                    ]
                )
        assert cli.main(["chat", "Hi", "--session", "s.jsonl", "--max-tokens", "20"]) == 0
        out, err = capsys.readouterr()
        assert out == "Hello there, friend.\n"
        assert "chat: warning: the oldest" in err
        assert "of 40 earlier messages were left out" in err
        assert len(_sent(ollama)[-1]["messages"]) < 41
        assert cli.main(["chat", "Hi", "--session", "s.jsonl", "--max-tokens", "20", "-q"]) == 0
        assert capsys.readouterr().err == ""

    def test_one_process_at_a_time(self, ollama: FakeOllama) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        ollama.break_next("body stalled")
        words = ["-m", "ollama/m", "--session", "s.jsonl"]
        with start("chat", "Hi", *words, env=env) as process:
            assert process.stdout.read(1)
            second = run("chat", "Hi", *words, env=env)
            process.send_signal(signal.SIGTERM)
        assert second.returncode == 75
        assert (second.stdout, second.stderr.count(b"\n")) == (b"", 1)
        assert process.returncode == 143
        assert run("chat", "Hi", *words, env=env).returncode == 0

    def test_the_lock_may_be_waited_for(self, ollama: FakeOllama) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        conversation = Conversation("s.jsonl")
        words = ["-m", "ollama/m", "--session", "s.jsonl", "--lock-wait", "60s"]
        with start("chat", "Hi", *words, "-v", env=env) as process:
            conversation.close()
            assert process.stdout.read() == b"Hello there, friend.\n"
        assert process.returncode == 0

    def test_a_failed_call_leaves_no_new_file_and_an_old_one_as_it_was(
        self, ollama: FakeOllama, capsys: Any
    ) -> None:
        for _ in range(2):
            ollama.break_next("body cut")
            assert cli.main(["chat", "Hi", "--session", "s.jsonl"]) == 5
            assert not os.path.exists("s.jsonl")
            Path("old.jsonl").touch()
            assert cli.main(["chat", "Hi", "--session", "old.jsonl"]) == 0
            before = Path("old.jsonl").read_bytes()
            ollama.break_next("body cut")
            assert cli.main(["chat", "Hi", "--session", "old.jsonl"]) == 5
            assert Path("old.jsonl").read_bytes() == before

    def test_a_server_that_is_gone(self, ollama: FakeOllama, capsys: Any) -> None:
        with ollama.down():
            assert cli.main(["chat", "Hi", "--session", "s.jsonl"]) == 5
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("localproviders chat: UnreachableError: ")

    def test_an_incomplete_line_is_said_and_replaced(self, ollama: FakeOllama, capsys: Any) -> None:
        assert cli.main(["chat", "Hi", "--session", "s.jsonl"]) == 0
        line = Path("s.jsonl").read_bytes()
        Path("s.jsonl").write_bytes(line + line[: len(line) // 2])
        assert cli.main(["chat", "Hi", "--session", "s.jsonl"]) == 0
        assert "warning: line 2 of 's.jsonl' is incomplete" in capsys.readouterr().err
        assert len(Conversation.load("s.jsonl").messages) == 4

    @pytest.mark.parametrize(
        ("content", "status", "said"),
        [("no json\n", 2, "the file is no conversation"), ("GOOD\nno json\n", 15, "line 2 of")],
    )
    def test_a_file_that_cannot_be_used(
        self, content: str, status: int, said: str, ollama: FakeOllama, capsys: Any
    ) -> None:
        assert cli.main(["chat", "Hi", "--session", "s.jsonl"]) == 0
        good = Path("s.jsonl").read_text().rstrip("\n")
        Path("s.jsonl").write_text(content.replace("GOOD", good))
        capsys.readouterr()
        assert cli.main(["chat", "Hi", "--session", "s.jsonl"]) == status
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert said in err
        assert Path("s.jsonl").read_text() == content.replace("GOOD", good)

    def test_the_host_and_the_session_are_independent(self, ollama: FakeOllama) -> None:
        with FakeOllama(["other"]) as second:
            assert cli.main(["chat", "Hi", "--session", "s.jsonl"]) == 0
            host = ["--host", f"ollama={second.url}", "-m", "other"]
            assert cli.main(["chat", "Hi", "--session", "s.jsonl", *host]) == 0
            assert len(_sent(second)[0]["messages"]) == 3

    @pytest.mark.skipif(sys.platform == "win32", reason="needs limits of processes")
    def test_a_full_disk(self, ollama: FakeOllama) -> None:
        import resource  # not on Windows

        env = environment(OLLAMA_HOST=ollama.url, PYTHONDONTWRITEBYTECODE="1")
        limit = 10

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = run(
            "chat", "Hi", "-m", "ollama/m", "--session", "s.jsonl", env=env, preexec_fn=limited
        )
        assert done.returncode == 74
        assert done.stdout == b"Hello there, friend.\n"
        assert done.stderr.startswith(b"localproviders chat: 's.jsonl' cannot be written:")
        assert done.stderr.count(b"\n") == 1
        assert run("chat", "Hi", "-m", "ollama/m", "--session", "s.jsonl", env=env).returncode == 0
        assert len(Conversation.load("s.jsonl").messages) == 2
