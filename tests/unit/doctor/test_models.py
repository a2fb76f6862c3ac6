"""Models in memory, and models that only some facts describe."""

from __future__ import annotations

from localproviders.testing import FakeModel, FakeOpenAICompatible
from tests.unit.doctor.support import Machine


def test_a_configured_model_that_is_not_loaded_is_reported(machine: Machine) -> None:
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "llama3.2")
    (found,) = [each for each in machine.examine().findings if "in memory" in each.fact]
    assert (found.mark, found.exit_code) == ("ok", 0)
    assert found.fact == "llama3.2 is not in memory: the first call waits until it is loaded"
    assert found.fix == f"localproviders load llama3.2 --host ollama={machine.ollama.url}"


def test_a_configured_model_that_is_loaded_is_reported(machine: Machine) -> None:
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "llama3.2")
    machine.ollama.models.append(FakeModel(name="llama3.2:1b"))
    machine.ollama.loaded["llama3.2"] = 32768
    assert "ok: llama3.2 is in memory" in str(machine.examine())


def test_another_tag_in_memory_is_another_model(machine: Machine) -> None:
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "llama3.2")
    machine.ollama.models.append(FakeModel(name="llama3.2:1b"))
    machine.ollama.loaded["llama3.2:1b"] = 32768
    assert "llama3.2 is not in memory" in str(machine.examine())


def test_nothing_is_said_about_memory_that_a_server_does_not_report(machine: Machine) -> None:
    machine.start(FakeOpenAICompatible(["phi"]))
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "phi")
    assert "in memory" not in str(machine.examine())


def test_an_alias_that_is_the_default_model_is_examined_once(machine: Machine) -> None:
    machine.configure('model = "fast"\n[aliases]\nfast = ["ollama/llama3.2"]\n')
    wanted = machine.facts().wanted
    assert [(each.key, each.server, each.name) for each in wanted] == [
        ("aliases.fast", "ollama", "llama3.2")
    ]


def test_a_model_on_another_host_is_not_loaded_here(machine: Machine) -> None:
    machine.ollama.models.append(FakeModel(name="big-cloud", remote_host="https://ollama.com:443"))
    machine.patch.setenv("LOCALPROVIDERS_MODEL", "big-cloud")
    report = str(machine.examine())
    assert "runs on https://ollama.com" in report and "in memory" not in report
