"""What lm-eval sees of us: models registered lazily, and our folder in every task search.

lm-eval 0.4.13 discovers no plug-ins, so ``lmms-causal lm-eval`` calls :func:`install` before it
hands over to lm-eval's own command line. Later releases read the entry points in our metadata.
"""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["MODELS", "install"]

MODELS = {
    "causal": "lmms_causal.models.for_lm_eval:Causal",
    "causal-multimodal": "lmms_causal.models.for_lm_eval:CausalMultimodal",
}
"""Our models of lm-eval: name to the place of the class."""


def install() -> None:
    """Register our models and extend the task search; calling it again changes nothing."""
    import lm_eval.models  # noqa: F401  the registry is filled by this import, if it is empty
    from lm_eval.api.registry import model_registry
    from lm_eval.tasks import TaskManager

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)

    original = TaskManager.__init__
    if getattr(original, "extended_by_lmms_causal", False):
        return

    @functools.wraps(original)
    def extended(
        self: Any,
        verbosity: str | None = None,
        include_path: Any = None,
        include_defaults: bool = True,
        metadata: Any = None,
    ) -> None:
        from lmms_causal.tasks import roots

        given = include_path if isinstance(include_path, (list, tuple)) else [include_path]
        paths = [roots("lm-eval"), *filter(None, given)]  # a later path wins: the user's own
        original(self, verbosity, paths, include_defaults, metadata)

    extended.extended_by_lmms_causal = True  # type: ignore[attr-defined]
    TaskManager.__init__ = extended
