"""``lmms-causal lm-eval ...``: lm-eval's own command line, with our models and tasks known."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lmms_causal.errors import UserError, nearest
from lmms_causal.run_checks import elsewhere

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Hand every argument to lm-eval.

    Raises:
        UserError: a task or model that lm-eval does not find, or a task with images for a text
            model, in one line instead of its traceback; an argument of our models without ``=`` or
            given twice.
    """
    from lmms_causal import lm_eval_plugin
    from lmms_causal.models.argument_text import check_text, typed

    model, model_args = typed(arguments, "Ma")
    if model in lm_eval_plugin.MODELS:
        check_text(model_args)

    lm_eval_plugin.install()
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    sys.argv = ["lm-eval", *arguments]
    try:
        cli_evaluate()
    except ValueError as error:
        if str(error).startswith("Tasks not found"):
            raise UserError(_unknown_task(str(error))) from None
        if "require multimodal input" in str(error):
            tasks = str(error).partition("[")[2].partition("]")[0]
            raise UserError(
                f"tasks {tasks} show images; use --model causal-multimodal with a vision-language "
                "model"
            ) from None
        if str(error).startswith("Attempted to load model"):
            raise UserError(_unknown_model(str(error))) from None
        raise
    finally:
        sys.argv = before
    return 0


def _unknown_model(message: str) -> str:
    from lm_eval.api.registry import model_registry

    name = message.partition("'")[2].partition("'")[0]
    return (
        f"--model {name}: lm-eval has no such model{nearest(name, tuple(model_registry.keys()))}; "
        "ours are causal and causal-multimodal"
    )


def _unknown_task(message: str) -> str:
    from lm_eval.tasks import TaskManager

    names = message.partition(":")[2].partition(".")[0].strip()
    for name in names.split(","):
        if (said := elsewhere(name.strip(), "lm-eval")) is not None:
            return said
    known = tuple(TaskManager().all_tasks)
    hints = "".join(nearest(name.strip(), known) for name in names.split(","))
    return f"unknown task {names}{hints}; `lmms-causal lm-eval ls tasks` lists all"
