"""Causes and effects in pairs of pictures, in miniature."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lmms_causal.testing.judge import StubJudge, stub_judge

#: Who spills paint, by id: the siblings of one story, in the older columns of MuCR.
SPILLERS = {"9001": "boy in a red cap", "9002": "girl with braids", "9003": "man", "9004": "cook"}
WATERED = {"9101": "cactus", "9102": "fern"}


@pytest.fixture
def tiny_mucr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family of four in MuCR's older columns, two of a family in the newer ones, and pictures."""
    folder = tmp_path / "mucr"
    folder.mkdir()
    rows: list[dict] = []
    for key, who in SPILLERS.items():
        links = ", ".join(other for other in SPILLERS if other != key)
        row = {"id": key, "caption_0": f"A {who} drops paint.", "caption_1": f"A {who} mops."}
        row |= {"cue": "spill", "false_cue": "['floor', 'kitchen', 'cap']", "label": "Human"}
        row |= {"style": "Comic" if key == "9002" else "Photograph", "link_id": f"[{links}]"}
        reasons = ["Paint was spilled.", f"The {who} has to mop it up."]
        rows.append({**row, "causal_reason": reasons})
    for key, what in WATERED.items():
        row = {"id": int(key), "cause": f"A {what} is watered too much.", "effect": "It is brown."}
        row |= {"cue": "overwatering", "false_cue": ["windowsill", "cactus", "sunlight"]}
        row |= {"style": "Photograph", "label": "Plant", "causal_reason": "Water made it rot."}
        rows.append(row)
    for number, row in enumerate(rows):
        for column, colour in (("image_0", 30), ("image_1", 140)):
            row[column] = f"{row['id']}_{column}.png"
            shade = (colour + 15 * number, 10 * number, colour)
            Image.new("RGB", (12, 8 + number), shade).save(folder / row[column])
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    monkeypatch.setenv("MUCR_DATA", str(folder))
    return folder


@pytest.fixture
def mucr_judge(
    tmp_path: Path, tiny_mucr: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StubJudge]:
    """A judge by words for the explanations: all those of the last reference must occur."""
    with stub_judge() as judge:
        monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("API_TYPE", "local")
        monkeypatch.setenv("LLM_JUDGE_URL", judge.url)
        monkeypatch.setenv("MODEL_VERSION", "stub")
        for variable in ("LMMS_CAUSAL_JUDGE", "LMMS_CAUSAL_JUDGE_PREFLIGHT"):
            monkeypatch.delenv(variable, raising=False)
        yield judge
