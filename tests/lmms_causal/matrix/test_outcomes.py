"""Cells become runs, comparisons and curves; results files are written as lmms-eval writes them."""

from __future__ import annotations

import json

import pytest

from lmms_causal.matrix.planning.cells import cells_of
from lmms_causal.matrix.planning.plan import read_plan
from lmms_causal.matrix.planning.variants import expand
from lmms_causal.matrix.results import outcomes
from lmms_causal.matrix.results.outcomes import compare_cells

#: Right answers out of 20 by spec and task; what a curve and a control would show.
SCORES = {"none": 10, "alpha=0.0": 10, "alpha=1.0": 15, "alpha=2.0": 20, "noise_control": 9}


def right(spec: str) -> int:
    return next(SCORES[name] for name in reversed(SCORES) if name in spec)


def finish(cell) -> None:
    """What lmms-eval leaves behind for 20 documents."""
    folder = cell.results / "m"
    folder.mkdir(parents=True)
    count = right(cell.variant.spec)
    (task,) = cell.task.split(",")
    data = {
        "results": {task: {"alias": task, "acc,none": count / 20}},
        "configs": {task: {"task": task, "metadata": {"version": 1}}},
        "versions": {task: 1},
        "n-shot": {task: 0},
        "higher_is_better": {task: {"acc": True}},
        "n-samples": {task: {"original": 20, "effective": 20}},
        "config": {
            "model": "causal",
            "model_args": cell.identity["model_args"],
            "model_backend": f"x.Causal[{cell.variant.spec}] (chat)",
        },
        "throughput": {
            "total_gen_tokens": 40,
            "total_elapsed_time": 2.0,
            "avg_requests": 20,
            "avg_forward_passes": 40 * cell.variant.passes,
            "avg_peak_memory_mb": 100.0,
        },
        "lmms_eval_version": "0.7.3",
        "date": "20260101_000000",
        "total_evaluation_time_seconds": "3",
    }
    (folder / "20260101_000000_results.json").write_text(json.dumps(data))
    rows = [
        {"doc_id": n, "target": "yes", "filtered_resps": "yes", "acc": float(n < count)}
        for n in range(20)
    ]
    (folder / f"20260101_000000_samples_{task}.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )


@pytest.fixture
def matrix(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("models: [pretrained=m]\ntasks: [t, u]\ninterventions: [none, vcd]\n")
    plan = read_plan(file)
    variants, _ = expand([("none", "none"), ("vcd", "vcd")], ["vcd.alpha=0,1,2"], controls=1)
    out = tmp_path / "out"
    cells = cells_of(plan, variants, out)
    for cell in {cell.folder: cell for cell in cells}.values():
        finish(cell)
    return plan, cells, out


def test_curves_and_controls_come_from_the_comparisons(matrix):
    plan, cells, out = matrix
    comparisons, text = compare_cells(plan, cells, out)
    found = json.loads((out / "sensitivity.json").read_text())["curves"]
    assert {(c["task"], c["control"]) for c in found} == {
        (task, control) for task in "tu" for control in (None, 0)
    }
    curve = next(c for c in found if (c["task"], c["control"]) == ("t", None))
    assert [(p["value"], p["score"]) for p in curve["points"]] == [
        ("0", 0.5),
        ("1", 0.75),
        ("2", 1.0),
    ]
    last = curve["points"][-1]
    assert last["difference"] == 0.5 and last["n"] == 20
    assert 0 < last["low"] < 0.5 < last["high"] and last["p_holm"] < 0.05
    table = text[text.index("Sensitivity of vcd, model m") :].splitlines()
    assert table[2].split() == [
        *("vcd.alpha", "value", "score", "B-A", "95", "%", "CI", "p", "Holm", "control-A")
    ]
    acc = [line.split() for line in table[5:8]]
    assert [line[:4] for line in [acc[0][1:], *acc[1:]]] == [
        ["0", "50.0", "+0.0", "no"],
        ["1", "75.0", "+25.0", acc[1][3]],
        ["2", "100.0", "+50.0", acc[2][2 + 1]],
    ]
    assert [line[-1] for line in acc] == ["-", "-5.0", "-5.0"]
    assert max(map(len, table)) <= 100
    assert len(comparisons) == len({c.b.interventions for c in comparisons})


def test_interventions_are_compared_with_their_controls(matrix):
    """Against the control, not only both against the reference: the effect without its size."""
    plan, cells, out = matrix
    _, text = compare_cells(plan, cells, out)
    entries = json.loads((out / "controls.json").read_text())["controls"]
    assert {(it["intervention"], it["control"]) for it in entries} == {
        ("vcd", "vcd+control0"),  # its point alpha=1 is the same runs
        ("vcd[alpha=2]", "vcd[alpha=2]+control0"),
    }
    strong = next(it for it in entries if it["intervention"] == "vcd[alpha=2]")
    assert (strong["reference_score"], strong["score"], strong["control_score"]) == (0.5, 1.0, 0.45)
    assert strong["difference"] == pytest.approx(0.55) and strong["n"] == 20
    assert 0 < strong["low"] < 0.55 < strong["high"] and strong["p_holm"] < 0.05
    lines = text.splitlines()
    place = lines.index("B: vcd[alpha=2], control: vcd[alpha=2]+control0")
    assert lines[place + 1] == "t"
    assert lines[place + 2].split()[:5] == ["acc", "50.0", "100.0", "45.0", "+55.0"]
    markdown = (out / "comparison.md").read_text()
    assert "## Negative controls, model m" in markdown and "## Sensitivity of vcd" in markdown
    assert "| vcd, vcd[alpha=1] | `vcd(alpha=1.0;" in markdown  # what the plan calls a run
    assert text.count("A  interventions: none") == 1  # the plan's own in full, and no others


def test_reports_of_several_models_have_names_that_are_files():
    assert outcomes._prefixes(["a"]) == {"a": ""}
    assert outcomes._prefixes(["../a", "b c", "b-c"]) == {
        "../a": "a.",
        "b c": "b-c-2.",
        "b-c": "b-c-3.",
    }


def test_tasks_of_one_intervention_are_one_run_whose_costs_add_up(matrix):
    plan, cells, out = matrix
    comparisons, _ = compare_cells(plan, cells, out)
    strong = next(c for c in comparisons if "alpha=2.0" in c.b.interventions)
    assert set(strong.b.tasks) == {"t", "u"}
    cost = strong.b.cost
    assert (cost.generated_tokens, cost.generation_seconds, cost.wall_seconds) == (80, 4.0, 6.0)
    assert cost.tokens_per_second == 20 and cost.forward_passes_per_request == 4
    assert cost.peak_memory_bytes == 100 * 2**20
    # Holm's correction is over the rows of all tasks and interventions of the model.
    tested = [row for c in comparisons for row in c.rows if row.p is not None]
    smallest = min(tested, key=lambda row: row.p)
    assert smallest.p_holm == pytest.approx(smallest.p * len(tested))
