"""``lmms-causal interventions``: the methods there are, their parameters, defaults and pages."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.interventions import registry
from lmms_causal.interventions.spec import parse

__all__ = ["add_parser", "pages", "write"]

_EPILOG = """\
examples:
  lmms-causal interventions
  lmms-causal interventions 're2+vcd(alpha=0.5;beta=0.1)'

Exit code: 0, or 2 if there is no such intervention or a parameter is wrong.
"""

_WIDTH = max(map(len, registry.names()))


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "interventions",
        help="list the interventions, or explain one",
        description="List the interventions, or explain one and check its parameters.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", nargs="?", help="a method, or a whole spec to check; without it: list them"
    )
    parser.add_argument(
        "--write",
        metavar="DIR",
        type=Path,
        help="write a page for every method and their index, as in docs/interventions",
    )
    parser.set_defaults(run=_run)


def pages() -> dict[str, str]:
    """Return all pages by file name; builds a tiny model of each family.

    Raises:
        UserError: a method's docstrings lack something; the message names its file.
    """
    from lmms_causal.method_pages import index, page

    made = {f"{name}.md": page(name) for name in registry.names()}  # before any model is built
    from lmms_causal.method_support import obstacles_by_family

    return {**made, "README.md": index(obstacles_by_family())}


def write(folder: Path) -> list[Path]:
    """Write all pages, and delete those of methods that are gone.

    Raises:
        UserError: as :func:`pages`; the folder cannot be written to.
    """
    from lmms_causal.method_pages import MARKER

    made = pages()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.md"):
            if old.name not in made and old.read_text(encoding="utf-8").startswith(MARKER):
                old.unlink()
        for name, text in made.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--write {folder}: cannot be written ({error.strerror})") from None
    return [folder / name for name in made]


def _run(arguments: argparse.Namespace) -> int:
    if arguments.write is not None:
        if arguments.name is not None:
            raise UserError(f"--write writes all pages; leave out {arguments.name!r}")
        print(f"{len(write(arguments.write))} pages written to {arguments.write}")
        return 0
    if arguments.name is None:
        for name in registry.names():
            module = inspect.getmodule(registry.get(name))
            print(f"{name:{_WIDTH}} {(inspect.getdoc(module) or '').splitlines()[0]}")
        return 0
    spec = parse(arguments.name)
    for method in spec.methods:
        print(inspect.getdoc(inspect.getmodule(type(method))), end="\n\n")
        print(inspect.getdoc(type(method)), end="\n\n")
    print(f"interventions={spec}")
    return 0
