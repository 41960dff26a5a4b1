"""``lmms-causal stubs``: files in lmms-eval's own folder, for the commands that read nothing else.

``lmms-eval tasks``, ``lmms-eval power``, its terminal and web interface and the listing of its
server do not load model plug-ins, and so do not learn of our folder. A stub is a file of two lines
that includes ours. It is written only when asked for, and removed with the same command.
"""

from __future__ import annotations

import argparse
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from lmms_causal.errors import UserError
from lmms_causal.tasks import roots

__all__ = ["add_parser", "install", "remove", "stub_folder"]

_EPILOG = """\
example:
  lmms-causal stubs install && lmms-eval tasks list

Exit code: 0, or 2 if lmms-eval is not installed or its folder cannot be written to.
"""

_MARKER = (
    "# written by `lmms-causal stubs install`; `lmms-causal stubs remove` deletes this folder\n"
)


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "stubs",
        help="let `lmms-eval tasks`, `power`, the TUI and the server list our tasks",
        description="Write small files into lmms-eval's own folder that include ours, for the "
        "commands that read nothing else, or delete them again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "action", choices=["install", "remove"], help="write the files, or delete them"
    )
    parser.set_defaults(run=_run)


def stub_folder() -> Path:
    """Return the folder of our stubs inside the installed lmms-eval."""
    spec = find_spec("lmms_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("lmms-eval is not installed in this environment; pip install lmms-eval")
    return Path(spec.submodule_search_locations[0]) / "tasks" / "_lmms_causal"


def install() -> list[str]:
    """Write a stub for every task and group; return their names.

    Raises:
        UserError: the folder of lmms-eval cannot be written to.
    """
    folder = stub_folder()
    remove()
    names = []
    try:
        folder.mkdir()
        for source in sorted(roots("lmms-eval").rglob("*.yaml")):
            head = _head(source)
            if head is None:
                continue
            kind, name = head
            text = (
                source.read_text()
                if kind == "group"
                else yaml.safe_dump({"task": name, "include": str(source)}, sort_keys=False)
            )
            (folder / f"{name}.yaml").write_text(_MARKER + text)
            names.append(name)
    except OSError as error:
        raise UserError(f"cannot write stubs into {folder}: {error}") from None
    return names


def remove() -> bool:
    """Delete our stubs; return whether there were any."""
    folder = stub_folder()
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True


def _head(source: Path) -> tuple[str, str] | None:
    """Whether a file declares a group or a task, and its name; None for a file of shared keys."""
    for line in source.read_text().splitlines():
        for kind in ("group", "task"):
            if line.startswith(f"{kind}:") and line.partition(":")[2].strip():
                return kind, line.partition(":")[2].strip().strip("\"'")
    return None


def _run(arguments: argparse.Namespace) -> int:
    if arguments.action == "install":
        names = install()
        print(f"{len(names)} stubs written to {stub_folder()}")
    else:
        print("stubs removed" if remove() else "there were no stubs")
    return 0
