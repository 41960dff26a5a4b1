"""AMBER: the matching against the authors' procedure written out, and the sums."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import catalogue
from lmms_causal.tasks.amber import scoring
from lmms_causal.tasks.amber.data import Vocabulary, vocabulary
from lmms_causal.tasks.amber.documents import build
from lmms_causal.tasks.amber.objects import match, words_of

WORDS = [f"w{number}" for number in range(14)]


def _by_flags(
    nouns: list[str], truth: list[str], hallu: list[str], words: Vocabulary, similar: Callable
) -> tuple[int, int, int]:
    """The authors' bookkeeping with parallel lists of words and flags: wrong, covered, imagined."""
    tables = []
    for objects in (truth, hallu):
        names = [word for name in objects for word in words.associated[name]] + objects
        owner = [n for n, name in enumerate(objects) for _ in words.associated[name]]
        tables.append((names, owner, [0] * len(objects)))
    (safe_names, safe_owner, safe), (ha_names, ha_owner, ha) = tables

    def mark(names: list, owner: list, flags: list, place: int) -> None:
        flags[owner[place] if place < len(owner) else place - len(owner)] = 1

    wrong = 0
    for noun in nouns:
        if noun in words.safe:
            continue
        if noun in safe_names:
            mark(safe_names, safe_owner, safe, safe_names.index(noun))
            continue
        if noun in ha_names:
            mark(ha_names, ha_owner, ha, ha_names.index(noun))
        for place, name in enumerate(ha_names):
            if similar(noun, name):
                mark(ha_names, ha_owner, ha, place)
                break
        for place, name in enumerate(safe_names):
            if similar(noun, name):
                mark(safe_names, safe_owner, safe, place)
                break
        else:
            wrong += 1
    return wrong, sum(safe), sum(ha)


@pytest.mark.parametrize("with_synonyms", [False, True])
def test_matching_is_the_authors_procedure(with_synonyms: bool) -> None:
    draw = random.Random(0)
    for _ in range(300):
        table = {word: tuple(draw.sample(WORDS, draw.randrange(3))) for word in WORDS}
        words = Vocabulary(table, frozenset(WORDS), frozenset(draw.sample(WORDS, 2)))
        alike = {frozenset(draw.choices(WORDS, k=2)) for _ in range(8)} if with_synonyms else set()
        alike |= {frozenset([word]) for word in WORDS} if with_synonyms else set()

        def similar(one: str, other: str, alike: set = alike) -> bool:
            return frozenset((one, other)) in alike

        truth, hallu = draw.sample(WORDS, 3), draw.sample(WORDS, draw.randrange(4))
        nouns = draw.choices(WORDS, k=draw.randrange(8))
        found = match(nouns, truth, hallu, words, similar)
        expected = _by_flags(nouns, truth, hallu, words, similar)
        assert (sum(found.wrong), found.covered, found.imagined) == expected


def test_words_are_found_in_the_singular(tiny_companions: SimpleNamespace) -> None:
    words = vocabulary()
    text = "Rivers, BOATS; kittens and couches? Two women."
    found = ["river", "boat", "kitten", "couch", "woman"]
    assert words_of(text, words) == found
    assert words_of("1 riverside, catalogue", words) == []
    assert words_of("", words) == []


def test_descriptions_counted_by_hand(tiny_companions: SimpleNamespace) -> None:
    """First: river (twice), a ship that is not there. Second: cat, carpet. One of 5 is wrong."""
    docs = build("amber_generative")
    answers = ["A river, a stream and a ship.", "<think>a man</think>A cat on a carpet, a sign."]
    values: dict[str, list] = {}
    for doc, answer in zip(docs, answers, strict=True):
        for metric, value in scoring.score_description(doc, answer).items():
            values.setdefault(metric, []).append(value)
    assert scoring.ratio(values["amber_g_chair"]) == 1 / 5
    assert scoring.ratio(values["amber_g_cover"]) == 3 / 4  # snow is not mentioned
    assert scoring.ratio(values["amber_g_cog"]) == 1 / 3
    assert values["amber_g_hal"] == [1, 0]
    assert values["amber_g_faithful_acc"][0]["pred"] == ["ship"]
    assert scoring.combined(values["amber_combined_score"]) == 4 / 5
    assert math.isnan(scoring.ratio([]))


def test_only_the_exact_words_count_for_the_authors(tiny_companions: SimpleNamespace) -> None:
    docs = build("amber_discriminative")
    exact = [scoring.score_question(doc, doc["answer"].title()) for doc in docs]
    dressed = [scoring.score_question(doc, f"{doc['answer']}.") for doc in docs]
    assert all(value["amber_d_score"] == 1 for value in exact + dressed)
    assert {value["amber_d_exact_acc"]["pred"] for value in exact} == {"yes", "no"}
    assert {value["amber_d_exact_acc"]["pred"] for value in dressed} == {None}
    assert scoring.combined(value["amber_combined_score"] for value in exact) == 1
    attribute = [value["amber_d_acc_attribute"] for value in exact]
    assert len([view for view in attribute if view]) == 4


def test_files_that_do_not_fit_are_refused(
    tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_companions.folder / "amber"
    notes = json.loads((folder / "annotations.json").read_text())
    (folder / "annotations.json").write_text(json.dumps(notes[:-1]))
    with pytest.raises(UserError, match="AMBER's query 9 and its annotation do not fit"):
        catalogue.check(["amber_discriminative"])
    notes[0]["truth"] = ["dragon"]
    (folder / "annotations.json").write_text(json.dumps(notes))
    with pytest.raises(UserError, match="does not know the annotated object 'dragon'"):
        catalogue.check(["amber_generative"])
    monkeypatch.delenv("AMBER_IMAGE_DIR")
    with pytest.raises(UserError, match="AMBER_IMAGE_DIR is not set"):
        catalogue.check(["amber_discriminative"])
    catalogue.check(["amber_discriminative_blind"])
    monkeypatch.delenv("AMBER_ROOT")
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids downloads.*AMBER_ROOT"):
        catalogue.check(["amber_generative_blind"])
