"""What a recipe holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmms_causal.errors import UserError, nearest

__all__ = ["SEEN", "Decoding", "Measure", "Model", "Published", "Recipe", "Source"]

SEEN = {
    "table": "read in a table of the authors",
    "paper": "read in the text of the paper",
    "project page": "read on the page of the authors' project",
    "other paper": "read in a table of other authors, who ran the method",
    "method page": "stated under Published on the method's page (lmms-causal interventions NAME)",
    "measured": "measured by this package, on the page named",
}
"""Where a published number may have been seen; anything weaker is no target."""


@dataclass(frozen=True)
class Model:
    """The checkpoint: hub id, revision, further model arguments, and what to know about it."""

    pretrained: str
    revision: str = "main"
    arguments: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Decoding:
    """How answers are made.

    Attributes:
        mode: ``greedy``, ``beams``, ``sampled``, or ``scored`` (log-likelihoods, nothing is
            generated).
        settings: for ``--gen_kwargs``, beside what `mode` means; ``temperature`` if sampled,
            ``num_beams`` if by beams.
        seeds: one run each for the plain model and the method; several only if sampled.
        note: what is known and unknown of the authors' decoding.
    """

    mode: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """How our number comes out of result files: ``scale * combine(task x metric)``.

    Attributes:
        tasks: tasks of the harness.
        metrics: their metrics.
        combine: ``mean`` or ``sum`` over all pairs of a task and a metric.
        scale: from the harness's unit to that of the published number, such as 100.
        filter: name of the harness's answer filter.
        aggregations: dotted path of a metric's function, list of documents' values to number,
            for intervals; only needed where the results file does not say enough.
    """

    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    combine: str = "mean"
    scale: float = 1.0
    filter: str = "none"
    aggregations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """One published number, for the plain model, the method, or both.

    Attributes:
        name: what is measured.
        measure: how ours is.
        plain: published for the model without the method; None if it was not seen.
        method: published for the model with it; None if it was not seen.
        tolerance: distance up to which ours agrees, in the published unit.
        unit: of the published number.
    """

    name: str
    measure: Measure
    tolerance: float
    plain: float | None = None
    method: float | None = None
    unit: str = "%"


@dataclass(frozen=True)
class Source:
    """Where the published numbers stand: the paper, the place in it, and where it was `SEEN`."""

    paper: str
    place: str = ""
    seen: str = ""


@dataclass(frozen=True)
class Recipe:
    """One method on one benchmark, as published.

    Attributes:
        method: name of the method.
        benchmark: name of the recipe among those of the method.
        about: one line.
        interventions: the spec under test; the plain model is always run as well.
        harness: ``lmms-eval`` or ``lm-eval``.
        wrapper: the harness's ``--model``, one of ours.
        tasks: all that is run; those of `published` are among them, or members of its groups.
        documents: how many a task has in the published setting, where that is known; results over
            another number of them are not compared.
        model: the checkpoint.
        decoding: how answers are made.
        source: where the numbers are from.
        published: the numbers; empty if there are none to be compared with.
        without_target: why not, then.
        tolerance: why the tolerances are what they are.
        differences: what is known to differ from the published setting.
        flags: further words of the harness's command line.
        batch_size: documents decoded at once.
    """

    method: str
    benchmark: str
    about: str
    interventions: str
    harness: str
    tasks: tuple[str, ...]
    model: Model
    decoding: Decoding
    source: Source
    wrapper: str = "causal"
    published: tuple[Published, ...] = ()
    without_target: str = ""
    tolerance: str = ""
    differences: tuple[str, ...] = ()
    documents: Mapping[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    batch_size: int = 1

    @property
    def name(self) -> str:
        """``METHOD/BENCHMARK``."""
        return f"{self.method}/{self.benchmark}"

    def restricted(self, tasks: Sequence[str]) -> Recipe:
        """The recipe with some of its tasks, and the numbers that need no others.

        Raises:
            UserError: a task that is not of the recipe, or no number is left.
        """
        known = dict.fromkeys([*self.tasks, *(t for p in self.published for t in p.measure.tasks)])
        for task in tasks:
            if task not in known:
                raise UserError(
                    f"--tasks {task}: {self.name} has no such task{nearest(task, tuple(known))}; "
                    f"it has {', '.join(known)}"
                )
        left = tuple(one for one in self.published if set(one.measure.tasks) <= set(tasks))
        if self.published and not left:
            raise UserError(
                f"--tasks {','.join(tasks)}: no published number of {self.name} is about these "
                "alone; name more of its tasks"
            )
        return dataclasses.replace(self, tasks=tuple(tasks), published=left)
