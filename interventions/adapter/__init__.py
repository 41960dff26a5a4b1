"""Where the parts of a model are: one entry a family, and introspection for the rest."""

from __future__ import annotations

from lmms_causal.interventions.adapter.families import FAMILIES, Family, family_of
from lmms_causal.interventions.adapter.model_adapter import ModelAdapter

__all__ = ["FAMILIES", "Family", "ModelAdapter", "family_of"]
