"""Ollama's JSON about models, memory and transfers: encoded and parsed."""

from __future__ import annotations

import json
import pickle
from typing import Any, Dict, Optional, Type

import pytest

from localproviders import (
    AuthenticationError,
    Message,
    ModelInfo,
    ModelNotFoundError,
    Progress,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    ServerError,
    UnsupportedError,
)
from localproviders.ollama import ModelDetails
from localproviders.ollama.wire.library import (
    Recipe,
    create_payload,
    named_sources,
    transfer_payload,
)
from localproviders.ollama.wire.models import (
    check_empty_chat,
    check_empty_embed,
    empty_chat_payload,
    empty_embed_payload,
    merge_facts,
    parse_details,
    parse_files,
    parse_loaded,
    parse_models,
    parse_parameters,
    parse_show,
)
from localproviders.ollama.wire.responses import is_file_transfer, parse_progress
from tests.support import recordings

_PS = {
    "name": "gemma3:270m",
    "model": "gemma3:270m",
    "size": 900,
    "size_vram": 600,
    "digest": "e7d36fb2c3b3",
    "details": {"format": "gguf", "family": "gemma3", "quantization_level": "Q8_0"},
    "expires_at": "2026-11-22T08:41:00.5+01:00",
    "context_length": 4096,
}


def loaded(**changes: Any) -> Any:
    (found,) = parse_loaded({"models": [{**_PS, **changes}]}, "p")
    return found


def test_a_loaded_model_has_its_sizes_its_window_and_its_end() -> None:
    found = loaded()
    assert (found.name, found.provider, found.context_length) == ("gemma3:270m", "p", 4096)
    assert (found.size_bytes, found.vram_bytes, found.warnings) == (900, 600, ())
    assert (found.digest, found.family, found.quantization) == ("e7d36fb2c3b3", "gemma3", "Q8_0")
    assert found.expires_at.isoformat() == "2026-11-22T08:41:00.500000+01:00"
    assert pickle.loads(pickle.dumps(found)) == found
    assert type(found).from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    "details", [None, [], {}, {"family": "", "quantization_level": "unknown"}, {"family": 7}]
)
def test_facts_that_the_server_does_not_report_are_unknown(details: Any) -> None:
    found = loaded(details=details, digest=None)
    assert (found.digest, found.family, found.quantization) == (None, None, None)


@pytest.mark.parametrize("end", ["2318-11-22T07:35:50Z", "0001-01-01T00:00:00Z", None, "soon", 7])
def test_a_model_that_stays_has_no_end(end: Any) -> None:
    assert loaded(expires_at=end).expires_at is None


@pytest.mark.parametrize("size", [None, 0])
def test_no_graphics_memory_is_none_of_it(size: Optional[int]) -> None:
    assert loaded(size_vram=size).vram_bytes == 0


@pytest.mark.parametrize("data", [{}, {"models": {"a": 1}}, [], "x", None])
def test_what_is_no_list_of_loaded_models_is_refused(data: Any) -> None:
    with pytest.raises(ProtocolError):
        parse_loaded(data, "p")


def test_null_for_the_list_of_models_is_an_empty_list() -> None:
    assert parse_models({"models": None}, "p") == parse_loaded({"models": None}, "p") == []


@pytest.mark.parametrize(
    ("window", "keep_alive", "more"),
    [
        (None, None, {}),
        (512, None, {"options": {"num_ctx": 512}}),
        (None, float("inf"), {"keep_alive": -1}),
        (512, 60, {"options": {"num_ctx": 512}, "keep_alive": 60}),
    ],
)
def test_an_empty_request_loads(window: Any, keep_alive: Any, more: Dict[str, Any]) -> None:
    assert empty_chat_payload("m", window, keep_alive) == {
        "model": "m", "messages": [], "stream": False, **more,
    }  # fmt: skip
    assert empty_embed_payload("m", window, keep_alive) == {
        "model": "m", "input": [], **more,
    }  # fmt: skip


def test_an_old_server_gives_no_reason_for_a_load() -> None:
    assert check_empty_chat({"done": True}, "load")


@pytest.mark.parametrize(
    "data", [{}, {"done": False}, {"done": True, "done_reason": "unload"}, {"done": 1}]
)
def test_another_answer_to_an_empty_request_is_refused(data: Any) -> None:
    with pytest.raises(ProtocolError):
        check_empty_chat(data, "load")


