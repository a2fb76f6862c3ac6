"""The registry: kinds of this package, of programs, and of installed packages."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Iterator, List

import pytest

import localproviders
from localproviders import Config, ConfigurationError, create_provider, discover, kinds
from localproviders.config.keys import SERVER
from localproviders.config.values import ServerConfig
from localproviders.kinds import KindKey, KindService, ProviderKind
from tests.unit.kinds.toy import KIND, ToyProvider

#: One entry for each time that a broken package was imported.
imports: List[int] = []
_BUILT_IN = [
    *("ollama", "lmstudio", "llamacpp", "openai-compatible", "gguf", "anthropic", "openai"),
    "openrouter",
]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    kinds._registered.pop("toy", None)
    kinds._entry_points = None
    kinds._loaded.clear()
    kinds._warned_kinds.clear()
    for name in [name for name in sys.modules if name.startswith("toy_of_a_package")]:
        del sys.modules[name]


def end_the_program() -> None:
    """End the program, as a signal handler of the caller does."""
    sys.exit(3)


def test_the_kinds_of_the_package_are_listed_in_their_order() -> None:
    number = len(_BUILT_IN)
    listed = [kind.name for kind in kinds.registered()]
    assert kinds.names()[:number] == listed[:number] == _BUILT_IN


@pytest.mark.parametrize(
    ("name", "near"), [("olama", "; did you mean 'ollama'?"), ("", ""), ("x\n\x1b[2J", "")]
)
def test_an_unknown_kind_is_told_in_one_line(name: str, near: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kinds.get(name)
    assert str(caught.value).startswith(f"there is no provider kind {name!r}{near} (hint: choose")
    assert "ollama, lmstudio, llamacpp, openai-compatible, gguf, anthropic" in str(caught.value)
    assert str(caught.value).isprintable()
    assert kinds.find(name) is None


def test_what_discovery_does_not_know_is_no_kind() -> None:
    assert kinds.find("unknown") is None


def test_a_kind_is_registered_and_unregistered() -> None:
    kinds.register(KIND)
    assert kinds.get("toy") is kinds.get("toy-server") is KIND
    assert kinds.names()[-1] == "toy"
    kinds.unregister("toy")
    assert kinds.find("toy") is None
    with pytest.raises(ConfigurationError, match="no provider kind 'toy'"):
        kinds.unregister("toy")


def test_no_kind_replaces_another() -> None:
    kinds.register(KIND)
    taken = [("toy", ()), ("toy-server", ()), ("other", ("toy",)), ("ollama", ()), ("a", ("gguf",))]
    for name, aliases in taken:
        with pytest.raises(ConfigurationError, match="there is already a provider kind"):
            kinds.register(ProviderKind(name, "T", "a:B", aliases=aliases))


@pytest.mark.parametrize("name", ["", "Toy", "to y", "a/b", "unknown", "-x", "a_b"])
def test_a_name_that_could_be_misread_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a valid name for a kind"):
        ProviderKind(name, "T", "a:B")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3), ("title", None), ("provider", ToyProvider), ("aliases", "foo"),
        ("aliases", ("a", 3)), ("address_path", None), ("ports", (8080,)), ("ports", 8080),
        ("ports", ((8080, 3),)), ("ports", ((70000, "X"),)), ("ports", ((True, "X"),)),
        ("avoided_ports", ("80",)), ("default_address", 3), ("key_variables", "A_KEY"),
        ("fingerprint", print), ("fingerprint_order", None), ("fingerprint_order", 1.5),
        ("keys", KindKey("x", "text", "m", "e")), ("keys", ("x",)), ("is_file", 1),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_told_when_the_kind_is_made(field: str, value: Any) -> None:
    given = {"name": "x", "title": "X", "provider": "a:B", field: value}
    with pytest.raises(ConfigurationError, match=f"^{field} of the provider kind .* must be "):
        ProviderKind(**given)


def test_lists_become_tuples() -> None:
    key = KindKey("x", "text", "m", "e")
    given: Any = {"aliases": ["a"], "ports": [[1, "X"]], "keys": [key]}
    kind = ProviderKind("x", "X", "a:B", **given)
    assert (kind.aliases, kind.ports, kind.keys) == (("a",), ((1, "X"),), (key,))
    assert hash(kind) == hash(ProviderKind("x", "X", "a:B", ("a",), ports=((1, "X"),), keys=(key,)))


def test_only_a_provider_kind_is_registered() -> None:
    nothing: Any = "zoo"
    with pytest.raises(ConfigurationError, match="expected a ProviderKind, got str"):
        kinds.register(nothing)


@pytest.mark.parametrize("name", ["timeout", "name", "model", "kind", "endpoint", "limits"])
def test_a_key_does_not_have_a_name_that_means_something_else(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}' is not a valid name for a key"):
        KindKey(name, "text", "m", "e")


@pytest.mark.parametrize("name", ["a b", "*", "", "A", "a-b", "_a", "a.b", "a\n"])
def test_a_key_has_a_name_that_a_file_and_a_variable_can_have(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a valid name for a key"):
        KindKey(name, "text", "m", "e")


def test_no_key_of_a_server_has_a_name_that_a_kind_may_use() -> None:
    known = {*SERVER, *ServerConfig.__annotations__} - {"gguf"}
    assert known <= kinds._RESERVED_KEYS


@pytest.mark.parametrize("names", [("color", "color"), ("color", "base_url")])
def test_the_keys_of_a_kind_do_not_replace_each_other_or_the_address(names: Any) -> None:
    keys = tuple(KindKey(name, "text", "m", "e") for name in names)
    with pytest.raises(
        ConfigurationError, match=f"'x' has two arguments with the name '{names[1]}'"
    ):
        ProviderKind("x", "X", "a:B", address_argument="base_url", keys=keys)


def test_threads_register_kinds_of_their_own_at_the_same_time() -> None:
    failures = []

    def work(number: int) -> None:
        kind = ProviderKind(f"thread-{number}", "T", "a:B", aliases=(f"alias-{number}",))
        try:
            for _ in range(200):
                kinds.register(kind)
                assert kinds.find(f"alias-{number}") is kind
                kinds.unregister(kind.name)
        except BaseException as error:
            failures.append(error)
            raise

    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(kept)
        for number in range(6):
            kinds._registered.pop(f"thread-{number}", None)
    assert failures == []


def test_a_key_has_a_known_type_and_a_known_word_about_projects() -> None:
    with pytest.raises(ConfigurationError, match="type of the key 'x' is 'textt'; did you mean"):
        KindKey("x", "textt", "m", "e")
    with pytest.raises(ConfigurationError, match="in_project of the key 'x' is 'maybe'"):
        KindKey("x", "text", "m", "e", in_project="maybe")


def test_what_cannot_be_imported_is_told_with_the_kind_and_the_part() -> None:
    kind = ProviderKind("x", "X", "no.such.module:Thing")
    with pytest.raises(
        ConfigurationError, match=r"the provider of the provider kind 'x', no\.such"
    ):
        kind.make()
    with pytest.raises(ConfigurationError, match="'x' has no fake"):
        kind.resolve("fake")


def test_a_provider_that_cannot_be_imported_stops_no_search_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", dict)
    broken = ProviderKind(
        "toy", "X", "no.such:Thing", address_variable="TOY_HOST", default_address="http://x",
        key_variables=("TOY_KEY",), fingerprint="no.such:recognise",
    )  # fmt: skip
    kinds.register(broken)
    with pytest.warns(
        RuntimeWarning, match=r"the fingerprint of the provider kind 'toy', no\.such"
    ):
        assert discover(["http://127.0.0.1:9"]).tried


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        ("raise RuntimeError('x')", "toy_of_a_package:x"),
        ("raise SystemExit", "toy_of_a_package:x"),
        ("", ".foo:bar"),
    ],
)
def test_a_module_that_fails_in_any_way_is_told_with_the_kind(
    packages: Path, monkeypatch: pytest.MonkeyPatch, raised: str, text: str
) -> None:
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", dict)
    (packages / "toy_of_a_package.py").write_text(f"{raised}\n", "utf-8")
    kinds.register(
        ProviderKind(
            "toy", "X", text, address_variable="TOY_HOST", key_variables=("TOY_KEY",),
            default_address="http://x", fingerprint=text,
        )
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="the fingerprint of the provider kind 'toy'"):
        assert discover(["http://127.0.0.1:9"], refresh=True).tried
    with pytest.raises(ConfigurationError, match=r"cannot be imported: \w+: ?"):
        kinds.get("toy").make()


def test_an_error_of_the_callers_signal_handler_comes_out_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: str) -> None:
        raise RuntimeError("the caller's time is up")

    monkeypatch.setattr(kinds, "import_module", interrupted)
    with pytest.raises(RuntimeError, match="the caller's time is up"):
        kinds.get("ollama")


# --- installed packages ---------------------------------------------------------------------


def install(
    folder: Path,
    value: str = "toy_of_a_package:KIND",
    name: str = "toy",
    package: str = "toy_of_a_package",
) -> None:
    """Write the metadata and the module of an installed package."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata, "utf-8")
    (info / "entry_points.txt").write_text(f"[{kinds.GROUP}]\n{name} = {value}\n", "utf-8")
    (folder / "toy_of_a_package.py").write_text(
        "from tests.unit.kinds.toy import KIND\nBROKEN = 1\n", "utf-8"
    )


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("site.getsitepackages", lambda: [str(folder)], raising=False)
    kinds._entry_points = None
    return folder


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="the signal is POSIX")
def test_an_exception_of_a_signal_handler_comes_out_of_the_import_of_a_package(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(packages)
    source = "import signal\nsignal.raise_signal(signal.SIGUSR1)\n"
    (packages / "toy_of_a_package.py").write_text(source, "utf-8")
    monkeypatch.delitem(sys.modules, "toy_of_a_package", raising=False)
    error = TimeoutError("alarm")

    def handler(signum: int, frame: Any) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, handler)
    with pytest.raises(TimeoutError) as caught:
        kinds.get("toy")
    signal.signal(signal.SIGUSR1, before)
    assert caught.value is error


