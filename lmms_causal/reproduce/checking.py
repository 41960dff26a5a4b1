"""What can be wrong with a recipe beyond its own file: its spec, its tasks."""

from __future__ import annotations

from lmms_causal.errors import UserError
from lmms_causal.interventions.spec import parse
from lmms_causal.matrix.planning.task_names import check_names
from lmms_causal.reproduce.recipe import Recipe

__all__ = ["check_recipe"]


def check_recipe(recipe: Recipe) -> None:
    """Refuse what the harness would refuse, before commands are printed or run.

    Raises:
        UserError: the spec cannot be read or names no method; a task is not in the harness.
    """
    tasks = [*recipe.tasks, *(task for one in recipe.published for task in one.measure.tasks)]
    elsewhere = any(flag.partition("=")[0] == "--include_path" for flag in recipe.flags)
    try:
        if not parse(recipe.interventions):
            raise UserError(f"interventions: {recipe.interventions!r} names no method")
        check_names(recipe.harness, dict.fromkeys(tasks), elsewhere)
    except UserError as error:
        raise UserError(f"recipe {recipe.name}: {error}") from None
