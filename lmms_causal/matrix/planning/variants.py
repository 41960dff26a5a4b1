"""The interventions of a matrix: the plan's, the points of sensitivity curves, the controls."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions import registry
from lmms_causal.interventions.spec import Spec, parse

__all__ = ["Curve", "Variant", "expand"]


@dataclass(frozen=True)
class Curve:
    """A point of a sensitivity curve: whose, along which parameter, at which value."""

    of: str
    parameter: str
    value: str


@dataclass(frozen=True)
class Variant:
    """One intervention of the matrix.

    Attributes:
        label: what tables and folders call it.
        spec: its canonical text, as it goes into ``--model_args``.
        passes: passes a token at most takes, one for each branch of the plan and the factual one.
        curve: set for points of a curve.
        control_of: label of the intervention that this one is the negative control of.
    """

    label: str
    spec: str
    passes: int = 1
    curve: Curve | None = None
    control_of: str | None = None


def expand(
    interventions: Sequence[tuple[str, str]], sensitivity: Sequence[str] = (), controls: int = 0
) -> tuple[list[Variant], list[str]]:
    """Return all interventions to be evaluated, and what a reader must know about them.

    Args:
        interventions: label and spec of each.
        sensitivity: ``method.parameter=value,value,...``: every intervention that names the method
            is evaluated at each value (one that none names is added), the others once.
        controls: negative controls of each that adds to the logits, with the seeds ``0 .. n - 1``.

    Raises:
        UserError: a bad spec, an unknown method or parameter, a value the method refuses.
    """
    variants = [_named(label, spec) for label, spec in interventions]
    notes = []
    originals = list(variants)
    for text in sensitivity:
        variants += _points(text, originals)
    if controls:
        for variant in list(variants):
            made = _controls(variant, controls)
            variants += made
            if not made and parse(variant.spec):
                notes.append(
                    f"{variant.label}: no negative control, it adds nothing to the logits that "
                    "could be randomised (or has a control already)"
                )
    return _distinct(variants), notes


def _named(label: str, text: str) -> Variant:
    """An intervention of the plan, unless its name says that it is another one.

    Methods without their parameters, as ``vcd`` for ``vcd(alpha=2)``, are a name like any other.
    """
    variant = _variant(label, text)
    try:
        said, meant = parse(label), parse(text)
    except UserError:  # the name is no spec
        return variant
    names = [[_name(method) for method in spec.methods] for spec in (said, meant)]
    if str(said) != str(meant) and ("(" in label or names[0] != names[1]):
        raise UserError(
            f"interventions: {label!r} is the name of {text}, and reads as another intervention; "
            "choose a name that is no spec"
        )
    return variant


def _variant(label: str, text: str, **more: object) -> Variant:
    spec = parse(text)
    canonical = str(spec)
    if set(canonical) & set(",[] "):  # the harnesses split model arguments at commas
        canonical = text.strip()
        if set(canonical) & set(",[] "):
            raise UserError(
                f"intervention {label}: a value holds a comma, bracket or blank; put it into a "
                "plan file, @FILE#DIGEST"
            )
    return Variant(label, canonical, 1 + len(spec.plan().branches), **more)  # type: ignore[arg-type]


def _points(text: str, originals: Sequence[Variant]) -> list[Variant]:
    match = re.fullmatch(r"(\w+)\.(\w+)=(.+)", text.strip())
    if not match:
        raise UserError(f"--sensitivity {text}: write METHOD.PARAMETER=VALUE,VALUE,...")
    method, parameter, values = match[1], match[2], match[3].split(",")
    known = registry.parameters(registry.get(method))
    if parameter not in known:
        raise UserError(
            f"--sensitivity {text}: {method} has no parameter {parameter!r}"
            f"{nearest(parameter, known)}; it takes {', '.join(known) or 'none'}"
        )
    owners = [v for v in originals if any(_name(m) == method for m in parse(v.spec).methods)]
    bases = [(v.label, parse(v.spec)) for v in owners] or [
        (method, parse(f"{method}({parameter}={values[0].strip()})"))
    ]
    points = []
    for label, spec in bases:
        for value in dict.fromkeys(value.strip() for value in values):
            if not value:
                raise UserError(f"--sensitivity {text}: a value is missing between commas")
            changed = _with(spec, method, parameter, value)
            points.append(
                _variant(
                    f"{label}[{parameter}={value}]",
                    changed,
                    curve=Curve(label, f"{method}.{parameter}", value),
                )
            )
    return points


def _name(method: object) -> str:
    return registry.name_of(type(method))


def _with(spec: Spec, method: str, parameter: str, value: str) -> str:
    """The text of a spec with one parameter changed; other methods stay."""
    items = []
    for item in spec.methods:
        text = str(Spec((item,)))
        if _name(item) == method:
            given = {field: getattr(item, field) for field in registry.parameters(type(item))}
            given[parameter] = value
            text = f"{method}({';'.join(f'{name}={it}' for name, it in given.items())})"
        items.append(text)
    return "+".join(items)


def _controls(variant: Variant, count: int) -> list[Variant]:
    """Negative controls of one intervention; none where there is no increment to randomise."""
    made = []
    for seed in range(count):
        text = f"{variant.spec}+noise_control(seed={seed})"
        try:
            if not parse(variant.spec):
                return []
            control = _variant(f"{variant.label}+control{seed}", text, control_of=variant.label)
        except UserError:
            return []
        made.append(dataclasses.replace(control, curve=variant.curve))
    return made


def _distinct(variants: Sequence[Variant]) -> list[Variant]:
    """Drop nothing but exact repetitions of a label; refuse two specs under one."""
    seen: dict[str, Variant] = {}
    for variant in variants:
        before = seen.setdefault(variant.label, variant)
        if before.spec != variant.spec:
            raise UserError(
                f"intervention {variant.label!r} would name both {before.spec} and {variant.spec}; "
                "give them different names"
            )
    return list(seen.values())
