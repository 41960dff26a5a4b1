"""What a list of functions needs: statements of our modules, in the order modules are loaded."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lmms_causal.errors import UserError
from lmms_causal.export.modules import (
    External,
    Global,
    Module,
    Statement,
    Target,
    Whole,
    imported_from,
    read,
)
from lmms_causal.export.references import Reference

__all__ = ["Gathered", "Use", "gather", "resolve", "target_of"]

NOT_FOR_EXPORT = ("kernels", "interventions", "models", "compare", "attend", "commands", "export")
"""Parts of the package that a task may not need."""


@dataclass(frozen=True)
class Gathered:
    """The statements needed, as places ``(module, index)`` in an order in which they can run."""

    roots: tuple[Global, ...]
    places: tuple[tuple[str, int], ...]

    def statements(self) -> Iterator[tuple[Module, Statement]]:
        """The statements with their modules."""
        for name, index in self.places:
            module = read(name)
            yield module, module.statements[index]

    @property
    def modules(self) -> tuple[Module, ...]:
        """The modules, each once, in their order."""
        return tuple(read(name) for name in dict.fromkeys(name for name, _ in self.places))


@dataclass(frozen=True)
class Use:
    """A reference resolved: what it stands for, and the node and text that a new name replaces."""

    target: Global | External
    node: ast.expr
    written: str


def gather(wanted: Iterable[str]) -> Gathered:
    """Collect what functions need, by their dotted names.

    A statement of a module that binds nothing (a call, an assignment to an attribute) is taken as
    soon as anything else of its module is.

    Raises:
        UserError: a name that is not there, or one that leads out of what tasks may import.
    """
    roots = tuple(dict.fromkeys(root_of(name) for name in wanted))
    chosen: dict[str, set[int]] = {}
    waiting = list(roots)
    while waiting:
        symbol = waiting.pop()
        module = read(symbol.module)
        if symbol.module not in chosen:
            chosen[symbol.module] = set()
            free = [i for i, statement in enumerate(module.statements) if not statement.names]
            waiting += _take(module, free, chosen)
        waiting += _take(module, module.binding[symbol.name], chosen)
    order = _load_order(root.module for root in roots)
    order += [name for name in chosen if name not in order]  # those of imports inside functions
    places = [(name, i) for name in order if name in chosen for i in sorted(chosen[name])]
    return Gathered(roots, tuple(places))


def root_of(name: str) -> Global:
    """Where the function with this dotted name is defined.

    Raises:
        UserError: there is none, or it is not ours.
    """
    module, _, function = name.rpartition(".")
    symbol = _defined(Global(module, function), "a task file")
    if not isinstance(symbol, Global):
        raise UserError(f"{name}, which a task file names, is of another package; define it here")
    return symbol


def resolve(module: Module, reference: Reference) -> Use | None:
    """What a reference stands for; None for builtins and names such as ``__file__``.

    Raises:
        UserError: a module of ours that is handed around as an object.
    """
    if reference.imported is not None:
        target: Target | None = imported_from(reference.imported)[reference.name]
    elif reference.name in module.binding:
        target = Global(module.name, reference.name)
    else:
        target = module.imports.get(reference.name)
    if target is None:
        return None
    node, written = reference.node, reference.name
    if isinstance(target, Whole):
        if reference.attribute is None:
            raise UserError(
                f"{module.path.name}, line {node.lineno} uses the module {target.module} as an "
                "object; name what it needs of it"
            )
        target = Global(target.module, reference.attribute)
        written = f"{reference.name}.{reference.attribute}"
    elif isinstance(node, ast.Attribute):
        node = node.value
    if isinstance(target, Global):
        target = _defined(target, module.name)
    return Use(target, node, written)


def target_of(module: Module, reference: Reference) -> Global | External | None:
    """The target of `resolve` alone."""
    use = resolve(module, reference)
    return None if use is None else use.target


def _defined(symbol: Global, needed_by: str) -> Global | External:
    """Follow imports from module to module, to where a name is defined."""
    parts = symbol.module.split(".")
    if len(parts) > 1 and parts[1] in NOT_FOR_EXPORT:
        raise UserError(
            f"{needed_by} needs {symbol.module}, which upstream does not have; move what the task "
            "needs of it into lmms_causal.tasks"
        )
    module = read(symbol.module)
    if symbol.name in module.binding:
        return symbol
    target = module.imports.get(symbol.name)
    if isinstance(target, Global):
        return _defined(target, needed_by)
    if isinstance(target, External):
        return target
    raise UserError(f"{symbol.module} has no {symbol.name}, which {needed_by} needs")


def _take(module: Module, indices: Iterable[int], chosen: dict[str, set[int]]) -> list[Global]:
    """Choose statements of a module; the globals that the new ones refer to."""
    needed = []
    for index in set(indices) - chosen[module.name]:
        chosen[module.name].add(index)
        statement = module.statements[index]
        targets = [target_of(module, reference) for reference in statement.references]
        needed += [target for target in targets if isinstance(target, Global)]
        needed += [Global(module.name, name) for name in statement.names]
    return needed


def _load_order(names: Iterable[str]) -> list[str]:
    """The modules and all that they import, each behind what it imports, as Python loads them."""
    order: list[str] = []
    entered: set[str] = set()

    def visit(name: str) -> None:
        if name not in entered:
            entered.add(name)
            for needed in read(name).needs:
                visit(needed)
            order.append(name)

    for name in names:
        visit(name)
    return order
