"""AMBER's published scores of descriptions: against lmms-eval's copy of the script, and by hand."""

from __future__ import annotations

import json
import math
import random
from types import ModuleType, SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import catalogue
from lmms_causal.tasks.amber import official, official_scoring
from lmms_causal.tasks.amber.documents import build
from lmms_causal.tasks.amber.official_scoring import percentage, percentage_of_the_rest

WORDS = [f"w{number}" for number in range(16)]
PRINTED = {
    "chair": percentage,
    "cover": percentage,
    "hal": percentage_of_the_rest,
    "cog": percentage,
}
COUNTERS = ("chair", "safe_cover", "hallu_cover", "non_hallu")


def _collect(docs: list[dict], answers: list[str]) -> dict[str, list]:
    values: dict[str, list] = {}
    for doc, answer in zip(docs, answers, strict=True):
        for metric, value in official_scoring.score_official(doc, answer).items():
            values.setdefault(metric, []).append(value)
    return values


def _add_words(companions: SimpleNamespace, *words: str) -> None:
    file = companions.folder / "amber" / "relation.json"
    table = json.loads(file.read_text()) | {word: [] for word in words}
    file.write_text(json.dumps(table))


def _printed(values: dict[str, list]) -> dict[str, float]:
    return {name: sums(values[f"amber_g_official_{name}"]) for name, sums in PRINTED.items()}


