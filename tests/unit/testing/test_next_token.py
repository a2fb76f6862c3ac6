"""The next-token probabilities of the fakes follow llama.cpp's rules for biases and samplers."""

from __future__ import annotations

import string
from math import exp
from typing import Any, Dict, Iterator, List

import pytest
import requests

from localproviders.testing import FakeLMStudio, FakeOllama, FakeOpenAICompatible, Reply

#: The free distribution that leads to the numbers of the recording `decide_bias_completion`.
_FREE = {" A": 0.0929, "\n": 0.1712, "A": 0.000590, "C": 0.0000591, "B": 0.0000496}
_LABELS = ("A", "B", "C")
_EXACT = {"post_sampling_probs": True, "samplers": ["temperature"], "temperature": 1.0}


@pytest.fixture
def fake() -> Iterator[FakeOpenAICompatible]:
    with FakeOpenAICompatible() as server:
        server.usual = Reply(first_token=_FREE)
        yield server


def _post(server: Any, path: str, **body: Any) -> Any:
    answer = requests.post(server.url + path, json=body, timeout=5)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _complete(server: Any, **fields: Any) -> Any:
    """Return the entry of the first token of a completion in llama.cpp's own form."""
    body = {"prompt": "Answer:", "n_predict": 1, "n_probs": 20, **fields}
    return _post(server, "/completion", **body)["completion_probabilities"][0]


def _chat(server: Any, **fields: Any) -> Any:
    """Return the entry of the first token of a chat."""
    messages = [{"role": "user", "content": "Answer:"}]
    body = {"messages": messages, "max_tokens": 1, "logprobs": True, "top_logprobs": 20, **fields}
    (choice,) = _post(server, "/v1/chat/completions", **body)["choices"]
    assert choice["message"]["content"] == choice["logprobs"]["content"][0]["token"]
    return choice["logprobs"]["content"][0]


def _ids(server: Any, *texts: str) -> List[int]:
    found = [_post(server, "/tokenize", content=text)["tokens"] for text in texts]
    assert all(len(ids) == 1 for ids in found)
    return [ids[0] for ids in found]


def _by_token(rows: Any, name: str) -> Dict[str, float]:
    return {row["token"]: row[name] for row in rows}


def test_equal_bias_leaves_the_options_alone_with_their_ratios(fake: FakeOpenAICompatible) -> None:
    ids = _ids(fake, *_LABELS)
    entries = (
        _complete(fake, **_EXACT, logit_bias=[[id_, 100] for id_ in ids]),
        _complete(fake, **_EXACT, logit_bias=[[label, 100] for label in _LABELS]),
        _chat(fake, **_EXACT, logit_bias={str(id_): 100 for id_ in ids}),
    )
    for entry in entries:
        found = _by_token(entry["top_probs"][:3], "prob")
        assert list(found) == ["A", "C", "B"]
        assert sum(found.values()) == pytest.approx(1.0)
        assert found["A"] == pytest.approx(0.8445, abs=1e-3)
        assert found["B"] == pytest.approx(0.0709, abs=1e-3)
        assert (entry["token"], entry["prob"]) == ("A", found["A"])
        assert entry["top_probs"][3]["prob"] < 1e-38


def test_the_free_distribution_has_no_bias(fake: FakeOpenAICompatible) -> None:
    ids = _ids(fake, *_LABELS)
    for fields in ({}, {"logit_bias": [[id_, 100] for id_ in ids]}, {"temperature": 0}):
        rows = _complete(fake, n_probs=100, **fields)["top_logprobs"]
        found = {token: exp(value) for token, value in _by_token(rows, "logprob").items()}
        assert len(found) == 100
        assert {token: found[token] for token in _FREE} == pytest.approx(_FREE)
        assert sum(found.values()) <= 1.0
    assert "A" not in _by_token(_chat(fake)["top_logprobs"], "logprob")
    assert "A" in _by_token(_chat(fake, top_logprobs=100)["top_logprobs"], "logprob")


def test_the_usual_samplers_change_the_numbers(fake: FakeOpenAICompatible) -> None:
    labels = [[id_, 100] for id_ in _ids(fake, *_LABELS)]
    entry = _complete(fake, post_sampling_probs=True, logit_bias=labels)
    found = _by_token(entry["top_probs"], "prob")
    assert list(found) == ["A", "C", "B"]
    assert found["A"] == pytest.approx(0.9078, abs=1e-3)  # as in `decide_default_samplers`
    for fields, kept in (({"top_k": 1}, 1), ({"top_p": 0.9}, 2), ({"min_p": 0.09}, 2)):
        entry = _complete(fake, post_sampling_probs=True, logit_bias=labels, **fields)
        assert len(entry["top_probs"]) == kept, fields


def test_temperature_zero_leaves_the_winner_alone(fake: FakeOpenAICompatible) -> None:
    entry = _complete(fake, post_sampling_probs=True, temperature=0)
    assert _by_token(entry["top_probs"], "prob") == {"\n": 1.0}
    forbidden = [[_ids(fake, "A")[0], False]]
    rows = _complete(fake, **_EXACT, n_probs=100, logit_bias=forbidden)["top_probs"]
    assert _by_token(rows, "prob").get("A", 0.0) == 0.0


