"""Compare one metric of one task between two runs: choose the right test, make the table rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any

from lmms_causal.compare import aggregations, resampling, statistics
from lmms_causal.compare.margins import against_margin
from lmms_causal.compare.pairing import (
    Pairing,
    choose_cluster_key,
    declared_cluster_key,
    natural_order,
    stratify,
)
from lmms_causal.compare.records import Sample, Task, score
from lmms_causal.compare.rows import Options, Row
from lmms_causal.compare.sign_flip import sign_flip_test
from lmms_causal.compare.units import Units, find_units


class MetricComparison:
    """One metric of one task: decides how it can be tested, then makes its rows."""

    def __init__(
        self, a: Task, b: Task, metric: str, name: str, pairing: Pairing, options: Options
    ) -> None:
        self.a, self.b, self.metric, self.filter = a, b, metric, name
        self.pairs = pairing.pairs
        self.options = options
        self.score_key = str(a.config.get("score_key") or "score")
        self.scores = [(self._score(left), self._score(right)) for left, right in self.pairs]
        samples = [left for left, _ in self.pairs]
        preferred = declared_cluster_key(a)
        self.natural_cluster_key = choose_cluster_key(samples, preferred)
        self.cluster_key = choose_cluster_key(samples, preferred, options.cluster)
        self.strata = {key: stratify(samples, key) for key in options.by}

    def rows(self) -> Iterator[Row]:
        """The row over all documents, then one per field of ``--by`` and stratum."""
        make, note = self._method()
        if make is None:
            yield aggregate_only(self.a, self.b, self.metric, self.filter, len(self.pairs), note)
            return
        yield make(range(len(self.pairs)), None, note)
        for key, values in self.strata.items():
            members: dict[str, list[int]] = {}
            for index, value in enumerate(values):
                members.setdefault(value, []).append(index)
            for stratum in sorted(members, key=natural_order):
                yield dataclasses.replace(make(members[stratum], stratum, note), by=key)

    def signature(self) -> tuple[Hashable, ...] | None:
        """The scores of both runs, equal for two metrics that are one under two names."""
        return None if all(left is None for left, _ in self.scores) else tuple(self.scores)

    def _method(self) -> tuple[Callable[[Sequence[int], str | None, str], Row] | None, str]:
        """Choose between a mean, a resampled aggregation, and nothing; with a remark."""
        aggregate = aggregations.offered_aggregation(self.a, self.metric)
        scales = [
            aggregations.mean_scale(task, self.metric, self.filter) for task in (self.a, self.b)
        ]
        half_scored = sum((left is None) != (right is None) for left, right in self.scores)
        is_mean = None not in scales and not half_scored
        if is_mean and aggregate is not None:
            is_mean = all(
                aggregations.behaves_like_mean(aggregate, self._values[side], self.score_key)
                for side in (0, 1)
            )
        inferred = aggregate is None and aggregations.is_custom(self.a, self.metric)
        if is_mean and inferred:
            # Scores that are all alike would agree with many another aggregation.
            is_mean = any(
                len({scores[side] for scores in self.scores} - {None}) > 1 for side in (0, 1)
            )
        if is_mean:
            note = "taken as a mean, since the mean score gives both runs' aggregates"
            return self._mean_row, note if inferred else ""
        if aggregate is None:
            return None, (
                f"not tested: documents scored in one run only: {half_scored}"
                if half_scored
                else "not known to be a mean over documents, so not tested"
            )
        for task in (self.a, self.b):
            problem = aggregations.reproduces(aggregate, task, self.metric, self.filter)
            if problem:
                return None, f"no test: the installed aggregation {problem}"

        # Clusters cannot be switched off here: a metric over pairs needs its pairs whole.
        usual = self.cluster_key or self.natural_cluster_key
        units = find_units([left for left, _ in self.pairs], self._values, aggregate, usual)
        if units is None:
            return None, (
                "not tested: it changes when every document is there twice, so that it cannot be "
                "resampled"
            )

        def resampled(members: Sequence[int], stratum: str | None, note: str) -> Row:
            return self._resampled_row(aggregate, units, members, stratum, note)

        return resampled, ""

    def _score(self, sample: Sample) -> float | None:
        return score(sample.metrics.get(self.metric), self.score_key)

    @cached_property
    def _values(self) -> tuple[list[Any], list[Any]]:
        """The metric's values in A and in B, by pair."""
        a, b = ([pair[side].metrics.get(self.metric) for pair in self.pairs] for side in (0, 1))
        return a, b

    @cached_property
    def _mean_factor(self) -> float:
        """The unit over all documents, so that a stratum of small scores keeps it."""
        return _factor([side for scores in self.scores for side in scores if side is not None])

    def _clusters(self, members: Sequence[int], key: str | None) -> list[Hashable] | None:
        if key is None:
            return None
        return [self.pairs[index][0].attributes[key] for index in members]

    def _mean_row(self, members: Sequence[int], stratum: str | None, note: str) -> Row:
        scored: list[int] = []
        a: list[float] = []
        b: list[float] = []
        for index in members:
            left, right = self.scores[index]
            if left is not None and right is not None:
                scored.append(index)
                a.append(left)
                b.append(right)
        if not scored:
            return self._row(stratum, 0, 0, self.cluster_key, 1.0, None, None, "no document counts")
        clusters = self._clusters(scored, self.cluster_key)
        level, seed = self.options.level, self.options.seed
        if self.options.interval == "bootstrap":
            interval = statistics.paired_bootstrap_interval(
                a, b, clusters, level, seed, self.options.resamples
            )
        else:
            interval = statistics.paired_t_interval(a, b, clusters, level)
        binary = statistics.is_binary(a) and statistics.is_binary(b)
        mcnemar = statistics.mcnemar_exact(a, b) if binary else None
        independent = interval.units == len(scored)
        if mcnemar is not None and independent:
            p, test = mcnemar.p, "mcnemar"
        else:
            p, exact = sign_flip_test(a, b, clusters, seed, self.options.resamples)
            test = "sign-flip" if exact else "sign-flip-sampled"
        row = self._row(
            stratum,
            len(scored),
            interval.units,
            None if independent else self.cluster_key,
            self._mean_factor,
            sum(a) / len(a),
            sum(b) / len(b),
            note,
        )
        row = dataclasses.replace(
            row,
            mcnemar_p=None if mcnemar is None else mcnemar.p,
            same_answer=self._same_answers(scored),
            **_counts(a, b, binary),
        )
        span = 1.0 if min(min(a), min(b)) >= 0.0 else 2.0
        return _with_test(row, interval, p, test, self.options.margin, span)

    def _resampled_row(
        self,
        aggregate: Callable[[list[Any]], float],
        units: Units,
        members: Sequence[int],
        stratum: str | None,
        note: str,
    ) -> Row:
        key = units.key
        labels = self._clusters(members, key)
        clusters: Sequence[Hashable] = list(members) if labels is None else labels
        every_a, every_b = self._values
        a = [every_a[index] for index in members]
        b = [every_b[index] for index in members]
        level, seed = self.options.level, self.options.seed
        left, right = float(aggregate(list(a))), float(aggregate(list(b)))
        count = self.options.resamples
        interval = resampling.aggregate_bootstrap_interval(
            a, b, clusters, aggregate, level, seed, count, units.identifiers
        )
        p = resampling.aggregate_swap_test(a, b, clusters, aggregate, seed, count)
        row = self._row(
            stratum, len(members), interval.units, key, _factor([left, right]), left, right, note
        )
        row = dataclasses.replace(row, same_answer=self._same_answers(members))
        span = 1.0 if min(left, right) >= 0.0 else 2.0
        return _with_test(row, interval, p, "swap-sampled", self.options.margin, span)

    def _same_answers(self, members: Sequence[int]) -> int:
        pairs = (self.pairs[index] for index in members)
        return sum(left.response.strip() == right.response.strip() for left, right in pairs)

    def _row(
        self,
        stratum: str | None,
        n: int,
        units: int,
        cluster_key: str | None,
        factor: float,
        a: float | None,
        b: float | None,
        note: str,
    ) -> Row:
        nan = float("nan")
        left, right = nan if a is None else a, nan if b is None else b
        return Row(
            task=self.a.name,
            metric=self.metric,
            filter=self.filter,
            stratum=stratum,
            n=n,
            units=units,
            cluster_key=cluster_key,
            factor=factor,
            higher_is_better=self.a.higher_is_better.get(self.metric),
            a=left,
            b=right,
            difference=right - left,
            note=note,
        )


