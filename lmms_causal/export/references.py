"""Which names in a statement are globals of its module, by Python's rules of scope.

Names are looked up from the innermost function outwards; a class body is seen by itself only. What
is left is a global (or a builtin). An import of ours inside a function binds no local: the name
stands for what is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Reference", "bound_names", "references"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, *_COMPREHENSIONS)


@dataclass(frozen=True)
class Reference:
    """One use of a global name, or of an attribute of an imported module of ours."""

    name: str
    """The name as written; of ``module.attribute`` the first part."""

    attribute: str | None
    """The second part, if an attribute is taken."""

    node: ast.expr
    """What is written: the name, or the whole of ``module.attribute``."""

    imported: ast.ImportFrom | None
    """The import inside a function that the name comes from."""

    local_names: frozenset[str]
    """Names that mean something else here and so cannot be what the reference is renamed to."""

    text: ast.JoinedStr | None
    """The f-string around it: before Python 3.12 places inside one are not to be relied on."""

    annotation: ast.expr | None
    """The annotation it is part of, where that is evaluated when the module is loaded."""


@dataclass
class _Frame:
    node: ast.AST
    local_names: set[str] = field(default_factory=set)
    imports: dict[str, ast.ImportFrom] = field(default_factory=dict)


def bound_names(nodes: list[ast.stmt]) -> Iterator[str]:
    """The names that these statements bind in their own scope."""
    for node in _in_scope(nodes):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield node.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def references(statement: ast.stmt, ours: Callable[[ast.ImportFrom], bool]) -> list[Reference]:
    """The uses of global names in a top-level statement.

    Args:
        statement: a statement of a module.
        ours: whether an import is of a module that is to be gathered.
    """
    visitor = _Visitor(ours)
    visitor.visit(statement)
    return visitor.found


def _in_scope(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes that belong to the scope itself; of an inner scope only its head."""
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, _SCOPES):
            waiting.extend(ast.iter_child_nodes(node))


class _Visitor(ast.NodeVisitor):
    def __init__(self, ours: Callable[[ast.ImportFrom], bool]) -> None:
        self.found: list[Reference] = []
        self._ours = ours
        self._frames: list[_Frame] = []
        self._text: ast.JoinedStr | None = None
        self._annotation: ast.expr | None = None

    def visit_Name(self, node: ast.Name) -> None:
        self._record(node, node.id, None)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            self._record(node, node.value.id, node.attr)
        else:
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        outer, self._text = self._text, self._text or node
        self.generic_visit(node)
        self._text = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all(self._defaults(node.args))
        self._inside(node, {argument.arg for argument in _arguments(node.args)}, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._inside(node, set(bound_names(node.body)), node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        self._annotated(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, _COMPREHENSIONS):
            self.visit(node.generators[0].iter)  # evaluated outside
            targets: set[str] = set()
            for generator in node.generators:
                targets |= {n.id for n in ast.walk(generator.target) if isinstance(n, ast.Name)}
            inner: list[ast.AST] = []
            for number, generator in enumerate(node.generators):
                inner += [*([generator.iter] if number else []), *generator.ifs]
            values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            self._inside(node, targets, [*inner, *values])
        else:
            super().generic_visit(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all([*node.decorator_list, *self._defaults(node.args)])
        arguments = _arguments(node.args)
        for annotation in [*(argument.annotation for argument in arguments), node.returns]:
            if annotation is not None:
                self._annotated(annotation)
        names = {argument.arg for argument in arguments} | set(bound_names(node.body))
        for inner in _in_scope(node.body):
            if isinstance(inner, (ast.Global, ast.Nonlocal)):
                names -= set(inner.names)
        self._inside(node, names, node.body)

    def _annotated(self, annotation: ast.expr) -> None:
        at_load_time = not any(isinstance(frame.node, _FUNCTIONS) for frame in self._frames)
        self._annotation = annotation if at_load_time else None
        self.visit(annotation)
        self._annotation = None

    @staticmethod
    def _defaults(arguments: ast.arguments) -> list[ast.expr]:
        return [*arguments.defaults, *(value for value in arguments.kw_defaults if value)]

    def _inside(self, node: ast.AST, names: set[str], body: Sequence[ast.AST]) -> None:
        frame = _Frame(node, set(names))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in _in_scope(node.body):
                if isinstance(inner, ast.ImportFrom) and self._ours(inner):
                    frame.imports.update({a.asname or a.name: inner for a in inner.names})
        frame.local_names -= set(frame.imports)
        self._frames.append(frame)
        self._visit_all(body)
        self._frames.pop()

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _record(self, node: ast.expr, name: str, attribute: str | None) -> None:
        imported = None
        for depth, frame in enumerate(reversed(self._frames)):
            if depth and isinstance(frame.node, ast.ClassDef):
                continue
            if name in frame.local_names:
                return
            if imported := frame.imports.get(name):
                break
        seen = [frame for frame in self._frames[:-1] if not isinstance(frame.node, ast.ClassDef)]
        inner = frozenset(n for frame in [*seen, *self._frames[-1:]] for n in frame.local_names)
        self.found.append(
            Reference(name, attribute, node, imported, inner, self._text, self._annotation)
        )


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [*named, *(extra for extra in (arguments.vararg, arguments.kwarg) if extra)]
