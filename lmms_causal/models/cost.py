"""What a run costs: seconds, tokens, forward passes, memory. Counted, never estimated."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

__all__ = ["Cost", "peak_memory_bytes"]


@dataclass
class Cost:
    """Running totals of one model over one run.

    Attributes:
        seconds: wall time inside the model's verbs, tokenisation and image processing included.
        requests: prompts generated for, or continuations scored.
        forward_passes: rows sent through the decoder, over all branches and steps.
        prompt_tokens: tokens of the prompts, padding excluded.
        generated_tokens: tokens decoded up to the end or the stop text.
    """

    seconds: float = 0.0
    requests: int = 0
    forward_passes: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Add the time spent in the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def summary(self) -> dict[str, float]:
        """Return the totals with the peak memory, as numbers for a results file."""
        return {
            "seconds": round(self.seconds, 3),
            "requests": self.requests,
            "forward_passes": self.forward_passes,
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": self.generated_tokens,
            "peak_memory_bytes": peak_memory_bytes(),
        }


def peak_memory_bytes() -> int:
    """Return the process's peak: of the accelerator where there is one, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
