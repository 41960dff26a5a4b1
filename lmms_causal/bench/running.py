"""Patterns x shapes x ways -> rows, each checked before it is timed; and efficiency lengths."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lmms_causal.bench.cases import Case
from lmms_causal.bench.machine import measured_peak
from lmms_causal.bench.memory import peak_bytes
from lmms_causal.bench.timing import in_turn, median_ratio, timed
from lmms_causal.bench.ways import TOLERANCES, Way, gap, way
from lmms_causal.errors import UserError
from lmms_causal.kernels.cost import CostModel
from lmms_causal.kernels.simulate import TileReport, simulate

__all__ = ["DENSE", "EfficiencyLength", "Row", "efficiency_lengths", "measure"]

DENSE = "dense"
"""The name of torch's dense attention in tables."""


@dataclass(frozen=True)
class Row:
    """One way on one case. Numbers are None where ``problem`` says why there are none.

    Attributes:
        kind: which of the four.
        dtype: of the tensors.
        queries: ``m``.
        keys: ``n``.
        pattern: as the user wrote it.
        backend: what computed; ``dense`` is torch's dense attention.
        density: allowed pairs in relation to those dense attention computes.
        pairs: allowed pairs over all heads.
        tile_bound: greatest speed-up over dense attention that skipping tiles allows.
        waste: pairs in visited tiles for each allowed pair.
        seconds: of a call, median.
        first: of the first call, which may compile.
        ratio: time in relation to dense attention, median over turns.
        line: time in relation to the density-proportional line, which is dense attention's time
            times ``density``: below 1 is under the line.
        rate: useful operations a second.
        of_peak: ``rate`` in relation to the machine's measured peak.
        memory: peak bytes beyond the inputs, masks included.
        predicted: seconds by the backend's cost model, if one was fitted.
        gap: greatest difference from float64.
        chosen: the backend that ``auto`` took, or empty.
        problem: why it could not run, or that its result is wrong.
        wrong: whether it is the latter.
    """

    kind: str
    dtype: str
    queries: int
    keys: int
    pattern: str
    backend: str
    density: float
    pairs: int
    tile_bound: float
    waste: float
    seconds: float | None = None
    first: float | None = None
    ratio: float | None = None
    line: float | None = None
    rate: float | None = None
    of_peak: float | None = None
    memory: float | None = None
    predicted: float | None = None
    gap: float | None = None
    chosen: str = ""
    problem: str | None = None
    wrong: bool = False


def measure(
    case: Case,
    names: Sequence[str],
    *,
    repeats: int = 7,
    budget: float = 10.0,
    memory: bool = True,
    models: Callable[[str, Case], CostModel | None] = lambda name, case: None,
) -> Iterator[Row]:
    """Measure a case: dense attention first, then each way.

    All are checked against float64 and run once; those that are right are timed in turn.

    Args:
        case: the pattern and its shape.
        names: backends, ``auto``, ``sdpa-mask``.
        repeats: turns.
        budget: wall seconds for the turns.
        memory: whether to measure that too, which takes two runs more.
        models: cost models of backends.
    """
    q, k, v = case.draw()
    report = simulate(case.pattern, case.context)
    dense = Way(case.dense(q, k, v))
    ways: dict[str, Way] = {DENSE: dense}
    first, gaps, problems = {DENSE: timed(dense.run)}, {}, {}
    for name in names:
        made = way(name, case, q, k, v)
        if isinstance(made, str):
            problems[name] = made
            continue
        try:
            out, first[name] = _first(made)
        except UserError as error:  # such as a compiler that is not there
            problems[name] = str(error)
            continue
        gaps[name] = gap(case, out, q, k, v)
        ways[name] = made
    wrong = {name for name in gaps if not gaps[name] <= TOLERANCES[case.dtype]}
    right = {name: made for name, made in ways.items() if name not in wrong}
    taken = in_turn({name: made.run for name, made in right.items()}, repeats, budget)
    for name in (DENSE, *names):
        if name in problems:
            yield _row(case, report, name, problem=problems[name])
        elif name in wrong:
            problem = f"differs from float64 by {gaps[name]:.2g}; not timed"
            yield _row(case, report, name, gap=gaps[name], problem=problem, wrong=True)
        else:
            made, seconds = right[name], statistics.median(taken[name])
            ratio = median_ratio(taken[name], taken[DENSE])
            pairs = case.dense_pairs if name == DENSE else case.pairs
            rate = pairs * 4 * case.width / seconds
            model = None if name == DENSE else models(name, case)
            yield _row(
                case,
                report,
                name,
                seconds=seconds,
                first=first[name],
                ratio=ratio,
                line=None if name == DENSE or not pairs else ratio * case.dense_pairs / pairs,
                rate=rate,
                of_peak=rate / measured_peak(case.dtype, torch.get_num_threads()).rate,
                memory=made.held + peak_bytes(made.run) if memory else None,
                predicted=None if model is None else model.seconds(report, case.batch),
                gap=gaps.get(name),
                chosen=made.chosen,
            )


