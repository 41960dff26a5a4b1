"""Whole comparisons: rows, differences, cost, verdict and the printed report."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from lmms_eval.api.metrics import paired_ttest
from lmms_eval.models.model_utils import gen_metrics

from lmms_causal.compare import Comparison, Options, compare, read_run
from lmms_causal.compare.command import run_command
from lmms_causal.compare.output.report import to_json, to_markdown, to_text
from lmms_causal.compare.output.verdict import outcome, verdict
from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.reading.cost import cost_ratios, read_cost
from lmms_causal.errors import UserError

Write = Callable[..., Path]


def _compare(a: Path, b: Path, **options: Any) -> Comparison:
    return compare(read_run(a), [read_run(b)], Options(**options))[0]


def test_the_golden_lmms_eval_runs_compare_as_counted_by_hand(data: Path) -> None:
    """Answers A and B to six pairs in both orders: every document flips, every pair cancels."""
    comparison = _compare(
        data / "lmms_eval_a", data / "lmms_eval_b", tasks=("toy_order",), cluster="none"
    )
    score, consistency, exact = comparison.rows
    assert (score.a, score.b, score.n, score.gained, score.lost) == (0.5, 0.5, 12, 6, 6)
    assert score.mcnemar_p == score.p == 1.0
    # SE^2 = 12 / (12 * 11): the interval of lmms-eval's own paired test on the same answers.
    harness = paired_ttest([0.0, 1.0] * 6, [1.0, 0.0] * 6)
    assert (score.low, score.high) == pytest.approx((harness["ci_lower"], harness["ci_upper"]))
    assert consistency.p is None and "not known to be a mean" in consistency.note
    assert exact.same_as == "toy_score"


def test_pairs_that_cancel_are_seen_by_the_clustered_test_only(data: Path) -> None:
    row = _compare(data / "lmms_eval_a", data / "lmms_eval_b", tasks=("toy_order",)).rows[0]
    assert (row.cluster_key, row.units, row.standard_error) == ("pair_id", 6, 0.0)


def test_filters_are_compared_separately(data: Path) -> None:
    comparison = _compare(
        data / "lmms_eval_a", data / "lmms_eval_b", metrics=("toy_exact",), tasks=("toy_filters",)
    )
    # Under the strict filter an "A" is no answer: B gains the six documents whose answer is B.
    assert [(row.filter, row.gained, row.lost) for row in comparison.rows] == [
        ("first", 6, 6),
        ("strict", 6, 0),
    ]


def test_runs_of_different_harnesses_are_paired_by_document_id(data: Path) -> None:
    comparison = _compare(
        data / "lmms_eval_a", data / "lm_eval_seed1", tasks=("toy_order",), metrics=("toy_score",)
    )
    (row,) = comparison.rows
    assert (row.n, row.gained, row.lost) == (12, 0, 6)
    assert row.p == pytest.approx(2 * 0.5**6)  # six pairs, each lost one document
    assert any(found.what == "harness" and found.serious for found in comparison.differences)
    assert "not the effect of the interventions alone" in verdict(comparison)


def test_documents_of_lm_eval_without_an_id_are_paired_by_hash(data: Path) -> None:
    comparison = _compare(data / "lm_eval_seed1", data / "lm_eval_seed2", tasks=("toy_choice",))
    (row,) = comparison.rows
    assert (row.metric, row.n) == ("acc", 12)
    assert [found.what for found in comparison.differences] == ["seeds"]


def test_a_clear_gain_is_called_an_improvement(write_run: Write) -> None:
    a = write_run("a", [0] * 88 + [1] * 112)
    b = write_run("b", [1] * 200, model_args="pretrained=org/toy,interventions=vcd")
    comparison = _compare(a, b)
    (row,) = comparison.rows
    assert row.p == row.mcnemar_p == row.p_holm == pytest.approx(2 * 0.5**88)
    assert (row.gained, row.lost, row.test) == (88, 0, "mcnemar")
    assert verdict(comparison).startswith("B improves toy_score of toy_order (+44.0 points")
    assert comparison.differences == ()


@pytest.mark.parametrize(
    ("higher_is_better", "expected"), [(True, "improved"), (False, "worse"), (None, "higher")]
)
def test_the_direction_is_the_tasks_own(
    write_run: Write, higher_is_better: bool | None, expected: str
) -> None:
    a = write_run("a", [0, 1] * 50, higher_is_better=higher_is_better)
    b = write_run("b", [1] * 100, higher_is_better=higher_is_better)
    assert outcome(_compare(a, b).rows[0], 0.95) == expected


def test_an_interval_without_zero_is_not_enough_when_the_exact_test_disagrees(
    write_run: Write,
) -> None:
    """Five gains and no loss in 500: t = 2.25, yet McNemar's exact p is 2 / 32."""
    comparison = _compare(write_run("a", [0] * 5 + [1] * 495), write_run("b", [1] * 500))
    (row,) = comparison.rows
    assert row.low is not None and row.low > 0
    assert row.p == pytest.approx(0.0625)
    assert outcome(row, 0.95) == "no difference"
    assert verdict(comparison).startswith("No detectable difference")
    assert "would have shown in this sample with 80 % power" in verdict(comparison)


