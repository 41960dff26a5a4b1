"""Metrics that cannot be evaluated thousands of times are shown and not resampled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmms_causal.compare import compare, read_run
from lmms_causal.compare.inference import effort
from lmms_causal.compare.inference.effort import is_interval_end, measure
from lmms_causal.compare.reading import aggregations
from lmms_causal.tasks.centerbench import gap as gaps

Write = Callable[..., Path]


def _answers(n: int) -> list[dict[str, Any]]:
    return [
        {"sentence": f"{('plausible', 'implausible')[row % 2]}/1/{row // 4}", "credit": row % 3 / 2}
        for row in range(n)
    ]


def test_an_end_of_an_interval_is_never_evaluated_by_us(
    write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gap_ci_low(records: list[Any]) -> float:
        raise AssertionError("evaluated")

    monkeypatch.setattr(aggregations, "offered_aggregation", lambda task, metric: gap_ci_low)
    a, b = (read_run(write_run(name, [0, 1] * 20)) for name in "ab")
    (row,) = compare(a, [b])[0].rows
    assert row.p is None and row.note == "not tested: an end of an interval"
    assert row.a == 0.5


def test_ends_of_intervals_are_known_by_their_names() -> None:
    for name in ("gap_ci_low", "gap_ci_high", "f1_ci_lower", "f1_ci_upper"):
        assert is_interval_end(name)
    assert is_interval_end("low_gap", gaps.gap_ci_low)
    for name in ("gap", "low", "acc_high", "ci_lows"):
        assert not is_interval_end(name, gaps.gap)


def test_the_work_of_an_aggregation_is_counted_not_timed() -> None:
    few, many = (measure(gaps.gap, _answers(n)) for n in (100, 200))
    assert (few.draws, many.draws) == (False, False)
    assert 100 < few.calls < many.calls < 2.1 * few.calls
    assert measure(gaps.gap, _answers(100)) == few
    assert measure(gaps.gap_ci_low, _answers(40)).draws
    assert not measure(gaps.gap_macro, _answers(40)).draws


def test_counting_leaves_nothing_behind() -> None:
    before = np.random.default_rng, sys.getprofile()

    def broken(values: list[Any]) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure(broken, [])
    assert (np.random.default_rng, sys.getprofile()) == before


@pytest.mark.parametrize(
    ("budget", "tested", "remark"),
    [(2_000_000_000, True, ""), (3_000_000, True, "resamples only"), (1_000, False, "too many")],
)
def test_work_is_kept_in_bounds_by_fewer_resamples(
    write_run: Write, monkeypatch: pytest.MonkeyPatch, budget: int, tested: bool, remark: str
) -> None:
    def squared(records: list[Any]) -> float:
        return float(sum(abs(record["score"]) for record in records) / len(records)) ** 2

    monkeypatch.setattr(effort, "_BUDGET", budget)
    monkeypatch.setattr(aggregations, "offered_aggregation", lambda task, metric: squared)
    runs = [
        read_run(write_run(name, scores, aggregate=(sum(scores) / 400) ** 2))
        for name, scores in (("a", [0, 1] * 200), ("b", [1, 1, 0, 1] * 100))
    ]
    (row,) = compare(runs[0], runs[1:])[0].rows
    assert (row.p is not None) is tested and remark in row.note
    assert bool(row.note) is bool(remark)