@pytest.mark.parametrize("seed", range(12))
def test_whole_runs_print_what_the_script_prints(
    seed: int,
    port: ModuleType,
    tiny_companions: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Random words, associations, synonyms and descriptions; one set of counters for all."""
    draw = random.Random(seed)
    table = {word: draw.sample(WORDS, draw.randrange(4)) for word in WORDS[:12]}
    safe = draw.sample(WORDS, 2)
    folder = tiny_companions.folder / "amber"
    (folder / "relation.json").write_text(json.dumps(table))
    (folder / "safe_words.txt").write_text("\n".join(safe))
    monkeypatch.setenv("AMBER_ROOT", str(folder))
    known = set(table) | {word for others in table.values() for word in others}
    alike = {frozenset(draw.choices(WORDS, k=2)) for _ in range(10)}

    def similar(one: str, other: str) -> bool:
        return one == other or frozenset((one, other)) in alike

    def script_similar(one: str, other: str, threshold: float) -> bool:
        assert threshold == official.THRESHOLD
        return similar(one, other)

    monkeypatch.setattr(port, "extract_nouns", str.split)
    monkeypatch.setattr(port, "check_synonyms_word", script_similar)
    monkeypatch.setattr(official, "load", lambda: official.Matcher(str.split, similar, "drawn"))
    docs, answers = [], []
    counters: dict[str, float] = {}
    for counter in COUNTERS:
        counters |= {f"{counter}_score": 0, f"{counter}_num": 0.001}
    for number in range(40):
        truth = draw.sample(list(table), draw.randrange(1, 5))
        hallu = draw.sample(list(table), draw.randrange(4))
        text = " ".join(draw.choices([*WORDS, "W1", "nothing"], k=draw.randrange(9)))
        port.process_generative_task(
            {"question_id": number, "text": text},
            {"truth": truth, "hallu": hallu},
            *(table, known, safe, port.SIMILARITY_THRESHOLD, counters),
        )
        doc = {"id": f"amber-{number}", "image_id": "x.jpg", "stratum": "generative"}
        docs.append({**doc, "truth": truth, "imagined": hallu})
        answers.append(text)
    shares = {name: counters[f"{name}_score"] / counters[f"{name}_num"] * 100 for name in COUNTERS}
    assert _printed(_collect(docs, answers)) == {
        "chair": round(shares["chair"], 1),
        "cover": round(shares["safe_cover"], 1),
        "hal": round(100 - shares["non_hallu"], 1),
        "cog": round(shares["hallu_cover"], 1),
    }


def test_descriptions_counted_by_hand(
    by_hand: official.Matcher, tiny_companions: SimpleNamespace
) -> None:
    """River, snow, boat expected; then cat, rug, sofa and person expected.

    First: a brook is no word of AMBER's and no mention; a light is safe, yet counts among the
    mentions; a Stream with a capital is no mention; the ship stands for the expected boat and is
    wrong. Second: a kitten is the cat; man and woman are the one person expected, both wrong.
    """
    _add_words(tiny_companions, "light")
    docs = build("amber_generative_official")
    answers = [
        "*Stream and *brook, a *light on the *water, a *ship.",
        "<think>a *boat</think>A *kitten, *kitten, a *man and a *woman.",
    ]
    values = _collect(docs, answers)
    wrong = [record["pred"] for record in values["amber_g_official_faithful_acc"]]
    assert wrong == [["ship"], ["man", "woman"]]
    # 3 of 7 mentions; 2 of 4 objects; 2 of 2 descriptions; 2 of 3 expected objects
    assert _printed(values) == {"chair": 42.9, "cover": 50.0, "hal": 100.0, "cog": 66.6}
    assert [record["score"] for record in values["amber_g_official_faithful_acc"]] == [0, 0]
    assert values["amber_g_official_faithful_acc"][0]["matcher"] == "by hand"


def test_synonyms_only_help_where_associations_do_not(
    by_hand: official.Matcher, tiny_companions: SimpleNamespace
) -> None:
    """Made into words of AMBER's, the brook covers the river and the tomcat the cat, by vectors.

    The tomcat is also similar to the ship, hence to the boat that might be expected: that it is
    right does not keep it from counting as imagined. That is in the script.
    """
    _add_words(tiny_companions, "brook", "tomcat")
    docs = build("amber_generative_official")
    docs[1]["imagined"] = ["boat"]
    printed = _printed(_collect(docs, ["A *brook.", "A *tomcat."]))
    assert printed == {"chair": 0.0, "cover": 50.0, "hal": 0.0, "cog": 50.0}


def test_denominators_begin_at_a_thousandth() -> None:
    """One of one is 99.9, a faithful description has Hal 0.1; over a whole run it is invisible."""
    one = {"part": 1, "whole": 1}
    assert percentage([one]) == 99.9
    assert percentage_of_the_rest([one]) == 0.1
    assert percentage([one] * 1004) == 100.0
    assert percentage_of_the_rest([one] * 1004) == 0.0
    assert percentage([{"part": 0, "whole": 0}]) == 0.0  # nothing mentioned is no hallucination
    assert percentage([None, {"part": 1, "whole": 3}]) == 33.3
    assert math.isnan(percentage([])) and math.isnan(percentage_of_the_rest([None]))


def test_ours_stands_beside_theirs_unchanged(
    by_hand: official.Matcher, tiny_companions: SimpleNamespace
) -> None:
    (doc, _) = build("amber_generative_official")
    assert doc == build("amber_generative")[0]
    both = official_scoring.score_official(doc, "A river and a *ship.")
    theirs = {metric: both.pop(metric) for metric in list(both) if "official" in metric}
    assert both == official_scoring.score_description(doc, "A river and a *ship.")
    assert both["amber_g_chair"] == {"part": 1, "whole": 2}
    assert theirs["amber_g_official_chair"] == {"part": 1, "whole": 1}  # the river has no star


@pytest.mark.parametrize("name", ["amber_generative_official", "amber_generative_official_blind"])
def test_without_the_matcher_nothing_is_built(
    name: str, tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> official.Matcher:
        raise UserError("the authors' matcher of AMBER cannot be used: spaCy is not installed")

    monkeypatch.setattr(official, "load", absent)
    with pytest.raises(UserError, match="matcher of AMBER cannot be used"):
        catalogue.check([name])
    catalogue.check(["amber_generative", "amber_generative_blind"])
