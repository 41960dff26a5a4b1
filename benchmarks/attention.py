"""The kernel ``cpu`` against what torch has: prompts, steps, distance from the limits, two threads.

Beside it stand torch's fused attention (``SDPA``: causal for prompts, without a mask for steps),
the same with a dense mask (``sdpa-mask``, the mask made beforehand), ``gather`` (torch alone) and
``flex`` (compiled; not in the quick run, since it compiles for seconds). Patterns are

    causal
    window   window(256)
    s2       s2(block=64,local=4,stride=8)
    power    power(block=64,window=5)

on 8 heads of width 64. *The line* is SDPA's time multiplied by the share of its pairs that the
pattern allows; ``x line`` is time in relation to that, so that less than 1 is better than a kernel
as good as SDPA that skips to the pair.

Each result is compared with float64 before it is timed. On one thread, times are of the processor,
so that other work on the machine does not count; ratios are medians over runs taken in turn. On two
threads they are of the wall: the load average is printed, and how SDPA fares with two threads at
the same moment shows what the machine had to give.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from reporting import Measured, median_ratio, parser, report

from lmms_causal.bench.cases import KINDS, Case
from lmms_causal.bench.machine import load_average, native_peak
from lmms_causal.bench.running import DENSE, Row, measure
from lmms_causal.bench.timing import timed
from lmms_causal.bench.ways import TOLERANCES, Way, gap, way
from lmms_causal.kernels.backends.registry import backends
from lmms_causal.kernels.patterns import AttentionPattern
from lmms_causal.kernels.patterns.spec import parse_pattern

PATTERNS = {
    "causal": "causal",
    "window": "window(256)",
    "s2": "s2(block=64,local=4,stride=8)",
    "power": "power(block=64,window=5)",
}
LINE = {torch.float32: "<= 1.0", torch.bfloat16: "<= 0.6"}
DENSE_FASTER = {torch.float32: ">= 1.15", torch.bfloat16: ">= 2"}
STEP_FASTER = {torch.float32: ">= 1.5", torch.bfloat16: ">= 8"}
OURS = "cpu"


def case_of(
    name: str, dtype: torch.dtype, queries: int, keys: int, kv_heads: int = 8
) -> tuple[str, Case]:
    """A case and what it is called."""
    pattern = parse_pattern(PATTERNS[name])
    assert isinstance(pattern, AttentionPattern)
    kind = KINDS["causal-self" if queries == keys else "causal-cross"]
    case = Case(kind, name, pattern, dtype, queries, keys, 8, kv_heads)
    groups = "" if kv_heads == 8 else f", {kv_heads} key heads"
    return f"{short(dtype)}, {keys}{groups}, {name}", case


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def rows_of(title: str, case: Case, names: Sequence[str], repeats: int) -> Iterator[Row]:
    """Rows of those that can run; what cannot is said, and a wrong result ends the run."""
    for row in measure(case, names, repeats=repeats, budget=60.0, memory=False):
        if row.wrong:
            raise SystemExit(f"{title}: {row.backend} {row.problem}")
        if row.problem is not None:
            print(f"not measured: {title}: {row.backend}: {row.problem}", file=sys.stderr)
        else:
            yield row


def prompts(
    dtype: torch.dtype, n: int, names: Sequence[str], repeats: int, kv_heads: int = 8
) -> Iterator[Measured]:
    """Reading a prompt of so many tokens."""
    for pattern in PATTERNS:
        title, case = case_of(pattern, dtype, n, n, kv_heads)
        for row in rows_of(title, case, names, repeats):
            label = f"prompt, {title}: {row.backend}"
            if row.backend == DENSE:
                assert row.seconds is not None
                if pattern == "causal":
                    yield Measured(label, 1e3 * row.seconds, "ms")
                continue
            assert row.line is not None and row.ratio is not None
            ours = row.backend == OURS
            yield Measured(label, row.line, "x line", LINE[dtype] if ours else "")
            if ours and pattern == "causal":
                yield Measured(f"{label}, faster", 1 / row.ratio, "x SDPA", DENSE_FASTER[dtype])


def steps(
    dtype: torch.dtype, n: int, names: Sequence[str], repeats: int, kv_heads: int = 8
) -> Iterator[Measured]:
    """One query against so many keys."""
    for pattern in PATTERNS:
        title, case = case_of(pattern, dtype, 1, n, kv_heads)
        for row in rows_of(title, case, names, repeats):
            label = f"step, {title}: {row.backend}"
            if row.backend == DENSE:
                assert row.seconds is not None
                if pattern == "causal":
                    yield Measured(label, 1e6 * row.seconds, "us")
                continue
            assert row.ratio is not None
            bound = row.backend == OURS and pattern == "causal" and kv_heads == 8
            yield Measured(label, 1 / row.ratio, "x SDPA", STEP_FASTER[dtype] if bound else "")


def of_peak(dtype: torch.dtype, n: int, repeats: int) -> Iterator[Measured]:
    """Useful operations in relation to those of a loop on registers, measured in turn."""
    peak = native_peak(dtype)
    title, case = case_of("causal", dtype, n, n)
    if peak is None:
        print(f"not measured: {title}: no peak without the compiled library", file=sys.stderr)
        return
    run = checked(title, case, OURS).run
    rates, peaks = [], []
    for _ in range(repeats):
        peaks.append(peak())
        rates.append(case.flops / timed(run))
    share = 100 * median_ratio(rates, peaks)
    yield Measured(f"peak, {short(dtype)}", max(peaks) / 1e9, "GF/s")
    goal = ">= 65" if dtype == torch.float32 else ""
    yield Measured(f"of it, prompt, {title}: {OURS}", share, "%", goal)


def threads(dtype: torch.dtype, queries: int, n: int, repeats: int) -> Iterator[Measured]:
    """Two threads against one, by the wall."""
    title, case = case_of("causal", dtype, queries, n)
    q, k, v = case.draw()
    runs = {"SDPA": case.dense(q, k, v), OURS: checked(title, case, OURS).run}
    calls = 1 if queries > 1 else 50
    taken: dict[tuple[str, int], list[float]] = {}
    try:
        for turn in range(repeats + 1):
            for name, run in runs.items():
                for count in (1, 2):
                    torch.set_num_threads(count)
                    run()  # threads that slept are awake
                    start = time.perf_counter()
                    for _ in range(calls):
                        run()
                    spent = time.perf_counter() - start
                    if turn:  # the first warms up
                        taken.setdefault((name, count), []).append(spent)
    finally:
        torch.set_num_threads(1)
    phase = "prompt" if queries > 1 else "step"
    for name in runs:
        ratio = median_ratio(taken[name, 1], taken[name, 2])
        goal = ">= 1.7" if name == OURS and queries > 1 else ""
        yield Measured(f"two threads, {phase}, {title}: {name}", ratio, "x one", goal)


def checked(title: str, case: Case, name: str) -> Way:
    """A way whose result is right."""
    q, k, v = case.draw()
    made = way(name, case, q, k, v)
    if isinstance(made, str):
        raise SystemExit(f"{title}: {name}: {made}")
    difference = gap(case, made.run(), q, k, v)
    if not difference <= TOLERANCES[case.dtype]:
        raise SystemExit(f"{title}: {name} differs from float64 by {difference:.2g}")
    return made


def measured(quick: bool) -> Iterator[Measured]:
    """All of it."""
    single, half = torch.float32, torch.bfloat16
    yield Measured("load average, before", load_average(), "")
    names = [name for name in (OURS, "gather", "flex", "sdpa-mask") if known(name)]
    light = [name for name in names if name != "flex"]
    for dtype in (single, half):
        if quick:
            yield from prompts(dtype, 2048, light, repeats=3)
        else:
            for n in (2048, 4096, 8192):
                yield from prompts(dtype, n, names, repeats=7 if n < 8192 else 3)
            yield from prompts(dtype, 2048, names, repeats=7, kv_heads=2)
        yield from steps(dtype, 4096, light if quick else names, repeats=7)
        if not quick:
            yield from steps(dtype, 4096, names, repeats=7, kv_heads=2)
    for dtype in (single, half):
        yield from of_peak(dtype, 8192, repeats=2 if quick else 5)
    if (os.cpu_count() or 1) > 1:
        again = partial(threads, repeats=3 if quick else 9)
        for dtype in (single, half):
            yield from again(dtype, 4096, 4096)
            yield from again(dtype, 1, 4096)
    yield Measured("load average, after", load_average(), "")


def known(name: str) -> bool:
    """Whether it can be measured here; if not, that is said."""
    it = backends().get(name)
    reason = None if name == "sdpa-mask" else "not there" if it is None else it.missing()
    if reason is not None:
        print(f"not measured: {name}: {reason}", file=sys.stderr)
    return reason is None


def main() -> int:
    """Check, measure, report."""
    arguments = parser(__doc__).parse_args()
    target: Path | None = arguments.json
    torch.set_num_threads(1)
    with torch.inference_mode():
        records = list(measured(arguments.quick))
    return report(records, target)


if __name__ == "__main__":
    raise SystemExit(main())
