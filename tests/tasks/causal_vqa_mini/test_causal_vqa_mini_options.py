"""The letter-free questions: pairs, segments, and scores of both harnesses."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import ImageChops

from lmms_causal.tasks.causal_vqa_mini import (
    documents,
    lm_eval_task,
    lmms_eval_task,
    option_documents,
)
from lmms_causal.tasks.causal_vqa_mini.scenes import KINDS
from lmms_causal.tasks.options import early_rate, flip_rate

CELLS = ("clean/consistent", "clean/conflict", "noisy/consistent", "noisy/conflict")


@pytest.mark.parametrize("kind", KINDS)
def test_both_documents_of_a_pair_differ_in_nothing_but_the_order(kind: str) -> None:
    docs = option_documents.build(kind)
    assert Counter(doc["stratum"] for doc in docs) == dict.fromkeys(CELLS, 250)
    assert len({doc["id"] for doc in docs}) == 1000
    for first, second in zip(docs[::2], docs[1::2], strict=True):
        assert (first["order"], second["order"]) == ("listed", "reversed")
        assert first["segments"] == second["segments"][::-1]
        assert first["text"] != second["text"]
        whole, turned = "".join(first["segments"]), "".join(second["segments"])
        assert first["text"].replace(whole, turned) == second["text"]
        assert [part.strip() for part in first["segments"]] == first["choices"]
        own = {"id", "order", "text", "segments"}
        assert all(first[name] == second[name] for name in first.keys() - own)
    pictures = [documents.picture(doc) for doc in docs[:2]]
    assert ImageChops.difference(*pictures).getbbox() is None


def test_segments_of_the_letter_questions_are_their_options() -> None:
    for doc in documents.build("order")[:8]:
        assert doc["text"].count("".join(doc["segments"])) == 1
        assert doc["segments"] == [f" A . {doc['option_a']}", f" B . {doc['option_b']}"]
    assert all("segments" not in doc for doc in documents.build("colour")[:8])


@pytest.mark.parametrize("kind", KINDS)
def test_both_harnesses_see_a_model_that_always_takes_the_first(kind: str) -> None:
    docs = option_documents.build(kind)[:40]
    scored = []
    for doc in docs:
        shown = [part.strip() for part in doc["segments"]]
        losses = [float(shown.index(choice)) for choice in doc["choices"]]
        lmms = lmms_eval_task.option(doc, [str((loss, False)) for loss in losses])
        assert lmms == lm_eval_task.option(doc, [(-loss, False) for loss in losses])
        scored.append(lmms)
    assert flip_rate(values["position_bias"] for values in scored) == 1
    assert early_rate(values["first_rate"] for values in scored) == 0.5