@pytest.mark.parametrize("data", [{}, {"embeddings": [[1]]}, {"embeddings": None}])
def test_another_answer_to_an_empty_embedding_is_refused(data: Any) -> None:
    with pytest.raises(ProtocolError):
        check_empty_embed(data)


def test_the_answer_to_an_empty_embedding_is_given() -> None:
    answer = {"embeddings": [], "remote_host": "https://x"}
    assert check_empty_embed(answer) is answer


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_the_answer_to_an_empty_request_is_given(reason: str) -> None:
    answer = {"done": True, "done_reason": reason, "remote_host": "https://x"}
    assert check_empty_chat(answer, reason) is answer


# --- details --------------------------------------------------------------------------------


def test_parameters_are_read_whatever_their_order_and_spelling() -> None:
    lines = [
        'stop                           "<end>"',
        "num_ctx                        1.048576e+06",
        "temperature                    0.7",
        "top_k                          64",
        "min_p                          1e-05",
        "use_mmap                       true",
        'stop                           "a \\"b\\"\\n\\u2028\\x00"',
        "flag                           plain words",
        "seed                           -1",
        "",
    ]
    expected = {
        "num_ctx": 1048576, "temperature": 0.7, "top_k": 64, "min_p": 1e-05, "use_mmap": True,
        "flag": "plain words", "seed": -1,
    }  # fmt: skip
    stops = {"<end>", 'a "b"\n\u2028\\x00'}
    for text in ("\n".join(lines), "\n".join(reversed(lines))):
        found = parse_parameters(text)
        assert set(found.pop("stop")) == stops
        assert found == expected
        assert isinstance(found["num_ctx"], int)


def test_a_single_stop_is_a_list_too() -> None:
    assert parse_parameters('stop "x"') == {"stop": ["x"]}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('a "b"c"', 'b"c'),  # in quotes, but not a JSON string
        ('a "\\"', "\\"),
        ('a "b', '"b'),
        ('a b"', 'b"'),
        ('a """', '"'),
        ("a", ""),
        ("a -", "-"),
        ("a 1e-05x", "1e-05x"),
        ("a 1.5e+01", 15),
        ("a false", False),
    ],
)
def test_a_parameter_in_odd_spelling_is_read_as_it_stands(line: str, value: Any) -> None:
    found = parse_parameters(line)["a"]
    assert (found, type(found)) == (value, type(value))


def test_the_escapes_of_a_very_long_parameter_stay_as_they_are() -> None:
    """Without the bound, 12 MiB of escapes took 237 MiB, and no limit was checked for a second."""
    for count, read in ((20_000, True), (40_000, False)):
        (found,) = parse_parameters('a "' + r"\n" * count + '"').values()
        assert found == ("\n" if read else r"\n") * count


@pytest.mark.parametrize("line", ['a "', 'a "\\', 'a ""', "a", 'a "\\q"', "a " + "9" * 5000])
def test_odd_parameters_are_read_as_something(line: str) -> None:
    assert list(parse_parameters(line)) == ["a"]


def test_details_hold_all_that_the_recording_shows() -> None:
    (record,) = recordings.ollama_records("show")
    info = parse_details(record, "gemma3:270m", "p")
    found = parse_show(record, info)
    assert found.license == "Gemma Terms of Use"
    assert found.parameters == {
        "stop": ["<end_of_turn>"], "temperature": 1, "top_k": 64, "top_p": 0.95,
    }  # fmt: skip
    assert found.template and found.template.startswith("{{- range")
    assert (found.system, found.requires, found.parent_model) == (None, None, None)
    assert found.families == ("gemma3",)
    assert found.metadata["gemma3.block_count"] == 18
    assert found.modelfile and "/models/blobs/" in found.modelfile
    assert "blobs" not in repr(found) and "range" not in repr(found)
    assert found.raw and len(found.raw["tensors"]) > 100


