"""Every task file through the harnesses' own loaders, and the same scores through both.

The golden file holds the scores of fixed answers on the stand-in data. If a test on it fails, a
score changed: raise ``metadata.version`` of the task, write a line into the changelog of its
README, then renew the file with ``python -m pytest tests/tasks/test_task_files.py --capture=no``
and ``LMMS_CAUSAL_RENEW_GOLDEN=1``.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.tasks import HARNESSES, catalogue, roots

GOLDEN = Path(__file__).with_name("golden_scores.json")
ANSWERS = (
    *("A", "B", "(B)", "Answer: A", "Yes", "no.", "", "red", "I cannot see it."),
    *("Option A is wrong, so B", "The answer is A or B."),
)

LMMS_EVAL = [name for name in catalogue.names("lmms-eval") if catalogue.members(name) == (name,)]
LMMS_EVAL = [name for name in LMMS_EVAL if not name.startswith("vcrbench_rrd")]
"""Tasks of one call; the others have tests of their own, `vcrbench_causal/`."""
LM_EVAL = [name for name in catalogue.names("lm-eval") if catalogue.members(name) == (name,)]
GROUPS = [name for name in catalogue.names() if catalogue.members(name) != (name,)]


TEXT_ONLY = ("judge_pairs", "multi_doc_qa", "centerbench")
TEXT_ONLY += ("ocw", "vcrbench_causal")  # or videos, which are no pictures
LATER_VERSION = ("causal_vqa", "vqa_causal", "vcr_causal")
SECOND_VERSION = ("mucr", "judge_pairs_names", "judge_pairs_letters")


pytestmark = pytest.mark.slow  # every task file through its harness


@pytest.fixture(autouse=True)
def _offline(
    tiny_release: SimpleNamespace,
    tiny_pairs: Path,
    tiny_questions: Path,
    tiny_mme_cc: SimpleNamespace,  # its judge is replaced by that of the companions
    tiny_centers: Path,
    tiny_mucr: Path,
    tiny_companions: SimpleNamespace,
    tiny_videos: Path,
    tiny_walls: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _shows_a_picture(name: str) -> bool:
    return not ("blind" in name or name.endswith("_text") or name.startswith(TEXT_ONLY))


def _labels(name: str, doc: dict) -> list[str]:
    """What stands before each picture: nothing, unless a document shows several."""
    return (doc.get("labels") or [""]) if _shows_a_picture(name) else []


def _version(name: str, output_type: str) -> float:
    if name.startswith(SECOND_VERSION):
        return 1.1
    if name.startswith(LATER_VERSION) and "options" not in name:
        return 1.1 if output_type == "multiple_choice" else 1.2
    return 1.0


@pytest.mark.parametrize("name", LMMS_EVAL)
def test_lmms_eval_builds_requests_with_pictures(name: str, load_lmms_eval: Callable) -> None:
    chooses = load_lmms_eval(name, "simple")[name].OUTPUT_TYPE == "multiple_choice"
    task = load_lmms_eval(name, "simple" if chooses else "chat")[name]
    task.build_all_requests(limit=2)
    doc = task.test_docs()[0]
    assert task.instances and float(task.VERSION) == _version(name, task.OUTPUT_TYPE)
    pictures = len(_labels(name, doc))
    if chooses:
        context, continuation, doc_to_visual, *_ = task.instances[0].args
        assert (context, continuation) == (doc["text"], task.doc_to_choice(doc)[0])
        shown = doc_to_visual(doc)
    else:
        _, doc_to_messages, options, *_ = task.instances[0].args
        (message,) = doc_to_messages(doc)
        shown = [part["url"] for part in message["content"] if part["type"] == "image"]
        assert message["content"][-1] == {"type": "text", "text": doc["text"]}
        assert options["until"] == [] and options["max_new_tokens"] > 0
        assert options["do_sample"] is False
    assert len(shown) == pictures
    assert all(isinstance(picture, Image.Image) and picture.mode == "RGB" for picture in shown)


@pytest.mark.parametrize("name", LM_EVAL)
def test_lm_eval_builds_requests_with_pictures(name: str, load_lm_eval: Callable) -> None:
    task = load_lm_eval(name)[name]
    task.build_all_requests(limit=2)
    doc = task.eval_docs[0]
    args = task.instances[0].args
    assert float(task.VERSION) == _version(name, task.OUTPUT_TYPE)
    if not _shows_a_picture(name):
        assert args[0] == doc["text"] and len(args) == 2
    else:
        shown, labels = args[2]["visual"], _labels(name, doc)
        assert args[0] == "".join(f"{label}<image>" for label in labels) + doc["text"]
        assert len(shown) == len(labels)
        assert all(isinstance(picture, Image.Image) and picture.mode == "RGB" for picture in shown)
    if task.OUTPUT_TYPE == "generate_until":
        assert args[1]["until"] == [] and args[1]["max_gen_toks"] > 0
    else:
        assert args[1] == task.doc_to_choice(doc)[0]


def test_few_shot_examples_cannot_come_from_the_questions_themselves(
    load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    """Both harnesses refuse ``--num_fewshot`` for a task that sets 0; there is no other split."""
    for name in LM_EVAL:
        assert load_lm_eval(name)[name].config.num_fewshot == 0
    for name in LMMS_EVAL:
        assert load_lmms_eval(name, "simple")[name].config.num_fewshot == 0


def test_every_document_says_which_it_is_and_which_picture_it_shares(
    load_lmms_eval: Callable,
) -> None:
    """lmms-eval's samples files hold nothing of a document but what its metric values carry."""
    for name in LMMS_EVAL:
        task = load_lmms_eval(name, "simple")[name]
        for doc in list(task.test_docs())[:12]:
            chooses = task.OUTPUT_TYPE == "multiple_choice"
            results = ["(1.0, False)"] * len(task.doc_to_choice(doc)) if chooses else ["A"]
            told: dict = {}
            for value in task.process_results(doc, results).values():
                told |= value if isinstance(value, dict) else {}
            assert (told.get("id"), told.get("image_id")) == (doc["id"], doc.get("image_id")), name


