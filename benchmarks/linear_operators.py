"""The linear operators on a processor: right first, then how long against SDPA's causal kernel.

Before anything is timed, every operator is held against its definition in float64, at a length that
is no multiple of a chunk; ``error`` rows are the largest difference. Ratios are to
``scaled_dot_product_attention(is_causal=True)`` of the same tensors, 8 heads of width 64, processor
time of one thread, taken in turns in one process: below 1 is faster. The chunk rows show why 64 is
the default. A linear operator costs the same at every token, so its ratio falls as 1 / N; Parallax
and local linear attention do not: their bounds say that they cost what their products say.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from reporting import Measured, median_ratio, parser, report
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.kernels.linear import (
    lightnet,
    lightnet_step,
    lightning_attention,
    lightning_slopes,
    lightning_step,
    local_linear_attention,
    parallax,
)

HEADS, WIDTH = 8, 64
ITERATIONS = 8
Run = Callable[[], object]
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
SLACK = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def inputs(length: int, dtype: torch.dtype) -> list[Tensor]:
    """Queries, directions, keys and values ``[1, 8, N, 64]``."""
    draw = torch.Generator().manual_seed(length)
    made = (torch.randn(1, HEADS, length, WIDTH, generator=draw) for _ in range(4))
    return [x.to(dtype) for x in made]


def errors(dtype: torch.dtype) -> list[Measured]:
    """Largest difference from the definitions, in millionths of the largest output."""
    q, r, k, v = inputs(201, dtype)
    q64, r64, k64, v64 = (x.double() for x in (q, r, k, v))
    r, r64 = r / 8, r64 / 8
    slopes = lightning_slopes(HEADS)
    few = [x[:, :2] for x in (q64, k64, v64)]  # definitions hold tables of all pairs and channels
    pairs = {
        "lightning": (
            lightning_attention(q, k, v, slopes),
            lightning_attention(q64, k64, v64, slopes, form="naive"),
        ),
        "lightnet": (lightnet(q, k, v)[:, :2], lightnet(*few, form="naive")),
        "lightnet, keys x30": (
            lightnet(q, k * 30, v)[:, :2],
            lightnet(few[0], (k * 30).double()[:, :2], few[2], form="naive"),
        ),
        "parallax": (parallax(q, r, k, v), parallax(q64, r64, k64, v64, form="naive")),
        "local linear, 16 iterations": (
            local_linear_attention(q, k, v, ridge=1.0)[:, :2],
            local_linear_attention(*few, ridge=1.0, form="naive"),
        ),
    }
    found = []
    for name, (ours, want) in pairs.items():
        error = ((ours.double() - want).abs().max() / want.abs().max()).item()
        label = f"{name}: error, {NAMES[dtype]}"
        found.append(Measured(label, error * 1e6, "ppm", f"<= {SLACK[dtype] * 1e6:g}"))
    return found


def seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def ratios(reference: Run, others: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median ratio of each to the reference, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in others}
    base: list[float] = []
    for run in (reference, *others.values()):
        run()
    for _ in range(rounds):
        base.append(seconds(reference))
        for name, run in others.items():
            times[name].append(seconds(run))
    return {name: median_ratio(found, base) for name, found in times.items()}


def prefill(length: int, dtype: torch.dtype, rounds: int, costly: bool) -> list[Measured]:
    """Ratios of whole passes."""
    q, r, k, v = inputs(length, dtype)
    slopes = lightning_slopes(HEADS)
    runs: dict[str, Run] = {
        f"lightning, chunk {size}": lambda size=size: lightning_attention(
            q, k, v, slopes, chunk=size
        )
        for size in (32, 64, 128)
    }
    runs |= {
        f"lightnet, chunk {size}": lambda size=size: lightnet(q, k, v, chunk=size)
        for size in (32, 64, 128)
    }
    runs["lightnet, keys x30"] = lambda: lightnet(q, k * 30, v)
    runs["lightnet, all see all"] = lambda: lightnet(q, k, v, causal=False)
    if costly:
        runs["parallax"] = lambda: parallax(q, r, k, v)
        runs["parallax, window 256"] = lambda: parallax(q, r, k, v, window=256)
        runs[f"local linear, {ITERATIONS} iterations"] = lambda: local_linear_attention(
            q, k, v, ridge=1.0, iterations=ITERATIONS
        )
    found = ratios(lambda: scaled_dot_product_attention(q, k, v, is_causal=True), runs, rounds)
    goals = {
        "lightning, chunk 64": f"<= {0.15 * 4096 / length:g}",
        "lightnet, chunk 64": f"<= {0.25 * 4096 / length:g}",
        "parallax": "<= 3",
        f"local linear, {ITERATIONS} iterations": f"<= {2 * (ITERATIONS + 2)}",
    }
    where = f"N={length}, {NAMES[dtype]}"
    return [
        Measured(f"{name}: {where}", ratio, "x SDPA", goals.get(name, ""))
        for name, ratio in found.items()
    ]


def decoding(length: int, rounds: int) -> list[Measured]:
    """One further token against a cache of ``length``, which linear operators do not have."""
    q, _, k, v = inputs(length, torch.float32)
    slopes = lightning_slopes(HEADS)
    last = [x[:, :, -1:] for x in (q, k, v)]
    _, fading = lightning_attention(q, k, v, slopes, return_state=True)
    _, light = lightnet(q, k, v, return_state=True)

    def often(run: Run) -> Run:
        return lambda: [run() for _ in range(50)]

    runs = {
        "lightning_step": often(lambda: lightning_step(*last, fading, slopes)),
        "lightnet_step": often(lambda: lightnet_step(*last, light)),
    }
    found = ratios(often(lambda: scaled_dot_product_attention(last[0], k, v)), runs, rounds)
    return [
        Measured(f"{name}: after {length}, float32", ratio, "x SDPA", "<= 0.5")
        for name, ratio in found.items()
    ]


def main() -> int:
    arguments = parser(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    records: list[Measured] = []
    with torch.no_grad():
        for dtype in NAMES:
            records += errors(dtype)
        if any(record.holds is False for record in records):
            return report(records, arguments.json)  # no use to know how fast it is
        rounds = 3 if arguments.quick else 9
        for length in (1024, 4096) if arguments.quick else (512, 1024, 2048, 4096, 8192):
            for dtype in NAMES:
                costly = length <= (1024 if arguments.quick else 4096)
                records += prefill(length, dtype, rounds, costly)
        records += decoding(4096, rounds)
    return report(records, arguments.json)


if __name__ == "__main__":
    raise SystemExit(main())
