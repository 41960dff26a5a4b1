"""The three CSV files in miniature with pictures, and the real ones where they are."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from lmms_causal.tasks.causal_vqa import data

VQA_ROWS = """image_id,sentence,reverse_sentence
900001,The lamp is lit is due to it is dark outside.,It is dark outside is due to the lamp is lit.
900002,The cat hides is caused by the barking dog.,The barking dog is there is due to the cat hides.
900003,The toast is black is due to the heat rose.,The toast is black is caused by the heat rose.
"""
VCR_ROWS = """movie,image_id,sentence,reverse_sentence
9_TEST,lsmdc_9_TEST/a@0.jpg,Person shivers is due to it snowed.,It snowed is due to person shivers.
9_TEST,lsmdc_9_TEST/b@1.jpg,Person runs are due to rain.,Rain is due to person runs.
"""
STATEMENTS = """900001,The lamp is lit.,It is dark outside.,A goat holds the lamp.,The dog reads.
900002,The cat hides.,The dog barks.,A duck drives a car.,The cat flies.
900003,The toast is black.,The heat rose.,A whale eats the toast.,The heat swims.
"""


@pytest.fixture
def tiny_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Three VQA rows (the last degenerate), two VCR rows (the last off template), and pictures."""
    csvs, coco, vcr = tmp_path / "csv", tmp_path / "val2014", tmp_path / "vcr1images"
    (vcr / "lsmdc_9_TEST").mkdir(parents=True)
    csvs.mkdir()
    coco.mkdir()
    files = {"vqa_causal.csv": VQA_ROWS, "vcr_causal.csv": VCR_ROWS, "multichoice.csv": STATEMENTS}
    lines = []
    for name, text in files.items():
        (csvs / name).write_text(text, encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        rows = text.count("\n") - (name != "multichoice.csv")
        url = f"https://example.invalid/{name}"
        lines.append(json.dumps({"file": name, "url": url, "sha256": digest, "rows": rows}))
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    for index in (1, 2, 3):
        picture = Image.new("L", (8, 6), 40 * index)
        picture.save(coco / f"COCO_val2014_{900000 + index:012d}.jpg")
    for name in ("a@0.jpg", "b@1.jpg"):
        Image.new("RGB", (8, 6), "red").save(vcr / "lsmdc_9_TEST" / name)
    monkeypatch.setattr(data, "MANIFEST", manifest)
    monkeypatch.setenv("CAUSAL_VQA_CSV_DIR", str(csvs))
    monkeypatch.setenv("COCO_VAL2014_DIR", str(coco))
    monkeypatch.setenv("VCR_IMAGES_DIR", str(vcr))
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(csvs=csvs, coco=coco, vcr=vcr, cache=tmp_path / "cache")


@pytest.fixture
def real_release(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the authors' CSV files; skips where there is none."""
    given = os.environ.get("CAUSAL_VQA_CSV_DIR")
    folders = [Path(given)] if given else []
    folders += [parent / "shared/data/causalvlm" for parent in Path(__file__).resolve().parents]
    found = next((folder for folder in folders if (folder / "vqa_causal.csv").is_file()), None)
    if found is None:
        pytest.skip("the CSV files of VQA-Causal are not here; set CAUSAL_VQA_CSV_DIR")
    monkeypatch.setenv("CAUSAL_VQA_CSV_DIR", str(found))
    monkeypatch.delenv("COCO_VAL2014_DIR", raising=False)
    return found
