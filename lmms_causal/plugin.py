"""What lmms-eval sees of us: the entry point ``lmms_eval.models``.

It is loaded by every run of lmms-eval on a machine that has us installed, also for other people's
models and tasks, together with other plug-ins and in one ``try`` with them. So it is light (neither
torch nor transformers), and whatever goes wrong in it is one warning and nothing else.

There is no such entry point for tasks. But this one runs before the evaluation command builds its
task index, so it extends the search by our folder there.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from typing import Any

__all__ = ["MODELS", "manifests"]

MODELS = {
    "causal": (
        "lmms_causal.models.for_lmms_eval.Causal",
        "lmms_causal.models.for_lmms_eval.CausalSimple",
    )
}
"""Our models of lmms-eval: id to the paths of chat class and simple class."""


def manifests() -> list[Any]:
    """Return the models to register, and make our tasks findable; never raises."""
    try:
        from lmms_eval.models.registry_v2 import ModelManifest

        _list_models()
        if "torch" in sys.modules:  # the evaluator is being imported, not a light sub-command
            _extend_task_search()
        return [
            ModelManifest(model_id=name, chat_class_path=chat, simple_class_path=simple)
            for name, (chat, simple) in MODELS.items()
        ]
    except Exception as error:  # nothing of ours may break somebody else's run
        warnings.warn(
            f"lmms_causal is not available in this run: {type(error).__name__}: {error}; its tasks "
            'can still be found with --include_path "$(lmms-causal tasks-path)"',
            stacklevel=2,
        )
        return []


def _list_models() -> None:
    """Enter our models where ``lmms-eval models`` looks, which is not the registry."""
    models = sys.modules.get("lmms_eval.models")
    for name, (chat, simple) in MODELS.items():
        models.AVAILABLE_CHAT_TEMPLATE_MODELS.setdefault(name, chat)  # type: ignore[union-attr]
        models.AVAILABLE_SIMPLE_MODELS.setdefault(name, simple)  # type: ignore[union-attr]


def _extend_task_search() -> None:
    """Wrap the building of lmms-eval's task index, once."""
    from lmms_eval.tasks import TaskManager

    original = TaskManager.initialize_tasks
    if getattr(original, "extended_by_lmms_causal", False):
        return

    @functools.wraps(original)
    def initialize_tasks(
        self: Any, include_path: str | list[str] | None = None, include_defaults: bool = True
    ) -> Any:
        from lmms_causal.run_checks import check_model, check_tasks
        from lmms_causal.tasks import roots

        one = isinstance(include_path, (str, os.PathLike))
        given = [str(include_path)] if one else list(include_path or [])
        paths = [*given, str(roots("lmms-eval"))]  # built-ins win, then the user's own, then ours
        model = getattr(self, "model_name", None)
        if model in MODELS:
            check_tasks(self)
        elif isinstance(model, str):
            check_model(model)
        return original(self, include_path=paths, include_defaults=include_defaults)

    initialize_tasks.extended_by_lmms_causal = True  # type: ignore[attr-defined]
    TaskManager.initialize_tasks = initialize_tasks
