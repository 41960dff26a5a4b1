"""Every judged task under lmms-eval: alike records, and a failed verdict that costs no run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmms_causal.compare.reading.cost import judge_calls
from lmms_causal.compare.records import Sample, Task
from lmms_causal.tasks import judge_protocol
from lmms_causal.testing.judge import Refusal

utils = pytest.importorskip("lmms_eval.evaluator_utils")

TASKS = ("mme_cc_judge", "mmhal", "mucr_exp_judge")
RECORD = {"judge", "reply", "problem", "calls", "cached", "failed"}


@pytest.fixture(autouse=True)
def _stand_ins(
    tmp_path: Path,
    tiny_mme_cc: SimpleNamespace,  # its judge is replaced by that of the companions
    tiny_mucr: Path,
    tiny_companions: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
    judge_protocol._made.cache_clear()
    yield
    judge_protocol._made.cache_clear()


def _scored(task: Any, refused: int, judge: Any) -> list[dict[str, Any]]:
    """The values of four answers, of which the judge refuses the first ones."""
    docs = list(task.test_docs())[:4]
    judge.refusals.extend([Refusal(401)] * refused)
    return [task.process_results(doc, ["The dog is red."]) for doc in docs]


def _totals(name: str, task: Any, values: list[dict[str, Any]]) -> dict[str, Any]:
    """What lmms-eval makes of the values at the end of a run, standard errors included."""
    output = utils.TaskOutput.from_taskdict(name, task)
    for metric in values[0]:
        output.sample_metrics[metric, "none"] = [value[metric] for value in values]
    output.calculate_aggregate_metric(bootstrap_iters=0)
    output.calculate_clt_aggregate_metric()
    return dict(output.agg_metrics)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("refused", [0, 1, 4])
def test_the_harness_gets_to_the_end_of_a_run_whatever_the_judge_did(
    name: str, refused: int, load_lmms_eval: Callable, tiny_companions: SimpleNamespace
) -> None:
    task = load_lmms_eval(name)[name]
    values = _scored(task, refused, tiny_companions.judge)
    totals = _totals(name, task, values)
    score = next(key for key in values[0] if key.endswith("_score"))
    assert (totals[f"{_failed(values)},none"]) == refused
    if refused in (0, 4) or name != "mme_cc_judge":  # whose mean is over those with a verdict
        assert math.isnan(totals[f"{score},none"]) is (refused > 0)
    line = next(value for key, value in totals.items() if key.endswith("judge_model,none"))
    assert f"{refused} failed" in line


@pytest.mark.parametrize("name", TASKS)
def test_nobody_judges_and_nothing_is_lost(
    name: str, load_lmms_eval: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMMS_CAUSAL_JUDGE", "off")
    monkeypatch.delenv("MODEL_VERSION")
    task = load_lmms_eval(name)[name]
    totals = _totals(name, task, _scored(task, 0, SimpleNamespace(refusals=[])))
    line = next(value for key, value in totals.items() if key.endswith("judge_model,none"))
    assert line.startswith("no judge; served as nothing; 0 calls, 0 cached, 4 failed")


def test_records_are_alike_and_their_calls_are_counted_once_a_document(
    load_lmms_eval: Callable, tiny_companions: SimpleNamespace
) -> None:
    for name in TASKS:
        task = load_lmms_eval(name)[name]
        asked = len(tiny_companions.judge.asked)
        for again in (False, True):
            values = _scored(task, 0, tiny_companions.judge)
            for value in values:
                records = [item for item in value.values() if isinstance(item, dict)]
                judged = [item for item in records if set(item) >= RECORD]
                assert judged and all(
                    "calls" not in item for item in records if "judge" not in item
                )
                assert {item["cached"] for item in judged} == {again}
                json.dumps(records, allow_nan=False)
            samples = tuple(
                Sample(name, "none", place, None, value, {}, "", "")
                for place, value in enumerate(values)
            )
            run = Task(name, {}, None, None, {}, {}, {"none": samples})
            calls = 0 if again else len(tiny_companions.judge.asked) - asked
            assert judge_calls([run]) == calls == (0 if again else 4), name


def _failed(values: list[dict[str, Any]]) -> str:
    return next(key for key in values[0] if key.endswith("judge_failed"))
