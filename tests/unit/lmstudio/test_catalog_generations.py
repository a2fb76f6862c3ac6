"""The version of LM Studio is recognised, and missing features are refused."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Dict, List, Optional

import pytest

from localproviders import LMStudioProvider, UnreachableError, UnsupportedError
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.unit.lmstudio.support import MODEL, studio

V1, V0, IDS = "GET /api/v1/models", "GET /api/v0/models", "GET /v1/models"
ASKED = {"0.4": [V1], "0.3": [V1, V0], "0.3.5": [V1, V0, IDS]}
NAMES = {"0.4": "0.4", "0.3": "0.3", "0.3.5": "older"}


@pytest.mark.parametrize("version", ASKED)
def test_the_generation_is_found_out_once(version: str) -> None:
    with studio(generation=version) as pair:
        assert pair.provider.generation() == NAMES[version]
        assert pair.take_requests() == ASKED[version]

        assert pair.provider.generation() == NAMES[version]
        assert [info.name for info in pair.provider.list_models()] == [MODEL]
        assert pair.take_requests() == ASKED[version][-1:]


def test_an_old_list_tells_names_only() -> None:
    with studio(generation="0.3.5") as pair:
        (info,) = pair.provider.list_models()

    assert info.capabilities.evidence["embeddings"].source == "inferred"
    assert info.loaded is None


def test_an_updated_server_is_found_out_where_something_was_lacking() -> None:
    with studio(generation="0.3") as pair:
        assert pair.provider.generation() == "0.3"
        pair.server.generation = "0.4"

        assert pair.provider.load(MODEL).context_length == 4096
        assert pair.provider.generation() == "0.4"


def test_an_older_server_is_found_out_at_its_missing_list() -> None:
    with studio() as pair:
        assert pair.provider.generation() == "0.4"
        pair.server.generation = "0.3.5"

        assert pair.provider.supports_model(MODEL)
        assert pair.provider.generation() == "older"


def test_a_server_that_was_away_is_asked_anew() -> None:
    with studio(generation="0.3") as pair:
        assert pair.provider.generation() == "0.3"
        with pair.server.down():
            with pytest.raises(UnreachableError):
                pair.provider.list_models()
        pair.server.generation = "0.4"

        assert pair.provider.generation() == "0.4"


def test_a_chat_that_breaks_forgets_the_generation_too() -> None:
    with studio(generation="0.3") as pair:
        pair.provider.generation()
        with pair.server.down():
            with pytest.raises(UnreachableError):
                pair.provider.chat("Hi")
        pair.server.generation = "0.4"

        assert pair.provider.generation() == "0.4"


LACKING: Dict[str, Callable[[LMStudioProvider], Any]] = {
    "load": lambda provider: provider.load(MODEL),
    "unload": lambda provider: provider.unload(MODEL),
    "pull": lambda provider: provider.pull("qwen/qwen3-8b"),
    "download": lambda provider: provider.download("qwen/qwen3-8b"),
    "download_status": lambda provider: provider.download_status("job_1"),
    "stateful_chat": lambda provider: provider.stateful_chat("Hi"),
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("version", ["0.3", "0.3.5"])
@pytest.mark.parametrize("verb", LACKING)
def test_what_is_lacking_names_the_version_that_has_it(verb: str, version: str) -> None:
    with studio(generation=version) as pair:
        with pytest.raises(UnsupportedError, match=rf"^{verb} needs LM Studio 0\.4\.0 or newer"):
            LACKING[verb](pair.provider)

        assert not [request for request in pair.take_requests() if request.startswith("POST")]


def test_an_old_server_does_not_tell_what_is_loaded() -> None:
    with studio(generation="0.3.5") as pair:
        with pytest.raises(UnsupportedError, match=r"needs LM Studio 0\.3\.6"):
            pair.provider.loaded_models()


def test_a_pickled_provider_finds_out_for_itself() -> None:
    with studio() as pair:
        pair.provider.load(MODEL, context_length=8192)
        copy = pickle.loads(pickle.dumps(pair.provider))
        pair.take_requests()
        with copy:
            assert copy.generation() == "0.4"
            assert copy.load(MODEL, context_length=8192).load_s == 0

        assert pair.take_requests() == [V1, V1]


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed"])
def test_a_proxy_that_lets_only_one_list_through_is_an_old_server(status: str) -> None:
    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path == "/v1/models":
            return [http_answer({"data": [{"id": MODEL}]})]
        page = b"<html><h1>Nothing here</h1></html>"
        return [http_answer(page, status=status, content_type="text/html")]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        assert provider.generation() == "older"
        assert [info.name for info in provider.list_models()] == [MODEL]


class Forgetful(LMStudioProvider):
    """A provider whose cached generation other threads clear at any moment."""

    @property
    def _generation(self) -> Optional[str]:
        return None

    @_generation.setter
    def _generation(self, _: Optional[str]) -> None: ...


def test_a_generation_that_another_thread_forgets_is_still_the_answer() -> None:
    with studio() as pair, Forgetful(pair.server.url) as provider:
        assert provider.generation() == "0.4"
        assert provider.load(MODEL).context_length == 4096


@pytest.mark.parametrize("copy", [{}, {"id": None}, {"id": 7}])
def test_a_copy_without_a_name_gives_its_model_none(copy: Any) -> None:
    listing = http_answer({"models": [{"key": MODEL, "loaded_instances": [copy]}]})
    with ScriptedServer(listing) as server, LMStudioProvider(server.url) as provider:
        assert not provider.supports_model(str(copy.get("id")))
        assert len(provider.loaded_models()) == 1
