"""The held-out questions as documents: cells, pairs, pictures, and their scores."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import ImageChops

from lmms_causal.errors import UserError
from lmms_causal.tasks.aggregates import consistency, mean, position_bias
from lmms_causal.tasks.causal_vqa_mini import documents, lm_eval_task, lmms_eval_task, scoring
from lmms_causal.tasks.causal_vqa_mini.scenes import KINDS

CELLS = ("clean/consistent", "clean/conflict", "noisy/consistent", "noisy/conflict")


@pytest.mark.parametrize("kind", KINDS)
def test_each_cell_has_250_questions_with_ids_of_their_own(kind: str) -> None:
    docs = documents.build(kind)
    assert Counter(doc["stratum"] for doc in docs) == dict.fromkeys(CELLS, 250)
    assert len({doc["id"] for doc in docs}) == 1000
    assert {doc["stratum"] for doc in docs[:8]} == set(CELLS)
    assert all(doc["answer"] in doc["choices"] for doc in docs)


def test_both_orders_of_a_pair_exchange_the_options_over_one_picture() -> None:
    first, second = documents.build("order")[:2]
    assert (first["order"], second["order"]) == ("cw", "wc")
    assert first["option_a"] == second["option_b"] == first["correct"]
    assert (first["answer"], second["answer"]) == ("A", "B")
    pictures = [documents.picture(doc) for doc in (first, second)]
    assert ImageChops.difference(*pictures).getbbox() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_noisy_document_asks_the_same_about_a_noisy_version_of_the_scene(kind: str) -> None:
    docs = {doc["id"]: doc for doc in documents.build(kind)}
    clean = next(doc for doc in docs.values() if doc["stratum"] == "clean/conflict")
    noisy = docs[clean["id"].replace("clean", "noisy")]
    assert noisy["text"] == clean["text"] and noisy["answer"] == clean["answer"]
    one, again, other = (documents.picture(doc) for doc in (noisy, noisy, clean))
    assert ImageChops.difference(one, again).getbbox() is None
    assert ImageChops.difference(one, other).getbbox() is not None
    assert (one.mode, one.size) == ("RGB", (48, 48))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="order, presence, colour"):
        documents.build("shape")


def test_a_perfect_model_and_one_that_follows_the_prior_under_noise() -> None:
    docs = documents.build("presence")
    flip = {"yes": "no", "no": "yes"}
    perfect = [scoring.score_answer(doc, doc["answer"]) for doc in docs]
    misled = [
        scoring.score_answer(
            doc, flip[doc["answer"]] if doc["stratum"] == "noisy/conflict" else doc["answer"]
        )
        for doc in docs
    ]

    def rates(scored: list[dict]) -> dict[str, float]:
        names = (
            "causal_score",
            "clean_acc",
            "clean_conflict_acc",
            "noisy_consistent_acc",
            "noisy_conflict_acc",
            "noisy_balanced_acc",
        )
        return {name: mean(values[name] for values in scored) for name in names}

    assert set(rates(perfect).values()) == {1.0}
    assert rates(misled) == {
        "causal_score": 0.75,
        "clean_acc": 1,
        "clean_conflict_acc": 1,
        "noisy_consistent_acc": 1,
        "noisy_conflict_acc": 0,
        "noisy_balanced_acc": 0.5,
    }


def test_one_letter_only_is_never_consistent() -> None:
    scored = [scoring.score_answer(doc, " A") for doc in documents.build("order")]
    assert mean(values["causal_score"] for values in scored) == 0.5
    assert consistency(values["causal_consistent_acc"] for values in scored) == 0
    assert position_bias(values["causal_position_bias"] for values in scored) == 1


def test_choice_scores_of_both_harnesses_pick_the_same_word() -> None:
    doc = documents.build("colour")[0]
    losses = [0.1 if word == doc["answer"] else 2.0 for word in doc["choices"]]
    lmms = lmms_eval_task.choice(doc, [str((loss, False)) for loss in losses])
    lm = lm_eval_task.choice(doc, [(-loss, False) for loss in losses])
    assert lmms == lm and lmms["causal_score"] == 1
    tied = lm_eval_task.choice(doc, [(-1.0, False)] * len(losses))
    assert tied["causal_acc"]["valid"] is False and tied["causal_score"] == 0
