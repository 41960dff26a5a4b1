"""Files that a module reads from beside itself, and where they are in an exported folder.

Two forms are known: ``Path(__file__).with_name("manifest.jsonl")`` stays as it is, and prompts move
from ``<benchmark>/prompts/`` to ``prompts/<benchmark>/``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from lmms_causal.errors import UserError
from lmms_causal.export.edits import Edits
from lmms_causal.export.gathering import Gathered, target_of
from lmms_causal.export.modules import Global, Module, Statement
from lmms_causal.tasks import __path__ as _tasks_path

__all__ = ["files_read", "swap_prompts"]

_HERE = "Path(__file__)"
_PROMPTS = "Path(__file__).parent / benchmark / 'prompts'"
_TEMPLATE = Global("lmms_causal.tasks.prompts", "template")


def files_read(gathered: Gathered) -> dict[str, Path]:
    """The files that gathered statements read: where each goes in the folder, and where it is.

    Raises:
        UserError: a file that is found in another way, is not there, or two that go to one place.
    """
    files: dict[str, Path] = {}
    for module, statement in gathered.statements():
        for target, source in _of_statement(module, statement):
            if not source.is_file():
                raise UserError(f"{module.path.name} reads {source}, which is not there")
            if files.setdefault(target, source) != source:
                raise UserError(f"{files[target]} and {source} would both become {target}")
    return files


def swap_prompts(edits: Edits, statement: ast.stmt) -> None:
    """Let the folder of prompts be the one an export has."""
    for node in ast.walk(statement):
        if isinstance(node, ast.BinOp) and ast.unparse(node) == _PROMPTS:
            edits.replace(node, 'Path(__file__).parent / "prompts" / benchmark')


def _of_statement(module: Module, statement: Statement) -> Iterator[tuple[str, Path]]:
    folder = module.path.parent
    known = 0
    for node in ast.walk(statement.node):
        if isinstance(node, ast.BinOp) and ast.unparse(node) == _PROMPTS:
            known += 1
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == f"{_HERE}.with_name":
            known += 1
            if not isinstance(node.args[0], ast.Constant):
                raise UserError(f"{module.path.name}, line {node.lineno}: name the file literally")
            yield str(node.args[0].value), folder / str(node.args[0].value)
        elif isinstance(node, ast.Call):
            yield from _prompts(module, statement, node)
    names = [node for node in ast.walk(statement.node) if isinstance(node, ast.Name)]
    uses = [node for node in names if node.id == "__file__"]
    if len(uses) != known:
        raise UserError(
            f"{module.path.name}, line {uses[0].lineno} finds a file in a way that an export does "
            f"not know; use {_HERE}.with_name(...) or the prompts folder"
        )


def _prompts(module: Module, statement: Statement, node: ast.Call) -> Iterator[tuple[str, Path]]:
    """The prompts that a call of ``template`` may read: one, or all of its benchmark."""
    called = [used for used in statement.references if used.node is node.func]
    if not called or target_of(module, called[0]) != _TEMPLATE:
        return
    given = [str(value.value) if isinstance(value, ast.Constant) else "" for value in node.args]
    benchmark = given[0] if given and given[0] else module.name.split(".")[2]
    name = given[1] if len(given) > 1 and given[1] else "*"
    for source in sorted((Path(_tasks_path[0]) / benchmark / "prompts").glob(f"{name}.j2")):
        yield f"prompts/{benchmark}/{source.name}", source