def test_an_effect_that_does_not_survive_holm_is_not_claimed(write_run: Write) -> None:
    strata = ["x"] * 40 + ["y"] * 40 + ["z"] * 40
    a = write_run("a", [0] * 7 + [1] * 113, strata=strata)
    b = write_run("b", [1] * 120, strata=strata)
    comparison = _compare(a, b, by=("stratum",))
    p = {row.stratum: (row.p, row.p_holm) for row in comparison.rows}
    assert p["x"] == pytest.approx((2 * 0.5**7, 4 * 2 * 0.5**7))  # .0156 and, of four rows, .0625
    assert {outcome(row, 0.95) for row in comparison.rows} == {"no difference"}
    assert "4 rows are tested" in to_text([comparison])


def test_holm_runs_over_all_runs_compared(write_run: Write) -> None:
    a = read_run(write_run("a", [0] * 10 + [1] * 90))
    others = [read_run(write_run(name, [1] * 100)) for name in ("b", "c")]
    rows = [comparison.rows[0] for comparison in compare(a, others)]
    assert [row.p for row in rows] == pytest.approx([2 * 0.5**10] * 2)
    assert [row.p_holm for row in rows] == pytest.approx([2 * 2 * 0.5**10] * 2)


def test_documents_that_do_not_count_are_left_out_of_both(write_run: Write) -> None:
    scores = [1, None, 0, 0, None, 1, 0, 1]
    gained = [1, None, 1, 0, None, 1, 1, 1]
    row = _compare(write_run("a", scores), write_run("b", gained)).rows[0]
    assert (row.n, row.a, row.b, row.gained) == (6, 0.5, pytest.approx(5 / 6), 2)


def test_a_document_scored_in_one_run_only_stops_the_test(write_run: Write) -> None:
    comparison = _compare(write_run("a", [1, 0, 1]), write_run("b", [1, None, 1], keyed=False))
    row = comparison.rows[0]
    assert row.p is None and "scored in one run only: 1" in row.note
    assert verdict(comparison).startswith("No metric could be tested")


def test_an_aggregate_that_is_no_mean_is_printed_and_not_tested(write_run: Write) -> None:
    a = write_run("a", [0, 1, 1, 0], aggregate=0.9)
    row = _compare(a, write_run("b", [1, 1, 1, 0])).rows[0]
    assert (row.a, row.b, row.p) == (0.9, 0.75, None)


