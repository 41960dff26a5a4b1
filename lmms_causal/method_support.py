"""Which methods run on a model: the engine's own answer, for all methods at once."""

from __future__ import annotations

from lmms_causal.interventions import registry
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.engine.guards import obstacle
from lmms_causal.interventions.spec import parse
from lmms_causal.testing import build, names

__all__ = ["obstacles", "obstacles_by_family"]


def obstacles(adapter: ModelAdapter) -> dict[str, str | None]:
    """Return for each method, by its example, why it cannot run on a model, or None."""
    return {
        name: obstacle(parse(registry.example(name)).plan(), adapter) for name in registry.names()
    }


def obstacles_by_family() -> dict[str, dict[str, str | None]]:
    """Return :func:`obstacles` of a tiny model of each family."""
    return {name: obstacles(ModelAdapter.of(*build(name))) for name in names()}
