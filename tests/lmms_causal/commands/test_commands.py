"""The command ``lmms-causal``: what it prints, and how it ends."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmms_causal import __version__
from lmms_causal.cli import _parser, main
from lmms_causal.commands import stubs
from lmms_causal.tasks import roots


def test_version_and_help_name_every_sub_command(capsys):
    for flag in ("--version", "--help"):
        with pytest.raises(SystemExit) as caught:
            main([flag])
        assert caught.value.code == 0
    text = capsys.readouterr().out
    assert __version__ in text
    for name in (
        "lm-eval",
        "compare",
        "interventions",
        "doctor",
        "tasks-path",
        "stubs",
        "fetch-model",
    ):
        assert name in text


def test_interventions_are_listed_with_one_line_each(capsys):
    assert main(["interventions"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} >= {"re2", "vcd"}
    assert all(len(line.split()) > 3 for line in lines)
    width = max(len(line.split()[0]) for line in lines)
    assert all(line[width] == " " and line[width + 1] != " " for line in lines)  # one column


def test_an_intervention_is_explained_with_its_canonical_spec(capsys):
    assert main(["interventions", "vcd(alpha=0.5)"]) == 0
    text = capsys.readouterr().out
    assert "arXiv 2311.16922" in text and "alpha: strength" in text
    assert text.splitlines()[-1] == (
        "interventions=vcd(alpha=0.5;beta=0.1;noise_step=500;seed=0;without_image=refuse;variant=paper)"
    )


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["interventions", "vdc"], "did you mean 'vcd'"),
        (["interventions", "vcd(alpha=one)"], "alpha=one is not a number"),
        (["fetch-model", "smollm2-135m"], "did you mean 'smollm2-135m-instruct'"),
        (["fetch-model", "smolm2"], "did you mean 'smollm2-135m-instruct'"),
        (["fetch-model", "qwen"], "did you mean 'qwen2.5-coder-0.5b-instruct'"),
        (["fetch-data", "causal_vqq"], "causal_vqa"),
        (["compare", "/no/run", "/no/other"], "/no/run"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_and_code_2(capsys, arguments, said):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1 and not captured.out


def test_the_task_folders_of_both_harnesses_are_printed(capsys):
    for harness in ("lmms-eval", "lm-eval"):
        assert main(["tasks-path", "--harness", harness]) == 0
        printed = Path(capsys.readouterr().out.strip())
        assert printed == roots(harness) and any(printed.rglob("causal_vqa.yaml"))


def test_a_reader_that_has_gone_is_no_error(monkeypatch):
    class Closed(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert main(["interventions"]) == 0


@pytest.mark.slow
def test_a_real_pipe_may_be_closed_early():
    """Through the installed script: no traceback, whatever the reader takes."""
    program = Path(sys.executable).with_name("lmms-causal")
    done = subprocess.run(
        f"{program} interventions vcd | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        executable="/bin/bash",
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert done.stdout.startswith("Visual contrastive decoding")


def test_lm_eval_gets_its_arguments_as_they_are(monkeypatch):
    import lm_eval.__main__

    seen = []
    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", lambda: seen.append(list(sys.argv)))
    before = list(sys.argv)
    given = ["run", "--model", "causal", "--help", "--model_args", "a=b,c=d"]
    assert main(["lm-eval", *given]) == 0
    assert seen == [["lm-eval", *given]] and sys.argv == before


@pytest.mark.parametrize(
    "raised, said",
    [
        ("Tasks not found: causal_vqa_mni.", "unknown task causal_vqa_mni (did you mean"),
        ("Tasks not found: vcrbench_causal.", "task 'vcrbench_causal' is for lmms-eval only"),
        (
            "Attempted to load model 'causl', but no model for this name found! Supported",
            "--model causl: lm-eval has no such model (did you mean 'causal'?)",
        ),
        (
            "Attempted to run tasks: ['mmmu'] which require multimodal input, but",
            "tasks 'mmmu' show images; use --model causal-multimodal",
        ),
    ],
)
def test_lm_eval_s_own_refusals_become_one_line(monkeypatch, capsys, raised, said):
    import lm_eval.__main__

    def refuse():
        raise ValueError(raised)

    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", refuse)
    assert main(["lm-eval", "run"]) == 2
    captured = capsys.readouterr().err
    assert said in captured and captured.count("\n") == 1


def test_other_errors_of_lm_eval_keep_their_traceback(monkeypatch):
    import lm_eval.__main__

    def fail():
        raise ValueError("a bug")

    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", fail)
    with pytest.raises(ValueError, match="a bug"):
        main(["lm-eval", "run"])


class TestStubs:
    """Files for the commands of lmms-eval that read its own folder only."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        place = tmp_path / "lmms_eval" / "tasks" / "_lmms_causal"
        place.parent.mkdir(parents=True)
        monkeypatch.setattr(stubs, "stub_folder", lambda: place)
        return place

    def test_install_and_remove_leave_nothing_behind(self, folder, capsys):
        before = sorted(folder.parent.rglob("*"))
        assert main(["stubs", "install"]) == 0
        assert main(["stubs", "install"]) == 0  # again: the same files
        assert str(folder) in capsys.readouterr().out
        assert main(["stubs", "remove"]) == 0
        assert main(["stubs", "remove"]) == 0
        assert capsys.readouterr().out.splitlines() == ["stubs removed", "there were no stubs"]
        assert sorted(folder.parent.rglob("*")) == before

    def test_every_task_and_group_gets_one_and_loads_like_the_original(self, folder):
        from lmms_eval.tasks import TaskManager

        names = stubs.install()
        original = TaskManager(include_path=str(roots("lmms-eval")), include_defaults=False)
        assert sorted(names) == sorted(set(original.all_tasks) - set(original.all_tags))
        read = TaskManager(include_path=str(folder), include_defaults=False)
        for name in names:  # a user's folder, as the stubs' here, comes before ours
            assert Path(read.task_index[name]["yaml_path"]).parent == folder
            assert read.task_index[name]["type"] == original.task_index[name]["type"]

    def test_a_task_built_through_its_stub_has_the_same_documents_and_prompts(self, folder):
        from lmms_eval.tasks import TaskManager, get_task_dict

        stubs.install()
        name = "causal_vqa_mini_order"
        ours, stubbed = (
            get_task_dict([name], TaskManager(include_path=path, include_defaults=False), "chat")[
                name
            ]
            for path in (str(roots("lmms-eval")), str(folder))
        )
        assert len(stubbed.eval_docs) == len(ours.eval_docs) > 100
        assert stubbed.doc_to_text(stubbed.eval_docs[3]) == ours.doc_to_text(ours.eval_docs[3])

    def test_a_folder_that_cannot_be_written_is_one_line(self, tmp_path, monkeypatch, capsys):
        blocked = tmp_path / "file"
        blocked.write_text("")
        monkeypatch.setattr(stubs, "stub_folder", lambda: blocked / "tasks")
        assert main(["stubs", "install"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def help_of(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "command", ["fetch-data", "fetch-model", "interventions", "tasks-path", "stubs", "export"]
)
def test_help_has_a_description_an_example_and_exit_codes(command, capsys):
    text = help_of(command, capsys)
    assert f"lmms-causal {command}" in text.partition("example")[2]
    assert "Exit code: 0, or 2" in text
    parsed = _parser()
    (sub_commands,) = (it for it in parsed._actions if isinstance(it.choices, dict))
    assert sub_commands.choices[command].description.endswith(".")


@pytest.mark.parametrize(
    "command, said",
    [
        ("bench", "patterns (default: causal 'window(256)')"),
        ("bench", "keys (default: 1024 2048)"),
        ("bench", "float16 (default: float32)"),
        ("bench", "or all (default: causal-self)"),
        ("bench", "wall time (default: 1)"),
        ("bench", "turns of a case (default: 10)"),
        ("attend", "of the made-up texts (default: 0)"),
        ("attend", "with --effect (default: zero)"),
        ("attend", "with --effect (default: 1)"),
        ("attend", "shown with --prompt; may be repeated"),
        ("attend", "lmms_causal (our kernels)"),
        ("tasks-path", "(default: lmms-eval)"),
        ("interventions", "without it: list them"),
        ("fetch-data", "COCO_VAL2014_DIR"),
        ("export", "a folder that is empty or not there"),
    ],
)
def test_help_says_what_is_left_out_means(command, said, capsys):
    assert said in help_of(command, capsys)


def test_fetch_data_names_the_variable_of_every_task_that_reads_one(capsys):
    """Those of models and caches, and of how strict to be, are no data."""
    named = set(
        re.findall(r"[A-Z0-9]+_[A-Z0-9_]*(?:DIR|ROOT|DATA)\b", help_of("fetch-data", capsys))
    )
    read = set()
    for source in roots("lm-eval").parent.rglob("*.py"):
        read |= set(
            re.findall(
                r'^[A-Z_]+ = "([A-Z0-9]+_[A-Z0-9_]*(?:DIR|ROOT|DATA))"', source.read_text(), re.M
            )
        )
    assert len(read) > 10 and named == read
