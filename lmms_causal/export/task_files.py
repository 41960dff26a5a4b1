"""The task files of an export, and the places in them that name functions, files and each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lmms_causal.errors import UserError, nearest
from lmms_causal.tasks import HARNESSES, roots

__all__ = ["TaskFile", "choose", "rewritten"]

_FUNCTION = "!function"


@dataclass(frozen=True)
class Place:
    """A value in a task file: where its text is, in characters, and what it says."""

    start: int
    stop: int
    value: str


@dataclass(frozen=True)
class TaskFile:
    """One file of a harness's root.

    ``name`` is the task's or the group's; a file of shared keys has none. ``members`` are what a
    group lists, ``includes`` and ``data_files`` are paths relative to the file.
    """

    path: Path
    text: str
    name: str | None
    is_group: bool
    members: tuple[str, ...]
    includes: tuple[str, ...]
    functions: tuple[Place, ...]
    data_files: tuple[Place, ...]

    @property
    def benchmark(self) -> str:
        """The folder it is in, which is named like the benchmark's package."""
        return self.path.parent.name


def choose(name: str, harness: str, *, everything: bool = False) -> tuple[TaskFile, ...]:
    """The task files that a task or group consists of, those of shared keys included.

    Args:
        name: a task or a group of ours.
        harness: ``lmms-eval`` or ``lm-eval``.
        everything: all task files of the benchmark that has the name.

    Raises:
        UserError: no such name, none in this harness, or a group over several benchmarks.
    """
    files = _named(harness)
    if name not in files:
        raise UserError(_unknown(name, harness, files))
    chosen: dict[Path, TaskFile] = {}
    siblings = [f for f in files.values() if f.benchmark == files[name].benchmark]
    waiting = [files[name], *(siblings if everything else ())]
    while waiting:
        file = waiting.pop(0)
        if file.path in chosen:
            continue
        chosen[file.path] = file
        waiting += [files[member] for member in file.members if member in files]
        for include in file.includes:
            if Path(include).name != include:
                raise UserError(f"{file.path.name} includes {include}, which is not beside it")
            waiting.append(_read(file.path.with_name(include)))
    benchmarks = sorted({file.benchmark for file in chosen.values() if not file.is_group})
    if len({file.benchmark for file in chosen.values()}) > 1:
        raise UserError(
            f"{name} is made of tasks of several benchmarks; export each one: "
            f"{', '.join(benchmarks)}"
        )
    return tuple(sorted(chosen.values(), key=lambda file: file.path.name))


def rewritten(file: TaskFile, functions: Mapping[str, str]) -> str:
    """The file's text with other functions and with data files beside it.

    Args:
        file: a task file.
        functions: for each dotted name the one to put in its place.
    """
    changes = {place: f"{_FUNCTION} {functions[place.value]}" for place in file.functions}
    changes |= {place: Path(place.value).name for place in file.data_files}
    text = file.text
    for place, new in sorted(changes.items(), key=lambda item: -item[0].start):
        text = text[: place.start] + new + text[place.stop :]
    return text


def _unknown(name: str, harness: str, files: Mapping[str, TaskFile]) -> str:
    others = [other for other in HARNESSES if other != harness and name in _named(other)]
    if others:
        return f"{name} has no task files for {harness}; use --to {others[0]}"
    hint = nearest(name, files) or "; `lmms-causal tasks-path` prints the folder with all of them"
    return f"no task or group {name!r} in lmms-causal{hint}"


def _named(harness: str) -> dict[str, TaskFile]:
    """Every task and group of ours in a harness."""
    files = (_read(path) for path in sorted(roots(harness).glob("*/*.yaml")))
    return {file.name: file for file in files if file.name is not None}


def _read(path: Path) -> TaskFile:
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}".replace("\n", " ")) from None
    keys = _mapping(root)
    group, task = keys.get("group"), keys.get("task")
    own = group if group is not None else task
    return TaskFile(
        path=path,
        text=text,
        name=own.value if isinstance(own, yaml.ScalarNode) else None,
        is_group=group is not None,
        members=tuple(_members(task)) if group is not None else (),
        includes=tuple(scalar.value for scalar in _scalars(keys.get("include"))),
        functions=tuple(_place(s) for s in _scalars(root) if s.tag == _FUNCTION),
        data_files=tuple(
            _place(scalar)
            for scalar in _scalars(_mapping(keys.get("dataset_kwargs")).get("data_files"))
            if (path.parent / scalar.value).is_file()
        ),
    )


def _mapping(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value}


def _members(node: yaml.Node | None) -> Iterator[str]:
    """The names that a group lists, bare or as ``- task: name``."""
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        named = item if isinstance(item, yaml.ScalarNode) else _mapping(item).get("task")
        if isinstance(named, yaml.ScalarNode):
            yield named.value


def _scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """All values in a node, keys left out."""
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _scalars(value)


def _place(node: yaml.ScalarNode) -> Place:
    return Place(node.start_mark.index, node.end_mark.index, node.value)
