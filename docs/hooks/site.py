"""What MkDocs calls: pages from outside ``docs/``, links between them, the reference's sources."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # MkDocs loads this file alone

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File
from site_pages import expand, moved_links, pages
from site_reference import copy_sources, reference

ROOT = Path(__file__).resolve().parents[2]
_scratch: list[str] = []


@event_priority(100)  # before mkdocstrings reads where sources are
def on_config(config: Any) -> Any:
    """Write the nav's ``/*`` out, and give the reference sources under their import names."""
    every = [*pages(ROOT), *(f"reference/{name}" for name in reference(ROOT))]
    known = sorted(every, key=lambda name: name.removesuffix(".md"))
    config.nav = expand(config.nav, [name for name in known if _wanted(config.nav, name)])
    _scratch.append(tempfile.mkdtemp(prefix="lmms_causal_site_"))
    copy_sources(ROOT, Path(_scratch[-1]))
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_scratch[-1]]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that live elsewhere, and those of the reference."""
    for name, path in pages(ROOT).items():
        if not path.is_relative_to(Path(config.docs_dir)):
            text = path.read_text(encoding="utf-8")
            files.append(File.generated(config, name, content=moved_links(ROOT, name, text)))
    for name, text in reference(ROOT).items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links of pages in ``docs/`` to files elsewhere lead to their pages."""
    source = page.file.abs_src_path
    if source is None or not Path(source).is_relative_to(Path(config.docs_dir)):
        return markdown
    return moved_links(ROOT, page.file.src_uri, markdown)


def on_shutdown() -> None:
    """Delete the copy of the sources."""
    while _scratch:
        shutil.rmtree(_scratch.pop(), ignore_errors=True)


def _wanted(nav: Any, name: str) -> bool:
    """Whether a page is left for ``/*``: it is not named by itself."""
    return f"'{name}'" not in repr(nav)
