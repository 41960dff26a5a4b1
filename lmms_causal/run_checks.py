"""What a run of our model under lmms-eval checks while its tasks are found and built.

lmms-eval itself reports these mistakes with a traceback and exit code 0. Only the task manager of a
run of our own model is touched, or of one that is called almost like it and does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError, nearest

__all__ = ["check_model", "check_tasks", "elsewhere"]

_SCORING = ("loglikelihood", "multiple_choice")

_REASONS = {"vcrbench": " (it shows videos, which lm-eval has none of)"}
"""Why one harness lacks a benchmark, by the first word of its tasks."""


@one_line_errors
def check_model(name: str) -> None:
    """Refuse a model that lmms-eval does not know if it is ours misspelt; leave others to it.

    Raises:
        UserError: it is.
    """
    from lmms_eval.models import list_available_models

    from lmms_causal.lm_eval_plugin import MODELS as OF_LM_EVAL
    from lmms_causal.plugin import MODELS

    if name in list_available_models(include_aliases=True):
        return
    if name in OF_LM_EVAL:
        raise UserError(f"--model {name} is for lm-eval; lmms-eval's is --model causal")
    if close := nearest(name, MODELS, cutoff=0.75):
        raise UserError(f"--model {name}: lmms-eval has no such model{close}")


def check_tasks(manager: Any) -> None:
    """Let this task manager refuse misspelt names, and scoring tasks for the chat type."""
    manager.match_tasks = _spelt(manager, manager.match_tasks)
    manager.load_task_or_group = _fitting(manager.load_task_or_group)


def elsewhere(name: str, harness: str) -> str | None:
    """Return in one line that a task of ours is for the other harness only, None if it is not."""
    from lmms_causal.tasks.catalogue import names

    other = "lm-eval" if harness == "lmms-eval" else "lmms-eval"
    if name in names(harness) or name not in names(other):
        return None
    start = "lmms-causal lm-eval run" if other == "lm-eval" else "lmms-eval"
    return (
        f"task {name!r} is for {other} only{_REASONS.get(name.partition('_')[0], '')}; run it with "
        f"`{start} --model causal --tasks {name} ...`"
    )


def _spelt(manager: Any, match_tasks: Callable[[list[str]], Any]) -> Callable[[list[str]], Any]:
    @one_line_errors
    def match(names: list[str]) -> Any:
        matched = match_tasks(names)
        for name in names:
            if not {"*", ".", "/"} & set(name) and name not in matched:
                raise UserError(
                    elsewhere(name, "lmms-eval")
                    or f"unknown task {name!r}{nearest(name, manager.all_tasks)}; "
                    "`lmms-eval --tasks list` lists all"
                )
        return matched

    return match


def _fitting(load: Callable[..., Any]) -> Callable[..., Any]:
    @one_line_errors
    def load_fitting(task_list: Any = None, task_type: str = "simple") -> Any:
        loaded = load(task_list, task_type)
        for name, task in _leaves(loaded) if task_type == "chat" else ():
            if getattr(task, "OUTPUT_TYPE", None) in _SCORING:
                raise UserError(
                    f"task {name} scores log-likelihoods, which lmms-eval does with simple models "
                    "only; add --force_simple"
                )
        return loaded

    return load_fitting


def _leaves(loaded: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The tasks in what lmms-eval returns: names or groups to tasks, pairs, or further levels."""
    for name, value in loaded.items():
        task = value[1] if isinstance(value, tuple) else value
        if isinstance(task, dict):
            yield from _leaves(task)
        else:
            yield str(name), task
