"""Compare one metric of one task between two runs: choose the right test, make the table rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any

from lmms_causal.compare.inference import effort, resampling, statistics
from lmms_causal.compare.inference.sign_flip import sign_flip_test
from lmms_causal.compare.inference.units import Units, find_units
from lmms_causal.compare.pairing.fields import (
    answer_fields,
    choose_cluster_key,
    declared_cluster_key,
    stratify,
)
from lmms_causal.compare.pairing.pairs import Pairing, natural_order
from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.records import Sample, Task, score
from lmms_causal.compare.rows.make_rows import aggregate_only, counts, with_test
from lmms_causal.compare.rows.row import Options, Row
from lmms_causal.compare.rows.scale import Scale
from lmms_causal.compare.rows.twins import Signature, signature

_Make = Callable[[Sequence[int], str | None, str | None], tuple[Row, Signature | None]]


class MetricComparison:
    """One metric of one task: decides how it can be tested, then makes its rows."""

    def __init__(
        self,
        a: Task,
        b: Task,
        metric: str,
        name: str,
        pairing: Pairing,
        options: Options,
        scale: Scale,
    ) -> None:
        self.a, self.b, self.metric, self.filter, self.scale = a, b, metric, name, scale
        self.pairs = pairing.pairs
        self.left_out = bool(pairing.only_a or pairing.only_b)
        self.options = options
        self.score_key = str(a.config.get("score_key") or "score")
        self.scores = [(self._score(left), self._score(right)) for left, right in self.pairs]
        samples = [left for left, _ in self.pairs]
        preferred = declared_cluster_key(a)
        self.natural_cluster_key = choose_cluster_key(samples, preferred)
        self.cluster_key = choose_cluster_key(samples, preferred, options.cluster)
        self.strata = {key: stratify(samples, key) for key in options.by}

    def rows(self) -> Iterator[tuple[Row, Signature | None]]:
        """The row over all documents, then one per field of ``--by`` and stratum.

        With each what makes another row the same test; None for a row that is not tested.
        """
        make, note = self._method()
        if make is None:
            args = (self.a, self.b, self.metric, self.filter, note, self.scale)
            yield aggregate_only(*args, len(self.pairs), self.left_out), None
            return
        yield make(range(len(self.pairs)), None, note)
        for key, values in self.strata.items():
            members: dict[str, list[int]] = {}
            for index, value in enumerate(values):
                members.setdefault(value, []).append(index)
            for stratum in sorted(members, key=natural_order):
                row, sign = make(members[stratum], stratum, note)
                yield dataclasses.replace(row, by=key), sign

    def _method(self) -> tuple[_Make | None, str]:
        """Choose between a mean, a resampled aggregation, and nothing; with a remark."""
        aggregate = aggregations.offered_aggregation(self.a, self.metric)
        if effort.is_interval_end(self.metric, aggregate):
            return None, "not tested: an end of an interval"
        half_scored = sum((left is None) != (right is None) for left, right in self.scores)
        inferred = aggregate is None and aggregations.is_custom(self.a, self.metric)
        if not half_scored and self._is_mean(aggregate, inferred):
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
        return self._resampling(aggregate)

    def _is_mean(self, aggregate: resampling.Aggregate | None, inferred: bool) -> bool:
        scales = [
            aggregations.mean_scale(task, self.metric, self.filter) for task in (self.a, self.b)
        ]
        if None in scales:
            return False
        if aggregate is not None:
            return all(
                aggregations.behaves_like_mean(aggregate, self._values[side], self.score_key)
                for side in (0, 1)
            )
        # Scores that are all alike would agree with many another aggregation.
        return not inferred or any(
            len({scores[side] for scores in self.scores} - {None}) > 1 for side in (0, 1)
        )

    def _resampling(self, aggregate: resampling.Aggregate) -> tuple[_Make | None, str]:
        """How to resample a metric that is no mean; None with the reason where it cannot be."""
        work = effort.measure(aggregate, self._values[0])
        if work.draws:
            return None, "not tested: it resamples by itself"
        count = self.options.resamples
        usual = resampling.default_resamples(len(self.pairs)) if count is None else count
        remark = ""
        if count is None and work.most_resamples < usual:
            if work.most_resamples < resampling.FEWEST:
                return None, (
                    f"not tested: one evaluation calls {work.calls} functions, too many for "
                    f"{usual} resamples"
                )
            count = work.most_resamples
            remark = f"{count} resamples only, since one evaluation calls {work.calls} functions"
        # Clusters cannot be switched off here: a metric over pairs needs its pairs whole.
        key = self.cluster_key or self.natural_cluster_key
        samples = [left for left, _ in self.pairs]
        decided = answer_fields(self.pairs, self.a)
        units = find_units(samples, self._values, aggregate, key, decided)
        if units is None:
            return None, (
                "not tested: it changes when every document is there twice, so that it cannot be "
                "resampled"
            )

        def make(
            members: Sequence[int], stratum: str | None, note: str | None
        ) -> tuple[Row, Signature | None]:
            return self._resampled_row(aggregate, units, count, members, stratum, note or "")

        return make, remark

    def _score(self, sample: Sample) -> float | None:
        return score(sample.metrics.get(self.metric), self.score_key)

    @cached_property
    def _values(self) -> tuple[list[Any], list[Any]]:
        """The metric's values in A and in B, by pair."""
        a, b = ([pair[side].metrics.get(self.metric) for pair in self.pairs] for side in (0, 1))
        return a, b

    def _clusters(self, members: Sequence[int], key: str | None) -> list[Hashable] | None:
        if key is None:
            return None
        return [self.pairs[index][0].attributes[key] for index in members]

    def _mean_row(
        self, members: Sequence[int], stratum: str | None, note: str | None
    ) -> tuple[Row, Signature | None]:
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
            note = "no document counts"
            return self._row(stratum, 0, 0, self.cluster_key, None, None, note), None
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
            sum(a) / len(a),
            sum(b) / len(b),
            note or "",
        )
        row = dataclasses.replace(
            row,
            mcnemar_p=None if mcnemar is None else mcnemar.p,
            same_answer=self._same_answers(scored),
            **counts(a, b, binary),
        )
        row = with_test(row, interval, p, test, self.options)
        return row, signature(row, scored, a, b)

    def _resampled_row(
        self,
        aggregate: resampling.Aggregate,
        units: Units,
        count: int | None,
        members: Sequence[int],
        stratum: str | None,
        note: str,
    ) -> tuple[Row, Signature | None]:
        key = units.key
        labels = self._clusters(members, key)
        clusters: Sequence[Hashable] = list(members) if labels is None else labels
        every_a, every_b = self._values
        a = [every_a[index] for index in members]
        b = [every_b[index] for index in members]
        level, seed = self.options.level, self.options.seed
        left, right = float(aggregate(list(a))), float(aggregate(list(b)))
        interval = resampling.aggregate_bootstrap_interval(
            a, b, clusters, aggregate, level, seed, count, units.identifiers
        )
        p = resampling.aggregate_swap_test(a, b, clusters, aggregate, seed, count)
        row = self._row(stratum, len(members), interval.units, key, left, right, note)
        row = dataclasses.replace(row, same_answer=self._same_answers(members))
        row = with_test(row, interval, p, "swap-sampled", self.options)
        if row.p is None:
            return row, None
        return row, (aggregate.__qualname__, signature(row, members, a, b))

    def _same_answers(self, members: Sequence[int]) -> int:
        pairs = (self.pairs[index] for index in members)
        return sum(left.response.strip() == right.response.strip() for left, right in pairs)

    def _row(
        self,
        stratum: str | None,
        n: int,
        units: int,
        cluster_key: str | None,
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
            factor=self.scale.factor,
            higher_is_better=self.a.higher_is_better.get(self.metric),
            a=left,
            b=right,
            difference=right - left,
            note=note,
            largest=self.scale.largest,
        )