def test_rates_without_a_good_direction_claim_none(
    load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    loaded = [load_lm_eval(name)[name] for name in LM_EVAL]
    loaded += [load_lmms_eval(name, "simple")[name] for name in LMMS_EVAL]
    directions = [item for task in loaded for item in task.higher_is_better().items()]
    undirected = ("yes_rate", "sentence_rate", "first_rate", "tie_rate", "letter_a_rate")
    neutral = {name: way for name, way in directions if name.endswith(undirected)}
    assert len(neutral) == 8 and set(neutral.values()) == {None}
    assert all(way is False for name, way in directions if "invalid" in name or "bias" in name)
    assert all(way is True for name, way in directions if "_acc" in name or "score" in name)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_loads_exactly_its_members(
    name: str, load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    members = set(catalogue.members(name))
    assert set(load_lm_eval(name)) == members
    if name in catalogue.names("lmms-eval"):
        kind = (
            "simple"
            if {"yn", "itm", "choice", "options", "judge"} & set(name.split("_"))
            else "chat"
        )
        kind = "chat" if "yn_gen" in name else kind
        assert set(load_lmms_eval(name, kind)) == members


@pytest.mark.parametrize("name", LM_EVAL)
def test_both_harnesses_give_the_golden_scores(
    name: str, load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    scores = _scores(load_lm_eval(name)[name], _log_probabilities)
    if name in LMMS_EVAL:
        task = load_lmms_eval(name, "simple")[name]
        through_lmms_eval = _scores(task, _losses)
        common = {metric: scores[metric] for metric in through_lmms_eval}
        assert through_lmms_eval == common
        assert all("_norm" in metric for metric in set(scores) - set(common))
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if os.environ.get("LMMS_CAUSAL_RENEW_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps({**golden, name: scores}, indent=1, sort_keys=True) + "\n")
    else:
        assert scores == golden[name]


def _scores(task: object, choice_results: Callable) -> dict[str, float | None]:
    """Every metric of the task for the fixed answers; NaN as None, rounded for other platforms."""
    values: dict[str, list] = {}
    for doc in list(task.test_docs())[:200]:
        draw = random.Random(doc["id"])
        if task.OUTPUT_TYPE == "multiple_choice":
            losses = [round(draw.uniform(0, 4), 3) for _ in task.doc_to_choice(doc)]
            results = choice_results(losses)
        else:
            results = [draw.choice(ANSWERS)]
        for metric, value in task.process_results(doc, results).items():
            values.setdefault(metric, []).append(value)
    aggregations = task.aggregation()
    ours = {metric: values.pop(metric) for metric in list(values) if metric in aggregations}
    assert not values, f"metrics that the task file does not declare: {sorted(values)}"
    missing = set(aggregations) - set(ours)
    assert not missing, f"declared metrics without values: {sorted(missing)}"
    totals = {metric: aggregations[metric](items) for metric, items in ours.items()}
    numbers = {
        metric: float(total)
        for metric, total in totals.items()
        if not isinstance(total, str)  # who judged
    }
    return {
        metric: None if math.isnan(number) else round(number, 9)
        for metric, number in numbers.items()
    }


def _losses(losses: list[float]) -> list[str]:
    return [str((loss, False)) for loss in losses]


def _log_probabilities(losses: list[float]) -> list[tuple[float, bool]]:
    return [(-loss, False) for loss in losses]


@pytest.mark.parametrize("harness", HARNESSES)
def test_the_first_metric_is_a_number_that_baseline_pairing_finds(
    harness: str, load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    """lmms-eval pairs on the first sample key that contains "score" and holds a number."""
    for name in LMMS_EVAL if harness == "lmms-eval" else LM_EVAL:
        load = load_lm_eval if harness == "lm-eval" else lambda name: load_lmms_eval(name, "simple")
        task = load(name)[name]
        first = next(iter(task.aggregation()))
        doc = task.test_docs()[0]
        chooses = task.OUTPUT_TYPE == "multiple_choice"
        results = [(-1.0, False)] * len(task.doc_to_choice(doc)) if chooses else ["A"]
        values = task.process_results(doc, results)
        assert first.endswith("_score") and next(iter(values)) == first
        assert isinstance(values[first], float)


def test_a_users_mistake_ends_lmms_eval_at_once_with_one_line(
    load_lmms_eval: Callable, tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary exception would be retried for eight seconds and end in exit code 0."""
    monkeypatch.setattr("sys.argv", ["lmms-eval"])
    (tiny_release.coco / "COCO_val2014_000000900002.jpg").unlink()
    with pytest.raises(SystemExit, match=r"error: 1 image files are missing.*COCO_VAL2014_DIR"):
        load_lmms_eval("causal_vqa")


def test_a_users_mistake_reaches_lm_eval_as_it_is(
    load_lm_eval: Callable, tiny_release: SimpleNamespace
) -> None:
    (tiny_release.csvs / "vqa_causal.csv").unlink()
    with pytest.raises(UserError, match="CAUSAL_VQA_CSV_DIR"):
        load_lm_eval("causal_vqa")


def test_no_name_occurs_twice_in_one_root() -> None:
    for harness in HARNESSES:
        stems = [path.stem for path in roots(harness).glob("*/*.yaml") if path.stem[0] != "_"]
        assert len(stems) == len(set(stems))
        for path in roots(harness).glob("*/*.yaml"):
            lines = path.read_text(encoding="utf-8").splitlines()
            declared = [line for line in lines if line.startswith(("task: ", "group: "))]
            expected = [] if path.stem.startswith("_") else [path.stem]
            assert [line.split(": ")[1] for line in declared] == expected


def test_no_name_of_ours_is_a_built_in_of_lmms_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a built-in of the same name would silently win."""
    tasks = pytest.importorskip("lmms_eval.tasks")
    _without_our_plug_in(monkeypatch, tasks.TaskManager, "initialize_tasks")
    built_in = tasks.TaskManager(include_defaults=True).all_tasks
    assert not set(_names()) & set(built_in)


def test_no_name_of_ours_is_a_built_in_of_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """There ours would win over the built-in."""
    tasks = pytest.importorskip("lm_eval.tasks")
    _without_our_plug_in(monkeypatch, tasks.TaskManager, "__init__")
    built_in = tasks.TaskManager(include_defaults=True).all_tasks
    assert not set(_names()) & set(built_in)


def _names() -> Iterator[str]:
    for harness in HARNESSES:
        yield from catalogue.names(harness)


def _without_our_plug_in(monkeypatch: pytest.MonkeyPatch, manager: type, method: str) -> None:
    """Undo what another test in this process may have installed: our folder in the search."""
    monkeypatch.setattr(manager, method, inspect.unwrap(getattr(manager, method)))
