"""``lmms-causal interventions``: the methods there are, their parameters and defaults."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from lmms_causal.interventions import registry
from lmms_causal.interventions.spec import parse

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("interventions", help="list the interventions, or explain one")
    parser.add_argument("name", nargs="?", help="a method, or a whole spec to check")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        for name in registry.names():
            module = inspect.getmodule(registry.get(name))
            print(f"{name:10} {(inspect.getdoc(module) or '').splitlines()[0]}")
        return 0
    spec = parse(arguments.name)
    for method in spec.methods:
        print(inspect.getdoc(inspect.getmodule(type(method))), end="\n\n")
        print(inspect.getdoc(type(method)), end="\n\n")
    print(f"interventions={spec}")
    return 0