def _counts(a: Sequence[float], b: Sequence[float], binary: bool) -> dict[str, Any]:
    """How the scores of A and B agree, by fields of `Row`."""
    pairs = list(zip(a, b, strict=True))
    return {
        "gained": sum(right > left for left, right in pairs),
        "lost": sum(right < left for left, right in pairs),
        "agreement": sum(left == right for left, right in pairs) / len(pairs),
        "both_right": pairs.count((1.0, 1.0)) if binary else None,
        "both_wrong": pairs.count((0.0, 0.0)) if binary else None,
    }


def _with_test(
    row: Row,
    interval: statistics.Interval,
    p: float,
    test: str,
    margin: float | None,
    span: float,
) -> Row:
    """Add the interval and the tests; `span` bounds the difference one document can have."""
    if interval.units < 2:
        return dataclasses.replace(row, note="too few independent documents to test")
    if not math.isfinite(interval.low + interval.high):
        return dataclasses.replace(row, note="no test: undefined on some of the resampled data")
    return dataclasses.replace(
        row,
        standard_error=interval.standard_error,
        low=interval.low,
        high=interval.high,
        interval=interval.method,
        p=p,
        test=test,
        equivalence=None if margin is None else against_margin(row, interval, margin, span),
    )


def aggregate_only(a: Task, b: Task, metric: str, name: str, n: int, note: str) -> Row:
    """Both reported aggregates of a metric that cannot be tested; `note` says why."""
    left, right = a.aggregates[metric, name], b.aggregates[metric, name]
    return Row(
        task=a.name,
        metric=metric,
        filter=name,
        stratum=None,
        n=n,
        units=0,
        cluster_key=None,
        factor=_factor([left, right]),
        higher_is_better=a.higher_is_better.get(metric),
        a=left,
        b=right,
        difference=right - left,
        note=note,
    )


def _factor(values: Sequence[float]) -> float:
    """Shares are shown in points, anything else in its own unit."""
    return 100.0 if all(-1.0 <= value <= 1.0 for value in values) else 1.0
