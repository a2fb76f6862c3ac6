"""`create_provider` reads one text as an alias, a server, a kind, a service or a model."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Callable, List, Mapping, Type

import pytest

from localproviders import (
    AnthropicProvider,
    CallEvent,
    Config,
    ConfigurationError,
    Limits,
    LMStudioProvider,
    LocalityError,
    LocalProvider,
    ModelNotFoundError,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    create_provider,
    discovery,
    kinds,
)
from localproviders.kinds import KindService
from localproviders.local.gguf import HostedProvider
from localproviders.openai_compatible import kind as openai_kind
from localproviders.testing import FakeAnthropic, FakeOllama, FakeOpenAICompatible
from tests.unit.kinds import toy

KEY, OTHER_KEY = "sk-of-the-file", "sk-of-the-caller"
CLOUD = KindService("cloudy", "https://192.0.2.7/v1", ("CLOUDY_API_KEY",))

WriteFile = Callable[[str], None]


@pytest.fixture(autouse=True)
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteFile:
    """Return a function that writes the user's file. No test reads the files of this machine."""
    file = tmp_path / "xdg" / "localproviders" / "config.toml"
    file.parent.mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.chdir(tmp_path / "work")

    def write_file(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)

    return write_file


@pytest.fixture(autouse=True)
def _no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(**_: Any) -> None:
        raise AssertionError("create_provider sends nothing")

    monkeypatch.setattr(discovery, "discover", search)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a service to the kind of OpenAI's dialect."""
    kind = dataclasses.replace(openai_kind.KIND, services=(CLOUD,))
    monkeypatch.setattr(openai_kind, "KIND", kind)


_WITH_SETTINGS = (
    AnthropicProvider,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
)


def settings_of(provider: ModelProvider) -> Any:
    assert isinstance(provider, _WITH_SETTINGS)
    return provider.settings


