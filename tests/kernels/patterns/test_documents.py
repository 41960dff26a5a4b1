"""The documents: one is followed to the letter, the other is what is written anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import lmms_causal.kernels.patterns as folder
from lmms_causal.errors import UserError
from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.backends.registry import backends
from lmms_causal.kernels.patterns import Context, parse_pattern, registry, tile_plan
from lmms_causal.kernels.patterns.page import page, section
from lmms_causal.testing.pages import blocks

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def followed(tmp_path, monkeypatch) -> dict[str, str]:
    """The files of the page, the pattern's in a further place of the package, and the rest."""
    named = {block.file or "use": block.text for block in blocks(DOCS / "add-a-pattern.md")}
    place = tmp_path / "patterns"
    place.mkdir()
    (place / "landmark.py").write_text(named["kernels/patterns/landmark.py"], encoding="utf-8")
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(place)])
    before = dict(registry._registered)
    yield named
    sys.modules.pop(f"{folder.__name__}.landmark", None)
    vars(folder).pop("landmark", None)
    registry._registered.clear()
    registry._registered.update(before)


def test_a_new_file_is_a_new_pattern(followed, written, capsys) -> None:
    with pytest.raises(UserError, match="none of that name"):
        parse_pattern("landmarks")
    used: dict[str, object] = {}
    exec(followed["use"], used)
    printed = capsys.readouterr().out
    assert printed.startswith(
        f"{tile_plan(used['landmark'], Context(8192, 8192)).pairs} pairs, 0.0"
    )
    tests: dict[str, object] = {}
    exec(followed["tests/kernels/patterns/test_landmark.py"], tests)
    tests["test_landmarks"]()

    entry = registry.entry("landmark")
    assert entry in registry.entries()
    assert "`block`: tokens in a block." in section(entry)
    for text in (entry.example, "landmark(5)", "landmark(16)|window(24)", "full-landmark(7)"):
        pattern = parse_pattern(text)
        assert parse_pattern(str(pattern)) == pattern
        context = Context(150, 150)
        plan = tile_plan(pattern, context, 32, 16)
        assert torch.equal(written.plan(plan), written.pattern(pattern, context))


def test_backends_compute_it(followed) -> None:
    pattern = parse_pattern("landmark(16)|window(3)")
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 100, 16, generator=generator)
    wanted = attention(q.double(), k.double(), v.double(), pattern=pattern, backend="reference")
    served = []
    for name, backend in backends().items():
        if backend.missing() or name == "flex":  # flex compiles; its own tests have any pattern
            continue
        try:
            found = attention(q, k, v, pattern=pattern, backend=name)
        except UserError as error:
            assert f"backend={name}" in str(error)
            continue
        torch.testing.assert_close(found.double(), wanted, atol=2e-6, rtol=0)
        served.append(name)
    assert "reference" in served
    torch.testing.assert_close(
        attention(q, k, v, pattern=pattern).double(), wanted, atol=2e-6, rtol=0
    )


def test_the_page_of_patterns_is_new() -> None:
    """Else: python -m lmms_causal.kernels.patterns.page > docs/patterns.md"""
    assert (DOCS / "patterns.md").read_text(encoding="utf-8") == page()
