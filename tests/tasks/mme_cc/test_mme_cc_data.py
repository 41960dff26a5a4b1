"""Questions, pictures and averages of MME-CC on a stand-in in the released schema."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.mme_cc import (
    aggregates,
    documents,
    fetching,
    generated,
    images,
    lm_eval_task,
)
from lmms_causal.tasks.mme_cc.reference import split_reference
from lmms_causal.tasks.mme_cc.subtasks import CATEGORIES, SIZES, SUBTASKS, category_of

TASKS = [task for tasks in CATEGORIES.values() for task in tasks]


def test_twelve_files_are_eleven_tasks_in_three_categories() -> None:
    assert (len(SUBTASKS), len(TASKS), sum(SIZES.values())) == (12, 11, 1173)
    assert [len(tasks) for tasks in CATEGORIES.values()] == [3, 5, 3]


def test_documents_keep_the_prompt_and_the_order_of_pictures(
    tiny_mme_cc: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        docs = documents.build("mme_cc_rule")
    assert "15 questions (sr 5, gr 6, vkr 4) instead of the published 1,173" in caplog.text
    assert len({doc["id"] for doc in docs}) == 15
    chairs = next(doc for doc in docs if doc["id"] == "Indoor_Deduplication_Counting-0")
    assert chairs["answer"] == "6" and chairs["criteria"] == "One point only for exactly six."
    assert (chairs["category"], chairs["task"]) == ("sr", "Indoor_Deduplication_Counting")
    red = [picture.getpixel((0, 0))[0] for picture in images.open_images(chairs)]
    assert red == [0, 40, 80]
    assert lm_eval_task.text(chairs) == "<image>" * 3 + chairs["text"]
    mazes = {doc["subtask"]: doc["task"] for doc in docs if doc["subtask"].startswith("Maze")}
    assert mazes == {"Maze06": "Maze", "Maze10": "Maze"}


@pytest.mark.parametrize(
    "text, parts",
    [
        ("## The correct answer is:\n7\n\n## Scoring criteria:\nseven", ("7", "seven")),
        ("7\n## Scoring criteria:\nseven", ("7", "seven")),
        ("## The correct answer is: 7", ("7", "")),
        ("7", ("7", "")),
        ("## Scoring criteria:\nany", ("", "any")),
    ],
)
def test_either_marker_may_be_missing(text: str, parts: tuple[str, str]) -> None:
    assert split_reference(text) == parts


def _change(root: Any, name: str, **fields: Any) -> None:
    rows = json.loads((root / name).read_text())
    rows[0].update(fields)
    (root / name).write_text(json.dumps(rows))


def test_the_subtask_may_be_named_in_extra_alone(tiny_mme_cc: SimpleNamespace) -> None:
    _change(
        tiny_mme_cc.root,
        "Jigsaw_Puzzle.json",
        image_list=["a.png"],
        extra={"subtask": "Jigsaw Puzzle"},
    )
    docs = documents.build("mme_cc_rule_blind")
    assert [doc["images"] for doc in docs if doc["task"] == "Jigsaw_Puzzle"] == [["a.png"]]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"image_list": ["../../etc/passwd"]}, "leaves the data set"),
        ({"image_list": ["/etc/passwd"]}, "leaves the data set"),
        ({"image_list": []}, "no picture"),
        ({"prompt": " "}, "no prompt"),
        ({"ground_truth": {"answer": "## The correct answer is:"}}, "no reference answer"),
        ({"ground_truth": {}}, "KeyError"),
        ({"image_list": ["Maze10/a.png"]}, "it belongs to Maze10"),
    ],
)
def test_a_row_that_is_no_question_is_named(
    tiny_mme_cc: SimpleNamespace, fields: dict[str, Any], message: str
) -> None:
    _change(tiny_mme_cc.root, "Jigsaw_Puzzle.json", **fields)
    with pytest.raises(UserError, match=rf"Jigsaw_Puzzle\.json: row 0 .*{message}"):
        documents.build("mme_cc_rule")


def test_missing_data_is_one_line(
    tiny_mme_cc: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tiny_mme_cc.root / "Maze06" / "s_1_1.png").unlink()
    with pytest.raises(UserError, match=r"1 image files are missing.*Maze06-0.*MME_CC_ROOT"):
        fetching.check("mme_cc_rule")
    fetching.check("mme_cc_rule_blind")
    (tiny_mme_cc.root / "Maze06.json").write_text("[{")
    with pytest.raises(UserError, match=r"Maze06\.json cannot be read as JSON"):
        fetching.check("mme_cc_rule_blind")
    (tiny_mme_cc.root / "Maze06.json").unlink()
    with pytest.raises(UserError, match=r"has no file Maze06\.json; put the file from https"):
        fetching.check("mme_cc_rule_blind")
    monkeypatch.setenv("MME_CC_ROOT", "/no/such/folder")
    with pytest.raises(UserError, match="MME_CC_ROOT=/no/such/folder is no folder"):
        fetching.check("mme_cc_rule_blind")
    monkeypatch.delenv("MME_CC_ROOT")
    with pytest.raises(UserError, match=r"Chart_Modification\.json .*HF_HUB_OFFLINE"):
        fetching.check("mme_cc_rule_blind")


def test_everything_can_be_fetched_without_a_judge(
    tiny_mme_cc: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_VERSION")
    said = fetching.fetch_all("mme_cc_judge", progress=False)
    assert said == "mme_cc_judge: 15 questions and 22 pictures are there"


def _records(accuracies: dict[str, float], size: int = 10) -> list[dict[str, Any]]:
    """``size`` records of each task, of which the given share in percent is right."""
    return [
        {"task": task, "credit": float(n < accuracy * size / 100), "failed": False}
        for task, accuracy in accuracies.items()
        for n in range(size)
    ]


#: The worked example: category means 20, 20 and 70, the mean of the eleven tasks is 33.64.
EXAMPLE = dict(zip(TASKS, (30, 10, 20, 0, 10, 20, 30, 40, 60, 70, 80), strict=True))


def test_the_overall_score_is_the_mean_of_the_categories() -> None:
    records = _records(EXAMPLE)
    assert aggregates.judged_overall(records) == pytest.approx(1.1 / 3)
    for category, expected in (("sr", 0.2), ("gr", 0.2), ("vkr", 0.7)):
        own = [r if category_of(r["task"]) == category else None for r in records]
        assert aggregates.judged_category(own) == pytest.approx(expected)


def test_sizes_of_tasks_and_tasks_that_are_missing_do_not_weigh() -> None:
    records = _records(EXAMPLE) + _records({"Maze": 20}, 500)
    assert aggregates.judged_overall(records) == pytest.approx(1.1 / 3)
    few = [record for record in records if record["task"] in ("Maze", "Sandbagging")]
    assert aggregates.judged_overall(few) == pytest.approx((0.2 + 0.6) / 2)
    assert (aggregates.tasks(records), aggregates.tasks(few)) == (11, 2)
    assert math.isnan(aggregates.judged_overall([]))


def test_task_accuracies_are_rounded_first_as_in_the_published_table() -> None:
    thirds = [
        {"task": task, "credit": c, "failed": False} for task in TASKS for c in (1.0, 0.0, 0.0)
    ]
    assert aggregates.judged_overall(thirds) == pytest.approx(1 / 3)
    assert aggregates.judged_overall_rounded(thirds) == pytest.approx(0.333)


def test_bounds_enclose_what_a_rule_cannot_tell(tiny_mme_cc: SimpleNamespace) -> None:
    """References as answers: free text stays open, all else is proven right."""
    docs = documents.build("mme_cc_rule")
    values = [generated.ruled(doc, [doc["answer"]]) for doc in docs]
    open_ones = [
        doc["id"]
        for doc, value in zip(docs, values, strict=True)
        if not value["mme_cc_rule_lower_score"]
    ]
    assert open_ones == ["Counterfactual_Instruction-0", "Sandbagging-0"]
    records = [value["mme_cc_rule_lower"] for value in values]
    # vkr: Sandbagging 0, Counterfactual_Instruction 1/2, Finding_Wrong_Answer 1
    assert aggregates.lower(records) == pytest.approx((1 + 1 + 0.5) / 3)
    assert aggregates.coverage(records) == aggregates.lower(records)
    assert aggregates.upper(records) == 1
    silent = [generated.ruled(doc, [""])["mme_cc_rule_lower"] for doc in docs]
    assert (aggregates.lower(silent), aggregates.upper(silent)) == (0, 0)
    vague = [generated.ruled(doc, ["Hard to say."])["mme_cc_rule_lower"] for doc in docs]
    assert (aggregates.lower(vague), aggregates.upper(vague), aggregates.coverage(vague)) == (
        0,
        1,
        0,
    )


def test_pictures_come_from_the_hub_by_their_path_and_must_decode(
    tiny_mme_cc: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(url: str, target: Path, *, remedy: str, check: Callable[[Path], None]) -> Path:
        asked.append((url, str(target.relative_to(tiny_mme_cc.cache))))
        source = tiny_mme_cc.root / "Maze06" / "s_1_1.png"
        broken = tiny_mme_cc.root / "broken.png"
        broken.write_bytes(source.read_bytes()[:40])
        check(source)
        with pytest.raises(UserError, match="corrupt image"):
            check(broken)
        assert "MME_CC_ROOT" in remedy
        return source

    monkeypatch.delenv("MME_CC_ROOT")
    monkeypatch.setattr(images, "fetch", fetch)
    (picture,) = images.open_images({"id": "x", "images": ["Maze06/a b#1.png"]})
    assert picture.size == (12, 8)
    address = "https://huggingface.co/datasets/MaxwellWen/MME-CC/resolve/main/Maze06/a%20b%231.png"
    assert asked == [(address, "mme_cc/Maze06/a b#1.png")]
