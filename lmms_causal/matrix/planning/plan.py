"""Read ``PLAN.yaml``: what to evaluate, with which settings, and how to start the processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError, nearest
from lmms_causal.matrix.planning.model_args import arguments_of
from lmms_causal.matrix.planning.plan_values import (
    documents,
    known_keys,
    mapping,
    number,
    once,
    texts,
    whole,
    words,
)
from lmms_causal.matrix.planning.words_of_the_run import refuse_words_of_the_run

__all__ = ["Launch", "MatrixPlan", "Model", "Settings", "read_plan"]

HARNESSES = ("lmms-eval", "lm-eval")
OURS = ("causal", "causal-multimodal")
"""Names of ``model:`` that are ours, and so take interventions without ``base=``."""


@dataclass(frozen=True)
class Model:
    """A model of the matrix.

    Attributes:
        name: what tables and folders call it.
        model: the harness's ``--model``.
        arguments: its ``--model_args``, each ``name=value``, without the interventions.
    """

    name: str
    model: str
    arguments: tuple[str, ...]

    @property
    def intervenes(self) -> bool:
        """Whether it takes ``interventions=``."""
        return self.model in OURS


@dataclass(frozen=True)
class Settings:
    """What is the same in every cell; None leaves the harness's own default.

    Attributes:
        batch_size: of the harness; also how many documents are answered between two journal
            entries, which is what a kill can lose.
        limit: first documents of each task, or a share below 1.
        seed: of the harness (all its generators) and of our models' sampling.
        gen_kwargs, num_fewshot, device, include_path: as in both harnesses' command lines.
        arguments: further words for the harness's command line.
    """

    batch_size: int = 1
    limit: float | None = None
    seed: int | None = None
    gen_kwargs: str | None = None
    num_fewshot: int | None = None
    device: str | None = None
    include_path: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Launch:
    """How a cell's processes are started.

    Attributes:
        processes: ranks over which documents are shared out, by ``accelerate launch``.
        command: words to put before ``-m MODULE`` instead, such as a call of ``srun``.
    """

    processes: int = 1
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class MatrixPlan:
    """A plan as it was read.

    Attributes:
        path: the file.
        digest: SHA-256 of the file.
        text: what it holds.
        harness: ``lmms-eval`` or ``lm-eval``.
        models: the first axis.
        interventions: the second axis: label and spec, in the plan's order.
        tasks: the third axis; an entry ``a,b`` is one cell that evaluates both.
        reference: label of the intervention the others are compared with.
        compare: options of the comparison by name.
    """

    path: Path
    digest: str
    text: str
    harness: str
    models: tuple[Model, ...]
    interventions: tuple[tuple[str, str], ...]
    tasks: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)
    launch: Launch = field(default_factory=Launch)
    reference: str = "none"
    compare: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    price_per_hour: float | None = None


_KEYS = ("harness", "output", "models", "interventions", "tasks", "settings", "launch", "compare")
_COMPARE = (
    *("reference", "by", "cluster", "metrics", "level", "interval", "seed", "resamples"),
    *("margin", "family"),
)
"""Keys of ``compare:``; all but the first are options of the comparison."""


def read_plan(path: Path) -> MatrixPlan:
    """Read and check a plan.

    Raises:
        UserError: no such file, no YAML, an unknown key, a value of the wrong kind, no models or
            tasks, an entry named twice.
    """
    import yaml

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a plan file") from None
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected keys such as models, interventions and tasks")
    known_keys(path, data, (*_KEYS, "price_per_hour"), "")
    harness = data.get("harness", HARNESSES[0])
    if harness not in HARNESSES:
        raise UserError(f"{path}: harness: {harness!r} is none of {', '.join(HARNESSES)}")
    compare = mapping(path, data, "compare", _COMPARE)
    interventions = _interventions(path, data.get("interventions", ["none"]))
    labels = [label for label, _ in interventions]
    reference = str(compare.pop("reference", "none" if "none" in labels else labels[0]))
    if reference not in labels:
        raise UserError(
            f"{path}: compare: reference: {reference!r} is no intervention of the plan"
            f"{nearest(reference, labels)}; they are {', '.join(labels)}"
        )
    return MatrixPlan(
        path=path,
        digest=hashlib.sha256(content).hexdigest(),
        text=content.decode(errors="replace"),
        harness=harness,
        models=_models(path, data.get("models"), harness),
        interventions=interventions,
        tasks=texts(path, data.get("tasks"), "tasks"),
        settings=_settings(path, mapping(path, data, "settings", _fields(Settings)), harness),
        launch=_launch(path, mapping(path, data, "launch", _fields(Launch))),
        reference=reference,
        compare=compare,
        output=None if data.get("output") is None else str(data["output"]),
        price_per_hour=number(path, data, "price_per_hour", least=0.0),
    )


def _fields(cls: type) -> tuple[str, ...]:
    return tuple(cls.__dataclass_fields__)  # type: ignore[attr-defined]


def _models(path: Path, value: Any, harness: str) -> tuple[Model, ...]:
    entries = value if isinstance(value, list) else [value]
    if not value:
        raise UserError(f"{path}: models: give a list, such as ['pretrained=MODEL']")
    models = tuple(_model(path, entry, harness) for entry in entries)
    once(path, tuple(model.name for model in models), "models")
    return models


def _model(path: Path, entry: Any, harness: str) -> Model:
    if isinstance(entry, str):
        entry = {"args": entry}
    if not isinstance(entry, dict):
        raise UserError(f"{path}: models: {entry!r} is neither text nor a mapping with args")
    known_keys(path, entry, ("name", "model", "args"), "models: ")
    model = str(entry.get("model", "causal"))
    arguments = arguments_of(path, entry.get("args"))
    pretrained = arguments.get("pretrained", "")
    if not pretrained and model in OURS and "base" not in arguments:
        raise UserError(
            f"{path}: models: {entry.get('name') or entry.get('args')!r} has no pretrained=; "
            "inside [...] quote an entry that holds commas, or write {args: {pretrained: MODEL}}"
        )
    name = str(entry.get("name") or Path(pretrained).name or model)
    return Model(name, model, tuple(f"{key}={value}" for key, value in arguments.items()))


def _interventions(path: Path, value: Any) -> tuple[tuple[str, str], ...]:
    entries = value if isinstance(value, list) else [value]
    found = []
    for entry in entries:
        if isinstance(entry, dict):
            known_keys(path, entry, ("name", "spec"), "interventions: ")
            spec = str(entry.get("spec", ""))
            found.append((str(entry.get("name") or spec or "none"), spec or "none"))
        else:
            text = "none" if entry in (None, "", False) else str(entry)  # YAML reads off as false
            found.append((text, text))
    if not found:
        raise UserError(f"{path}: interventions: the list is empty; write [none] for none")
    once(path, tuple(label for label, _ in found), "interventions")
    return tuple(found)


def _settings(path: Path, given: dict[str, Any], harness: str) -> Settings:
    where = "settings: "
    if given.get("gen_kwargs") is not None:
        kwargs = given["gen_kwargs"]
        if isinstance(kwargs, dict):
            kwargs = ",".join(f"{name}={value}" for name, value in kwargs.items())
        given["gen_kwargs"] = str(kwargs)
    for name, least in (("batch_size", 1), ("seed", 0), ("num_fewshot", 0)):
        whole(path, given, name, least, where)
    if given.get("limit") is not None:
        given["limit"] = documents(given["limit"], f"{path}: settings: limit: {given['limit']!r}")
    given["arguments"] = words(path, given, "arguments", where)
    refuse_words_of_the_run(path, given["arguments"], harness)
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _launch(path: Path, given: dict[str, Any]) -> Launch:
    whole(path, given, "processes", 1, "launch: ")
    command = words(path, given, "command", "launch: ")
    if command and given.get("processes", 1) != 1:
        raise UserError(f"{path}: launch: give processes or command, not both")
    return Launch(given.get("processes") or 1, command)
