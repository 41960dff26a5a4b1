"""A module of ours as a list of top-level statements: what each binds and what it refers to."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

from lmms_causal.errors import UserError
from lmms_causal.export.references import Reference, bound_names, references

__all__ = ["External", "Global", "Module", "Statement", "Target", "Whole", "read"]

PACKAGE = "lmms_causal"


@dataclass(frozen=True)
class Global:
    """A global name of a module of ours."""

    module: str
    name: str


@dataclass(frozen=True)
class External:
    """What an import of another package binds: a module, or (with ``name``) something in it."""

    module: str
    name: str | None
    alias: str


@dataclass(frozen=True)
class Whole:
    """A module of ours itself, as in ``from lmms_causal.tasks import options``."""

    module: str


Target = Global | External | Whole


@dataclass(frozen=True)
class Statement:
    """A top-level statement with the comments above it and the docstring under it.

    ``first`` and ``last`` are its lines, 1-based, both included.
    """

    node: ast.stmt
    first: int
    last: int
    names: tuple[str, ...]
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Module:
    """A module of ours, read and taken apart; imports and ``__all__`` are not among its statements.

    ``needs`` are the modules of ours that it imports when it is loaded, ``dotted`` those of others
    that it imports as ``import urllib.error``, which binds ``urllib``.
    """

    name: str
    path: Path
    source: str
    doc: str
    statements: tuple[Statement, ...]
    imports: dict[str, Target]
    needs: tuple[str, ...]
    dotted: tuple[str, ...]

    @cached_property
    def binding(self) -> dict[str, tuple[int, ...]]:
        """The indices of the statements that bind a name."""
        found: dict[str, tuple[int, ...]] = {}
        for index, statement in enumerate(self.statements):
            for name in statement.names:
                found[name] = (*found.get(name, ()), index)
        return found

    @property
    def stem(self) -> str:
        """The module's own name, without its package's."""
        return self.name.rpartition(".")[2]


@cache
def read(name: str) -> Module:
    """Read a module of ours by its dotted name.

    Raises:
        UserError: there is no such module, or it imports in a form that cannot be gathered.
    """
    path = _file_of(name)
    if path is None:
        raise UserError(f"there is no module {name}; a task file names a function in it")
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    imports: dict[str, Target] = {}
    needs: list[str] = []
    statements: list[Statement] = []
    lines = source.splitlines()
    for number, node in enumerate(tree.body):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound = _imported(name, node)
            imports.update(bound)
            needs += [
                target.module for target in bound.values() if not isinstance(target, External)
            ]
        elif _is_type_checking(node):
            for inner in node.body:  # type: ignore[attr-defined]
                imports.update(_imported(name, inner))
        elif docstring and statements and number:
            statements[-1] = replace(statements[-1], last=node.end_lineno or node.lineno)
        elif not docstring and "__all__" not in bound_names([node]):
            statements.append(_statement(node, lines))
    doc = ast.get_docstring(tree) or ""
    plain = [node for node in tree.body if isinstance(node, ast.Import)]
    aliases = [alias for node in plain for alias in node.names if not alias.asname]
    dotted = tuple(alias.name for alias in aliases if "." in alias.name)
    return Module(name, path, source, doc, tuple(statements), imports, tuple(needs), dotted)


def _file_of(name: str) -> Path | None:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def is_ours(node: ast.ImportFrom) -> bool:
    """Whether an import is from a module of this package."""
    return not node.level and (node.module or "").partition(".")[0] == PACKAGE


def imported_from(node: ast.ImportFrom) -> dict[str, Target]:
    """What an import from a module of ours binds."""
    bound: dict[str, Target] = {}
    for alias in node.names:
        module = f"{node.module}.{alias.name}"
        whole = _file_of(module) is not None
        bound[alias.asname or alias.name] = (
            Whole(module) if whole else Global(str(node.module), alias.name)
        )
    return bound


def _imported(module: str, node: ast.stmt) -> dict[str, Target]:
    names = getattr(node, "names", ())
    if isinstance(node, ast.ImportFrom):
        if node.module == "__future__":
            return {}
        if node.level or any(alias.name == "*" for alias in names):
            raise UserError(f"{module} imports relatively or with a star; name what it imports")
        if is_ours(node):
            return imported_from(node)
        return {
            alias.asname or alias.name: External(
                str(node.module), alias.name, alias.asname or alias.name
            )
            for alias in names
        }
    if not isinstance(node, ast.Import):
        raise UserError(f"{module} has more than imports under `if TYPE_CHECKING`; move it out")
    if any(alias.name.partition(".")[0] == PACKAGE for alias in names):
        raise UserError(f"{module} imports {PACKAGE} as a whole; use `from ... import ...`")
    bound: dict[str, Target] = {}
    for alias in names:
        name = alias.asname or alias.name.partition(".")[0]
        bound[name] = External(alias.name if alias.asname else name, None, name)
    return bound


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _statement(node: ast.stmt, lines: list[str]) -> Statement:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return Statement(
        node,
        first,
        node.end_lineno or node.lineno,
        tuple(dict.fromkeys(bound_names([node]))),
        tuple(references(node, is_ours)),
    )
