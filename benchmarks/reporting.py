"""What every benchmark prints and writes: ``{name, value, unit, goal, holds}`` records."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Measured:
    """One number; ``goal`` is a bound such as ``<= 50``, or empty where there is none to hold."""

    name: str
    value: float
    unit: str
    goal: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the value keeps the goal; None without a goal."""
        if not self.goal:
            return None
        relation, bound = self.goal.split()
        return self.value <= float(bound) if relation == "<=" else self.value >= float(bound)


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that all benchmarks take."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="fewer repetitions, under a minute")
    made.add_argument("--json", type=Path, metavar="OUT", help="write the records here")
    return made


def report(records: Sequence[Measured], target: Path | None) -> int:
    """Print the records, write them where asked; 1 if a goal is missed."""
    print(f"# {platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for record in records:
        verdict = {None: "", True: "holds", False: "MISSED"}[record.holds]
        print(f"{record.name:48} {record.value:10.3f} {record.unit:8} {record.goal:8} {verdict}")
    if target:
        rows = [{**asdict(record), "holds": record.holds} for record in records]
        target.write_text(json.dumps(rows, indent=2))
    return int(any(record.holds is False for record in records))


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios taken pair by pair, which holds on a machine whose speed drifts."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def peak_bytes(run: Callable[[], object]) -> float:
    """Return the largest number of bytes in tensors, made by a run, that are alive at once."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    held = highest = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return float(highest)
