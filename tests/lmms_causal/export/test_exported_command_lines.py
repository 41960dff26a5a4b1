"""Exported folders under the harnesses' own command lines and models, in a process without us."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmms_causal import tiny_llava
from lmms_causal.export import export
from lmms_causal.tasks import roots

pytestmark = pytest.mark.exhaustive

MODEL = str(tiny_llava.path())
STOCK = {
    "lmms-eval": [
        *("lmms-eval", "--model", "llava_hf"),
        *("--model_args", f"pretrained={MODEL},device=cpu,device_map=cpu"),
    ],
    "lm-eval": [
        *("lm-eval", "run", "--model", "hf-multimodal", "--device", "cpu"),
        *("--model_args", f"pretrained={MODEL}", "--apply_chat_template"),
    ],
}


@pytest.mark.parametrize("harness", STOCK)
def test_the_stock_command_line_gives_our_samples_and_scores_on_the_bundled_model(
    harness: str, tmp_path: Path, without_ours: dict[str, str]
) -> None:
    folder = export("causal_vqa_mini", harness, tmp_path / "causal_vqa_mini").folder
    arguments = [*STOCK[harness], "--tasks", "causal_vqa_mini", "--limit", "12"]
    ours = _run([*arguments, "--include_path", str(roots(harness))], tmp_path / "ours")
    theirs = _run([*arguments, "--include_path", str(folder)], tmp_path / "theirs", without_ours)
    assert theirs == ours
    assert len(ours["samples"]) == 3 and all(len(rows) == 12 for rows in ours["samples"].values())
    order = ours["results"]["causal_vqa_mini_order"]
    assert order["causal_invalid_rate,none"] == 0 and order["causal_score,none"] > 0.5


def test_our_tasks_are_not_found_where_the_export_is_not_named(
    tmp_path: Path, without_ours: dict[str, str]
) -> None:
    """Otherwise the two tests above could have compared ours with ours."""
    for harness, command in STOCK.items():
        done = _typed([*command, "--tasks", "causal_vqa_mini"], tmp_path, without_ours)
        output = done.stdout + done.stderr
        assert "results" not in output.lower().split() and "not found" in output.lower(), harness


def test_lm_eval_gives_our_samples_and_scores_on_a_text_model(
    tmp_path: Path,
    saved: Any,
    tiny_pairs: Path,
    tiny_questions: Path,
    without_ours: dict[str, str],
) -> None:
    for name in ("judge_pairs", "multi_doc_qa"):
        export(name, "lm-eval", tmp_path / "exported" / name, everything=True)
    arguments = ["lm-eval", "run", "--model", "hf", "--model_args", f"pretrained={saved('llama')}"]
    arguments += ["--tasks", "judge_pairs,judge_pairs_letters,multi_doc_qa_10", "--device", "cpu"]
    ours = _run([*arguments, "--include_path", str(roots("lm-eval"))], tmp_path / "ours")
    folder = str(tmp_path / "exported")
    theirs = _run([*arguments, "--include_path", folder], tmp_path / "theirs", without_ours)
    assert len(ours["samples"]) == 4 and theirs == ours


@pytest.mark.data
def test_lm_eval_gives_our_samples_and_scores_on_the_released_captions(
    tmp_path: Path, saved: Any, real_release: Path, without_ours: dict[str, str]
) -> None:
    folder = export("vqa_causal_blind", "lm-eval", tmp_path / "vqa_causal_blind").folder
    arguments = ["lm-eval", "run", "--model", "hf", "--model_args", f"pretrained={saved('llama')}"]
    arguments += ["--tasks", "vqa_causal_blind", "--device", "cpu", "--limit", "16"]
    ours = _run([*arguments, "--include_path", str(roots("lm-eval"))], tmp_path / "ours")
    theirs = _run(
        [*arguments, "--include_path", str(folder)],
        tmp_path / "theirs",
        without_ours,
    )
    assert ours["samples"] and theirs == ours


def _typed(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(program), *command[1:]],
        env={**os.environ, **(environment or {})},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def _run(
    command: list[str], output: Path, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Results and samples of a run, NaN as a word so that it equals itself."""
    output.mkdir()
    command = [*command, "--log_samples", "--output_path", str(output)]
    done = _typed(command, output, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = output.rglob("*results*.json")
    written = json.loads(file.read_text(), parse_constant=str)
    samples = {}
    for path in output.rglob("*samples*.jsonl"):
        lines = path.read_text().splitlines()
        task = re.sub(r"_\d{4}-.*", "", path.stem.partition("samples_")[2])
        samples[task] = [json.loads(line, parse_constant=str) for line in lines]
    kept = ("results", "groups", "group_subtasks", "versions", "n-samples", "higher_is_better")
    return {"samples": samples, **{key: written.get(key) for key in kept}}
