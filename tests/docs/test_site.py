"""The site has every page once, its links hold on the site and on GitHub, and it builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

NAVLESS: set[str] = set()
"""Pages that are reached by links alone."""


def named(nav: Any) -> list[str]:
    """All pages of a nav, in order."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [name for entry in entries for name in named(entry)]


def nav_of(root: Path) -> Any:
    return yaml.safe_load((root / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def slugs(text: str, join: str) -> set[str]:
    """Anchors of a page's headings; what matches ``join`` is a hyphen in them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.*?) *$", prose, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles]
    return {re.sub(join, "-", title) for title in plain}


def test_every_page_is_in_the_nav_once(root, site_pages):
    known = sorted(site_pages.pages(root))
    written = named(nav_of(root))
    left = [name for name in known if name not in written]
    listed = Counter(named(site_pages.expand(nav_of(root), left)))
    listed = Counter({name: n for name, n in listed.items() if not name.startswith("reference/")})
    assert set(known) - set(listed) == NAVLESS
    assert set(listed) - set(known) == set(), "in the nav, and not there"
    assert max(listed.values()) == 1


def test_every_relative_link_leads_to_a_page_and_its_heading(root, site_pages):
    known = site_pages.pages(root)
    wrong, followed = [], 0
    for source in (root / "README.md", *known.values()):
        for match in site_pages.links(source.read_text(encoding="utf-8")):
            target, _, anchor = match[2].partition("#")
            file = source.parent / target if target else source
            followed += 1
            if not file.exists():
                wrong.append(f"{source.relative_to(root)}: {match[2]}")
            elif anchor:
                text = file.read_text(encoding="utf-8")
                if anchor not in slugs(text, r"[-\s]+") & slugs(text, r"\s"):  # MkDocs, GitHub
                    wrong.append(f"{source.relative_to(root)}: {match[2]}: no such heading")
    assert not wrong
    assert followed > 100


def test_links_to_files_become_links_to_pages(site_pages, tmp_path):
    for name in ("docs/a.md", "docs/deep/b.md", "tasks/t/README.md", "tasks/u/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    def moved(page: str, text: str) -> str:
        return site_pages.moved_links(tmp_path, page, text)

    assert moved("benchmarks/t.md", "[u](../u/README.md#x)") == "[u](u.md#x)"
    assert moved("benchmarks/t.md", "[b\n c](../../docs/deep/b.md)") == "[b\n c](../deep/b.md)"
    assert moved("deep/b.md", "[t](../../tasks/t/README.md)") == "[t](../benchmarks/t.md)"
    assert moved("a.md", "[b](deep/b.md) [c](c.md)") == "[b](deep/b.md) [c](c.md)"
    for same in ("`[u](../u/README.md)`", "    [u](../u/README.md)", "[u](https://u/README.md)"):
        assert moved("benchmarks/t.md", same) == same
    fenced = "```text\n[u](../u/README.md)\n```\n"
    assert moved("benchmarks/t.md", f"{fenced}[u](../u/README.md)") == f"{fenced}[u](u.md)"


def test_the_reference_has_every_public_package(root, site_reference):
    made = site_reference.reference(root)
    for module in ("lmms_causal.interventions.plan", "lmms_causal.tasks.choices"):
        assert f"::: {module}\n" in made[f"{module.rpartition('.')[0]}.md"]
    assert "::: lmms_causal.kernels.attention\n" in made["lmms_causal.kernels.md"]
    assert not any("._" in line for text in made.values() for line in text.splitlines())


def test_sources_are_read_under_their_import_names(root, site_reference, tmp_path):
    site_reference.copy_sources(root, tmp_path)
    plan = (tmp_path / "lmms_causal" / "interventions" / "plan.py").read_text(encoding="utf-8")
    assert ":mod:" in (root / "interventions" / "plan.py").read_text(encoding="utf-8")
    assert ":mod:" not in plan and "`lmms_causal.interventions.engine`" in plan
    choices = (tmp_path / "lmms_causal" / "tasks" / "choices.py").read_text(encoding="utf-8")
    assert (
        "    ```pycon\n    >>> strip_reasoning(\"<think>A or B?</think> B\")\n    'B'\n    ```"
        in choices
    )
    compile(choices, "choices.py", "exec")


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(root, tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason="the site needs pip install 'lmms-causal[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    html = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert len(html) > 80
    for path, text in html.items():
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(\w+:)?//", text)
        loaded += re.findall(r"<link[^>]*\shref=\"?(?:\w+:)?//[^>]*>", text)
        assert not loaded, path
        assert str(root) not in text, path
    plan = (tmp_path / "reference" / "lmms_causal.interventions" / "index.html").read_text()
    assert 'id="lmms_causal.interventions.plan.Plan"' in plan