def _first(made: Way) -> tuple[torch.Tensor, float]:
    kept: list[torch.Tensor] = []
    seconds = timed(lambda: kept.append(made.run()))
    return kept[0], seconds


def _row(case: Case, report: TileReport, name: str, **measured: object) -> Row:
    causal = case.kind.causal and not case.kind.cross
    bound = report.causal_bound if causal else report.tile_bound
    assert bound is not None
    return Row(
        kind=case.kind.name,
        dtype=str(case.dtype).removeprefix("torch."),
        queries=case.queries,
        keys=case.keys,
        pattern=case.label,
        backend=name,
        density=case.pairs / case.dense_pairs,
        pairs=case.pairs,
        tile_bound=bound,
        waste=report.waste,
        **measured,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class EfficiencyLength:
    """From which length on a way is cheaper than dense attention (CAB, arXiv 2210.07661).

    Attributes:
        kind: of the cases.
        dtype: of the cases.
        pattern: as the user wrote it.
        backend: the way.
        of: ``time`` or ``memory``.
        relation: ``=`` where the curves cross; ``<=`` if it was cheaper at all lengths measured,
            ``length`` being the shortest; ``>`` if not at the longest, which is ``length``.
        length: keys.
    """

    kind: str
    dtype: str
    pattern: str
    backend: str
    of: str
    relation: str
    length: float


def efficiency_lengths(rows: Sequence[Row]) -> list[EfficiencyLength]:
    """Return efficiency lengths where two lengths or more were measured."""
    dense_memory = {
        (row.kind, row.dtype, row.keys): row.memory for row in rows if row.backend == DENSE
    }
    curves: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row.seconds is not None and row.backend != DENSE:
            curves.setdefault((row.kind, row.dtype, row.pattern, row.backend), []).append(row)
    found = []
    for name, curve in curves.items():
        curve = sorted(curve, key=lambda row: row.keys)
        if len(curve) < 2:
            continue
        for of in ("time", "memory"):
            points = []
            for row in curve:
                if of == "time":
                    ratio = row.ratio
                else:
                    dense = dense_memory[row.kind, row.dtype, row.keys]
                    ratio = row.memory / dense if row.memory and dense else None
                if ratio:
                    points.append((float(row.keys), ratio))
            if len(points) >= 2:
                found.append(EfficiencyLength(*name, of, *_crossing(points)))
    return found


def _crossing(points: Sequence[tuple[float, float]]) -> tuple[str, float]:
    """Where ratios go below 1 for good, straight lines being drawn between logarithms."""
    if points[-1][1] >= 1:
        return ">", points[-1][0]
    above = [index for index, (_, ratio) in enumerate(points) if ratio >= 1]
    if not above:
        return "<=", points[0][0]
    (n, r), (n_next, r_next) = points[above[-1]], points[above[-1] + 1]
    share = math.log(r) / (math.log(r) - math.log(r_next))
    return "=", math.exp(math.log(n) + share * (math.log(n_next) - math.log(n)))
