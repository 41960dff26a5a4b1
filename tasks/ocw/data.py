"""The released walls, in a folder of one's own or from the hub."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.released import hub_file
from lmms_causal.tasks.revisions import note, revision_of_file

__all__ = ["DATA_VARIABLE", "MANIFEST", "Wall", "read_walls"]

DATA_VARIABLE = "OCW_DIR"
MANIFEST = Path(__file__).with_name("manifest.jsonl")


@dataclass(frozen=True)
class Wall:
    """Sixteen clues in the order shown, their four groups, and what connects each."""

    key: str
    words: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    connections: tuple[str, ...]


def read_walls(file: str) -> list[Wall]:
    """The walls of one released file, for example ``test.json``.

    With ``OCW_DIR`` it is read from that folder and may hold any number of walls. The hub's file
    is compared with the number of walls of the release, since no checksum of it is known.

    Raises:
        UserError: no data, or a wall that is not in the released form.
    """
    if folder := os.environ.get(DATA_VARIABLE):
        path = Path(folder).expanduser() / file
        if not path.is_file():
            raise UserError(
                f"{DATA_VARIABLE}={folder} has no file {file}; put it there, or unset "
                f"{DATA_VARIABLE} to have it fetched from the hub"
            )
        return _read(path)
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    path = hub_file(manifest["dataset"], file, DATA_VARIABLE)
    walls = _read(path)
    if len(walls) != manifest.get(file, len(walls)):
        raise UserError(
            f"{path} is not the release: it has {len(walls)} walls instead of {manifest[file]}; "
            f"delete it to have it fetched anew, or set {DATA_VARIABLE} to use other walls"
        )
    note(f"data set {manifest['dataset']}", revision_of_file(path))
    return walls


def _read(path: Path) -> list[Wall]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["dataset"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no JSON object with a list of walls under 'dataset' "
            f"({type(error).__name__}: {error}); replace it by the released file"
        ) from error
    walls = []
    for number, row in enumerate(rows):
        try:
            walls.append(_wall(row))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: wall {number} is not in the released form ({type(error).__name__}: "
                f"{error}); replace the file by the released one"
            ) from error
    if not walls:
        raise UserError(f"{path} holds no wall; replace it by the released file")
    return walls


def _wall(row: Mapping[str, Any]) -> Wall:
    groups = tuple(tuple(group["gt_words"]) for group in row["groups"].values())
    words, connections = tuple(row["words"]), tuple(row["gt_connections"])
    if [len(group) for group in groups] != [4] * 4 or len(connections) != 4:
        raise ValueError("a wall has four groups of four clues and four connections")
    if Counter(words) != Counter(word for group in groups for word in group):
        raise ValueError("the clues are not those of the groups")
    return Wall(str(row["wall_id"]), words, groups, connections)
