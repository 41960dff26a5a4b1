"""`vcrbench_rrd` as a user types it: our model, other people's models, and a run that is cut."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow


def _lmms_eval(
    folder: Path, model: str, arguments: str, tasks: str, options: str = "max_new_tokens=8"
) -> subprocess.CompletedProcess[str]:
    command = ["--model", model, "--model_args", arguments, "--tasks", tasks]
    command += ["--gen_kwargs", options, "--log_samples", "--output_path", str(folder)]
    return typed("lmms-eval", *command)


def _samples(folder: Path, task: str) -> list[dict[str, Any]]:
    files = [file for file in folder.rglob("*.jsonl") if file.stem.endswith(f"samples_{task}")]
    (file,) = files
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(rows, key=lambda row: row["doc_id"])


def _conversations(folder: Path, task: str) -> list[list[dict[str, str]]]:
    return [json.loads(row["filtered_resps"]) for row in _samples(folder, task)]


@pytest.mark.parametrize(
    "model, task, spec",
    [
        ("lmms-causal/tiny-llava,num_frames=2", "vcrbench_rrd", ""),
        ("qwen2_5_vl", "vcrbench_rrd", ""),
        (
            *("qwen2_5_vl", "vcrbench_rrd_sequential_video"),
            "recognition=sequential;reasoning=video;",
        ),
    ],
)
def test_answers_are_those_of_the_intervention_document_by_document(
    model: str,
    task: str,
    spec: str,
    tmp_path: Path,
    tiny_videos: Path,
    saved: Callable[[str], str],
) -> None:
    """The bundled model is trained; what the random one says depends on every word it reads."""
    random = model == "qwen2_5_vl"
    arguments = f"pretrained={saved(model)},num_frames=12" if random else f"pretrained={model}"
    tasks = f"{task},vcrbench_causal" if random else task  # which is too long for the bundled one
    done = _lmms_eval(tmp_path / "plain", "causal", arguments, tasks)
    assert done.returncode == 0, done.stderr
    method = f"{arguments},interventions=rrd({spec}max_new_tokens=8)"
    done = _lmms_eval(tmp_path / "method", "causal", method, "vcrbench_causal")
    assert done.returncode == 0, done.stderr

    asked = _samples(tmp_path / "plain", task)
    expected = _samples(tmp_path / "method", "vcrbench_causal")
    answers = [turns[-1]["reply"].strip() for turns in _conversations(tmp_path / "plain", task)]
    assert answers == [row["filtered_resps"].strip() for row in expected] and len(answers) == 3
    for row, other in zip(asked, expected, strict=True):
        metrics = {name: value for name, value in row.items() if "vcrbench" in name}
        assert len(metrics) > 10 and metrics == {name: other[name] for name in metrics}
    if random:
        plain = _samples(tmp_path / "plain", "vcrbench_causal")
        assert len(set(answers)) > 1
        assert not {row["filtered_resps"].strip() for row in plain} & set(answers)


def test_a_model_of_somebody_else_is_asked_in_two_stages(
    tmp_path: Path, tiny_videos: Path, saved: Callable[[str], str]
) -> None:
    pytest.importorskip("decord", reason="lmms-eval's own wrappers import decord: decord2")
    arguments = f"pretrained={saved('qwen2_5_vl')},device_map=cpu,device=cpu"
    done = _lmms_eval(tmp_path, "qwen2_5_vl", arguments, "vcrbench_rrd")
    assert done.returncode == 0, done.stderr
    for recognised, reasoned in _conversations(tmp_path, "vcrbench_rrd"):
        assert recognised["reply"].strip() and recognised["reply"].strip() in reasoned["asked"]
        assert reasoned["asked"].startswith("You are not shown the video.")


def test_a_model_without_rounds_of_its_own_is_asked_clip_by_clip(
    tmp_path: Path, tiny_videos: Path
) -> None:
    done = _lmms_eval(tmp_path, "dummy", "response=2", "vcrbench_rrd_sequential")
    assert done.returncode == 0, done.stderr
    for turns in _conversations(tmp_path, "vcrbench_rrd_sequential"):
        assert [turn["reply"] for turn in turns] == ["2"] * 4  # a count, two clips, the answer
        assert "Clip 1: 2\nClip 2: 2" in turns[-1]["asked"]


def test_a_conversation_that_is_cut_is_not_scored(tmp_path: Path, tiny_videos: Path) -> None:
    done = _lmms_eval(tmp_path, "dummy", "response=A", "vcrbench_rrd", "max_agentic_steps=1")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1 and "'A' is no conversation in two stages" in lines[0]
    assert "Traceback" not in done.stderr and not list(tmp_path.rglob("*_results.json"))