def test_without_a_script_a_chat_model_hardly_means_a_label() -> None:
    with FakeOpenAICompatible() as server:
        ids = _ids(server, *_LABELS)
        bias = [[id_, 100] for id_ in ids]
        first = _complete(server, **_EXACT, n_probs=3, logit_bias=bias)
        assert sum(row["prob"] for row in first["top_probs"]) == pytest.approx(1.0)
        assert {row["token"] for row in first["top_probs"]} == set(_LABELS)
        assert first == _complete(server, **_EXACT, n_probs=3, logit_bias=bias)
        free = _by_token(_complete(server, n_probs=100)["top_logprobs"], "logprob")
        assert next(iter(free)) == "Hello"
        assert not set(free) & set(_LABELS)


def test_tokens_have_one_id_everywhere(fake: FakeOpenAICompatible) -> None:
    rows = _post(fake, "/tokenize", content="A B", with_pieces=True)["tokens"]
    assert [row["piece"] for row in rows] == ["A", " B"]
    assert [row["id"] for row in rows] == _post(fake, "/tokenize", content="A B")["tokens"]
    assert rows[0]["id"] == _ids(fake, "A")[0] != _ids(fake, " A")[0]
    assert _post(fake, "/tokenize", content=" ") == _post(fake, "/tokenize") == {"tokens": []}
    listed = {row["token"]: row["id"] for row in _complete(fake, n_probs=100)["top_logprobs"]}
    assert listed["A"] == rows[0]["id"]
    assert len({*_ids(fake, *string.ascii_letters, *string.digits)}) == 62


def test_a_line_break_is_a_token_of_its_own(fake: FakeOpenAICompatible) -> None:
    rows = _post(fake, "/tokenize", content="\nA\n A B", with_pieces=True)["tokens"]
    assert [row["piece"] for row in rows] == ["\n", "A", "\n", " A", " B"]
    assert [rows[1]["id"], rows[3]["id"]] == _ids(fake, "A", " A")


def test_a_bias_names_a_token_by_its_id_or_its_text(fake: FakeOpenAICompatible) -> None:
    (id_,) = _ids(fake, "7")
    for bias in ([["7", 100]], [[id_, 100]], {str(id_): 100}, {"7": 100, str(id_): 99}):
        assert _complete(fake, **_EXACT, logit_bias=bias)["token"] == "7", bias
    assert _complete(fake, **_EXACT, logit_bias={"7": 100})["token"] == "\n"  # no such id


def test_a_stream_has_the_entries_too(fake: FakeOpenAICompatible) -> None:
    fake.usual = Reply(text="x y", first_token={"A": 0.75})
    messages = [{"role": "user", "content": "Answer:"}]
    body = {"messages": messages, "logprobs": True, "top_logprobs": 1, "stream": True}
    text = requests.post(fake.url + "/v1/chat/completions", json=body, timeout=5).text
    assert '"content": "A"' in text
    assert '"content": " y"' in text
    assert text.count('"top_logprobs"') == 2


def test_a_completion_in_llama_cpps_own_form(fake: FakeOpenAICompatible) -> None:
    fake.usual = Reply(text="one two three")
    answer = _post(fake, "/completion", prompt="Count to 3:", n_predict=2)
    assert (answer["content"], answer["stop_type"]) == ("one two", "limit")
    assert (answer["tokens_evaluated"], answer["tokens_predicted"]) == (3, 2)
    assert "completion_probabilities" not in answer
    fields = ["content", "stop_type", "nonsense"]
    answer = _post(fake, "/completion", prompt="Count:", response_fields=fields)
    assert answer == {"content": "one two three", "stop_type": "eos"}
    fields = ["content", "index"]
    several = _post(fake, "/completion", prompt=["a", "b"], n_predict=1, response_fields=fields)
    assert several == [{"content": "one", "index": at} for at in (0, 1)]


def test_ollama_lists_the_scripted_probabilities() -> None:
    with FakeOllama() as server:
        server.usual = Reply(first_token={"A": 0.5, "B": 0.25})
        body: Any = {
            "model": "llama3.2",
            "messages": [{"role": "user", "content": "Answer:"}],
            "stream": False,
            "logprobs": True,
        }
        answer = _post(server, "/api/chat", **body, top_logprobs=20)
        assert answer["message"]["content"].startswith("A")
        first, second, *_ = answer["logprobs"]
        found = _by_token(first["top_logprobs"], "logprob")
        assert (exp(found["A"]), exp(found["B"])) == (pytest.approx(0.5), pytest.approx(0.25))
        assert len(found) == 20
        assert set(first) == {"token", "logprob", "bytes", "top_logprobs"} == set(second)
        assert "top_logprobs" not in _post(server, "/api/chat", **body)["logprobs"][0]


def test_lmstudio_has_no_probabilities() -> None:
    with FakeLMStudio() as server:
        server.usual = Reply(first_token={"A": 0.5})
        messages = [{"role": "user", "content": "Answer:"}]
        body = {"model": "qwen/qwen3-4b", "messages": messages, "logprobs": True}
        (choice,) = _post(server, "/v1/chat/completions", **body)["choices"]
        assert choice["logprobs"] is None
        answer = requests.post(server.url + "/completion", json={"prompt": "x"}, timeout=5)
        assert "Unexpected endpoint" in answer.json()["error"]
