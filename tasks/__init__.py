"""Causal-reasoning benchmarks: one folder each, and one root of task files per harness.

Importing this package (or any module in it) imports neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["HARNESSES", "roots"]

HARNESSES = {"lmms-eval": "for_lmms_eval", "lm-eval": "for_lm_eval"}
"""Each harness and the folder with its task files."""


def roots(harness: str) -> Path:
    """The directory to give to the harness as ``--include_path``.

    Raises:
        UserError: the harness is neither ``lmms-eval`` nor ``lm-eval``.
    """
    if harness not in HARNESSES:
        from lmms_causal.errors import UserError

        raise UserError(f"unknown harness {harness!r}; use one of: {', '.join(HARNESSES)}")
    return Path(__path__[0]) / HARNESSES[harness]
