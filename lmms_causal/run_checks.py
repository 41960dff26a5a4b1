"""What a run of our model under lmms-eval checks while its tasks are found and built.

lmms-eval itself reports these mistakes with a traceback and exit code 0. Only the task manager of a
run of our own model is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError, nearest

__all__ = ["check_tasks"]

_SCORING = ("loglikelihood", "multiple_choice")


def check_tasks(manager: Any) -> None:
    """Let this task manager refuse misspelt names, and scoring tasks for the chat type."""
    manager.match_tasks = _spelt(manager, manager.match_tasks)
    manager.load_task_or_group = _fitting(manager.load_task_or_group)


def _spelt(manager: Any, match_tasks: Callable[[list[str]], Any]) -> Callable[[list[str]], Any]:
    @one_line_errors
    def match(names: list[str]) -> Any:
        matched = match_tasks(names)
        for name in names:
            if not {"*", ".", "/"} & set(name) and name not in matched:
                close = nearest(name, manager.all_tasks)
                raise UserError(f"unknown task {name!r}{close}; `lmms-eval --tasks list` lists all")
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
