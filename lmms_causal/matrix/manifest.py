"""What a matrix was made of: plan, versions, specs, seeds, digests; one file beside the cells."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lmms_causal._version import __version__
from lmms_causal.errors import UserError
from lmms_causal.matrix.cells import Cell
from lmms_causal.matrix.plan import MatrixPlan

__all__ = ["check_versions", "digest_file", "read_json", "versions", "write_json", "write_manifest"]

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


def check_versions(output: Path) -> None:
    """Refuse to go on with a matrix that other versions started.

    Raises:
        UserError: a package that decides answers has another version now.
    """
    before = (read_json(output / "manifest.json") or {}).get("versions", {})
    now = versions()
    for name in _DECIDE_ANSWERS:
        if before and before.get(name) != now[name]:
            raise UserError(
                f"--output {output}: was started with {name} {before.get(name)}, and this is "
                f"{now[name]}; install that version or choose another folder"
            )


def write_manifest(
    output: Path, plan: MatrixPlan, cells: Sequence[Cell], notes: Sequence[str]
) -> None:
    """Write ``manifest.json``: everything that is needed to say, and to do, it again.

    It holds no state of a version-control system: an installed package has none.
    """
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


def digest_file(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_json(file: Path) -> Any:
    """Return what a JSON file holds; None where there is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        UserError: the folder cannot be written to.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(
            json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        os.replace(temporary, file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None
