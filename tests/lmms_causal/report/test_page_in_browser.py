"""The page in a real browser: layout, keyboard, filters, hostile documents, no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Comparison, Options, compare
from lmms_causal.report.browser import Browser, chromium
from lmms_causal.report.page import write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here (apt-get install chromium)"),
]

READY = "document.getElementById('filters') && !document.getElementById('filters').hidden"
ROWS = "document.querySelectorAll('#rows tr').length"
COUNT = "document.getElementById('count').textContent"
FOCUS = "document.activeElement.textContent"
OPEN = "document.getElementById('detail').open"
NAME = "document.getElementById('detail-name').textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(chromium() or "") as opened:
        yield opened


@pytest.fixture(scope="module")
def page(comparisons: list[Comparison], tmp_path_factory: Any) -> Path:
    file = tmp_path_factory.mktemp("report") / "page.html"
    write_page(comparisons, file)
    return file


def _open(browser: Browser, page: Path, width: int = 1280, **given: Any) -> None:
    browser.requests.clear()
    browser.errors.clear()
    browser.open(page, width, 900, **given)
    browser.until(READY)


def _choose(browser: Browser, name: str, value: str) -> None:
    browser.evaluate(
        f"(() => {{ const it = document.getElementById('filters').elements['{name}'];"
        f"it.value = '{value}'; it.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
    )


def test_it_loads_nothing_and_has_no_errors(browser: Browser, page: Path) -> None:
    _open(browser, page)
    asked = [url for url in browser.requests if not url.startswith("data:")]
    assert asked == [page.resolve().as_uri()]
    assert browser.errors == []


@pytest.mark.parametrize("width", [320, 390, 820, 1280, 1920])
def test_nothing_sticks_out_at_any_width(browser: Browser, page: Path, width: int) -> None:
    """WCAG 2.2, 1.4.10: at 320 pixels nothing needs scrolling in two directions."""
    _open(browser, page, width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    out = "[...document.querySelectorAll('.forest .who, .forest .said, .forest .diff, svg')]"
    out += (
        ".filter(it => it.checkVisibility() && it.getBoundingClientRect().right > innerWidth + 1)"
    )
    assert browser.evaluate(f"{out}.length") == 0


def test_points_are_drawn_where_the_axis_says(browser: Browser, page: Path) -> None:
    _open(browser, page)
    box = "document.querySelector('.forest .track {}').getBoundingClientRect()"
    at = browser.evaluate(f"(b => b.left + b.width / 2)({box.format('.pt')})")
    axis = "[...document.querySelectorAll('.forest tfoot .axis span')]"
    places = browser.evaluate(
        f"Object.fromEntries({axis}.map(it => [it.textContent, "
        "(b => b.left + b.width / 2)(it.getBoundingClientRect())]))"
    )
    # +25 points lie a quarter of the way from +20 to +40.
    assert at == pytest.approx(0.75 * places["+20"] + 0.25 * places["+40"], abs=1.5)


def test_filters_narrow_the_table(browser: Browser, page: Path) -> None:
    _open(browser, page)
    assert browser.evaluate(COUNT) == "14 of 40 documents: 12 gained, 2 lost with B1"
    _choose(browser, "change", "down")
    browser.until(f"{ROWS} === 2")
    _choose(browser, "part", "0=odd")
    browser.until(f"{ROWS} === 1")
    _choose(browser, "part", "")
    _choose(browser, "change", "all")
    browser.until(f"{ROWS} === 25")
    browser.evaluate("document.querySelector('[data-to=next]').click()")
    assert browser.evaluate(ROWS) == 15
    _choose(browser, "run", "2")
    _choose(browser, "change", "changed")
    browser.until(f"{ROWS} === 0")
    assert browser.evaluate(COUNT) == "0 of 40 documents: 0 gained, 0 lost with B2"


def test_the_keyboard_is_enough(browser: Browser, page: Path) -> None:
    _open(browser, page)
    browser.press("Tab")
    assert browser.evaluate(FOCUS) == "Skip to the differences"
    browser.evaluate("document.querySelector('#filters [name=text]').focus()")
    browser.type("doc-2 is")
    browser.until("!document.querySelector('#rows tr:nth-child(14)')")
    browser.press("Tab")
    assert browser.evaluate(FOCUS) == "doc-20"
    browser.press("Enter")
    browser.until(OPEN)
    assert browser.evaluate(NAME) == "doc-20"
    browser.press("ArrowRight")
    assert browser.evaluate(NAME) == "doc-21"
    browser.press("ArrowLeft")
    browser.press("ArrowRight")
    browser.press("Escape")
    browser.until(f"!{OPEN}")
    browser.until(f"{FOCUS} === 'doc-21'")  # back where the reader was


def test_the_theme_follows_the_system_and_the_button(browser: Browser, page: Path) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    _open(browser, page, dark=True)
    assert browser.evaluate(back) == "rgb(20, 23, 27)"
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate(back) == "rgb(255, 255, 255)"


def test_hostile_documents_do_nothing(browser: Browser, make_run: Any, tmp_path: Path) -> None:
    words = [
        "</script><script>window.hacked = 1</script>",
        "<img src=x onerror='window.hacked = 2'>",
        "<svg onload='window.hacked = 3'>",
    ]
    given = {"questions": words, "answers": words, "ids": words}
    a = make_run("a", {"acc": [1.0, 0.0, 1.0]}, **given)
    b = make_run("b", {"acc": [0.0, 1.0, 0.0]}, interventions="vcd", **given)
    write_page(compare(a, [b], Options()), tmp_path / "page.html")
    _open(browser, tmp_path / "page.html")
    browser.evaluate("document.querySelector('#rows button').click()")
    assert browser.evaluate(NAME) == words[0]
    assert browser.evaluate("window.hacked ?? 'safe'") == "safe"
    assert browser.evaluate("document.querySelectorAll('#documents script').length") == 0
    assert len(browser.requests) == 1


@pytest.mark.parametrize("width", [320, 1280])
def test_long_words_and_other_directions_stay_in_their_place(
    browser: Browser, make_run: Any, tmp_path: Path, width: int
) -> None:
    words = ["w" * 3000, "\u05e9\u05dc\u05d5\u05dd", "\u202eesrever", "half \ud800", "nul \0", ""]
    given = {"answers": words, "ids": [f"{it}#{i}" for i, it in enumerate(words)],
             "task": "t" * 300, "attributes": {"kind": words}}  # fmt: skip
    metric = "m" * 200
    a = make_run("a", {metric: [1.0] * 6}, **given)
    b = make_run("b", {metric: [0.0] * 6}, interventions=f"x(word={'v' * 300})", **given)
    write_page(compare(a, [b], Options(by=("kind",))), tmp_path / "page.html")
    _open(browser, tmp_path / "page.html", width)
    browser.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.evaluate("document.querySelector('#rows button').click()")
    inside = "(it => it.scrollWidth <= it.clientWidth)(document.getElementById('detail'))"
    assert browser.evaluate(inside)
    # A word that runs from right to left turns nothing but itself.
    browser.press("ArrowRight")
    answers = "[...document.querySelectorAll('#detail .answers .words')]"
    direction = f"{answers}.map(it => getComputedStyle(it).direction)"
    assert browser.evaluate(direction) == ["rtl", "rtl"]
    assert browser.errors == []


def test_ten_thousand_documents_are_filtered_and_paged(
    browser: Browser, make_run: Any, tmp_path: Path
) -> None:
    count = 10_000
    a = make_run("a", {"acc": [float(i % 3 > 0) for i in range(count)]})
    b = make_run("b", {"acc": [float(i % 4 > 0) for i in range(count)]}, interventions="vcd")
    write_page(compare(a, [b], Options()), tmp_path / "page.html")
    _open(browser, tmp_path / "page.html")
    assert browser.evaluate(ROWS) == 25
    assert browser.evaluate(COUNT).startswith("4,166 of 10,000 documents: 2,500 gained")
    browser.evaluate("document.querySelector('[data-to=last]').click()")
    assert browser.evaluate("document.getElementById('page').textContent") == "Page 167 of 167"
    _choose(browser, "change", "all")
    _choose(browser, "text", "doc-9999")
    browser.until(f"{ROWS} === 1")
    # However many documents, the page holds one page of them.
    assert browser.evaluate("document.querySelectorAll('*').length") < 400


def test_it_prints(browser: Browser, page: Path, tmp_path: Path) -> None:
    _open(browser, page)
    browser.pdf(tmp_path / "page.pdf")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 10_000
    assert browser.errors == []
