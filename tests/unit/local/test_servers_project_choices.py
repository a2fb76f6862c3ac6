"""Choices of a project file hide no model, and reach no server outside the locality."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    Config,
    Limits,
    LocalityError,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    ProviderError,
)
from localproviders.config import Origin
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama
from tests.support.locality import PROMPT
from tests.unit.local.support import ONCE, Models, pair

_FILE = Path("/project/localproviders.toml")
_STRANGER = Origin(kind="file", file=_FILE, line=3, of_project=True)
_TRUSTED = Origin(kind="file", file=_FILE, line=3, of_project=True, in_trusted_folder=True)
_USER = Origin(kind="file", file=Path("/home/me/config.toml"), line=3)


def _config(origin: Origin = _STRANGER, locality: str = "loopback", **chosen: Any) -> Config:
    """Make a configuration with choices from a file."""
    keys = [key for key in chosen if key != "aliases"]
    keys += [f"aliases.{name}" for name in chosen.get("aliases", ())]
    return Config(locality=locality, origins=dict.fromkeys(keys, origin), **chosen)


_VERBS: Dict[str, Callable[[LocalProvider, str], Any]] = {
    "chat": lambda local, name: local.chat(PROMPT, model=name),
    "stream": lambda local, name: local.stream(PROMPT, model=name).result(),
    "embed": lambda local, name: local.embed(PROMPT, model=name),
    "load": lambda local, name: local.load(name),
    "model_info": lambda local, name: local.model_info(name),
    "count_tokens": lambda local, name: local.count_tokens(PROMPT, model=name),
    "render": lambda local, name: local.render(PROMPT, model=name),
}


def _sent(server: Any) -> str:
    """Return all request bodies that a server received, except those for model details."""
    return str([each.body for each in server.exchanges if each.path != "/api/show"])


@pytest.mark.sample(6)
@pytest.mark.parametrize("verb", _VERBS)
@pytest.mark.parametrize("origin", [_STRANGER, _TRUSTED], ids=["stranger", "trusted folder"])
def test_a_model_wins_over_an_alias_of_a_project(verb: str, origin: Origin) -> None:
    config = _config(origin, aliases={"here": ("lmstudio/qwen/there",)})
    can = ("embeddings",) if verb == "embed" else ("chat", "completion")
    with pair([FakeModel(name="here", abilities=can)], config=config) as made:
        _VERBS[verb](made.local, "here")
        assert "qwen/there" not in _sent(made.lmstudio) and PROMPT not in _sent(made.lmstudio)


def test_an_alias_of_the_user_still_wins_over_a_model() -> None:
    for config in (_config(_USER, aliases={"here": ("qwen/there",)}), Config()):
        aliases = {} if config.aliases else {"aliases": {"here": "qwen/there"}}
        with pair(config=config, **aliases) as made:
            assert made.local.chat("Hi", model="here").model == "qwen/there"


def test_an_alias_of_a_project_that_hides_nothing_stands_for_its_names() -> None:
    with pair(config=_config(aliases={"fast": ("nowhere", "lmstudio/qwen/there")})) as made:
        answer = made.local.chat("Hi", model="fast")
        assert (answer.provider, answer.model) == ("lmstudio", "qwen/there")
        assert answer.tried == () and answer.warnings == ()
        before = len(made.ollama.exchanges)
        made.local.chat("Hi", model="fast")
        # It is asked for the model `nowhere` each time, and lists its models for the error.
        paths = [exchange.path for exchange in made.ollama.exchanges[before:]]
        assert paths == ["/api/show", "/api/tags"]
        made.local.refresh()
        made.ollama.models.append(FakeModel(name="fast:latest"))
        assert made.local.chat("Hi", model="fast").provider == "ollama"


def test_a_server_that_is_down_does_not_stop_an_alias_of_a_project() -> None:
    with pair(config=_config(aliases={"fast": ("lmstudio/qwen/there",)})) as made:
        made.ollama.stop()
        answer = made.local.chat("Hi", model="fast")
        assert (answer.provider, answer.tried) == ("lmstudio", ())


def test_a_cancelled_call_asks_for_no_more_models() -> None:
    token = CancelToken()
    token.cancel()
    with pair(config=_config(aliases={"fast": ("lmstudio/qwen/there",)})) as made:
        with pytest.raises(CancelledError):
            made.local.chat("Hi", model="fast", cancel=token)
        assert made.lmstudio.exchanges == []


def test_a_pull_takes_the_name_as_it_is_written() -> None:
    config = _config(aliases={"llama3.2": ("ollama/strangers/model",)})
    with pair(config=config) as made:
        with contextlib.suppress(ProviderError):
            made.local.pull("llama3.2")
        assert "strangers/model" not in _sent(made.ollama)
        assert "llama3.2" in _sent(made.ollama)


# --- how far it leads ---------------------------------------------------------------------------


class _Far(NamedTuple):
    near: FakeOllama
    far: FakeOllama
    local: LocalProvider


@contextlib.contextmanager
def far(
    near: Models = ("both",), distant: Models = ("both", "big"), **options: Any
) -> Iterator[_Far]:
    """Start two servers; the user allows any locality for one of them."""
    with FakeOllama(near) as one, FakeOllama(distant) as other:
        providers = [
            OllamaProvider(other.url, name="far", locality="any", retry=ONCE),
            OllamaProvider(one.url, name="near", retry=ONCE),
        ]
        # The locality of the configuration counts. The constructor needs "any" to accept `far`.
        local = LocalProvider(providers, locality="any", **options)
        local._locality = options["config"].locality
        with local:
            yield _Far(one, other, local)


@pytest.mark.parametrize("target", ["far/both", "far/big", "big"])
def test_an_alias_of_a_project_does_not_lead_further_than_the_whole(target: str) -> None:
    with far(config=_config(aliases={"fast": (target,)})) as made:
        with pytest.raises((LocalityError, ModelNotFoundError)):
            made.local.chat(PROMPT, model="fast")
        assert PROMPT not in _sent(made.far)


def test_the_refusal_names_the_file_the_server_and_what_to_do() -> None:
    with far(config=_config(aliases={"fast": ("far/big",)})) as made:
        with pytest.raises(LocalityError) as caught:
            made.local.chat(PROMPT, model="fast")
    assert caught.value.message == (
        f"{_FILE}, line 3: fast leads to far, which may send prompts further than loopback"
    )
    assert "trusted_folders" in str(caught.value.hint)


def test_an_alias_of_a_project_finds_a_model_on_the_near_server() -> None:
    with far(config=_config(aliases={"fast": ("both",)})) as made:
        assert made.local.chat(PROMPT, model="fast").provider == "near"
        assert made.local.chat(PROMPT, model="both").provider == "far"


@pytest.mark.parametrize(("name", "provider"), [("both", "near"), ("fast", "near")])
def test_a_default_model_of_a_project_stays_near(name: str, provider: str) -> None:
    config = _config(model=name).replace(aliases={"fast": ("far/big", "both")})
    with far(config=config) as made:
        assert made.local.chat(PROMPT).provider == provider
        assert made.local.chat(PROMPT, model="fast").provider == "far"  # the choice of the user


def test_a_model_of_the_constructor_is_no_choice_of_the_project() -> None:
    with far(config=_config(model="both"), model="both") as made:
        assert made.local.chat(PROMPT).provider == "far"


def test_a_strategy_of_a_project_puts_far_servers_last() -> None:
    # Neither is larger than the other, and `far` is the first.
    for origin, provider in ((_STRANGER, "near"), (_TRUSTED, "far"), (_USER, "far")):
        with far(config=_config(origin, strategy="largest")) as made:
            assert made.local.chat(PROMPT, model="both").provider == provider


def test_a_strategy_of_a_project_chooses_no_model_on_a_far_server() -> None:
    with far([], ["big"], config=_config(strategy="largest")) as made:
        with pytest.raises(LocalityError):
            made.local.chat(PROMPT)
    with far([], ["big"], config=_config(strategy="largest"), needs="chat") as made:
        assert made.local.chat(PROMPT).provider == "far"  # the caller has named a requirement


@pytest.mark.parametrize(
    ("origin", "locality"), [(_TRUSTED, "loopback"), (_USER, "loopback"), (_STRANGER, "any")]
)
def test_what_the_user_allows_leads_as_far_as_the_server_may(origin: Origin, locality: str) -> None:
    config = _config(origin, locality, aliases={"fast": ("far/big",)}, model="big")
    with far(config=config) as made:
        assert made.local.chat(PROMPT, model="fast").provider == "far"
        assert made.local.chat(PROMPT).provider == "far"


# --- from files to servers ----------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tuple[Path, Path]:
    """Return the user's and the project's file of this process."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "localproviders").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", dict)
    return tmp_path / "localproviders" / "config.toml", tmp_path / "work" / "localproviders.toml"


