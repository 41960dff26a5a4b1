"""Our numbers and their intervals against closed forms, and what is said of them."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from lmms_causal.compare.inference.statistics import clustered_standard_error
from lmms_causal.errors import UserError
from lmms_causal.reproduce.measuring import Estimate, measure, verdict
from lmms_causal.reproduce.recipe import Measure, Published


def _published(**how) -> Published:
    settings = {"tasks": ("t",), "metrics": ("score",)} | how
    return Published("n", Measure(**settings), 1.0, 1.0, 1.0)


def test_interval_of_a_mean_is_that_of_its_clustered_standard_error(run_of):
    rng = np.random.default_rng(0)
    clusters = [f"c{i // 4}" for i in range(1200)]
    base = np.repeat(rng.random(300) < 0.5, 4)
    values = np.where(rng.random(1200) < 0.7, base, rng.random(1200) < 0.5).astype(float).tolist()
    runs = {("plain", 0): run_of({"t": values}, clusters)}
    runs["method", 0] = run_of({"t": values}, clusters)
    ours = measure(runs, _published(scale=100.0))
    error = 100 * clustered_standard_error(values, clusters)
    assert error > 1.3 * 100 * clustered_standard_error(values, None)  # the clusters matter
    assert ours.plain.value == pytest.approx(100 * np.mean(values))
    assert (ours.plain.high - ours.plain.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert (ours.difference.value, ours.difference.low, ours.difference.high) == (0, 0, 0)


def test_the_difference_is_paired_over_documents_and_seeds(run_of):
    rng = np.random.default_rng(1)
    plain = rng.random(400)
    runs = {}
    for seed in (0, 1):
        runs["plain", seed] = run_of({"t": (plain + seed).tolist()})
        runs["method", seed] = run_of({"t": (plain + seed + 0.25).tolist()})
    ours = measure(runs, _published())
    assert ours.plain.value == pytest.approx(plain.mean() + 0.5)
    assert ours.method.value == pytest.approx(plain.mean() + 0.75)
    # every document gains the same, so that resampling documents cannot change the difference
    assert ours.difference.low == pytest.approx(0.25)
    assert ours.difference.high == pytest.approx(0.25)


@pytest.mark.parametrize(("combine", "expected"), [("mean", 0.5), ("sum", 1.0)])
def test_tasks_are_combined(run_of, combine, expected):
    run = run_of({"t": [1.0, 0.0, 1.0, 1.0], "u": [0.0, 0.0, 1.0, 0.0]})
    published = _published(tasks=("t", "u"), combine=combine)
    ours = measure({("plain", 0): run, ("method", 0): run}, published)
    assert ours.plain.value == pytest.approx(expected)
    assert ours.plain.low <= expected <= ours.plain.high


def harmonic(records: list[dict[str, float]]) -> float:
    """An aggregation that is no mean of documents."""
    return len(records) / sum(1 / record["score"] for record in records)


def test_a_named_aggregation_is_resampled_and_another_gives_no_interval(run_of, monkeypatch):
    # test modules are not importable by name, so that the function is put where one is
    monkeypatch.setattr(statistics, "of_this_test", harmonic, raising=False)
    rng = np.random.default_rng(2)
    records = [{"score": float(value)} for value in rng.uniform(1, 2, size=300)]
    run = run_of({"t": records}, reported=harmonic(records))
    runs = {("plain", 0): run, ("method", 0): run}
    ours = measure(runs, _published(aggregations={"score": "statistics.of_this_test"}))
    inverse = np.array([1 / record["score"] for record in records])
    error = inverse.std(ddof=1) / math.sqrt(300) / inverse.mean() ** 2  # delta method
    assert ours.plain.value == pytest.approx(harmonic(records))
    assert (ours.plain.high - ours.plain.low) / (2 * 1.96) == pytest.approx(error, rel=0.15)
    unknown = measure(runs, _published())
    assert math.isnan(unknown.plain.low) and "not known" in unknown.plain.note
    assert unknown.plain.value == pytest.approx(harmonic(records))


def test_a_number_that_the_documents_contradict_is_not_compared(run_of, monkeypatch):
    """By the function that the recipe names: the harness itself would have reported another one."""
    monkeypatch.setattr(statistics, "of_this_test", harmonic, raising=False)
    records = [{"score": value} for value in (1.0, 2.0, 4.0, 4.0)]
    good, edited = run_of({"t": records}, reported=2.0), run_of({"t": records}, reported=3.9)
    published = _published(aggregations={"score": "statistics.of_this_test"})
    for runs in ((good, edited), (edited, good)):
        ours = measure({("plain", 0): runs[0], ("method", 0): runs[1]}, published)
        for one in (ours.plain, ours.method):
            assert verdict(one, one.value, 1.0, True) == "not compared"
            assert "of_this_test gives 2, the file says 3.9" in one.note and math.isnan(one.low)
    unread = _published(aggregations={"score": "statistics.mean"})  # of mappings: a TypeError
    ours = measure({("plain", 0): good, ("method", 0): good}, unread)
    assert verdict(ours.plain, 2.0, 1.0, True) == "agrees"


def test_a_number_that_did_not_come_out_is_not_compared(run_of):
    """The harness writes NaN, such as for the F1 score of a model that never says yes."""
    run = run_of({"t": [0.0, 1.0, 1.0]})
    run.tasks["t"].config["metric_list"] = [{"metric": "f1"}]
    ours = measure({("plain", 0): run, ("method", 0): run}, _published(metrics=("f1",)))
    assert math.isnan(ours.plain.value) and "undefined" in ours.plain.note
    assert verdict(ours.plain, 80.0, 1.0, True) == "not compared"


def test_what_is_not_there_is_named(run_of):
    run = run_of({"t": [0.0, 1.0]})
    with pytest.raises(UserError, match="no results of task u"):
        measure({("plain", 0): run, ("method", 0): run}, _published(tasks=("u",)))
    with pytest.raises(UserError, match="no acc,none"):
        measure({("plain", 0): run, ("method", 0): run}, _published(metrics=("acc",)))
    other = run_of({"t": [0.0, 1.0]}, first=5)
    with pytest.raises(UserError, match="different documents"):
        measure({("plain", 0): run, ("method", 0): other}, _published())


@pytest.mark.parametrize(
    ("ours", "theirs", "settled", "word"),
    [
        (Estimate(80.9, 80.0, 81.8), 80.0, True, "agrees"),
        (Estimate(81.0, 80.5, 81.5), 80.0, True, "agrees"),  # at the tolerance itself
        (Estimate(81.5, 79.9, 83.0), 80.0, True, "within its interval"),
        (Estimate(81.5, 80.6, 82.4), 80.0, True, "differs"),
        (Estimate(81.5), 80.0, True, "differs"),  # no interval
        (Estimate(80.0, 79.0, 81.0), 80.0, False, "not compared"),
        (Estimate(80.0, 79.0, 81.0), None, True, "not compared"),
        (Estimate(float("nan")), 80.0, True, "not compared"),
    ],
)
def test_verdicts(ours, theirs, settled, word):
    assert verdict(ours, theirs, 1.0, settled) == word
