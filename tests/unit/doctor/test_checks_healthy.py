"""Healthy machines of many kinds, on which an examination finds no trouble."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

import localproviders
from localproviders import kinds
from localproviders.doctor import Facts
from localproviders.doctor.facts import Disk
from localproviders.testing import (
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeProduct,
    ScriptedServer,
    http_answer,
)
from tests.unit.doctor.support import Machine, socket_line, troubles_of

HEALTHY: Dict[str, Callable[[Machine], None]] = {}


def healthy(plan: Callable[[Machine], None]) -> Callable[[Machine], None]:
    HEALTHY[plan.__name__] = plan
    return plan


@healthy
def one_server(machine: Machine) -> None:
    pass


@healthy
def a_configured_model_in_memory(machine: Machine) -> None:
    machine.configure('model = "llama3.2"\n[aliases]\nfast = ["llama3.2"]\n')
    machine.ollama.loaded["llama3.2"] = 32768
    machine.feed(disks=(Disk("ollama", "/models", 10**12),))


@healthy
def a_container(machine: Machine) -> None:
    port = machine.ollama.port
    machine.write(".dockerenv", "")
    machine.write("proc/self/cgroup", "0::/docker/0123456789abcdef\n")
    machine.listen("tcp6", socket_line("0" * 32, port))
    machine.patch.setenv("OLLAMA_HOST", f"0.0.0.0:{port}")  # as in Ollama's image
    machine.patch.setenv("container", "podman")


@healthy
def wsl(machine: Machine) -> None:
    machine.write("proc/version", "Linux version 5.15.90.1-microsoft-standard-WSL2\n")


@healthy
def proxies_that_exempt_loopback(machine: Machine) -> None:
    machine.patch.setenv("HTTP_PROXY", "http://me:s3cret@proxy:3128")
    machine.patch.setenv("https_proxy", "http://proxy:3128")
    machine.patch.setenv("NO_PROXY", "127.0.0.0/8, localhost, ::1, .example.com")


@healthy
def a_proxy_for_tls_only(machine: Machine) -> None:
    machine.patch.setenv("HTTPS_PROXY", "proxy:3128")


@healthy
def the_oldest_python_and_packages(machine: Machine) -> None:
    machine.feed(python=(3, 8, 2), packages={"requests": "2.25.1", "urllib3": "1.26.5"})


@healthy
def a_service_without_home_and_locale(machine: Machine) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "LANG", "LC_ALL", "LANGUAGE"):
        machine.patch.delenv(name, raising=False)
    machine.patch.setenv("LANG", "C")
    machine.ollama.models.append(FakeModel(name="modèle-名"))


@healthy
def servers_of_many_products(machine: Machine) -> None:
    machine.start(FakeLMStudio(["qwen/qwen3-4b"]))
    machine.start(FakeLlamaCpp([FakeModel(name="gemma", context_length=32768)]))
    machine.start(FakeProduct("vLLM", ["mistral"]))
    machine.start(FakeOpenAICompatible(["phi"]))
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "phi")


@healthy
def keys_in_files_of_the_user(machine: Machine) -> None:
    studio = machine.start(FakeLMStudio(["qwen/qwen3-4b"], api_key="sk-s3cret"))
    key = machine.home / "key"
    key.write_text("sk-s3cret\n", encoding="ascii")
    key.chmod(0o600)
    machine.configure(
        f'[servers.studio]\nkind = "lmstudio"\nendpoint = "{studio.url}"\n'
        f'api_key = {{ file = "{key}" }}\nmodel = "qwen/qwen3-4b"\n'
    )


@healthy
def a_server_for_the_network_with_a_key(machine: Machine) -> None:
    box = machine.start(FakeOllama(["llama3.2"], api_key="sk-s3cret"))
    machine.listen("tcp", socket_line("00000000", box.port))
    machine.patch.setenv("BOX_KEY", "sk-s3cret")
    machine.configure(
        f'[servers.box]\nkind = "ollama"\nendpoint = "{box.url}"\n'
        'api_key = { env = "BOX_KEY" }\nmodel = "llama3.2"\n'
    )


@healthy
def two_servers_that_share_the_work(machine: Machine) -> None:
    machine.start(FakeOllama([FakeModel(name="llama3.2")]))
    machine.configure('model = "llama3.2"\nstrategy = "balanced"\n')


@healthy
def a_server_that_is_named_twice(machine: Machine) -> None:
    machine.configure(f'[servers.box]\nkind = "ollama"\nendpoint = "{machine.ollama.url}"\n')
    machine.patch.setenv("OLLAMA_HOST", machine.ollama.url)


@healthy
def a_server_with_two_apis(machine: Machine) -> None:
    text = f'[servers.box]\nkind = "openai-compatible"\nendpoint = "{machine.ollama.url}/v1"\n'
    machine.configure(f'{text}[servers.ollama]\nendpoint = "{machine.ollama.url}"\n')


@healthy
def two_servers_with_the_same_files(machine: Machine) -> None:
    for fake in (machine.ollama, machine.start(FakeOllama([]))):
        fake.models[:] = [FakeModel(name="llama3.2", digest="a" * 64)]
    machine.configure('model = "llama3.2"\n')


@healthy
def a_project_with_an_alias(machine: Machine) -> None:
    file = machine.work / "localproviders.toml"
    file.write_text('model = "fast"\n[aliases]\nfast = ["llama3.2"]\n', encoding="ascii")


@healthy
def a_model_file_instead_of_a_server(machine: Machine) -> None:
    machine.stop()
    file = machine.home / "small.gguf"
    file.write_bytes(b"GGUF")
    machine.configure(f'[servers.file]\nkind = "gguf"\ngguf = "{file}"\n')


@healthy
def a_server_at_a_unix_socket(machine: Machine) -> None:
    path = f"/tmp/lp-{machine.ollama.port}.sock"
    machine.start(FakeOpenAICompatible(["phi"], unix=path), usual=False)
    text = f'[servers.box]\nkind = "openai-compatible"\nendpoint = "unix://{path}"\nmodel = "phi"\n'
    machine.configure(text)


@healthy
def a_web_server_at_a_usual_port(machine: Machine) -> None:
    page = http_answer("<!doctype html><title>My page</title>", content_type="text/html")
    machine.start(ScriptedServer(lambda _: [page]))


@healthy
def another_system_without_proc(machine: Machine) -> None:
    port = machine.ollama.port
    lines = f"tcp4  0  0  127.0.0.1.{port}  *.*  LISTEN\ntcp4  0  0  *.22  *.*  LISTEN\n"
    machine.feed(kernel={}, netstat=lines, platform="darwin", free_memory_bytes=None)


@healthy
def a_checkout_of_this_package(machine: Machine) -> None:
    machine.patch.chdir(Path(localproviders.__file__).parents[1])


@healthy
def certificates_of_the_company(machine: Machine) -> None:
    file = machine.home / "ca.pem"
    file.write_text("", encoding="ascii")
    machine.patch.setenv("REQUESTS_CA_BUNDLE", str(file))
    machine.patch.setenv("SSL_CERT_DIR", str(machine.home))


@healthy
def cloud_models_that_the_locality_allows(machine: Machine) -> None:
    machine.ollama.models.append(FakeModel(name="gpt-oss:cloud", remote_host="https://ollama.com"))
    machine.patch.setenv("LOCALPROVIDERS_LOCALITY", "any")


@healthy
def embeddings_beside_a_chat_model(machine: Machine) -> None:
    machine.ollama.models.append(machine.ollama.make_model("nomic-embed-text"))
    machine.configure('model = "llama3.2"\n[aliases]\nsearch = ["nomic-embed-text"]\n')


@healthy
def a_service_that_is_not_configured(machine: Machine) -> None:
    service = kinds.KindService("toys", "https://toys.example.com/v1")
    provider = "localproviders:OpenAICompatibleProvider"
    kind = kinds.ProviderKind("toy", "Toy", provider, services=(service,))
    machine.patch.setitem(kinds._registered, "toy", kind)
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "toys/llama-3.3-70b")


@healthy
def a_model_file_that_is_named(machine: Machine) -> None:
    file = machine.home / "small.gguf"
    file.write_bytes(b"GGUF")
    machine.configure(f'model = "file/small"\n[servers.file]\nkind = "gguf"\ngguf = "{file}"\n')


@healthy
def two_tags_of_one_model(machine: Machine) -> None:
    machine.ollama.models.append(FakeModel(name="llama3.2:405b", size_bytes=10**12))
    machine.configure('model = "llama3.2"\n')


@healthy
def a_model_on_a_graphics_card(machine: Machine) -> None:
    machine.ollama.models[0] = FakeModel(name="llama3.2", size_bytes=4_000)
    machine.ollama.loaded["llama3.2"] = 32768
    machine.ollama.vram_bytes = 4_000


def test_there_are_at_least_ten() -> None:
    assert len(HEALTHY) >= 10


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_machine_has_no_trouble(name: str, machine: Machine) -> None:
    HEALTHY[name](machine)

    report = machine.examine(strict=True)

    assert troubles_of(report) == ()
    assert report.exit_code == 0
    assert report.findings
    assert all(each.fact and each.source for each in report.findings)
    assert "s3cret" not in str(report) and "s3cret" not in str(report.to_dict())


def test_no_prompt_is_sent_and_nothing_is_changed(machine: Machine) -> None:
    machine.ollama.loaded["llama3.2"] = 32768
    machine.configure('model = "llama3.2"\n')

    machine.examine()

    routes = {(each.method, each.path.partition("?")[0]) for each in machine.ollama.exchanges}
    assert {route for route in routes if route[0] != "GET"} == {("POST", "/api/show")}
    assert machine.ollama.loaded == {"llama3.2": 32768}


def test_the_facts_hide_the_environment(machine: Machine) -> None:
    machine.patch.setenv("HTTP_PROXY", "http://me:s3cret@proxy:3128")
    facts: Facts = machine.facts()
    assert facts.environ["HTTP_PROXY"]
    assert "s3cret" not in repr(facts)


def test_the_facts_name_this_python(machine: Machine) -> None:
    facts: Any = machine.facts()
    assert facts.python == sys.version_info[:3]
