"""What a recipe expects, and ours beside theirs, as text and as JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from lmms_causal.reproduce.commands import Changes, Job
from lmms_causal.reproduce.measuring import Estimate, Measured, verdict
from lmms_causal.reproduce.recipe import SEEN, Published, Recipe

__all__ = ["listing", "outcome", "plan_text", "result_text", "to_json"]

_PLURAL = {"agrees": "agree", "differs": "differ", "within its interval": "within their intervals"}


def listing(recipes: Sequence[Recipe]) -> Iterator[str]:
    """One line a recipe."""
    width = max((len(recipe.name) for recipe in recipes), default=0)
    for recipe in recipes:
        count = len(recipe.published)
        numbers = f"{count} number{'s' * (count != 1)}" if count else "no target"
        yield f"{recipe.name:{width}}  {numbers:>10}  {recipe.about}"


def plan_text(recipe: Recipe, jobs: Sequence[Job], changes: Changes) -> Iterator[str]:
    """What is run, on what, and what should come out."""
    yield f"{recipe.name}: {recipe.about}"
    model, decoding = recipe.model, recipe.decoding
    note = f" ({model.note})" if model.note else ""
    yield f"  model      {model.pretrained}, revision {model.revision}{note}"
    settings = ", ".join(f"{key}={value}" for key, value in decoding.settings.items())
    seeds = f"; seeds {', '.join(map(str, decoding.seeds))}" if decoding.mode == "sampled" else ""
    note = f" ({decoding.note})" if decoding.note else ""
    yield f"  decoding   {decoding.mode}{', ' if settings else ''}{settings}{seeds}{note}"
    yield f"  method     {recipe.interventions}"
    if changes.named():
        yield f"  changed    {', '.join(changes.named())}"
    yield from _source(recipe)
    if recipe.published:
        yield ""
        yield from _aligned(
            [
                ("published", "plain", "method", "tolerance"),
                *(
                    (_name(one), _number(one.plain), _number(one.method), f"{one.tolerance:g}")
                    for one in recipe.published
                ),
            ]
        )
        yield f"  tolerance: {recipe.tolerance}"
    yield from _differences(recipe)
    yield ""
    for job in jobs:
        yield f"  $ {shlex.join(job.command)}"


def result_text(
    recipe: Recipe, measured: Sequence[Measured], changes: Changes, unsettled: str
) -> Iterator[str]:
    """Ours beside theirs, a line for each setting of each number.

    Args:
        recipe: what was published.
        measured: ours, for each published number.
        changes: what the user wanted otherwise.
        unsettled: why nothing is compared, "" if it is.
    """
    yield f"{recipe.name}: {recipe.about}"
    yield from _source(recipe)
    if changes.named():
        yield f"  changed    {', '.join(changes.named())}"
    yield ""
    rows = [("", "", "published", "ours", "95 % interval", "tolerance", "")]
    for one, ours in zip(recipe.published, measured, strict=True):
        for setting, estimate, theirs, word in _lines(one, ours, not unsettled):
            tolerance = "" if setting == "difference" else f"{one.tolerance:g}"
            name = _name(one) if setting == "plain" else ""
            text = _number(estimate.value, signed=setting == "difference")
            rows.append(
                (
                    name,
                    setting,
                    _number(theirs, setting == "difference"),
                    text,
                    _interval(estimate),
                    tolerance,
                    word,
                )
            )
    yield from _aligned(rows)
    notes = {one.note for ours in measured for one in (ours.plain, ours.method, ours.difference)}
    for note in sorted(notes - {""}):
        yield f"  no interval: {note}"
    if recipe.tolerance:
        yield f"  tolerance: {recipe.tolerance}"
    yield from _differences(recipe)
    yield f"  {outcome(recipe, measured, unsettled)}"


def outcome(recipe: Recipe, measured: Sequence[Measured], unsettled: str) -> str:
    """The verdicts summed up in one sentence."""
    if not recipe.published:
        return f"no target: {recipe.without_target}"
    if unsettled:
        return f"nothing is settled: {unsettled}"
    words = _verdicts(recipe, measured)
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return f"of {len(words)} published numbers: " + ", ".join(
        f"{count} {_PLURAL.get(word, word) if count > 1 else word}"
        for word, count in counts.items()
    )


def to_json(
    recipe: Recipe,
    jobs: Sequence[Job],
    measured: Sequence[Measured],
    changes: Changes,
    unsettled: str,
) -> dict[str, Any]:
    """All numbers, with the commands they came from; undefined ones are None."""
    return {
        "recipe": recipe.name,
        "interventions": recipe.interventions,
        "model": {"pretrained": recipe.model.pretrained, "revision": recipe.model.revision},
        "source": {"paper": recipe.source.paper, "place": recipe.source.place},
        "without_target": recipe.without_target or None,
        "changed": changes.named(),
        "unsettled": unsettled or None,
        "commands": [list(job.command) for job in jobs],
        "numbers": [
            {
                "name": one.name,
                "unit": one.unit,
                "tolerance": one.tolerance,
                **{
                    setting: {
                        "published": theirs,
                        "ours": _finite(estimate.value),
                        "low": _finite(estimate.low),
                        "high": _finite(estimate.high),
                        "no_interval": estimate.note or None,
                        "verdict": word,
                    }
                    for setting, estimate, theirs, word in _lines(one, ours, not unsettled)
                },
            }
            for one, ours in zip(recipe.published, measured, strict=True)
        ],
    }


def _lines(
    one: Published, ours: Measured, settled: bool
) -> Iterator[tuple[str, Estimate, float | None, str]]:
    """Setting, ours, theirs and what is to be said; of the difference only the interval counts."""
    for setting, estimate, theirs in (
        ("plain", ours.plain, one.plain),
        ("method", ours.method, one.method),
    ):
        yield setting, estimate, theirs, verdict(estimate, theirs, one.tolerance, settled)
    change = None if one.plain is None or one.method is None else one.method - one.plain
    estimate, word = ours.difference, ""
    if change is not None and settled and not math.isnan(estimate.low):
        slack = _rounding(one)
        inside = estimate.low - slack <= change <= estimate.high + slack
        word = "inside" if inside else "outside"
        word = f"published {word} the interval"
    yield "difference", estimate, change, word


def _rounding(one: Published) -> float:
    """By how much rounding may move the difference of the two published numbers."""
    digits = max(len(repr(float(v)).partition(".")[2]) for v in (one.plain, one.method) if v)
    return 10.0**-digits * (1 + 1e-9)


def _verdicts(recipe: Recipe, measured: Sequence[Measured]) -> list[str]:
    words = []
    for one, ours in zip(recipe.published, measured, strict=True):
        for theirs, estimate in ((one.plain, ours.plain), (one.method, ours.method)):
            if theirs is not None:
                words.append(verdict(estimate, theirs, one.tolerance, True))
    return words


def _source(recipe: Recipe) -> Iterator[str]:
    source = recipe.source
    if recipe.published:
        yield f"  source     {source.paper}, {source.place} ({SEEN[source.seen]})"
    else:
        yield f"  source     {source.paper}"
        yield f"  no target  {recipe.without_target}"


def _differences(recipe: Recipe) -> Iterator[str]:
    if recipe.differences:
        yield "  known differences:"
        yield from (f"  - {one}" for one in recipe.differences)


def _name(one: Published) -> str:
    return f"{one.name}, {one.unit}" if one.unit else one.name


def _number(value: float | None, signed: bool = False) -> str:
    if value is None or math.isnan(value):
        return "-"
    value = round(value, 2) + 0.0  # no minus before a zero
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def _interval(estimate: Estimate) -> str:
    return "-" if math.isnan(estimate.low) else f"[{estimate.low:.2f}, {estimate.high:.2f}]"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns under each other: the first and the last on the left, numbers on the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        for place, cell in enumerate(row[1:], start=1):
            words = place == len(row) - 1 and not cell[:1].isdigit()
            cells.append(cell.ljust(widths[place]) if words else cell.rjust(widths[place]))
        yield ("  " + "  ".join(cells)).rstrip()
