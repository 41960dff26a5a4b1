"""The command line: ``lmms-causal compare RUN_A RUN_B [RUN_C ...]``."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.compare.output.writing import (
    check_runs_are_kept,
    check_targets,
    print_text,
    write_text,
)
from lmms_causal.errors import UserError
from lmms_causal.report import command as report

if TYPE_CHECKING:
    from lmms_causal.compare.comparison import Comparison

_EPILOG = """\
A run is a results JSON file of lmms-eval or lm-eval, or the folder given to --output_path, made
with --log_samples. A difference is called one only when its interval excludes 0 and its test
rejects after Holm's correction.

examples:
  lmms-causal compare out/plain out/vcd
  lmms-causal compare out/plain out/vcd out/re2 --by connector --markdown
  lmms-causal compare out/plain out/vcd --margin 1 --flips 5 --json vcd.json
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
    """Compare, print the report, write the files; returns the exit code 0.

    Raises:
        UserError: Anything wrong with the arguments or the runs, in one line.
    """
    try:
        with warnings.catch_warnings():
            # Scores near the end of float64 overflow when squared; the report then says "-".
            warnings.simplefilter("ignore", RuntimeWarning)
            return _compare(args)
    except UserError as error:  # task names and ids in it may have line breaks of their own
        raise UserError(" ".join(str(error).splitlines())) from None


def _compare(args: argparse.Namespace) -> int:
    # Here, not above: adding the sub-command must not cost the start of SciPy.
    from lmms_causal.compare.comparison import compare
    from lmms_causal.compare.reading.read import read_run
    from lmms_causal.compare.rows.row import Options

    options = Options(
        tasks=_names(args.tasks),
        metrics=_names(args.metrics),
        by=_names(args.by),
        cluster=args.cluster,
        level=args.level,
        interval=args.interval,
        seed=args.seed,
        resamples=args.resamples,
        intersect=args.intersect,
        margin=args.margin,
        family=args.family,
    )
    if args.flips < 0:
        raise UserError(f"--flips {args.flips}: give the number of documents to list")
    if args.documents and args.json is None and args.format != "json":
        raise UserError("--documents: they go into the JSON; add --json OUT or --format json")
    targets = {"--report": args.report, "--json": args.json, "--output": args.output}
    check_targets(targets)
    report.check(args)
    named = [args.run_a, *args.run_b]
    runs = [read_run(path) for path in named]
    check_runs_are_kept(targets, runs, named)
    paths = [run.path.resolve() for run in runs]
    for place, run in enumerate(runs):
        if paths[place] in paths[:place]:
            raise UserError(f"{run.path}: compared with itself; name different runs")
    comparisons = compare(runs[0], runs[1:], options)
    report.write(args, comparisons)
    if args.json is not None:
        write_text("--json", args.json, _printed(comparisons, "json", args))
    text = _printed(comparisons, "markdown" if args.markdown else args.format, args)
    if args.output is None:
        print_text(text)
    else:
        write_text("--output", args.output, text)
    return 0


def _printed(comparisons: list[Comparison], form: str, args: argparse.Namespace) -> str:
    from lmms_causal.compare.output.report import to_json, to_latex, to_markdown, to_text

    if form == "json":
        data = to_json(comparisons, args.documents)
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "latex":
        return to_latex(comparisons)
    return (to_markdown if form == "markdown" else to_text)(comparisons, args.flips)


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
        "--by",
        metavar="F1,F2",
        help="split rows by recorded fields, such as category, complexity, connector, stratum",
    )
    parser.add_argument(
        "--cluster",
        metavar="FIELD",
        help="field that dependent documents share (default: the task's cluster_key or the "
        "recorded image, sentence or pair; 'none': treat all as independent)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="M",
        help="largest harmless difference (points for shares): test that B does no harm, and that "
        "A and B are equivalent, within it",
    )
    parser.add_argument(
        "--family",
        choices=("report", "metric"),
        default="report",
        help="what Holm's correction runs over: all rows (default), or the runs compared in one "
        "metric",
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
    parser.add_argument(
        "--flips",
        type=int,
        default=0,
        metavar="N",
        help="list up to N documents of each metric whose score changed",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--format",
        choices=("text", "markdown", "latex", "json"),
        default="text",
        help="how to print (default text)",
    )
    form.add_argument("--markdown", action="store_true", help="the same as --format markdown")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write there, not to the screen"
    )
    parser.add_argument("--json", metavar="OUT", type=Path, help="also write all numbers to OUT")
    parser.add_argument(
        "--documents", action="store_true", help="put every compared document into the JSON"
    )
    report.add_arguments(parser)


def _names(text: str | None) -> tuple[str, ...]:
    """The words between commas, each once."""
    words = (name.strip() for name in (text or "").split(","))
    return tuple(dict.fromkeys(word for word in words if word))
