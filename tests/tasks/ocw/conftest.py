"""Walls in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

#: Three walls of our own: what connects each group, and its clues.
WALLS = (
    {
        "Trees": ["Pine", "Larch", "Cedar", "Yew"],
        "Birds": ["Heron", "Swift", "Crane", "Robin"],
        "Programming languages": ["Python", "Rust", "Perl", "Go"],
        "Music styles": ["Blues", "Jazz", "Folk", "Soul"],
    },
    {
        "Metals": ["Lead", "Tin", "Iron", "Gold"],
        "Fish": ["Bass", "Perch", "Carp", "Pike"],
        "Instruments": ["Drum", "Violin", "Piano", "Harp"],
        "Playing cards": ["Ace", "King", "Queen", "Jack"],
    },
    {
        "Planets": ["Mercury", "Saturn", "Venus", "Neptune"],
        "US presidents": ["Ford", "Lincoln", "Nixon", "Carter"],
        "Computing pioneers": ["Hopper", "Turing", "Lovelace", "Knuth"],
        "Chocolate bars": ["Mars", "Snickers", "Twix", "Bounty"],
    },
)


@pytest.fixture
def tiny_walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve solved walls of numbered clues, and three to be solved, in the released form."""
    folder = tmp_path / "walls"
    folder.mkdir()
    numbered = [
        {f"{kind} {wall}": [f"{kind} {wall}-{n}" for n in range(4)] for kind in "abcd"}
        for wall in range(12)
    ]
    for name, walls in (("train", numbered), ("test", WALLS), ("randomized", WALLS[:2])):
        rows = []
        for number, wall in enumerate(walls):
            words = [word for group in wall.values() for word in group]
            groups = {
                f"group_{n}": {"gt_words": group, "gt_connection": connection}
                for n, (connection, group) in enumerate(wall.items(), start=1)
            }
            row = {"wall_id": f"zz{number}", "words": sorted(words), "groups": groups}
            rows.append({**row, "gt_connections": list(wall)})
        file = f"easy_test_{name}.json" if name == "randomized" else f"{name}.json"
        (folder / file).write_text(json.dumps({"dataset": rows}), encoding="utf-8")
    (folder / "easy_test_wordnet.json").write_text(
        (folder / "easy_test_randomized.json").read_text()
    )
    monkeypatch.setenv("OCW_DIR", str(folder))
    return folder
