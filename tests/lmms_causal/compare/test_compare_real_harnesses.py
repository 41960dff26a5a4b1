"""The harnesses' own command lines write files today that `compare` reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lmms_causal.compare import Options, compare, read_run

pytestmark = pytest.mark.slow


def _tasks(data: Path, folder: Path, lmms_eval: bool) -> Path:
    """Lay out the toy task for one harness; lm-eval does not know ``doc_to_visual``."""
    folder.mkdir()
    shutil.copy(data / "toy_task" / "toy_scoring.py", folder)
    for template in (data / "toy_task").glob("*.yaml.in"):
        lines = template.read_text().replace("DATA_FILE", str(data / "toy_task" / "toy.jsonl"))
        kept = [line for line in lines.splitlines() if lmms_eval or "doc_to_visual" not in line]
        (folder / template.name.removesuffix(".in")).write_text("\n".join(kept) + "\n")
    return folder


def _evaluate(words: list[str], tasks: Path, out: Path) -> None:
    common = ["--include_path", str(tasks), "--tasks", "toy_order,toy_filters", "--log_samples"]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(out.parent / "hf"),
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [sys.executable, "-m", *words, *common, "--output_path", str(out), "--batch_size", "1"],
        env=environment,
        cwd=out.parent,
        check=True,
        capture_output=True,
        timeout=300,
    )


def test_fresh_files_of_both_harnesses_compare_like_the_golden_ones(
    data: Path, tmp_path: Path
) -> None:
    lmms_tasks = _tasks(data, tmp_path / "lmms_tasks", lmms_eval=True)
    lm_tasks = _tasks(data, tmp_path / "lm_tasks", lmms_eval=False)
    for answer in ("A", "B"):
        arguments = f"pretrained=org/toy,response={answer}"
        words = ["lmms_eval", "--model", "dummy", "--model_args", arguments]
        _evaluate(words, lmms_tasks, tmp_path / f"lmms_{answer}")
    words = [
        "lm_eval",
        "run",
        "--model",
        "dummy",
        "--model_args",
        "pretrained=org/toy",
        "--seed",
        "1",
    ]
    _evaluate(words, lm_tasks, tmp_path / "lm")

    fresh = [read_run(tmp_path / name) for name in ("lmms_A", "lmms_B", "lm")]
    golden = [read_run(data / name) for name in ("lmms_eval_a", "lmms_eval_b", "lm_eval_seed1")]
    options = Options(tasks=("toy_order", "toy_filters"), by=("stratum",))
    for ours, stored in zip(
        compare(fresh[0], fresh[1:], options), compare(golden[0], golden[1:], options), strict=True
    ):
        assert ours.rows == stored.rows
        # But for the local path of the data, the same things differ.
        assert [found for found in ours.differences if "dataset" not in found.what] == [
            found for found in stored.differences if "dataset" not in found.what
        ]
