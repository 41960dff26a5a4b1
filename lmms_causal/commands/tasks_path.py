"""``lmms-causal tasks-path``: the folder to give to a harness as ``--include_path``."""

from __future__ import annotations

import argparse
from typing import Any

from lmms_causal.tasks import HARNESSES, roots

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("tasks-path", help="print our task folder, for --include_path")
    parser.add_argument("--harness", choices=sorted(HARNESSES), default="lmms-eval")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    print(roots(arguments.harness))
    return 0
