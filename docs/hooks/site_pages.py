"""Which file of the repository is which page of the site, and links from one to another.

Links are written as on GitHub, from file to file. Where a page stands elsewhere on the site than
its file in the repository, its links are changed to go from page to page.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["expand", "links", "moved_links", "pages"]

_LINK = re.compile(r"(?<!\\)(\[[^\]]*\]\()([^()\s]+)(\))")
_CODE = re.compile(
    r"^(?P<fence>`{3,})[^\n]*\n.*?^(?P=fence)$"  # a fenced block
    r"|^(?: {4}|\t)[^\n]*$"  # a line of an indented one
    r"|(?P<ticks>`+)(?!`)(?:(?!\n\n).)+?(?<!`)(?P=ticks)(?!`)",  # a span
    re.MULTILINE | re.DOTALL,
)
_ELSEWHERE = re.compile(r"^(?:[a-z]+:|#|/)")


def pages(root: Path) -> dict[str, Path]:
    """The pages of the site without its reference: name on the site to file."""
    docs = root / "docs"
    found = {path.relative_to(docs).as_posix(): path for path in docs.rglob("*.md")}
    for path in root.glob("tasks/*/README.md"):
        found[f"benchmarks/{path.parent.name}.md"] = path
    found["benchmarks/bundled_model.md"] = root / "lmms_causal" / "tiny_llava" / "README.md"
    found["contributing.md"] = root / "CONTRIBUTING.md"
    found["changelog.md"] = root / "CHANGELOG.md"
    return found


def expand(nav: Any, known: Sequence[str]) -> Any:
    """The nav with every ``FOLDER/*`` replaced by the known pages of the folder."""
    if isinstance(nav, dict):
        return {title: expand(entry, known) for title, entry in nav.items()}
    if isinstance(nav, list):
        return [one for entry in nav for one in _entries(entry, known)]
    return nav


def _entries(entry: Any, known: Sequence[str]) -> list[Any]:
    if isinstance(entry, str) and entry.endswith("/*"):
        return [name for name in known if posixpath.dirname(name) == entry[:-2]]
    return [expand(entry, known)]


def links(text: str) -> Iterator[re.Match[str]]:
    """Relative links of a page, outside its code; group 2 is the target with its anchor."""
    code = [match.span() for match in _CODE.finditer(text)]
    for match in _LINK.finditer(text):
        inside = any(start <= match.start() < end for start, end in code)
        if not inside and not _ELSEWHERE.match(match[2]):
            yield match


def moved_links(root: Path, name: str, text: str) -> str:
    """A page's text with its links between files turned into links between pages.

    Args:
        root: the repository.
        name: the page's name on the site.
        text: the file's text.
    """
    known = pages(root)
    page_of = {path.resolve(): page for page, path in known.items()}
    folder = known[name].parent
    parts, done = [], 0
    for match in links(text):
        target, hash_sign, anchor = match[2].partition("#")
        page = page_of.get(Path(os.path.normpath(folder / target)))
        if page is None:  # left as it is, for MkDocs to complain about
            continue
        relative = posixpath.relpath(page, posixpath.dirname(name) or ".")
        parts += [text[done : match.start(2)], relative + hash_sign + anchor]
        done = match.end(2)
    return "".join([*parts, text[done:]])