def test_an_installed_package_adds_a_kind(packages: Path) -> None:
    install(packages)
    assert "toy" in kinds.names()
    assert "toy_of_a_package" not in sys.modules
    assert kinds.get("toy") == KIND
    assert kinds.get("toy-server") == KIND
    assert KIND in kinds.registered()
    (server,) = Config.load(environ={}, servers={"x": {"kind": "toy"}}).servers
    assert server.kind == "toy"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module:KIND", "ModuleNotFoundError"),
        ("toy_of_a_package:NOTHING", "AttributeError"),
        ("toy_of_a_package:BROKEN", "it is not a ProviderKind with the name 'toy'"),
    ],
)
def test_a_broken_entry_point_is_named_and_breaks_no_other_kind(
    packages: Path, value: str, problem: str
) -> None:
    install(packages, value)
    said = f"the entry point localproviders.kinds: toy = {value} is broken: {problem}"
    with pytest.raises(ConfigurationError) as caught:
        kinds.get("toy")
    assert caught.value.message.startswith(said)
    assert kinds.get("ollama").name == "ollama"
    with pytest.warns(RuntimeWarning) as told:
        assert [kind.name for kind in kinds.registered()] == _BUILT_IN
    assert str(told[0].message).startswith(said)
    assert len(kinds.registered()) == len(_BUILT_IN)  # the warning appears only once


