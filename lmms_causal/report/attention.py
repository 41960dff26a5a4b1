"""Attention overlays from the folders that ``lmms-causal attend --output`` wrote."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.report.documents import Document, Table
from lmms_causal.report.names import Named
from lmms_causal.report.pictures import Album

__all__ = ["check_folder", "overlay", "place_overlays"]

#: Colours from no attention to the most, dark to light: brightness alone tells them apart.
_COLOURS = np.array(
    [(11, 10, 60), (92, 18, 110), (187, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64
)
#: What `attend.writing.file_name` replaces; importing that would load torch.
_UNSAFE = re.compile(r"[^\w.-]+")


def check_folder(folder: Path) -> dict[str, Any]:
    """Return what ``summary.json`` of an attend folder says.

    Raises:
        UserError: It is not such a folder.
    """
    file = folder / "summary.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        found["model"], found["interventions"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"--attention {folder}: holds no summary.json of `lmms-causal attend --output`"
        ) from None
    return found


def place_overlays(
    folders: Sequence[Path], table: Table, runs: Sequence[Named], album: Album
) -> list[str]:
    """Lay the maps of attend folders over the documents they are of; returns remarks.

    A folder belongs to the run with its model and interventions. A trace belongs to the document
    whose id (or TASK/ROW) is the trace's.

    Raises:
        UserError: A folder of none of the runs, or without a map of any document.
    """
    by_id: dict[str, list[Document]] = {}
    for document in table.documents:
        sample = document.sample
        for name in (sample.key, f"{sample.task}/{sample.doc_id}"):
            if name is not None:
                by_id.setdefault(name, []).append(document)
    remarks = []
    for folder in folders:
        run = _run_of(folder, check_folder(folder), runs)
        laid = left = 0
        for name, record, weights in _maps(folder):
            for document in by_id.get(name, ()):
                index = album.add(overlay(weights))
                if index is None:
                    left += 1
                    continue
                document.heat[run] = (index, bool(record.get("cropped")), _said(weights))
                laid += 1
        if not laid and not left:
            raise UserError(
                f"--attention {folder}: no map of a document compared; give documents their "
                "task's ids, and have the statistic heat made"
            )
        if left:
            remarks.append(
                f"{left} attention maps of {runs[run].key} are left out, to keep the page small"
            )
    return remarks


def overlay(weights: NDArray[np.floating[Any]]) -> Image.Image:
    """A map ``[h, w]`` as a picture of as many pixels: brighter and more opaque is more."""
    low, high = float(weights.min()), float(weights.max())
    share = (weights - low) / (high - low) if high > low else np.zeros_like(weights)
    places = share * (len(_COLOURS) - 1)
    index = np.minimum(places.astype(int), len(_COLOURS) - 2)
    part = (places - index)[..., None]
    colours = _COLOURS[index] * (1 - part) + _COLOURS[index + 1] * part
    alpha = (255 * (0.35 + 0.65 * share))[..., None]
    return Image.fromarray(np.concatenate([colours, alpha], axis=-1).round().astype(np.uint8))


def _run_of(folder: Path, summary: dict[str, Any], runs: Sequence[Named]) -> int:
    model, spec = str(summary["model"]), str(summary["interventions"] or "none")
    for index, named in enumerate(runs):
        loaded = named.run.model_args.get("pretrained")
        if (named.run.interventions or "none") == spec and loaded in (None, model):
            return index
    raise UserError(
        f"--attention {folder}: is of {model} under {spec}, which is none of the runs compared"
    )


def _maps(folder: Path) -> list[tuple[str, dict[str, Any], NDArray[np.floating[Any]]]]:
    """Trace, record of ``heat``, and its map ``[h, w]`` averaged over layers.

    Raises:
        UserError: A file of the folder is missing or cut off.
    """
    found = []
    try:
        for line in (folder / "traces.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            record, name = row.get("heat"), str(row["trace_id"])
            file = folder / "arrays" / f"{_UNSAFE.sub('_', name) or '_'}.npz"
            if record is None or not file.is_file():
                continue
            with np.load(file) as arrays:
                found.append((name, record, np.nan_to_num(arrays["heat"].mean(axis=0))))
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--attention {folder}: cannot be read ({error}); run `lmms-causal attend` again"
        ) from None
    return found


def _said(weights: NDArray[np.floating[Any]]) -> str:
    row, column = np.unravel_index(int(weights.argmax()), weights.shape)
    height, width = weights.shape
    return (
        f"greatest weight {weights.max():.2g} in row {row + 1} of {height}, column {column + 1} "
        f"of {width}; even attention would be {weights.mean():.2g}"
    )
