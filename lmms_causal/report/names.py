"""What the runs of a report are called: a key that fits beside a point, and a name to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.records import Run
from lmms_causal.errors import UserError

__all__ = ["ITEM", "Named", "name_runs"]

#: A method with its arguments in a specification.
ITEM = re.compile(r"(?P<name>[A-Za-z_]\w*)\((?P<arguments>[^()]*)\)")


@dataclass(frozen=True)
class Named:
    """A run under the name that the whole page uses for it.

    Attributes:
        key: "A" for the reference, "B" or "B1", "B2", ... for the others.
        name: Its interventions, shortened to the parameters that tell runs apart; where these do
            not, with what else does.
        spec: Its interventions in full; "none" without any.
        run: The run.
    """

    key: str
    name: str
    spec: str
    run: Run


def name_runs(comparisons: Sequence[Comparison]) -> list[Named]:
    """Name the reference and the runs compared with it, in the order of `comparisons`.

    Raises:
        UserError: No comparison, or comparisons with different references.
    """
    if not comparisons:
        raise UserError("a report needs at least one comparison")
    reference = comparisons[0].a
    if any(comparison.a.path != reference.path for comparison in comparisons):
        raise UserError("a report has one reference run: the comparisons have several")
    runs = [reference, *(comparison.b for comparison in comparisons)]
    keys = ["A", *(["B"] if len(runs) == 2 else [f"B{i}" for i in range(1, len(runs))])]
    specs = [run.interventions or "none" for run in runs]
    names = _shortened(specs)
    return [
        Named(
            key,
            name if specs.count(spec) == 1 else f"{name}, {_elsewise(run, runs)}",
            spec,
            run,
        )
        for key, name, spec, run in zip(keys, names, specs, runs, strict=True)
    ]


def _shortened(specs: Sequence[str]) -> list[str]:
    """Specs without the parameters that have one value wherever the same methods are used."""
    values: dict[tuple[str, int, str], set[str]] = {}
    for spec in specs:
        methods = ITEM.sub(r"\g<name>", spec)
        for place, item in enumerate(ITEM.finditer(spec)):
            for argument in item["arguments"].split(";"):
                name, _, value = argument.partition("=")
                values.setdefault((methods, place, name), set()).add(value)
    short = []
    for spec in specs:
        methods = ITEM.sub(r"\g<name>", spec)
        text = ""
        end = 0
        for place, item in enumerate(ITEM.finditer(spec)):
            kept = [
                argument
                for argument in item["arguments"].split(";")
                if len(values[methods, place, argument.partition("=")[0]]) > 1
            ]
            text += spec[end : item.start()] + item["name"]
            text += f"({';'.join(kept)})" if kept else ""
            end = item.end()
        short.append(text + spec[end:])
    return short


def _elsewise(run: Run, runs: Sequence[Run]) -> str:
    """The first thing that tells a run from those with the same interventions."""
    others = [it for it in runs if it is not run and it.interventions == run.interventions]
    for text in _told(run):
        if all(text not in _told(other) for other in others):
            return text
    return run.path.stem


def _told(run: Run) -> list[str]:
    """What may tell runs apart, the most telling first."""
    return [
        run.model_args.get("pretrained") or run.model,
        *(f"{key}={value}" for key, value in sorted(run.model_args.items())),
        f"seeds {run.settings.get('seeds')}",
        run.harness,
        run.date,
    ]
