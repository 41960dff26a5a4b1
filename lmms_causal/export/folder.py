"""The export itself: a folder of task files, one module of Python, data files and a README."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lmms_causal import __version__
from lmms_causal.errors import UserError
from lmms_causal.export.gathering import gather, root_of
from lmms_causal.export.names import name_all
from lmms_causal.export.paths import files_read
from lmms_causal.export.readme import page
from lmms_causal.export.rendering import render
from lmms_causal.export.task_files import TaskFile, choose, rewritten
from lmms_causal.tasks import __path__ as _tasks_path

__all__ = ["Exported", "export"]

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What pip calls a package, where that is not the name that is imported."""

MODULE = "utils"
"""The module beside the task files; both harnesses call it that."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote: the folder, its files, its tasks and groups."""

    folder: Path
    files: tuple[str, ...]
    tasks: tuple[str, ...]
    groups: tuple[str, ...]
    packages: tuple[str, ...]
    """What pip calls that which the code imports besides Python's own library."""


def export(name: str, harness: str, folder: Path, *, everything: bool = False) -> Exported:
    """Write a task or group of ours as a folder that needs nothing of ours.

    The folder works where the harness has its own tasks, and anywhere with ``--include_path``.

    Args:
        name: a task or group.
        harness: ``lmms-eval`` or ``lm-eval``.
        folder: where to; it may be there if it is empty.
        everything: all tasks and groups of the benchmark that has the name.

    Raises:
        UserError: no such task in that harness, a folder with something in it, or code that cannot
            be cut out of this package. Then nothing is written.
    """
    files = choose(name, harness, everything=everything)
    _require_empty(folder)
    with tempfile.TemporaryDirectory() as scratch:
        made = _write(Path(scratch), name, harness, files)
        try:
            shutil.copytree(scratch, folder, dirs_exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error}") from None
    return replace(made, folder=folder)


def _write(folder: Path, name: str, harness: str, files: tuple[TaskFile, ...]) -> Exported:
    """Write everything into a folder."""
    dotted = dict.fromkeys(place.value for file in files for place in file.functions)
    own = [function for function in dotted if function.startswith("lmms_causal.")]
    gathered = gather(own)
    names = name_all(gathered)
    source = render(gathered, names, _docstring(name, harness))
    functions = {function: function for function in dotted}  # the harness's own stay
    functions |= {function: f"{MODULE}.{names.of[root_of(function)]}" for function in own}
    contents = {file.path.name: rewritten(file, functions) for file in files}
    if own:
        contents[f"{MODULE}.py"] = source
    tasks = tuple(file.name for file in files if file.name and not file.is_group)
    groups = tuple(file.name for file in files if file.name and file.is_group)
    packages = _packages(source)
    readme = Path(_tasks_path[0]) / files[0].benchmark / "README.md"
    contents["README.md"] = page(
        readme.read_text(encoding="utf-8") if readme.is_file() else f"# {name}\n",
        name=name,
        harness=harness,
        groups=groups,
        tasks=tasks,
        packages=packages,
    )
    for target, text in contents.items():
        (folder / target).write_text(text, encoding="utf-8")
    copied = files_read(gathered)
    for file in files:
        for place in file.data_files:
            copied.setdefault(Path(place.value).name, file.path.parent / place.value)
    for target, path in copied.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / target)
    if own:
        _require_loadable(folder / f"{MODULE}.py", functions)
    written = tuple(sorted({*contents, *copied}))
    return Exported(folder, written, tasks, groups, packages)


def _docstring(name: str, harness: str) -> str:
    return f"""What the {harness} task files of {name} name: documents, pictures, prompts, scores.

One module, because the harness runs it by its path, where relative imports have no package to refer
to. Made by lmms-causal {__version__}; the parts carry the names of the modules they are from."""


def _require_empty(folder: Path) -> None:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        what = "is a file" if folder.is_file() else "is not empty"
        raise UserError(f"{folder} {what}; name a folder that is empty or not there")


def _packages(source: str) -> tuple[str, ...]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    modules = found - sys.stdlib_module_names
    return tuple(sorted(_DISTRIBUTIONS.get(it, it.replace("_", "-")) for it in modules))


def _require_loadable(path: Path, functions: dict[str, str]) -> None:
    """Run the module as a harness does, and see that all that task files name is there.

    Raises:
        UserError: it is not.
    """
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(
            f"the exported {path.name} does not load ({type(error).__name__}: {error}); this is a "
            "fault of the export, please report it with the task's name"
        ) from error
    finally:
        sys.dont_write_bytecode = before
    for function in functions.values():
        where, _, name = function.rpartition(".")
        assert where != MODULE or hasattr(module, name), f"{path.name} lacks {name}"
