"""The strict verdict on the stand-in: rewordings are right, corruptions wrong; documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.tasks.centerbench.corruptions import tally
from lmms_causal.tasks.centerbench.documents import VARIANTS, build
from lmms_causal.tasks.centerbench.scoring import is_correct, score_answer


@pytest.fixture
def docs(tiny_centers: Path) -> dict[str, dict]:
    """The documents of the direct task by id."""
    return {doc["id"]: doc for doc in build("centerbench")}


@pytest.mark.parametrize(
    "place, answer, right",
    [
        ("1/01/1/action_performed", "stung the gardener", True),
        ("1/01/1/action_performed", "The wasp stung the gardener.", True),
        ("1/01/1/action_performed", "sting", False),
        ("1/01/1/action_performed", "stung it", False),
        ("1/01/1/action_performed", "stung the wasp", False),
        ("1/01/1/action_performed", "the gardener stung the gardener", False),
        ("1/02/0/action_performed", "boiled over", True),
        ("1/02/0/action_performed", "boiled", False),
        ("1/01/0/agent_identification", "Wasp.", True),
        ("1/01/0/agent_identification", "the wasp stung", False),
        ("1/01/0/entity_count", "two entities", True),
        ("1/01/0/entity_count", "3", False),
        ("2/01/0/nested_dependency", "Arrive.", True),
        ("2/01/0/nested_dependency", "stamped", False),
        (
            "2/01/0/causal_sequence",
            "The night nurse waved at the clerk, then the clerk stamped the letter",
            True,
        ),
        (
            "2/01/0/causal_sequence",
            "the clerk stamping the letter which led to the night nurse waving at the clerk",
            False,
        ),
        ("2/01/0/causal_sequence", "no prior events", False),
        ("2/01/2/causal_sequence", "Nothing.", True),
        ("2/01/2/causal_sequence", "", False),
        ("2/01/2/chain_consequence", "clerk stamp letter", True),
        ("2/01/2/chain_consequence", "the letter stamped the clerk", False),
        ("2/01/0/chain_consequence", "no consequence", True),
        ("2/01/0/chain_consequence", "it", False),
    ],
)
def test_words_and_their_places_count(
    place: str, answer: str, right: bool, docs: dict[str, dict]
) -> None:
    assert is_correct(docs[f"plausible/{place}"], answer) is right


def test_rewordings_are_accepted_and_corruptions_never(docs: dict[str, dict]) -> None:
    table = tally(docs.values(), is_correct)
    wrong = {key: row for key, row in table.items() if row.rate != row.sound}
    assert not wrong
    kinds = Counter(kind for kind, _ in table)
    assert all(count >= 6 for count in kinds.values()) and len(kinds) == 6
    assert ("causal_sequence", "verbs permuted") in table


def test_pairs_stand_side_by_side_so_that_a_limit_keeps_both(docs: dict[str, dict]) -> None:
    rows = list(docs.values())
    assert len(rows) == 2 * (12 + 12 + 18)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["pair_id"] == second["pair_id"]
        assert (first["subset"], second["subset"]) == ("plausible", "implausible")
    assert sum(doc["is_middle"] for doc in rows) == 6 * 6
    assert {doc["answer"] for doc in rows if "  " in doc["answer"]} == set()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_prompt_ends_with_the_question_and_never_tells_the_answer(
    name: str, tiny_centers: Path
) -> None:
    for doc in build(name):
        rules, found, asked = doc["text"].rpartition("\n\nSentence: ")
        assert found and asked == f"{doc['sentence']}\nQuestion: {doc['question']}"
        assert rules.startswith("/no_think\n") == (name == "centerbench_no_think")
        assert ("<think>" in rules) == (name == "centerbench_think")
        assert doc["type"] not in doc["text"]


def test_every_metric_has_the_value_of_its_part_only(docs: dict[str, dict]) -> None:
    doc = docs["implausible/2/01/1/causal_sequence"]
    values = score_answer(doc, doc["answer"])
    credit = {"sentence": "implausible/2/01", "credit": 1.0}
    assert values["implausible_acc"] == values["hard_acc"] == values["middle_acc"] == 1.0
    assert values["gap"] == values["gap_c2"] == values["gap_causal_sequence"] == credit
    absent = ("plausible_acc", "easy_acc", "gap_c1", "gap_entity_count", "entity_count_acc")
    assert {values[name] for name in (*absent, "official_acc", "official_excess")} == {None}
    assert values["centerbench_acc"]["sentence_id"] == "implausible/2/01"
    assert json.loads(doc["verb_forms"]) == {
        **{"sneezed": "sneeze", "stamped": "stamp", "stamping": "stamp"},
        **{"waved": "wave", "waving": "wave"},
    }


def test_both_harnesses_give_equal_scores_for_equal_answers(
    tiny_centers: Path, load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    """Right but for every third implausible answer, which says nothing."""
    scores = []
    for load in (load_lm_eval, load_lmms_eval):
        task = load("centerbench")["centerbench"]
        values: dict[str, list] = {}
        for row, doc in enumerate(task.test_docs()):
            cut = doc["subset"] == "implausible" and row % 3 == 0
            answer = "it" if cut else f"<think>?</think> {doc['answer']}."
            for metric, value in task.process_results(doc, [answer]).items():
                values.setdefault(metric, []).append(value)
        assert set(values) == set(task.aggregation())
        scores.append({name: f(values[name]) for name, f in task.aggregation().items()})
    assert json.dumps(scores[0]) == json.dumps(scores[1])
    wrong = 14  # of 42 implausible ones
    assert scores[0]["plausible_acc"] == 1
    assert scores[0]["implausible_acc"] == pytest.approx(1 - wrong / 42)
    assert scores[0]["gap"] == pytest.approx(100 * wrong / 42)
    assert scores[0]["centerbench_score"] == scores[0]["centerbench_acc"]
    assert scores[0]["centerbench_acc"] == pytest.approx(1 - wrong / 84)
    assert scores[0]["empty_invalid_rate"] == 0
    assert scores[0]["gap_ci_low"] <= scores[0]["gap"] <= scores[0]["gap_ci_high"]
