"""Questions over several pictures in miniature, and a judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image


@pytest.fixture
def tiny_mme_cc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Fifteen questions in the schema of MME-CC with drawn pictures, and a judge by words."""
    from lmms_causal.testing.judge import stub_judge

    root = tmp_path / "mme_cc"
    root.mkdir()
    stand_in = Path(__file__).with_name("stand_in.json")
    for name, rows in json.loads(stand_in.read_text(encoding="utf-8")).items():
        (root / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        for number, path in enumerate(path for row in rows for path in row["image_list"]):
            (root / path).parent.mkdir(exist_ok=True)
            picture = Image.new("RGB", (12, 8), (40 * number, 90, 160))
            picture.save(root / path)
    with stub_judge() as judge:
        monkeypatch.setenv("MME_CC_ROOT", str(root))
        monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("API_TYPE", "local")
        monkeypatch.setenv("LLM_JUDGE_URL", judge.url)
        monkeypatch.setenv("MODEL_VERSION", "stub")
        for variable in ("LMMS_CAUSAL_JUDGE", "LMMS_CAUSAL_JUDGE_PREFLIGHT"):
            monkeypatch.delenv(variable, raising=False)
        yield SimpleNamespace(root=root, judge=judge, cache=tmp_path / "cache")
