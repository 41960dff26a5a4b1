"""``lmms-causal run PLAN.yaml``: a matrix of models, interventions and tasks, resumable."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["add_parser"]

_EPILOG = """\
A cell that is done is skipped, and one that was interrupted goes on with the answers it has: type
the same command again. Several runs of one plan and folder, on one machine or many, share the cells
out among them.

examples:
  lmms-causal run plan.yaml --dry-run
  lmms-causal run plan.yaml --output runs/pope
  lmms-causal run plan.yaml --sensitivity vcd.alpha=0,0.5,1,2 --control

The plan is described in docs/run-a-matrix.md. Exit code: 0, or 1 if a cell failed, or 2 for a
mistake in plan or options or a folder that cannot be written to, or 130 or 143 if it was stopped.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "run",
        help="evaluate a plan: models x interventions x tasks, resumable, and compare",
        description="Evaluate models x interventions x tasks through the harness's own evaluator.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("plan", metavar="PLAN.yaml", type=Path, help="what to evaluate")
    add("--output", metavar="DIR", type=Path, help="folder (default: the plan's, or runs/NAME)")
    add("--limit", metavar="N", type=float, help="first documents of each task only, for a try")
    add("--processes", metavar="N", type=int, help="ranks of each cell, by accelerate launch")
    add(
        "--sensitivity",
        metavar="METHOD.PARAMETER=V,V,...",
        action="append",
        default=[],
        help="evaluate every intervention with METHOD at each value; may be given several times",
    )
    add(
        "--control",
        metavar="SEEDS",
        type=int,
        nargs="?",
        const=1,
        default=0,
        help="add negative controls: noise of equal size in the place of what a method adds",
    )
    add("--price-per-hour", metavar="P", type=float, help="of one process, for the cost estimate")
    add("--dry-run", action="store_true", help="print the commands and stop")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Here, not above: adding the sub-command must not cost the start of torch.
    from lmms_causal.matrix.keeping.sources import Sources
    from lmms_causal.matrix.planning.cells import cells_of
    from lmms_causal.matrix.planning.plan import read_plan
    from lmms_causal.matrix.planning.task_names import check_names
    from lmms_causal.matrix.planning.variants import expand
    from lmms_causal.matrix.results.outcomes import options_of
    from lmms_causal.matrix.running import is_done
    from lmms_causal.matrix.stopping import Stopped, stoppable

    plan = _with_options(read_plan(arguments.plan), arguments)
    options_of(plan)
    variants, notes = expand(plan.interventions, arguments.sensitivity, arguments.control)
    check_names(plan.harness, plan.tasks, plan.settings.include_path is not None)
    output = arguments.output or Path(plan.output or Path("runs") / plan.path.stem)
    output = output.absolute()
    cells = cells_of(plan, variants, output)
    if arguments.dry_run:
        sources = Sources()
        for cell in cells:
            changed = sources.changed(cell)
            state = f" (stale: {changed})" if changed else " (done)" if is_done(cell) else ""
            print(f"# {cell.title}{state}")
            print(shlex.join([*(f"{k}={v}" for k, v in cell.environment), *cell.command()]))
        for note in notes:
            print(f"# {note}")
        return 0

    try:
        with stoppable():
            return _evaluate(plan, cells, notes, output)
    except Stopped as stopped:
        print(
            f"stopped ({stopped.name}); the same command goes on with the answers that are kept",
            file=sys.stderr,
        )
        return stopped.exit_code


def _evaluate(plan: Any, cells: Any, notes: list[str], output: Path) -> int:
    from lmms_causal.matrix.keeping.manifest import start, write_manifest
    from lmms_causal.matrix.progress import Progress
    from lmms_causal.matrix.results.outcomes import compare_cells
    from lmms_causal.matrix.running import run_cells

    start(output, plan, cells, notes)
    price = plan.price_per_hour
    progress = Progress(len({c.folder for c in cells}), plan.launch.processes, price)
    for note in notes:
        progress.say(note)
    outcome = run_cells(cells, progress)
    write_manifest(output, plan, cells, notes)
    if outcome.failed:
        for title, reason in outcome.failed.items():
            print(f"failed: {title}: {reason}", file=sys.stderr)
        print("the same command tries them again; cells that are done are kept", file=sys.stderr)
    if outcome.taken:
        print(
            f"{len(outcome.taken)} cells are being evaluated by another run, which compares when "
            "it is done",
            file=sys.stderr,
        )
    if outcome.failed or outcome.taken:
        return 1 if outcome.failed else 0
    _, text = compare_cells(plan, cells, output)
    sys.stdout.write(text)
    print(f"everything is in {output}", file=sys.stderr)
    return 0


def _with_options(plan: Any, arguments: argparse.Namespace) -> Any:
    """The plan with what the command line says in its place."""
    from lmms_causal.matrix.planning.plan_values import documents

    if arguments.limit is not None:
        limit = documents(arguments.limit, f"--limit {arguments.limit:g}")
        plan = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, limit=limit))
    if arguments.processes is not None:
        if arguments.processes < 1 or plan.launch.command:
            raise UserError(
                f"--processes {arguments.processes}: take 1 or more, in a plan without launch: "
                "command"
            )
        launch = dataclasses.replace(plan.launch, processes=arguments.processes)
        plan = dataclasses.replace(plan, launch=launch)
    if arguments.price_per_hour is not None:
        if not 0 <= arguments.price_per_hour < math.inf:
            raise UserError(
                f"--price-per-hour {arguments.price_per_hour:g}: take a number from 0 on"
            )
        plan = dataclasses.replace(plan, price_per_hour=arguments.price_per_hour)
    if arguments.control < 0:
        raise UserError(f"--control {arguments.control}: take the number of seeds, 1 or more")
    return plan
