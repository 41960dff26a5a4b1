"""``lmms-causal reproduce``: run a published setting, ours beside theirs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["add_parser"]

_EPILOG = """\
A recipe says what was published and how: model, decoding, task, spec, numbers, where they stand,
tolerance, and what is known to differ. One without a verified number has no target and says so.

Both settings are evaluated by the harness's own command line, without and with the method. Finished
evaluations are kept in --output and not made again. Of each number: "agrees", it is within the
recipe's tolerance; "within its interval", it is not, but our 95 % interval over documents holds the
published number; "differs". Exit code: 0, or 1 if a number differs, or 2 for a user's mistake.
Of another model, or on other documents than the published ones, nothing is compared.

examples:
  lmms-causal reproduce --list
  lmms-causal reproduce vcd --dry-run
  lmms-causal reproduce vcd --benchmark causal_vqa_mini
  lmms-causal reproduce vista --benchmark pope_coco_greedy --model-args device=cuda:1
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "reproduce",
        help="run a method's published settings, ours beside theirs",
        description="Reproduce published numbers of a method.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("method", metavar="METHOD", nargs="?", help="name of a method")
    add("--benchmark", metavar="NAME", help="which of its recipes (needed if it has several)")
    add("--recipe", metavar="FILE", type=Path, help="a recipe file of your own instead")
    add("--list", action="store_true", help="list the recipes (of METHOD, if given)")
    add("--dry-run", action="store_true", help="print commands and expected numbers, run nothing")
    add("--tasks", metavar="T1,T2", help="only these tasks of the recipe, and their numbers")
    add("--limit", metavar="N", type=int, help="documents a task; then nothing is compared")
    add("--seeds", metavar="S1,S2", help="instead of the recipe's (sampled decoding only)")
    add("--batch-size", metavar="N", type=int, help="instead of the recipe's")
    add("--model-args", metavar="K=V,K=V", default="", help="replace or add model arguments")
    add(
        "--same-model",
        action="store_true",
        help="pretrained= of --model-args is a copy of the recipe's model: compare",
    )
    add("--output", metavar="DIR", type=Path, help="default: runs/reproduce/METHOD/BENCHMARK")
    add("--json", metavar="OUT", type=Path, help="also write all numbers here")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Here, not above: adding the sub-command must not cost the start of NumPy and the harnesses.
    from lmms_causal.reproduce.catalogue import all_recipes, find_recipes
    from lmms_causal.reproduce.checking import check_recipe
    from lmms_causal.reproduce.commands import Changes, jobs
    from lmms_causal.reproduce.measuring import check_aggregations
    from lmms_causal.reproduce.reading import read_recipe
    from lmms_causal.reproduce.reporting import listing, plan_text

    if arguments.recipe is not None:
        if arguments.method or arguments.benchmark:
            raise UserError("--recipe: a file of your own; leave METHOD and --benchmark out")
        recipes = [read_recipe(arguments.recipe)]
    elif arguments.method is not None:
        recipes = list(find_recipes(arguments.method, arguments.benchmark))
    elif arguments.list:
        recipes = list(all_recipes())
    else:
        raise UserError("name a METHOD, or --list to see which there are")
    if arguments.list:
        print(*listing(recipes), sep="\n")
        return 0
    if len(recipes) > 1 and not arguments.dry_run:
        names = ", ".join(recipe.benchmark for recipe in recipes)
        raise UserError(f"{arguments.method} has {len(recipes)} recipes; --benchmark: {names}")
    if arguments.json is not None and (arguments.dry_run or not arguments.json.parent.is_dir()):
        raise UserError(f"--json {arguments.json}: needs a run, and a folder that exists")
    changes = Changes(
        model_args=_pairs(arguments.model_args),
        limit=_positive("--limit", arguments.limit),
        batch_size=_positive("--batch-size", arguments.batch_size),
        seeds=_numbers(arguments.seeds),
        same_model=arguments.same_model,
    )
    if changes.same_model and not {"pretrained", "adapter"} & changes.model_args.keys():
        raise UserError("--same-model: is about pretrained= of --model-args, which is not given")
    for place, recipe in enumerate(recipes):
        if arguments.tasks:
            recipe = recipe.restricted(arguments.tasks.split(","))
        if changes.seeds and recipe.decoding.mode != "sampled":
            raise UserError(f"--seeds: {recipe.name} does not sample, so seeds change nothing")
        check_recipe(recipe)  # a bad spec ends here, not after the plain run
        if arguments.recipe is not None or not arguments.dry_run:
            check_aggregations(recipe)  # imports a harness; tests have done so for the package's
        folder = arguments.output or Path("runs", "reproduce", recipe.method, recipe.benchmark)
        todo = jobs(recipe, folder, changes)
        if arguments.dry_run:
            print(*([""] if place else []), *plan_text(recipe, todo, changes), sep="\n")
        else:
            return _reproduce(recipe, todo, changes, arguments.json)
    return 0


def _reproduce(recipe: Any, todo: Any, changes: Any, out: Path | None) -> int:
    from lmms_causal.reproduce.comparability import unsettled
    from lmms_causal.reproduce.measuring import measure
    from lmms_causal.reproduce.reporting import result_text, to_json
    from lmms_causal.reproduce.running import run_all

    runs = run_all(todo)
    reason = unsettled(recipe, changes, runs)
    measured = [measure(runs, one) for one in recipe.published]
    print("", *result_text(recipe, measured, changes, reason), sep="\n")
    record = to_json(recipe, todo, measured, changes, reason)
    if out is not None:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            out.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--json {out}: cannot be written ({error.strerror})") from None
    verdicts = [one[s]["verdict"] for one in record["numbers"] for s in ("plain", "method")]
    return int("differs" in verdicts)


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--model-args: {part!r} is not key=value")
        pairs[key.strip()] = value.strip()
    return pairs


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in (text or "").split(",") if part)
    except ValueError:
        raise UserError(f"--seeds {text}: whole numbers, such as 0,1,2") from None
    if len(set(numbers)) != len(numbers):
        raise UserError(f"--seeds {text}: a seed is named twice")
    return numbers


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UserError(f"{name} {value}: 1 or more")
    return value