def test_a_metric_over_pairs_uses_the_function_its_task_names(
    write_run: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    declared_in: Callable[..., None],
) -> None:
    """The task file's dotted path, an include, and a check against the reported number."""
    root = tmp_path / "for_lmms_eval"
    root.mkdir()
    (root / "_base.yaml").write_text(
        "metric_list:\n"
        "  - metric: toy_score\n"
        "    aggregation: !function lmms_causal.tasks.toy_aggregation.consistency\n"
    )
    (root / "toy.yaml").write_text("include: _base.yaml\ntask: toy_order\n")
    module = type(json)("lmms_causal.tasks.toy_aggregation")

    def consistency(records: list[dict[str, Any]]) -> float:
        pairs: dict[str, list[float]] = {}
        for record in records:
            pairs.setdefault(record["pair_id"], []).append(record["score"])
        return sum(min(scores) for scores in pairs.values()) / len(pairs)

    module.consistency = consistency  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    declared_in(root)
    clusters = [str(index // 2) for index in range(80)]
    text = "<function consistency at 0x7f0000000000>"
    a = write_run("a", [1, 0] * 40, clusters=clusters, aggregate=0.0, aggregation=text)
    b = write_run(
        "b", [1, 1] * 20 + [1, 0] * 20, clusters=clusters, aggregate=0.5, aggregation=text
    )
    other = write_run("c", [1, 0] * 40, clusters=clusters, aggregate=0.3, aggregation=text)
    row = _compare(a, b).rows[0]
    mismatch = _compare(a, other).rows[0]
    assert (row.a, row.b, row.units, row.test) == (0.0, 0.5, 40, "swap-sampled")
    # 20 of 40 pairs changed: SE = 0.5 / sqrt(40), known to a few per cent from 1999 resamples.
    assert row.standard_error == pytest.approx(0.5 / math.sqrt(40), rel=0.08)
    assert row.p == pytest.approx(1 / 2000)
    assert mismatch.p is None and "gives 0, the file says 0.3" in mismatch.note


def test_every_aggregation_of_our_own_task_files_can_be_imported() -> None:
    declared = aggregations._declarations()
    assert declared, "no task file of this package names an aggregation"
    for path in set(declared.values()):
        module, _, name = path.rpartition(".")
        assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_what_differs_besides_the_interventions_is_named(write_run: Write) -> None:
    def other(results: dict[str, Any]) -> None:
        results["versions"]["toy_order"] = 2.0
        results["configs"]["toy_order"]["generation_kwargs"]["max_new_tokens"] = 99
        results["configs"]["toy_order"]["doc_to_text"] = "<function prompt at 0x1234abcd5678>"
        results["config"]["batch_size"] = 8

    a = write_run("a", [1, 0] * 20)
    b = write_run("b", [1] * 40, model_args="pretrained=org/else,interventions=re2", change=other)
    comparison = _compare(a, b)
    # The prompt function differs in its address only, and that is no difference.
    assert [(found.what, found.serious) for found in comparison.differences] == [
        ("generation_kwargs of task toy_order", True),
        ("model argument pretrained", True),
        ("version of task toy_order", True),
        ("batch_size", False),
    ]
    assert "not the effect of the interventions alone" in verdict(comparison)


def test_the_same_generation_settings_in_another_spelling_are_no_difference(
    write_run: Write,
) -> None:
    def spelled(**kwargs: Any) -> Callable[[dict[str, Any]], None]:
        def change(results: dict[str, Any]) -> None:
            results["configs"]["toy_order"]["generation_kwargs"] = kwargs

        return change

    greedy = write_run("a", [1, 0], change=spelled(max_gen_toks=8, do_sample=False))
    same = {"max_new_tokens": 8, "do_sample": False, "temperature": 0}
    assert _compare(greedy, write_run("b", [1, 1], change=spelled(**same))).differences == ()
    sampled = write_run("c", [1, 1], change=spelled(**{**same, "do_sample": True}))
    (found,) = _compare(greedy, sampled).differences
    assert found.what == "generation_kwargs of task toy_order"


def test_cost_of_lmms_eval_is_read_from_what_its_own_summary_writes() -> None:
    gen_metrics.reset_logged_metrics()
    for documents in (10, 30):
        extra = {"forward_passes": 6 * documents, "requests": documents, "peak_memory_mb": 500}
        gen_metrics.log_metrics(2.0, 5 * documents, 0.0, extra)
    summary = gen_metrics.summarize_logged_metrics()
    gen_metrics.reset_logged_metrics()
    cost = read_cost({"throughput": summary, "total_evaluation_time_seconds": "12.5"})
    assert (cost.wall_seconds, cost.generation_seconds, cost.generated_tokens) == (12.5, 4.0, 200)
    assert (cost.tokens_per_second, cost.forward_passes_per_request) == (50.0, 6.0)
    assert cost.peak_memory_bytes == 500 * 2**20


def test_cost_of_lm_eval_is_read_from_our_models_block() -> None:
    block = {
        "seconds": 8.0,
        "forward_passes": 90,
        "generated_tokens": 40,
        "peak_memory_bytes": 7_000_000,
    }
    cost = read_cost(
        {
            "config": {"lmms_causal_cost": block, "use_cache": "cache.db"},
            "n-samples": {"t": {"original": 50, "effective": 30}},
        }
    )
    assert (cost.tokens_per_second, cost.forward_passes_per_request) == (5.0, 3.0)
    assert (cost.peak_memory_bytes, cost.from_cache) == (7e6, True)
    faster = read_cost({"config": {"lmms_causal_cost": block | {"seconds": 4.0}}})
    ratios = {line.name: line.ratio for line in cost_ratios(cost, faster)}
    assert ratios["time in the model"] == 0.5
    assert ratios["generated tokens per second"] == 2.0
    assert ratios["forward passes per request"] is None  # unknown number of documents


def test_the_report_fits_its_width_and_names_everything(write_run: Write) -> None:
    long = "stratum_with_a_name_that_is_much_too_long_for_its_column"
    strata = [long, "short"] * 60
    clusters = [str(index // 2) for index in range(120)]
    a = write_run("a", [0, 1] * 60, strata=strata, clusters=clusters)
    b = write_run(
        "b",
        [1] * 120,
        strata=strata,
        clusters=clusters,
        model_args="pretrained=org/toy,interventions=vcd(alpha=1.0;beta=0.1)",
    )
    comparison = _compare(a, b, by=("stratum",))
    text = to_text([comparison])
    assert max(len(line) for line in text.splitlines()) <= 100
    for expected in (
        "interventions: none",
        "interventions: vcd(alpha=1.0;beta=0.1)",
        "toy_order (60 clusters by pair_id)",
        long,
        "+60/-0",
        "Verdict: B against A over 3 rows",
    ):
        assert expected in text
    markdown = to_markdown([comparison])
    widths = {line.count("|") for line in markdown.splitlines() if line.startswith("| ")}
    assert widths == {6, 10, 7, 5}  # identities, differences, agreement, cost


def test_the_json_has_unrounded_numbers_and_nulls(write_run: Write) -> None:
    comparison = _compare(write_run("a", [0, 1, 1]), write_run("b", [1, 1, 1]))
    report = json.loads(json.dumps(to_json([comparison]), allow_nan=False))
    (row,) = report["comparisons"][0]["rows"]
    assert row["difference"] == pytest.approx(1 / 3, rel=1e-15)
    assert row["p"] == 1.0 and row["stratum"] is None and row["outcome"] == "no difference"
    assert report["comparisons"][0]["a"]["path"].endswith("_results.json")


def test_scores_outside_zero_to_one_keep_their_unit(write_run: Write) -> None:
    a = write_run("a", [10.0, 12.5, 20.0, 11.0] * 5)
    comparison = _compare(a, write_run("b", [11.0, 15.5, 21.0, 14.0] * 5))
    (row,) = comparison.rows
    assert (row.factor, row.mcnemar_p, row.difference) == (1.0, None, pytest.approx(2.0))
    assert "+2, 95 % interval" in verdict(comparison)


def test_the_command_line_prints_and_writes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    words = [str(data / "lmms_eval_a"), str(data / "lmms_eval_b"), "--tasks", "toy_order"]
    assert run_command([*words, "--json", str(out)]) == 0
    assert "Verdict: " in capsys.readouterr().out
    assert json.loads(out.read_text())["schema_version"] == 3
    assert run_command([*words, "--markdown"]) == 0
    assert "**Verdict:**" in capsys.readouterr().out


def test_a_metric_without_a_value_in_one_run_is_named(write_run: Write) -> None:
    def undefined(results: dict[str, Any]) -> None:
        results["results"]["toy_order"]["toy_bias,none"] = float("nan")

    def defined(results: dict[str, Any]) -> None:
        results["results"]["toy_order"]["toy_bias,none"] = 0.5

    comparison = _compare(
        write_run("a", [1, 0, 1], change=undefined), write_run("b", [1, 1, 1], change=defined)
    )
    assert [row.metric for row in comparison.rows] == ["toy_score"]
    assert any("not compared: toy_bias" in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lmms_eval_a", "lmms_eval_a"], "compared with itself"),
        (["lmms_eval_a", "absent"], "no such file or folder"),
        (["lmms_eval_a", "lmms_eval_b", "--tasks", "nope"], "--tasks nope"),
        (["lmms_eval_a", "lmms_eval_b", "--metrics", "nope"], "toy_score"),
        (["lmms_eval_a", "lmms_eval_b", "--by", "nope"], "recorded are"),
        (["lmms_eval_a", "lmms_eval_b", "--level", "95"], "such as 0.95"),
        (["lmms_eval_a", "lmms_eval_b", "--resamples", "3"], "at least 99"),
        (["lmms_eval_a", "lmms_eval_b", "--json", "absent/x.json"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    paths = [str(data / word) for word in words[:2]]
    assert run_command([*paths, *words[2:]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and message in captured.err


def test_different_documents_need_intersect(write_run: Write) -> None:
    a, b = write_run("a", [1, 0, 1, 1]), write_run("b", [1, 1, 1])
    with pytest.raises(UserError, match="3 in both, 1 only in A"):
        _compare(a, b)
    comparison = _compare(a, b, intersect=True)
    assert (comparison.rows[0].n, comparison.rows[0].a) == (3, pytest.approx(2 / 3))
    notes = " ".join(comparison.notes)
    assert "left out 1 of A and 0 of B" in notes
    assert "cost is that of whole runs: 4 documents in A, 3 in B" in notes


def test_costs_of_runs_of_other_tasks_are_said_to_be_of_whole_runs(
    write_run: Write, data: Path
) -> None:
    """As many documents in both runs, or only some of the tasks shown: still not one to one."""
    scores = [0, 1] * 6
    ours, theirs = read_run(write_run("a", scores)), read_run(write_run("b", scores))
    only = dataclasses.replace(ours.tasks["toy_order"], name="extra")
    a = dataclasses.replace(ours, tasks={**ours.tasks, "x": only})
    b = dataclasses.replace(theirs, tasks={**theirs.tasks, "y": only})
    (note,) = [n for n in compare(a, [b])[0].notes if "cost" in n]
    assert "24 documents in A, 24 in B, which differ in x, y" in note
    both = dataclasses.replace(theirs, tasks={**theirs.tasks, "x": only})
    shown = compare(a, [both], Options(tasks=("toy_order",)))[0]
    assert any("tasks that are not shown included" in note for note in shown.notes)
    assert not any("cost" in note for note in compare(ours, [theirs])[0].notes)


def test_a_run_without_scores_is_named_with_the_likely_reason(write_run: Write) -> None:
    def bypass(results: dict[str, Any]) -> None:
        results["results"]["toy_order"] = {"alias": "toy_order", "bypass,none": 999}

    a, b = write_run("a", [0, 1]), write_run("b", [0, 1], change=bypass)
    with pytest.raises(UserError, match=r"A has toy_score, B has no metric .*--predict_only"):
        _compare(a, b)


def test_a_stratum_of_small_scores_keeps_the_unit_of_the_metric(write_run: Write) -> None:
    strata = ["low"] * 4 + ["high"] * 4
    a = write_run("a", [0, 1, 0, 1, 4, 5, 3, 5], strata=strata)
    b = write_run("b", [1, 1, 0, 1, 5, 5, 4, 5], strata=strata)
    assert {row.factor for row in _compare(a, b, by=("stratum",)).rows} == {1.0}


def test_power_is_claimed_at_the_level_the_test_is_held_to(write_run: Write) -> None:
    """Two strata make three tests: each must reject at 5 % / 3 to be sure of Holm's approval."""
    strata = ["x", "y"] * 60
    a = write_run("a", [0, 1, 1, 0] * 30, strata=strata)
    b = write_run("b", [1, 1, 0, 0] * 30, strata=strata)
    (alone,) = _compare(a, b).rows
    row = _compare(a, b, by=("stratum",)).rows[0]
    assert alone.standard_error == row.standard_error
    z = NormalDist().inv_cdf
    assert alone.detectable == pytest.approx((z(0.975) + z(0.8)) * (row.standard_error or 0))
    assert row.detectable == pytest.approx((z(1 - 0.025 / 3) + z(0.8)) * (row.standard_error or 0))


def test_no_power_is_claimed_where_nothing_could_have_shown(write_run: Write) -> None:
    """Five flips of five documents have p = 1/16."""
    comparison = _compare(write_run("a", [0] * 5), write_run("b", [0, 0, 1, 0, 0]))
    assert comparison.rows[0].detectable is None
    assert "80 % power" not in verdict(comparison)
    strata = ["large"] * 60 + ["small"] * 5
    a = write_run("c", [0, 1, 1, 0, 1] * 13, strata=strata)
    b = write_run("d", [1, 0, 1, 0, 1] * 13, strata=strata)
    assert "with 80 % power in 2 of them" in verdict(_compare(a, b, by=("stratum",)))
