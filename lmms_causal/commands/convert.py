"""``lmms-causal convert-checkpoint``: LLaVA-1.5 as its own code saves it, for transformers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "convert-checkpoint",
        help="make a LLaVA-1.5 checkpoint of LLaVA's own code readable for transformers",
        description="For checkpoints such as xing0047/cca-llava-1.5-7b, downloaded to a folder.",
    )
    parser.add_argument("folder", type=Path, help="the checkpoint as it was released")
    parser.add_argument("--to", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--vision-tower",
        help="folder or hub id of its CLIP model (default: the one its config.json names)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from lmms_causal.models.original_llava import convert

    convert(arguments.folder, arguments.to, arguments.vision_tower)
    print(arguments.to)
    return 0
