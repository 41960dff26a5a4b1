"""The cells of a matrix: identity, folder and command of each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.matrix.planning.plan import MatrixPlan, Model
from lmms_causal.matrix.planning.variants import Variant

__all__ = ["Cell", "cells_of", "slug"]


@dataclass(frozen=True)
class Cell:
    """One model, one intervention, one task.

    Two cells with the same evaluations may share a folder: a point of a curve that is also an
    intervention of the plan is evaluated once.

    Attributes:
        words: the harness's command line without its program's name.
        folder: where everything of it is; named after a digest of what decides its answers.
    """

    harness: str
    model: Model
    variant: Variant
    task: str
    words: tuple[str, ...]
    launch: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    folder: Path
    identity: dict[str, Any]

    @property
    def title(self) -> str:
        """What progress calls it."""
        return f"{self.model.name} | {self.variant.label} | {self.task}"

    @property
    def results(self) -> Path:
        """The harness's ``--output_path``."""
        return self.folder / "results"

    def command(self) -> list[str]:
        """The words that evaluate it; those after ``--`` are the harness's own command line."""
        cell = ["-m", "lmms_causal.matrix.cell", str(self.folder)]
        return [*self.launch, *cell, "--", self.harness, *self.words]


def cells_of(plan: MatrixPlan, variants: Sequence[Variant], output: Path) -> list[Cell]:
    """Return all cells, those of one task next to each other, in the plan's order.

    Raises:
        UserError: an intervention for a model that takes none.
    """
    launch, environment = _launch(plan)
    return [
        _cell(plan, model, variant, task, output, launch, environment)
        for model in plan.models
        for task in plan.tasks
        for variant in variants
    ]


def _launch(plan: MatrixPlan) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    if plan.launch.command:
        return plan.launch.command, ()
    if plan.launch.processes == 1:
        return (sys.executable,), ()
    # --multi_gpu also where there is none: without it accelerate starts a single process on CPUs
    # whatever --num_processes says, unless MPI is installed.
    words: tuple[str, ...] = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu")
    words += ("--num_processes", str(plan.launch.processes), "--num_machines", "1")
    words += ("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
    on_cpu = plan.settings.device == "cpu"
    return words, ((("ACCELERATE_USE_CPU", "true"),) if on_cpu else ())


def _cell(
    plan: MatrixPlan,
    model: Model,
    variant: Variant,
    task: str,
    output: Path,
    launch: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
) -> Cell:
    settings = dataclasses.asdict(plan.settings)
    identity: dict[str, Any] = {
        "harness": plan.harness,
        "model": model.model,
        "model_args": _model_args(plan, model, variant),
        "interventions": variant.spec,
        "tasks": task,
        "settings": {name: value for name, value in settings.items() if value not in (None, ())},
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    names = "--".join(slug(name) for name in (model.name, variant.spec, task))
    folder = output / "cells" / f"{names}--{digest}"
    words = _words(plan, model, identity["model_args"], task, folder / "results")
    return Cell(plan.harness, model, variant, task, words, launch, environment, folder, identity)


def slug(text: str, longest: int = 40) -> str:
    """Return a name as part of a file's: short, of characters that every file system takes."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._=]+", "-", plain).strip("-.")[:longest] or "x"


def _model_args(plan: MatrixPlan, model: Model, variant: Variant) -> str:
    arguments = list(model.arguments)
    names = {argument.partition("=")[0] for argument in arguments}
    if model.intervenes:
        arguments.append(f"interventions={variant.spec}")
        if plan.settings.seed is not None and not names & {"seed", "base"}:
            arguments.append(f"seed={plan.settings.seed}")
    elif variant.spec != "none":
        raise UserError(
            f"model {model.name}: {model.model} takes no interventions; write model: causal, with "
            f"base={model.model} among its args to keep the harness's own wrapper"
        )
    return ",".join(arguments)


def _words(
    plan: MatrixPlan, model: Model, arguments: str, task: str, results: Path
) -> tuple[str, ...]:
    settings = plan.settings
    words = ["run"] if plan.harness == "lm-eval" else []
    words += ["--model", model.model, "--model_args", arguments, "--tasks", task]
    words += ["--batch_size", str(settings.batch_size)]
    for option in ("limit", "seed", "gen_kwargs", "num_fewshot", "device", "include_path"):
        if (value := getattr(settings, option)) is not None:
            words += [f"--{option}", str(value)]
    return (*words, *settings.arguments, "--log_samples", "--output_path", str(results))
