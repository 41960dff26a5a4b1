"""The pages of ``docs/interventions``: every method's own docstrings, as Markdown.

Nothing is written twice: the text is the docstring of the method's file, the parameters are the
fields of its class, what it composes with is read off its plan, and which models it runs on is what
the engine itself says about a tiny model of each family.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields
from textwrap import dedent
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lmms_causal.errors import UserError
from lmms_causal.interventions import plan as language
from lmms_causal.interventions import registry
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.spec import parse

__all__ = ["MARKER", "SECTIONS", "Page", "index", "page", "read"]

SECTIONS = ("Equations", "Cost", "Paper and code", "Published", "Unverified")
"""The sections of every method's docstring, in this order."""

MARKER = "<!-- written by `lmms-causal interventions --write`; change the method's file instead -->"
"""First line of every page, by which an outdated one is known."""

Obstacles = Mapping[str, "str | None"]
"""For each method why it cannot run on a model, or None."""

_HEADING = re.compile(r"^(?P<title>\S.*)\n-{3,}$", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_ATTRIBUTE = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<meaning>.*)$")
_OPEN, _CLOSE = "```text\n", "\n```"
_SENTENCE_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<=\.)\s+(?=[A-Z`])")


@dataclass(frozen=True)
class Page:
    """A method's docstrings, taken apart.

    Attributes:
        name: the method's name.
        summary: the first line.
        introduction: what stands before the first section, citation included.
        sections: text by title, in order.
        meanings: what each parameter does.
    """

    name: str
    summary: str
    introduction: str
    sections: Mapping[str, str]
    meanings: Mapping[str, str]

    @property
    def cost(self) -> str:
        """The first sentence of the cost section, on one line."""
        first = self.sections["Cost"].split("\n\n")[0]
        return _SENTENCE_END.split(" ".join(first.split()))[0]


def read(name: str) -> Page:
    """Read a method's docstrings.

    Raises:
        UserError: a section or the description of a parameter is missing; names the file.
    """
    cls = registry.get(name)
    where = f"interventions/methods/{name}.py"
    module = inspect.getdoc(inspect.getmodule(cls)) or ""
    pieces = _HEADING.split(module)
    summary, _, introduction = pieces[0].strip().partition("\n")
    sections = dict(zip(pieces[1::2], (text.strip("\n") for text in pieces[2::2]), strict=True))
    for title in SECTIONS:
        if not sections.get(title, "").strip():
            raise UserError(
                f"{where}: its docstring has no section {title!r}; a page needs "
                f"{', '.join(SECTIONS)}, each underlined with dashes"
            )
    if tuple(sections) != SECTIONS:
        raise UserError(
            f"{where}: its docstring has the sections {', '.join(sections)}; a page has "
            f"{', '.join(SECTIONS)}, in this order"
        )
    meanings = _meanings(inspect.getdoc(cls) or "")
    for parameter in registry.parameters(cls):
        if not meanings.get(parameter):
            raise UserError(
                f"{where}: parameter {parameter!r} is not described under 'Attributes:' in the "
                f"docstring of {cls.__name__}"
            )
    return Page(name, summary, introduction.strip("\n"), sections, meanings)


def _meanings(docstring: str) -> dict[str, str]:
    """What a docstring's ``Attributes:`` says about each name, on one line."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    _, _, listed = docstring.partition("Attributes:\n")
    for line in listed.splitlines():
        if line.strip() and not line.startswith(" "):  # text behind the list
            break
        match = _ATTRIBUTE.match(line[4:])
        if match:
            current = [match["meaning"]]
            found.update(dict.fromkeys(match["names"].split(", "), current))
        else:
            current.append(line.strip())
    return {name: " ".join(filter(None, words)) for name, words in found.items()}


def page(name: str) -> str:
    """Return a method's page."""
    read_page = read(name)
    parts = [
        MARKER,
        f"# {name}",
        markdown(read_page.summary),
        markdown(read_page.introduction),
        _spelled_out(name),
    ]
    for title, text in read_page.sections.items():
        parts += [f"## {title}", markdown(text)]
        if title == "Equations":
            parts += ["## Parameters", _parameters(read_page), "## Composition", _composition(name)]
    return _joined(parts)


def _spelled_out(name: str) -> str:
    """The canonical specs of a method: by its bare name, and of its example if it has one."""
    example = registry.example(name)
    lines = []
    if example != name:
        lines.append(
            f"An example, with every parameter spelled out: `interventions={parse(example)}`"
        )
    with suppress(UserError):  # what has no meaning without parameters is refused
        lines.append(f"With every default spelled out: `interventions={parse(name)}`")
    return "\n\n".join(lines)


def index(obstacles: Mapping[str, Obstacles]) -> str:
    """Return the table of contents.

    Args:
        obstacles: for each model family why each method cannot run on it, or None.
    """
    pages = [read(name) for name in registry.names()]
    rows = [(f"[{it.name}]({it.name}.md)", markdown(it.summary), markdown(it.cost)) for it in pages]
    text = inspect.getdoc(language) or ""
    rule = text.partition("Composition. ")[2].partition("Nothing here")[0].rstrip()
    parts = [
        MARKER,
        "# Interventions",
        "A method is named in `--model_args interventions=NAME(parameter=value;parameter=value)`; "
        "several are joined by `+`. `lmms-causal interventions SPEC` checks a spec, and "
        "`lmms-causal doctor MODEL` says which methods run on a model.",
        _table(("method", "what it does", "cost"), rows),
        "## Composition",
        markdown(rule),
        "Rewrites of the question run first, then preparations, each in the order named. Edits of "
        "attention and of the residual stream come before any increment; they apply stage by stage "
        "(mask, scores, weights, outputs), inside a stage in the order named, which is the one "
        "place where the order matters. A spec is refused, before a model is loaded, if two of its "
        "methods steer, set positions or a temperature, select, control, place segments, or "
        "replace attention weights or outputs; if one edits masks or scores beside segments; if "
        "two mean different things by a branch of one name; or if a control has nothing to "
        "control.",
        "## Model families",
        "What the engine says about a tiny model of each family, with the parameters of the "
        "method's example; the reasons are numbered below the table. Models of other families are "
        "introspected: ask `lmms-causal doctor`.",
        *_families(obstacles),
    ]
    return _joined(parts)


def _families(obstacles: Mapping[str, Obstacles]) -> list[str]:
    """The table of families and methods, and the reasons as a numbered list."""
    reasons: dict[str, int] = {}

    def cell(reason: str | None) -> str:
        if reason is None:
            return "yes"
        return f"no ({reasons.setdefault(reason, len(reasons) + 1)})"

    rows = [
        (f"`{name}`", *(cell(of_family[name]) for of_family in obstacles.values()))
        for name in registry.names()
    ]
    table = _table(("method", *(f"`{family}`" for family in obstacles)), rows)
    notes = "\n".join(f"{number}. {markdown(reason)}" for reason, number in reasons.items())
    return [table, notes] if notes else [table]


def _parameters(read_page: Page) -> str:
    cls = registry.get(read_page.name)
    hints = get_type_hints(cls)
    rows = [
        (
            f"`{field.name}`",
            type_text(hints[field.name]),
            _default(field),
            markdown(read_page.meanings[field.name]),
        )
        for field in fields(cls)
        if field.init
    ]
    if not rows:
        return "None."
    return _table(("parameter", "type", "default", "meaning"), rows)


def type_text(hint: Any) -> str:
    """Return a parameter's type as a user writes its values."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(type_text(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    words = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
    return "`none`" if hint is type(None) else words.get(hint, f"`{hint.__name__}`")


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "required"
    text = str(value)
    if not text:
        return "empty"
    return f"`{text.lower() if value is None or isinstance(value, bool) else text}`"


def _composition(name: str) -> str:
    """What the method's plan contributes, and what that allows beside it."""
    methods = parse(registry.example(name)).methods
    plan = next(it for it in methods if registry.name_of(type(it)) == name).plan()
    lines = [line for contributes, line in _contributions(plan) if contributes]
    lines.append("All rules are in the [index](README.md#composition).")
    return "\n".join(f"* {line}" for line in lines)


def _contributions(plan: Plan) -> list[tuple[bool, str]]:
    adds = any(increment.function for increment in plan.increments)
    cuts = any(increment.beta for increment in plan.increments)
    branches = ", ".join(f"`{branch.name}`" for branch in plan.branches)
    alone = "one such method a spec"
    return [
        (adds, "Adds an increment to the factual logits; increments of several methods add up."),
        (cuts, "Limits the tokens; of several such sets the intersection is allowed."),
        (bool(branches), f"Runs {branches}; another method may share it, if it means the same."),
        (
            bool(plan.attention),
            "Edits attention; edits of several methods apply stage by stage, inside a stage in the "
            "order named.",
        ),
        (
            any(edit.everywhere for edit in plan.attention),
            "Branches of other methods are edited too.",
        ),
        (bool(plan.residual), "Edits the residual stream of the factual pass, in the order named."),
        (plan.positions is not None, f"Sets position ids, of branches too: {alone}."),
        (plan.reads_segments, "Needs prompts that declare segments."),
        (plan.steering is not None, f"Steers the residual stream: {alone}."),
        (plan.temperature is not None, f"Divides the combined logits: {alone}."),
        (plan.control is not None, f"Replaces the sum of all increments: {alone}."),
        (plan.selection is not None, f"Selects one of several answers: {alone}."),
        (bool(plan.rewrites), "Rewrites the question's text, in the order named."),
        (bool(plan.preparations), "Prepares the question with the model, in the order named."),
    ]


def markdown(text: str) -> str:
    """Return a docstring's text as Markdown.

    Double backticks become single ones, references to code become code, and indented blocks become
    fenced ones, whether or not two colons announce them.
    """
    blocks: list[str] = []
    for block in re.split(r"\n{2,}(?=\S)|\n{2,}(?= {4})", text.strip("\n")):
        if block.startswith("    "):
            code = dedent(block).rstrip()
            if blocks and blocks[-1].startswith(_OPEN):  # a blank line within one block
                code = f"{blocks.pop().removeprefix(_OPEN).removesuffix(_CLOSE)}\n\n{code}"
            blocks.append(f"{_OPEN}{code}{_CLOSE}")
        else:
            prose = _ROLE.sub(r"`\1`", block.rstrip()).replace("``", "`")
            blocks.append(re.sub(r"::$", ":", prose))
    return "\n\n".join(blocks)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
