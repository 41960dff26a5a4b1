"""Scores of orders, documents and their videos, broken data, and the built-in that stays itself."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import kendalltau

from lmms_causal.errors import UserError
from lmms_causal.tasks import catalogue
from lmms_causal.tasks.vcrbench_causal import data, documents, fetching, scoring

#: (class, right order, response) of the reference runs through the authors' scorer.
SCORED = (
    ("A", (2, 4, 1, 3), "Correct order: Clip 2, Clip 4, Clip 1, Clip 3"),
    ("A", (2, 4, 1, 3), "Clip 2 shows it. Clip 4 does.\n\n**Correct order:** 2, 4, 3, 1"),
    ("A", (2, 4, 1, 3), "Correct order: 2, 4, 1"),
    ("B", (2, 4, 1, 3), "Correct order: 2 > 4 > 1 > 3"),
    ("B", (2, 4, 1, 3), "It has Clip 1, Clip 2, Clip 3, and Clip 4.\nCorrect order: 2, 4, 1, 3"),
    ("B", (3, 5, 1, 2, 4), "Since there are 5 clips, the correct order is 3, 5, 1, 2, 4"),
    ("B", (3, 5, 1, 2, 4), "There are 5 clips. The correct order is 3, 5, 1, 2, and 4."),
    ("A", (3, 5, 1, 2, 4), "Correct order: 3, 5, 1, 2, 4, as pouring must be last"),
    ("A", (3, 1, 2), "1. Clip 3\n2. Clip 1\n3. Clip 2"),
    ("A", (3, 1, 2), "Correct order: <Clip 1, Clip 3, Clip 2>"),
    ("B", (3, 1, 2), "Correct order: 3, 1, 2\n(Alternatively: 1, 3, 2)"),
)


def _doc(goal: str, order: tuple[int, ...], key: str = "x") -> dict:
    titles = list(order)
    return {"id": key, "pair_id": key, "goal": goal, "order": titles, "titles": titles}


def test_official_metrics_of_the_worked_examples() -> None:
    values = [scoring.score_answer(_doc(goal, order), text) for goal, order, text in SCORED]
    records = [value["vcrbench_official_acc"] for value in values]
    assert scoring.official_scores(records) == {
        "avg_accuracy": 36.36,
        "avg_step_accuracy": 45.45,
        "scores_per_class": {"A": 33.33, "B": 40.0},
        "weighted_avg_accuracy": 36.66,  # of rounded classes: 36.67 without rounding first
        "scores_per_step": {3: 33.33, 4: 20.0, 5: 66.67},
    }
    strict = [value["vcrbench_score"] for value in values]
    assert strict == [1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert scoring.macro_over_goals(v["vcrbench_goal_acc"] for v in values) == pytest.approx(
        (3 / 6 + 4 / 5) / 2
    )
    assert (
        scoring.pooled(v["vcrbench_step_acc"] for v in values) == (4 * 3 + 2 + 5 * 3 + 3 + 1) / 44
    )


@pytest.mark.parametrize("n", range(2, 7))
def test_tau_and_neighbours_of_all_orders(n: int) -> None:
    """Against SciPy; a uniform guess has tau 0 and finds 1 of n neighbours."""
    draw = random.Random(n)
    right = draw.sample(range(1, n + 1), n)
    taus, shares = [], []
    for order in itertools.permutations(range(1, n + 1)):
        places = {clip: place for place, clip in enumerate(order)}
        taus.append(scoring.kendall_tau(order, right))
        expected = kendalltau(range(n), [places[clip] for clip in right]).statistic
        assert taus[-1] == pytest.approx(expected)
        shares.append(scoring.adjacent_pairs(order, right))
    assert sum(taus) / len(taus) == pytest.approx(0)
    assert sum(shares) / len(shares) == pytest.approx(1 / n)
    assert scoring.kendall_tau(right, right) == scoring.adjacent_pairs(right, right) == 1
    assert scoring.kendall_tau(right[::-1], right) == -1
    assert scoring.adjacent_pairs(right[::-1], right) == 0


def test_no_order_is_wrong_everywhere_and_has_no_tau() -> None:
    values = scoring.score_answer(_doc("A", (3, 1, 2)), "I cannot tell.")
    assert values["vcrbench_score"] == values["vcrbench_pair_acc"] == 0
    assert values["vcrbench_adjacent_acc"] == values["vcrbench_step_acc"]["right"] == 0
    assert values["vcrbench_kendall_tau"] is None and values["natural_order_rate"] is None
    assert values["vcrbench_invalid_rate"] == 1
    assert math.isnan(scoring.pooled([])) and math.isnan(scoring.official_total([]))


def test_chance_of_a_uniform_order_on_the_released_lengths() -> None:
    """7.147 % and 23.609 % follow from the counts in the manifest; random answers come near."""
    release = json.loads(data.MANIFEST.read_text())
    counts = {n: release[f"clips_{n}"] for n in scoring.CLIPS}
    rows, clips = sum(counts.values()), sum(n * count for n, count in counts.items())
    assert (rows, clips) == (release["rows"], 1546)
    exact = sum(count / math.factorial(n) for n, count in counts.items()) / rows
    assert exact == pytest.approx(0.07147, abs=1e-5)
    assert rows / clips == pytest.approx(0.23609, abs=1e-5)
    draw, values = random.Random(0), []
    for n, count in counts.items():
        for _ in range(10 * count):
            right, guess = draw.sample(range(1, n + 1), n), draw.sample(range(1, n + 1), n)
            values.append(scoring.score_answer(_doc("A", tuple(right)), f"Correct order: {guess}"))
    records = [value["vcrbench_official_acc"] for value in values]
    assert scoring.official_total(records) == pytest.approx(7.147, abs=1.5)
    assert scoring.official_step(records) == pytest.approx(23.609, abs=1.5)


def test_documents_ask_in_the_authors_words(tiny_videos: Path) -> None:
    from lmms_eval.tasks.vcrbench.utils import vcrbench_doc_to_target, vcrbench_doc_to_text

    rows = json.loads((tiny_videos / "data.json").read_text())
    for doc, row in zip(documents.build("plain"), rows, strict=True):
        assert doc["text"] == vcrbench_doc_to_text(row).strip()
        assert ", ".join(map(str, doc["order"])) == vcrbench_doc_to_target(row)
        assert scoring.score_answer(doc, doc["answer"])["vcrbench_score"] == 1
        assert scoring.score_answer(doc, doc["answer"])["vcrbench_official_acc"]["exact"] == 1


def test_renamed_clips_are_told_and_scored_by_their_other_numbers(tiny_videos: Path) -> None:
    for plain, doc in zip(documents.build("plain"), documents.build("renamed"), strict=True):
        assert doc["text"].startswith(plain["text"]) and doc["titles"] == plain["order"]
        pairs = zip(doc["titles"], doc["order"], strict=True)
        told = [f"Instead of Clip {title} write Clip {other}." for title, other in pairs]
        assert set(told) == set(doc["text"].splitlines()[-len(told) :])
        assert doc["order"] != plain["order"]
        right = scoring.score_renamed(doc, doc["answer"])
        assert (right["vcrbench_score"], right["titles_kept_rate"]) == (1, 0)
        kept = scoring.score_renamed(doc, plain["answer"])
        assert (kept["vcrbench_score"], kept["titles_kept_rate"]) == (0, 1)


def test_renamings_move_a_clip_and_are_otherwise_uniform() -> None:
    items = [data.Item(str(n), "g", "v", (2, 3, 1)) for n in range(5000)]
    drawn = [tuple(documents.renaming(item)) for item in items]
    assert set(drawn) == set(itertools.permutations((1, 2, 3))) - {(1, 2, 3)}
    assert all(abs(drawn.count(order) / 5000 - 0.2) < 0.03 for order in set(drawn))
    assert drawn == [tuple(documents.renaming(item)) for item in items]


def test_lmms_eval_is_given_the_video_and_blind_twins_nothing(
    tiny_videos: Path, load_lmms_eval: Callable
) -> None:
    for name in ("vcrbench_causal", "vcrbench_causal_renamed"):
        seeing, blind = load_lmms_eval(name)[name], load_lmms_eval(f"{name}_blind")[f"{name}_blind"]
        for task, kinds in ((seeing, ["video", "text"]), (blind, ["text"])):
            task.build_all_requests(limit=3)
            for instance, doc in zip(task.instances, task.test_docs(), strict=True):
                (message,) = instance.args[1](doc)
                assert [part["type"] for part in message["content"]] == kinds
                assert message["content"][-1]["text"] == doc["text"]
                if kinds[0] == "video":
                    assert Path(message["content"][0]["url"]).name == doc["video_file"]
        assert list(seeing.test_docs()) == list(blind.test_docs())
        for doc in seeing.test_docs():
            for text in ("Correct order: 2, 1, 3", doc["answer"], ""):
                assert seeing.process_results(doc, [text]) == blind.process_results(doc, [text])


def test_the_built_in_task_keeps_its_name() -> None:
    assert not {"vcrbench", "mme_cc"} & set(catalogue.names())


def _write(root: Path, rows: object) -> None:
    (root / "data.json").write_text(json.dumps(rows))


def test_mistakes_in_the_data_are_one_line(tiny_videos: Path) -> None:
    good = json.loads((tiny_videos / "data.json").read_text())
    (tiny_videos / "videos" / "video_2.mp4").unlink()
    with pytest.raises(UserError, match=r"1 of 3 VCRBench videos.*video_2\.mp4.*VCRBENCH_VIDEO"):
        fetching.check("vcrbench_causal")
    assert "3 items are there" in fetching.fetch_all("vcrbench_causal_blind")
    _write(tiny_videos, [good[0], {**good[1], "ground_truth": [0, 2]}])
    with pytest.raises(UserError, match=r"row 1 is no item.*\[0, 2\] is no order"):
        fetching.check("vcrbench_causal_blind")
    _write(tiny_videos, [good[0], good[0]])
    with pytest.raises(UserError, match="qid 1 occurs more than once"):
        fetching.check("vcrbench_causal_blind")
    _write(tiny_videos, {})
    with pytest.raises(UserError, match="no list of items"):
        fetching.check("vcrbench_causal_blind")
    (tiny_videos / "data.json").write_text("[{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        fetching.check("vcrbench_causal_blind")
    with pytest.raises(UserError, match="plain or renamed"):
        documents.build("blind")


def test_the_hubs_file_must_be_the_release(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VCRBENCH_ROOT")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"pritamqu/VCRBench cannot be had.*VCRBENCH_ROOT"):
        fetching.check("vcrbench_causal_blind")
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *_, **__: str(tiny_videos / "data.json")
    )
    with pytest.raises(UserError, match="not the release: rows is 3 instead of 365"):
        fetching.check("vcrbench_causal_blind")


def test_both_harnesses_give_equal_scores_for_orders(
    tiny_videos: Path, load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    """The golden answers hold no orders, so these are right, reversed, natural and ambiguous."""
    for name in ("vcrbench_causal_blind", "vcrbench_causal_renamed_blind"):
        totals = []
        for task in (load_lmms_eval(name)[name], load_lm_eval(name)[name]):
            values: dict[str, list] = {}
            for doc in task.test_docs():
                right = [str(clip) for clip in doc["order"]]
                for text in (", ".join(right), "->".join(right[::-1]), ", ".join(sorted(right))):
                    for metric, value in task.process_results(doc, [text]).items():
                        values.setdefault(metric, []).append(value)
            totals.append({key: task.aggregation()[key](part) for key, part in values.items()})
        one, other = ({k: v for k, v in total.items() if v == v} for total in totals)
        assert one == other and one["vcrbench_score"] > 0 and one["natural_order_rate"] > 0