_TWO = """
[servers.ollama]
endpoint = "{ollama}"
[servers.gpu-box]
kind = "lmstudio"
endpoint = "{box}"
locality = "any"
"""


@pytest.mark.parametrize(
    "text",
    [
        '[aliases]\n"ollama/llama3.2" = ["gpu-box/m"]',
        '[aliases]\n"llama3.2" = ["gpu-box/m"]',
        '[aliases]\n"llama3.2" = ["m"]',
        '[servers.ollama]\nendpoint = "{box}"',
        '[servers.x]\nkind = "openai-compatible"\nendpoint = "{box}/v1"',
    ],
)
@pytest.mark.parametrize("name", ["llama3.2", "ollama/llama3.2"])
def test_a_name_in_code_keeps_its_meaning(files: Tuple[Path, Path], text: str, name: str) -> None:
    user, project = files
    with FakeOllama(["llama3.2"]) as ollama, FakeLMStudio(["m"]) as box:
        user.write_text(_TWO.format(ollama=ollama.url, box=box.url))
        project.write_text(text.replace("{box}", box.url))
        answers: List[Any] = []
        with LocalProvider() as local, contextlib.suppress(ProviderError):
            answers.append(local.chat(PROMPT, model=name))
        assert PROMPT not in _sent(box)
        assert [each.provider for each in answers] in ([], ["ollama"])