@pytest.mark.parametrize("raised", ["RuntimeError('x')", "SystemExit", "MemoryError"])
def test_a_package_that_cannot_be_imported_is_tried_once(
    packages: Path, monkeypatch: pytest.MonkeyPatch, raised: str
) -> None:
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", dict)
    install(packages)
    (packages / "toy_of_a_package.py").write_text(
        f"import tests.unit.kinds.test_registry as t\nt.imports.append(1)\nraise {raised}\n",
        "utf-8",
    )
    imports.clear()
    with pytest.warns(RuntimeWarning, match=raised.partition("(")[0]):
        assert discover(["http://127.0.0.1:9"], refresh=True).tried
    with pytest.raises(ConfigurationError, match="is broken"):
        kinds.get("toy")
    assert len(imports) == 1


def test_the_callers_own_end_of_the_program_is_not_taken_for_a_broken_package(
    packages: Path,
) -> None:
    install(packages)
    (packages / "toy_of_a_package.py").write_text(
        "import tests.unit.kinds.test_registry as t\nt.end_the_program()\n", "utf-8"
    )
    for _ in range(2):
        with pytest.raises(SystemExit):
            kinds.get("toy")


def test_no_entry_point_replaces_a_kind_of_this_package(packages: Path) -> None:
    install(packages, name="ollama")
    assert kinds.get("ollama").title == "Ollama"
    assert kinds.names() == _BUILT_IN


@pytest.mark.parametrize(("name", "aliases"), [("toy", ()), ("other", ("toy",))])
def test_no_registered_kind_replaces_one_of_a_package(
    packages: Path, name: str, aliases: Any
) -> None:
    install(packages)
    with pytest.raises(ConfigurationError, match="already a provider kind 'toy'") as caught:
        kinds.register(ProviderKind(name, "X", "a:B", aliases))
    hint = "that kind is provided by the installed package toy_of_a_package; choose another name for your kind"
    assert caught.value.hint == hint


