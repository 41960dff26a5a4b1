"""Plans, the interventions and cells they expand to, and the mistakes in them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.matrix.planning.cells import cells_of
from lmms_causal.matrix.planning.plan import read_plan
from lmms_causal.matrix.planning.task_names import check_names
from lmms_causal.matrix.planning.variants import expand
from lmms_causal.matrix.planning.words_of_the_run import refuse_words_of_the_run

PLAN = """\
models:
  - {name: tiny, args: {pretrained: lmms-causal/tiny-llava, dtype: float32}}
  - pretrained=other/model
interventions: [none, vcd(alpha=1.0), {name: twice, spec: re2}]
tasks: [causal_vqa_mini_presence, "causal_vqa_mini_colour, causal_vqa_mini_order"]
settings: {limit: 4, batch_size: 2, seed: 7, arguments: --force_simple}
compare: {by: stratum}
"""


@pytest.fixture
def plan(tmp_path):
    """``plan(text)``: the plan's file."""

    def write(text: str = PLAN):
        (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "plan.yaml"

    return write


def test_a_plan_is_the_product_of_its_axes(plan, tmp_path):
    read = read_plan(plan())
    variants, notes = expand(read.interventions)
    cells = cells_of(read, variants, tmp_path)
    assert not notes and len({cell.folder for cell in cells}) == len(cells) == 2 * 3 * 2
    cell = next(c for c in cells if c.title == "tiny | twice | causal_vqa_mini_presence")
    words = list(cell.words)
    assert words[words.index("--model_args") + 1] == (
        "pretrained=lmms-causal/tiny-llava,dtype=float32,"
        "interventions=re2(times=2;format_from=None),seed=7"
    )
    for option, value in (("--limit", "4"), ("--seed", "7"), ("--batch_size", "2")):
        assert words[words.index(option) + 1] == value
    assert words[words.index("--output_path") + 1] == str(cell.folder / "results")
    assert "--force_simple" in words and "--log_samples" in words


def test_only_what_decides_answers_moves_a_cell_to_another_folder(plan, tmp_path):
    def folders(text: str) -> set[str]:
        read = read_plan(plan(text))
        return {c.folder.name for c in cells_of(read, expand(read.interventions)[0], tmp_path)}

    before = folders(PLAN)
    assert folders(PLAN + "launch: {processes: 3}\nprice_per_hour: 2\n") == before
    assert folders(PLAN.replace("vcd(alpha=1.0)", "vcd(beta=0.1;alpha=1)")) == before
    assert folders(PLAN.replace("limit: 4", "limit: 4.0")) == before
    assert not folders(PLAN.replace("limit: 4", "limit: 5")) & before
    more = folders(PLAN.replace("[none,", "[none, vcd(alpha=2.0),"))
    assert more > before and len(more) == 16


def test_a_sensitivity_curve_is_one_flag(tmp_path):
    plans = [("none", "none"), ("vcd", "vcd(beta=0.2)"), ("both", "re2+vcd(alpha=0.5)")]
    variants, _ = expand(plans, ["vcd.alpha=0,0.5,2"])
    points = [v for v in variants if v.curve]
    assert [(v.curve.of, v.curve.value) for v in points] == [
        (of, value) for of in ("vcd", "both") for value in ("0", "0.5", "2")
    ]
    assert all("beta=0.2" in v.spec for v in points if v.curve.of == "vcd")
    assert points[3].spec.startswith("re2(") and "vcd(alpha=0.0;" in points[3].spec
    assert [v.passes for v in points[:3]] == [1, 2, 2]  # no strength, no branch
    added, _ = expand([("none", "none")], ["pai.gamma=1.1,1.2"])
    assert [v.label for v in added] == ["none", "pai[gamma=1.1]", "pai[gamma=1.2]"]


def test_negative_controls_are_one_flag_and_say_where_there_is_none():
    plans = [("none", "none"), ("vcd", "vcd"), ("re2", "re2"), ("weak", "vcd(alpha=0)")]
    variants, notes = expand(plans, controls=2)
    controls = [v for v in variants if v.control_of]
    assert [v.label for v in controls] == ["vcd+control0", "vcd+control1"]
    assert [v.spec.rpartition("+")[2] for v in controls] == [
        "noise_control(seed=0)",
        "noise_control(seed=1)",
    ]
    assert [note.partition(":")[0] for note in notes] == ["re2", "weak"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("models:", "model:"), "unknown key 'model' (did you mean 'models'?)"),
        (("batch_size: 2", "batchsize: 2"), "settings: unknown key 'batchsize'"),
        (("batch_size: 2", "batch_size: two"), "batch_size: 'two' is not a whole number from 1"),
        (("limit: 4", "limit: 0"), "limit: 0: give a number of documents"),
        (("colour, ", "colour,, "), "'causal_vqa_mini_colour,,causal_vqa_mini_order': a name is"),
        (("limit: 4", "limit: 10.5"), "limit: 10.5: give a whole number of documents"),
        (("limit: 4", "limit: .inf"), "limit: inf: give a number of documents"),
        (("pretrained=other/model", "pretrained=a/tiny"), "'tiny' is there twice; give them names"),
        (("dtype: float32", "interventions: vcd"), "belongs under the plan's key interventions"),
        (("[none, vcd", "[vcd(alpha=1.0), vcd"), "'vcd(alpha=1.0)' is there twice"),
        (("by: stratum", "reference: twise"), "did you mean 'twice'?"),
        (("--force_simple", "--use_cache x"), "--use_cache is set by the run"),
        (("tasks: [", "tasks: [["), "not valid YAML"),
        (("models:", "harness: mmlu\nmodels:"), "'mmlu' is none of lmms-eval, lm-eval"),
        (("vcd(alpha=1.0)", "vdc"), "did you mean 'vcd'?"),
        (("causal_vqa_mini_presence,", "causal_vqa_mini_presense,"), "mini_presence'?"),
        (("name: tiny,", "name: tiny, model: llava_hf,"), "llava_hf takes no interventions"),
        (("by: stratum", "family: all"), "family: 'all' is none of report, metric"),
        (("by: stratum", "margin: some"), "margin: 'some' is not a number"),
        (("by: stratum", "level: 95"), "compare: level 95: give the coverage as a share"),
        (("by: stratum", "by: 5"), "compare: by: 5 is no list of names"),
        (("by: stratum", "cluster: [a]"), "compare: cluster: ['a'] is no field's name"),
        (("by: stratum", "seed: -1"), "seed: -1 is not a whole number from 0 on"),
        (("--force_simple", "5"), "settings: arguments: 5 is neither a text nor a list of words"),
        (("--force_simple", '"\'"'), 'settings: arguments: "\'": no closing quotation; close it'),
        (("compare:", "launch: {command: 5}\ncompare:"), "launch: command: 5 is neither a text"),
        (("compare:", "launch: {command: '\"'}\ncompare:"), "launch: command: '\"': no closing"),
        (("--force_simple", "--model other"), "--model is set by the run; write models: of the"),
        (("--force_simple", "--seed=3"), "--seed=3 is set by the run; write settings: seed:"),
        (("--force_simple", "--config x"), "--config is set by the run; leave it out"),
        (("--force_simple", "--out /x"), "--out is set by the run; leave it out (every cell has"),
        (("--force_simple", "-b8"), "-b8 is set by the run; write settings: batch_size:"),
        (("dtype: float32", "' interventions': vcd"), "interventions=vcd belongs under the plan's"),
        (("dtype: float32", "batch_size: 4"), "batch_size=4 belongs under the plan's key settings"),
        (("dtype: float32", "' pretrained': a"), "models: args: pretrained is there twice"),
        (("- pretrained=other/model", "- dtype=float32"), "'dtype=float32' has no pretrained=;"),
        (("name: twice", "name: none "), "'none' is there twice"),
        (("[none, vcd(alpha=1.0), {name: twice", "[{name: none"), "'none' is the name of re2, and"),
        (("name: twice", "name: vcd(alpha=2)"), "'vcd(alpha=2)' is the name of re2, and reads as"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_loaded(plan, capsys, tmp_path, change, message):
    file = plan(PLAN.replace(*change))
    assert main(["run", str(file), "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("price", ["-3", "nan", "inf"])
def test_an_impossible_price_is_refused(plan, capsys, tmp_path, price):
    assert main(["run", str(plan()), "--dry-run", "--price-per-hour", price]) == 2
    assert capsys.readouterr().err == f"error: --price-per-hour {price}: take a number from 0 on\n"


@pytest.mark.parametrize("harness", ["lmms-eval", "lm-eval"])
def test_no_way_to_write_an_option_of_the_run_is_left(plan, harness):
    """Every option of a harness's parser that a cell's command has, shortened in every way."""
    taken = {"--model", "--model_args", "--tasks", "--batch_size", "--limit", "--seed", "--device"}
    taken |= {"--gen_kwargs", "--num_fewshot", "--include_path", "--log_samples", "--output_path"}
    taken |= {"--use_cache", "--config"}
    actions = parser_of(harness)._actions
    longs = [option for action in actions for option in action.option_strings if option[1] == "-"]
    for action in actions:
        if not taken & set(action.option_strings):
            for option in action.option_strings:
                refuse_words_of_the_run(plan(), [option, f"{option}=1"], harness)
            continue
        for option in action.option_strings:
            written = [option]
            if option.startswith("--"):
                starts = [option[:length] for length in range(3, len(option))]
                written += [it for it in starts if sum(o.startswith(it) for o in longs) == 1]
            for word in written:
                with pytest.raises(UserError, match="is set by the run"):
                    refuse_words_of_the_run(plan(), [f"{word}=1"], harness)


def parser_of(harness):
    if harness == "lm-eval":
        from lm_eval._cli.harness import HarnessCLI

        return HarnessCLI()._subparsers.choices["run"]
    import argparse

    from lmms_eval import __main__ as command

    made = []

    def parse_args(self, *_):
        made.append(self)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        command.parse_eval_args()
    return made[0]


def test_methods_without_their_parameters_are_a_name(plan):
    text = PLAN.replace("name: twice, spec: re2", "name: vcd, spec: vcd(alpha=2)")
    labels = [it.label for it in expand(read_plan(plan(text)).interventions)[0]]
    assert labels == ["none", "vcd(alpha=1.0)", "vcd"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vcd.alpha", "write METHOD.PARAMETER="),
        ("vcd.alfa=1", "did you mean 'alpha'?"),
        ("vcd.alpha=1,,2", "a value is missing"),
        ("vcd.alpha=1,much", "alpha=much is not a number"),
    ],
)
def test_mistakes_in_a_curve_are_named(text, message):
    with pytest.raises(UserError) as raised:
        expand([("vcd", "vcd")], [text])
    assert message in str(raised.value)


def test_task_names_of_groups_tags_and_templates_are_known():
    check_names("lmms-eval", ["causal_vqa_mini", "pope,mme", "vstar_bench", "ai2d*"])
    with pytest.raises(UserError, match=r"has no task 'popee' \(did you mean 'pope'\?\)"):
        check_names("lmms-eval", ["mme,popee"])
    check_names("lmms-eval", ["popee"], elsewhere=True)  # in a folder that the plan includes


DRY = """
import sys
from lmms_causal.cli import main

started = []

def watch(event, given):
    if event == "subprocess.Popen" and "python" in str(given[0]):
        started.append(given[1])

sys.addaudithook(watch)
assert main(sys.argv[1:]) == 0
held = {"lmms_eval", "lm_eval", "transformers", "lmms_causal.models"} & sys.modules.keys()
assert not started and not held, (started, held)
"""


def test_a_dry_run_prints_commands_and_starts_and_writes_nothing(plan, tmp_path):
    out = tmp_path / "out"
    given = ["--output", str(out), "--dry-run", "--control", "--sensitivity", "vcd.alpha=0,1"]
    done = subprocess.run(
        [sys.executable, "-c", DRY, "run", str(plan()), *given],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    titles = [line for line in lines if line.startswith("# tiny")]
    commands = [line for line in lines if "--model_args" in line]
    assert len(commands) == 2 * len(titles) == 2 * 2 * (3 + 2 + 2)
    assert all(" -- lmms-eval --model causal " in line for line in commands)
    assert not out.exists()


def test_names_of_any_language_and_length_make_folders(plan, tmp_path):
    text = PLAN.replace("name: tiny", "name: 模型/é" + "x" * 300)
    read = read_plan(plan(text))
    cells = cells_of(read, expand(read.interventions)[0], tmp_path)
    assert cells[0].title.startswith("模型/é")
    for cell in cells:
        assert cell.folder.parent == tmp_path / "cells" and cell.folder.name.isascii()
        assert len(cell.folder.name) < 200


def test_a_matrix_of_other_versions_is_refused(plan, capsys, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps({"versions": {"torch": "1.0"}}))
    assert main(["run", str(plan()), "--output", str(out)]) == 2
    assert "was started with" in capsys.readouterr().err
