"""One sentence per comparison that claims what the numbers carry, and no more."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.rows.row import Row

_NAMED = 4
#: The hyphen before a number or in its exponent; not that of a name ("re-2") or an option.
_MINUS = re.compile(r"(?<=[ (])-(?=\d)|(?<=\de)-(?=\d)")


def outcome(row: Row, level: float) -> str:
    """Classify a row: "improved", "worse", "higher", "lower", "no difference" or "untested".

    A difference counts only when the confidence interval excludes 0 *and* the test rejects at
    ``1 - level`` after Holm's correction. "higher" and "lower" stand for metrics whose task does
    not say which direction is good.
    """
    if row.p is None or row.low is None or row.high is None:
        return "untested"
    p = row.p if row.p_holm is None else row.p_holm
    if row.low <= 0.0 <= row.high or p >= 1.0 - level:
        return "no difference"
    up = row.difference > 0
    if row.higher_is_better is None:
        return "higher" if up else "lower"
    return "improved" if up == row.higher_is_better else "worse"


def verdict(comparison: Comparison, minus: str = "-") -> str:
    """Sum the comparison up in one sentence.

    Args:
        comparison: What is summed up.
        minus: How negative numbers are written, which is as the tables beside the sentence do it.
    """
    tested = [row for row in comparison.rows if row.p is not None and row.same_as is None]
    if not tested:
        return "No metric could be tested with paired documents; see the remarks of each row."
    level = comparison.options.level
    sentence = _single(tested[0], level) if len(tested) == 1 else _several(comparison, tested)
    sentence += _against_margin(tested)
    serious = [found.what for found in comparison.differences if found.serious]
    if serious and any(_claims(row, level) for row in tested):
        sentence += (
            f"; but the runs also differ in {_listing(serious)}, so this is not the effect of the "
            "interventions alone"
        )
    elif comparison.a.interventions == comparison.b.interventions:
        sentence += "; both runs have the same interventions"
    return f"{_MINUS.sub(minus, sentence)}."


def difference_with_mark(row: Row, level: float) -> str:
    """The difference, with a star when it counts as one."""
    star = "" if outcome(row, level) in ("no difference", "untested") else "*"
    return f"{number(row, row.difference, '+')}{star}"


def test_name(row: Row) -> str:
    """The test behind a row's p-value, in words."""
    return {
        "mcnemar": "exact McNemar test",
        "sign-flip": "exact sign-flip test",
        "sign-flip-sampled": "sampled sign-flip test",
        "swap-sampled": "sampled swap test",
        None: "no test",
    }[row.test]


def metric_name(row: Row) -> str:
    """The metric, with its answer filter where there is a choice of them."""
    return row.metric if row.filter == "none" else f"{row.metric} ({row.filter})"


def row_name(row: Row) -> str:
    """A row's name in running text."""
    name = f"{metric_name(row)} of {row.task}"
    if row.stratum is None:
        return name
    return f"{name} on {row.by} {row.stratum}" if row.by else f"{name} on {row.stratum}"


def amount(row: Row, value: float, signed: bool = True) -> str:
    """A difference with its unit: points for shares, the metric's own unit otherwise."""
    text = number(row, value, "+" if signed else "")
    return f"{text} points" if row.factor == 100.0 else text


def number(row: Row, value: float, sign: str = "") -> str:
    """A score or difference of `row` as the table shows it: per cent, or the metric's own unit."""
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:{sign}.1f}" if row.factor == 100.0 else f"{value:{sign}.4g}"


def interval_text(row: Row) -> str:
    """The interval as the table shows it; one without width tells nothing and says so."""
    if row.low is None or row.high is None:
        return "-"
    if row.standard_error == 0.0:
        return "no variation"
    return f"{number(row, row.low, '+')} to {number(row, row.high, '+')}"


def p_text(p: float | None) -> str:
    """A p-value in two significant digits."""
    if p is None:
        return "-"
    return "<1e-99" if 0.0 <= p < 1e-99 else f"{p:.2g}"


