"""The choice of a server: by provider, alias, model, memory, ability and strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from localproviders import (
    AllFailedError,
    CapabilityError,
    Config,
    ConfigurationError,
    LocalityError,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    ProviderError,
    UnreachableError,
    UnsupportedError,
    create_default_provider,
)
from localproviders.testing import FakeModel, FakeOllama, FakeOpenAICompatible
from tests.support.fake_time import FakeTime
from tests.unit.local.support import pair

TOOLS = ("chat", "completion", "tools")
SEES = ("chat", "completion", "vision")


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("model", "provider", "served"),
    [
        ("here", "ollama", "here"),
        ("HERE:latest", "ollama", "HERE:latest"),
        ("qwen/there", "lmstudio", "qwen/there"),
        ("both", "ollama", "both"),
        ("lmstudio/both", "lmstudio", "both"),
        ("ollama/both", "ollama", "both"),
        ("lmstudio/qwen/there", "lmstudio", "qwen/there"),
    ],
)
def test_a_name_leads_to_the_server_that_has_it(model: str, provider: str, served: str) -> None:
    with pair() as made:
        answer = made.local.chat("Hi", model=model)
        assert (answer.provider, answer.model) == (provider, served)
        assert answer.tried == () and answer.warnings == ()
        assert made.fallbacks == []


def test_a_slash_splits_only_where_a_provider_has_that_name() -> None:
    with FakeOllama(["hf.co/me/model"]) as server:
        local = LocalProvider([OllamaProvider(server.url, name="hf.co")])
        with local, pytest.raises(ModelNotFoundError):
            local.chat("Hi", model="hf.co/me/model")  # me/model, at the provider hf.co
        assert local.chat("Hi", model="hf.co/hf.co/me/model").provider == "hf.co"
        local.close()


def test_configured_servers_at_unix_sockets_are_used_and_found_once(
    socket_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "localproviders").mkdir()
    with FakeOllama(["one"], unix=socket_path) as ollama:
        with FakeOpenAICompatible(["two"], unix=f"{socket_path}2") as other:
            (tmp_path / "localproviders" / "config.toml").write_text(
                f"[servers.ollama]\nendpoint = '{ollama.url}'\n"
                f"[servers.box]\nkind = 'openai-compatible'\nendpoint = '{other.url}'\n"
            )
            monkeypatch.setenv("OLLAMA_HOST", ollama.url)
            with create_default_provider() as local:
                assert local.chat("Hi", model="one").provider == "ollama"
                answer = local.chat("Hi", model="two")
                names = sorted(model.provider for model in local.list_models())
            other.stop()
            with create_default_provider() as local, pytest.raises(ProviderError) as caught:
                local.chat("Hi", model="box/two")

    assert answer.provider == "box"
    assert names == ["box", "ollama"]
    assert caught.value.endpoint == other.url_of("/v1")


def test_an_alias_stands_for_its_names_in_order_and_wins_over_a_model() -> None:
    aliases = {"fast": ("lmstudio/qwen/there", "here"), "both": "here"}
    with pair(aliases=aliases) as made:
        assert made.local.chat("Hi", model="fast").model == "qwen/there"
        assert made.local.chat("Hi", model="both").model == "here"
        made.lmstudio.stop()
        answer = made.local.chat("Hi", model="fast")
        assert (answer.provider, answer.model) == ("ollama", "here")
        assert [each.model for each in answer.tried] == ["qwen/there"]


def test_the_providers_own_model_may_be_an_alias() -> None:
    with pair(aliases={"fast": "qwen/there"}, model="fast") as made:
        assert made.local.chat("Hi").provider == "lmstudio"


def test_without_a_name_nothing_is_guessed_and_what_there_is_is_listed() -> None:
    with pair() as made, pytest.raises(ConfigurationError) as caught:
        made.local.chat("Hi")
    assert "ollama/here:latest" in str(caught.value.hint)
    assert "lmstudio/qwen/there" in str(caught.value.hint)


def test_a_model_that_nobody_has_is_not_found_and_names_what_there_is() -> None:
    with pair() as made, pytest.raises(ModelNotFoundError) as caught:
        made.local.chat("Hi", model="nowhere")
    assert "lmstudio/qwen/there" in caught.value.available
    assert caught.value.model == "nowhere"


def test_a_server_that_is_down_might_have_had_the_model() -> None:
    with pair() as made:
        made.ollama.stop()
        with pytest.raises(AllFailedError) as caught:
            made.local.chat("Hi", model="nowhere")
        assert [type(each) for each in caught.value.errors] == [
            UnreachableError,
            ModelNotFoundError,
        ]


# --- memory and size -----------------------------------------------------------------------


@pytest.mark.parametrize("where", ["ollama", "lmstudio"])
def test_who_has_it_loaded_is_first_with_the_strategy_loaded(where: str) -> None:
    models: Dict[str, Any] = {
        name: [FakeModel(name="both", loaded=name == where)] for name in _KINDS
    }
    with pair(**models, strategy="loaded") as made:
        assert made.local.chat("Hi", model="both").provider == where


def test_the_strategy_first_does_not_care_for_memory() -> None:
    with pair(lmstudio=[FakeModel(name="both", loaded=True)]) as made:
        assert made.local.chat("Hi", model="both").provider == "ollama"


@pytest.mark.parametrize(("strategy", "first"), [("largest", "big"), ("smallest", "small")])
def test_size_decides_where_the_strategy_says_so(
    strategy: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"ollama": 1_000, "lmstudio": 2_000}
    expected = {"big": "lmstudio", "small": "ollama"}[first]
    with pair(strategy=strategy) as made:
        for provider in made.local.providers():
            _resize(provider, sizes[provider.name], monkeypatch)
        assert made.local.chat("Hi", model="both").provider == expected


def _resize(provider: Any, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = provider.model_info

    def resized(model: str, **how: Any) -> Any:
        info = plain(model, **how)
        return info.replace(capabilities=info.capabilities.replace(size_bytes=size))

    monkeypatch.setattr(provider, "model_info", resized)


# --- abilities -------------------------------------------------------------------------------

_KINDS = ("ollama", "lmstudio")
_ABLE: Dict[str, Any] = {
    "ollama": [FakeModel(name="both", abilities=TOOLS)],
    "lmstudio": [FakeModel(name="both", abilities=SEES)],
}


@pytest.mark.parametrize(("need", "provider"), [("vision", "lmstudio"), ("tools", "ollama")])
def test_a_model_that_cannot_do_it_is_passed_over(need: str, provider: str) -> None:
    with pair(**_ABLE, needs={need}) as made:
        answer = made.local.chat("Hi", model="both")
        assert answer.provider == provider
        assert answer.tried == ()  # no server failed


def test_a_need_chooses_a_model_where_none_is_named() -> None:
    with pair(**_ABLE, needs={"vision"}) as made:
        answer = made.local.chat("Hi")
        assert (answer.provider, answer.model) == ("lmstudio", "both")


def test_what_only_makes_vectors_is_not_chosen_for_text() -> None:
    models = [FakeModel(name="embedder", abilities=("embeddings",)), "talker"]
    with pair(ollama=models, lmstudio=[], strategy="loaded") as made:
        assert made.local.chat("Hi").model == "talker:latest"
        assert made.local.embed("Hi").model == "embedder:latest"


def test_a_need_that_no_model_fills_says_so() -> None:
    with pair(**_ABLE, needs={"insert", "vision"}) as made:
        with pytest.raises(CapabilityError) as caught:
            made.local.chat("Hi", model="both")
    assert "insert, vision" in caught.value.message


def test_needs_are_for_text_and_not_for_vectors() -> None:
    models = [FakeModel(name="embedder", abilities=("embeddings",))]
    with pair(ollama=models, needs={"tools"}) as made:
        assert made.local.embed("Hi", model="embedder").provider == "ollama"


# --- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "frist"}, "did you mean 'first'"),
        ({"needs": {"tool"}}, "did you mean 'tools'"),
        ({"needs": {"decisions"}}, "did you mean 'decision'"),
        ({"needs": {"remote"}}, "an ability in needs is 'remote'"),
        ({"aliases": {"fast": ()}}, "the alias 'fast'"),
        ({"aliases": {"fast": 5}}, "the alias 'fast'"),
        ({"aliases": ["fast"]}, "aliases is ['fast']"),
        ({"locality": "here"}, "locality is 'here'"),
        ({"timeout": -1}, "total_s is -1"),
    ],
)
def test_an_impossible_value_is_named(options: Dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LocalProvider([OllamaProvider()], **options)
    assert words in str(caught.value)


def test_no_provider_at_all_is_impossible_and_so_are_two_of_one_name() -> None:
    with pytest.raises(ConfigurationError, match="sequence of providers is empty"):
        LocalProvider([])
    with pytest.raises(ConfigurationError, match="more than one provider is named 'ollama'"):
        LocalProvider([OllamaProvider(), OllamaProvider("127.0.0.1:9")])


def test_what_is_no_sequence_of_providers_is_named() -> None:
    for providers in (OllamaProvider(), "ollama", ["ollama"], [OllamaProvider]):
        with pytest.raises(ConfigurationError, match="expected a sequence of providers"):
            LocalProvider(providers)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("given", [True, False])
def test_a_local_provider_inside_another_may_go_no_further_either(given: bool) -> None:
    wide = OllamaProvider("192.0.2.7", locality="any", name="far")
    inner = LocalProvider([wide] if given else None, locality="any", config=Config())
    with pytest.raises(LocalityError):
        LocalProvider([inner])
    assert LocalProvider([inner], locality="any").locality == "any"


def test_a_provider_that_may_go_further_than_the_whole_is_refused() -> None:
    wide = OllamaProvider("192.0.2.7", locality="any", name="far")
    with pytest.raises(LocalityError) as caught:
        LocalProvider([OllamaProvider(), wide])
    assert 'locality="any"' in str(caught.value.hint)
    assert LocalProvider([OllamaProvider(), wide], locality="any").name == "local"


def test_the_variable_widens_the_whole_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALPROVIDERS_LOCALITY", "private")
    assert LocalProvider([OllamaProvider()]).name == "local"


# --- the verbs about models -------------------------------------------------------------------


def test_lists_are_merged_and_each_model_tells_its_provider() -> None:
    with pair() as made:
        listed = [f"{info.provider}/{info.name}" for info in made.local.list_models()]
        assert listed == [
            "ollama/both:latest",
            "ollama/here:latest",
            "lmstudio/both",
            "lmstudio/qwen/there",
        ]
        for name in listed:
            assert made.local.chat("Hi", model=name).provider == name.split("/")[0]


def test_a_list_leaves_out_who_is_down_and_fails_only_where_all_are() -> None:
    with pair() as made:
        made.ollama.stop()
        assert {info.provider for info in made.local.list_models()} == {"lmstudio"}
        made.lmstudio.stop()
        with pytest.raises(AllFailedError):
            made.local.list_models()


def test_whether_a_model_is_there_is_no_only_where_everybody_said_no() -> None:
    with pair(aliases={"fast": ("gone", "here")}) as made:
        assert made.local.supports_model("here")
        assert made.local.supports_model("ollama/HERE")
        assert made.local.supports_model("fast")
        assert not made.local.supports_model("nowhere")
        made.ollama.stop()
        assert made.local.supports_model("qwen/there")
        with pytest.raises(AllFailedError):
            made.local.supports_model("nowhere")


def test_load_resident_and_unload_reach_the_server_that_has_the_model() -> None:
    with pair() as made:
        assert made.local.load("qwen/there").provider == "lmstudio"
        assert [each.name for each in made.local.loaded_models()] == ["qwen/there"]
        made.local.unload("qwen/there")
        assert made.local.loaded_models() == []
        made.local.load("lmstudio/both")
        with made.local.keep_loaded("both") as model:
            assert model.provider == "ollama"
            assert {each.provider for each in made.local.loaded_models()} == {"ollama", "lmstudio"}
        # The copy on the other server does not belong to this block.
        assert {each.provider for each in made.local.loaded_models()} == {"lmstudio"}


def test_unload_without_a_server_takes_every_copy() -> None:
    with pair() as made:
        made.local.load("ollama/both")
        made.local.load("lmstudio/both")
        made.local.unload("both")
        assert made.local.loaded_models() == []


def test_pull_goes_to_the_named_server_else_to_the_first() -> None:
    with pair() as made:
        assert made.local.pull("qwen3:0.6b").provider == "ollama"
        assert made.local.model_info("qwen3:0.6b").provider == "ollama"


def test_tokens_are_counted_by_the_server_of_the_model() -> None:
    with pair() as made:
        assert made.local.count_tokens("Why?", model="qwen/there").tokens > 0
        with pytest.raises(ModelNotFoundError):
            made.local.count_tokens("Why?", model="nowhere")


def test_a_verb_that_the_only_server_lacks_is_unsupported() -> None:
    with FakeOllama(["m"]) as server:
        local = LocalProvider([_Plain(server.url)])
        with local, pytest.raises(UnsupportedError):
            local.pull("m")


class _Plain(OllamaProvider):
    def pull(self, *_: Any, **__: Any) -> Any:
        self._raise_unsupported("pull")


# --- what a broken server takes from the others ------------------------------------------------


@pytest.mark.parametrize("first", ["ollama", "lmstudio"])
def test_a_silent_server_hides_no_others_models(first: str, fake_clock: FakeTime) -> None:
    with pair(first=first) as made:
        made.ollama.break_next("silence", times=None, path="/api")
        assert {info.provider for info in made.local.list_models(timeout=8)} == {"lmstudio"}
        assert made.local.loaded_models(timeout=8) == []
        assert made.local.supports_model("qwen/there", timeout=8)
        assert made.local.chat("Hi", model="both", timeout=50).provider == "lmstudio"


def test_a_silent_server_leaves_time_to_choose_another_ones_model(fake_clock: FakeTime) -> None:
    with pair(needs={"tools"}, lmstudio=[FakeModel(name="able", abilities=TOOLS)]) as made:
        made.ollama.break_next("silence", times=None, path="/api")
        answer = made.local.chat("Hi", timeout=30)
        assert (answer.provider, answer.model) == ("lmstudio", "able")


def test_a_server_that_refuses_its_list_hides_no_others_models() -> None:
    with pair() as made:
        made.ollama.break_next("status 400 with JSON", times=None, path="/api/tags")
        assert {info.provider for info in made.local.list_models()} == {"lmstudio"}


def test_each_name_is_asked_for_once_on_each_server() -> None:
    with pair(aliases={"fast": ("ollama/both", "both", "ollama/both")}) as made:
        made.ollama.break_next("status 500 with JSON", times=None)
        made.lmstudio.break_next("status 500 with JSON", times=None)
        with pytest.raises(AllFailedError) as caught:
            made.local.chat("Hi", model="fast")
        assert [error.provider for error in caught.value.errors] == ["ollama", "lmstudio"]


def test_where_there_is_no_model_at_all_it_says_so() -> None:
    with pair(ollama=(), lmstudio=(), needs={"tools"}) as made:
        with pytest.raises(ModelNotFoundError, match="no model to choose from"):
            made.local.chat("Hi")
