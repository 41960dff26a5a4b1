"""The command line: ``lmms-causal compare RUN_A RUN_B [RUN_C ...]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

_EPILOG = """\
A run is a results JSON file of lmms-eval or lm-eval, or the folder given to --output_path, made
with --log_samples. A difference is called one only when its interval excludes 0 and its test
rejects after Holm's correction.

examples:
  lmms-causal compare out/plain out/vcd
  lmms-causal compare out/plain out/vcd out/re2 --by stratum --markdown
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add ``compare`` to the sub-commands of ``lmms-causal``; its ``run`` default is `main`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="compare runs document by document: differences, intervals, tests, cost",
        description="Compare evaluation runs with a reference run, paired by document.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(parser)
    parser.set_defaults(run=main)
    return parser


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``python -m lmms_causal.compare``."""
    parser = argparse.ArgumentParser(
        prog="python -m lmms_causal.compare",
        description="Compare evaluation runs with a reference run, paired by document.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Compare, print the report, write the JSON file; returns the exit code 0.

    Raises:
        UserError: Anything wrong with the arguments or the runs, in one line.
    """
    # Here, not above: adding the sub-command must not cost the start of SciPy.
    from lmms_causal.compare.comparison import compare
    from lmms_causal.compare.read import read_run
    from lmms_causal.compare.report import to_json, to_markdown, to_text
    from lmms_causal.compare.rows import Options

    if not 0.5 <= args.level < 1.0:
        raise UserError(f"--level {args.level:g}: give the coverage as a share, such as 0.95")
    if args.resamples is not None and args.resamples < 99:
        raise UserError(f"--resamples {args.resamples}: give at least 99")
    runs = [read_run(path) for path in (args.run_a, *args.run_b)]
    for run in runs[1:]:
        if run.path.resolve() == runs[0].path.resolve():
            raise UserError(f"{run.path}: compared with itself; name two different runs")
    options = Options(
        tasks=_names(args.tasks),
        metrics=_names(args.metrics),
        by=args.by,
        cluster=args.cluster,
        level=args.level,
        interval=args.interval,
        seed=args.seed,
        resamples=args.resamples,
        intersect=args.intersect,
    )
    comparisons = compare(runs[0], runs[1:], options)
    if args.json is not None:
        text = json.dumps(to_json(comparisons), indent=2, ensure_ascii=False, allow_nan=False)
        try:
            args.json.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--json {args.json}: cannot be written ({error.strerror})") from None
    sys.stdout.write((to_markdown if args.markdown else to_text)(comparisons))
    return 0


def run_command(argv: Sequence[str] | None = None) -> int:
    """Run on command-line words; a user's mistake is one line on stderr and exit code 2."""
    try:
        return main(build_parser().parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_a", metavar="RUN_A", type=Path, help="the reference run")
    parser.add_argument(
        "run_b", metavar="RUN_B", type=Path, nargs="+", help="one or more runs compared with it"
    )
    parser.add_argument("--tasks", metavar="T1,T2", help="only these tasks")
    parser.add_argument("--metrics", metavar="M1,M2", help="only these metrics")
    parser.add_argument(
        "--by", metavar="KEY", help="split rows by a recorded attribute, such as stratum"
    )
    parser.add_argument(
        "--cluster",
        metavar="KEY",
        help="attribute shared by dependent documents (default: the task's cluster_key or the "
        "recorded image, sentence or pair; 'none': treat all as independent)",
    )
    parser.add_argument(
        "--interval",
        choices=("t", "bootstrap"),
        default="t",
        help="interval of means: Student's t (default; closer to its nominal coverage in small "
        "samples of 0/1 scores) or BCa bootstrap",
    )
    parser.add_argument("--level", type=float, default=0.95, help="coverage (default 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="seed of resampling (default 0)")
    parser.add_argument(
        "--resamples",
        type=int,
        metavar="N",
        help="number of resamples (default 9999 for means; 399 to 1999, fewer for more documents, "
        "for metrics that are not means)",
    )
    parser.add_argument(
        "--intersect",
        action="store_true",
        help="compare the common documents when the runs answered different ones",
    )
    parser.add_argument("--json", metavar="OUT", type=Path, help="also write all numbers to OUT")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, not plain text")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
