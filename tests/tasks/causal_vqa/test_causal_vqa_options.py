"""Captions as options without letters, and the segments that the letter tasks declare."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.causal_vqa import documents, scoring
from lmms_causal.tasks.options import both_orders_right, flip_rate

OPTIONS = ("vqa_causal_options", "vqa_causal_options_blind", "vcr_causal_options_blind")
LETTERS = ("vqa_causal_mc", "vqa_causal_12", "vcr_causal_blind")


@pytest.mark.parametrize("name", OPTIONS)
def test_a_pair_exchanges_its_segments(name: str, tiny_release: SimpleNamespace) -> None:
    docs = documents.build(name)
    for first, second in zip(docs[::2], docs[1::2], strict=True):
        assert first["segments"] == [f"{caption}\n" for caption in first["choices"]]
        assert second["segments"] == first["segments"][::-1]
        whole, turned = "".join(first["segments"]), "".join(second["segments"])
        assert first["text"].count(whole) == 1
        assert first["text"].replace(whole, turned) == second["text"]
        assert first["choices"] == second["choices"] == [first["correct"], first["wrong"]]
        assert ("picture" in first["text"]) != ("blind" in name)


@pytest.mark.parametrize("name", LETTERS)
def test_letter_tasks_declare_their_option_lines(name: str, tiny_release: SimpleNamespace) -> None:
    for doc in documents.build(name):
        assert doc["segments"] == [f"A. {doc['option_a']}\n", f"B. {doc['option_b']}\n"]
        assert doc["text"].count("".join(doc["segments"])) == 1


def test_only_letter_documents_of_the_full_task_have_segments(
    tiny_release: SimpleNamespace,
) -> None:
    docs = documents.dataset("vqa_causal_full")
    assert [bool(doc["segments"]) for doc in docs] == [doc["kind"] == "causal" for doc in docs]


def test_identical_captions_tie_and_longer_ones_are_not_punished_per_character(
    tiny_release: SimpleNamespace,
) -> None:
    docs = documents.build("vqa_causal_options_blind")
    (degenerate,) = {doc["pair_id"] for doc in docs if doc["degenerate"]}
    scored = {}
    for doc in docs:  # a model whose log-likelihood is minus the number of characters
        scores = [-float(len(caption)) for caption in doc["choices"]]
        scored[doc["id"]] = values = scoring.score_options(doc, scores, by_length=True)
        assert values["causal_acc_norm"] == 0.5
        if doc["pair_id"] == degenerate:
            assert (values["causal_score"], values["tie_rate"]) == (0.5, 1)
            assert values["causal_acc_clean"] is None
    shorter = mean(v["causal_score"] for v in scored.values())
    assert 0 < shorter < 1
    assert flip_rate(v["position_bias"] for v in scored.values()) == 0
    assert both_orders_right(v["causal_consistent_acc"] for v in scored.values()) <= shorter


@pytest.mark.data
def test_released_captions_stand_once_in_their_prompts(real_release: Path) -> None:
    for source, rows in (("vqa", 1947), ("vcr", 3511)):
        docs = documents.build(f"{source}_causal_options_blind")
        assert len(docs) == 2 * rows
        assert all(doc["text"].count("".join(doc["segments"])) == 1 for doc in docs)
        assert len({doc["id"] for doc in docs}) == len(docs)