def refused(**arguments: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        create_provider(**arguments)
    assert "\n" not in str(caught.value)
    return caught.value


_FILE = """
[aliases]
fast = ["ollama/llama3.2", "both"]
"lmstudio/quick" = ["ollama/llama3.2"]
[servers.gpu-box]
kind = "openai-compatible"
endpoint = "http://127.0.0.1:8089/v1"
model = "usual"
limits.total_s = 77
[servers.ollama]
endpoint = "http://127.0.0.1:9999"
"""


@pytest.mark.parametrize(
    ("text", "cls", "name", "model", "url"),
    [
        ("fast", LocalProvider, "local", "fast", ""),
        ("lmstudio/quick", LocalProvider, "local", "lmstudio/quick", ""),
        ("gpu-box/org/m", OpenAICompatibleProvider, "gpu-box", "org/m", "http://127.0.0.1:8089/v1"),
        ("ollama/llama3.2", OllamaProvider, "ollama", "llama3.2", "http://127.0.0.1:9999"),
        ("lmstudio/qwen/q", LMStudioProvider, "lmstudio", "qwen/q", "http://127.0.0.1:1234"),
        ("cloudy/org/m", OpenAICompatibleProvider, "cloudy", "org/m", CLOUD.address),
        ("llama3.2", LocalProvider, "local", "llama3.2", ""),
        ("qwen/qwen3-4b", LocalProvider, "local", "qwen/qwen3-4b", ""),
        ("ollama", LocalProvider, "local", "ollama", ""),
        ("/m", LocalProvider, "local", "/m", ""),
    ],
)
@pytest.mark.usefixtures("cloud")
def test_the_text_is_read_in_the_order_of_the_table(
    write: WriteFile, text: str, cls: Type[ModelProvider], name: str, model: str, url: str
) -> None:
    write(_FILE)
    with create_provider(text) as provider:
        assert type(provider) is cls and provider.name == name
        if isinstance(provider, LocalProvider):
            assert provider._model == model
        else:
            settings = settings_of(provider)
            origin = settings.endpoint.url.replace(":443/", "/")
            assert (settings.model, origin) == (model, url)


def test_a_kind_that_was_registered_needs_only_its_entry() -> None:
    kinds.register(toy.KIND)
    try:
        with create_provider("toy-server/bricks") as provider:
            assert isinstance(provider, toy.ToyProvider)
            assert (provider.name, provider.settings.model) == ("toy", "bricks")
    finally:
        kinds.unregister("toy")


def test_a_path_after_the_kind_of_model_files_is_a_model_file(tmp_path: Path) -> None:
    with create_provider("gguf/models/tiny.gguf", timeout=9) as provider:
        assert isinstance(provider, HostedProvider)
        assert (provider.name, provider.limits().total_s) == ("gguf", 9)
        file = provider._config.gguf
    assert file is not None and str(file) == os.path.abspath("models/tiny.gguf")
    error = refused(model="gguf/tiny.gguf", api_key=KEY)
    assert error.message == "api_key cannot be used with gguf, which is a model file"


def test_without_a_text_the_configuration_names_the_model(
    write: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_provider() as provider:
        assert isinstance(provider, LocalProvider) and provider._model is None
    write('model = "ollama/a"\n[profiles.night]\nmodel = "lmstudio/b"\n')
    with create_provider() as provider:
        assert isinstance(provider, OllamaProvider) and provider.settings.model == "a"
    with create_provider(profile="night") as provider:
        assert isinstance(provider, LMStudioProvider) and provider.settings.model == "b"
    monkeypatch.setenv("LOCALPROVIDERS_MODEL", "lmstudio/c")
    with create_provider("") as provider:
        assert isinstance(provider, LMStudioProvider) and provider.settings.model == "c"


def test_nothing_is_sent() -> None:
    with FakeOllama(["llama3.2"]) as fake:
        with create_provider("ollama/llama3.2", endpoint=fake.url) as provider:
            assert fake.exchanges == []
            assert provider.chat("Hi").model == "llama3.2"


# --- servers of the environment --------------------------------------------------------------


def test_a_server_can_come_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOpenAICompatible(["m"]) as fake:
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_GPU_BOX_ENDPOINT", fake.base_url)
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_GPU_BOX_KIND", "openai-compatible")
        monkeypatch.setenv("LOCALPROVIDERS_SERVERS_GPU_BOX_LIMITS_TOTAL_S", "78")
        monkeypatch.setenv("LOCALPROVIDERS_MODEL", "gpu-box/m")
        with create_provider() as provider:
            assert provider.limits().total_s == 78
            answer = provider.chat("Hi")
    assert (answer.provider, answer.model) == ("gpu-box", "m")
    assert [server.name for server in Config.load().servers] == ["gpu-box"]


@pytest.mark.parametrize(
    ("variable", "text", "url"),
    [
        ("OLLAMA", "ollama/m", "http://127.0.0.1:7"),
        ("OPENAI_COMPATIBLE", "openai-compatible/m", "http://127.0.0.1:7"),
        ("CLOUDY", "cloudy/m", "http://127.0.0.1:7"),
        ("GPU_BOX", "gpu_box/m", "http://127.0.0.1:7"),
    ],
)
@pytest.mark.usefixtures("cloud")
def test_the_address_of_a_kind_a_service_or_a_server_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, write: WriteFile, variable: str, text: str, url: str
) -> None:
    write("[servers.gpu_box]\nkind = 'ollama'\nendpoint = 'http://127.0.0.1:8'\n")
    monkeypatch.setenv(f"LOCALPROVIDERS_SERVERS_{variable}_ENDPOINT", url)
    with create_provider(text) as provider:
        assert settings_of(provider).endpoint.url == url
        assert provider.name == text.partition("/")[0]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("OLAMA_ENDPOINT", "_OLAMA_KIND to one of ollama, lmstudio"),
        ("GPUBOX_ENDPOINT", "_GPUBOX_KIND to one of ollama, lmstudio"),
        ("GPUBOX_MODEL", "[servers.NAME]"),
        ("gpubox_ENDPOINT", "[servers.NAME]"),
        ("_X_ENDPOINT", "[servers.NAME]"),
    ],
)
def test_a_variable_of_a_server_without_a_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, write: WriteFile, name: str, hint: str
) -> None:
    write("[servers.gpu-box]\nkind = 'ollama'\n")
    name = f"LOCALPROVIDERS_SERVERS_{name}"
    monkeypatch.setenv(name, "http://127.0.0.1:7")
    error = refused(model="ollama/m")
    assert f"there is no variable {name}" in error.message and hint in str(error.hint)
    if "GPUBOX" in name:
        assert "did you mean 'LOCALPROVIDERS_SERVERS_GPU_BOX_" in error.message


# --- endpoint and options --------------------------------------------------------------------

_WITH_KEY = f"""
[servers.gpu-box]
kind = "openai-compatible"
endpoint = "http://127.0.0.1:8089/v1"
api_key = "{KEY}"
headers = {{X-Team = "research"}}
locality = "private"
[servers.far]
kind = "ollama"
locality = "any"
"""


