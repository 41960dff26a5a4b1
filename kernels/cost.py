"""What a backend takes for a pattern, from its tiles: ``t = a tiles + b partial + c rows``.

``a`` is what a tile costs, ``b`` what a mask in it adds, ``c`` what a query costs whatever it sees
(reading it, normalising, writing). The three depend on backend, type, width and machine, and are
fitted by a micro-benchmark of about a second. They serve to compare patterns and tile sizes before
anything is run; what a backend does with its caches beyond that is not in them.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from lmms_causal.errors import UserError
from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.patterns import AttentionPattern, Causal, Context, Full
from lmms_causal.kernels.patterns.window import SlidingWindow
from lmms_causal.kernels.simulate import TileReport, simulate

__all__ = ["CostModel", "Observation", "calibrate", "fit"]


@dataclass(frozen=True)
class Observation:
    """One measured call: its tiles, and processor time in seconds."""

    tiles: int
    partial: int
    rows: int
    seconds: float

    @classmethod
    def of(cls, report: TileReport, seconds: float, batch: int = 1) -> Observation:
        """A call of so many rows of a batch."""
        return cls(
            batch * report.visited, batch * (report.partial or 0), batch * report.rows, seconds
        )


@dataclass(frozen=True)
class CostModel:
    """Costs in seconds.

    Attributes:
        tile: ``a``, of a tile.
        partial: ``b``, of the mask in a tile.
        row: ``c``, of a query.
        error: greatest relative error over the calls it was fitted to.
    """

    tile: float
    partial: float
    row: float
    error: float

    def seconds(self, report: TileReport, batch: int = 1) -> float:
        """Predict the processor time of a call, in seconds."""
        partial = report.partial or 0
        one = self.tile * report.visited + self.partial * partial + self.row * report.rows
        return batch * one


def fit(observations: Sequence[Observation]) -> CostModel:
    """Fit costs, none of them negative, by least squares of the relative errors.

    With three costs, the best on each face of the positive octant is found directly.

    Raises:
        UserError: fewer than three calls.
    """
    if len(observations) < 3:
        raise UserError(f"{len(observations)} observations: three costs need 3 or more")
    measured = torch.tensor([o.seconds for o in observations], dtype=torch.float64)
    counts = torch.tensor([(o.tiles, o.partial, o.rows) for o in observations], dtype=torch.float64)
    unit = counts.amax(0).clamp(min=1)  # columns of one magnitude
    relative = counts / unit / measured[:, None]
    best, least = torch.zeros(3, dtype=torch.float64), float("inf")
    for used in itertools.chain.from_iterable(
        itertools.combinations(range(3), size) for size in (1, 2, 3)
    ):
        some = list(used)
        found = torch.linalg.lstsq(
            relative[:, some], torch.ones(len(measured), 1, dtype=torch.float64), driver="gelsd"
        ).solution[:, 0]
        if bool((found < 0).any()):
            continue
        missed = float(((relative[:, some] @ found - 1) ** 2).sum())
        if missed < least * (1 - 1e-9):  # more costs must earn their place
            best, least = torch.zeros(3, dtype=torch.float64), missed
            best[some] = found
    error = float((relative @ best - 1).abs().max())
    tile, partial, row = (best / unit).tolist()
    return CostModel(tile, partial, row, error)


def calibrate(
    backend: str,
    dtype: torch.dtype = torch.float32,
    *,
    width: int = 64,
    heads: int = 4,
    kv_heads: int | None = None,
    q_tile: int = 64,
    k_tile: int = 64,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.process_time,
) -> CostModel:
    """Fit the costs of a backend on this machine.

    The calls differ in how many tiles a row of them has (full attention to more and more keys), and
    in how many of them need masks (windows). They are measured in turn, so that a machine whose
    speed drifts disturbs all alike, and each by its median.

    Args:
        backend: its name.
        dtype: of queries, keys and values.
        width: of heads, ``d``.
        heads: query heads.
        kv_heads: key heads; as many by default.
        q_tile: queries in the tiles counted.
        k_tile: keys in them.
        seconds: to spend, roughly; a first call of each kind, which may compile, is not counted.
        clock: what tells the time.

    Raises:
        UserError: the backend is not known, not here, or cannot serve plain patterns.
    """
    kv_heads = heads if kv_heads is None else kv_heads
    runs: list[tuple[TileReport, Callable[[], object]]] = []
    generator = torch.Generator().manual_seed(0)
    for pattern, queries, keys in _probes():
        context = Context(queries, keys, keys - queries, heads, kv_heads)
        q, k, v = (
            torch.randn(1, h, n, width, generator=generator).to(dtype)
            for h, n in ((heads, queries), (kv_heads, keys), (kv_heads, keys))
        )

        run = partial(attention, q, k, v, pattern=pattern, backend=backend)
        runs.append((simulate(pattern, context, q_tile, k_tile), run))
    with torch.no_grad():
        for _, warm in runs:
            warm()
        taken: list[list[float]] = [[] for _ in runs]
        end = time.perf_counter() + seconds
        while not taken[0] or (time.perf_counter() < end and len(taken[0]) < 50):
            for times, (_, call) in zip(taken, runs, strict=True):
                start = clock()
                call()
                times.append(max(clock() - start, 1e-9))
    return fit(
        [
            Observation.of(report, statistics.median(times))
            for (report, _), times in zip(runs, taken, strict=True)
        ]
    )


def _probes() -> list[tuple[AttentionPattern, int, int]]:
    """Patterns, queries and keys: tiles, masks and rows in proportions that tell them apart."""
    return [
        (Full(), 256, 256),
        (Full(), 256, 512),
        (Full(), 256, 1024),
        (Full(), 512, 1024),
        (Causal(), 512, 512),
        (Causal(), 1024, 1024),
        (SlidingWindow(1), 1024, 1024),
        (SlidingWindow(65), 1024, 1024),
        (SlidingWindow(257), 1024, 1024),
    ]
