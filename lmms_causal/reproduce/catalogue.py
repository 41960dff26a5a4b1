"""The recipes that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lmms_causal.errors import UserError, nearest
from lmms_causal.reproduce.reading import read_recipe
from lmms_causal.reproduce.recipe import Recipe

__all__ = ["FOLDER", "all_recipes", "find_recipes"]

FOLDER = Path(__file__).parent / "recipes"
"""Folder of the recipe files, ``METHOD.BENCHMARK.yaml``; ``_NAME.yaml`` are shared bases."""


@lru_cache(maxsize=1)
def all_recipes() -> tuple[Recipe, ...]:
    """Every recipe, ordered by method and benchmark."""
    files = sorted(file for file in FOLDER.glob("*.yaml") if not file.name.startswith("_"))
    return tuple(sorted((read_recipe(file) for file in files), key=lambda one: one.name))


def find_recipes(method: str, benchmark: str | None = None) -> Sequence[Recipe]:
    """The recipes of a method, or the one on a benchmark.

    Raises:
        UserError: there is no such method, no recipe for it, or no such benchmark among them.
    """
    found = [recipe for recipe in all_recipes() if recipe.method == method]
    if not found:
        methods = tuple(dict.fromkeys(recipe.method for recipe in all_recipes()))
        raise UserError(
            f"no recipe for method {method!r}{nearest(method, methods)}; "
            "`lmms-causal reproduce --list` shows all"
        )
    if benchmark is None:
        return found
    chosen = [recipe for recipe in found if recipe.benchmark == benchmark]
    if not chosen:
        names = tuple(recipe.benchmark for recipe in found)
        raise UserError(
            f"--benchmark {benchmark}: no recipe of {method}{nearest(benchmark, names)}; "
            f"there are {', '.join(names)}"
        )
    return chosen
