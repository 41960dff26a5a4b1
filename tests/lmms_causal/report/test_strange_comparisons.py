"""Comparisons that are seldom, and what is still true of their pages and plots."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from lmms_causal.compare import Comparison, Options, compare
from lmms_causal.compare.pairing.differences import Difference
from lmms_causal.report import write_figures
from lmms_causal.report.forest import panels
from lmms_causal.report.names import name_runs
from lmms_causal.report.notes import gather, serious
from lmms_causal.report.page import render, write_page

HALF = {"acc": [1.0, 0.0] * 20}
ALL = {"acc": [1.0] * 40}
NAN = float("nan")


def _data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_runs_that_differ_in_nothing(make_run: Any) -> None:
    page = render(compare(make_run("a", HALF), [make_run("b", HALF)], Options()))
    assert "both runs have the same interventions" in page
    assert all(row[4][0] == row[4][1] for row in _data(page)["documents"])
    assert "no variation" in page


def test_a_metric_without_a_number(make_run: Any, tmp_path: Path) -> None:
    a = make_run("a", {"acc": [1.0, NAN] * 20, "f1": [NAN] * 40})
    b = make_run("b", {"acc": [0.0, 1.0] * 20, "f1": [NAN] * 40}, interventions="vcd")
    made = compare(a, [b], Options())
    page = render(made)
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    write_figures(made, tmp_path)


def test_numbers_at_the_end_of_float64_and_a_model_without_a_name(make_run: Any) -> None:
    runs = [
        dataclasses.replace(make_run(name, {"acc": [value, -value] * 20}, **given), model_args={})
        for name, value, given in (("a", 1e308, {}), ("b", 9e307, {"interventions": "vcd"}))
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        page = render(compare(runs[0], runs[1:], Options()))
    assert runs[0].model in page


def test_no_cost_recorded(make_run: Any) -> None:
    runs = [make_run("a", HALF, seconds=None),
            make_run("b", ALL, seconds=None, interventions="vcd")]  # fmt: skip
    page = render(compare(runs[0], runs[1:], Options()))
    assert 'id="cost"' not in page and 'href="#cost"' not in page


def test_a_run_without_one_of_the_tasks(make_run: Any) -> None:
    def both(name: str, **given: Any) -> Any:
        one, two = (make_run(name, HALF, task=task, **given) for task in ("x", "y"))
        return dataclasses.replace(one, tasks={**one.tasks, **two.tasks})

    lacking = make_run("c", ALL, task="x", interventions="re2")
    page = render(compare(both("a"), [both("b", interventions="vcd"), lacking], Options()))
    of_y = [row for row in _data(page)["documents"] if row[0] == 1]
    assert len(of_y) == 40 and all(row[4][2] == -1 for row in of_y)


def test_one_harness_against_the_other(make_run: Any) -> None:
    b = dataclasses.replace(make_run("b", ALL, interventions="vcd"), harness="lm-eval")
    page = render(compare(make_run("a", HALF), [b], Options()))
    box = page[page.index('class="warning"') :]
    assert "harness" in box[: box.index("</div>")]


def test_text_that_no_file_can_hold(make_run: Any, tmp_path: Path) -> None:
    """JSON may hold half of a surrogate pair, and control characters; UTF-8 and HTML may not."""
    words = ["half \ud800 pair", "nul \0 bell \a escape \x1b", "line\u2028end", "\u202eesrever"]
    given = {"answers": words, "ids": words, "attributes": {"kind": words}}
    a = make_run("a", {"acc": [1.0] * 4}, **given)
    b = make_run("b", {"acc": [0.0] * 4}, interventions="x(word=\udfff)", **given)
    write_page(compare(a, [b], Options()), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [row[1] for row in _data(page)["documents"]] == words
    assert "x(word=\ufffd)" in page and "\0" not in page


def test_names_that_are_paths_patterns_or_markup(make_run: Any, tmp_path: Path) -> None:
    for number, task in enumerate(("/etc/**", "../*[", "<i>" + "w" * 300)):
        runs = [make_run(it, HALF, task=task, interventions=it * (it == "b")) for it in "ab"]
        made = compare(runs[0], runs[1:], Options())
        assert "<i>" not in render(made)
        files = write_figures(made, tmp_path / str(number))
        assert files and all(file.parent == tmp_path / str(number) for file in files)


def test_plots_of_like_names_are_files_of_their_own(make_run: Any, tmp_path: Path) -> None:
    scores = {"acc a": HALF["acc"], "acc+a": [*ALL["acc"][:-1], 0.0]}
    runs = [make_run(it, scores, interventions=it * (it == "b")) for it in "ab"]
    files = write_figures(compare(runs[0], runs[1:], Options()), tmp_path)
    assert len(set(files)) == len(files)
    assert {"forest_toy_acc_a.png", "forest_toy_acc_a_2.png"} <= {file.name for file in files}


def test_a_metric_of_one_part_has_no_lines_for_the_others(
    comparisons: list[Comparison],
) -> None:
    row = comparisons[0].rows[0]
    parts = [dataclasses.replace(row, stratum=it, by="level", a=value, b=value, difference=value)
             for it, value in (("1", 0.5), ("2", NAN))]  # fmt: skip
    made = [dataclasses.replace(comparisons[0], rows=(row, *parts))]
    (panel,) = panels(made, name_runs(made))
    assert [value for value, _ in panel.strata[0].values] == ["1"]


def test_a_remark_on_many_runs_is_made_once(comparisons: list[Comparison]) -> None:
    found = Difference("dtype", "float32", "bfloat16", serious=True)
    made = [
        dataclasses.replace(it, notes=("slow disk", *own), differences=(found,))
        for it, own in zip([*comparisons, comparisons[0]], [(), ("fan off",), ()], strict=True)
    ]
    runs = name_runs(made)
    said = [(keys, text) for keys, text in gather(made, runs) if "disk" in text or "fan" in text]
    assert said == [("all others", "slow disk"), ("B2", "fan off")]
    assert serious(made, runs) == [("all others", "dtype", "float32", "bfloat16")]


def test_a_score_without_a_direction_is_neither_good_nor_bad(make_run: Any) -> None:
    def undirected(run: Any) -> Any:
        task = dataclasses.replace(run.tasks["toy"], higher_is_better={"acc": None})
        return dataclasses.replace(run, tasks={"toy": task})

    runs = [undirected(make_run(it, scores, interventions=spec))
            for it, scores, spec in (("a", HALF, ""), ("b", ALL, "vcd"))]  # fmt: skip
    (task,) = _data(render(compare(runs[0], runs[1:], Options())))["tasks"]
    assert [it["good"] for it in task["metrics"]] == [0]
