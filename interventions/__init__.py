"""Training-free interventions: one file a method, one small core that executes them on any model.

A *method* (``methods/<name>.py``) is a frozen record of its parameters that contributes a
:class:`~lmms_causal.interventions.plan.Plan`. A *spec* such as ``re2+vcd(alpha=1.0;beta=0.1)``
names methods and parameters. :func:`apply` executes a spec or a plan on a loaded model::

    with lmms_causal.interventions.apply(model, "vcd(alpha=1.0)"):
        model.generate(**inputs)

Leaving the block, or calling ``remove()`` on the handle, gives back the untouched model; a spec
that changes nothing never touches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmms_causal.interventions.engine import Handle, apply
    from lmms_causal.interventions.plan import Branch, Increment, Plan
    from lmms_causal.interventions.question import Question
    from lmms_causal.interventions.spec import Spec, parse

__all__ = ["Branch", "Handle", "Increment", "Plan", "Question", "Spec", "apply", "parse"]

_HOME = {
    "Branch": "plan",
    "Handle": "engine",
    "Increment": "plan",
    "Plan": "plan",
    "Question": "question",
    "Spec": "spec",
    "apply": "engine",
    "parse": "spec",
}


def __getattr__(name: str) -> Any:
    """Import the core on first use, so that reading a spec does not import torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