@pytest.mark.parametrize("given", [False, True])
def test_the_locality_of_the_constructor_holds_for_configured_servers(
    files: Tuple[Path, Path], given: bool
) -> None:
    user, _ = files
    user.write_text(
        "[servers.far]\nkind = 'ollama'\nendpoint = 'http://192.0.2.7'\nlocality = 'any'\n"
    )
    config = Config.load() if given else None
    with LocalProvider(locality="loopback", config=config) as local:
        (provider,) = local.providers()
        assert provider.settings.locality == "loopback"  # type: ignore[attr-defined]  # Ollama's
        with pytest.raises(LocalityError):
            local.chat(PROMPT, model="far/m")


# --- what a project's file makes fail ------------------------------------------------------------

_LIMITS = "connect_s = 3\nload_s = 600\nfirst_token_s = 300\nidle_s = 120\ntotal_s = 1800\n"
_OWN_LIMITS = f"{_TWO}[servers.gpu-box.limits]\n{_LIMITS}"
_TOO_NARROW = [
    "[servers.ollama.limits]\nconnect_s = 1e-9",
    "[servers.ollama.limits]\ntotal_s = 1e-6",
    "[servers.ollama.limits]\nload_s = 0\nfirst_token_s = 1e-6",
    "[limits]\nload_s = 0\nfirst_token_s = 1e-6",
    "strategy = 'largest'\n[servers.ollama.limits]\nconnect_s = 1e-9",
]