def test_details_pickle_and_come_back_from_plain_json() -> None:
    data = {"system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}, {"role": "x"}]}
    found = parse_show(data, ModelInfo(name="m", provider="p"))
    assert found.messages == (Message.user("Hi"),)
    assert "brief" not in repr(found)
    assert pickle.loads(pickle.dumps(found)) == found
    assert ModelDetails.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_details_and_list_are_joined() -> None:
    (record,) = recordings.ollama_records("show")
    listed = {m.name: m for m in parse_models(recordings.ollama_records("tags")[0], "p")}
    shown = parse_details(record, "GEMMA3:270M", "p")
    found = merge_facts(shown, listed["gemma3:270m"])
    assert (found.name, found.size_bytes) == ("gemma3:270m", 253113638)
    assert found.digest and found.digest.startswith("bdd387")
    assert found.capabilities.tools is False  # only the details deny anything
    assert merge_facts(shown, None) == shown


# --- reports --------------------------------------------------------------------------------


def progress(**data: Any) -> Progress:
    return parse_progress(json.dumps(data), 100)


def test_a_report_of_a_file_has_its_fraction() -> None:
    found = progress(status="pulling ab", digest="sha256:ab", total=200, completed=50)
    assert (found.status, found.digest, found.fraction) == ("pulling ab", "sha256:ab", 0.25)
    assert (found.completed_bytes, found.total_bytes) == (50, 200)
    assert found.raw == {
        "status": "pulling ab",
        "digest": "sha256:ab",
        "total": 200,
        "completed": 50,
    }
    assert is_file_transfer(found)


@pytest.mark.parametrize(
    ("numbers", "completed", "fraction"),
    [
        ({"total": 8}, 0, 0.0),  # zeros are left out
        ({"completed": 8}, 8, None),
        ({"total": 8, "completed": 9}, 9, 1.0),
        ({"total": 8, "completed": -1}, -1, 0.0),
        ({"total": 0, "completed": 0}, 0, None),
        ({}, None, None),
        ({"total": "8", "completed": [1]}, None, None),
    ],
)
def test_a_fraction_is_known_or_none(
    numbers: Dict[str, Any], completed: Optional[int], fraction: Optional[float]
) -> None:
    found = progress(status="pulling", **numbers)
    assert (found.completed_bytes, found.fraction) == (completed, fraction)


def test_the_servers_own_work_is_no_transfer() -> None:
    assert not is_file_transfer(progress(status="verifying sha256 digest"))
    assert not is_file_transfer(progress(status="quantizing", digest="sha256:" + "0" * 64, total=9))


@pytest.mark.parametrize(
    "record", ["{}", '{"status": ""}', '{"status": 7}', "[]", "null", "<html>"]
)
def test_what_is_no_report_is_refused(record: str) -> None:
    with pytest.raises(ProtocolError):
        parse_progress(record, 100)


# The server's sentence, our class, whether it is retryable, a word of the hint.
_REGISTRY = 'pull model manifest: Get "https://registry.ollama.ai/v2/library/x/manifests/latest": '
TEXTS: Dict[str, Any] = {
    "pull model manifest: file does not exist": (ModelNotFoundError, False, "registry"),
    "pull model manifest: 412: The model you are attempting to pull requires a newer version of "
    "Ollama.": (UnsupportedError, False, "update"),
    "pull model manifest: 401: unauthorized": (AuthenticationError, False, "sign in"),
    "unauthorized: access denied": (AuthenticationError, False, "sign in"),
    "this model requires MLX support, but the MLX runtime is not available": (UnsupportedError, False, "machine"),
    "digest mismatch, file must be downloaded again: want sha256:a, got sha256:b": (ServerError, True, "again"),
    "max retries exceeded: EOF": (ServerError, True, "again"),
    _REGISTRY + "dial tcp: lookup registry.ollama.ai: no such host": (ServerError, True, "HTTPS_PROXY"),
    _REGISTRY + "net/http: TLS handshake timeout": (ServerError, True, "HTTPS_PROXY"),
    _REGISTRY + "tls: failed to verify certificate: x509: certificate signed by unknown authority": (ServerError, False, "certificate"),
    'digest mismatch, expected "sha256:a", got "sha256:b"': (RequestRejectedError, False, "changed"),
    "neither 'from' or 'files' was specified": (RequestRejectedError, False, None),
    "unknown type": (RequestRejectedError, False, None),
    "supplied file was not in GGUF format": (RequestRejectedError, False, None),
    "only one adapter is currently supported": (RequestRejectedError, False, None),
    "bad remote": (RequestRejectedError, False, None),
    "DRAFT cannot be used with remote models": (RequestRejectedError, False, None),
    "--draft-quantize requires a DRAFT model": (RequestRejectedError, False, None),
    "template error: unexpected EOF": (RequestRejectedError, False, None),
    'info field "context_length" must be a non-negative int': (RequestRejectedError, False, None),
    "invalid digest format": (RequestRejectedError, False, None),
    "file path must be relative": (RequestRejectedError, False, None),
    "invalid model name": (RequestRejectedError, False, None),
    "open /x/manifests/registry.ollama.ai/me/m/latest: no such file or directory": (ModelNotFoundError, False, "list_models"),
    "write /x/blobs/sha256-a-partial: no space left on device": (ServerError, False, "make space"),
    "max retries exceeded: write /x/blobs/sha256-a-partial: no space left on device": (ServerError, False, "make space"),
    "write C:\\x: There is not enough space on the disk.": (ServerError, False, "make space"),
    'Head "https://registry.ollama.ai/v2/library/x/blobs/sha256:a": dial tcp: no such host': (ServerError, True, "HTTPS_PROXY"),
    'Get "https://x.example/registry/v2/blobs/sha256/a": read tcp 192.0.2.1:443: i/o timeout': (ServerError, True, "HTTPS_PROXY"),
    'Post "https://ollama.com:443/api/chat": dial tcp: no such host': (ServerError, False, None),
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_an_error_in_mid_stream_has_its_class(text: str) -> None:
    error, retryable, word = TEXTS[text]
    with pytest.raises(ProviderError) as caught:
        parse_progress(json.dumps({"error": text}), 100)
    expected: Type[ProviderError] = error
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert caught.value.server_message == text
    assert word is None or word in str(caught.value.hint)


# --- requests -------------------------------------------------------------------------------


def recipe(**fields: Any) -> Recipe:
    empty = dict.fromkeys(Recipe._fields)
    return Recipe(**{**empty, "messages": (), "extra_body": {}, **fields})


def test_a_creation_sends_only_what_was_given() -> None:
    assert create_payload("m", recipe(from_model="x"), named_sources(files=None)) == {
        "model": "m", "stream": True, "from": "x",
    }  # fmt: skip


def test_a_creation_sends_every_field() -> None:
    made = recipe(
        template="T", system="S", parameters={"num_ctx": 9}, license=("A", "B"), quantize="Q8_0",
        messages=(Message.user("Hi"),), extra_body={"parameters": {"seed": 1}, "info": {"a": 1}},
        renderer="R", parser="P", requires="0.14", draft_quantize="Q4_0",
    )  # fmt: skip
    digests = {
        "files": {"a.gguf": "sha256:a"},
        "adapters": {"l.gguf": "sha256:l"},
        "draft_files": {"d.gguf": "sha256:d"},
    }
    payload = create_payload("m", made, digests)
    assert payload == {
        "model": "m", "stream": True, "template": "T", "system": "S", "quantize": "Q8_0",
        "parameters": {"num_ctx": 9, "seed": 1}, "license": ["A", "B"], "requires": "0.14",
        "messages": [{"role": "user", "content": "Hi"}],
        "renderer": "R", "parser": "P", "draft_quantize": "Q4_0", "info": {"a": 1}, **digests,
    }  # fmt: skip
    assert "S" not in repr(made).replace("<recipe of a model>", "")


@pytest.mark.parametrize(
    ("insecure", "more"), [(False, {}), (True, {"insecure": True})]
)  # fmt: skip
def test_a_transfer_says_insecure_only_where_asked(insecure: bool, more: Dict[str, Any]) -> None:
    assert transfer_payload("m", insecure) == {"model": "m", "stream": True, **more}


def test_the_files_of_a_model_are_read_from_its_modelfile() -> None:
    one, two = "sha256-" + "a" * 64, "sha256-" + "b" * 64
    lines = f'# FROM x\nFROM /m/blobs/{one}\nTEMPLATE """\nFROM me"""\nADAPTER C:\\m\\{two}\r\n'
    assert parse_files({"modelfile": lines}) == {one, two}
    assert parse_files({"modelfile": None}) == frozenset()
    assert parse_files({"modelfile": "FROM llama3.2\n"}) == frozenset()
