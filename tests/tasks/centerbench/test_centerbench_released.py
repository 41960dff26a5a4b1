"""The released files: everything loads, references are right, corruptions wrong; the matcher.

Skipped where the files are not: set ``CENTERBENCH_DIR``. What needs the published matcher's models
is skipped where they are not on disk: see ``CENTERBENCH_SPACY_MODEL`` and ``CENTERBENCH_EMBEDDER``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.centerbench import official
from lmms_causal.tasks.centerbench.corruptions import tally, variants
from lmms_causal.tasks.centerbench.data import TYPES
from lmms_causal.tasks.centerbench.documents import build
from lmms_causal.tasks.centerbench.gap import gap, gap_curve
from lmms_causal.tasks.centerbench.scoring import is_correct, score_answer

pytestmark = pytest.mark.data

#: Subset initial, level, index, entity, type, answer, published verdict, strict verdict; measured
#: with the authors' code (spaCy 3.8.18, English small model 3.8.0, sentence-transformers 6.2.0).
WORKED = (
    ("P", 1, 1, "mailman", "action_performed", "startled the dog", True, True),
    ("P", 1, 1, "mailman", "action_performed", "The mailman startled the dog.", False, True),
    ("P", 1, 1, "mailman", "action_performed", "startled", True, False),
    ("P", 1, 1, "mailman", "action_performed", "startle it", True, False),
    ("P", 1, 1, "mailman", "action_performed", "startled the mailman", False, False),
    ("P", 1, 1, "dog", "action_performed", "barked", True, True),
    ("P", 3, 1, "cat", "action_performed", "ran away", True, True),
    ("P", 3, 1, "cat", "action_performed", "run", True, False),
    ("I", 3, 1, "airplane", "action_performed", "jackknifed into the motorcycle", True, True),
    ("I", 3, 1, "airplane", "action_performed", "jackknifed", False, False),
    ("P", 1, 1, "dog", "agent_identification", "Mailman.", True, True),
    ("P", 1, 1, "dog", "agent_identification", "the dog", False, False),
    ("P", 3, 1, "cat", "entity_count", "four", False, True),
    ("P", 3, 1, "cat", "entity_count", "4 entities", False, True),
    ("P", 3, 1, "cat", "entity_count", "5", False, False),
    ("P", 1, 1, "dog", "entity_count", "2.", False, True),
    ("P", 3, 1, "bear", "nested_dependency", "scare the dog", False, True),
    ("P", 3, 1, "bear", "nested_dependency", "stalked the wolf", False, False),
    ("P", 3, 1, "cat", "nested_dependency", "Ran away.", True, True),
    ("P", 3, 1, "cat", "nested_dependency", "chased", False, False),
    (
        *("P", 3, 1, "dog", "causal_sequence"),
        *("The bear stalked the wolf, the wolf scared the dog", True, True),
    ),
    (
        *("P", 3, 1, "dog", "causal_sequence"),
        *("the wolf scaring the dog which led to the bear stalking the wolf", True, False),
    ),
    (
        *("P", 3, 1, "dog", "causal_sequence"),
        *("the wolf stalking the bear which led to the dog scaring the wolf", True, False),
    ),
    ("P", 3, 1, "dog", "causal_sequence", "the wolf scaring the dog", False, False),
    ("P", 1, 1, "mailman", "causal_sequence", "No prior events.", True, True),
    ("P", 1, 1, "mailman", "causal_sequence", "none", False, True),
    ("P", 3, 1, "wolf", "chain_consequence", "dog chase cat", True, True),
    ("P", 3, 1, "wolf", "chain_consequence", "the cat chased the dog", True, False),
    (
        *("P", 3, 1, "wolf", "chain_consequence"),
        *("the dog chased the cat which led to the cat running away", False, False),
    ),
    ("P", 3, 1, "cat", "chain_consequence", "nothing", True, True),
    ("P", 3, 1, "cat", "chain_consequence", "", True, False),
    ("P", 3, 1, "cat", "chain_consequence", "no consequence", False, True),
    (
        *("I", 3, 1, "motorcycle", "chain_consequence"),
        *("the truck lane-split past the bicycle", True, False),
    ),
)

EXCHANGED = (
    *("subject and object swapped", "events in reverse order", "verbs permuted"),
    "last event left out",
)


@pytest.fixture(scope="module")
def docs() -> list[dict]:
    """All 9,720 documents of the direct task."""
    given = os.environ.get("CENTERBENCH_DIR")
    folders = [Path(given)] if given else []
    folders += [parent / "shared/data/centerbench" for parent in Path(__file__).resolve().parents]
    found = next((one for one in folders if (one / "plausible_subset.json").is_file()), None)
    if found is None:
        pytest.skip("the files of CenterBench are not here; set CENTERBENCH_DIR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CENTERBENCH_DIR", str(found))
        return build("centerbench")


@pytest.fixture(scope="module")
def matcher() -> official.Matcher:
    """The published matcher, if its models are here."""
    try:
        found = official.load(required=True)
    except UserError as error:
        pytest.skip(str(error))
    assert found is not None
    return found


@pytest.fixture
def strict_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the published matcher out, which takes minutes for all questions."""
    monkeypatch.setenv("CENTERBENCH_OFFICIAL", "0")


