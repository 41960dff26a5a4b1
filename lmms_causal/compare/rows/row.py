"""The options of a comparison and the rows it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lmms_causal.errors import UserError


@dataclass(frozen=True)
class Options:
    """What to compare and how.

    Attributes:
        tasks: Task names; empty for all that both runs have.
        metrics: Metric names; empty for all that both runs have.
        by: Fields of the documents, each of which splits every metric into further rows.
        cluster: Field that names dependent documents; None to choose, "none" for none.
        level: Coverage of the intervals; 1 - level is the level of the tests.
        interval: "t" or "bootstrap" (BCa) for metrics that are means over documents.
        seed: Seed of everything that is resampled.
        resamples: Number of resamples; None for the default of each procedure.
        intersect: Compare the common documents when the runs answered different ones.
        margin: Largest harmless difference, in points for shares and in the metric's own unit
            for others; None to test no equivalence.
        family: What Holm's correction runs over: every row of the "report", or the rows of one
            "metric" (and task and stratum), which is the methods compared in it.

    Raises:
        UserError: A value out of range.
    """

    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    cluster: str | None = None
    level: float = 0.95
    interval: Literal["t", "bootstrap"] = "t"
    seed: int = 0
    resamples: int | None = None
    intersect: bool = False
    margin: float | None = None
    family: Literal["report", "metric"] = "report"

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1.0:
            raise UserError(f"--level {self.level:g}: give the coverage as a share, such as 0.95")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: give a whole number from 0 upwards")
        if self.resamples is not None and self.resamples < 99:
            raise UserError(f"--resamples {self.resamples}: give at least 99")
        if self.margin is not None and not 0.0 < self.margin < float("inf"):
            raise UserError(
                f"--margin {self.margin:g}: give the largest harmless difference, above 0, such as "
                "1 for one point"
            )


@dataclass(frozen=True)
class Equivalence:
    """Whether B is as good as A but for the margin (`lmms_causal.compare.inference.equivalence`).

    Attributes:
        margin: The margin in the unit of the scores (0.01 for one point).
        method: "tango" or "t".
        p: p-value of equivalence, from two one-sided tests.
        p_holm: The same after Holm's correction.
        no_harm_p: p-value of "worse by less than the margin"; None where the metric has no
            direction.
        no_harm_p_holm: The same after Holm's correction.
        equivalent: Whether equivalence is shown; None before the correction.
        no_harm: Whether it is shown that B does no harm.
    """

    margin: float
    method: str
    p: float
    p_holm: float | None = None
    no_harm_p: float | None = None
    no_harm_p_holm: float | None = None
    equivalent: bool | None = None
    no_harm: bool | None = None


@dataclass(frozen=True)
class Row:
    """One metric of one task, over all documents or one stratum; scores in the metric's own unit.

    Attributes:
        task: Task name.
        metric: Metric name.
        filter: Answer filter.
        stratum: Value of the field `by`; None for all documents.
        n: Number of paired documents that the metric counts.
        units: Number of independent units (clusters, or documents).
        cluster_key: Field that names the clusters; None when documents are independent.
        factor: 100 when the scores are shares, to be shown in points, else 1.
        higher_is_better: Direction of the metric; None when the task does not say.
        a: Score of A.
        b: Score of B.
        difference: b - a.
        standard_error: Standard error of the difference.
        low: Lower end of its confidence interval; None when there is no interval.
        high: Upper end.
        interval: "t" or "bootstrap-bca"; None when there is none.
        p: Two-sided p-value of `test`; None when nothing was tested.
        test: "mcnemar", "sign-flip" (exact), "sign-flip-sampled" or "swap-sampled".
        p_holm: p after Holm's correction over the family of rows.
        mcnemar_p: McNemar's exact p, which takes documents as independent; 0/1 scores only.
        gained: Documents whose score is higher in B; None for a metric that is not a mean.
        lost: Documents whose score is lower in B.
        agreement: Share of documents whose scores are equal in A and B.
        both_right: Documents with score 1 in both; 0/1 scores only.
        both_wrong: Documents with score 0 in both; 0/1 scores only.
        same_answer: Documents whose filtered answers are the same text.
        detectable: Smallest true difference that would have shown with 80 % power, at the level
            that Holm's correction asks of the first row; None when the sample does not tell,
            because nothing varies in it, or because it is too small for any that is possible.
        equivalence: The test against a margin; None when not asked for or not possible.
        same_as: Row of the same task with the very same scores and direction, tested in this one's
            place: its metric, and "metric on field value" for a part of the documents.
        note: Why a row is not tested, or what to know about it.
        by: Field that splits the documents; None for all documents.
        largest: Largest difference that is possible: 1 for shares, 2 for shares with a sign; None
            where scores have no known bound.
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
    agreement: float | None = None
    both_right: int | None = None
    both_wrong: int | None = None
    same_answer: int | None = None
    detectable: float | None = None
    equivalence: Equivalence | None = None
    same_as: str | None = None
    note: str = ""
    by: str | None = None
    largest: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Task, metric and filter: what rows of all documents and of their parts share."""
        return self.task, self.metric, self.filter
