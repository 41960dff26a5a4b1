"""Hold a row against the margin of harm, and correct families of tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

from lmms_causal.compare.inference import equivalence, statistics
from lmms_causal.compare.rows.row import Equivalence, Options, Row
from lmms_causal.compare.rows.twins import part_name


def against_margin(row: Row, interval: statistics.Interval, margin: float) -> Equivalence | None:
    """Test a row against a margin in the unit the row is shown in; None where that cannot be.

    Args:
        row: The row, with its counts.
        interval: Its interval, for the standard error and the number of independent units.
        margin: Points for shares, the metric's own unit otherwise.
    """
    margin /= row.factor
    binary = row.both_right is not None and row.gained is not None and row.lost is not None
    test: equivalence.MarginTest | None
    if binary and row.units == row.n and margin < 1.0:
        test = equivalence.tango_test(row.gained or 0, row.lost or 0, row.n, margin)
    else:
        test = equivalence.t_test(
            row.difference,
            interval.standard_error,
            interval.units,
            margin,
            row.largest,
        )
    if test is None:
        return None
    return Equivalence(margin, test.method, test.p, no_harm_p=test.no_harm(row.higher_is_better))


def corrected(rows: Mapping[tuple[int, int], Row], options: Options) -> dict[tuple[int, int], Row]:
    """Correct all rows of a report within their families.

    A row that repeats the scores of another one of its task is not one more hypothesis: it takes
    over the other's adjusted p. The tests for a difference, for equivalence and for no harm
    are three questions, corrected apart.

    Args:
        rows: Rows by (number of the comparison, place in it).
        options: Level and family.
    """
    families: dict[Hashable, dict[Hashable, list[tuple[int, int]]]] = {}
    for place, row in rows.items():
        if row.p is not None:
            what = (row.task, row.same_as or part_name(row), row.filter)
            family = what if options.family == "metric" else None
            families.setdefault(family, {}).setdefault((place[0], *what), []).append(place)
    result = dict(rows)
    for hypotheses in families.values():
        # The first of each is the row that is tested, others repeat its scores.
        tested = [rows[places[0]] for places in hypotheses.values()]
        # The strictest of Holm's levels: what shows at that one shows whatever others give.
        level = 1.0 - (1.0 - options.level) / len(tested)
        adjusted = statistics.holm([row.p or 0.0 for row in tested])
        margins = _corrected_margins([row.equivalence for row in tested], options.level)
        for places, p, margin in zip(hypotheses.values(), adjusted, margins, strict=True):
            for place in places:
                row = result[place]
                result[place] = dataclasses.replace(
                    row, p_holm=p, detectable=_detectable(row, level), equivalence=margin
                )
    return result


def _corrected_margins(
    tests: Sequence[Equivalence | None], level: float
) -> list[Equivalence | None]:
    both = _holm([None if test is None else test.p for test in tests])
    harm = _holm([None if test is None else test.no_harm_p for test in tests])
    return [
        test
        if test is None
        else dataclasses.replace(
            test,
            p_holm=p,
            no_harm_p_holm=q,
            equivalent=None if p is None else p < 1.0 - level,
            no_harm=None if q is None else q < 1.0 - level,
        )
        for test, p, q in zip(tests, both, harm, strict=True)
    ]


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    known = [index for index, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    for index, p in zip(known, statistics.holm([p_values[i] or 0.0 for i in known]), strict=True):
        adjusted[index] = p
    return adjusted


def _detectable(row: Row, level: float) -> float | None:
    """None where no difference that is possible would show, or where nothing varies."""
    if row.p is None or row.standard_error is None or statistics.too_few_units(row.units, level):
        return None
    units = None if row.mcnemar_p is None else row.units
    effect = statistics.minimum_detectable_effect(row.standard_error, level, binary_units=units)
    if row.largest is not None and effect > row.largest:
        return None
    return effect if effect > 0.0 else None  # NaN: none
