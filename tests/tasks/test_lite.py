"""Fixed small parts: whole, independent of order and of what else there is."""

from __future__ import annotations

import random
from types import SimpleNamespace

from lmms_causal.tasks import catalogue
from lmms_causal.tasks.amber.documents import build as amber
from lmms_causal.tasks.lite import part_of
from lmms_causal.tasks.pope_strict import documents as pope
from lmms_causal.tasks.vlind.documents import build as vlind


def test_a_part_keeps_groups_whole_and_does_not_depend_on_order() -> None:
    docs = [{"id": n, "image_id": f"p{n // 6}"} for n in range(600)]
    part = part_of(docs, "image_id", 20)
    assert len(part) == 120 and len({doc["image_id"] for doc in part}) == 20
    assert [doc["id"] for doc in part] == sorted(doc["id"] for doc in part)
    shuffled = random.Random(0).sample(docs, len(docs))
    assert {doc["id"] for doc in part_of(shuffled, "image_id", 20)} == {doc["id"] for doc in part}
    kept = {doc["image_id"] for doc in part}
    fewer = [doc for doc in docs if doc["image_id"] in kept or doc["id"] < 300]
    assert part_of(fewer, "image_id", 20) == part
    assert part_of(docs, "image_id", 1000) == docs


def test_lite_tasks_are_parts_of_the_whole_ones(
    tiny_companions: SimpleNamespace, monkeypatch
) -> None:
    lite = pope.build("pope_strict_lite_blind")
    assert len(lite) == 9 * 6 and len({doc["id"] for doc in lite}) == len(lite)
    assert [doc for doc in lite if doc["stratum"] == "gqa/popular"] == pope.build(
        "pope_strict_gqa_popular"
    )
    one = pope.Variant(pope.VARIANTS["pope_strict_lite"].files, True, 1)
    monkeypatch.setitem(pope.VARIANTS, "pope_strict_lite", one)
    assert len(pope.build("pope_strict_lite")) == 9 * 2  # six questions on three pictures
    assert amber("amber_discriminative_lite") == amber("amber_discriminative")
    assert vlind("vlind_lite") == vlind("vlind")


def test_fetching_reports_one_line_per_task(tiny_companions: SimpleNamespace) -> None:
    lines = catalogue.fetch_all("causal_lmms", progress=False)
    assert [line.partition(":")[0] for line in lines] == list(catalogue.members("causal_lmms"))
    assert "6 questions and 3 pictures are there" in lines[0]
    assert "18 questions are there, their" in next(line for line in lines if "vlind" in line)
    assert "not used" in catalogue.fetch_all("amber_generative_blind", progress=False)[0]