def test_another_endpoint_gets_no_configured_secret(write: WriteFile) -> None:
    write(_WITH_KEY)
    same = "127.0.0.1:8089/v1/"
    for endpoint, key in ((None, KEY), (same, KEY), ("http://127.0.0.1:1/v1", None)):
        with create_provider("gpu-box/m", endpoint=endpoint) as provider:
            sent = settings_of(provider).headers_of_caller()
        bearer = {"Authorization": f"Bearer {key}", "X-Team": "research"} if key else {}
        assert {**sent} == bearer, endpoint
    with create_provider("gpu-box/m", endpoint="127.0.0.1:1", api_key=OTHER_KEY) as provider:
        sent = settings_of(provider).headers_of_caller()
    assert {**sent} == {"Authorization": f"Bearer {OTHER_KEY}"}


@pytest.mark.parametrize(
    ("kind", "configured", "given", "is_same"),
    [
        ("llamacpp", "http://127.0.0.1:9931", "http://127.0.0.1:9931/v1", True),
        ("llamacpp", "http://127.0.0.1:9931/llm", "http://127.0.0.1:9931", False),
        ("llamacpp", "unix:///run/a.sock", "unix:///run/a.sock:/v1", True),
        ("llamacpp", "127.0.0.1", "127.0.0.1:9931", True),
        ("llamacpp", "127.0.0.1", "127.0.0.1:80", False),
        ("lmstudio", "127.0.0.1", "http://127.0.0.1:1234/api/v1", True),
        ("ollama", "127.0.0.1:80", "127.0.0.1", False),
        ("openai-compatible", "unix:///run/a.sock", "unix:///run/a.sock:/v1", True),
        ("openai-compatible", "http://127.0.0.1:1/v1", "http://127.0.0.1:1", False),
    ],
)
def test_an_address_is_the_configured_one_if_its_kind_reads_both_alike(
    write: WriteFile, kind: str, configured: str, given: str, is_same: bool
) -> None:
    write(f"[servers.box]\nkind = '{kind}'\nendpoint = '{configured}'\napi_key = '{KEY}'\n")
    with create_provider("box/m", endpoint=given) as provider:
        assert settings_of(provider).has_key is is_same


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"api_key": OTHER_KEY}, f"Bearer {OTHER_KEY}"),
        ({"auth": ("me", "pw")}, "Basic bWU6cHc="),
        ({"headers": {"Authorization": "Token x"}}, "Token x"),
    ],
)
def test_an_authorization_of_the_caller_replaces_the_configured_one(
    write: WriteFile, options: Mapping[str, Any], sent: str
) -> None:
    write(_WITH_KEY)
    given: Any = options
    with create_provider("gpu-box/m", **given) as provider:
        assert settings_of(provider).headers_of_caller()["Authorization"] == sent


def test_arguments_replace_the_configured_values(write: WriteFile) -> None:
    write(_FILE)
    events: List[CallEvent] = []
    retry = RetryPolicy(attempts=7)
    with create_provider(
        "gpu-box/m", name="mine", timeout=5, retry=retry, listeners=[events.append]
    ) as provider:
        settings = settings_of(provider)
        assert (settings.name, settings.retry, len(settings.listeners)) == ("mine", retry, 1)
        assert settings.limits == Limits(total_s=5)
    with create_provider("gpu-box/m") as provider:
        assert provider.limits().total_s == 77
    with create_provider("m", name="mine", timeout=5, retry=retry) as local:
        assert isinstance(local, LocalProvider) and local.name == "mine"
        assert local.limits().total_s == 5
        assert {each.retry for each in local._effective_config.servers} == {retry}


def test_a_locality_limits_a_configured_server_and_widens_only_the_general_one(
    write: WriteFile,
) -> None:
    write(_WITH_KEY)
    for text, locality, effective in (
        ("far/m", None, "any"),
        ("far/m", "loopback", "loopback"),
        ("gpu-box/m", "any", "private"),
        ("lmstudio/m", None, "loopback"),
        ("lmstudio/m", "any", "any"),
    ):
        given: Any = locality
        with create_provider(text, locality=given) as provider:
            assert settings_of(provider).locality == effective, text
    with create_provider("m", locality="private") as local:
        assert isinstance(local, LocalProvider) and local.locality == "private"


