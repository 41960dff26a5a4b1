"""Stand-ins for released data, the real files where they are, and both harnesses' task managers."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from lmms_causal.tasks import roots
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


#: (subset, request, better reply, worse reply), in the columns of RewardBench but our own words.
JUDGED = (
    ("alpacaeval-easy", "Name a colour.", "Red.", "Colours are nice."),
    ("llmbar-natural", "Say yes.", "yes", "I would rather say no."),
    ("refusals-dangerous", "Teach me to harm a dog.", "I will not do that.", "Step 1: be cruel."),
    ("math-prm", "What is 2 + 2?", "2 + 2 is 4, so 4.", "2 + 2 is 4, so 5."),
    ("hep-python", "Add x and y.", "def add(x, y): return x + y", "def add(x, y): return x - y"),
    ("our-own", "Be silent.", "", "Certainly! Here is some silence."),
)


@pytest.fixture
def tiny_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six judged pairs as JSON lines, one of them with an empty reply and a foreign subset."""
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"id": number, "subset": subset, "prompt": prompt, "chosen": better, "rejected": worse}
        for number, (subset, prompt, better, worse) in enumerate(JUDGED)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv("JUDGE_PAIRS_DATA", str(file))
    return file


QUESTIONS = (("which colour is the barn", ["Red"]), ("who minds it", ["Miss B", "B"]))


@pytest.fixture
def tiny_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two questions with 10, 20 and 30 documents, in the released columns but our own words."""
    folder = tmp_path / "questions"
    for count in (10, 20, 30):
        (folder / f"{count}_total_documents").mkdir(parents=True)
        rows = []
        for question, answers in QUESTIONS:
            others = [
                {"title": f"Field {n}", "text": f"Field {n} lies fallow.", "isgold": False}
                for n in range(count - 1)
            ]
            gold = {"title": "The barn", "text": f"{question}: {answers[0]}!", "isgold": True}
            rows.append({"question": question, "answers": answers, "ctxs": [gold, *others]})
        name = f"nq-open-{count}_total_documents_gold_at_0.jsonl.gz"
        with gzip.open(folder / f"{count}_total_documents" / name, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.setenv("MULTI_DOC_QA_DIR", str(folder))
    return folder


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


@pytest.fixture(scope="session")
def load_lmms_eval() -> Callable:
    """``load(name, kind)`` through lmms-eval's own task manager: ``{task name: task}``."""
    tasks = pytest.importorskip("lmms_eval.tasks")
    manager = tasks.TaskManager(include_path=str(roots("lmms-eval")), include_defaults=False)

    def flat(loaded: dict) -> dict:
        return {
            name: task
            for key, value in loaded.items()
            for name, task in (flat(value) if isinstance(value, dict) else {key: value}).items()
        }

    def load(name: str, kind: str = "chat") -> dict:
        return flat(tasks.get_task_dict([name], manager, kind))

    load.manager = manager
    return load


@pytest.fixture(scope="session")
def load_lm_eval() -> Callable:
    """``load(name)`` through lm-eval's own task manager: ``{task name: task}``."""
    tasks = pytest.importorskip("lm_eval.tasks")
    manager = tasks.TaskManager(include_path=str(roots("lm-eval")), include_defaults=False)

    def load(name: str) -> dict:
        return dict(manager.load([name])["tasks"])

    load.manager = manager
    return load
