"""One namespace for statements of many modules: every global and import gets a name of its own.

The functions that task files name come first, then imports, then the rest. Who comes later and
finds a name taken is called after the module as well: ``dataset`` of ``documents`` becomes
``documents_dataset``.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmms_causal.export.gathering import Gathered, target_of
from lmms_causal.export.modules import External, Global, Module, Statement

__all__ = ["Names", "name_all"]

_BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Names:
    """The new names.

    ``same`` are statements that repeat an earlier one under the same name, such as type aliases
    that several modules have.
    """

    of: Mapping[Global | External, str]
    externals: tuple[External, ...]
    same: frozenset[tuple[str, int]]


def name_all(gathered: Gathered) -> Names:
    """Choose the names of everything that was gathered."""
    hidden = _hidden_names(gathered)
    of: dict[Global | External, str] = {}
    owner: dict[str, Global | External] = {}
    aliases: dict[tuple[str, tuple[Any, ...]], Global] = {}
    same: set[tuple[str, int]] = set()

    def give(symbol: Global | External, *candidates: str) -> None:
        for candidate in candidates:
            if candidate not in owner and candidate not in hidden.get(symbol, ()):
                of[symbol], owner[candidate] = candidate, symbol
                return
        give(symbol, f"{candidates[-1]}_")

    for root in gathered.roots:
        give(root, *_candidates(root))
    externals = tuple(_externals(gathered))
    for external in externals:
        stem = external.module.replace(".", "_")
        give(external, external.alias, f"{stem}_{external.name or 'module'}")
    for place, (module, statement) in zip(gathered.places, gathered.statements(), strict=True):
        meaning = _alias(module, statement)
        for name in statement.names:
            symbol = Global(module.name, name)
            twin = aliases.get((name, meaning)) if meaning else None
            if twin is not None and of[twin] not in hidden.get(symbol, ()):
                of[symbol] = of[twin]
                same.add(place)
            elif symbol not in of:
                give(symbol, *_candidates(symbol))
                if meaning:
                    aliases[name, meaning] = symbol
    return Names(of, externals, frozenset(same))


def _candidates(symbol: Global) -> Iterator[str]:
    if symbol.name not in _BUILTINS:
        yield symbol.name
    private, name = symbol.name.startswith("_"), symbol.name.lstrip("_")
    *_, package, stem = symbol.module.split(".")
    for prefix in (stem, f"{package}_{stem}"):
        prefix = prefix.upper() if name.isupper() else prefix
        if name[:1].isupper() and not name.isupper():
            prefix = "".join(part.capitalize() for part in prefix.split("_"))
            yield f"{'_' * private}{prefix}{name}"
        else:
            yield f"{'_' * private}{prefix}_{name}"


def _externals(gathered: Gathered) -> Iterator[External]:
    found: dict[External, None] = {}
    for module, statement in gathered.statements():
        for reference in statement.references:
            target = target_of(module, reference)
            if isinstance(target, External):
                found[target] = None
    yield from found


def _hidden_names(gathered: Gathered) -> dict[Global | External, set[str]]:
    """For each symbol the names of locals at the places where it is used.

    A name a symbol has in its own module is free there, but may be some local's elsewhere.
    """
    hidden: dict[Global | External, set[str]] = {}
    for module, statement in gathered.statements():
        for reference in statement.references:
            target = target_of(module, reference)
            if target is not None:
                hidden.setdefault(target, set()).update(reference.local_names)
    return hidden


def _alias(module: Module, statement: Statement) -> tuple[Any, ...] | None:
    """What a statement such as ``Doc = Mapping[str, Any]`` means, else None."""
    node = statement.node
    if not isinstance(node, ast.Assign) or len(statement.names) != 1:
        return None
    type_variable = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "TypeVar"
    if not (isinstance(node.value, ast.Subscript) or type_variable):
        return None
    own = statement.names[0]
    used = [reference for reference in statement.references if reference.name != own]
    targets = [target_of(module, reference) for reference in used]
    if any(isinstance(target, Global) for target in targets):
        return None
    return ast.dump(node.value), *targets
