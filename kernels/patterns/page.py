"""The page about all patterns, from their files: ``python -m lmms_causal.kernels.patterns.page``.

It is ``docs/patterns.md``; a test says so when they differ.
"""

from __future__ import annotations

import inspect
import math
import sys

from lmms_causal.kernels.patterns.base import AttentionPattern
from lmms_causal.kernels.patterns.causal import Causal
from lmms_causal.kernels.patterns.context import Context, Region
from lmms_causal.kernels.patterns.neighborhood import Neighborhood
from lmms_causal.kernels.patterns.per_layer import PerLayer
from lmms_causal.kernels.patterns.picture import picture_text
from lmms_causal.kernels.patterns.registry import Entry, entries
from lmms_causal.kernels.patterns.spec import parse_pattern
from lmms_causal.kernels.patterns.tiles import tile_plan

__all__ = ["page", "section"]

MEASURED = (
    "causal",
    "window(256)",
    "window(256,sink=4)",
    "s2(block=64,local=4,stride=8)",
    "s2",
    "power(block=64)",
    "power",
    "stride_slash(block=64)",
    "dilated(block=64)",
    "longnet(block=64)",
    "neighborhood(7)",
    "neighborhood(8,stride=8)",
    "concentric",
    "modality_mutual",
    "prefix(inside=image)",
    "segments(own)",
    "segments(mutual)",
    "document",
)
"""What the table of densities has."""

PICTURES = (
    "neighborhood(9,grid=64x64)",
    "neighborhood(8,stride=8,grid=64x64)",
    "neighborhood(7,dilation=4,grid=64x64)",
    "neighborhood(24,stride=8,grid=64x128)",
    "neighborhood(5,grid=16x16x16)",
    "neighborhood(128,grid=8192)",
)

_HEAD = """# Patterns of attention

Which keys a query may see. `attention(q, k, v, pattern=...)` takes any of them. As texts they are
names with parameters, in order or by name, such as `power(window=5)`. They are joined by `&`
(both), `|` (either) and `-` (without), and given per layer by `+`: `window(256)+dense@0,-1` has a
window in all layers but the first and the last. Inside arguments of something else, brackets and
slashes stand for parentheses and commas: `power[window=5/sink=1]+dense@0/1`.

Positions are those of a prompt's content: padding does not count. Patterns for pictures, segments
and documents take where these are from the call, `regions=[Region("image", 35, 611, (24, 24))]`,
and say so if it has none. The order of tokens does not matter to a softmax: where another one fills
tiles better, `neighborhood` and `concentric` have them computed in that.

To add one, see [add-a-pattern.md](add-a-pattern.md). This page is written by
`python -m lmms_causal.kernels.patterns.page`.
"""

_DENSITIES = """
## How much is left

Allowed pairs of a head, in the mean of 8, and their share of causal ones, in a prompt of so many
tokens: 35 of text, a picture of 24 x 24, a question of 64, four segments of 96, and text to the
end; in two documents. Tiles are those of 64 x 64 that a backend computes, as a share of causal
ones.

| pattern | pairs, 2048 | density | tiles | pairs, 8192 | density | tiles |
|---|---|---|---|---|---|---|
"""

_PICTURES = """
A picture or video alone, in relation to all pairs and all tiles, these in raster order and in the
pattern's own:

| pattern | pairs | density | tiles, raster | tiles |
|---|---|---|---|---|
"""


def _prompt(keys: int, text: int, side: int, question: int, segment: int) -> Context:
    """A prompt with regions of every name that patterns ask for."""
    stop = text + side * side
    first = stop + question
    segments = (Region("segment", first + n * segment, first + (n + 1) * segment) for n in range(4))
    regions = (
        Region("prefix", 0, text),
        Region("image", text, stop, (side, side)),
        Region("question", stop, first),
        *segments,
        Region("document", 0, keys // 3),
        Region("document", keys // 3, keys),
    )
    return Context(keys, keys, heads=8, kv_heads=8, regions=regions)


def page() -> str:
    """Return the page, in Markdown."""
    parts = [_HEAD, _DENSITIES]
    prompts = [_prompt(keys, 35, 24, 64, 96) for keys in (2048, 8192)]
    causal = [tile_plan(Causal(), prompt).visited for prompt in prompts]
    for text in MEASURED:
        cells = [f"`{text}`"]
        for prompt, tiles in zip(prompts, causal, strict=True):
            plan = tile_plan(_pattern(text), prompt)
            cells.append(f"{plan.pairs / plan.context.heads:,.0f}")
            cells += [f"{plan.density:.4f}", f"{plan.visited / tiles:.3f}"]
        parts.append(f"| {' | '.join(cells)} |\n")
    parts.append(_PICTURES)
    for text in PICTURES:
        pattern = _pattern(text)
        assert isinstance(pattern, Neighborhood)
        n = math.prod(pattern.grid)
        own, plain = (
            tile_plan(pattern, Context(n, n), reorder=reorder) for reorder in (True, False)
        )
        shares = (plan.visited / (plan.q_tiles * plan.k_tiles) for plan in (plain, own))
        cells = [f"`{text}`", f"{own.pairs:,}", f"{own.pairs / n**2:.4f}"]
        cells += [f"{share:.3f}" for share in shares]
        parts.append(f"| {' | '.join(cells)} |\n")
    parts += [section(entry) for entry in entries()]
    return "".join(parts)


def section(entry: Entry) -> str:
    """Return what the page has on one pattern: formula, source, parameters, a picture."""
    module = inspect.getdoc(sys.modules[entry.cls.__module__]) or ""
    names = "".join(f", `{alias}`" for alias in entry.aliases)
    context = _prompt(96, 6, 6, 8, 8)
    pattern = _pattern(entry.example)
    heads = range(min(2, pattern.planes(context)))
    pictures = [picture_text(pattern, context, 24, head).splitlines() for head in heads]
    drawn = "\n".join("    ".join(lines) for lines in zip(*pictures, strict=True))
    of = ", heads 0 and 1" if len(pictures) > 1 else ""
    return (
        f"\n## `{entry.name}`{names}\n\n{_markdown(module)}\n\n"
        f"{_markdown(inspect.getdoc(entry.cls) or '')}\n\n"
        f"`{entry.example}` on 96 tokens{of}:\n\n```text\n{drawn}\n```\n"
    )


def _pattern(text: str) -> AttentionPattern:
    found = parse_pattern(text)
    assert not isinstance(found, PerLayer)
    return found


def _markdown(text: str) -> str:
    """A docstring as Markdown: its attributes as a list."""
    before, mark, attributes = text.partition("\nAttributes:\n")
    items: list[str] = []
    for line in attributes.splitlines():
        if line.startswith("     "):
            items[-1] += " " + line.strip()
        elif line.strip():
            name, _, meaning = line.strip().partition(": ")
            items.append(f"* `{name}`: {meaning}")
    listed = "\n" + "\n".join(items) if mark else ""
    return (before.rstrip() + "\n" + listed).replace("::\n", ":\n").replace("``", "`").rstrip()


if __name__ == "__main__":
    sys.stdout.write(page())
