"""A provider kind of another package works everywhere, without a change in this package."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, Optional

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    Config,
    ConfigurationError,
    LocalityError,
    LocalProvider,
    ModelInfo,
    ProviderError,
    UnsupportedError,
    discover,
    kinds,
)
from localproviders.cli import main
from localproviders.discovery import forget
from localproviders.discovery.candidates import usual_ports as _usual_ports
from localproviders.discovery.results import what_to_do
from localproviders.kinds import KindKey, Look, ProviderKind
from tests.unit.kinds.toy import KIND, FakeToy, ToyProvider
from tests.unit.kinds.verbs import VERBS, check


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", dict)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("LOCALPROVIDERS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    kinds.register(KIND)
    forget()
    yield
    forget()
    kinds.unregister(KIND.name)


@pytest.fixture
def toy(fake_server: Callable[..., Any]) -> FakeToy:
    fake = fake_server("toy", ["bricks"])
    assert isinstance(fake, FakeToy)
    return fake


def write(text: str) -> None:
    file = Path("own/localproviders/config.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    file.chmod(0o600)


def test_it_is_configured_with_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[servers.box]\nkind = 'toy'\nendpoint = 'http://127.0.0.1:9'\ncolor = 'red'\n")
    config = Config.load()
    (server,) = config.servers
    assert (server.kind, dict(server.own_keys)) == ("toy", {"color": "red"})
    assert config.origin_of("servers.box.color").line == 4
    assert kinds.get(server.kind).make(**server.options()).color == "red"  # type: ignore[attr-defined]  # the toy's own

    monkeypatch.setenv("LOCALPROVIDERS_SERVERS_BOX_COLOR", "blue")
    assert Config.load().servers[0].own_keys["color"] == "blue"


def test_its_name_and_its_aliases_are_kinds_of_servers() -> None:
    write("fallback = ['toy', 'ollama']\n[servers.toy-server]\n[servers.x]\nkind = 'toy-server'\n")
    assert [server.kind for server in Config.load().servers] == ["toy", "toy"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[servers.x]\nkind = 'toy'\ncolor = 3", "servers.x.color must be a string"),
        ("[servers.ollama]\ncolor = 'red'", "is not a key of a server of the kind 'ollama'"),
        ("[servers.x]\nkind = 'toi'", "did you mean 'toy'?"),
        ("[servers.x]\nkind = 'toy'\ncolour = 'red'", "did you mean 'color'?"),
        ("[servers.x]\nmodel = 'm'", "choose one of ollama, lmstudio"),
    ],
)
def test_a_wrong_word_about_it_is_told(text: str, rule: str) -> None:
    write(text)
    with pytest.raises(ConfigurationError) as caught:
        Config.load()
    assert rule in str(caught.value)


def test_a_project_may_not_write_its_key() -> None:
    write("[servers.box]\nkind = 'toy'\n")
    Path("localproviders.toml").write_text("[servers.box]\ncolor = 'red'\n", "utf-8")
    with pytest.raises(
        ConfigurationError, match=r"servers\.box\.color is not allowed in a project"
    ):
        Config.load()


@pytest.fixture
def two_levels() -> Iterator[None]:
    """Register two kinds whose keys have one name."""
    number = KindKey("level", "number", "How loud", "level = 3", in_project="yes")
    for kind in (
        ProviderKind("z1", "Z1", KIND.provider, default_address="http://x", keys=(number,)),
        ProviderKind("z2", "Z2", KIND.provider, default_address="http://x", keys=(
            KindKey("level", "text", "How high", 'level = "high"'),)),
    ):  # fmt: skip
        kinds.register(kind)
    yield
    kinds.unregister("z1")
    kinds.unregister("z2")


def test_two_kinds_have_a_key_of_one_name(
    two_levels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[servers.a]\nkind='z1'\nlevel=3\n[servers.b]\nkind='z2'\nlevel='high'\n")
    one, two = Config.load().servers
    assert (one.own_keys["level"], two.own_keys["level"]) == (3, "high")

    monkeypatch.setenv("LOCALPROVIDERS_SERVERS_A_LEVEL", "4")
    monkeypatch.setenv("LOCALPROVIDERS_SERVERS_B_LEVEL", "5")
    one, two = Config.load(servers={"c": {"kind": "z2", "level": "x"}}).servers[:2]
    assert (one.own_keys["level"], two.own_keys["level"]) == (4, "5")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[servers.a]\nkind='z1'\nlevel='high'", "servers.a.level must be a number"),
        ("[servers.z2]\nlevel=3", "servers.z2.level must be a string"),
        ("[servers.ollama]\nlevel=3", "is not a key of a server of the kind 'ollama'"),
    ],
)
def test_a_key_of_several_kinds_is_checked_by_its_servers_kind(
    two_levels: None, text: str, rule: str
) -> None:
    write(text)
    with pytest.raises(ConfigurationError) as caught:
        Config.load()
    assert rule in caught.value.message
    assert ", line " in caught.value.message


def test_a_project_may_do_with_a_key_of_several_kinds_what_all_of_them_allow(
    two_levels: None,
) -> None:
    write("[servers.a]\nkind = 'z1'\n")
    Path("localproviders.toml").write_text("[servers.a]\nlevel = 3\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"servers\.a\.level is not allowed in a project"):
        Config.load()


class OnnxProvider(ToyProvider):
    """A provider of another package that runs a model file."""

    def __init__(self, model: Any, *, threads: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.given = (model, threads)


@pytest.mark.parametrize("argument", ["model", "onnx", "path"])
def test_a_kind_of_model_files_gets_its_file(tmp_path: Path, argument: str) -> None:
    onnx = ProviderKind(
        "onnx", "Onnx", "tests.unit.kinds.test_toy:OnnxProvider", address_argument=argument,
        is_file=True, keys=(
            KindKey("threads", "number", "How many", "threads = 3"),
            KindKey("onnx", "file", "The file", 'onnx = "a.onnx"', is_required=True),
        ),
    )  # fmt: skip
    kinds.register(onnx)
    write("[servers.box]\nonnx = 'a.onnx'\nthreads = 3\n")
    try:
        (server,) = Config.load().servers
        options = server.options()
        assert (server.kind, server.gguf) == ("onnx", None)
        assert options[argument] == tmp_path / "own" / "localproviders" / "a.onnx"
        assert options["threads"] == 3
        assert "start_timeout_s" not in options
        if argument == "model":
            made = onnx.make(**options)
            assert isinstance(made, OnnxProvider)
            assert made.given == (options["model"], 3)
            assert made.name == "box"
    finally:
        kinds.unregister("onnx")


def test_it_is_discovered_by_its_fingerprint(
    toy: FakeToy, capsys: pytest.CaptureFixture[str]
) -> None:
    (server,) = discover([toy.url]).servers
    assert (server.kind, server.name, server.state) == ("toy", "toy", "available")
    assert (server.version, [model.name for model in server.models]) == ("1.0", ["bricks"])
    with server.make_provider(model="bricks", color="green") as provider:
        assert isinstance(provider, ToyProvider)
        assert provider.color == "green"
        assert provider.chat("Hi").text == "Hello there, friend."
    with pytest.raises(TypeError, match="no option 'colour'"):
        server.make_provider(colour="green")

    assert main(["discover", toy.url]) == 0
    assert "- toy/bricks" in capsys.readouterr().out


def test_it_is_asked_at_its_usual_port(toy: FakeToy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _usual_ports()[4711] == "Toy"
    ports = {toy.port: "Toy"}
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", lambda: ports)
    assert [server.kind for server in discover().servers] == ["toy"]


def test_who_has_no_server_is_told_how_to_start_it() -> None:
    found = discover(["http://127.0.0.1:9"])
    assert "- Toy: wind it up." in found.explain()
    assert "or `toy --serve`" in what_to_do(found)


def test_it_is_routed_to(toy: FakeToy) -> None:
    write(f"[servers.box]\nkind = 'toy'\nendpoint = '{toy.url}'\ncolor = 'red'\n")
    with LocalProvider() as local:
        assert local.chat("Hi", model="box/bricks").provider == "box"
        assert local.embed(["one"], model="bricks").provider == "box"
        (provider,) = local.providers()
        assert isinstance(provider, ToyProvider)
        assert provider.color == "red"


def test_one_that_is_found_is_routed_to(toy: FakeToy, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {toy.port: "Toy"}
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", lambda: ports)
    with LocalProvider() as local:
        assert local.chat("Hi", model="bricks").provider == "toy"


def test_it_is_broken_on_request(toy: FakeToy) -> None:
    provider = ToyProvider(toy.url, model="bricks")
    toy.reply_with("One.")
    assert provider.chat("Hi").text == "One."
    toy.break_next("closed after the status line")
    with pytest.raises(ProviderError):
        provider.chat("Hi", timeout=5)


def test_local_means_local_for_it_too() -> None:
    with pytest.raises(LocalityError):
        ToyProvider("http://203.0.113.1", model="bricks").chat("Hi")


@pytest.mark.sample(10)
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_each_verb_works_or_says_that_it_is_not_supported(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(KIND, verb, monkeypatch)


def test_afterwards_nobody_knows_it(toy: FakeToy) -> None:
    (server,) = discover([toy.url]).servers
    kinds.unregister("toy")
    try:
        with pytest.raises(UnsupportedError):
            server.make_provider()
        (now,) = discover([toy.url], refresh=True).servers
        assert now.kind == "unknown"
    finally:
        kinds.register(KIND)


def test_a_fingerprint_that_fails_stops_no_search(
    toy: FakeToy, monkeypatch: pytest.MonkeyPatch, fake_server: Callable[..., Any]
) -> None:
    def fails(_: Any) -> None:
        raise KeyError("a server's words")

    monkeypatch.setattr("tests.unit.kinds.toy.recognise", fails)
    other = fake_server("openai-compatible")
    with pytest.warns(RuntimeWarning, match="the provider kind 'toy' failed: KeyError$"):
        (server,) = discover([other.url], refresh=True).servers
    assert (server.kind, server.state) == ("openai-compatible", "available")


def test_a_fingerprint_may_tell_the_product_and_the_evidence(
    toy: FakeToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recognises(look: Look) -> object:
        greeting = look.ask("/toy")
        assert look.ask("/toy") is greeting
        refused = look.ask("/nothing")
        assert (greeting.status, greeting.data, greeting.refusal) == (200, greeting.json, {})
        assert refused.status == 404 and refused.error is not None and refused.data is None
        assert greeting.headers["content-TYPE"] and refused.headers["content-type"]
        return look.listed(product="Toy box", evidence=("GET /toy: status 200, toy True",))

    monkeypatch.setattr("tests.unit.kinds.toy.recognise", recognises)
    (server,) = discover([toy.url], refresh=True).servers

    assert (server.product, server.state) == ("Toy box", "available")
    assert f"toy (Toy box) at {toy.url}: available; " in str(server)
    assert [each.path for each in toy.exchanges].count("/toy") == 1


def _ends(_: Look) -> None:
    raise SystemExit(3)


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    "finds",
    [
        lambda look: look.found("happy"),
        lambda look: look.found(["available"]),
        lambda look: look.unknown(None, "x"),
        lambda look: look.found("available", models=("a", "b")),
        lambda look: look.found("available", loaded=[ModelInfo(name="m", provider="p")]),
        lambda look: look.found("available", models=3),
        lambda look: look.found("available", version=3),
        lambda look: look.found("available", product=3),
        lambda look: look.found("available", evidence=(3,)),
        lambda look: look.found("available", forwards_prompts="yes"),
        lambda look: look.found("available", api_path=3),
        lambda look: look.listed(product=3),
        lambda look: look.found("unavailable", None),
        lambda look: look.found("available", latency_s=3),
        lambda look: look.listed(lambda provider, **limits: {"version": 3}),
        _ends,
    ],
)
def test_a_fingerprint_that_says_nonsense_stops_no_search(
    toy: FakeToy, monkeypatch: pytest.MonkeyPatch, finds: Any
) -> None:
    monkeypatch.setattr("tests.unit.kinds.toy.recognise", finds)
    with pytest.warns(RuntimeWarning, match="kind 'toy' failed: (TypeError|SystemExit)$"):
        (server,) = discover([toy.url], refresh=True).servers
    assert (server.kind, server.state) == ("unknown", "unavailable")


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_fingerprint_that_does_not_end_is_left_behind(
    toy: FakeToy, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
) -> None:
    end, token = threading.Event(), CancelToken()

    def hangs(_: Look) -> None:
        if is_cancelled:
            token.cancel()
        assert end.wait(60)

    monkeypatch.setattr("tests.unit.kinds.toy.recognise", hangs)
    monkeypatch.setattr("localproviders.discovery.search._GRACE_S", 0.1)
    timeout_s = 60 if is_cancelled else 0.2
    before = {*threading.enumerate()}
    outcome: ContextManager[Any] = nullcontext()
    if is_cancelled:
        outcome = pytest.raises(CancelledError)
    try:
        with outcome:
            (server,) = discover([toy.url], timeout_s=timeout_s, cancel=token).servers
            assert server.state == "unavailable"
            assert "the fingerprint function of the provider kind 'toy'" in server.reason
            assert server.reason.endswith("did not return in time")
        assert not end.is_set()
    finally:
        end.set()
        for thread in {*threading.enumerate()} - before:
            thread.join(60)


def recognise_by_its_list(look: Look) -> Optional[object]:
    return look.listed()


def test_a_kind_lists_its_models_behind_its_own_path(fake_server: Callable[..., Any]) -> None:
    kind = ProviderKind(
        name="dialect",
        title="Dialect",
        provider="localproviders.openai_compatible.provider:OpenAICompatibleProvider",
        address_argument="base_url",
        address_path="/v1",
        fingerprint="tests.unit.kinds.test_toy:recognise_by_its_list",
        fingerprint_order=1,
    )
    fake = fake_server("openai-compatible", ["bricks"])
    kinds.register(kind)
    try:
        (server,) = discover([fake.url], refresh=True).servers
    finally:
        kinds.unregister("dialect")
    assert (server.kind, [model.name for model in server.models]) == ("dialect", ["bricks"])
