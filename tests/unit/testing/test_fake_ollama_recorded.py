"""The fake Ollama answers recorded requests as the real server did: status, media type, fields."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, List, NamedTuple

import requests

from localproviders import ToolCall
from localproviders.testing import FakeModel, FakeOllama, Reply

_DATA = Path(__file__).parents[2] / "data" / "ollama"

#: Recordings that the fake cannot answer, and the reason.
_LEFT_OUT = {
    "busy_503": "several requests at once",
    "runner_killed_midstream": "a killed runner",
    "chat_toolong": "the runner counts other tokens",
    "chat_toolong_shift_false": "the request is shortened",
    "chat_toolong_truncate_false": "the request is shortened",
    "chat_toolong_truncate_false_stream": "the request is shortened",
    "generate_toolong": "the runner counts other tokens",
    "host_bad": "the fake checks no Host header",
    "create_from_404": "another registry",
    "pull_nohost": "another registry",
    "pull_ok": "another registry",
}
_CALL = ToolCall(id="call_1", name="get_weather", arguments={"city": "Paris"})
_MODELS = [
    FakeModel(name="all-minilm", abilities=("embeddings",)),
    FakeModel(name="gemma3:270m", abilities=("chat", "completion")),
    FakeModel(name="gemma3-think:270m", abilities=("chat", "completion", "thinking")),
    FakeModel(name="gemma3-tools:270m"),
    FakeModel(name="gemma3-tooljson:270m"),
]
# Fields of facts about models that other models of the server had, or that the fake does not know.
_OTHER_FACTS = {"system", "parameters", "projector_info", "template"}


class Recording(NamedTuple):
    """A request, and the response of the real server."""

    method: str
    path: str
    body: str
    status: int
    media: str
    answer: str


def _read(name: str) -> Recording:
    text = (_DATA / f"{name}.txt").read_text(encoding="utf-8")
    command, _, rest = text.partition("\n")
    found = re.match(r"\$ curl (-I |-X DELETE )?(\S+)(?: -d (.*))?", command)
    assert found is not None, command
    option, path, body = (group or "" for group in found.groups())
    method = {"-I ": "HEAD", "-X DELETE ": "DELETE"}.get(option, "POST" if body else "GET")
    head, _, answer = rest.partition("\n\n")
    media = re.search(r"(?m)^Content-Type: (.*)$", head)
    answer = answer.replace("[curl exit 0]", "")
    return Recording(
        method, path, body, int(head.split()[1]), media.group(1) if media else "", answer.strip()
    )


def _reply_for(body: str) -> Reply:
    if '"tools"' in body:
        return Reply(text="", tool_calls=(_CALL,))
    return Reply(text="", thinking="Let me see.") if '"think"' in body else Reply()


def _values(text: str) -> List[Any]:
    """Return the JSON values of a body; its text if it is not JSON."""
    lines = [line.replace("data: ", "", 1) for line in text.splitlines() if line]
    try:
        return [line if line == "[DONE]" else json.loads(line) for line in lines]
    except ValueError:
        return [text]


def _shape(value: Any) -> Any:
    """Return the names of the fields of a value, and the types of their values."""
    if isinstance(value, dict):
        if set(value) == {"error"} or "status" in value:
            return re.sub(r"[0-9a-f]{64}", "", str(value))
        names = sorted(set(value) - _OTHER_FACTS)
        named = "model_info", "arguments"
        return {name: ... if name in named else _shape(value[name]) for name in names}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _shapes(text: str) -> List[Any]:
    """Return the shapes of the records, each once, because the number of words differs."""
    found: List[Any] = []
    for value in _values(text):
        shape = value if isinstance(value, str) else _shape(value)
        if shape not in found:
            found.append(shape)
    return found


def _answer(fake: FakeOllama, session: requests.Session, real: Recording) -> requests.Response:
    fake.loaded.clear()
    fake.usual = _reply_for(real.body)
    return session.request(real.method, fake.url + real.path, data=real.body.encode())


def test_the_fake_answers_as_it_was_recorded() -> None:
    names = sorted(path.stem for path in _DATA.glob("*.txt"))
    assert set(_LEFT_OUT) < set(names)
    differences = []
    with FakeOllama(_MODELS) as fake, requests.Session() as session:
        session.trust_env = False
        fake.cloud_disabled = True
        for name in names:
            if name in _LEFT_OUT:
                continue
            real = _read(name)
            answer = _answer(fake, session, real)
            made = (answer.status_code, answer.headers.get("Content-Type", ""))
            if made != (real.status, real.media):
                differences.append(f"{name}: {made} is not {real.status, real.media}")
            if _shapes(answer.text) != _shapes(real.answer):
                differences.append(f"{name}:\n  {_shapes(answer.text)}\n  {_shapes(real.answer)}")
    assert differences == [], "\n".join(differences)
