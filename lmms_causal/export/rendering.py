"""The gathered statements as the source of one module, their comments and docstrings kept.

The module has no postponed annotations. Harnesses run a task's ``utils.py`` before it is listed
among the loaded modules, if it ever is, and there ``dataclasses`` fails on annotations that are
strings: it looks up the class's module. Annotations are real, what they need is imported, and what
is only defined further down is quoted.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Iterator

from lmms_causal.errors import UserError
from lmms_causal.export.edits import Edits, rename_in_f_string
from lmms_causal.export.gathering import Gathered, resolve
from lmms_causal.export.modules import PACKAGE, Global, Module, Statement, is_ours
from lmms_causal.export.names import Names
from lmms_causal.export.paths import swap_prompts

__all__ = ["render"]

WIDTH = 100
_DYNAMIC = re.compile(r"\b(?:import_module|__import__|find_spec|run_module)$")


def render(gathered: Gathered, names: Names, doc: str) -> str:
    """The source of the module.

    Args:
        gathered: the statements.
        names: their names in the one namespace.
        doc: the module's docstring.

    Raises:
        UserError: something in the result would still lead back to this package.
    """
    parts = [f'"""{doc.strip()}\n"""\n', *_imports(gathered, names)]
    seen: set[str] = set()
    places = _places(gathered)
    previous: tuple[Module, Statement] | None = None
    for position, (place, (module, statement)) in enumerate(
        zip(gathered.places, gathered.statements(), strict=True)
    ):
        if place in names.same:
            continue
        if module.name not in seen:
            seen.add(module.name)
            parts.append(f"{chr(10) * (2 if len(seen) > 1 else 1)}{_heading(module)}\n")
            previous = None
        parts.append("\n" * _blank_lines(previous, module, statement))
        parts.append(_rewritten(module, statement, names, places, position))
        previous = module, statement
    source = "".join(parts)
    _verify(source)
    return source


def _places(gathered: Gathered) -> dict[Global, int]:
    places: dict[Global, int] = {}
    for position, (module, statement) in enumerate(gathered.statements()):
        for name in statement.names:
            places.setdefault(Global(module.name, name), position)
    return places


def _imports(gathered: Gathered, names: Names) -> Iterator[str]:
    """Imports in the order that isort gives them: the standard library, then the rest."""
    plain: dict[bool, list[str]] = {True: [], False: []}
    members: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
    dotted = {module for source in gathered.modules for module in source.dotted}
    for external in names.externals:
        standard = external.module.partition(".")[0] in sys.stdlib_module_names
        alias = names.of[external]
        if external.name is None:
            suffix = "" if alias == external.module else f" as {alias}"
            parts = [name for name in dotted if name.partition(".")[0] == external.alias]
            plain[standard] += [f"import {name}\n" for name in parts]
            if suffix or not parts:
                plain[standard].append(f"import {external.module}{suffix}\n")
        else:
            suffix = "" if alias == external.name else f" as {alias}"
            members[standard].setdefault(external.module, []).append(external.name + suffix)
    for standard in (True, False):
        lines = sorted(set(plain[standard]))
        for module, imported in sorted(members[standard].items()):
            line = f"from {module} import {', '.join(sorted(set(imported)))}\n"
            if len(line) > WIDTH:
                inner = "".join(f"    {name},\n" for name in sorted(set(imported)))
                line = f"from {module} import (\n{inner})\n"
            lines.append(line)
        if lines:
            yield "\n" + "".join(lines)


def _heading(module: Module) -> str:
    """A module's docstring as a comment, under a rule."""
    rule = f"# {'-' * 20} {module.stem} {'-' * (WIDTH - 24 - len(module.stem))}"
    lines = [f"# {line}".rstrip() for line in module.doc.splitlines()]
    return "\n".join([rule, *lines])


def _blank_lines(
    previous: tuple[Module, Statement] | None, module: Module, statement: Statement
) -> int:
    block = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if previous is None:
        return 2 if isinstance(statement.node, block) else 1
    before = previous[1]
    between = module.source.splitlines()[before.last : statement.first - 1]
    if not any(line.strip() for line in between):
        return len(between)
    return 2 if isinstance(before.node, block) or isinstance(statement.node, block) else 1


def _rewritten(
    module: Module, statement: Statement, names: Names, places: dict[Global, int], position: int
) -> str:
    edits = Edits(module.source, statement.first, statement.last)
    in_texts: dict[ast.JoinedStr, dict[str, str]] = {}
    annotated = [n for n in ast.walk(statement.node) if isinstance(n, ast.AnnAssign)]
    fields = {node.annotation for node in annotated}
    for reference in statement.references:
        use = resolve(module, reference)
        if use is None:
            continue
        late = isinstance(use.target, Global) and places[use.target] >= position
        if reference.annotation is not None and late:
            # Of a field only the name, or dataclasses would look the class's module up.
            edits.quote(use.node if reference.annotation in fields else reference.annotation)
        new = names.of[use.target]
        if new == use.written:
            continue
        if reference.text is not None:
            in_texts.setdefault(reference.text, {})[use.written] = new
        else:
            edits.replace(use.node, new)
    for text, renamed in in_texts.items():
        edits.replace(text, rename_in_f_string(edits.text_of(text), renamed))
    _rewrite_statements(edits, module, statement, names)
    swap_prompts(edits, statement.node)
    result = edits.result()
    return result if result.endswith("\n") else result + "\n"


def _rewrite_statements(edits: Edits, module: Module, statement: Statement, names: Names) -> None:
    """Names that are not expressions: definitions, ``global``, and imports of ours in functions."""
    node = statement.node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        new = names.of[Global(module.name, node.name)]
        if new != node.name:
            edits.rename_definition(node, node.name, new)
    renamed = {
        name: names.of[symbol]
        for name in module.binding
        if (symbol := Global(module.name, name)) in names.of and names.of[symbol] != name
    }
    for parent in ast.walk(node):
        for inner in ast.iter_child_nodes(parent):
            if isinstance(inner, ast.Global):
                edits.rename_words(inner, renamed)
            elif isinstance(inner, ast.ImportFrom) and is_ours(inner):
                if len(getattr(parent, "body", [])) > 1:
                    edits.delete(inner)
                else:
                    edits.replace(inner, "pass")


def _verify(source: str) -> None:
    """Nothing may be undefined, and nothing may be imported from this package.

    Raises:
        UserError: one of both; the message names it.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for module in _imported_by(node):
            if module.partition(".")[0] == PACKAGE:
                raise UserError(f"the exported code would still import {module}; import it by name")
    table = symtable.symtable(source, "utils.py", "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    defined |= {*dir(builtins), "__file__", "__name__"}
    missing = sorted(set(_globals_used(table)) - defined)
    if missing:
        raise UserError(f"the exported code would lack {', '.join(missing)}; define it in a module")


def _imported_by(node: ast.AST) -> list[str]:
    """The modules that a node imports or, going by its text, looks for."""
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.Call) and _DYNAMIC.search(ast.unparse(node.func)):
        constants = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
        return [value for value in constants if isinstance(value, str)]
    return []


def _globals_used(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _globals_used(inner)
