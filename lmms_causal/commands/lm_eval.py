"""``lmms-causal lm-eval ...``: lm-eval's own command line, with our models and tasks known."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lmms_causal.errors import UserError, nearest

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Hand every argument to lm-eval.

    Raises:
        UserError: a task that lm-eval does not find, or one with images for a text model, in one
            line instead of its traceback.
    """
    from lmms_causal import lm_eval_plugin

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
        raise
    finally:
        sys.argv = before
    return 0


def _unknown_task(message: str) -> str:
    from lm_eval.tasks import TaskManager

    names = message.partition(":")[2].partition(".")[0].strip()
    known = tuple(TaskManager().all_tasks)
    hints = "".join(nearest(name.strip(), known) for name in names.split(","))
    return f"unknown task {names}{hints}; `lmms-causal lm-eval ls tasks` lists all"
