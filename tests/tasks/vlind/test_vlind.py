"""VLind-Bench: the worked example, coins, incomplete instances, and missing files."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import catalogue
from lmms_causal.tasks.vlind import images, scoring
from lmms_causal.tasks.vlind.documents import build


def _indicators(docs: list[dict], answers: list[str], prefix: str = "vlind") -> dict[str, float]:
    values = [scoring.score(doc, text) for doc, text in zip(docs, answers, strict=True)]
    return {
        name: round(100 * getattr(scoring, name)(value[f"{prefix}_{name}"] for value in values), 1)
        for name in scoring.INDICATORS
    }


def test_the_worked_example(tiny_companions: SimpleNamespace) -> None:
    """One instance passes a, b, c and 1 of 2 good pictures, the other a, c and its only one."""
    docs = build("vlind")
    assert len(docs) == (6 + 2 * 2) + (6 + 2 * 1)  # the third instance has no good picture
    wrong = ("color-1-lp-4-true", "size-2-vp-8-false")
    other = {"true": "False", "false": "True"}
    answers = [other[d["answer"]] if d["id"] in wrong else d["answer"] + "." for d in docs]
    expected = {"s_ck": 100, "s_vp": 50, "s_cb": 100, "s_lp": 50, "cb": 100, "lp": 75}
    assert _indicators(docs, answers) == _indicators(docs, answers, "vlind_strict") == expected


def test_an_answer_that_names_both_words_passes_with_the_authors_only(
    tiny_companions: SimpleNamespace,
) -> None:
    docs = build("vlind_blind")
    answers = [f"{d['answer']}, or true or false" for d in docs]
    assert set(_indicators(docs, answers).values()) == {100}
    assert set(_indicators(docs, answers, "vlind_strict").values()) == {0}


def test_a_coin_scores_a_quarter(tiny_companions: SimpleNamespace) -> None:
    docs, draw = build("vlind_blind"), random.Random(0)
    copies, texts = [], []
    for copy in range(4000):
        for doc in docs:
            renamed = {name: f"{doc[name]}-{copy}" for name in ("instance", "pair_id")}
            copies.append({**doc, **renamed})
            texts.append(draw.choice(("True", "False")))
    for value in _indicators(copies, texts).values():
        assert 22 < value < 28


def test_incomplete_instances_do_not_count(tiny_companions: SimpleNamespace) -> None:
    docs = build("vlind")
    answers = [doc["answer"] for doc in docs]
    assert set(_indicators(docs[:-1], answers[:-1]).values()) == {100}
    assert all(math.isnan(value) for value in _indicators(docs[:9], answers[:9]).values())


def test_stages_show_their_pictures_and_texts(tiny_companions: SimpleNamespace) -> None:
    docs = {doc["id"]: doc for doc in build("vlind")}
    sense, bias = docs["color-1-ck-0-true"], docs["color-1-cb-0-true"]
    assert sense["image_id"].startswith("factual/") and "Context:" not in sense["text"]
    assert "Statement: The grass is green." in sense["text"] and "common sense" in sense["text"]
    assert "Context: In this world, grass is purple." in bias["text"]
    assert "There is a violin in the image." in docs["color-1-vp-0-false"]["text"]
    assert docs["size-2-lp-8-true"]["style"] == "cartoon"
    assert images.open_image(bias).mode == "RGB"


def test_what_is_missing_is_named(
    tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_companions.folder / "vlind"
    picture = next(folder.glob("images/factual/size/*/0.jpg"))
    picture.unlink()
    with pytest.raises(UserError, match=r"1 image files .*document size-2-ck-0-(true|false)"):
        catalogue.check(["vlind"])
    catalogue.check(["vlind_blind"])
    (folder / "data.json").write_text('[{"concept": "size"}]')
    with pytest.raises(UserError, match="entry 0 is no instance"):
        catalogue.check(["vlind_blind"])
    monkeypatch.delenv("VLIND_ROOT")
    with pytest.raises(UserError, match="VLIND_ROOT is not set"):
        catalogue.check(["vlind"])
