"""The command: what it prints, runs, keeps and refuses; on the bundled model, its own numbers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.reproduce import running
from lmms_causal.reproduce.catalogue import FOLDER, find_recipes
from lmms_causal.reproduce.commands import Changes, jobs
from lmms_causal.reproduce.running import run_all


def test_list_and_dry_run_print_and_run_nothing(nothing_runs, capsys):
    assert main(["reproduce", "--list"]) == 0
    assert re.search(r"vcd/pope_coco +6 numbers", capsys.readouterr().out)
    assert main(["reproduce", "vcd", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for expected in ("83.29", "87.73", "table 1", "known differences", "temperature=1.0"):
        assert expected in printed
    lines = [line.strip()[2:] for line in printed.splitlines() if line.strip().startswith("$ ")]
    assert all(shlex.split(line)[0] == "lmms-eval" for line in lines)
    # POPE: two settings by three seeds, twice; CHAIR, greedy POPE and the bundled model: two each
    # and POPE on the other sources six
    assert len(lines) == 24


def test_a_recipe_without_target_says_so(nothing_runs, capsys):
    assert main(["reproduce", "causalmm", "--benchmark", "pope_coco", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "no target" in printed and "not read" in printed
    assert "83.70" not in printed and "78.63" not in printed  # known from notes of others only


def test_commands_of_a_sampled_recipe(tmp_path):
    (recipe,) = find_recipes("vcd", "pope_coco")
    changes = Changes(model_args={"device": "cpu", "dtype": "float32"}, limit=6, seeds=(4,))
    plain, method = jobs(recipe, tmp_path, changes)
    assert changes.named() == ["device=cpu", "dtype=float32", "seeds 4", "6 documents a task"]
    words = dict(pairwise(plain.command))
    arguments = dict(pair.split("=", 1) for pair in words["--model_args"].split(","))
    assert arguments == {
        "pretrained": "llava-hf/llava-1.5-7b-hf",
        "revision": "main",
        "dtype": "float32",
        "seed": "4",
        "device": "cpu",
        "interventions": "none",
    }
    assert words["--gen_kwargs"] == "do_sample=True,temperature=1.0,top_p=1.0"
    assert (words["--seed"], words["--limit"]) == ("4", "6")
    assert (
        recipe.interventions
        in dict(zip(method.command, method.command[1:], strict=False))["--model_args"]
    )
    assert plain.folder != method.folder


def test_beams_are_named_to_the_harness(tmp_path):
    (recipe,) = find_recipes("vista", "chair_beams")
    for job in jobs(recipe, tmp_path):
        words = dict(pairwise(job.command))
        assert words["--gen_kwargs"] == (
            "do_sample=False,temperature=0,num_beams=5,max_new_tokens=512"
        )
        assert "--seed" not in words and "seed=" not in words["--model_args"]


def test_lm_eval_recipes_go_through_our_front_end(tmp_path):
    (recipe,) = find_recipes("pine", "rewardbench_llama3_8b")
    plain, _ = jobs(recipe, tmp_path)
    assert plain.command[:5] == ("lmms-causal", "lm-eval", "run", "--model", "causal")
    assert "--apply_chat_template" in plain.command


ORDER = ["reproduce", "vcd", "--benchmark", "causal_vqa_mini", "--tasks", "causal_vqa_mini_order"]


def test_ours_beside_theirs(harness, tmp_path, capsys):
    out = tmp_path / "numbers.json"
    assert main([*ORDER, "--output", str(tmp_path / "runs"), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"plain +93\.60 +93\.60 +\[9\d\.\d\d, 9\d\.\d\d\] +0\.5  agrees", printed)
    assert "of 2 published numbers: 2 agree" in printed
    (number,) = json.loads(out.read_text())["numbers"]
    assert number["method"]["ours"] == pytest.approx(96.4)
    assert number["difference"]["low"] < 2.8 < number["difference"]["high"]


def test_finished_evaluations_are_kept_and_others_are_not_touched(harness, tmp_path, capsys):
    (recipe,) = find_recipes("vcd", "causal_vqa_mini")
    todo = jobs(recipe, tmp_path)
    run_all(todo[:1], lambda line: None)
    assert len(harness) == 1
    run_all(todo, lambda line: None)
    assert len(harness) == 2  # the plain run was not made again
    output = ["--output", str(tmp_path)]
    assert main([*ORDER, *output]) == 2  # other tasks: another command
    assert "another command" in capsys.readouterr().err
    assert len(harness) == 2


def test_an_interrupted_evaluation_is_no_finished_one(harness, tmp_path, monkeypatch):
    (recipe,) = find_recipes("vcd", "causal_vqa_mini")
    todo = jobs(recipe, tmp_path)
    whole = running.execute
    monkeypatch.setattr(running, "execute", lambda command, log: log.write_text("killed"))
    with pytest.raises(UserError, match="without results"):
        run_all(todo, lambda line: None)

    def cut(command, log):
        """Ends after the results file, before the samples are whole."""
        whole(command, log)
        next(log.parent.rglob("*_samples_*order.jsonl")).write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "execute", cut)
    with pytest.raises(KeyboardInterrupt):
        run_all(todo, lambda line: None)
    monkeypatch.setattr(running, "execute", whole)
    runs = run_all(todo, lambda line: None)
    assert set(runs) == {("plain", 0), ("method", 0)}
    assert all(len(task.samples["none"]) == 1000 for task in runs["plain", 0].tasks.values())


def test_a_kill_while_leftovers_are_removed_does_not_block_the_folder(
    harness, tmp_path, monkeypatch
):
    """Whatever is deleted first: the record of whose files they are stays."""
    (recipe,) = find_recipes("vcd", "causal_vqa_mini")
    (todo, _) = jobs(recipe, tmp_path)
    whole = running.execute

    def killed_at_the_end(command, log):
        whole(command, log)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "execute", killed_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        run_all([todo], lambda line: None)

    def killed_on_the_way(folder):
        for file in Path(folder).glob("*.json"):
            file.unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "execute", whole)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed_on_the_way)
        with pytest.raises(KeyboardInterrupt):
            run_all([todo], lambda line: None)
    assert set(run_all([todo], lambda line: None)) == {("plain", 0)}


def test_a_record_that_cannot_be_read_is_named(harness, tmp_path, capsys):
    assert main([*ORDER, "--output", str(tmp_path)]) == 0
    (tmp_path / "plain_seed0" / "command.json").write_text("{")
    assert main([*ORDER, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "command.json: cannot be read" in error and "remove the folder" in error


def test_what_went_wrong_in_the_harness_is_one_line(tmp_path, monkeypatch, capsys):
    """The last error of its output, not the progress bar or the advice that follows it."""
    program = tmp_path / "lmms-eval"
    program.write_text(
        "#!/bin/sh\nprintf 'Traceback (most recent call last):\\n  File x\\n'\n"
        "echo 'ConnectionError: no data' >&2\nprintf 'Loading: 10%%\\rbye\\n'\nexit 3\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(running.sys, "executable", str(tmp_path / "python"))
    assert main([*ORDER, "--output", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.endswith("log.txt: lmms-eval ended with code 3: ConnectionError: no data")
    assert "\n" not in error


def test_a_folder_of_somebody_elses_is_left_alone(harness, tmp_path):
    (recipe,) = find_recipes("vcd", "causal_vqa_mini")
    todo = jobs(recipe, tmp_path)
    foreign = todo[1].folder / "model" / "20260101_000000_results.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("{}")
    with pytest.raises(UserError, match="knows nothing"):
        run_all(todo, lambda line: None)
    assert not harness and foreign.read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--limit", "1000"], "documents were left out (limit 1000)"),
        (["--model-args", "pretrained=org/other"], "org/other is not lmms-causal/tiny-llava"),
        (["--model-args", "adapter=org/lora"], "tiny-llava with adapter org/lora is not"),
    ],
)
def test_another_setting_than_the_published_one_settles_nothing(
    harness, tmp_path, capsys, arguments, reason
):
    """Not even where the numbers happen to agree."""
    out = tmp_path / "numbers.json"
    assert main([*ORDER, "--output", str(tmp_path / "r"), "--json", str(out), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "nothing is settled" in printed and reason in printed
    assert "agree" not in printed and "inside the interval" not in printed
    record = json.loads(out.read_text())
    assert reason in record["unsettled"]
    assert {record["numbers"][0][s]["verdict"] for s in ("plain", "method")} == {"not compared"}


def test_a_scored_recipe_on_a_task_that_generates_settles_nothing(harness, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    base = yaml.safe_load((FOLDER / "vcd.causal_vqa_mini.yaml").read_text())
    base["include"] = str(FOLDER / base["include"])
    base["decoding"] = {"mode": "scored"}
    recipe.write_text(yaml.safe_dump(base))
    arguments = ["reproduce", "--recipe", str(recipe), *ORDER[4:], "--output", str(tmp_path / "r")]
    assert main(arguments) == 0
    assert "which the recipe calls scored" in capsys.readouterr().out


def test_a_copy_of_the_model_is_compared_if_the_user_says_so(harness, tmp_path, capsys):
    arguments = ["--model-args", "pretrained=./copy", "--same-model"]
    assert main([*ORDER, "--output", str(tmp_path), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "2 agree" in printed and "changed    pretrained=./copy" in printed


def test_other_data_settle_nothing(harness, tmp_path, capsys):
    """A folder of one's own, or another version of the data."""
    recipe = tmp_path / "mine.yaml"
    base = yaml.safe_load((FOLDER / "vcd.causal_vqa_mini.yaml").read_text())
    base["include"] = str(FOLDER / base["include"])
    base["documents"] = {"causal_vqa_mini_order": 1001}
    recipe.write_text(yaml.safe_dump(base))
    assert (
        main(["reproduce", "--recipe", str(recipe), *ORDER[4:], "--output", str(tmp_path / "r")])
        == 0
    )
    assert "had 1,000 documents, the published one 1,001" in capsys.readouterr().out


