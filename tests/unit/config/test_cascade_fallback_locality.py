"""The key `fallback_locality`: an exception for an alias, which a later locality ends."""

from __future__ import annotations

from typing import Any

import pytest

from localproviders import Config, ConfigurationError
from tests.support.docs import blocks
from tests.unit.config.conftest import Machine


@pytest.mark.parametrize(
    "later",
    [
        {"LOCALPROVIDERS_LOCALITY": "loopback"},
        {"LOCALPROVIDERS_PROFILE": "closed"},
        {"project": 'locality = "loopback"\n'},
        {"argument": "loopback"},
    ],
)
def test_a_later_locality_ends_it(later: Any, machine: Machine) -> None:
    machine.user(
        'locality = "private"\n[aliases]\ncareful = ["ollama/a", "openai/b"]\n'
        "[fallback_locality]\ncareful = 'any'\n[profiles.closed]\nlocality = 'loopback'\n"
        "[servers.openai]\n[servers.ollama]\n"
    )
    assert machine.load().fallback_locality == {"careful": "any"}
    if "project" in later:
        machine.project(later["project"])
    machine.environ.update({k: v for k, v in later.items() if k.isupper()})
    found = machine.load(locality=later.get("argument"))
    assert found.fallback_locality == {}


def test_a_project_file_may_not_set_it(machine: Machine) -> None:
    machine.project("[fallback_locality]\ncareful = 'any'\n")
    with pytest.raises(ConfigurationError, match="is not allowed in a project file"):
        machine.load()


def test_an_alias_of_a_project_file_may_not_leave(machine: Machine) -> None:
    machine.user("[fallback_locality]\ncareful = 'any'\n[servers.openai]\n[servers.ollama]\n")
    with pytest.raises(ConfigurationError, match="names no alias"):
        machine.load()
    machine.project("[aliases]\ncareful = ['ollama/a', 'openai/b']\n")
    with pytest.raises(ConfigurationError, match="project file"):
        machine.load()


def test_the_file_of_the_page_is_taken(machine: Machine) -> None:
    (block,) = [block for block in blocks("toml") if block.page.name == "clouds.md"]
    machine.environ["EXAMPLE_API_KEY"] = "sk-1"
    machine.user(block.text)
    assert machine.load().fallback_locality == {"careful": "any"}


def test_a_configuration_is_a_dictionary_and_back() -> None:
    config = Config(fallback_locality={"careful": "any"})
    assert Config.from_dict(config.to_dict()) == config