def test_two_packages_that_offer_different_kinds_of_one_name_are_told(packages: Path) -> None:
    install(packages)
    install(packages, "other:KIND", package="other")
    with pytest.raises(ConfigurationError) as caught:
        kinds.get("toy")
    assert sorted(caught.value.message.split()[-3:]) == ["and", "other", "toy_of_a_package"]
    with pytest.warns(RuntimeWarning, match="the provider kind 'toy' is provided by"):
        assert [kind.name for kind in kinds.registered()] == _BUILT_IN
    # Two packages that offer the same value agree.
    kinds._entry_points = None
    kinds._loaded.clear()
    (packages / "other-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{kinds.GROUP}]\ntoy = toy_of_a_package:KIND\n", "utf-8"
    )
    assert kinds.get("toy") == KIND


def test_of_a_package_that_is_installed_twice_the_first_one_counts(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(packages)
    older = tmp_path / "older"
    install(older, "older:KIND")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older)])
    folders = [str(packages), str(older)]
    monkeypatch.setattr("site.getsitepackages", lambda: folders, raising=False)
    assert kinds.get("toy") == KIND


def test_what_register_has_not_added_is_not_unregistered(packages: Path) -> None:
    install(packages)
    with pytest.raises(ConfigurationError, match="'ollama' is built in, so it cannot be unreg"):
        kinds.unregister("ollama")
    with pytest.raises(ConfigurationError, match="'toy' is provided by the installed package toy_"):
        kinds.unregister("toy")
    with pytest.raises(
        ConfigurationError, match=r"no provider kind 'x'.*register\(\) has added no kind"
    ):
        kinds.unregister("x")


def test_an_entry_point_in_the_current_folder_does_not_count(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    install(here)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", str(here), *sys.path])
    kinds._entry_points = None
    assert kinds.find("toy") is None
    assert "toy_of_a_package" not in sys.modules


# --- cost -------------------------------------------------------------------------------------


def _loaded(code: str) -> Any:
    root = str(Path(localproviders.__file__).parent.parent)
    names = f"import sys; sys.path.insert(0, {root!r}); {code}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", names], stdout=subprocess.PIPE, check=True, timeout=60
    )
    return done.stdout.decode().split()


@pytest.mark.sample(0)
def test_neither_the_package_nor_the_registry_imports_a_provider() -> None:
    assert "localproviders.kinds" not in _loaded("import localproviders")
    loaded = _loaded("import localproviders.kinds, localproviders.config, localproviders.testing")
    folders = [path.partition(":")[0].rpartition(".")[0] for path in kinds._BUILT_IN.values()]
    assert "localproviders.kinds" in loaded
    assert not {*folders, "importlib.metadata", "requests"} & {*loaded}


def test_a_configuration_loads_only_the_kinds_that_it_names() -> None:
    servers = "{'x': {'kind': 'lmstudio', 'model': 'm'}}"
    code = f"from localproviders import Config; Config.load(environ={{}}, servers={servers})"
    loaded = _loaded(code)
    assert "localproviders.lmstudio.kind" in loaded
    assert not {"localproviders.ollama", "localproviders.engine", "requests"} & {*loaded}


_SERVICE = KindService("toyhub", "https://192.0.2.7/toys", ("TOYHUB_KEY",))


def test_a_service_of_a_registered_kind_needs_only_its_entry() -> None:
    assert kinds.find_service("toyhub") is None
    kinds.register(dataclasses.replace(KIND, services=(_SERVICE,)))
    found = kinds.find_service("toyhub")
    assert found is not None and (found[0].name, found[1]) == ("toy", _SERVICE)
    assert kinds.find("toyhub") is None  # it is no kind
    with create_provider("toyhub/bricks") as provider:
        assert isinstance(provider, ToyProvider) and provider.name == "toyhub"
        assert provider.settings.endpoint.url == "https://192.0.2.7:443/toys"
    config = Config.load(environ={}, servers={"mine": {"kind": "toyhub"}})
    assert (config.servers[0].kind, config.servers[0].endpoint) == ("toy", _SERVICE.address)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("Toy Hub", "https://h"), "not a valid name"),
        (("unknown", "https://h"), "not a valid name"),
        (("toyhub", "ftp://h"), "the scheme of the address is 'ftp'"),
        (("toyhub", None), "address of the service 'toyhub' is None"),
        (("toyhub", "https://h", "TOYHUB_KEY"), "key_variables of the service"),
    ],
)
def test_a_service_with_a_wrong_field_is_refused(arguments: Any, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        KindService(*arguments)
    with pytest.raises(ConfigurationError, match="services of the provider kind"):
        ProviderKind("toy", "Toy", "a:B", services=("toyhub",))  # type: ignore[arg-type]
