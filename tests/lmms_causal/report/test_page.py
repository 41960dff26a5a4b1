"""The page as a document: valid, self-contained, escaped, accessible, bounded in size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Comparison, Options, compare
from lmms_causal.compare.output.verdict import verdict
from lmms_causal.errors import UserError
from lmms_causal.report.page import Material, render, write_page

VOID = {"meta", "link", "br", "img", "input", "hr"}
SVG_VOID = {"line", "rect", "circle", "path", "polyline"}


class Tree(HTMLParser):
    """Elements with their attributes and texts; fails on a tag that closes nothing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_VOID, f"<{tag}/> is no HTML"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_tags_match_and_names_refer_to_what_is_there(comparisons: list[Comparison]) -> None:
    tree = Tree(render(comparisons))
    ids = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tree.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    for link in tree.all("a"):
        assert (link["href"] or "")[1:] in ids
    assert len(tree.all("h1")) == 1
    assert tree.all("html")[0]["lang"] == "en"


def test_everything_has_a_name_for_those_who_do_not_see_it(comparisons: list[Comparison]) -> None:
    page = render(comparisons)
    tree = Tree(page)
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in tree.all("svg"))
    assert len(tree.all("svg")) == 2  # one task, two costs
    assert all("scope" in cell for cell in tree.all("th"))
    assert len(tree.all("caption")) == len(tree.all("table"))
    assert all("tabindex" in box for box in tree.all("div") if box.get("class") == "scroll")
    # Every control stands inside its label, every button says what it does.
    assert len(tree.all("label")) == len(tree.all("select")) + len(tree.all("input"))
    assert re.findall(r"<button[^>]*>\s*</button>", page) == []
    assert all(button.get("type") == "button" for button in tree.all("button"))
    # Outcomes are words and signs, not only colours.
    assert "▲</span> improved" in page and "●</span> no detectable difference" in page


def test_the_page_loads_nothing(comparisons: list[Comparison]) -> None:
    page = render(comparisons)
    tree = Tree(page)
    assert re.findall(r"(?:https?:)?//[\w.]+\.\w+", page) == []
    assert "url(" not in page and "@import" not in page and not tree.all("link")
    for _, attributes in tree.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes), "a handler in the markup"
    policy = next(m["content"] for m in tree.all("meta") if "http-equiv" in m)
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert policy and policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy


HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<!--<script>",
    "]]> \u2028 & &lt; \" ' `${1}` {{ 7 * 7 }} \\u003c",
]


def test_what_documents_say_stays_text(make_run: Any) -> None:
    a = make_run("a", {"acc": [1.0] * 4}, questions=HOSTILE, answers=HOSTILE, ids=HOSTILE)
    b = make_run(
        "b",
        {"acc": [0.0, 1.0, 0.0, 1.0]},
        questions=HOSTILE,
        answers=HOSTILE[::-1],
        ids=HOSTILE,
        interventions="x(word=<b>&</b>)",
    )
    page = render(compare(a, [b], Options()), Material(title="</title><script>window.hacked=3"))
    tree = Tree(page)
    assert len(tree.all("script")) == 3
    assert not tree.all("b") or all("style" in it for it in tree.all("b"))  # points of the plot
    found = data_of(page)
    assert [found["texts"][row[2]] for row in found["documents"]] == HOSTILE
    assert [row[1] for row in found["documents"]] == HOSTILE
    assert found["runs"][1]["name"] == "x(word=<b>&</b>)" or "x" in found["runs"][1]["name"]


def test_the_numbers_are_those_of_the_comparison(comparisons: list[Comparison]) -> None:
    page = re.sub(r"\s+", " ", render(comparisons))
    for comparison in comparisons:
        assert verdict(comparison, minus="−").replace("'", "&#39;") in page
    row = comparisons[0].rows[0]
    assert (row.gained, row.lost) == (12, 2)
    assert "+12 / −2" in page
    assert f"<strong>+{100 * row.difference:.1f}</strong>" in page
    low, high = (f"{100 * v:+.1f}".replace("-", "−") for v in (row.low or 0, row.high or 0))
    assert f"{low} to {high}" in page


def test_the_same_comparisons_give_the_same_page(comparisons: list[Comparison]) -> None:
    assert render(comparisons) == render(comparisons)


def test_ten_thousand_documents_stay_small_and_complete(make_run: Any) -> None:
    count = 10_000
    kinds = {"kind": [f"kind {i % 7}" for i in range(count)]}
    words = [f"Which of the two came first, {i} or {i + 1}, and why ?" for i in range(count)]
    runs = [
        make_run(name, {"acc": [float(i % step > 0) for i in range(count)]}, interventions=spec,
                 questions=words, attributes=kinds)
        for name, spec, step in (("a", "", 3), ("b", "vcd", 4), ("c", "re2", 5))
    ]  # fmt: skip
    made = compare(runs[0], runs[1:], Options())
    page = render(made)
    assert len(data_of(page)["documents"]) == count
    assert len(page) < 2_500_000
    small = render(made, Material(text_budget=400_000))
    kept = data_of(small)["documents"]
    assert len(small) < 700_000 and 0 < len(kept) < count
    changed = {f"doc-{i}" for i in range(count) if len({i % s > 0 for s in (3, 4, 5)}) > 1}
    assert {row[1] for row in kept} <= changed  # those without a change are left out first
    assert f"{count - len(kept):,} of {count:,} documents are left out" in small


def test_long_answers_are_cut_and_say_so(make_run: Any) -> None:
    a = make_run("a", {"acc": [1.0, 0.0]}, answers=["x" * 5000, "no"])
    b = make_run("b", {"acc": [1.0, 1.0]}, answers=["y", "yes"], interventions="vcd")
    assert any(t.endswith("… (3,500 more characters)") for t in data_of(
        render(compare(a, [b], Options())))["texts"])  # fmt: skip


def _palette(block: str) -> dict[str, tuple[float, float, float]]:
    found = {}
    for name, value in re.findall(r"--([\w-]+): #([0-9a-f]{6}|[0-9a-f]{3})\b", block):
        value = value if len(value) == 6 else "".join(2 * c for c in value)
        found[name] = tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return found  # type: ignore[return-value]


def _luminance(colour: tuple[float, float, float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    "start", [":root {", ':root[data-theme="dark"] {', ":root:not(", ":root, "]
)
def test_text_has_the_contrast_that_wcag_asks_for(start: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text; 1.4.11: 3 to 1 for what a plot is read by."""
    css = resources.files("lmms_causal.report").joinpath("page.css").read_text()
    assert css.count("--quiet:") == 4  # light, dark by the system, dark by the button, print
    block = css[css.index(start) :]
    colours = _palette(block[: block.index("}")])
    for text in ("text", "quiet", "accent", "good", "bad", "none", "plain"):
        for back in ("back", "raised"):
            light, dark = sorted((_luminance(colours[text]), _luminance(colours[back])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, back)


def test_a_page_that_cannot_be_written_is_one_line(
    comparisons: list[Comparison], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"--report .*cannot be written"):
        write_page(comparisons, tmp_path / "no such folder" / "page.html")
    with pytest.raises(UserError, match="at least one comparison"):
        render([])
