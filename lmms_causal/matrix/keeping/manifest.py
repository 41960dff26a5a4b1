"""What a matrix was made of: plan, versions, specs, seeds, digests; one file beside the cells."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lmms_causal._version import __version__
from lmms_causal.errors import UserError
from lmms_causal.matrix.keeping.files import clear_away, read_json, write_json, write_text
from lmms_causal.matrix.keeping.locking import Lock
from lmms_causal.matrix.keeping.sources import refuse_stale
from lmms_causal.matrix.planning.cells import Cell
from lmms_causal.matrix.planning.plan import MatrixPlan

__all__ = ["start", "versions", "write_manifest"]

_PACKAGES = (
    "lmms-eval",
    "lm-eval",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "accelerate",
    "numpy",
    "pillow",
    "scipy",
)
_DECIDE_ANSWERS = ("lmms-causal", "lmms-eval", "lm-eval", "torch", "transformers", "tokenizers")


def versions() -> dict[str, str | None]:
    """Return the versions of everything that evaluates; None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "lmms-causal": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def start(output: Path, plan: MatrixPlan, cells: Sequence[Cell], notes: Sequence[str]) -> None:
    """Begin a matrix, or go on with it: check what it was begun with, write manifest and plan.

    Raises:
        UserError: a package that decides answers has another version than when the matrix was
            begun; a file of a cell's model or task has changed; the folder cannot be written to.
    """
    with Lock.wait(output / ".lock"):  # of two runs with other versions, one is the first
        clear_away(output)
        _check_versions(output)
        refuse_stale(cells)
        _write(output, plan, cells, notes)
        write_text(output / "plan.yaml", plan.text)


def write_manifest(
    output: Path, plan: MatrixPlan, cells: Sequence[Cell], notes: Sequence[str]
) -> None:
    """Write ``manifest.json``: everything that is needed to say, and to do, it again.

    It holds no state of a version-control system: an installed package has none.
    """
    with Lock.wait(output / ".lock"):  # or a run that looked earlier could write later
        _write(output, plan, cells, notes)


def _check_versions(output: Path) -> None:
    before = (read_json(output / "manifest.json") or {}).get("versions") or {}
    now = versions()
    for name in _DECIDE_ANSWERS:
        # What was not installed yet, as the other harness, has evaluated nothing.
        if before.get(name) is not None and before[name] != now[name]:
            raise UserError(
                f"--output {output}: was started with {name} {before.get(name)}, and this is "
                f"{now[name]}; install that version or choose another folder"
            )


def _write(output: Path, plan: MatrixPlan, cells: Sequence[Cell], notes: Sequence[str]) -> None:
    entries = []
    for cell in cells:
        done = read_json(cell.folder / "done.json")
        entries.append(
            {
                "folder": cell.folder.relative_to(output).as_posix(),
                "label": cell.variant.label,
                "control_of": cell.variant.control_of,
                "curve": cell.variant.curve and dataclasses.asdict(cell.variant.curve),
                **cell.identity,
                "command": [cell.harness, *cell.words],
                "documents": read_json(cell.folder / "documents.json"),
                "done": done,
            }
        )
    write_json(
        output / "manifest.json",
        {
            "plan": {"name": plan.path.name, "sha256": plan.digest},
            "versions": versions(),
            "platform": {"system": platform.system(), "machine": platform.machine()},
            "seed": plan.settings.seed,
            "launch": dataclasses.asdict(plan.launch),
            "notes": list(notes),
            "cells": entries,
        },
    )
