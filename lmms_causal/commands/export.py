"""``lmms-causal export``: a task of ours as a folder for a pull request to its harness."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lmms_causal.tasks import HARNESSES

__all__ = ["add_parser"]

_EPILOG = """\
example:
  lmms-causal export causal_vqa_mini --to lm-eval causal_vqa_mini

Exit code: 0, or 2 if there is no such task in the harness or DIR holds something. Then nothing is
written. More in docs/export.md.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "export",
        help="write a task as a folder without imports of ours, for a pull request",
        description="Write a task or group as a folder that its harness runs without lmms-causal: "
        "task files, one module of Python, data files and a README.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", metavar="TASK", help="a task or group, e.g. causal_vqa_mini")
    parser.add_argument("--to", required=True, choices=sorted(HARNESSES), help="the harness")
    parser.add_argument(
        "folder", metavar="DIR", type=Path, help="a folder that is empty or not there"
    )
    parser.add_argument(
        "--all", action="store_true", help="every task and group of the benchmark TASK is of"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from lmms_causal.export import export

    done = export(arguments.task, arguments.to, arguments.folder, everything=arguments.all)
    run = "lmms-eval" if arguments.to == "lmms-eval" else "lm-eval run"
    print(f"{len(done.tasks)} tasks and {len(done.groups)} groups in {done.folder}:")
    print(*(f"  {file}" for file in done.files), sep="\n")
    print(f"packages: {', '.join(done.packages) or 'none'}")
    print(f"try: {run} --include_path {done.folder} --tasks {arguments.task} --limit 8 ...")
    return 0
