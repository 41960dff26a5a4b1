"""Every method against the plain model on ``causal_vqa_mini``, its negative control beside it.

One lmms-eval run a method on the bundled model, through the real command line; all runs are paired
with the plain run by document, and Holm's correction runs over the whole table. For a method that
adds an increment to the logits, the row ``+noise_control`` adds a random one of the same norm: what
it gains as well is not owed to the method's direction. ``--family`` chooses methods that contrast
logits and prepare questions, or those that edit attention and states. ``--markdown FILE`` writes
the table. Runs are kept in ``--output``; one that is there already is not made again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reporting import Measured, parser, report

from lmms_causal import tiny_llava
from lmms_causal.compare.comparison import Comparison, compare
from lmms_causal.compare.reading.read import read_run
from lmms_causal.compare.rows.row import Options, Row

TASKS = ("order", "presence", "colour")
CONTRASTS = (
    "vcd(noise_step=999)",
    "icd",
    "cfg",
    "m3id(alpha=1;t0=10)",
    "pai(alpha=0)",
    "causalmm(modality=vision)",
    "causalmm(modality=language)",
    "causalmm(modality=both)",
    "agla(matcher=saliency)",
    "dola",
)
OTHERS = (
    "m3id",
    "vista(strength=0.1)",
    "vista(strength=0;gamma=0.3)",
    "carve",
    "re2",
    "leaf_prune",
    "best_of_n(n=2)",
    "best_of_n(n=2;by=majority)",
    "temperature(value=0.5)",
    "cfg+re2",
    "vcd(noise_step=999)+pai(alpha=0)",
)
ATTENTION = (
    "vhr",
    "pai(gamma=1)",
    "pai",
    "paint",
    "act",
    "pasta(highlight=image)",
    "cca",
    "mma",
    "knockout(queries=predicting;keys=image)",
    "head_ablate(heads=1.0)",
    "token_prepend",
)


def evaluate(spec: str, folder: Path, limit: int | None) -> None:
    """Run the three tasks under a spec; the folder then holds the harness's own files."""
    if list(folder.rglob("*_results.json")):
        return
    command = [str(Path(sys.executable).with_name("lmms-eval")), "--model", "causal"]
    command += ["--model_args", f"pretrained={tiny_llava.NAME},interventions={spec}"]
    command += ["--tasks", ",".join(f"causal_vqa_mini_{task}" for task in TASKS)]
    command += ["--batch_size", "50", "--log_samples", "--output_path", str(folder)]
    command += ["--limit", str(limit)] if limit else []
    environment = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **os.environ}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode or not list(folder.rglob("*_results.json")):  # lmms-eval may exit with 0
        raise SystemExit(f"{spec}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    print(f"  ran {spec}", file=sys.stderr, flush=True)


def compared(specs: Sequence[str], folder: Path, limit: int | None) -> list[Comparison]:
    """Evaluate the plain model and all specs, and compare."""
    folders = [folder / re.sub(r"[^\w.]+", "_", spec) for spec in ("none", *specs)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(evaluate, ("none", *specs), folders, [limit] * len(folders)))
    runs = [read_run(folder) for folder in folders]
    return compare(runs[0], runs[1:], Options(metrics=("causal_score",), by="stratum"))


def cell(row: Row) -> str:
    """Difference in points with its interval; bold where Holm's test rejects."""
    if row.low is None or row.high is None:
        return f"{row.factor * row.difference:+.1f}"
    text = f"{row.factor * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
    detected = row.p_holm is not None and row.p_holm < 0.05
    return f"**{text}**" if detected else text


def table(specs: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    """Markdown: a line a method, score of the plain model in the head."""
    strata = (None, "noisy/conflict", "noisy/consistent")
    columns = [(f"causal_vqa_mini_{task}", stratum) for task in TASKS for stratum in strata]
    index = [{(row.task, row.stratum): row for row in c.rows} for c in comparisons]
    plain = [index[0][column] for column in columns]
    heads = [f"{task}, {stratum or 'all'}" for task in TASKS for stratum in strata]
    lines = [
        "| method | " + " | ".join(heads) + " | passes |",
        "|---" * (2 + len(columns)) + "|",
        "| plain model | " + " | ".join(f"{100 * row.a:.1f} %" for row in plain) + " | 1 |",
    ]
    for spec, rows, comparison in zip(specs, index, comparisons, strict=True):
        cost = {ratio.name: ratio.ratio for ratio in comparison.costs}
        passes = cost.get("forward passes per request")
        cells = [cell(rows[column]) for column in columns]
        lines.append(f"| `{spec}` | " + " | ".join([*cells, f"{passes:.2f}x"]) + " |")
    return "\n".join(lines)


def main() -> int:
    """Evaluate, compare, print."""
    arguments: argparse.ArgumentParser = parser(__doc__)
    arguments.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here")
    arguments.add_argument("--output", type=Path, default=Path("runs/methods_on_mini"))
    arguments.add_argument("--family", choices=("decoding", "attention"), default="decoding")
    given = arguments.parse_args()
    if given.family == "attention":
        specs = list(ATTENTION)
    else:
        specs = [name for spec in CONTRASTS for name in (spec, f"{spec}+noise_control")]
        specs += OTHERS
    if given.quick:
        specs = ["re2(times=1)", "vcd(noise_step=999)", "vcd(noise_step=999)+noise_control"]
    else:
        specs.insert(0, "re2(times=1)")  # a method without effect: correctness of everything here
    folder = given.output / ("quick" if given.quick else "full")
    comparisons = compared(specs, folder, 40 if given.quick else None)
    for row in comparisons[0].rows:
        assert row.difference == 0 and not row.gained and not row.lost, "off changes an answer"
    text = table(specs, comparisons)
    print(text)
    if given.markdown:
        given.markdown.write_text(f"{text}\n")
    records = [
        Measured(f"{spec}: {row.task}", 100 * row.difference, "points")
        for spec, comparison in zip(specs, comparisons, strict=True)
        for row in comparison.rows
        if row.stratum is None
    ]
    return report(records, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
