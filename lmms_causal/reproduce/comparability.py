"""Whether our numbers are about what was published: the same model, all of the same documents."""

from __future__ import annotations

from lmms_causal.reproduce.commands import Changes
from lmms_causal.reproduce.recipe import Recipe
from lmms_causal.reproduce.running import Runs

__all__ = ["unsettled"]


def unsettled(recipe: Recipe, changes: Changes, runs: Runs) -> str:
    """Why ours must not be compared with the published numbers; "" if they may be.

    Args:
        recipe: what was published.
        changes: what the user wanted otherwise.
        runs: what came out, which also shows other data (a folder of one's own) and a limit among
            the recipe's flags.
    """
    if other := changes.other_model(recipe):
        return (
            f"{other} is not {recipe.model.pretrained}, whose numbers these are; say --same-model "
            "if it is a copy"
        )
    if changes.limit:
        return f"documents were left out (limit {changes.limit})"
    for run in runs.values():
        for key in ("limit", "offset", "samples"):
            if run.settings.get(key):
                return f"documents were left out ({key} {run.settings[key]})"
        for name, task in run.tasks.items():
            generates = str(task.config.get("output_type", "")).startswith("generate")
            if recipe.decoding.mode == "scored" and generates:
                return f"{name} generates answers, which the recipe calls scored"
            found = max((len(rows) for rows in task.samples.values()), default=0)
            expected = recipe.documents.get(name)
            if expected is not None and found != expected:
                return f"{name} had {found:,} documents, the published one {expected:,}"
    return ""
