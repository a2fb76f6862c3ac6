"""`docs/coverage.md` is complete, and names only methods and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Set

import pytest

import localproviders
from localproviders import LMStudioProvider, OllamaProvider
from localproviders.openai_compatible.wire.products import PRODUCTS
from localproviders.testing.products import FORBIDDEN
from tests.support.docs import ROOT

#: The endpoints of Ollama, from its source.
OLLAMA = """
GET /|GET /api/version|GET /api/tags|GET /api/ps|GET /api/status
GET /api/experimental/model-recommendations|POST /api/chat|POST /api/generate|POST /api/embed
POST /api/embeddings|POST /api/show|POST /api/copy|POST /api/pull|POST /api/push|POST /api/create
DELETE /api/delete|HEAD /api/blobs/:digest|POST /api/blobs/:digest|POST /api/me|POST /api/signout
DELETE /api/user/keys/:encodedKey|POST /api/experimental/web_search
POST /api/experimental/web_fetch|POST /v1/chat/completions|POST /v1/completions
POST /v1/responses|POST /v1/embeddings|POST /v1/audio/transcriptions|GET /v1/models
GET /v1/models/:model|POST /v1/messages|POST /v1/systemone
"""
#: The endpoints of LM Studio (docs/reference/lmstudio.md, "Endpoints").
LM_STUDIO = """
GET /v1/models|POST /v1/chat/completions|POST /v1/completions|POST /v1/embeddings
POST /v1/responses|POST /v1/messages|POST /v1/systemone|POST /v1/decisions|GET /api/v0/models|GET /api/v0/models/{id}
POST /api/v0/chat/completions|POST /api/v0/completions|POST /api/v0/embeddings|POST /api/v1/chat
GET /api/v1/models|POST /api/v1/models/load|POST /api/v1/models/unload
POST /api/v1/models/download|GET /api/v1/models/download/status/{job_id}|GET /lmstudio-greeting
"""
#: The endpoints of llama.cpp's server (docs/reference/llamacpp.md, "Endpoints").
LLAMA_CPP = "\n".join(
    found
    for row in re.findall(
        r"^\| (`.+?) \|",
        (ROOT / "docs/reference/llamacpp.md").read_text("utf-8").split("## Endpoints")[1],
        re.MULTILINE,
    )
    for found in re.findall(r"`(.+?)`", row)
)
#: The endpoints of Anthropic's service (docs/reference/anthropic.md, "Endpoints").
ANTHROPIC = """
POST /v1/messages|POST /v1/messages/count_tokens|GET /v1/models|GET /v1/models/{id}
"""
#: The number of capabilities of each server. A download and its status count as one.
CAPABILITIES = {
    "Ollama": 49,
    "LM Studio": 47,
    "llama.cpp": 32,
    "Anthropic": 19,
    "OpenAI and OpenRouter": 19,
}

PAGE = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
TABLES: Dict[str, List[List[str]]] = {
    title: [
        [cell.strip() for cell in line.strip("|").split(" |")]
        for line in body.splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| capability", "| endpoint"))
    ]
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
ROWS = [(title, *row[:3]) for title, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize(
    ("server", "known"),
    [
        ("Ollama", OLLAMA),
        ("LM Studio", LM_STUDIO),
        ("llama.cpp", LLAMA_CPP),
        ("Anthropic", ANTHROPIC),
    ],
)
def test_every_endpoint_has_its_row(server: str, known: str) -> None:
    listed = [
        name for row in TABLES[f"{server}: endpoints"] for name in re.findall(r"`(.+?)`", row[0])
    ]

    assert sorted(listed) == sorted(re.split(r"[|\n]", known.strip()))


_METHODS = "GET|HEAD|POST|PUT|DELETE"
REFERENCES = sorted((ROOT / "docs" / "reference").glob("*.md"))


def routes_in(page: str) -> Set[str]:
    """Return the routes in the tables of a page, such as ``POST /infill``, without queries.

    A row may name the method before several paths, or within each path.
    """
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    found = re.findall(rf"`({_METHODS}) (/[^` ?]*)", rows)
    for method, paths in re.findall(rf"({_METHODS}) ((?:`/[^`]*`(?:, )?)+)", rows):
        found += [(method, path) for path in re.findall("`(/[^`? ]*)", paths)]
    return {" ".join(each) for each in found}


@pytest.mark.parametrize("page", REFERENCES, ids=lambda page: page.stem)
def test_every_route_in_a_table_of_a_reference_has_its_row(page: Path) -> None:
    listed = routes_in(PAGE)

    assert sorted(routes_in(page.read_text(encoding="utf-8")) - listed) == []


def test_a_route_is_found_in_both_ways_of_writing_it() -> None:
    page = "| `GET /a?b=c` and `POST /d` |\n| POST `/e`, `/f`; GET `/g/{id}` | `/no` |\n`GET /text`"

    assert routes_in(page) == {"GET /a", "POST /d", "POST /e", "POST /f", "GET /g/{id}"}


def test_every_request_of_a_search_has_its_row() -> None:
    signs = [sign for product in PRODUCTS for way in product.ways for sign in way]
    known = {sign.path for sign in signs}
    known |= {path for product in PRODUCTS for path, _ in product.version}
    listed = [
        name for row in TABLES["Discovery: endpoints"] for name in re.findall(r"`(.+?)`", row[0])
    ]

    asked = {f"GET {path}" for path in known}
    assert asked <= set(listed)
    assert {each for each in listed if each.split(" ")[1].startswith(FORBIDDEN)} == (
        set(listed) - asked
    )


@pytest.mark.parametrize("server", list(CAPABILITIES))
def test_every_capability_has_its_row(server: str) -> None:
    rows = [row[0] for row in TABLES[f"{server}: capabilities"]]

    assert len(set(rows)) == len(rows) == CAPABILITIES[server]


@pytest.mark.parametrize(("table", "what", "how", "test"), ROWS)
def test_a_row_has_a_method_and_its_test_or_a_reason(
    table: str, what: str, how: str, test: str
) -> None:
    if how.startswith("left "):
        assert re.match(r"left (out|to discovery).*[:,] ", how) and (not test or "`" in test)
        return
    (path,) = re.findall(r"`(tests/[\w/]+\.py)`", test)
    assert "\ndef test_" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(("table", "what", "how", "test"), ROWS)
def test_the_methods_that_a_row_names_exist(table: str, what: str, how: str, test: str) -> None:
    for name in re.findall(r"`provider\.(\w+)", how):
        for provider in (OllamaProvider, LMStudioProvider):
            assert callable(getattr(provider, name))
    for owner, name in re.findall(r"`(\w+Provider|Stream)\.(\w+)", how):
        assert callable(getattr(getattr(localproviders, owner), name))
