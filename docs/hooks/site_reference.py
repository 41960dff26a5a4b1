"""The reference: a page for each package, which mkdocstrings fills from the docstrings.

Packages are read, not imported, so building the site needs none of our dependencies.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["copy_sources", "reference"]

_FOLDERS = {
    "lmms_causal": "lmms_causal",
    "lmms_causal.tasks": "tasks",
    "lmms_causal.interventions": "interventions",
    "lmms_causal.kernels": "kernels",
}
_LEFT_OUT = ("lmms_causal.commands", "lmms_causal.interventions.methods")
"""Commands explain themselves with ``--help``; methods have pages of their own."""

_ROLE = re.compile(r":(?:\w+:)+`~?([^`]+)`")
_ANNOUNCED = re.compile(r"(?<=[\w`)])::\n\n")
_SESSION = re.compile(r'^( *)>>> .*\n(?:\1(?!""").*\S.*\n)*', re.MULTILINE)


def copy_sources(root: Path, folder: Path) -> None:
    """Copy all modules to where their import names say.

    What Markdown would misread in docstrings is put in its terms: references and sessions are code.
    """
    for module, path in _modules(root):
        target = folder / Path(*module.split("."))
        target = target / "__init__.py" if path.name == "__init__.py" else target.with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = _ROLE.sub(r"`\1`", path.read_text(encoding="utf-8"))
        text = _ANNOUNCED.sub(":\n\n", text)
        text = _SESSION.sub(r"\1```pycon\n\g<0>\1```\n", text)
        target.write_text(text, encoding="utf-8")


def reference(root: Path) -> dict[str, str]:
    """File name to text of the reference's pages."""
    packages: dict[str, list[str]] = {}
    for module, path in _modules(root):
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        if not package.startswith(_LEFT_OUT) and not _is_benchmark(package):
            packages.setdefault(package, [])
            if _public(path):
                packages[package].append(module)
    return {
        f"{package}.md": "\n\n".join([f"# {package}", *(f"::: {name}" for name in modules)]) + "\n"
        for package, modules in sorted(packages.items())
        if modules
    }


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Import name and file of every module, packages before what is in them."""
    for name, folder in _FOLDERS.items():
        for path in sorted(root.joinpath(folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            if any(part.startswith("_") and part != "__init__" for part in parts):
                continue
            if path.parent != root / folder and not (path.parent / "__init__.py").is_file():
                continue
            inner = parts[:-1] if parts[-1] == "__init__" else parts
            yield ".".join([name, *inner]), path


def _public(path: Path) -> bool:
    """Whether a module says what of it is public, or is a package that explains itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    explained = path.name == "__init__.py" and ast.get_docstring(tree) is not None
    return "__all__" in names or explained


def _is_benchmark(package: str) -> bool:
    """Whether it is one benchmark's own package, which has a page under Benchmarks."""
    return package.startswith("lmms_causal.tasks.")
