"""Simulated comparisons whose truth is known: coverage, and how often nothing is called something.

Scores are right or wrong. Documents come in pairs that share an image: each has a difficulty, and a
model that is in luck with a pair is so with both of its documents, so that scores within a pair
depend on each other. Under the null hypothesis A and B are two draws of one model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lmms_causal.compare import (
    Cost,
    Run,
    Sample,
    Task,
    compare,
    equivalence,
    resampling,
    statistics,
)
from lmms_causal.compare.verdict import outcome

pytestmark = pytest.mark.exhaustive

_SIMULATIONS = 1000
_PAIRS = (
    400  # about 240 documents differ between two draws: enough for an exact test to use its 5 %
)
_CLUSTERS = np.repeat(range(_PAIRS), 2).tolist()


def _scores(
    seed: int, gains: Sequence[float] = (0.0, 0.0), count: int = _SIMULATIONS, pairs: int = _PAIRS
) -> list[np.ndarray]:
    """Scores of several models on the same documents, each (count, 2 pairs); gain 0: one model."""
    rng = np.random.default_rng(seed)
    difficulty = np.repeat(rng.random((count, pairs)), 2, axis=1)

    def answers(gain: float) -> np.ndarray:
        shared = np.repeat(rng.normal(size=(count, pairs)), 2, axis=1)
        luck = 0.5 + 0.2 * (shared + rng.normal(size=difficulty.shape)) + gain
        return (luck > difficulty).astype(float)

    return [answers(gain) for gain in gains]


def _run(name: str, scores: np.ndarray) -> Run:
    """A run of one task with these scores, as `read_run` would have read it."""
    samples = tuple(
        Sample(
            task="simulated",
            filter="none",
            doc_id=index,
            key=str(index),
            metrics={"acc": value},
            attributes={"image_id": _CLUSTERS[index]},
            response=str(value),
            target="1.0",
        )
        for index, value in enumerate(scores.tolist())
    )
    task = Task(
        name="simulated",
        config={"metric_list": [{"metric": "acc", "aggregation": "mean"}]},
        version=1,
        num_fewshot=0,
        aggregates={("acc", "none"): float(scores.mean())},
        higher_is_better={"acc": True},
        samples={"none": samples},
    )
    return Run(
        harness="lmms-eval",
        harness_version=None,
        path=Path(name),
        model="causal",
        model_args={"pretrained": "org/simulated"},
        interventions=name,
        causal_version=None,
        date="",
        settings={},
        tasks={"simulated": task},
        cost=Cost(),
    )


def test_an_intervention_without_effect_is_called_one_in_3_to_7_per_cent() -> None:
    """1000 comparisons, from samples to outcome."""
    found = [
        outcome(compare(_run("", a), [_run("null", b)])[0].rows[0], 0.95)
        for a, b in zip(*_scores(0), strict=True)
    ]
    assert set(found) == {"no difference", "improved", "worse"}
    assert 30 <= _SIMULATIONS - found.count("no difference") <= 70


def test_several_interventions_without_effect_together_stay_at_5_per_cent() -> None:
    """Three against one reference, 200 times: Holm bounds the share of reports with any claim."""
    claims = uncorrected = 0
    for a, *others in zip(*_scores(1, (0.0,) * 4, count=200), strict=True):
        runs = [_run(f"null {place}", scores) for place, scores in enumerate(others)]
        rows = [found.rows[0] for found in compare(_run("", a), runs)]
        claims += any(outcome(row, 0.95) != "no difference" for row in rows)
        uncorrected += any((row.p or 0.0) < 0.05 for row in rows)
    assert claims <= 20  # 10 expected at most, three standard errors of 3.1
    assert uncorrected > claims


def test_intervals_cover_the_true_difference_in_93_to_97_per_cent() -> None:
    """BCa and t over 200 clusters, 3000 samples, with a true gain."""
    gains = (0.0, 0.1)
    left, right = _scores(2, gains, count=20_000, pairs=50)
    truth = float((right - left).mean())  # of two million documents, known to 0.0005
    covered = {"t": 0, "bootstrap-bca": 0}
    samples = zip(*_scores(3, gains, count=3000, pairs=200), strict=True)
    for seed, (a, b) in enumerate(samples):  # other resamples for each
        for interval in (
            statistics.paired_t_interval(a, b, _CLUSTERS[:400]),
            statistics.paired_bootstrap_interval(a, b, _CLUSTERS[:400], seed=seed, resamples=999),
        ):
            covered[interval.method] += interval.low <= truth <= interval.high
    assert all(0.93 <= count / 3000 <= 0.97 for count in covered.values()), covered


def test_intervals_of_a_metric_that_is_no_mean_cover_as_well() -> None:
    """The difference of two F1 values, resampled by cluster: 300 samples of 120 pairs.

    The bounds are those of 93 to 97 % and two standard errors (1.25 %) of so few samples.
    """

    def f1(records: list[tuple[float, float]]) -> float:
        both = sum(gold * said for gold, said in records)
        return 2 * both / sum(gold + said for gold, said in records)

    def records(scores: np.ndarray) -> list[tuple[float, float]]:
        gold = np.arange(len(scores)) % 2  # a pair has one document of each answer
        return list(zip(gold.tolist(), np.where(scores, gold, 1 - gold).tolist(), strict=True))

    left, right = (
        f1(records(scores.ravel())) for scores in _scores(4, (0.0, 0.1), count=10_000, pairs=60)
    )
    covered = 0
    samples = zip(*_scores(5, (0.0, 0.1), count=300, pairs=120), strict=True)
    for seed, (a, b) in enumerate(samples):
        interval = resampling.aggregate_bootstrap_interval(
            records(a), records(b), _CLUSTERS[:240], f1, seed=seed, resamples=199
        )
        covered += interval.low <= right - left <= interval.high
    assert 0.905 <= covered / 300 <= 0.995


def test_a_harmless_intervention_is_called_so_and_a_harmful_one_in_5_per_cent() -> None:
    """The margin equals the loss exactly: no harm may be claimed in 5 % of 1000 samples."""
    a, b = _scores(6, (0.0, -0.03), count=20_000, pairs=50)
    loss = float((a - b).mean())
    claims = {"tango": 0, "t": 0}
    for left, right in zip(*_scores(7, (0.0, -0.03), pairs=200), strict=True):
        interval = statistics.paired_t_interval(left, right, _CLUSTERS[:400])
        test = equivalence.t_test(interval.estimate, interval.standard_error, 200, loss, 1.0)
        assert test is not None
        claims["t"] += test.not_lower < 0.05
        one, other = left[::2], right[::2]  # one document of each pair: independent
        gained, lost = int(np.sum(other > one)), int(np.sum(other < one))
        claims["tango"] += equivalence.tango_test(gained, lost, 200, loss).not_lower < 0.05
    assert all(30 <= count <= 70 for count in claims.values()), claims
