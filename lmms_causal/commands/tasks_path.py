"""``lmms-causal tasks-path``: the folder to give to a harness as ``--include_path``."""

from __future__ import annotations

import argparse
from typing import Any

from lmms_causal.tasks import HARNESSES, roots

__all__ = ["add_parser"]

_EPILOG = """\
example:
  lm-eval run --tasks causal_vqa_mini_blind \\
      --include_path "$(lmms-causal tasks-path --harness lm-eval)" ...

Exit code: 0, or 2 if an option is wrong.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "tasks-path",
        help="print our task folder, for --include_path",
        description="Print the folder with our task files of a harness, for its --include_path.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--harness",
        choices=sorted(HARNESSES),
        default="lmms-eval",
        help="whose task files (default: lmms-eval)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    print(roots(arguments.harness))
    return 0
