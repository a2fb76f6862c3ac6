"""The fake of many programs greets, refuses and chats like the program."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import pytest
import requests

from localproviders import OpenAICompatibleProvider, ProviderError
from localproviders.testing import FakeProduct
from localproviders.testing.products import GREETINGS


def _get(fake: FakeProduct, path: str, key: str = "") -> Tuple[int, str, Dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = requests.get(fake.url + path, headers=headers, allow_redirects=False, timeout=30)
    return answer.status_code, answer.text, dict(answer.headers)


def test_an_unknown_program_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no 'vllm'; choose one of llama\.cpp, "):
        FakeProduct("vllm")


@pytest.mark.parametrize(
    ("name", "path", "status", "text"),
    [
        ("Docker Model Runner", "/", 200, "Docker Model Runner is running"),
        ("LiteLLM", "/health/liveliness", 200, '"I\'m alive!"'),
        ("llama-swap", "/", 302, ""),
        ("llama.cpp", "/", 415, "Error: gzip is not supported by this browser"),
        ("vLLM", "/nothing", 404, '{"detail": "Not Found"}'),
        ("Docker Model Runner", "/nothing", 404, "404 page not found"),
        ("Open WebUI", "/nothing", 200, "<!doctype html><title>A page</title>"),
        ("Text Embeddings Inference", "/v1/models", 404, ""),
    ],
)
def test_it_answers_like_the_program(name: str, path: str, status: int, text: str) -> None:
    with FakeProduct(name) as fake:
        assert _get(fake, path)[:2] == (status, text)


def test_each_response_has_the_headers_of_the_program() -> None:
    with FakeProduct("llama.cpp", api_key="k") as fake:
        found = [_get(fake, path) for path in ("/", "/health", "/props", "/nothing")]

    assert [status for status, _, _ in found] == [415, 200, 401, 401]
    assert {headers["Server"] for _, _, headers in found} == {"llama.cpp"}


def test_only_the_closed_paths_need_the_key() -> None:
    with FakeProduct("vLLM", api_key="k", prefix="/llm") as fake:
        assert _get(fake, "/llm/version")[0] == 200
        assert _get(fake, "/llm/v1/models")[:2] == (401, '{"error": "Unauthorized"}')
        assert _get(fake, "/llm/v1/models", "k")[0] == 200
        assert _get(fake, "/version")[0] == 404


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", sorted(GREETINGS))
def test_it_chats_and_breaks_at_the_path_of_its_api(name: str) -> None:
    with FakeProduct(name, ["m"], prefix="/llm", api_key="k") as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m", api_key="k") as provider:
            assert provider.chat("Hi").text == "Hello there, friend."
            fake.break_next("closed after the status line")
            with pytest.raises(ProviderError):
                provider.chat("Hi", timeout=30)