def test_all_questions_load_in_complete_pairs(docs: list[dict]) -> None:
    sizes = {1: 360, 2: 540, 3: 720, 4: 900, 5: 1080, 6: 1260}
    counts = Counter((doc["subset"], doc["level"]) for doc in docs)
    expected = {
        (subset, k): size for subset in ("plausible", "implausible") for k, size in sizes.items()
    }
    assert counts == expected and len(docs) == 9720
    assert Counter((doc["subset"], doc["type"]) for doc in docs) == {
        (subset, kind): 810 for subset in ("plausible", "implausible") for kind in TYPES
    }
    assert set(Counter(doc["pair_id"] for doc in docs).values()) == {2}
    middle = Counter((doc["subset"], doc["level"]) for doc in docs if doc["is_middle"])
    assert set(middle.values()) == {180} and len(middle) == 12
    assert len({doc["id"] for doc in docs}) == 9720
    fixed = ("none", "no prior events")
    for first, second in zip(docs[::2], docs[1::2], strict=True):
        assert (first["answer"] in fixed) == (second["answer"] in fixed)


def test_references_score_one_and_leave_no_gap(docs: list[dict], strict_only: None) -> None:
    values = [score_answer(doc, doc["answer"]) for doc in docs]
    assert {value["centerbench_score"] for value in values} == {1.0}
    overall = gap_curve([value["gap"] for value in values]).overall
    assert (overall.value, overall.low, overall.high) == (0, 0, 0)


def test_a_constant_answer_gets_the_share_of_fixed_phrases(
    docs: list[dict], strict_only: None
) -> None:
    values = [score_answer(doc, "none") for doc in docs]
    assert sum(value["centerbench_score"] for value in values) == 720
    assert gap([value["gap"] for value in values]) == 0
    assert not any(is_correct(doc, "") for doc in docs)
    half = [score_answer(d, d["answer"] if d["subset"] == "plausible" else "") for d in docs]
    overall = gap_curve([value["gap"] for value in half]).overall
    assert (overall.value, overall.low, overall.high) == (100, 100, 100)


def test_every_corruption_scores_zero_and_every_rewording_one(docs: list[dict]) -> None:
    table = tally(docs, is_correct)
    assert not {key: row for key, row in table.items() if row.rate != row.sound}
    given = {key: row.given for key, row in table.items()}
    assert given["causal_sequence", "subject and object swapped"] == 1258
    assert given["chain_consequence", "subject and object swapped"] == 900
    assert given["causal_sequence", "events in reverse order"] == 899
    assert sum(row.given for row in table.values() if not row.sound) > 35_000


def test_references_known_to_be_bad_are_few_and_named(docs: list[dict]) -> None:
    bad = {doc["id"] for doc in docs if doc["known_bad"]}
    assert 100 < len(bad) < 200
    named = [
        ("plausible/6/02/3/action_performed", True),  # the reference is the question
        ("plausible/2/26/0/action_performed", True),
        ("implausible/4/11/0/nested_dependency", True),
        ("implausible/2/30/1/action_performed", True),
        ("plausible/1/01/0/action_performed", False),
    ]
    assert [place in bad for place, _ in named] == [expected for _, expected in named]
    twice = [d for d in docs if d["type"] == "nested_dependency" and d["known_bad"]]
    assert len(twice) >= 10


def _doc(docs: list[dict], initial: str, level: int, index: int, entity: str, kind: str) -> dict:
    return next(
        doc
        for doc in docs
        if doc["subset"][0].upper() == initial
        and (doc["level"], doc["index"], doc["entity"], doc["type"]) == (level, index, entity, kind)
    )


@pytest.mark.parametrize("row", WORKED, ids=lambda row: f"{row[3]}-{row[4]}-{row[5][:20]}")
def test_worked_examples_of_the_strict_scorer(row: tuple, docs: list[dict]) -> None:
    *place, answer, _, strict = row
    assert is_correct(_doc(docs, *place), answer) is strict


@pytest.mark.parametrize("row", WORKED, ids=lambda row: f"{row[3]}-{row[4]}-{row[5][:20]}")
def test_worked_examples_of_the_published_matcher(
    row: tuple, docs: list[dict], matcher: official.Matcher
) -> None:
    *place, answer, published, _ = row
    doc = _doc(docs, *place)
    assert matcher.accepts(answer, doc["answer"], doc["type"]) is published


@pytest.mark.slow
def test_the_published_matcher_accepts_every_exchange_of_roles(
    docs: list[dict], matcher: official.Matcher
) -> None:
    """As measured with the authors' code; the first levels, of which chains are short."""

    accepted: dict[tuple[str, str], list[bool]] = {}
    for doc in docs:
        if doc["level"] == 2 and doc["difficulty"] == "hard":
            for made in variants(doc):
                if not made.sound and made.name in EXCHANGED:
                    verdict = matcher.accepts(made.text, doc["answer"], doc["type"])
                    accepted.setdefault((doc["type"], made.name), []).append(verdict)
    shares = {key: sum(verdicts) / len(verdicts) for key, verdicts in accepted.items()}
    assert shares.pop(("causal_sequence", "last event left out")) == pytest.approx(0.13, abs=0.01)
    assert len(shares) == 4 and set(shares.values()) == {1.0}


def test_both_harnesses_load_all_questions(
    docs: list[dict],
    load_lmms_eval: Callable,
    load_lm_eval: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = os.environ.get("CENTERBENCH_DIR")
    if given is None:
        folder = next(
            parent / "shared/data/centerbench"
            for parent in Path(__file__).resolve().parents
            if (parent / "shared/data/centerbench").is_dir()
        )
        monkeypatch.setenv("CENTERBENCH_DIR", str(folder))
    for load in (load_lmms_eval, load_lm_eval):
        rows = load("centerbench")["centerbench"].test_docs()
        assert list(rows["id"]) == [doc["id"] for doc in docs]