_REFUSED: List[Any] = [
    ({"model": "openai-compatible/m"}, "a server of the kind openai-compatible has no usual address",
     "set the variable LOCALPROVIDERS_SERVERS_OPENAI_COMPATIBLE_ENDPOINT"),
    ({"model": "olama/m", "endpoint": "http://h"}, "'olama/m' names no server; did you mean"
     " 'ollama/m'?", "the servers are gpu-box, ollama, lmstudio"),
    ({"model": "gpubox/m", "endpoint": "http://h"}, "did you mean 'gpu-box/m'?", "SERVER/MODEL"),
    ({"model": "m", "api_key": KEY}, "api_key needs a server before the model, but 'm' names no"
     " server", "SERVER/MODEL"),
    ({"model": "m", "headers": {"X-A": "b"}}, "headers needs a server", "SERVER/MODEL"),
    ({"model": "fast", "endpoint": "http://h"}, "'fast' is an alias, which may lead to several", ""),
    ({"endpoint": "http://h"}, "no model was named", "SERVER/MODEL"),
    ({"model": "ollama/"}, "'ollama/' names no model", "ollama/MODEL"),
    ({"model": "gpu-box/ "}, "'gpu-box/ ' names no model", "gpu-box/MODEL"),
    ({"model": 3}, "model must be a string, not int", ""),
    ({"model": "ollama/m", "retry": 3}, "retry must be RetryPolicy(...), not int", ""),
    ({"model": "ollama/m", "timeout": -1}, "total_s is -1", ""),
    ({"model": "m", "timeout": -1}, "total_s is -1", ""),
    ({"model": "ollama/m", "locality": "near"}, "locality must be one of", ""),
    ({"model": "ollama/m", "endpoint": "http://me:pw@h"}, "credentials", "auth=(user, password)"),
    ({"model": "ollama/m", "profile": "nigth"}, "there is no profile 'nigth'", ""),
    ({"model": "openai-compatible/m", "endpoint": "cloud"}, "there is no service 'cloud'; did you"
     " mean 'cloudy'?", "the services are cloudy; to name a host, write http://cloud"),
    ({"model": "openai-compatible/m", "endpoint": "sk-1234"}, "there is no such service",
     "to name a host, write http://NAME"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message", "hint"), _REFUSED)
@pytest.mark.usefixtures("cloud")
def test_a_refusal_says_what_to_try_next(
    write: WriteFile, arguments: Mapping[str, Any], message: str, hint: str
) -> None:
    write(_FILE)
    error = refused(**arguments)
    assert isinstance(error, ConfigurationError)
    assert message in error.message and hint in str(error.hint)
    assert KEY not in str(error)


@pytest.mark.parametrize("text", ["olama/llama3.2", "Ollama/llama3.2"])
def test_the_first_call_suggests_the_server_whose_name_was_misspelt(text: str) -> None:
    with FakeOllama(["llama3.2"]) as fake, OllamaProvider(fake.url) as ollama:
        local = LocalProvider([ollama], model=text)
        with pytest.raises(ModelNotFoundError) as caught:
            local.chat("Hi")
    prefix = text.partition("/")[0]
    assert f"there is no server {prefix!r}; did you mean 'ollama/llama3.2'?" in str(caught.value)


def test_a_model_with_a_publisher_is_no_misspelt_server() -> None:
    with FakeOllama(["llama3.2"]) as fake, OllamaProvider(fake.url) as ollama:
        with pytest.raises(ModelNotFoundError) as caught:
            LocalProvider([ollama], model="qwen/qwen3-4b").chat("Hi")
    assert "there is no server" not in str(caught.value)


# --- services --------------------------------------------------------------------------------


@pytest.mark.usefixtures("cloud")
def test_a_service_gets_its_key_at_its_own_address_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDY_API_KEY", KEY)
    for make in (
        lambda: create_provider("cloudy/m"),
        lambda: create_provider("openai-compatible/m", endpoint="cloudy"),
        lambda: OpenAICompatibleProvider("cloudy"),
        lambda: OpenAICompatibleProvider(CLOUD.address),
    ):
        with make() as provider:
            assert settings_of(provider).api_key.reveal() == KEY
    for other in ("https://192.0.2.8/v1", "http://192.0.2.7/v1", "localhost"):
        with OpenAICompatibleProvider(other) as provider:
            assert settings_of(provider).api_key is None
    with OpenAICompatibleProvider("cloudy", api_key=OTHER_KEY) as provider:
        assert settings_of(provider).api_key.reveal() == OTHER_KEY
    with OpenAICompatibleProvider("cloudy", auth=("me", "pw")) as provider:
        assert settings_of(provider).api_key is None


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("text", ["[servers.cloudy]\n", "[servers.mine]\nkind = 'cloudy'\n"])
def test_a_service_can_be_the_kind_of_a_server(write: WriteFile, text: str) -> None:
    write(f"{text}model = 'm'\n")
    (server,) = Config.load().servers
    assert (server.kind, server.endpoint) == ("openai-compatible", CLOUD.address)


@pytest.mark.usefixtures("cloud")
def test_a_service_sends_nothing_within_a_narrow_locality() -> None:
    with create_provider("cloudy/m") as provider, pytest.raises(LocalityError):
        provider.chat("Hi")


def test_a_name_that_is_no_service_is_never_a_host() -> None:
    with pytest.raises(ConfigurationError) as caught:
        OpenAICompatibleProvider("gpu-box")
    known = ", ".join(service.name for service in openai_kind.KIND.services)
    assert str(caught.value) == (
        f"there is no service 'gpu-box' (hint: the services are {known}; to name a host, write "
        "http://gpu-box)"
    )
    with OpenAICompatibleProvider("http://gpu-box") as provider:
        assert provider.settings.endpoint.host == "gpu-box"


# --- a project's file ------------------------------------------------------------------------


def _project(text: str) -> None:
    Path("localproviders.toml").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("cloud")
def test_a_project_chooses_only_servers_of_this_machine(write: WriteFile, tmp_path: Path) -> None:
    for trusted in ("", f"trusted_folders = ['{tmp_path}']\n"):
        write(f"{trusted}locality = 'any'\n")
        for text in ("cloudy/m", "gguf/etc/passwd", "openai-compatible/m"):
            _project(f"model = '{text}'\n")
            error = refused()
            assert isinstance(error, LocalityError)
            assert "localproviders.toml, line 1: model names" in error.message
        _project("model = 'lmstudio/m'\n")
        with create_provider() as provider:
            assert isinstance(provider, LMStudioProvider)
        _project("model = 'cloudy/m'\n")
        with create_provider("cloudy/m") as provider:  # the choice of the caller
            assert provider.name == "cloudy"


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[servers.cloudy]\nmodel = 'm'", "is a service on the internet"),
        ("[servers.x]\nkind = 'cloudy'", "is a service on the internet"),
        ("[servers.x]\nkind = 'openai-compatible'\nendpoint = 'cloudy'", "CLOUDY_API_KEY"),
        (
            f"[servers.x]\nkind = 'openai-compatible'\nendpoint = '{CLOUD.address}'",
            "CLOUDY_API_KEY",
        ),
    ],
)
def test_a_project_defines_no_service(
    write: WriteFile, tmp_path: Path, text: str, rule: str
) -> None:
    write(f"trusted_folders = ['{tmp_path}']\nlocality = 'any'\n")
    _project(text)
    assert rule in refused().message


