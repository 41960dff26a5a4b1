"""The benchmark's rules, by hand-computed cases and by chance levels of simulated guessers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lmms_causal.tasks.aggregates import consistency, mean, mean_score, position_bias
from lmms_causal.tasks.causal_vqa import lm_eval_task, lmms_eval_task, oa_scoring, scoring
from lmms_causal.tasks.causal_vqa.documents import build

ROWS = 4000  # a share p has standard error sqrt(p (1 - p) / 4000): 0.8 points at most


@pytest.mark.parametrize(
    "right, wrong, follows",
    [
        ((0.6, 0.3), (0.5, 0.4), True),
        ((0.6, 0.3), (0.7, 0.2), False),
        ((0.3, 0.6), (0.2, 0.7), True),
        ((0.3, 0.6), (0.4, 0.5), False),
        ((0.6, 0.3), (0.6, 0.3), False),
        ((0.3, 0.6), (0.3, 0.6), False),
        # The rule is not antisymmetric: right in both role assignments, wrong in both.
        ((0.5, 0.4), (0.2, 0.3), True),
        ((0.2, 0.3), (0.5, 0.4), True),
        ((0.3, 0.2), (0.35, 0.4), False),
        ((0.35, 0.4), (0.3, 0.2), False),
    ],
)
def test_the_authors_yes_no_rule(right: tuple, wrong: tuple, follows: bool) -> None:
    """``(y > n and y > y') or (y < n and n < n')``, evaluated by hand on (y, n), (y', n')."""
    assert scoring.follows_yes_no_rule(*right, *wrong) is follows
    logs = [math.log(value) for value in (*right, *wrong)]
    assert scoring.follows_yes_no_rule(*logs) is follows


def _document(pair: int, **fields: object) -> dict:
    return {
        "id": f"vqa-{pair}-because",
        "pair_id": f"vqa-{pair}",
        "kind": "causal",
        "source": "vqa",
        "row": pair,
        "image_id": pair,
        "connector": "because",
        "direction": "backward",
        "clean": True,
        "degenerate": False,
        "option_a": "right caption",
        "option_b": "wrong caption",
        **fields,
    }


def _letters(pair: int, **fields: object) -> list[dict]:
    return [
        _document(pair, order=order, answer=answer, **fields)
        for order, answer in (("cw", "A"), ("wc", "B"))
    ]


def _column(scored: list[dict], metric: str) -> list:
    return [values[metric] for values in scored]


def test_a_guesser_scores_one_half_and_a_quarter_consistently() -> None:
    rng = random.Random(0)
    docs = [doc for pair in range(ROWS) for doc in _letters(pair)]
    scored = [scoring.score_letter(doc, rng.choice("AB")) for doc in docs]
    assert mean(_column(scored, "causal_score")) == pytest.approx(0.5, abs=0.02)
    assert consistency(_column(scored, "causal_consistent_acc")) == pytest.approx(0.25, abs=0.03)
    assert position_bias(_column(scored, "causal_position_bias")) == pytest.approx(0, abs=0.04)


def test_a_model_that_always_says_a_is_half_right_and_never_consistent() -> None:
    docs = [doc for pair in range(5) for doc in _letters(pair)]
    scored = [scoring.score_letter(doc, "A") for doc in docs]
    assert mean_score(_column(scored, "causal_acc")) == 0.5
    assert consistency(_column(scored, "causal_consistent_acc")) == 0
    assert position_bias(_column(scored, "causal_position_bias")) == 1


def test_a_degenerate_pair_counts_half_in_full_and_not_at_all_in_clean() -> None:
    docs = _letters(0) + _letters(1, degenerate=True, clean=False)
    scored = [scoring.score_letter(doc, doc["answer"]) for doc in docs]
    assert mean_score(_column(scored, "causal_acc")) == 0.75
    assert consistency(_column(scored, "causal_consistent_acc")) == (1 + 0.25) / 2
    assert mean_score(_column(scored, "causal_acc_clean")) == 1
    refused = scoring.score_letter(docs[2], "I cannot tell.")
    assert refused["causal_score"] == 0 and refused["causal_invalid_rate"] == 1
    assert refused["causal_invalid_rate_clean"] is None


def test_a_forward_connector_turns_which_letter_is_the_stored_sentence() -> None:
    backward, forward = _letters(0)[0], _letters(0, connector="lead to", direction="forward")[0]
    rates = [
        scoring.score_connectors(doc, "A")["causal_prefers_sentence_rate"]
        for doc in (backward, forward)
    ]
    assert rates == [1, 0]
    values = scoring.score_connectors(forward, "A")
    assert values["causal_acc_lead_to"] == values["causal_acc_forward"] == 1
    assert values["causal_acc_because"] is None and values["causal_acc_backward"] is None


def _yes_no_pairs(draw: Callable[[], float], **fields: object) -> list[dict]:
    return [
        scoring.score_yes_no(_document(pair, role=role, **fields), draw(), draw())
        for pair in range(ROWS)
        for role in ("correct", "wrong")
    ]


def test_chance_of_the_yes_no_rule_is_one_half() -> None:
    """Independent continuous scores: 1/3 + 1/6 (derivation in the benchmark's README)."""
    scored = _yes_no_pairs(random.Random(1).random)
    assert scoring.yes_no_rule(_column(scored, "yn_rule_acc")) == pytest.approx(0.5, abs=0.03)
    assert scoring.margin_accuracy(_column(scored, "yn_margin_acc")) == pytest.approx(0.5, abs=0.03)


def test_identical_captions_fail_the_rule_and_tie_in_the_margin() -> None:
    scored = _yes_no_pairs(lambda: 0.25)
    assert scoring.yes_no_rule(_column(scored, "yn_rule_acc")) == 0
    assert scoring.margin_accuracy(_column(scored, "yn_margin_acc")) == 0.5


def test_the_printed_rate_of_a_forward_connector_is_the_rule_with_roles_exchanged() -> None:
    logs = {"correct": (-1.0, -2.0), "wrong": (-0.5, -3.0)}
    fields = {"connector": "cause", "direction": "forward"}
    scored = [
        scoring.score_yes_no(_document(0, role=role, **fields), *pair)
        for role, pair in logs.items()
    ]
    assert scoring.yes_no_rule(_column(scored, "yn_rule_acc")) == 0
    assert scoring.yes_no_rule(_column(scored, "yn_rule_sentence_rate")) == 1
    assert scoring.yes_no_rule(_column(scored, "yn_rule_acc_cause")) == 0
    assert math.isnan(scoring.yes_no_rule(_column(scored, "yn_rule_acc_because")))


def test_the_macro_rate_weighs_connectors_alike() -> None:
    def view(pair: str, role: str, yes: float, connector: str) -> dict:
        return {"pair": pair, "role": role, "yes": yes, "no": -2.0, "connector": connector}

    right = [view("0", "correct", -1.0, "because"), view("0", "wrong", -1.5, "because")]
    wrong = [
        view(str(pair), role, yes, "cause")
        for pair in range(3)
        for role, yes in (("correct", -1.5), ("wrong", -1.0))
    ]
    assert scoring.yes_no_rule_macro(right + wrong) == 0.5


@pytest.mark.parametrize(
    "answers, credit",
    [
        (("Yes", "No"), 1),
        (("yes.", "YES"), 0.5),
        (("no", "no"), 0.5),
        (("No", "Yes"), 0),
        (("Yes", "maybe"), 0),
    ],
)
def test_generated_yes_and_no_get_credit_per_pair(answers: tuple, credit: float) -> None:
    scored = [
        scoring.score_yes_no_answer(_document(0, role=role, answer=gold), text)
        for role, gold, text in zip(("correct", "wrong"), ("Yes", "No"), answers, strict=True)
    ]
    assert scoring.pair_credit(_column(scored, "yn_gen_acc")) == credit


def test_ties_in_ranking_are_right_officially_and_half_right_strictly() -> None:
    doc = _document(0, choices=["wrong!", "right"], answer=1)
    values = scoring.score_ranking(doc, [0.5, 0.5])
    assert (values["itm_acc"]["score"], values["itm_acc_strict"]) == (1, 0.5)
    undefined = scoring.score_ranking(doc, [0.5, math.nan])
    assert (undefined["itm_acc"]["score"], undefined["itm_acc_strict"]) == (0, 0)
    by_length = scoring.score_ranking(doc, [-6.0, -5.5], by_length=True)
    assert (by_length["itm_acc_strict"], by_length["itm_acc_norm"]) == (1, 0)


def test_chance_of_the_object_and_activity_control_is_one_sixth() -> None:
    """Random ranking of four: 2! 2! / 4! orders put both true statements first."""
    rng = random.Random(2)
    scored = [
        oa_scoring.score_statement(
            _document(row, index=index, answer="Yes" if index < 2 else "No"),
            rng.random(),
            rng.random(),
        )
        for row in range(ROWS)
        for index in range(4)
    ]
    assert oa_scoring.oa_rule(_column(scored, "oa_acc")) == pytest.approx(1 / 6, abs=0.02)


def test_causal_order_given_recognition_counts_recognised_rows_only(
    tiny_release: SimpleNamespace,
) -> None:
    docs = build("vqa_causal_full")
    # Row 0: all statements right, letters right. Row 1: one statement wrong. Row 2: degenerate.
    texts = [*"AB", "Yes", "Yes", "No", "No", *"AB", "Yes", "No", "No", "No", *"AB"]
    texts += ["Yes", "Yes", "No", "No"]
    scored = [oa_scoring.score_full(doc, text) for doc, text in zip(docs, texts, strict=True)]
    given = _column(scored, "causal_acc_given_oa")
    assert oa_scoring.causal_given_oa(given) == (1 + 1 + 0.5 + 0.5) / 4
    assert oa_scoring.consistency_given_oa(given) == (1 + 0.25) / 2
    assert oa_scoring.oa_strict(_column(scored, "oa_gen_strict_acc")) == pytest.approx(2 / 3)
    assert mean(_column(scored, "causal_score")) == pytest.approx(5 / 6)


@pytest.mark.parametrize("task", ["vqa_causal_itm", "vcr_causal_itm"])
def test_low_loss_and_high_log_probability_both_mean_preferred(
    tiny_release: SimpleNamespace, task: str
) -> None:
    """A model that prefers the gold caption is right in both harnesses, its mirror image wrong."""
    docs = [doc for doc in build(task) if not doc["degenerate"]]
    for sign, expected in ((1, 1.0), (-1, 0.0)):
        for doc in docs:
            losses = [1.0 - sign * (index == doc["answer"]) for index in range(2)]
            as_text = [str((loss, False)) for loss in losses]
            lmms = lmms_eval_task.ranking(doc, as_text)
            lm = lm_eval_task.ranking(doc, [(-loss, False) for loss in losses])
            assert lmms["causal_score"] == lm["causal_score"] == expected


def test_no_document_means_no_number() -> None:
    assert math.isnan(mean([None]))
    assert math.isnan(consistency([None, {"pair": "p", "order": "cw", "credit": 1.0}]))
    assert math.isnan(position_bias([None, None]))
