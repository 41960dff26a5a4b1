"""``lmms-causal centerbench``: the gap against complexity of runs, and what each scorer accepts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from lmms_causal.compare.records import Run, Sample
    from lmms_causal.tasks.centerbench.gap import Curve, Interval

__all__ = ["add_parser", "answers_of", "audit", "show_curve"]

_EPILOG = """\
examples:
  lmms-causal centerbench curve results/plain results/steered --png gap.png
  lmms-causal centerbench audit --official
"""
_OFFICIAL = "also by the published matcher (spaCy and MiniLM, extra 'centerbench')"
_HALF = 20  # characters of a bar on either side of zero
_METRIC = "centerbench_acc"


def add_parser(commands: Any) -> None:
    """Add the sub-command with its two sub-commands."""
    parser = commands.add_parser(
        "centerbench",
        help="CenterBench: curve of the plausibility gap, audit of its scorers",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    curve = kinds.add_parser(
        "curve", help="show the gap against complexity, with intervals over sentences"
    )
    curve.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="results file or folder of a run"
    )
    curve.add_argument("--task", metavar="NAME", help="if a run has several CenterBench tasks")
    curve.add_argument("--type", metavar="TYPE", help="only questions of this type")
    curve.add_argument("--official", action="store_true", help=_OFFICIAL)
    curve.add_argument("--png", metavar="FILE", type=Path, help="also draw it (extra 'plots')")
    curve.set_defaults(run=_run_curve)
    check = kinds.add_parser(
        "audit", help="score reworded and corrupted references: what does each scorer accept?"
    )
    check.add_argument("--official", action="store_true", help=f"{_OFFICIAL}; minutes")
    check.add_argument("--limit", metavar="N", type=int, help="only the first N questions")
    check.set_defaults(run=_run_audit)


def _run_curve(arguments: argparse.Namespace) -> int:
    # Here, not above: adding the sub-command must not cost the start of NumPy.
    from lmms_causal.compare.reading.read import read_run
    from lmms_causal.tasks.centerbench.data import TYPES
    from lmms_causal.tasks.centerbench.gap import gap_curve

    if arguments.type is not None and arguments.type not in TYPES:
        raise UserError(f"--type {arguments.type}: there are {', '.join(TYPES)}")
    if arguments.png is not None:
        _require_matplotlib()
    accepts = _official() if arguments.official else None
    curves: dict[str, Curve] = {}
    for path in arguments.runs:
        run = read_run(path)
        strict, official = answers_of(run, arguments.task, arguments.type, accepts)
        name = f"{path}" + (f" [{run.interventions}]" if run.interventions else "")
        curves[name] = gap_curve(strict)
        print(*show_curve(f"{name}: {len(strict)} answers", curves[name]), sep="\n")
        if len(official) == len(strict):
            loose = curves[f"{name}, published matcher"] = gap_curve(official)
            excess = _mean(official) - _mean(strict)
            print(*show_curve("published matcher, same answers", loose), sep="\n")
            print(
                f"leniency: the published matcher accepts {100 * _mean(official):.2f} %, the "
                f"strict scorer {100 * _mean(strict):.2f} %: {100 * excess:+.2f} points\n"
            )
    if arguments.png is not None:
        _draw(curves, arguments.png)
        print(f"written to {arguments.png}")
    return 0


def answers_of(
    run: Run,
    task: str | None = None,
    kind: str | None = None,
    accepts: Callable[[str, str, str], bool] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sentence and credit of each answer of a run, by the strict scorer and the published one.

    Args:
        run: as read from a harness's files.
        task: name of the task, if the run has several of CenterBench.
        kind: only questions of this type.
        accepts: verdict of the published matcher on text, reference and type; without it, the
            verdicts that were recorded during the run, of which there may be none.

    Raises:
        UserError: the run has no such task, or several.
    """
    found = {
        name: one
        for name, one in run.tasks.items()
        if (task is None or name == task)
        and any(_METRIC in sample.metrics for rows in one.samples.values() for sample in rows)
    }
    if len(found) != 1:
        names = ", ".join(found) or ", ".join(run.tasks)
        reason = f"several CenterBench tasks ({names}); name one with --task"
        if not found:
            reason = f"no samples of {task or 'a CenterBench task'}; there are those of {names}"
        raise UserError(f"{run.path}: {reason}")
    rows: Sequence[Sample] = next(iter(next(iter(found.values())).samples.values()))
    strict, official = [], []
    for sample in rows:
        record: Mapping[str, Any] = sample.metrics[_METRIC]
        if kind is not None and record["type"] != kind:
            continue
        place = record["sentence_id"]
        strict.append({"sentence": place, "credit": float(record["score"])})
        loose = record.get("official")
        if accepts is not None:
            loose = accepts(sample.response, sample.target, record["type"])
        if loose is not None:
            official.append({"sentence": place, "credit": float(loose)})
    return strict, official