def _p_statement(p: float | None) -> str:
    text = p_text(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _claims(row: Row, level: float) -> bool:
    """Whether the sentence says of a row that B differs, does no harm, or is equivalent."""
    margin = row.equivalence
    shown = margin is not None and bool(margin.no_harm or margin.equivalent)
    return shown or outcome(row, level) != "no difference"


def _single(row: Row, level: float) -> str:
    interval = f"{100 * level:g} % interval {interval_text(row)}"
    numbers = (
        f"{amount(row, row.difference)}, "
        f"{interval if row.standard_error else 'no variation between documents'}, "
        f"{test_name(row)} {_p_statement(row.p)}, n = {row.n}"
    )
    found = outcome(row, level)
    if found == "no difference":
        return f"No detectable difference in {row_name(row)} ({numbers}); {_could_have(row)}"
    verb = {
        "improved": "improves",
        "worse": "worsens",
        "higher": "raises",
        "lower": "lowers",
    }[found]
    return f"B {verb} {row_name(row)} ({numbers})"


def _several(comparison: Comparison, tested: Sequence[Row]) -> str:
    level = comparison.options.level
    found: dict[str, list[Row]] = {}
    for row in tested:
        found.setdefault(outcome(row, level), []).append(row)
    parts = [
        f"{label} {_listing([f'{row_name(row)} ({amount(row, row.difference)})' for row in rows])}"
        for label in ("improved", "worse", "higher", "lower")
        if (rows := found.get(label))
    ]
    if same := found.get("no difference"):
        others = "the other row" if len(same) == 1 else f"the other {len(same)}"
        rest = f"no detectable difference in {others if parts else f'any of the {len(same)}'}"
        parts.append(f"{rest}, where {_could_have_range(same)}")
    return (
        f"B against A over {len(tested)} rows (level {100 * (1 - level):.3g} % after Holm's "
        f"correction): {'; '.join(parts)}"
    )


def _against_margin(tested: Sequence[Row]) -> str:
    """What is shown about harm and equivalence; empty when no margin was given."""
    rows = [row for row in tested if row.equivalence is not None]
    if not rows:
        return ""
    width = " or ".join(
        dict.fromkeys(
            amount(row, row.equivalence.margin, signed=False) for row in rows if row.equivalence
        )
    )
    alone = len(tested) == 1
    parts = []
    for what, found in (
        ("no harm is shown", [row for row in rows if row.equivalence and row.equivalence.no_harm]),
        (
            "equivalence is shown",
            [row for row in rows if row.equivalence and row.equivalence.equivalent],
        ),
    ):
        if found:
            parts.append(what if alone else f"{what} in {_listing([row_name(r) for r in found])}")
    said = " and ".join(parts) if alone else ", ".join(parts)
    return f"; within {width}, {said or 'neither equivalence nor absence of harm is shown'}"


def _could_have(row: Row) -> str:
    if row.detectable is None:
        if row.standard_error or row.mcnemar_p is not None:
            return "no possible difference would have been sure to show in this sample"
        return "the sample does not tell what difference would have shown"
    return (
        f"a true difference of {amount(row, row.detectable, signed=False)} or more would "
        "have shown in this sample with 80 % power"
    )


def _could_have_range(rows: Sequence[Row]) -> str:
    if len(rows) == 1:
        return _could_have(rows[0])
    known = [row for row in rows if row.detectable is not None]
    shares = sorted(row.detectable or 0.0 for row in known if row.factor == 100.0)
    if not known:
        return "the sample does not tell what difference would have shown"
    if len(shares) != len(known):
        return "--json tells for each row which difference would have shown"
    low, high = f"{100 * shares[0]:.1f}", f"{100 * shares[-1]:.1f}"
    span = f"{low} points" if low == high else f"{low} to {high} points (by row)"
    part = "" if len(known) == len(rows) else f" in {len(known)} of them"
    return f"true differences of {span} would have shown with 80 % power{part}"


def _listing(names: Sequence[str]) -> str:
    shown = list(names[:_NAMED])
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
