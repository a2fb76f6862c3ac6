"""The page in a real browser: at two widths, in both colour schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from localproviders.bench import Cell, Results, to_page
from tests.support.bench import figure, results
from tests.support.chromium import WHY_MISSING, Browser, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(WHY_MISSING is not None, reason=str(WHY_MISSING)),
]

_LONG = "registry.example.com/a-very-long-namespace/" + "model-name-without-a-break" * 8 + ":q4_K_M"


def _pages() -> dict:  # type: ignore[type-arg]  # Python 3.8
    wide = {name: figure(0.001, 123456.7) for name in ("first_token_s", "prompt_tokens_per_s")}
    long = results(model=_LONG, server=_LONG, digest="a" * 64, processor=_LONG)
    odd = long.replace(
        cells=(*long.cells, Cell(kind="prompt", size=999_999, figures=wide, notes=(_LONG,)))
    )
    return {
        "plain": to_page(results()),
        "compared": to_page(results(speed=0.5), results(model="other")),
        "long": to_page(odd, long),
        "empty": to_page(Results()),
    }


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(params=["plain", "compared", "long", "empty"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(_pages()[request.param], encoding="utf-8")
    return path


@pytest.fixture(params=[(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")], ids=str)
def opened(request: pytest.FixtureRequest, chromium: Browser, page: Path) -> Browser:
    chromium.open(page, *request.param)
    assert chromium.evaluate("innerWidth") == request.param[0]
    return chromium


def test_nothing_is_wider_than_the_window(opened: Browser) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    beyond = opened.evaluate(
        """[...document.querySelectorAll('body *')]
        .filter(e => { const r = e.getBoundingClientRect();
          return r.width && (r.right > innerWidth + 0.5 || r.left < -0.5) })
        .map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"""
    )
    assert beyond == []


def test_the_console_is_empty_and_nothing_is_requested(opened: Browser, page: Path) -> None:
    opened.evaluate("document.body.offsetHeight")
    assert opened.named("Runtime.consoleAPICalled") == []
    assert opened.named("Runtime.exceptionThrown") == []
    assert opened.named("Log.entryAdded") == []
    urls = {each["request"]["url"] for each in opened.named("Network.requestWillBeSent")}
    assert {url for url in urls if not url.startswith("data:")} == {page.as_uri()}


#: The relative luminance and the contrast are those of WCAG 2.
_CONTRASTS = """(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const paper = element => { for (let e = element; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c } throw new Error('transparent page') };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, element = node.parentElement;
    if (!node.data.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = rgb(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(paper(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40)]);
  }
  return found })()"""


def test_every_text_has_enough_contrast(opened: Browser) -> None:
    found = opened.evaluate(_CONTRASTS)
    assert len(found) > 5
    assert [each for each in found if each[0] < 4.5] == []


def test_the_colours_follow_the_scheme(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(to_page(results()), encoding="utf-8")
    colours = set()
    for scheme in ("light", "dark"):
        chromium.open(path, 390, scheme)
        colours.add(chromium.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def test_no_text_is_too_small_to_read(opened: Browser) -> None:
    smallest = opened.evaluate(
        """Math.min(...[...document.querySelectorAll('main *')]
        .filter(e => e.childNodes.length && [...e.childNodes].some(n => n.nodeType === 3 &&
          n.data.trim()) && e.getClientRects().length)
        .map(e => parseFloat(getComputedStyle(e).fontSize) *
          (e instanceof SVGElement ? e.ownerSVGElement.getScreenCTM().a : 1)))"""
    )
    assert smallest >= 10.5


def test_labels_of_a_chart_do_not_overlap(opened: Browser) -> None:
    overlaps = opened.evaluate(
        """[...document.querySelectorAll('svg')].flatMap(svg => {
          const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent,
            t.getBoundingClientRect()]);
          return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
            .filter(([_, b]) => a.left < b.right - 1 && b.left < a.right - 1 &&
              a.top < b.bottom - 4 && b.top < a.bottom - 4)
            .map(([other]) => one + ' / ' + other)) })"""
    )
    assert overlaps == []