def _chat(
    files: Tuple[Path, Path], user: str, project: str, calls: int = 1, **options: Any
) -> Tuple[str, List[str]]:
    """Return the requests of the far server, and for each call the provider or the error class."""
    with FakeOllama(["m"]) as ollama, FakeLMStudio(["m"]) as box:
        files[0].write_text(user.format(ollama=ollama.url, box=box.url))
        files[1].write_text(project)
        answers: List[str] = []
        with LocalProvider(**options) as local:
            for _ in range(calls):
                try:
                    answers.append(local.chat(PROMPT, model=options.get("model", "m")).provider)
                except ProviderError as error:
                    answers.append(type(error).__name__)
        return _sent(box), answers


@pytest.mark.sample(3)
@pytest.mark.parametrize("text", _TOO_NARROW)
@pytest.mark.parametrize("model", ["m", "fast"])
def test_a_server_that_a_project_made_fail_is_not_replaced_by_one_further_away(
    files: Tuple[Path, Path], text: str, model: str
) -> None:
    user = f"{_OWN_LIMITS}[aliases]\nfast = ['ollama/m', 'gpu-box/m']\n"
    sent, answers = _chat(files, user, text, calls=4, model=model)
    assert PROMPT not in sent
    assert set(answers) <= {"AllFailedError", "LimitError"}


def test_a_server_that_a_project_put_out_of_reach_is_not_replaced(
    files: Tuple[Path, Path],
) -> None:
    away = 'endpoint = "http://192.0.2.7:1"\nlocality = "any"'
    user = _TWO.replace('endpoint = "{ollama}"', away)
    sent, answers = _chat(files, user, "[servers.ollama]\nlocality = 'loopback'\n")
    assert PROMPT not in sent and answers == ["AllFailedError"]


def test_a_server_that_is_down_is_replaced_although_a_project_sets_limits() -> None:
    config = _config(locality="loopback").replace(origins={"limits.total_s": _STRANGER})
    with far(["both"], ["both"], config=config) as made:
        made.local._servers.reverse()  # type: ignore[union-attr]  # `near` first
        made.near.stop()
        for _ in range(4):
            assert made.local.chat(PROMPT, model="both").provider == "far"


def test_a_model_that_is_further_away_only_is_found_although_a_project_sets_limits(
    files: Tuple[Path, Path],
) -> None:
    with FakeOllama(["other"]) as ollama, FakeLMStudio(["m"]) as box:
        files[0].write_text(_OWN_LIMITS.format(ollama=ollama.url, box=box.url))
        files[1].write_text("[limits]\ntotal_s = 60\nconnect_s = 2\n")
        with LocalProvider() as local:
            assert local.chat(PROMPT, model="m").provider == "gpu-box"


def test_an_alias_of_a_project_hides_no_model_of_a_server_that_it_made_fail() -> None:
    config = _config(aliases={"here": ("lmstudio/qwen/there",)})
    origins = {**config.origins, "servers.ollama.limits.connect_s": _STRANGER}
    narrow = Limits(connect_s=1e-9)
    with pair(config=config.replace(origins=origins)) as made:
        slow = OllamaProvider(made.ollama.url, retry=ONCE, timeout=narrow)
        made.local._servers[0].provider = slow  # type: ignore[index]  # the first is Ollama's
        for _ in range(5):  # after some failures the server is not tried any more
            with pytest.raises(ProviderError):
                made.local.chat(PROMPT, model="here")
        assert PROMPT not in _sent(made.lmstudio)


@pytest.mark.parametrize("text", ["fallback = ['lmstudio']", "fallback = []"])
def test_a_fallback_of_a_project_puts_far_servers_last(files: Tuple[Path, Path], text: str) -> None:
    box_first = _TWO.partition("[servers.gpu-box]")
    user = f"fallback = ['ollama', 'gpu-box']\n{''.join(box_first[1:])}{box_first[0]}"
    sent, answers = _chat(files, user, text)
    assert PROMPT not in sent and answers == ["ollama"]
