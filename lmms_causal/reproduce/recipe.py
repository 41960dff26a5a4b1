"""What a recipe holds, and how its file is read and checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lmms_causal.errors import UserError, nearest

__all__ = ["SEEN", "Decoding", "Measure", "Model", "Published", "Recipe", "Source", "read_recipe"]

SEEN = {
    "table": "read in a table of the authors",
    "paper": "read in the text of the paper",
    "project page": "read on the page of the authors' project",
    "other paper": "read in a table of other authors, who ran the method",
    "method page": "stated under Published on the method's page (lmms-causal interventions NAME)",
    "measured": "measured by this package, on the page named",
}
"""Where a published number may have been seen; anything weaker is no target."""

_HARNESSES = ("lmms-eval", "lm-eval")
_MODES = ("greedy", "sampled", "scored")
_COMBINATIONS = ("mean", "sum")
_Record = TypeVar("_Record")


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
        mode: ``greedy``, ``sampled``, or ``scored`` (log-likelihoods, nothing is generated).
        settings: for ``--gen_kwargs``, beside what `mode` means; ``temperature`` if sampled.
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


def read_recipe(file: Path) -> Recipe:
    """Read a recipe; ``include: NAME`` takes another file of its folder as a base.

    Raises:
        UserError: no such file, no YAML, an unknown or a missing key, a value out of range.
    """
    return _recipe(_load(file), str(file))


def _load(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"recipe {file}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"recipe {file}: not YAML ({reason})") from None
    if not isinstance(data, dict):
        raise UserError(f"recipe {file}: a mapping of keys to values is expected")
    include = data.pop("include", None)
    return (_load(file.parent / str(include)) | data) if include else data


def _recipe(data: Mapping[str, Any], where: str) -> Recipe:
    values = dict(data)
    for key, kind in (("model", Model), ("decoding", Decoding), ("source", Source)):
        if key in values:
            values[key] = _record(kind, values[key], f"{where}: {key}")
    values["published"] = tuple(
        _published(entry, f"{where}: published[{place}]")
        for place, entry in enumerate(values.get("published") or ())
    )
    recipe = _record(Recipe, values, where)
    _check(recipe, where)
    return recipe


def _published(data: Any, where: str) -> Published:
    values = dict(data) if isinstance(data, Mapping) else {}
    if "measure" in values:
        values["measure"] = _record(Measure, values["measure"], f"{where}: measure")
    return _record(Published, values, where)


def _record(kind: type[_Record], data: Any, where: str) -> _Record:
    """Build a record from a mapping: lists become tuples, keys and the kinds of values checked."""
    if not isinstance(data, Mapping):
        raise UserError(f"recipe {where}: a mapping is expected, not {data!r}")
    known = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, value in data.items():
        if key not in known:
            raise UserError(f"recipe {where}: unknown key {key!r}{nearest(str(key), tuple(known))}")
        declared = str(known[key].type)
        values[key] = tuple(value) if isinstance(value, list) else value
        if not _fits(values[key], declared):
            raise UserError(f"recipe {where}: {key}: {value!r} is no {declared}")
    for one in known.values():
        required = one.default is one.default_factory is dataclasses.MISSING
        if required and one.name not in values:
            raise UserError(f"recipe {where}: {one.name} is missing")
    return kind(**values)


def _fits(value: Any, declared: str) -> bool:
    """Whether a value is of a type as it is written in the class: only those used above."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if declared.startswith("float"):
        return number or (value is None and "None" in declared)
    if declared == "int":
        return number and isinstance(value, int)
    if declared == "str":
        return isinstance(value, str)
    if declared.startswith("Mapping"):
        return isinstance(value, Mapping)
    if declared.startswith("tuple"):
        item = re.sub(r"tuple\[(\w+), \.\.\.\]", r"\1", declared)
        return isinstance(value, tuple) and (
            item not in ("str", "int") or all(_fits(one, item) for one in value)
        )
    return True


def _check(recipe: Recipe, where: str) -> None:
    def require(holds: bool, complaint: str) -> None:
        if not holds:
            raise UserError(f"recipe {where}: {complaint}")

    decoding, source = recipe.decoding, recipe.source
    require(recipe.harness in _HARNESSES, f"harness: one of {', '.join(_HARNESSES)}")
    require(bool(recipe.tasks), "tasks: name at least one")
    require(decoding.mode in _MODES, f"decoding: mode: one of {', '.join(_MODES)}")
    sampled = decoding.mode == "sampled"
    require(bool(decoding.seeds), "decoding: seeds: name at least one")
    require(sampled or len(decoding.seeds) == 1, "decoding: seeds: several only if sampled")
    require(
        sampled == ("temperature" in decoding.settings),
        "decoding: settings: temperature belongs to mode sampled, and only to it",
    )
    require(
        bool(recipe.published) != bool(recipe.without_target),
        "published or without_target: exactly one of them",
    )
    if recipe.published:
        require(source.seen in SEEN, f"source: seen: one of {', '.join(SEEN)}")
        require(bool(source.place), "source: place: name the table or page of the numbers")
        require(bool(recipe.tolerance), "tolerance: say why the tolerances are what they are")
    for one in recipe.published:
        require(
            (one.plain, one.method) != (None, None), f"{one.name}: neither plain nor method given"
        )
        require(one.tolerance > 0, f"{one.name}: tolerance must be above 0")
        require(one.measure.combine in _COMBINATIONS, f"{one.name}: combine: mean or sum")
