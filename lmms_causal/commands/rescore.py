"""``lmms-causal rescore TASK SAMPLES``: judge answers that another run has logged."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]

_EPILOG = """\
A machine without a network generates (LMMS_CAUSAL_JUDGE=off, with --log_samples), one with a judge
scores. The same mends a run whose judge failed: verdicts are cached, so only those that are missing
are asked for.
DIR is then a run that `lmms-causal compare` reads. Exit code: 0, or 2 if something is missing.

examples:
  lmms-causal rescore mmhal runs/plain/*_samples_mmhal.jsonl --output runs/plain-judged
  lmms-causal rescore mme_cc_rule runs/plain/*_samples_mme_cc_judge.jsonl
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "rescore",
        help="judge answers that another run has logged, or ask again where the judge failed",
        description="Score a samples file by the functions of a task with a judge.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("task", metavar="TASK", help="for example mmhal, mme_cc_judge, mucr_exp_judge")
    add("samples", metavar="SAMPLES", type=Path, help="samples file of a run (--log_samples)")
    add("--output", metavar="DIR", type=Path, help="write a run with the new scores here")
    add("--workers", metavar="N", type=int, default=4, help="answers scored at a time (default: 4)")
    add("--json", action="store_true", help="print the metrics as one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Here, not above: adding the sub-command must not cost the start of the benchmarks.
    from lmms_causal.errors import UserError
    from lmms_causal.tasks.rescoring import rescore, write_run

    if arguments.workers < 1:
        raise UserError(f"--workers {arguments.workers}: give 1 or more")
    done = rescore(arguments.task, arguments.samples, arguments.workers)
    if arguments.output:
        write_run(done, arguments.output)
    if arguments.json:
        print(json.dumps(done.metrics, indent=1))
        return 0
    for metric, value in done.metrics.items():
        print(f"{metric:50} {value:.4f}" if isinstance(value, float) else f"{metric:50} {value}")
    return 0
