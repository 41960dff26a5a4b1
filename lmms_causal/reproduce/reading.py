"""How a recipe's file is read and checked."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lmms_causal.compare.reading.integrity import OURS
from lmms_causal.errors import UserError, nearest
from lmms_causal.reproduce.recipe import (
    SEEN,
    Decoding,
    Measure,
    Model,
    Published,
    Recipe,
    Source,
)

__all__ = ["read_recipe"]

_HARNESSES = ("lmms-eval", "lm-eval")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_SET_ELSEWHERE = ("pretrained", "revision", "interventions", "seed", "batch_size")
_ANY = 10**9  # finite, so that infinity is refused
_RANGES = {
    "temperature": ("float", 0, _ANY),
    "top_p": ("float", 0, 1),
    "top_k": ("int", 0, _ANY),
    "num_beams": ("int", 1, _ANY),
    "max_new_tokens": ("int", 0, _ANY),
}
"""Settings whose values are known: what they are, above what, and up to what."""

_MODES = ("greedy", "beams", "sampled", "scored")
_COMBINATIONS = ("mean", "sum")
_Record = TypeVar("_Record")
_Require = Callable[[bool, str], None]


def read_recipe(file: Path) -> Recipe:
    """Read a recipe; ``include: NAME`` takes another file of its folder as a base.

    Raises:
        UserError: no such file, no YAML, an unknown or a missing key, a value out of range.
    """
    return _recipe(_load(file), str(file))


def _load(file: Path, including: tuple[Path, ...] = ()) -> dict[str, Any]:
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
    if not include:
        return data
    base = file.parent / str(include)
    if base.resolve() in (one.resolve() for one in (*including, file)):
        raise UserError(f"recipe {file}: include: {include} includes itself")
    return _load(base, (*including, file)) | data


def _recipe(data: Mapping[str, Any], where: str) -> Recipe:
    values = dict(data)
    for key, kind in (("model", Model), ("decoding", Decoding), ("source", Source)):
        if key in values:
            values[key] = _record(kind, values[key], f"{where}: {key}")
    entries = values.get("published") or []
    if not isinstance(entries, list):
        raise UserError(f"recipe {where}: published: a list of numbers is expected")
    values["published"] = tuple(
        _published(entry, f"{where}: published[{place}]") for place, entry in enumerate(entries)
    )
    recipe = _record(Recipe, values, where)
    _check(recipe, where)
    return recipe


def _published(data: Any, where: str) -> Published:
    if not isinstance(data, Mapping):
        raise UserError(f"recipe {where}: a mapping is expected, not {data!r}")
    values = dict(data)
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
    for name in (recipe.method, recipe.benchmark):  # they become folders
        require(bool(_NAME.fullmatch(name)), f"{name!r}: letters, digits, '.', '-' and '_' only")
    require(recipe.harness in _HARNESSES, f"harness: one of {', '.join(_HARNESSES)}")
    require(recipe.wrapper in OURS, f"wrapper: one of {', '.join(OURS)}")
    _check_model(recipe.model, require)
    require(bool(recipe.tasks), "tasks: name at least one")
    require(decoding.mode in _MODES, f"decoding: mode: one of {', '.join(_MODES)}")
    sampled = decoding.mode == "sampled"
    require(bool(decoding.seeds), "decoding: seeds: name at least one")
    require(len(set(decoding.seeds)) == len(decoding.seeds), "decoding: seeds: one is named twice")
    require(sampled or len(decoding.seeds) == 1, "decoding: seeds: several only if sampled")
    _check_settings(decoding, require)
    for task, count in recipe.documents.items():
        require(_fits(count, "int") and count > 0, f"documents: {task}: {count!r} is no count")
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
        numbers = (one.plain, one.method, one.tolerance, one.measure.scale)
        require(
            all(abs(number) <= sys.float_info.max for number in numbers if number is not None),
            f"{one.name}: a number is not finite",
        )
        require(
            bool(one.measure.tasks and one.measure.metrics),
            f"{one.name}: measure: name tasks and metrics",
        )
        require(one.measure.combine in _COMBINATIONS, f"{one.name}: combine: mean or sum")


def _check_model(model: Model, require: _Require) -> None:
    for key in model.arguments:
        require(key not in _SET_ELSEWHERE, f"model: arguments: {key} has its own place")
    named = {"pretrained": model.pretrained, "revision": model.revision}
    _check_pairs(named | dict(model.arguments), "model", require)


def _check_settings(decoding: Decoding, require: _Require) -> None:
    settings, where = decoding.settings, "decoding: settings"
    _check_pairs(settings, where, require)
    sampled, beams = decoding.mode == "sampled", decoding.mode == "beams"
    require(
        sampled == ("temperature" in settings),
        f"{where}: temperature belongs to mode sampled, and only to it",
    )
    require(
        beams == ("num_beams" in settings),
        f"{where}: num_beams belongs to mode beams, and only to it",
    )
    require("do_sample" not in settings, f"{where}: do_sample is what mode says")
    require(decoding.mode != "scored" or not settings, f"{where}: mode scored generates nothing")
    for key, (kind, low, high) in _RANGES.items():
        if key not in settings:
            continue
        value = settings[key]
        holds = _fits(value, kind) and low < value <= high
        bound = f"above {low:g}" + ("" if high == _ANY else f" and up to {high:g}")
        require(holds, f"{where}: {key}: {value!r}: a number {bound} is expected")


def _check_pairs(pairs: Mapping[str, Any], where: str, require: _Require) -> None:
    """They are written ``key=value,key=value``, and so a comma would begin another one."""
    for key, value in pairs.items():
        plain = isinstance(key, str) and isinstance(value, (str, int, float))
        require(
            plain and not set(",=") & set(key) and "," not in str(value),
            f"{where}: {key}: {value!r}: one value without a comma is expected",
        )
