"""lmms_causal: causal-reasoning tasks, interventions and paired comparison for two harnesses.

Importing the package costs nothing: torch and transformers are imported when they are needed.
"""

from __future__ import annotations

from typing import Any

from lmms_causal._version import __version__

__all__ = ["__version__", "apply"]


def __getattr__(name: str) -> Any:
    """Offer :func:`lmms_causal.interventions.apply` without importing torch here."""
    if name == "apply":
        from lmms_causal.interventions import apply

        return apply
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
