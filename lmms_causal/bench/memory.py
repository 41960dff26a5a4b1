"""Peak memory of a call: what torch gives to tensors, and what the process comes to hold.

Neither sees all. Tensors are counted exactly, but not what a library takes by itself; the
process's peak has all, but not what was taken from memory that the allocator had kept. Each is at
most the truth, so the greater of the two is reported.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["peak_bytes", "resident_growth", "tensor_peak"]

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def peak_bytes(run: Callable[[], object]) -> float:
    """Bytes held at once during a call beyond what was there before; runs it twice."""
    return max(resident_growth(run), tensor_peak(run))


def tensor_peak(run: Callable[[], object]) -> float:
    """Bytes of tensors made during a call that are alive at once."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    held = highest = 0
    assert profile.profiler is not None and profile.profiler.kineto_results is not None
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return float(highest)


def resident_growth(run: Callable[[], object]) -> float:
    """Bytes by which the process's peak exceeds what it held before; 0 where Linux is not."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, so that taking it counts
        _CLEAR.write_text("5")  # the peak begins anew
        before = _kilobytes("VmRSS")
        run()
        return 1024.0 * max(0, _kilobytes("VmHWM") - before)
    except (OSError, AttributeError, TypeError, KeyError):
        return 0.0


def _kilobytes(name: str) -> int:
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(fields[name].split()[0])
