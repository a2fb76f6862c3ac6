"""Model names are compared in the way in which Ollama's server compares them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders.ollama.names import (
    ModelName,
    display_name,
    is_cloud,
    listed_name,
    parse_name,
    same_model,
    similar_name,
    split_source,
    valid_name,
)

_LIBRARY = ("registry.ollama.ai", "library")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("llama3", (*_LIBRARY, "llama3", "latest", "")),
        ("LLAMA3:Latest", (*_LIBRARY, "llama3", "latest", "")),
        (" llama3:8b ", (*_LIBRARY, "llama3", "8b", "")),
        ("library/llama3", (*_LIBRARY, "llama3", "latest", "")),
        ("me/llama3:x", ("registry.ollama.ai", "me", "llama3", "x", "")),
        ("hf.co/me/llama3:Q4_K_M", ("hf.co", "me", "llama3", "q4_k_m", "")),
        ("localhost:5000/me/llama3", ("localhost:5000", "me", "llama3", "latest", "")),
        ("https://hf.co/me/llama3", ("hf.co", "me", "llama3", "latest", "")),
        ("gpt-oss:cloud", (*_LIBRARY, "gpt-oss", "latest", "cloud")),
        ("gpt-oss:120b-cloud", (*_LIBRARY, "gpt-oss", "120b", "cloud")),
        ("llama3:local", (*_LIBRARY, "llama3", "latest", "local")),
    ],
)
def test_a_name_is_taken_apart_with_its_defaults(name: str, parts: object) -> None:
    assert parse_name(name) == parts
    assert isinstance(parse_name(name), ModelName)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("llama3", "LLAMA3:latest", True),
        ("llama3", "library/llama3", True),
        ("llama3", "registry.ollama.ai/library/llama3:latest", True),
        ("hf.co/me/m:Q4", "HF.CO/me/M:q4", True),
        ("llama3", "llama3:8b", False),
        ("llama3", "me/llama3", False),
        ("llama3", "llama3.2", False),
        ("m:cloud", "m", False),
        ("m:8b-cloud", "m:8b", False),
        ("a/b/m", "c/b/m", False),
    ],
)
def test_two_names_mean_the_same_model_or_do_not(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same
    assert same_model(other, one) is same


@pytest.mark.parametrize(
    ("name", "cloud"),
    [
        ("m:cloud", True),
        ("m:CLOUD", True),
        (" m:cloud ", True),
        ("m:8b-cloud", True),
        ("m:8b-Cloud", True),
        ("me/m:cloud", True),
        ("m", False),
        ("m-cloud", False),
        ("cloud", False),
        ("cloud/m:8b", False),
        ("m:cloudy", False),
        ("m:local", False),
        ("host:80/m-cloud", False),
    ],
)
def test_a_cloud_model_is_known_by_its_name(name: str, cloud: bool) -> None:
    assert is_cloud(name) is cloud


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("m:cloud", ("m", "cloud")),
        ("M:8B-Cloud", ("M:8B", "cloud")),
        ("m:local", ("m", "local")),
        ("m:8b", ("m:8b", "")),
        ("h:1/m", ("h:1/m", "")),
        ("", ("", "")),
    ],
)
def test_a_source_is_split_off(name: str, split: object) -> None:
    assert split_source(name) == split


@given(st.text(max_size=20))
def test_any_name_means_itself(name: str) -> None:
    assert same_model(name, name)
    assert isinstance(is_cloud(name), bool)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("llama3", "llama3:latest"),
        ("LLaMA3:8B", "LLaMA3:8B"),
        ("library/llama3", "llama3:latest"),
        ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
        ("registry.ollama.ai/me/m", "me/m:latest"),
        ("me/m:x", "me/m:x"),
        ("hf.co/library/m", "hf.co/library/m:latest"),
        ("https://hf.co/me/M:Q4", "hf.co/me/M:Q4"),
        ("m:local", "m:latest"),
        ("m:8b:local", "m:8b"),
        ("m:cloud", "m:cloud"),
        ("m:20b:cloud", "m:20b-cloud"),
        ("m:20b-cloud", "m:20b-cloud"),
    ],
)
def test_a_name_is_shown_as_the_server_lists_it(name: str, shown: str) -> None:
    assert display_name(name) == shown


@given(st.from_regex(r"[a-z0-9]{1,9}(/[a-z0-9]{1,9}){0,2}(:[a-z0-9]{1,9})?", fullmatch=True))
def test_a_shown_name_means_the_same_model_and_stays_as_it_is(name: str) -> None:
    shown = display_name(name)
    assert same_model(shown, listed_name(name))
    assert display_name(shown) == shown
    assert valid_name(shown)


@pytest.mark.parametrize(
    "name", ["m", " m:x ", "me/m", "h:5000/me/m:x", "http://h/me/m", "_m", "m.1-2", "a" * 80]
)
def test_a_good_name_is_valid(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "m:", "/m", "a//m", "m@sha256", "localhost:5000/m", "a.b/m", "-m", "m:-x", "é",
        "m m", "a/b/c/m", "m:cloud:local", "m:20b-cloud:local", "a" * 81, "m:" + "t" * 81,
    ],
)  # fmt: skip
def test_a_bad_name_is_not_valid(name: str) -> None:
    assert not valid_name(name)


def test_only_the_source_local_is_in_no_list() -> None:
    assert listed_name("m:8b:local") == "m:8b"
    assert listed_name("m:cloud") == "m:cloud"


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("chta", "chat"),
        ("CHTA:latest", "chat"),
        ("lama3", "llama3:8b"),
        ("llama3", "llama3:8b"),
        ("qwen3:0.6", "qwen3:0.6b"),
        ("me/mnie", "me/mine:x"),
        ("localhost:5000/me/mine", "localhost:5000/me/mine:y"),
        ("something else", None),
        ("", None),
    ],
)
def test_a_misspelt_name_has_a_similar_one(name: str, similar: object) -> None:
    listed = ("chat:latest", "llama3:8b", "qwen3:0.6b", "me/mine:x", "localhost:5000/me/mine:y")
    assert similar_name(name, listed) == similar


def test_nothing_is_similar_to_a_name_if_nothing_is_listed() -> None:
    assert similar_name("chat", ()) is None
