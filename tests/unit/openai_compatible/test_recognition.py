"""Recognition of programs: no answer makes it fail, and a damaged greeting tells no other name."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders.discovery.probe import Reply
from localproviders.openai_compatible.recognition import identify, is_model_list
from localproviders.openai_compatible.wire.products import PRODUCTS
from localproviders.testing.products import GREETINGS, FakeProduct

#: The programs whose proxies pass on what other programs say about themselves.
_PROXIES = {"LiteLLM"}

#: The names that a program may have if its own sign is missing. A llamafile is a llama.cpp.
_OTHER_NAMES = {"llamafile": {"llama.cpp"}}

_PATHS = sorted({sign.path for product in PRODUCTS for way in product.ways for sign in way})
_NOT_FOUND = Reply(status=404, refusal={"detail": "Not Found"})


class _Replies:
    """A server that answers from a table."""

    def __init__(self, replies: Mapping[str, Reply]) -> None:
        self._replies = replies

    def ask(self, path: str) -> Reply:
        return self._replies.get(path, _NOT_FOUND)


def _replies_of(name: str) -> Dict[str, Reply]:
    """Return the responses of a program without starting it."""
    greeting = GREETINGS[name]
    headers = dict(greeting.headers)
    fake = FakeProduct(name, ["m"])
    routes = fake.routes()
    fake.stop()
    found: Dict[str, Reply] = {}
    for (method, path), route in routes.items():
        if method == "GET":
            answer = route(None)  # type: ignore[arg-type]  # no route of a greeting reads it
            status, text = int(answer.status.split()[0]), answer.texts[0]
            ok = status == 200
            refusal = json.loads(text) if not ok and text.startswith("{") else {}
            found[path] = Reply(text if ok else "", None, status, headers, refusal)
    missing = int(greeting.missing[0].split()[0])
    return {
        **{path: Reply(status=missing, headers=headers, refusal={}) for path in _PATHS},
        **found,
    }


REPLIES: Mapping[str, Mapping[str, Reply]] = {name: _replies_of(name) for name in GREETINGS}


@pytest.mark.parametrize("name", sorted(GREETINGS))
def test_each_program_is_identified(name: str) -> None:
    product, evidence = identify(_Replies(REPLIES[name]))

    assert (None if product is None else product.name) == GREETINGS[name].product
    assert bool(evidence) == (product is not None)


# --- properties ----------------------------------------------------------------------------

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    "result llm protected model_loaded status role build_info owned_by model_type model_id data"
    " object id issues default_generation_settings".split()
)
_REPLIES = st.builds(
    Reply,
    st.text(max_size=20) | (_VALUES | st.dictionaries(_KEYS, _VALUES, max_size=5)).map(json.dumps),
    st.none(),
    st.sampled_from([None, 101, 200, 204, 302, 400, 401, 403, 404, 500, 503]),
    st.dictionaries(
        st.sampled_from(["Server", "Location", "x-litellm-version"]), st.text(), max_size=3
    ),
    st.dictionaries(_KEYS | st.just("detail"), _VALUES, max_size=3),
)


@given(st.dictionaries(st.sampled_from(_PATHS), _REPLIES, max_size=8))
def test_no_answer_makes_the_recognition_fail(replies: Dict[str, Reply]) -> None:
    product, evidence = identify(_Replies(replies))

    assert (product is None) == (evidence == ())
    assert all(line.startswith("GET /") for line in evidence)


@given(_VALUES)
def test_any_json_is_a_list_of_models_or_not(value: Any) -> None:
    assert is_model_list(value) in (True, False)
    assert is_model_list({"object": "list", "data": value}) in (True, False)


def _parts(reply: Reply) -> List[Tuple[str, ...]]:
    """Return the parts of a response that can be damaged: its text, and the keys of its JSON."""
    return [
        ("text",),
        *(("key", key) for key in reply.json),
        *(("type", key) for key in reply.json),
    ]


def _damaged(reply: Reply, part: Tuple[str, ...]) -> Reply:
    if part[0] == "text":
        return _NOT_FOUND._replace(headers=reply.headers)
    changed = dict(reply.json)
    old = changed.pop(part[1])
    if part[0] == "type":
        changed[part[1]] = [old] if not isinstance(old, list) else "other"
    return reply._replace(text=json.dumps(changed))


_DAMAGES = [
    (name, path, part)
    for name in sorted(set(GREETINGS) - _PROXIES)
    for path, reply in sorted(REPLIES[name].items())
    if reply.text
    for part in _parts(reply)
]


def _check_name(name: str, replies: Mapping[str, Reply]) -> None:
    """Check that a program is told by its own name, or not at all."""
    product, _ = identify(_Replies(replies))
    allowed = {GREETINGS[name].product, *_OTHER_NAMES.get(name, ())}
    assert product is None or product.name in allowed


@pytest.mark.sample(60)
@pytest.mark.parametrize(("name", "path", "part"), _DAMAGES)
def test_a_damaged_greeting_tells_the_same_name_or_none(
    name: str, path: str, part: Tuple[str, ...]
) -> None:
    replies = {**REPLIES[name], path: _damaged(REPLIES[name][path], part)}

    _check_name(name, replies)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(set(GREETINGS) - _PROXIES)),
    st.sets(st.sampled_from(_PATHS), max_size=6),
    st.dictionaries(st.sampled_from(_PATHS), _VALUES.map(json.dumps), max_size=4),
)
def test_a_greeting_with_paths_that_fail_or_say_anything_tells_no_other_name(
    name: str, failing: Any, saying: Dict[str, str]
) -> None:
    replies = {
        **REPLIES[name],
        **{path: Reply() for path in failing},
        **{path: Reply(text, status=200) for path, text in saying.items()},
    }

    _check_name(name, replies)
