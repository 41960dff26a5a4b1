"""Reading the result files that both harnesses really wrote."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import read_run
from lmms_causal.errors import UserError

Write = Callable[..., Path]


def test_an_lmms_eval_run_is_read_whole(data: Path) -> None:
    run = read_run(data / "lmms_eval_a")
    assert (run.harness, run.model, run.date) == ("lmms-eval", "dummy", "2026-11-23 20:47:56")
    assert run.model_args == {"pretrained": "org/toy", "response": "A"}
    assert run.interventions == ""
    task = run.tasks["toy_order"]
    assert task.version == 1.0
    assert task.aggregates["toy_exact", "none"] == 0.5
    assert not any("stderr" in metric for metric, _ in task.aggregates)
    sample = task.samples["none"][1]
    assert (sample.key, sample.target, sample.response) == ("spill-wc", "B", "A")
    assert sample.doc_hash is None  # the harness writes a constant
    assert sample.attributes["pair_id"] == "spill"
    assert sample.prompt is not None and sample.prompt.startswith("Which is right?")
    assert run.tasks["toy_group"].is_group


@pytest.mark.parametrize(
    ("zone", "date"),
    [
        ("Asia/Singapore", "2026-11-23 12:43:04 UTC"),
        ("Europe/Berlin", "2026-11-23 19:43:04 UTC"),
        ("No/Where", "2026-11-23 20:43:04"),
        (None, "2026-11-23 20:43:04"),
    ],
)
def test_dates_of_lmms_eval_are_in_the_zone_it_was_told(
    zone: str | None, date: str, write_run: Write
) -> None:
    def dated(results: dict[str, Any]) -> None:
        results["date"] = "20261123_204304"
        results["lmms_eval_version"] = "main@1234567"  # of the user's own folder
        results["config"]["resolved_cli_args"] = {"timezone": zone}

    run = read_run(write_run("a", [0, 1, 1], change=dated))
    assert run.date == date and run.harness_version is None


def test_an_lm_eval_run_is_read_whole(data: Path) -> None:
    run = read_run(data / "lm_eval_seed1")
    assert (run.harness, run.harness_version) == ("lm-eval", "0.4.13")
    assert run.date == "2026-11-23 12:48:17 UTC"
    sample = run.tasks["toy_order"].samples["none"][0]
    assert (sample.key, sample.response) == ("spill-cw", "lol")
    choice = run.tasks["toy_choice"].samples["none"][0]
    assert choice.key is None  # plain numbers carry no id of ours ...
    assert choice.doc_hash is not None  # ... but the harness hashes its documents
    assert choice.attributes["category"] == "physical"  # from the document itself


def test_rows_of_several_filters_are_told_apart_in_both_harnesses(data: Path) -> None:
    """lmms-eval does not name the filter of a row: the order of its blocks does."""
    for name in ("lmms_eval_a", "lm_eval_seed1"):
        samples = read_run(data / name).tasks["toy_filters"].samples
        assert {key: len(rows) for key, rows in samples.items()} == {"first": 12, "strict": 12}
    strict = read_run(data / "lmms_eval_a").tasks["toy_filters"]
    # Answer "A" passes the first filter and not the strict one, which looks for "B".
    assert {sample.response for sample in strict.samples["first"]} == {"A"}
    assert "A" not in {sample.response for sample in strict.samples["strict"]}


def test_the_canonical_interventions_of_lm_evals_config_win(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "lm_eval_seed1", tmp_path / "run")
    file = next((tmp_path / "run").glob("results_*.json"))
    results = json.loads(file.read_text())
    results["config"]["model_args"] = {"pretrained": "org/toy", "interventions": "vcd"}
    results["config"]["lmms_causal_interventions"] = "vcd(alpha=1.0;beta=0.1)"
    results["config"]["lmms_causal_version"] = "0.1.0"
    file.write_text(json.dumps(results))
    run = read_run(file)
    assert run.interventions == "vcd(alpha=1.0;beta=0.1)"
    assert run.causal_version == "0.1.0"
    assert "interventions" not in run.model_args


def test_the_canonical_interventions_of_lmms_evals_backend_win(write_run: Write) -> None:
    def backend(results: dict[str, Any]) -> None:
        results["config"]["model_backend"] = "x.models.Causal[vcd(alpha=1.0;beta=0.1)] (chat)"

    run = read_run(write_run("run", [1, 0], model_args="interventions=vcd", change=backend))
    assert run.interventions == "vcd(alpha=1.0;beta=0.1)"
    assert run.settings["model_backend"] == "x.models.Causal (chat)"


@pytest.mark.parametrize("text", ["none", "off", ""])
def test_every_spelling_of_no_intervention_is_the_same(write_run: Write, text: str) -> None:
    file = write_run("run", [1, 0], model_args=f"pretrained=org/toy,interventions={text}")
    assert read_run(file).interventions == ""


def test_a_folder_with_different_runs_lists_them_with_their_arguments(data: Path) -> None:
    with pytest.raises(UserError, match=r"4 different runs.*response=A.*response=B"):
        read_run(data)


def test_of_repetitions_of_one_run_the_newest_is_read(write_run: Write, tmp_path: Path) -> None:
    old = write_run("old", [1, 0])
    new = write_run("new", [1, 1])
    os.utime(old, (1, 1))
    assert read_run(tmp_path).path == new


def test_runs_told_apart_by_their_interventions_only_are_not_repetitions(
    write_run: Write, tmp_path: Path
) -> None:
    write_run("plain", [1, 0])
    write_run("vcd", [1, 1], model_args="pretrained=org/toy,interventions=vcd")
    with pytest.raises(UserError, match="2 different runs"):
        read_run(tmp_path)


def test_two_runs_appended_to_one_samples_file_are_refused(
    write_run: Write,
) -> None:
    file = write_run("run", [1, 0])
    samples = file.with_name("20260101_120000_samples_toy_order.jsonl")
    samples.write_text(samples.read_text() * 2)
    with pytest.raises(UserError, match=r"jsonl:3: document 0 was already on line 1"):
        read_run(file)


def test_missing_samples_name_the_flag_that_writes_them(write_run: Write) -> None:
    file = write_run("run", [1, 0])
    file.with_name("20260101_120000_samples_toy_order.jsonl").unlink()
    with pytest.raises(UserError, match=r"toy_order.*--log_samples"):
        read_run(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"doc_id": 0}\n{"doc_id": 1}', "not a results file"), ("{}", "lmms-eval or lm-eval")],
)
def test_another_file_is_named_as_such(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        read_run(file)


def test_an_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--output_path"):
        read_run(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_run(tmp_path / "absent")


def test_a_cut_off_samples_file_is_named_with_its_line(write_run: Write) -> None:
    file = write_run("run", [1, 0])
    samples = file.with_name("20260101_120000_samples_toy_order.jsonl")
    samples.write_text(samples.read_text()[:-20])
    with pytest.raises(UserError, match=r"jsonl:2: not a row"):
        read_run(file)
