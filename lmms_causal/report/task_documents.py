"""Questions and pictures of documents from the installed tasks, which samples files do not hold."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

import lmms_causal.tasks
from lmms_causal.compare.records import Sample

__all__ = ["TaskDocuments"]


class TaskDocuments:
    """The documents of one of this package's tasks, made as lmms-eval makes them.

    Attributes:
        problem: Why there are none, in one line; "" when there are.
    """

    def __init__(self, task: str) -> None:
        self.problem = ""
        self._by_id: dict[str, Mapping[str, Any]] = {}
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._visual: Callable[[Any], Sequence[Image.Image]] | None = None
        self._text: str | Callable[[Any], str] | None = None
        file = _file_of(task)
        if file is None:
            self.problem = "not a task of this package"
            return
        try:
            self._load(file)
        except (Exception, SystemExit) as error:  # under a command line, tasks exit
            # The page is worth having without pictures: data may be absent where it is made.
            self.problem = _line(error)

    def question(self, sample: Sample) -> str:
        """What the document asks; "" when that is not known."""
        document = self._document(sample)
        if document is None or self._text is None:
            return ""
        if isinstance(self._text, str):
            return str(document.get(self._text, ""))
        try:
            return str(self._text(document))
        except Exception:
            return ""  # it needs arguments of a model

    def pictures(self, sample: Sample) -> Sequence[Image.Image]:
        """The document's pictures; files that are no pictures (videos) are left out."""
        document = self._document(sample)
        if document is None or self._visual is None:
            return []
        try:
            found = self._visual(document)
        except (Exception, SystemExit) as error:
            self.problem = _line(error)
            return []
        return [picture for picture in found if isinstance(picture, Image.Image)]

    def _document(self, sample: Sample) -> Mapping[str, Any] | None:
        """The document with the sample's id; rows are not trusted where there are ids."""
        if sample.key is not None:
            return self._by_id.get(sample.key)
        return self._rows[sample.doc_id] if sample.doc_id < len(self._rows) else None

    def _load(self, file: Path) -> None:
        import datasets

        config = _load(file)
        split = config["test_split"]
        files = config["dataset_kwargs"]["data_files"][split]
        rows = datasets.load_dataset(
            "json", data_files={split: str(_relative_to(file, files))}, split=split
        )
        process = config.get("process_docs")
        self._rows = rows if process is None else _function(process)(rows)
        visual, text = config.get("doc_to_visual"), config.get("doc_to_text")
        self._visual = None if visual is None else _function(visual)
        self._text = _function(text) if isinstance(text, _Path) else text
        if len(self._rows) and "id" in self._rows[0]:
            self._by_id = {str(document["id"]): document for document in self._rows}


def _line(error: BaseException) -> str:
    """An error as one line, without the word that a command puts before it."""
    return (str(error).splitlines() or [type(error).__name__])[0].removeprefix("error: ")


class _Path(str):
    """A dotted path behind ``!function``."""


class _Loader(yaml.SafeLoader):
    """Reads ``!function path`` as `_Path`."""


_Loader.add_constructor("!function", lambda loader, node: _Path(loader.construct_scalar(node)))


def _file_of(task: str) -> Path | None:
    """The task file of lmms-eval; names are those of the files."""
    for base in lmms_causal.tasks.__path__:
        for file in Path(base, "for_lmms_eval").rglob(f"{task}.yaml"):
            return file
    return None


def _load(file: Path) -> dict[str, Any]:
    """A task file with what it includes; the including file wins."""
    config = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    includes = config.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in [includes] if isinstance(includes, str) else includes:
        merged.update(_load(file.parent / name))
    return merged | config


def _relative_to(file: Path, name: str) -> Path:
    """The data file, which is named from the folder of the task file, or of an included one."""
    return (file.parent / name).resolve()


def _function(path: Any) -> Callable[[Any], Any]:
    module, _, name = str(path).rpartition(".")
    return getattr(importlib.import_module(module), name)