def show_curve(title: str, curve: Curve) -> Iterator[str]:
    """The curve as lines of text: a row with a bar for each level, then what sums it up."""
    yield title
    yield "level  plausible  implausible     gap   95 % interval"
    reach = max((abs(one.value) for one in curve.gaps), default=0) or 1
    for level, (first, second), one in zip(curve.levels, curve.accuracy, curve.gaps, strict=True):
        bar = _bar(one.value / reach)
        yield (
            f"{level:5}  {100 * first:9.2f}  {100 * second:11.2f}  {_points(one)}  {bar}".rstrip()
        )
    for name, one in (
        ("all answers", curve.overall),
        ("mean of levels", curve.macro),
        ("median of levels", curve.median),
        ("slope per level", curve.slope),
    ):
        yield f"{name:>29}  {_points(one)}"
    yield ""


def _points(one: Interval) -> str:
    if math.isnan(one.value):
        return f"{'n/a':>6}"
    return f"{one.value:+6.2f}  [{one.low:+7.2f}, {one.high:+7.2f}]"


def _bar(share: float) -> str:
    """A bar from the middle to the right for a positive share, to the left for a negative one."""
    length = round(abs(share) * _HALF)
    left = "#" * length if share < 0 else ""
    return f"{left:>{_HALF}}|{'#' * length if share > 0 else ''}"


def _mean(records: Sequence[Mapping[str, Any]]) -> float:
    return sum(record["credit"] for record in records) / max(len(records), 1)


def _run_audit(arguments: argparse.Namespace) -> int:
    if arguments.limit is not None and arguments.limit < 1:
        raise UserError(f"--limit {arguments.limit}: give at least 1")
    accepts = _official() if arguments.official else None
    print(*audit(accepts, arguments.limit), sep="\n")
    return 0


def audit(
    accepts: Callable[[str, str, str], bool] | None = None, limit: int | None = None
) -> Iterator[str]:
    """Lines of a table: the share of each kind of answer that each scorer accepts.

    Args:
        accepts: verdict of the published matcher; without it, only the strict scorer's are shown.
        limit: number of questions; all by default.
    """
    from lmms_causal.tasks.centerbench.corruptions import tally
    from lmms_causal.tasks.centerbench.data import TYPES
    from lmms_causal.tasks.centerbench.documents import build
    from lmms_causal.tasks.centerbench.scoring import is_correct

    docs = build("centerbench")[:limit]
    strict = tally(docs, is_correct)
    loose = {}
    if accepts is not None:
        ask = accepts
        loose = tally(docs, lambda doc, text: ask(text, doc["answer"], doc["type"]))
    yield f"{len(docs)} questions; answers accepted, in %"
    head = f"{'type':20}  {'answer':28}  right  {'answers':>7}  strict"
    yield head + ("  published" if loose else "")
    for key in sorted(strict, key=lambda key: (list(TYPES).index(key[0]), not strict[key].sound)):
        row = strict[key]
        line = f"{key[0]:20}  {key[1]:28}  {'yes' if row.sound else 'no':>5}  {row.given:7}"
        line += f"  {100 * row.rate:6.1f}"
        yield line + (f"  {100 * loose[key].rate:9.1f}" if loose else "")
    for name, table in {"strict scorer": strict, "published matcher": loose}.items():
        for sound, what in ((True, "right"), (False, "wrong")):
            rows = [row for row in table.values() if row.sound == sound]
            given, accepted = sum(row.given for row in rows), sum(row.accepted for row in rows)
            if given:
                share = f"{100 * accepted / given:.2f} %"
                yield f"{name} accepts {accepted} of {given} {what} answers ({share})"


def _official() -> Callable[[str, str, str], bool]:
    """The published matcher's verdict; equal questions are judged once.

    Raises:
        UserError: a package or a model of the matcher is missing.
    """
    from lmms_causal.tasks.centerbench import official

    matcher = official.load(required=True)
    assert matcher is not None

    @cache
    def verdict(text: str, reference: str, kind: str) -> bool:
        return matcher.accepts(official.prediction(text), reference, kind)

    return verdict


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "--png needs Matplotlib: pip install 'lmms-causal[plots]', or leave it out"
        ) from None


def _draw(curves: Mapping[str, Curve], file: Path) -> None:
    """A line for each curve, with the interval at each level.

    Raises:
        UserError: the file cannot be written, or its name ends in no picture format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for place, (name, curve) in enumerate(curves.items()):
        shift = 0.06 * (place - (len(curves) - 1) / 2)  # so that intervals do not hide each other
        below = [one.value - one.low for one in curve.gaps]
        above = [one.high - one.value for one in curve.gaps]
        axes.errorbar(
            [level + shift for level in curve.levels],
            [one.value for one in curve.gaps],
            yerr=[below, above],
            marker="o",
            capsize=3,
            label=name,
        )
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(
        xlabel="embedded clauses",
        ylabel="plausible minus implausible accuracy, points",
        title="CenterBench: plausibility gap (95 % over sentences)",
    )
    axes.set_xticks(sorted({level for curve in curves.values() for level in curve.levels}))
    axes.legend(fontsize="small")
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"--png {file}: cannot be written ({error})") from None
