from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any, Dict, List, Optional, Tuple

import pytest

from localproviders.bench import Cell, Environment, Results, to_page
from localproviders.bench.wording import number
from tests.support.bench import figure, results

_VOID = {"meta", "link", "br", "img", "hr", "input"}


class _Page(HTMLParser):
    """The elements of a page, its text, and whether each element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: List[str] = []
        self.elements: List[Tuple[str, Dict[str, Optional[str]]]] = []
        self.cells: List[str] = []
        self.words: List[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data.strip())
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_every_element_is_closed_and_every_id_is_unique() -> None:
    for text in (to_page(results()), to_page(results(), results(speed=2)), to_page(Results())):
        page = _Page(text)
        assert page.open == []
        ids = [each["id"] for _, each in page.elements if "id" in each]
        assert len(ids) == len({*ids})


def test_the_page_has_no_script_and_no_address_of_another_file() -> None:
    page = _Page(to_page(results(), results()))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "a", "base", "video"}
    for tag, attributes in page.elements:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("src", "srcset")
        ]
        if "href" in attributes:
            assert (tag, attributes["href"]) == ("link", "data:,")
    assert "url(" not in to_page(results()) and "@import" not in to_page(results())


def test_the_browser_may_load_nothing() -> None:
    (policy,) = [e for tag, e in _Page(to_page(results())).elements if "http-equiv" in e]
    assert str(policy["content"]).startswith("default-src 'none';")


_EVIL = "<script>alert(1)</script>\"'&<b>\n\x1b"


def test_texts_of_servers_are_escaped_everywhere() -> None:
    texts = ("model", "digest", "server", "server_version", "processor", "system", "architecture")
    facts: Dict[str, Any] = {
        name: f"{_EVIL}{name}" for name in (*texts, "parameter_size", "quantization")
    }
    made = results(**facts)
    evil = made.replace(cells=(*made.cells, Cell(kind="prompt", size=64, notes=(_EVIL,))))
    for text in (to_page(evil), to_page(evil, results()), to_page(results(), evil)):
        assert "<script" not in text and "<b>" not in text and "\x1b" not in text
        assert "script" not in {tag for tag, _ in _Page(text).elements}
        assert _Page(text).open == []
    assert "<script>alert(1)</script>\"'&<b>\\n\\x1bmodel" in _Page(to_page(evil)).text


def test_the_tables_have_the_numbers_of_the_charts() -> None:
    made = results()
    cells = _Page(to_page(made)).cells
    for cell in made.cells:
        if cell.kind != "load":
            for name, each in cell.figures.items():
                assert number(each.median) in cells, name
    assert "515" in cells and "about 8192" in cells


def test_each_table_has_a_caption_and_its_headings_have_a_scope() -> None:
    page = _Page(to_page(results(), results()))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption") == 3
    assert all(each.get("scope") for tag, each in page.elements if tag == "th")


def test_the_headings_are_in_order() -> None:
    levels = [int(tag[1]) for tag, _ in _Page(to_page(results())).elements if re.match(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and max(levels) == 2


def test_the_page_is_in_a_language_and_fits_a_phone() -> None:
    elements = _Page(to_page(results())).elements
    assert ("html", {"lang": "en"}) in elements
    assert any(each.get("name") == "viewport" for _, each in elements)
    assert "prefers-color-scheme: dark" in to_page(results())


def test_the_most_important_figures_come_first() -> None:
    text = _Page(to_page(results())).text
    assert "Load the model 2.55 s" in text
    assert "First token 163 ms after a prompt of 131 tokens" in text
    assert "Reads a prompt 816 tokens/s with a prompt of 1027 tokens" in text
    assert "All requests together 143 tokens/s 8 at once" in text


def test_older_results_are_compared() -> None:
    text = to_page(results(speed=2), results(model="qwen3"))
    assert "The older results of 2026-11-30." in text
    assert "2.00 faster" in text and "slower" not in _Page(text).text
    assert "Differs: model: qwen3 before, llama3.2 now" in _Page(text).text
    assert 'class="curve old"' in text and 'class="curve old"' not in to_page(results())


def test_notes_and_remarks_are_shown() -> None:
    text = _Page(to_page(results(is_local=False))).text
    assert "prompt of 8192 tokens: it does not fit" in text
    assert "The server is on another machine" in text


@pytest.mark.parametrize(
    "cells",
    [
        (),
        (Cell(kind="load", notes=("no",)),),
        (Cell(kind="prompt", size=128, notes=("no",)),),
        (Cell(kind="at_once", size=1, figures={"first_token_s": figure(1)}),),
        (Cell(kind="prompt", size=128, figures={"first_token_s": figure(0)}),),
        (Cell(kind="prompt", size=128, figures={"prompt_tokens_per_s": figure(1)}),),
    ],
)
def test_partial_results_make_a_page(cells: Any) -> None:
    for before in (None, results()):
        page = _Page(to_page(Results(cells=cells, environment=Environment()), before))
        assert page.open == [] and "None" not in page.text
