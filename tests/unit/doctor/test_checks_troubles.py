"""Each trouble in the table is planted on a healthy machine, and found with its mark and code."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Tuple

import pytest

from localproviders.discovery import Probe
from localproviders.doctor import Facts
from localproviders.doctor.facts import AskedServer, Disk
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
    http_answer,
)
from tests.unit.discovery.support import OllamaOnIPv6, closed_port, has_ipv6
from tests.unit.doctor.support import NOW, Machine, socket_line, troubles_of


class Trouble(NamedTuple):
    """A planted trouble.

    Attributes:
        plant: Function that plants it.
        mark: The mark of its finding.
        code: The exit code of its finding.
        fact: Words of the fact.
        fix: Words of the command; empty if there is none.
        also: Words of further findings that follow from the same cause.
    """

    plant: Callable[[Machine], None]
    mark: str
    code: int
    fact: str
    fix: str
    also: Tuple[str, ...]


TROUBLES: Dict[str, Trouble] = {}


def trouble(
    mark: str, code: int, fact: str, fix: str = "", also: Tuple[str, ...] = ()
) -> Callable[[Callable[[Machine], None]], Callable[[Machine], None]]:
    def add(plant: Callable[[Machine], None]) -> Callable[[Machine], None]:
        TROUBLES[plant.__name__] = Trouble(plant, mark, code, fact, fix, also)
        return plant

    return add


def server(name: str, kind: str, endpoint: str, more: str = "") -> str:
    return f'[servers.{name}]\nkind = "{kind}"\nendpoint = "{endpoint}"\n{more}\n'


# --- servers ---------------------------------------------------------------------------------


@trouble("error", 5, "no model server is ready", "ollama serve")
def no_server(machine: Machine) -> None:
    machine.stop()


@trouble("error", 5, "box at http://127.0.0.1:", "ollama serve")
def a_configured_server_is_down(machine: Machine) -> None:
    machine.configure(server("box", "ollama", f"http://127.0.0.1:{closed_port()}"))


@trouble("error", 5, "ollama at http://127.0.0.1:", "ollama serve")
def the_server_of_a_variable_is_down(machine: Machine) -> None:
    machine.patch.setenv("OLLAMA_HOST", f"127.0.0.1:{closed_port()}")


@trouble("error", 2, "credentials", "unset OLLAMA_HOST")
def a_variable_has_no_address(machine: Machine) -> None:
    machine.patch.setenv("OLLAMA_HOST", "http://me:s3cret@127.0.0.1:11434")


@trouble("error", 6, "did not answer within", "ss -tlnp", also=("no model server",))
def a_server_hangs(machine: Machine) -> None:
    machine.stop()
    silent = machine.start(ScriptedServer(lambda _: [lambda e: e.hold()]), usual=False)
    machine.configure(server("box", "ollama", silent.url))
    machine.options["timeout_s"] = 1.0


@trouble("error", 4, "studio at http://127.0.0.1:", "export LM_API_TOKEN=...")
def a_server_wants_a_key(machine: Machine) -> None:
    studio = machine.start(FakeLMStudio(api_key="sk-s3cret"), usual=False)
    machine.configure(server("studio", "lmstudio", studio.url))


@trouble("error", 4, "studio at http://127.0.0.1:", "${EDITOR:-vi} +4 ")
def a_server_refuses_the_key(machine: Machine) -> None:
    studio = machine.start(FakeLMStudio(api_key="sk-right"), usual=False)
    machine.configure(server("studio", "lmstudio", studio.url, 'api_key = "sk-s3cret"'))


@trouble("error", 2, "configured as lmstudio, but Ollama answers", "_KIND=ollama")
def a_server_is_of_another_kind(machine: Machine) -> None:
    machine.configure(server("studio", "lmstudio", machine.ollama.url))


@trouble("error", 4, "box at http://127.0.0.1:", "${EDITOR:-vi} +3 ")
def a_proxy_of_a_server_wants_a_key(machine: Machine) -> None:
    box = machine.start(FakeOllama(api_key="sk-s3cret"), usual=False)
    machine.configure(server("box", "ollama", box.url))


@trouble("error", 4, "unauthorized", "_SERVERS_OLLAMA_API_KEY=...")
def the_server_of_a_variable_wants_a_key(machine: Machine) -> None:
    machine.stop()
    box = machine.start(FakeOllama(api_key="sk-s3cret"), usual=False)
    machine.patch.setenv("OLLAMA_HOST", box.url)


@trouble("error", 7, "web page", "ss -tlnp")
def a_web_server_answers(machine: Machine) -> None:
    page = machine.start(
        ScriptedServer(lambda _: [http_answer("<!doctype html><title>Hi</title>")]), usual=False
    )
    machine.configure(server("box", "openai-compatible", f"{page.url}/v1"))


@trouble("error", 5, "TLS", "_BOX_ENDPOINT=http://127.0.0.1:")
def a_plain_server_is_asked_with_tls(machine: Machine) -> None:
    address = machine.ollama.url.replace("http:", "https:")
    machine.configure(server("box", "ollama", address))


@trouble("error", 3, "192.0.2.7", "export LOCALPROVIDERS_LOCALITY=any")
def a_server_is_outside_the_locality(machine: Machine) -> None:
    machine.configure(server("box", "ollama", "http://192.0.2.7:11434"))


@trouble("warning", 1, "is degraded")
def a_server_is_still_loading(machine: Machine) -> None:
    answer = http_answer(
        {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},
        status="503 Service Unavailable",
    )
    machine.start(ScriptedServer(lambda _: [answer]))


@trouble("warning", 1, " needs a key", "export LOCALPROVIDERS_SERVERS_LMSTUDIO_ENDPOINT=http://")
def a_found_server_wants_a_key(machine: Machine) -> None:
    machine.start(FakeLMStudio(api_key="sk-s3cret"))


@trouble("error", 4, " needs a key", "export LOCALPROVIDERS_SERVERS_LMSTUDIO_ENDPOINT=http://")
def the_only_server_wants_a_key(machine: Machine) -> None:
    machine.stop()
    machine.start(FakeLMStudio(api_key="sk-s3cret"))


@trouble("warning", 1, "two servers use port", "ss -tlnp")
def two_servers_share_a_port(machine: Machine) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    machine.start(OllamaOnIPv6(["mistral"], port=machine.ollama.port))


@trouble("warning", 1, "two programs listen at port", "ss -tlnp", also=("listens at 0.0.0.0",))
def two_programs_share_a_port(machine: Machine) -> None:
    port = machine.ollama.port
    machine.listen("tcp", socket_line("0100007F", port), socket_line("00000000", port))


@trouble("warning", 1, "a program listens at http://127.0.0.1:11434", "ss -tlnp")
def another_program_has_the_default_port(machine: Machine) -> None:
    probe = Probe(endpoint="http://127.0.0.1:11434", outcome="unavailable", reason="a web page")

    def add(facts: Facts) -> Dict[str, Any]:
        assert facts.search is not None
        return {"search": facts.search.replace(tried=(*facts.search.tried, probe))}

    machine.changes = add


@trouble("warning", 1, "has version 0.3.9; thinking needs 0.9.0")
def a_server_is_too_old(machine: Machine) -> None:
    machine.ollama.version = "0.3.9"


@trouble("warning", 1, "is of the generation 0.3")
def lm_studio_is_too_old(machine: Machine) -> None:
    machine.start(FakeLMStudio(["m"], generation="0.3"))


@trouble("error", 2, "there is no model file", "${EDITOR:-vi} +3 ")
def a_model_file_is_missing(machine: Machine) -> None:
    machine.configure(f'[servers.file]\nkind = "gguf"\ngguf = "{machine.home}/nowhere.gguf"\n')


# --- models ----------------------------------------------------------------------------------


@trouble("error", 8, "has no model", "localproviders pull MODEL --host ollama=http://127")
def no_server_has_a_model(machine: Machine) -> None:
    machine.ollama.models.clear()


@trouble("warning", 1, "has no model", "localproviders pull")
def one_of_the_servers_has_no_model(machine: Machine) -> None:
    machine.start(FakeOllama([]))


@trouble("error", 8, "model names 'mistral', which no server has", "localproviders pull mistral")
def the_configured_model_is_missing(machine: Machine) -> None:
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "mistral")


@trouble(
    "error",
    8,
    "which no server has; the servers have some-model",
    "export LOCALPROVIDERS_MODEL=MODEL",
)
def the_missing_model_cannot_be_downloaded(machine: Machine) -> None:
    box = machine.start(FakeOpenAICompatible(), usual=False)
    machine.configure(server("box", "openai-compatible", box.base_url))
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "box/mistral")


@trouble("error", 8, "no server 'lmstudio' is ready", "localproviders discover")
def the_configured_model_is_on_a_server_that_does_not_run(machine: Machine) -> None:
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "lmstudio/mistral")


@trouble("warning", 1, "aliases.fast names 'mistral'", "localproviders pull mistral")
def one_model_of_an_alias_is_missing(machine: Machine) -> None:
    machine.configure('[aliases]\nfast = ["mistral", "llama3.2"]\n')


@trouble("error", 8, "aliases.fast names 'mistral'", "localproviders pull mistral")
def all_models_of_an_alias_are_missing(machine: Machine) -> None:
    machine.configure('[aliases]\nfast = ["mistral"]\n')


@trouble("error", 8, "servers.box.model names 'mistral'", "localproviders pull mistral")
def the_model_of_a_server_is_missing(machine: Machine) -> None:
    machine.configure(server("box", "ollama", machine.ollama.url, 'model = "mistral"'))


@trouble(
    "warning", 1, "window of 4096 tokens, and was trained for 131072", "OLLAMA_CONTEXT_LENGTH="
)
def the_window_of_a_loaded_model_is_small(machine: Machine) -> None:
    machine.ollama.loaded["llama3.2"] = 4096


@trouble("warning", 1, "only 25% of llama3.2:latest is on the graphics card", "unload")
def a_model_does_not_fit_on_the_card(machine: Machine) -> None:
    machine.ollama.models[0] = machine.ollama.models[0].replace(size_bytes=4_000)
    machine.ollama.loaded["llama3.2"] = 32768
    machine.ollama.vram_bytes = 1_000


@trouble("warning", 1, "was replaced since it was loaded", "unload")
def a_loaded_model_was_replaced(machine: Machine) -> None:
    machine.ollama.loaded["llama3.2"] = 32768

    def replace_loaded(facts: Facts) -> Dict[str, Any]:
        assert facts.search is not None
        (found,) = facts.search.servers
        loaded = tuple(each.replace(digest="b" * 64) for each in found.loaded)
        return {"search": facts.search.replace(servers=(found.replace(loaded=loaded),))}

    machine.changes = replace_loaded


def cloud_model() -> FakeModel:
    return FakeModel(name="gpt-oss:120b-cloud", remote_host="https://ollama.com:443")


@trouble("error", 3, "runs on https://ollama.com:443", "export LOCALPROVIDERS_MODEL=MODEL")
def the_configured_model_runs_in_the_cloud(machine: Machine) -> None:
    machine.ollama.models.append(cloud_model())
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "gpt-oss:120b-cloud")


@trouble("warning", 1, "runs on https://ollama.com:443", "localproviders delete")
def a_listed_model_runs_in_the_cloud(machine: Machine) -> None:
    machine.ollama.models.append(cloud_model())


@trouble("warning", 1, "llama3.2 has no chat template", "localproviders show llama3.2")
def a_model_has_no_chat_template(machine: Machine) -> None:
    machine.ollama.made["llama3.2:latest"] = {"template": "{{ .Prompt }}"}
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "llama3.2")


@trouble("error", 8, "cannot chat", "export LOCALPROVIDERS_MODEL=MODEL")
def the_configured_model_embeds(machine: Machine) -> None:
    machine.ollama.models.append(machine.ollama.make_model("nomic-embed-text"))
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "nomic-embed-text")


@trouble("warning", 1, "several servers have llama3.2", "export LOCALPROVIDERS_MODEL=")
def two_servers_have_different_models_of_one_name(machine: Machine) -> None:
    machine.start(FakeOllama([FakeModel(name="llama3.2", digest="a" * 64)]))
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "llama3.2")


# --- memory ----------------------------------------------------------------------------------


@trouble("warning", 1, "and 0.5 GB of memory are free", "free -h")
def there_is_little_memory(machine: Machine) -> None:
    machine.write("proc/meminfo", "MemAvailable:   500000 kB\n")


@trouble("warning", 1, "and 0.3 GB of memory are free", "free -h")
def the_group_of_the_process_has_little_memory(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/job\n")
    machine.write("sys/fs/cgroup/job/memory.max", "400000000\n")
    machine.write("sys/fs/cgroup/job/memory.current", "100000000\n")


@trouble(
    "warning",
    1,
    "only 1.0 GB are free for the models",
    "localproviders delete MODEL --host ollama=",
)
def the_disk_is_almost_full(machine: Machine) -> None:
    machine.feed(disks=(Disk("ollama", "/models", 10**9),))


@trouble("warning", 1, "/nowhere, which is missing", "unset OLLAMA_MODELS")
def the_folder_of_the_models_is_missing(machine: Machine) -> None:
    machine.patch.setenv("OLLAMA_MODELS", "/nowhere")


# --- exposure --------------------------------------------------------------------------------


@trouble("warning", 1, "listens at 0.0.0.0", "OLLAMA_HOST=127.0.0.1 ollama serve")
def a_server_listens_for_all_networks(machine: Machine) -> None:
    machine.listen("tcp", socket_line("00000000", machine.ollama.port))


@trouble("warning", 1, "listens at ::", "OLLAMA_HOST=127.0.0.1 ollama serve")
def a_server_listens_for_all_ipv6_networks(machine: Machine) -> None:
    machine.listen("tcp6", socket_line("0" * 32, machine.ollama.port))


@trouble("warning", 1, "listens at 192.168.1.20", "OLLAMA_HOST=127.0.0.1 ollama serve")
def a_server_listens_for_one_network(machine: Machine) -> None:
    machine.listen("tcp", socket_line("1401A8C0", machine.ollama.port))


@trouble("warning", 1, "listens at 0.0.0.0", "OLLAMA_HOST=127.0.0.1 ollama serve")
def a_server_on_another_system_listens_for_all_networks(machine: Machine) -> None:
    line = f"tcp46  0  0  *.{machine.ollama.port}  *.*  LISTEN\n"
    machine.feed(kernel={}, netstat=line, platform="darwin")


@trouble("warning", 1, "SSLKEYLOGFILE", "Remove-Item Env:SSLKEYLOGFILE")
def the_secrets_of_tls_are_written_on_windows(machine: Machine) -> None:
    machine.patch.setenv("SSLKEYLOGFILE", "C:/keys")
    machine.patch.setenv("USERPROFILE", "C:/Users/me")
    machine.feed(platform="win32")


@trouble("warning", 1, "lets each web page", "unset OLLAMA_ORIGINS")
def each_web_page_may_use_the_server(machine: Machine) -> None:
    machine.patch.setenv("OLLAMA_ORIGINS", "http://localhost, *")


@trouble("warning", 1, "listen for all networks", "export OLLAMA_HOST=127.0.0.1")
def a_variable_makes_a_server_listen_for_all_networks(machine: Machine) -> None:
    machine.patch.setenv("OLLAMA_HOST", f"0.0.0.0:{machine.ollama.port}")


@trouble("warning", 1, "port 80", "export OLLAMA_HOST=127.0.0.1:11434", also=("ollama at",))
def a_variable_has_a_scheme_and_no_port(machine: Machine) -> None:
    machine.patch.setenv("OLLAMA_HOST", "http://127.0.0.1")


@trouble("warning", 1, "goes unencrypted", "${EDITOR:-vi} +7 config.toml")
def a_key_is_sent_in_the_clear(machine: Machine) -> None:
    box = AskedServer(
        "box", "ollama", "http://192.0.2.7:11434", "config.toml, line 7", is_local=False
    )
    models = machine.facts().found[0].models
    machine.feed(asked=(box._replace(allow_plaintext_key=True, models=models),))


# --- environment -----------------------------------------------------------------------------


@trouble("warning", 1, "http://127.0.0.1 to proxy:3128", "export NO_PROXY=127.0.0.1,localhost,::1")
def a_proxy_takes_loopback_traffic(machine: Machine) -> None:
    machine.patch.setenv("HTTP_PROXY", "http://me:s3cret@proxy:3128")


@trouble("warning", 1, "http://127.0.0.1 to proxy:1080", "export NO_PROXY=localhost,127.0.0.1")
def a_proxy_exempts_localhost_but_not_its_addresses(machine: Machine) -> None:
    machine.patch.setenv("all_proxy", "socks5://proxy:1080")
    machine.patch.setenv("NO_PROXY", "localhost")


@trouble("warning", 1, "https_proxy does not contain the address of a proxy", "unset https_proxy")
def a_proxy_is_no_address(machine: Machine) -> None:
    machine.patch.setenv("https_proxy", "http://[")


@trouble("warning", 1, "HTTPS_PROXY and https_proxy differ", "unset HTTPS_PROXY")
def two_spellings_of_a_proxy_differ(machine: Machine) -> None:
    machine.patch.setenv("HTTPS_PROXY", "http://one:3128")
    machine.patch.setenv("https_proxy", "http://two:3128")


@trouble("warning", 1, "REQUESTS_CA_BUNDLE names /nowhere.pem", "unset REQUESTS_CA_BUNDLE")
def a_file_of_certificates_is_missing(machine: Machine) -> None:
    machine.patch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")


@trouble("error", 2, "SSL_CERT_FILE names /nowhere.pem", "unset SSL_CERT_FILE", also=("box at",))
def a_file_of_certificates_that_this_package_reads_is_missing(machine: Machine) -> None:
    machine.patch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    more = 'ca_bundle = "environment"'
    machine.configure(server("box", "ollama", machine.ollama.url, more))


@trouble("warning", 1, "SSLKEYLOGFILE", "unset SSLKEYLOGFILE")
def the_secrets_of_tls_are_written(machine: Machine) -> None:
    machine.patch.setenv("SSLKEYLOGFILE", "/tmp/keys")


@trouble("warning", 1, "the name localhost resolves to ::1: other programs", "/etc/hosts")
def localhost_is_only_ipv6(machine: Machine) -> None:
    machine.options["localhost"] = lambda: ("::1",)


@trouble("warning", 1, "the name localhost resolves to 198.51.100.1", "/etc/hosts")
def localhost_is_another_machine(machine: Machine) -> None:
    machine.options["localhost"] = lambda: ("198.51.100.1",)


@trouble("warning", 1, "the name localhost resolves to no address", "/etc/hosts")
def localhost_has_no_address(machine: Machine) -> None:
    machine.options["localhost"] = lambda: ()


@trouble("warning", 1, "this is WSL", "ip route show default", also=("no model server",))
def wsl_has_no_server(machine: Machine) -> None:
    machine.stop()
    machine.write("proc/version", "Linux version 5.15.90.1-microsoft-standard-WSL2\n")


@trouble("warning", 1, "this is a container", "host.docker.internal", also=("no model server",))
def a_container_has_no_server(machine: Machine) -> None:
    machine.stop()
    machine.write(".dockerenv", "")


@trouble("warning", 1, "the clock says 2001-01-01, which is years off", "timedatectl")
def the_clock_is_years_off(machine: Machine) -> None:
    machine.options["now"] = datetime(2001, 1, 1, tzinfo=timezone.utc)


@trouble("warning", 1, "has a newer model", "timedatectl")
def the_clock_is_older_than_a_model(machine: Machine) -> None:
    def age(facts: Facts) -> Dict[str, Any]:
        assert facts.search is not None
        (found,) = facts.search.servers
        models = [each.replace(modified_at=NOW + timedelta(days=300)) for each in found.models]
        return {"search": facts.search.replace(servers=(found.replace(models=tuple(models)),))}

    machine.changes = age


# --- this program ----------------------------------------------------------------------------


@trouble("error", 2, "there is no key 'modell'", "${EDITOR:-vi} +1 ")
def a_key_is_unknown(machine: Machine) -> None:
    machine.configure('modell = "llama3.2"\n')


@trouble("error", 2, "cannot be parsed as TOML", "${EDITOR:-vi} +2 ")
def the_configuration_is_no_toml(machine: Machine) -> None:
    machine.configure('model = "llama3.2"\nlocality = loopback\n')


@trouble("error", 2, "there is no variable LOCALPROVIDERS_MODLE", "unset LOCALPROVIDERS_MODLE")
def a_variable_is_unknown(machine: Machine) -> None:
    machine.patch.setenv("LOCALPROVIDERS_MODLE", "llama3.2")


@trouble("error", 2, "must be one of loopback, private, any", "unset LOCALPROVIDERS_LOCALITY")
def a_variable_has_a_wrong_value(machine: Machine) -> None:
    machine.patch.setenv("LOCALPROVIDERS_LOCALITY", "home")
    machine.patch.setenv("OLLAMA_HOST", machine.ollama.url)


@trouble("error", 2, "there is no profile 'night'", "localproviders config check")
def a_profile_is_missing(machine: Machine) -> None:
    machine.options["profile"] = "night"


@trouble("error", 2, "other users can read the key file", "chmod 600 ")
def others_can_read_a_key_file(machine: Machine) -> None:
    key = machine.home / "key"
    key.write_text("sk-s3cret", encoding="ascii")
    key.chmod(0o644)
    more = f'api_key = {{ file = "{key}" }}'
    machine.configure(server("box", "ollama", machine.ollama.url, more))


@trouble("error", 2, "other users can read the key in", "chmod 600 ")
def others_can_read_a_key_in_the_configuration(machine: Machine) -> None:
    text = server("box", "ollama", machine.ollama.url, 'api_key = "sk-s3cret"')
    machine.configure(text, mode=0o644)


@trouble("error", 2, "can be written by other users", "chmod go-w ")
def others_can_write_the_configuration(machine: Machine) -> None:
    machine.configure('model = "llama3.2"\n', mode=0o666)


@trouble("error", 2, "the variable BOX_KEY is not set", "export BOX_KEY=...")
def the_variable_of_a_key_is_not_set(machine: Machine) -> None:
    more = 'api_key = { env = "BOX_KEY" }'
    machine.configure(server("box", "ollama", machine.ollama.url, more))


@trouble("error", 3, "locality", "${EDITOR:-vi} +1 ")
def a_project_widens_the_locality(machine: Machine) -> None:
    (machine.work / "localproviders.toml").write_text('locality = "any"\n', encoding="ascii")


@trouble("error", 2, "no TOML parser", "python -m pip install tomli")
def there_is_no_toml_parser(machine: Machine) -> None:
    machine.configure('model = "llama3.2"\n')
    for name in ("tomllib", "tomli"):
        machine.patch.setitem(sys.modules, name, None)


@trouble("error", 2, "requests 2.20.0 is older than 2.25.1", "pip install 'requests>=2.25.1'")
def requests_is_too_old(machine: Machine) -> None:
    folder = machine.home / "packages"
    (folder / "requests-2.20.0.dist-info").mkdir(parents=True)
    text = "Metadata-Version: 2.1\nName: requests\nVersion: 2.20.0\n"
    (folder / "requests-2.20.0.dist-info" / "METADATA").write_text(text, encoding="ascii")
    machine.patch.syspath_prepend(str(folder))
    machine.changes = lambda facts: {"packages": {**facts.packages, "urllib3": "1.26.5"}}


@trouble("error", 2, "urllib3 is not installed", "pip install 'urllib3>=1.26.5'")
def urllib3_is_missing(machine: Machine) -> None:
    machine.feed(packages={"requests": "2.31.0", "urllib3": None})


@trouble("error", 2, "does not work with urllib3 2", "pip install 'requests>=2.30'")
def requests_does_not_work_with_urllib3(machine: Machine) -> None:
    machine.feed(packages={"requests": "2.28.1", "urllib3": "2.0.3"})


@trouble("warning", 1, "hides the module random", "mv ")
def a_file_hides_a_standard_module(machine: Machine) -> None:
    (machine.work / "random.py").write_text("", encoding="ascii")


@trouble("warning", 1, "hides the module requests", "mv ")
def a_file_hides_a_package(machine: Machine) -> None:
    (machine.work / "requests.py").write_text("", encoding="ascii")


@trouble("warning", 1, "run with this lock file ends with exit code 75", "ps -o pid,etime,args -p ")
def a_process_holds_a_lock(machine: Machine) -> None:
    path = machine.work / "night.lock"
    descriptor = os.open(str(path), os.O_CREAT | os.O_RDWR)
    machine._stack.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    machine.write("proc/locks", Path("/proc/locks").read_text(encoding="ascii"))


# --- the test --------------------------------------------------------------------------------


def test_there_are_at_least_forty() -> None:
    assert len(TROUBLES) >= 40


@pytest.mark.parametrize("name", TROUBLES)
def test_a_planted_trouble_is_found_and_nothing_else(name: str, machine: Machine) -> None:
    expected = TROUBLES[name]
    expected.plant(machine)

    report = machine.examine()

    (found,) = [each for each in report.findings if expected.fact in each.fact]
    assert (found.mark, found.exit_code) == (expected.mark, expected.code), str(report)
    assert found.source
    assert expected.fix in (found.fix or "") and bool(expected.fix) == bool(found.fix)
    others = [line for line in troubles_of(report) if line != str(found)]
    unexpected = [line for line in others if not any(words in line for words in expected.also)]
    assert unexpected == []
    errors = [each.exit_code for each in report.findings if each.mark == "error"]
    assert report.exit_code == max(errors, default=0)
    assert report.replace(strict=True).exit_code == max(errors, default=1)
    assert "s3cret" not in str(report) and "s3cret" not in str(report.to_dict())


def test_the_page_lists_each_trouble_with_its_mark_and_code() -> None:
    page = Path(__file__).parents[3] / "docs" / "doctor.md"
    table = page.read_text(encoding="utf-8").partition("## Troubles that it finds")[2]
    rows = re.findall(r"(?m)^\| ([^|]+) \| (error|warning) \| (\d+) \|(.*)\|$", table)
    listed = {
        (words.lower(), mark, int(code), bool(fix.strip())) for words, mark, code, fix in rows
    }
    known = [(name, each.mark, each.code, bool(each.fix)) for name, each in TROUBLES.items()]
    assert listed == {(name.replace("_", " "), *more) for name, *more in known}
    assert len(rows) == len(TROUBLES)
