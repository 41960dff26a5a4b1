"""MME: sub-scores by hand, agreement with the harness's own task, and wrong data."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import catalogue
from lmms_causal.tasks.mme_subscores import images
from lmms_causal.tasks.mme_subscores.data import HALLUCINATION
from lmms_causal.tasks.mme_subscores.documents import build
from lmms_causal.tasks.mme_subscores.scoring import (
    harness_prediction,
    score_all,
    sum_of_categories,
)

ANSWERS = ("Yes", "no.", "Y", "n", "yes, it is", "Not sure", "It is yes", "", "Answer: no", "maybe")


def _views(docs: list[dict], answers: list[str]) -> dict[str, list]:
    values: dict[str, list] = {}
    for doc, answer in zip(docs, answers, strict=True):
        for metric, value in score_all(doc, answer).items():
            values.setdefault(metric, []).append(value)
    return values


def test_sub_scores_of_hand_counted_answers(tiny_companions: SimpleNamespace) -> None:
    """All right: 200 each. Always yes: 50 each. One of two pictures' pairs right adds 100 acc+."""
    docs = build("mme_subscores")
    right = _views(docs, [doc["answer"] for doc in docs])
    assert sum_of_categories(right["mme_existence"]) == 200
    assert sum_of_categories(right["mme_hallucination_total"]) == 800
    assert sum_of_categories(right["mme_perception_total"]) == 1000  # five categories are there
    assert sum_of_categories(right["mme_cognition_total"]) == 200
    always = _views(docs, ["Yes"] * len(docs))
    assert sum_of_categories(always["mme_color"]) == 50
    assert math.isnan(sum_of_categories(always["mme_posters"]))


def test_a_limited_run_leaves_incomplete_pairs_out(tiny_companions: SimpleNamespace) -> None:
    docs = build("mme_subscores")[:3]
    values = _views(docs, ["Yes", "No", "Yes"])
    assert sum_of_categories(values["mme_existence"]) == 200
    assert math.isnan(sum_of_categories(values["mme_count"]))


def test_the_sums_are_those_of_the_harness_s_own_task(tiny_companions: SimpleNamespace) -> None:
    theirs = pytest.importorskip("lmms_eval.tasks.mme.utils")
    docs = build("mme_subscores")
    draw = random.Random(0)
    for _ in range(20):
        answers = [draw.choice(ANSWERS) for _ in docs]
        records: dict[str, list] = {}
        for doc, answer in zip(docs, answers, strict=True):
            named = {**doc, "question_id": doc["pair_id"], "answer": doc["answer"].title()}
            for metric, value in theirs.mme_process_results(named, [answer]).items():
                records.setdefault(metric, []).append(value)
        ours = _views(docs, answers)
        for name in ("perception", "cognition"):
            expected = theirs.mme_aggregate_results(records[f"mme_{name}_score"])
            assert sum_of_categories(ours[f"mme_{name}_total"]) == pytest.approx(expected)


def test_the_harness_s_rule_misses_what_the_strict_one_reads() -> None:
    assert harness_prediction("Answer: yes") is None
    assert harness_prediction("Not yes") == "no"


def test_the_hallucination_subset(tiny_companions: SimpleNamespace) -> None:
    docs = build("mme_hallucination_blind")
    assert {doc["category"] for doc in docs} == set(HALLUCINATION)
    assert docs[0]["text"] == "Is there a lamp in this image? Please answer yes or no."
    assert docs[0]["pair_id"] == docs[1]["pair_id"]
    assert images.open_image(docs[0]).mode == "RGB"


def test_data_that_is_not_mme_is_refused(
    tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    file = tiny_companions.folder / "mme/test.parquet"
    table = datasets.Dataset.from_parquet(str(file))
    for number, (broken, problem) in enumerate(
        (
            (table.remove_columns("answer"), "has no column answer"),
            (table.select(range(3)), "0002.* 1 questions instead of 2|has 1 questions"),
            (table.map(lambda row: {"category": "taste"}), "category 'taste'"),
            (table.map(lambda row: {"answer": "maybe"}), "is 'maybe'"),
        )
    ):
        path = file.with_name(f"broken_{number}.parquet")
        broken.to_parquet(str(path))
        monkeypatch.setenv("MME_DATA", str(path))
        with pytest.raises(UserError, match=problem):
            catalogue.check(["mme_subscores"])
    monkeypatch.setenv("MME_DATA", "/no/such/folder")
    with pytest.raises(UserError, match="MME_DATA=/no/such/folder is no parquet file"):
        catalogue.check(["mme_hallucination"])
