"""From a recipe to the command lines of its harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmms_causal.errors import UserError
from lmms_causal.reproduce.recipe import Recipe

__all__ = ["METHOD", "PLAIN", "Changes", "Job", "jobs"]

PLAIN, METHOD = "plain", "method"
"""The two settings of every recipe: without the interventions, and with them."""


@dataclass(frozen=True)
class Changes:
    """What a user changes in a recipe; everything but the defaults is named in the report.

    Attributes:
        model_args: model arguments that replace or add to those of the recipe.
        limit: documents a task; makes a run partial.
        batch_size: documents decoded at once.
        seeds: instead of the recipe's.
        same_model: what `model_args` load is a copy of the recipe's checkpoint.
    """

    model_args: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    batch_size: int | None = None
    seeds: tuple[int, ...] = ()
    same_model: bool = False

    def __post_init__(self) -> None:
        if "interventions" in self.model_args:
            raise UserError(
                "--model-args interventions=...: the recipe sets the interventions; for others use "
                "the harness or a recipe file of your own (--recipe)"
            )
        if "seed" in self.model_args:
            raise UserError("--model-args seed=...: every run has a seed of its own; use --seeds")
        if "batch_size" in self.model_args:
            raise UserError("--model-args batch_size=...: the harness sets it; use --batch-size")

    def named(self) -> list[str]:
        """The changes in words."""
        changed = [f"{key}={value}" for key, value in self.model_args.items()]
        if self.seeds:
            changed.append(f"seeds {', '.join(map(str, self.seeds))}")
        if self.batch_size:
            changed.append(f"batch size {self.batch_size}")
        if self.limit:
            changed.append(f"{self.limit} documents a task")
        return changed

    def other_model(self, recipe: Recipe) -> str:
        """What is evaluated, if it is not the recipe's checkpoint as it is; else ""."""
        given = self.model_args.get("pretrained", recipe.model.pretrained)
        adapter = self.model_args.get("adapter")
        if self.same_model or (given == recipe.model.pretrained and not adapter):
            return ""
        return given + (f" with adapter {adapter}" if adapter else "")


@dataclass(frozen=True)
class Job:
    """One evaluation: a setting (`PLAIN` or `METHOD`) and its spec, a seed, command and folder."""

    setting: str
    interventions: str
    seed: int
    command: tuple[str, ...]
    folder: Path


def jobs(recipe: Recipe, output: Path, changes: Changes = Changes()) -> list[Job]:
    """The evaluations of a recipe: both settings for every seed.

    Args:
        recipe: what to run.
        output: folder below which each evaluation gets its own.
        changes: what the user wants otherwise.
    """
    made = []
    for seed in changes.seeds or recipe.decoding.seeds:
        for setting, spec in ((PLAIN, "none"), (METHOD, recipe.interventions)):
            folder = output / f"{setting}_seed{seed}"
            command = _command(recipe, spec, seed, folder, changes)
            made.append(Job(setting, spec, seed, command, folder))
    return made


def _command(
    recipe: Recipe, spec: str, seed: int, folder: Path, changes: Changes
) -> tuple[str, ...]:
    arguments = {"pretrained": recipe.model.pretrained, "revision": recipe.model.revision}
    arguments |= {key: str(value) for key, value in recipe.model.arguments.items()}
    if recipe.decoding.mode == "sampled":
        arguments["seed"] = str(seed)
    arguments |= {**changes.model_args, "interventions": spec}
    program = ["lmms-eval"] if recipe.harness == "lmms-eval" else ["lmms-causal", "lm-eval", "run"]
    command = [*program, "--model", recipe.wrapper]
    command += ["--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())]
    command += ["--tasks", ",".join(recipe.tasks)]
    command += ["--batch_size", str(changes.batch_size or recipe.batch_size)]
    generation = _generation(recipe)
    if generation:
        command += ["--gen_kwargs", generation]
    if recipe.decoding.mode == "sampled":
        command += ["--seed", str(seed)]
    command += ["--log_samples", "--output_path", str(folder), *recipe.flags]
    if changes.limit:
        command += ["--limit", str(changes.limit)]
    return tuple(command)


def _generation(recipe: Recipe) -> str:
    """For ``--gen_kwargs``: the mode spelled out, so that a task's own settings do not decide."""
    if recipe.decoding.mode == "scored":
        return ""
    sampled = recipe.decoding.mode == "sampled"
    settings = {"do_sample": sampled} | ({} if sampled else {"temperature": 0})
    settings |= recipe.decoding.settings  # of beams: their number
    return ",".join(f"{key}={value}" for key, value in settings.items())
