"""The hooks of the documentation site, which are no package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def site_pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``docs/hooks/site_pages.py``; it needs no MkDocs."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    import site_pages

    yield site_pages
    sys.modules.pop("site_pages", None)


@pytest.fixture
def site_reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``docs/hooks/site_reference.py``."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    import site_reference

    yield site_reference
    sys.modules.pop("site_reference", None)
