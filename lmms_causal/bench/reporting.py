"""Rows as a table for a terminal, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lmms_causal.bench.machine import Peak
from lmms_causal.bench.running import DENSE, EfficiencyLength, Row
from lmms_causal.kernels.cost import CostModel

__all__ = ["Table", "efficiency_text", "models_text", "record"]

_COLUMNS = (
    ("density", 7),
    ("ms", 9),
    ("x dense", 8),
    ("x line", 7),
    ("GF/s", 6),
    ("% peak", 7),
    ("MB", 8),
    ("first ms", 9),
    ("bound", 6),
    ("model ms", 9),
)


class Table:
    """Lines of a table, one row at a time, so that a long run is seen as it goes.

    Args:
        patterns: as the user wrote them, for the width of their column.
        backends: names likewise.
        predicted: whether there are cost models.
    """

    def __init__(self, patterns: Sequence[str], backends: Sequence[str], predicted: bool) -> None:
        self._pattern = max(map(len, (*patterns, "pattern")))
        named = ["auto: reference" if name == "auto" else name for name in backends]
        self._backend = max(map(len, (*named, DENSE, "backend")))
        self._columns = _COLUMNS if predicted else _COLUMNS[:-1]
        self._block: tuple[str, str] | None = None
        self._dense: set[tuple[str, str, int, int]] = set()

    def lines(self, row: Row) -> list[str]:
        """A row, below a title where a kind or type begins; dense attention once a shape."""
        lines = []
        if (row.kind, row.dtype) != self._block:
            self._block = (row.kind, row.dtype)
            heads = " ".join(f"{name:>{width}}" for name, width in self._columns)
            names = f"{'pattern':{self._pattern}} {'backend':{self._backend}}"
            lines += ["", f"{row.kind}, {row.dtype}", f"{'m x n':>12} {names} {heads}"]
        if row.backend == DENSE:
            shape = (row.kind, row.dtype, row.queries, row.keys)
            if shape in self._dense:
                return lines
            self._dense.add(shape)
        pattern = "" if row.backend == DENSE else row.pattern
        backend = f"{row.backend}: {row.chosen}" if row.chosen else row.backend
        names = f"{pattern:{self._pattern}} {backend:{self._backend}}"
        start = f"{f'{row.queries}x{row.keys}':>12} {names}"
        if row.problem is not None:
            return [*lines, f"{start} {'WRONG: ' if row.wrong else 'not run: '}{row.problem}"]
        cells = {
            "density": 1.0 if row.backend == DENSE else row.density,
            "ms": _scaled(row.seconds, 1e3),
            "x dense": row.ratio,
            "x line": row.line,
            "GF/s": _scaled(row.rate, 1e-9),
            "% peak": _scaled(row.of_peak, 100),
            "MB": _scaled(row.memory, 1e-6),
            "first ms": _scaled(row.first, 1e3),
            "bound": None if row.backend == DENSE else row.tile_bound,
            "model ms": _scaled(row.predicted, 1e3),
        }
        return [
            *lines,
            " ".join([start, *(_cell(cells[name], width) for name, width in self._columns)]),
        ]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _cell(value: float | None, width: int) -> str:
    if value is None:
        return f"{'-':>{width}}"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:>{width}.{digits}f}"


def efficiency_text(lengths: Sequence[EfficiencyLength]) -> str:
    """Efficiency lengths as lines, or nothing."""
    if not lengths:
        return ""
    found: dict[str, dict[str, str]] = {}
    for it in lengths:
        title = f"{it.kind}, {it.dtype}, {it.pattern}, {it.backend}"
        relation = "" if it.relation == "=" else f"{it.relation} "
        found.setdefault(title, {})[it.of] = f"{relation}{it.length:.0f}"
    width = max(map(len, found))
    lines = ["", "efficiency length: keys from which on it is cheaper than dense attention"]
    lines.append(f"  {'':{width}} {'time':>9} {'memory':>9}")
    for title, of in found.items():
        time, memory = of.get("time", "-"), of.get("memory", "-")
        lines.append(f"  {title:{width}} {time:>9} {memory:>9}")
    return "\n".join(lines)


def models_text(models: Mapping[tuple[str, str], CostModel]) -> str:
    """Cost models as lines, or nothing."""
    if not models:
        return ""
    lines = ["", "cost models, microseconds: per tile of 64 x 64 and head, per mask, per query"]
    for (name, dtype), model in models.items():
        lines.append(
            f"  {name}, {dtype}: {1e6 * model.tile:.2f} + {1e6 * model.partial:.2f} (mask), "
            f"{1e6 * model.row:.3f} (query); off by {100 * model.error:.0f} % at most where fitted"
        )
    return "\n".join(lines)


def record(
    rows: Sequence[Row],
    lengths: Sequence[EfficiencyLength],
    models: Mapping[tuple[str, str], CostModel],
    peaks: Mapping[str, Peak],
    machine: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """All that was measured, as plain data; numbers that are not finite become null."""
    found: dict[str, Any] = _plain(
        {
            "machine": dict(machine),
            "settings": dict(settings),
            "peaks": {name: asdict(peak) for name, peak in peaks.items()},
            "rows": [asdict(row) for row in rows],
            "efficiency_lengths": [asdict(it) for it in lengths],
            "cost_models": [
                {"backend": name, "dtype": dtype, **asdict(model)}
                for (name, dtype), model in models.items()
            ],
        }
    )
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(it) for name, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(it) for it in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
