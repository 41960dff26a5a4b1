"""What is checked to be alike, fields under their common names, and the calls of a judge."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Comparison, Options, Run, Sample, compare, read_run
from lmms_causal.compare.output.report import to_text
from lmms_causal.compare.pairing.checks import Check
from lmms_causal.compare.reading.attributes import attributes_of

Write = Callable[..., Path]


def _checks(comparison: Comparison) -> dict[str, Check]:
    return {check.what: check for check in comparison.checks}


def _with_prompts(run: Run, prompts: list[str | None]) -> Run:
    task = run.tasks["toy_order"]
    samples: tuple[Sample, ...] = tuple(
        dataclasses.replace(sample, prompt=prompt)
        for sample, prompt in zip(task.samples["none"], prompts, strict=True)
    )
    changed = dataclasses.replace(task, samples={"none": samples})
    return dataclasses.replace(run, tasks={"toy_order": changed})


def _judged(run: Run, **judge: Any) -> Run:
    task = run.tasks["toy_order"]
    samples = tuple(
        dataclasses.replace(it, metrics={m: {**v, "judge": judge} for m, v in it.metrics.items()})
        for it in task.samples["none"]
    )
    changed = dataclasses.replace(task, samples={"none": samples})
    return dataclasses.replace(run, tasks={"toy_order": changed})


def test_two_judges_are_two_instruments_wherever_they_are(write_run: Write) -> None:
    a, b = (read_run(write_run(name, [0, 1, 1])) for name in "ab")
    one = {"model": "strict", "prompt": "1.0", "served": "strict-0001"}
    here, there = _judged(a, **one, host="here"), _judged(b, **one, host="there")
    assert _checks(compare(here, [there])[0])["judge"].status == "same"
    (comparison,) = compare(here, [_judged(b, **{**one, "model": "lenient"})])
    check = _checks(comparison)["judge"]
    assert check.status == "different" and check.b == "lenient, prompt 1.0, served as strict-0001"
    assert any("judge" in found.what and found.serious for found in comparison.differences)
    assert _checks(compare(here, [b])[0])["judge"].status == "unknown"


def test_runs_that_are_alike_say_so_and_what_is_not_recorded(write_run: Write) -> None:
    a, b = (read_run(write_run(name, [0, 1, 1])) for name in "ab")
    (comparison,) = compare(a, [b])
    found = {check.what: check.status for check in comparison.checks}
    assert found == {
        "base model": "same",
        "wrapper": "same",
        "documents": "same",
        "task version": "same",
        "decoding": "same",
        "prompts": "unknown",
    }
    text = " ".join(to_text([comparison]).split())
    assert "Alike: base model; wrapper;" in text
    assert "Unknown: prompts (the harness did not record them; the task's prompt settings are" in (
        text
    )


def test_each_difference_is_named_by_its_check(write_run: Write) -> None:
    def other(results: dict[str, Any]) -> None:
        results["versions"]["toy_order"] = 2.0
        results["config"]["gen_kwargs"] = "temperature=0.7"

    a = _with_prompts(read_run(write_run("a", [0, 1, 1])), ["x", "y", "z"])
    b = read_run(write_run("b", [1, 1, 1], model_args="pretrained=org/else", change=other))
    (comparison,) = compare(a, [_with_prompts(b, ["x", "y", "Z"])])
    found = _checks(comparison)
    assert {what for what, check in found.items() if check.status == "different"} == {
        "base model",
        "task version",
        "decoding",
        "prompts",
    }
    assert (found["base model"].a, found["base model"].b) == (
        "pretrained=org/toy",
        "pretrained=org/else",
    )
    assert found["prompts"].note == "1 of 3 differ"
    assert len(found["prompts"].a) == 12 and found["prompts"].a != found["prompts"].b


def test_the_same_prompts_have_the_same_hash_in_both_harnesses(data: Path) -> None:
    options = Options(tasks=("toy_order",))
    a, b = (read_run(data / name) for name in ("lmms_eval_a", "lm_eval_seed1"))
    (comparison,) = compare(a, [b], options)
    assert _checks(comparison)["prompts"].status == "same"
    assert _checks(comparison)["wrapper"].status == "different"


def test_left_out_documents_are_a_difference(write_run: Write) -> None:
    a, b = (read_run(write_run(name, [1] * n)) for name, n in (("a", 4), ("b", 3)))
    (comparison,) = compare(a, [b], Options(intersect=True))
    documents = _checks(comparison)["documents"]
    assert (documents.status, documents.a, documents.b) == ("different", "4", "3")


def test_the_seed_is_part_of_the_decoding_only_where_it_samples(write_run: Write) -> None:
    def sampled(do_sample: bool, seed: int) -> Callable[[dict[str, Any]], None]:
        def change(results: dict[str, Any]) -> None:
            results["configs"]["toy_order"]["generation_kwargs"]["do_sample"] = do_sample
            results["config"]["torch_seed"] = seed

        return change

    for do_sample, status in ((False, "same"), (True, "different")):
        a, b = (
            read_run(write_run(f"{do_sample}{seed}", [0, 1], change=sampled(do_sample, seed)))
            for seed in (1, 2)
        )
        assert _checks(compare(a, [b])[0])["decoding"].status == status


def test_a_field_that_one_task_lacks_splits_the_others(data: Path) -> None:
    a, b = (read_run(data / name) for name in ("lm_eval_seed1", "lm_eval_seed2"))
    (comparison,) = compare(a, [b], Options(by=("stratum",)))
    split = {row.task for row in comparison.rows if row.stratum is not None}
    assert "toy_order" in split and "toy_choice" not in split
    assert any("--by stratum: not recorded in toy_choice" in note for note in comparison.notes)


def test_strata_are_in_the_order_of_their_numbers(write_run: Write) -> None:
    strata = ["level 10", "level 9", "level 2"] * 4
    runs = [read_run(write_run(name, [0, 1] * 6, strata=strata)) for name in "ab"]
    rows = compare(runs[0], runs[1:], Options(by=("stratum",)))[0].rows
    assert [row.stratum for row in rows] == [None, "level 2", "level 9", "level 10"]
    assert {row.by for row in rows[1:]} == {"stratum"}


def test_clusters_are_found_from_the_tasks_metadata(write_run: Write) -> None:
    def named(results: dict[str, Any]) -> None:
        results["configs"]["toy_order"]["metadata"] = {"version": 1.0, "cluster_key": "stratum"}

    strata = [str(index // 4) for index in range(40)]
    clusters = [str(index // 2) for index in range(40)]
    a, b = (
        read_run(write_run(name, scores, strata=strata, clusters=clusters, change=named))
        for name, scores in (("a", [0, 1] * 20), ("b", [1, 1] * 20))
    )
    row = compare(a, [b])[0].rows[0]
    assert (row.cluster_key, row.units) == ("stratum", 10)


@pytest.mark.parametrize(
    ("task", "record", "field", "value"),
    [
        ("vqa_causal_12", {"stratum": "vqa/is caused by"}, "connector", "is caused by"),
        ("causal_vqa", {"stratum": "vcr/so", "connector": "hence"}, "connector", "hence"),
        ("centerbench", {"level": 3, "stratum": "plausible/3"}, "complexity", 3),
        ("mucr", {"category": "Causality", "stratum": "x/y"}, "category", "Causality"),
    ],
)
def test_fields_have_the_names_a_reader_asks_for(
    task: str, record: dict[str, Any], field: str, value: Any
) -> None:
    assert attributes_of(task, {}, {"acc": record})[field] == value


def test_other_strata_are_not_taken_for_connectors() -> None:
    for task, stratum in (("causal_vqa_mini", "clean/conflict"), ("vqa_causal_oa", "vqa/oa")):
        assert "connector" not in attributes_of(task, {}, {"acc": {"stratum": stratum}})


def test_the_connector_of_our_own_scorer_is_found() -> None:
    from lmms_causal.tasks.causal_vqa import scoring

    doc = {
        "id": "1",
        "pair_id": "p",
        "image_id": "i",
        "source": "vqa",
        "connector": "because",
        "clean": True,
        "degenerate": False,
    }
    found = attributes_of("causal_vqa", {}, {"m": scoring._record(doc, 1.0)})
    assert (found["source"], found["connector"]) == ("vqa", "because")


def test_judge_calls_are_counted_once_a_document_and_cached_ones_not(write_run: Write) -> None:
    def ruling(calls: int, cached: bool) -> dict[str, Any]:
        return {"id": f"{calls}{cached}", "score": 1.0, "calls": calls, "cached": cached}

    rulings = [ruling(1, False), ruling(2, False), ruling(0, True)]
    file = write_run("a", [1, 1, 1])
    samples = file.with_name("20260101_120000_samples_toy_order.jsonl")
    lines = []
    for line, value in zip(samples.read_text().splitlines(), rulings, strict=True):
        lines.append(
            line[:-1] + f', "again": {json.dumps(value)}, "toy_score": {json.dumps(value)}' + "}"
        )
    samples.write_text("\n".join(lines) + "\n")
    assert read_run(file).cost.judge_calls == 3
    plain = read_run(write_run("b", [1, 1, 1]))
    assert plain.cost.judge_calls is None
    costs = {cost.name: (cost.a, cost.b) for cost in compare(plain, [plain])[0].costs}
    assert "judge calls" not in costs
