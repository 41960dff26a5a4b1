"""An exported folder against ours: the same documents, prompts, pictures and scores, without us."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmms_causal import tiny_llava
from lmms_causal.export import export
from lmms_causal.tasks import roots
from lmms_causal.tasks.causal_vqa import data

pytestmark = pytest.mark.slow

SNAPSHOT = Path(__file__).with_name("snapshot.py")
_spec = importlib.util.spec_from_file_location("snapshot_of_tasks", SNAPSHOT)
assert _spec is not None and _spec.loader is not None
snapshot = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(snapshot)

BENCHMARKS = [
    *(("lmms-eval", name) for name in ("causal_vqa_mini", "causal_vqa", "judge_pairs")),
    *(("lm-eval", name) for name in ("causal_vqa_mini", "causal_vqa", "judge_pairs")),
    ("lm-eval", "multi_doc_qa"),
]


@pytest.mark.parametrize(("harness", "name"), BENCHMARKS)
def test_every_task_asks_and_scores_as_ours_does(
    harness: str,
    name: str,
    tmp_path: Path,
    tiny_release: SimpleNamespace,
    tiny_pairs: Path,
    tiny_questions: Path,
    without_ours: dict[str, str],
) -> None:
    done = export(name, harness, tmp_path / name, everything=True)
    if name == "causal_vqa":  # the stand-in's checksums are not the release's
        shutil.copyfile(data.MANIFEST, done.folder / "manifest.jsonl")
    ours = snapshot.snapshot(harness, str(roots(harness)), done.tasks)
    run = subprocess.run(
        [sys.executable, str(SNAPSHOT), harness, str(done.folder), *done.tasks],
        env=without_ours,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    theirs = run.stdout.strip().splitlines()[-1]
    assert json.loads(theirs).keys() == set(done.tasks)
    assert theirs == json.dumps(ours, sort_keys=True, default=str)


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
    arguments = [*STOCK[harness], "--tasks", "causal_vqa_mini", "--limit", "24"]
    ours = _run([*arguments, "--include_path", str(roots(harness))], tmp_path / "ours")
    theirs = _run([*arguments, "--include_path", str(folder)], tmp_path / "theirs", without_ours)
    assert theirs == ours
    assert len(ours["samples"]) == 3 and all(len(rows) == 24 for rows in ours["samples"].values())
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


@pytest.mark.parametrize("name", ["judge_pairs", "multi_doc_qa"])
def test_lm_eval_gives_our_samples_and_scores_on_a_text_model(
    name: str,
    tmp_path: Path,
    saved: Any,
    tiny_pairs: Path,
    tiny_questions: Path,
    without_ours: dict[str, str],
) -> None:
    folder = export(name, "lm-eval", tmp_path / name, everything=True).folder
    tasks = "judge_pairs,judge_pairs_letters" if name == "judge_pairs" else "multi_doc_qa_10"
    arguments = ["lm-eval", "run", "--model", "hf", "--model_args", f"pretrained={saved('llama')}"]
    arguments += ["--tasks", tasks, "--device", "cpu"]
    ours = _run([*arguments, "--include_path", str(roots("lm-eval"))], tmp_path / "ours")
    theirs = _run([*arguments, "--include_path", str(folder)], tmp_path / "theirs", without_ours)
    assert ours["samples"] and theirs == ours


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
        {**without_ours, "CAUSAL_VQA_CSV_DIR": str(real_release)},
    )
    assert ours["samples"] and theirs == ours


def _typed(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(program), *command[1:]],
        env=environment,
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