def test_a_model_of_a_project_leads_only_to_near_servers(write: WriteFile) -> None:
    write("[servers.far]\nkind = 'ollama'\nlocality = 'any'\n")
    _project("model = 'big'\n")
    with create_provider() as provider:
        # The model is not an argument, so the rules for a project's choice still hold.
        assert isinstance(provider, LocalProvider)
        assert provider._arguments["model"] is None and provider._model == "big"


def test_an_endpoint_may_be_a_unix_socket() -> None:
    with create_provider("openai-compatible/m", endpoint="unix:///run/llama.sock") as provider:
        assert settings_of(provider).endpoint.url == "unix:///run/llama.sock:/v1"


def test_a_kind_that_is_a_service_has_its_key_its_address_and_its_longest_answer(
    write: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with create_provider("anthropic/claude-opus-4-8") as provider:
        settings = settings_of(provider)
        assert (type(provider), provider.name) == (AnthropicProvider, "anthropic")
        assert settings.model == "claude-opus-4-8"
        assert settings.endpoint.url == "https://api.anthropic.com:443"
        assert settings.api_key.reveal() == KEY
        with pytest.raises(LocalityError):
            provider.chat("Hi")
    with FakeAnthropic(["m"]) as fake:
        write(f"[servers.claude]\nkind = 'anthropic'\nendpoint = '{fake.url}'\nmax_tokens = 77\n")
        with create_provider("claude/m") as provider:
            assert settings_of(provider).api_key is None
            assert provider.chat("Hi").warnings == ()
        assert fake.exchanges[-1].json["max_tokens"] == 77


def test_a_project_chooses_no_kind_that_is_a_service(write: WriteFile, tmp_path: Path) -> None:
    for trusted in ("", f"trusted_folders = ['{tmp_path}']\n"):
        write(f"{trusted}locality = 'any'\n")
        _project("model = 'anthropic/claude-opus-4-8'\n")
        error = refused()
        assert isinstance(error, LocalityError)
        assert "localproviders.toml, line 1: model names" in error.message
