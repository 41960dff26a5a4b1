"""Questions over documents in miniature."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

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
