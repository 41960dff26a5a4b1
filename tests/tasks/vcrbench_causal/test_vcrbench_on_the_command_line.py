"""The real command lines on the drawn videos with a tiny random model, with and without `rrd`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow


def _asked(folder: Path) -> dict[str, dict]:
    (file,) = folder.rglob("*_results.json")
    return json.loads(file.read_text())["results"]


@pytest.mark.parametrize("method", ["", ",interventions=rrd(max_new_tokens=8)"])
def test_lmms_eval_shows_videos(
    method: str, tmp_path: Path, tiny_videos: Path, saved: Callable[[str], str]
) -> None:
    model = f"pretrained={saved('qwen2_5_vl')},num_frames=12{method}"
    tasks = "vcrbench_causal,vcrbench_causal_renamed"
    tasks += "" if method else ",vcrbench_causal_blind,vcrbench_causal_renamed_blind"
    run = typed(
        *("lmms-eval", "--model", "causal", "--model_args", model, "--tasks", tasks),
        *("--gen_kwargs", "max_new_tokens=8", "--output_path", str(tmp_path), "--log_samples"),
    )
    assert run.returncode == 0, run.stderr
    results = _asked(tmp_path)
    assert set(results) == set(tasks.split(","))
    for name in results:
        assert results[name]["vcrbench_invalid_rate,none"] == 1, name  # the model is random
        (samples,) = tmp_path.rglob(f"*_samples_{name}.jsonl")
        assert len(samples.read_text().splitlines()) == 3


def test_lm_eval_asks_without_videos(
    tmp_path: Path, tiny_videos: Path, saved: Callable[[str], str]
) -> None:
    run = typed(
        *("lmms-causal", "lm-eval", "run", "--model", "causal", "--apply_chat_template"),
        *("--model_args", f"pretrained={saved('llama')}", "--gen_kwargs", "max_gen_toks=8"),
        *("--tasks", "vcrbench_causal_blind,vcrbench_causal_renamed_blind"),
        *("--output_path", str(tmp_path)),
    )
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    assert results["vcrbench_causal_blind"]["vcrbench_official_acc,none"] == 0
    assert results["vcrbench_causal_renamed_blind"]["vcrbench_score,none"] == 0


def test_a_missing_video_is_one_line_before_a_model_is_loaded(tiny_videos: Path) -> None:
    (tiny_videos / "videos" / "video_3.mp4").unlink()
    model = "pretrained=lmms-causal/tiny-llava"
    run = typed(
        *("lmms-eval", "--model", "causal", "--model_args", model, "--tasks", "vcrbench_causal")
    )
    assert run.returncode == 2
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 3 VCRBench videos are missing, the first is video_3.mp4")
    assert "Traceback" not in run.stderr and "Loading weights" not in run.stderr
