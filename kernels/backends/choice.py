"""Which backend ``auto`` takes: the first of a list, by kind of call, that can serve it."""

from __future__ import annotations

from dataclasses import dataclass

from lmms_causal.kernels.backends.problem import Backend, Problem
from lmms_causal.kernels.backends.registry import backends

__all__ = ["RULES", "Choice", "choose"]

RULES: dict[tuple[str, str], tuple[str, ...]] = {
    ("cpu", "prefill"): ("cpu", "sdpa", "gather", "reference"),
    ("cpu", "decode"): ("cpu", "gather", "sdpa", "reference"),
    ("cuda", "prefill"): ("sdpa", "natten", "flash_attn", "flex", "gather", "reference"),
    ("cuda", "decode"): ("gather", "sdpa", "reference"),
}
"""By device and kind of call, the fastest first. Those for the processor are measured by
``benchmarks/attention.py``; those for CUDA follow from what the libraries say and are not."""


@dataclass(frozen=True)
class Choice:
    """A backend and the reasons.

    Attributes:
        backend: what computes.
        passed: those that come first in the list but cannot, with the reason.
    """

    backend: Backend
    passed: dict[str, str]


def choose(problem: Problem) -> Choice:
    """Return the backend for a call."""
    kind = "decode" if problem.decoding else "prefill"
    rule = RULES.get((problem.q.device.type, kind), ("sdpa", "gather", "reference"))
    known = backends()
    passed: dict[str, str] = {}
    for name in rule:
        if name not in known:
            continue
        reason = known[name].missing() or known[name].verify(problem)
        if reason is None:
            return Choice(known[name], passed)
        passed[name] = reason
    return Choice(known["reference"], passed)
