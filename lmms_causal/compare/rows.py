"""The options of a comparison and the rows it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """What to compare and how.

    Attributes:
        tasks: Task names; empty for all that both runs have.
        metrics: Metric names; empty for all that both runs have.
        by: Attribute of the documents that splits every metric into further rows.
        cluster: Attribute that names dependent documents; None to choose, "none" for none.
        level: Coverage of the intervals; 1 - level is the level of the tests.
        interval: "t" or "bootstrap" (BCa) for metrics that are means over documents.
        seed: Seed of everything that is resampled.
        resamples: Number of resamples; None for the default of each procedure.
        intersect: Compare the common documents when the runs answered different ones.
    """

    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    by: str | None = None
    cluster: str | None = None
    level: float = 0.95
    interval: Literal["t", "bootstrap"] = "t"
    seed: int = 0
    resamples: int | None = None
    intersect: bool = False


@dataclass(frozen=True)
class Row:
    """One metric of one task, over all documents or one stratum; scores in the metric's own unit.

    Attributes:
        task: Task name.
        metric: Metric name.
        filter: Answer filter.
        stratum: Value of the ``--by`` attribute; None for all documents.
        n: Number of paired documents that the metric counts.
        units: Number of independent units (clusters, or documents).
        cluster_key: Attribute that names the clusters; None when documents are independent.
        factor: 100 when the scores are shares, to be shown in points, else 1.
        higher_is_better: Direction of the metric; None when the task does not say.
        a: Score of A.
        b: Score of B.
        difference: b - a.
        standard_error: Standard error of the difference.
        low: Lower end of its confidence interval; None when there is no interval.
        high: Upper end.
        interval: "t", "bootstrap-bca" or "bootstrap" (percentile); None when there is none.
        p: Two-sided p-value of `test`; None when nothing was tested.
        test: "mcnemar", "sign-flip" (exact), "sign-flip-sampled" or "swap-sampled".
        p_holm: p after Holm's correction over all rows of the report.
        mcnemar_p: McNemar's exact p, which takes documents as independent; 0/1 scores only.
        gained: Documents whose score is higher in B; None for a metric that is not a mean.
        lost: Documents whose score is lower in B.
        detectable: Smallest true difference that would have shown with 80 % power, at the level
            that Holm's correction asks of the first row; None when the sample does not tell,
            because nothing varies in it or because it is too small for any.
        same_as: Metric of the same task with the very same scores, tested in this one's place.
        note: Why a row is not tested, or what to know about it.
    """

    task: str
    metric: str
    filter: str
    stratum: str | None
    n: int
    units: int
    cluster_key: str | None
    factor: float
    higher_is_better: bool | None
    a: float
    b: float
    difference: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    p: float | None = None
    test: str | None = None
    p_holm: float | None = None
    mcnemar_p: float | None = None
    gained: int | None = None
    lost: int | None = None
    detectable: float | None = None
    same_as: str | None = None
    note: str = ""