def test_an_aggregation_that_does_not_exist_ends_before_the_first_run(
    nothing_runs, tmp_path, capsys
):
    recipe = tmp_path / "mine.yaml"
    base = yaml.safe_load((FOLDER / "vcd.causal_vqa_mini.yaml").read_text())
    base["include"] = str(FOLDER / base["include"])
    base["published"][0]["measure"]["aggregations"] = {"causal_score": "statistics.meen"}
    recipe.write_text(yaml.safe_dump(base))
    assert main(["reproduce", "--recipe", str(recipe), "--output", str(tmp_path / "r")]) == 2
    assert "statistics.meen: cannot be imported" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--dry-run"], []])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"interventions": "vcd(noise_step=7"}, "interventions=vcd(noise_step=7: cannot read"),
        ({"interventions": "vdc"}, "did you mean"),
        ({"interventions": "none"}, "names no method"),
        ({"tasks": ["causal_vqa_mini_ordr"]}, "no task 'causal_vqa_mini_ordr' (did you mean"),
        ({"tasks": ["--model"]}, "no task '--model'"),
        ({"harness": "lm-eval", "tasks": ["mme"]}, "lm-eval has no task 'mme'"),
        (
            {"decoding": {"mode": "sampled", "settings": {"temperature": "hot"}}},
            "temperature: 'hot': a number above 0",
        ),
    ],
)
def test_a_recipe_that_cannot_run_ends_before_its_commands_are_printed(
    nothing_runs, tmp_path, capsys, change, complaint, more
):
    recipe = tmp_path / "mine.yaml"
    base = yaml.safe_load((FOLDER / "vcd.causal_vqa_mini.yaml").read_text())
    base["include"] = str(FOLDER / base["include"])
    recipe.write_text(yaml.safe_dump(base | change))
    output = ["--output", str(tmp_path / "r")]
    assert main(["reproduce", "--recipe", str(recipe), *output, *more]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err and "\n" not in printed.err.strip() and not printed.out
    assert not (tmp_path / "r").exists()


def test_tasks_of_a_folder_of_ones_own_are_left_to_the_harness(nothing_runs, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    base = yaml.safe_load((FOLDER / "vcd.causal_vqa_mini.yaml").read_text())
    base |= {"include": str(FOLDER / base["include"]), "flags": ["--include_path", "tasks"]}
    recipe.write_text(yaml.safe_dump(base | {"tasks": ["my_task"]}))
    assert main(["reproduce", "--recipe", str(recipe), "--dry-run"]) == 0
    assert "--tasks my_task" in capsys.readouterr().out


def test_a_number_that_differs_is_an_exit_code(harness, tmp_path, capsys):
    arguments = ["reproduce", "carve", "--benchmark", "causal_vqa_mini"]
    arguments += ["--tasks", "causal_vqa_mini_order", "--output", str(tmp_path)]
    assert main(arguments) == 1
    assert "1 differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name a METHOD"),
        (["vcdd", "--dry-run"], "no recipe for method"),
        (["vcd"], "--benchmark: "),
        (["vcd", "--benchmark", "pope_coco", "--limit", "0"], "--limit 0"),
        (["vcd", "--benchmark", "pope_coco", "--seeds", "1,1"], "twice"),
        (["vista", "--benchmark", "mme", "--seeds", "1"], "does not sample"),
        (["vcd", "--benchmark", "pope_coco", "--tasks", "pope"], "no such task"),
        (["vcd", "--benchmark", "pope_coco", "--model-args", "dtype"], "not key=value"),
        (["vcd", "--benchmark", "pope_coco", "--model-args", "interventions=re2"], "sets the"),
        (["vcd", "--benchmark", "pope_coco", "--model-args", "seed=3"], "use --seeds"),
        (["vcd", "--benchmark", "pope_coco", "--model-args", "=3"], "not key=value"),
        (["vcd", "--benchmark", "pope_coco", "--same-model"], "which is not given"),
        (["vcd", "--benchmark", "pope_coco", "--json", "no/such/x.json"], "folder that exists"),
        (["--recipe", "none.yaml"], "cannot be read"),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(nothing_runs, capsys, arguments, complaint):
    assert main(["reproduce", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error and "\n" not in error


@pytest.mark.slow
def test_the_bundled_model_has_the_numbers_of_the_page(tmp_path, capsys):
    """End to end, through lmms-eval's own command line."""
    assert main([*ORDER, "--output", str(tmp_path)]) == 0
    assert "of 2 published numbers: 2 agree" in capsys.readouterr().out
