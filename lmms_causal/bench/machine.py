"""The rate of arithmetic that this machine reaches, and what else runs on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from lmms_causal import __version__
from lmms_causal.bench.timing import timed
from lmms_causal.kernels.native.abi import TYPES
from lmms_causal.kernels.native.loading import library, peak_flops

__all__ = ["Peak", "describe", "load_average", "measured_peak", "native_peak"]


@dataclass(frozen=True)
class Peak:
    """A rate that was reached.

    Attributes:
        rate: operations a second, a multiplication and an addition being two.
        source: what reached it.
    """

    rate: float
    source: str


def native_peak(dtype: torch.dtype) -> Callable[[], float] | None:
    """What measures the rate of our library's multiply-add loop on one thread; None without it."""
    name = str(dtype).removeprefix("torch.")
    if library() is None or name not in TYPES:
        return None
    return lambda: peak_flops(name) or 0.0


@lru_cache(maxsize=16)
def measured_peak(dtype: torch.dtype, threads: int = 1) -> Peak:
    """The best rate measured: our library's multiply-add loop, or the best of torch's products.

    Args:
        dtype: of what is multiplied.
        threads: as many as torch has; rates of a loop on one thread are multiplied by it.
    """
    loop = native_peak(dtype)
    if loop is not None:
        return Peak(threads * max(loop() for _ in range(3)), "multiply-add loop in registers")
    best = 0.0
    for size in (512, 1024, 1536):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        torch.mm(a, b)
        for _ in range(4):
            seconds = timed(lambda a=a, b=b: torch.mm(a, b))  # type: ignore[misc]
            best = max(best, 2 * size**3 / seconds)
    return Peak(best, "best of torch.matmul")


def load_average() -> float:
    """Processes that ran or waited in the last minute, on average; NaN where it is not told."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return float("nan")


def describe() -> dict[str, Any]:
    """Machine and versions, for records."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": load_average(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lmms_causal": __version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
