"""Execute a plan on a loaded model, for generation and for scoring alike."""

from __future__ import annotations

from lmms_causal.interventions.engine.handle import Handle, apply

__all__ = ["Handle", "apply"]
