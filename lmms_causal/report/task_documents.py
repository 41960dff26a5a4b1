"""Questions and pictures of documents from the installed tasks, which samples files do not hold.

A page is worth having without them: data may be absent where it is made, or a task may need a
model's arguments. What could not be had is kept as a reason, which the page tells its reader.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

import lmms_causal.tasks
from lmms_causal.compare.records import Sample

__all__ = ["NOT_OURS", "TaskDocuments"]

#: The problem of tasks that are not this package's.
NOT_OURS = "not a task of this package"
#: How functions end that give a blind or textual task no picture.
_NOTHING_TO_SEE = (".no_picture", ".no_video")


class TaskDocuments:
    """The documents of one of this package's tasks, made as lmms-eval makes them, when asked for.

    Attributes:
        problem: Why there are no documents, in one line; "" when there are.
        failures: What could not be made of some documents ("questions", "pictures") to how many
            and the first reason.
    """

    def __init__(self, task: str) -> None:
        self.problem = ""
        self.failures: dict[str, tuple[int, str]] = {}
        self._config: dict[str, Any] | None = None  # until documents are asked for
        self._by_id: dict[str, Mapping[str, Any]] = {}
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._text: str | None = None
        self._visual: str | None = None
        file = _file_of(task)
        if file is None:
            self.problem = NOT_OURS
            return
        self._file = file
        self._config = _configuration(file)
        self._text = self._config.get("doc_to_text")
        self._visual = self._config.get("doc_to_visual")

    def question(self, sample: Sample) -> str:
        """What the document asks; "" when that is not known."""
        document = self._document(sample)
        if document is None or self._text is None:
            return ""
        if not isinstance(self._text, _Path):
            return str(document.get(self._text) or "")
        return str(self._made("questions", self._text, document) or "")

    def pictures(self, sample: Sample) -> Sequence[Image.Image]:
        """The document's pictures; files that are no pictures (videos) are left out."""
        # Documents are not made, and maybe downloaded, to learn that there is nothing to see.
        if self.problem or self._visual is None or self._visual.endswith(_NOTHING_TO_SEE):
            return []
        document = self._document(sample)
        found = None if document is None else self._made("pictures", self._visual, document)
        return [picture for picture in found or () if isinstance(picture, Image.Image)]

    def _made(self, what: str, path: str, document: Mapping[str, Any]) -> Any:
        """What a function of the task makes of a document; None, and a reason, when it fails."""
        try:
            return _function(path)(document)
        except (Exception, SystemExit) as error:
            count, reason = self.failures.get(what, (0, _line(error)))
            self.failures[what] = (count + 1, reason)
            return None

    def _document(self, sample: Sample) -> Mapping[str, Any] | None:
        """The document with the sample's id; rows are not trusted where there are ids."""
        if self._config is not None:
            config, self._config = self._config, None
            try:
                self._load(config)
            except (Exception, SystemExit) as error:  # under a command line, tasks exit
                self.problem = _line(error)
        if sample.key is not None:
            return self._by_id.get(sample.key)
        return self._rows[sample.doc_id] if 0 <= sample.doc_id < len(self._rows) else None

    def _load(self, config: Mapping[str, Any]) -> None:
        import datasets

        split = config["test_split"]
        # Data files are named from the folder of the task file.
        file = (self._file.parent / config["dataset_kwargs"]["data_files"][split]).resolve()
        rows = datasets.load_dataset("json", data_files={split: str(file)}, split=split)
        process = config.get("process_docs")
        self._rows = rows if process is None else _function(process)(rows)
        if len(self._rows) and "id" in self._rows[0]:
            self._by_id = {str(document["id"]): document for document in self._rows}


def _line(error: BaseException) -> str:
    """An error as one line, without the word that a command puts before it."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return text.removeprefix("error: ") or type(error).__name__


class _Path(str):
    """A dotted path behind ``!function``."""


class _Loader(yaml.SafeLoader):
    """Reads ``!function path`` as `_Path`."""


_Loader.add_constructor("!function", lambda loader, node: _Path(loader.construct_scalar(node)))


def _file_of(task: str) -> Path | None:
    """The task file of lmms-eval; names are those of the files."""
    for base in lmms_causal.tasks.__path__:
        for file in sorted(Path(base, "for_lmms_eval").rglob("*.yaml")):
            if file.stem == task:
                return file
    return None


def _configuration(file: Path) -> dict[str, Any]:
    """A task file with what it includes; the including file wins."""
    config = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    includes = config.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in [includes] if isinstance(includes, str) else includes:
        merged.update(_configuration(file.parent / name))
    return merged | config


def _function(path: Any) -> Callable[[Any], Any]:
    module, _, name = str(path).rpartition(".")
    return getattr(importlib.import_module(module), name)
