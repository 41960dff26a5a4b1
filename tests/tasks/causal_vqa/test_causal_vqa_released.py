"""The released files with stand-in pictures, through both harnesses' own loaders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lmms_causal.tasks.causal_vqa.data import read_captions
from lmms_causal.tasks.causal_vqa.documents import build
from lmms_causal.tasks.causal_vqa.images import coco_file

pytestmark = pytest.mark.data

FORWARD = ("result in", "cause", "lead to", "give rise to", "bring about to")


@pytest.fixture
def stand_in_pictures(
    real_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """One picture under every name that the released files mention: (COCO folder, VCR folder)."""
    coco, vcr = tmp_path / "val2014", tmp_path / "vcr1images"
    coco.mkdir()
    picture = tmp_path / "picture.jpg"
    Image.new("RGB", (12, 9), "green").save(picture)
    for row in {row.image_id: row for row in read_captions("vqa")}.values():
        os.link(picture, coco / coco_file(row.image_id))
    for row in {row.image_id: row for row in read_captions("vcr")}.values():
        target = vcr / row.image_id
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(picture, target)
    monkeypatch.setenv("COCO_VAL2014_DIR", str(coco))
    monkeypatch.setenv("VCR_IMAGES_DIR", str(vcr))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return coco, vcr


def test_pictures_mentioned(stand_in_pictures: tuple[Path, Path]) -> None:
    """1,883 of COCO and 2,793 of VCR: the benchmark's README."""
    coco, vcr = stand_in_pictures
    assert len(list(coco.iterdir())) == 1883
    assert sum(path.is_file() for path in vcr.rglob("*")) == 2793


def test_both_harnesses_load_every_pair_in_both_orders(
    stand_in_pictures: tuple[Path, Path], load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    sizes = {"vqa_causal_mc": (2 * 1947, 2 * 1828), "vcr_causal_mc": (2 * 3511, 2 * 3501)}
    for loaded in (load_lmms_eval("causal_vqa_all"), load_lm_eval("causal_vqa_all")):
        for name, (every, clean) in sizes.items():
            docs = loaded[name].test_docs()
            assert (len(docs), sum(docs["clean"])) == (every, clean)
            assert Counter(docs["answer"]) == {"A": every // 2, "B": every // 2}


def test_forward_connectors_exchange_the_right_caption_of_every_row(
    stand_in_pictures: tuple[Path, Path],
) -> None:
    rows = read_captions("vqa")
    docs = build("vqa_causal_12")
    assert len(docs) == 1947 * 12 * 2
    seen = Counter()
    for doc in docs:
        row = rows[doc["row"]]
        forward = doc["connector"] in FORWARD
        stated = row.reverse_sentence if forward else row.sentence
        assert doc["correct"].startswith(re.split("is due to|is caused by", stated)[0])
        seen[forward] += 1
    assert seen == {True: 1947 * 5 * 2, False: 1947 * 7 * 2}
