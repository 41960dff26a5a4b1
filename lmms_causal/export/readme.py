"""A benchmark's page for upstream: what runs it there, and nothing that only this package has."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["page"]

_OURS = re.compile(r"lmms-causal\b|lmms_causal\.|--model causal|interventions=")
_WIDTH = 100

_RUN = {
    "lmms-eval": "lmms-eval --model MODEL --model_args pretrained=... --tasks {name}",
    "lm-eval": "lm-eval run --model MODEL --model_args pretrained=... --tasks {name}",
}

_CHECKLIST = """\
## Checklist

* [ ] Is the benchmark in the literature?
  * [ ] Is the paper that introduced it referenced?
  * [ ] If its authors have an implementation, was this one checked against it, and how?

If other tasks of this data set are there already:

* [ ] Is the main variant named?
* [ ] Is it said what each variant is for?
* [ ] Is it said which variant is the published set-up?
"""


def page(
    readme: str,
    *,
    name: str,
    harness: str,
    groups: Iterable[str],
    tasks: Iterable[str],
    packages: Sequence[str],
) -> str:
    """The README of an exported folder.

    Commands of ours are replaced by the harness's own, and sentences about ours are left out.

    Args:
        readme: the benchmark's README.
        name: what was exported.
        harness: where to.
        groups: names of groups.
        tasks: names of tasks.
        packages: what pip calls that which the code imports besides Python's own library.
    """
    title, _, rest = readme.partition("\n")
    parts = [title, f"    {_RUN[harness].format(name=name)}", *_blocks(rest)]
    listed = [*_list("Groups", groups), *_list("Tasks", tasks)]
    parts += ["## Groups and tasks", *listed]
    if packages:
        parts += ["## Requirements", f"Packages: {', '.join(packages)}. Python 3.10 or newer."]
        parts.append("Python files named above are parts of `utils.py`.")
    if harness == "lm-eval":
        parts.append(_CHECKLIST)
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _list(title: str, names: Iterable[str]) -> list[str]:
    lines = "\n".join(f"* `{name}`" for name in names)
    return [f"### {title}", lines] if lines else []


def _blocks(text: str) -> list[str]:
    """The blocks between blank lines that are not about this package."""
    kept = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if not _OURS.search(block):
            kept.append(block)
        elif block.startswith("    "):
            lines = [line for line in block.splitlines() if not _OURS.search(line)]
            kept += ["\n".join(lines)] if lines else []
        elif adapted := "\n".join(_items(block)):
            kept.append(adapted)
    return kept


def _items(block: str) -> list[str]:
    """The lines of a block: items of a list one by one, a paragraph as a whole, tables by row."""
    if block.startswith("|"):
        return [line for line in block.splitlines() if not _OURS.search(line)]
    items = re.split(r"\n(?=\s*[*-] )", block)
    return [kept for item in items if (kept := _without_ours(item))]


def _without_ours(item: str) -> str:
    """An item without the clauses that are about this package, filled anew if there were any."""
    if not _OURS.search(item):
        return item
    indent = re.match(r"\s*(?:[*-] )?", item)
    assert indent is not None
    clauses = re.split(r"(?<=[.;])\s+", " ".join(item[indent.end() :].split()))
    kept = " ".join(clause for clause in clauses if not _OURS.search(clause))
    if not kept:
        return ""
    kept = re.sub(r";$", ".", kept)
    return textwrap.fill(
        kept,
        _WIDTH,
        initial_indent=indent[0],
        subsequent_indent=" " * len(indent[0]),
        break_long_words=False,
        break_on_hyphens=False,
    )
