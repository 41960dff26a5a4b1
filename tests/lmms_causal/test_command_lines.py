"""The real command lines, offline, with the bundled model, in a Python started for each."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from lmms_causal.commands import stubs
from lmms_causal.tasks import roots
from lmms_causal.testing import command_line

pytestmark = pytest.mark.slow
VCD = "vcd(alpha=1.0;beta=0.1;noise_step=500;seed=0;without_image=refuse;variant=paper)"
MODEL = "pretrained=lmms-causal/tiny-llava"
TASK = "causal_vqa_mini_presence"


typed = partial(command_line.typed, fresh=True)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a refusal, after checking that it is one, and before weights load."""
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "Traceback" not in output and "Loading weights" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    return line


def test_lmms_eval_runs_our_task_and_model_without_a_flag_or_a_variable(tmp_path):
    done = typed(
        *("lmms-eval", "--model", "causal", "--model_args", f"{MODEL},interventions=vcd"),
        *("--tasks", TASK, "--limit", "4", "--batch_size", "2", "--log_samples"),
        *("--output_path", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("*_results.json")
    results = json.loads(file.read_text())
    assert VCD in results["config"]["model_backend"]
    assert results["throughput"]["avg_forward_passes_per_request"] >= 2
    (samples,) = tmp_path.rglob(f"*_samples_{TASK}.jsonl")
    assert len(samples.read_text().splitlines()) == 4


def test_lm_eval_s_command_line_runs_them_through_ours(tmp_path):
    done = typed(
        *("lmms-causal", "lm-eval", "run", "--model", "causal-multimodal"),
        *("--model_args", f"{MODEL},interventions=vcd", "--tasks", TASK, "--limit", "4"),
        *("--apply_chat_template", "--log_samples", "--output_path", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("results_*.json")
    config = json.loads(file.read_text())["config"]
    assert config["lmms_causal_interventions"] == VCD
    cost = config["lmms_causal_cost"]
    assert cost["forward_passes"] == 2 * cost["generated_tokens"] > 0


def test_lmms_eval_lists_our_tasks_and_models():
    listed = typed("lmms-eval", "--tasks", "list")
    assert listed.returncode == 0 and "causal_vqa_mini_presence" in listed.stdout
    models = typed("lmms-eval", "models")
    assert models.returncode == 0 and "causal" in models.stdout.split()


def test_lm_eval_itself_finds_our_tasks_with_the_printed_folder():
    folder = typed("lmms-causal", "tasks-path", "--harness", "lm-eval").stdout.strip()
    assert Path(folder) == roots("lm-eval")
    done = typed(
        "lm-eval", "validate", "--tasks", "causal_vqa,causal_vqa_mini", "--include_path", folder
    )
    assert done.returncode == 0 and "All tasks found and valid" in done.stdout


def test_stubs_let_the_light_commands_of_lmms_eval_list_our_tasks():
    if stubs.stub_folder().exists():
        pytest.skip("stubs are installed here; this test would remove them")
    if not os.access(stubs.stub_folder().parent, os.W_OK):
        pytest.skip("lmms-eval's own folder cannot be written to")
    try:
        assert typed("lmms-causal", "stubs", "install").returncode == 0
        assert "causal_vqa_mini_presence" in typed("lmms-eval", "tasks", "list").stdout
    finally:
        done = typed("lmms-causal", "stubs", "remove")
    assert done.stdout.strip() == "stubs removed" and not stubs.stub_folder().exists()


def test_lmms_eval_refuses_a_misspelt_task():
    done = typed("lmms-eval", "--model", "causal", "--model_args", MODEL, "--tasks", f"{TASK},nope")
    assert refused(done).startswith("error: unknown task 'nope'")


def test_lmms_eval_refuses_missing_data_without_a_network(tmp_path):
    done = typed(
        *("lmms-eval", "--model", "causal", "--model_args", MODEL, "--tasks", "causal_vqa"),
        CAUSAL_VQA_CSV_DIR="",
        LMMS_CAUSAL_CACHE=str(tmp_path),
    )
    assert "HF_HUB_OFFLINE forbids downloads" in refused(done)


def test_lm_eval_refuses_a_text_model_on_an_image_task(saved):
    done = typed(
        *("lmms-causal", "lm-eval", "run", "--model", "causal", "--tasks", TASK),
        *("--model_args", f"pretrained={saved('llama')}", "--limit", "1"),
    )
    assert "causal-multimodal" in refused(done)
