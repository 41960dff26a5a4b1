"""The hallucination benchmarks as a user types them: both harnesses, offline, the bundled model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.tasks import catalogue
from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow
MODEL = "pretrained=lmms-causal/tiny-llava"
TASKS = (
    *("pope_strict_coco_random", "pope_strict_aokvqa_popular", "pope_strict_gqa_adversarial"),
    *("pope_strict_gqa_random_blind", "mme_subscores", "mme_hallucination_blind"),
    *("amber_discriminative", "amber_generative", "vlind", "vlind_blind", "mmhal", "mmhal_blind"),
)


def _numbers(file: Path) -> dict[str, dict[str, float]]:
    """Task, then metric without its filter, to number; standard errors left out."""
    results = json.loads(file.read_text())["results"]
    return {
        task: {
            metric.partition(",")[0]: value
            for metric, value in metrics.items()
            if isinstance(value, (int, float)) and "stderr" not in metric and "," in metric
        }
        for task, metrics in results.items()
    }


def _same(one: float, other: float) -> bool:
    return one == pytest.approx(other, nan_ok=True)


def test_both_harnesses_run_every_companion_to_the_same_numbers(
    tiny_companions: SimpleNamespace, tmp_path: Path
) -> None:
    out = {harness: tmp_path / harness for harness in ("lmms-eval", "lm-eval")}
    tasks = ("--tasks", ",".join(TASKS), "--log_samples")
    done = typed(
        *("lmms-eval", "--model", "causal", "--model_args", MODEL, *tasks),
        *("--gen_kwargs", "max_new_tokens=16", "--output_path", str(out["lmms-eval"])),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    done = typed(
        *("lmms-causal", "lm-eval", "run", "--model", "causal-multimodal", "--model_args", MODEL),
        *(*tasks, "--apply_chat_template", "--gen_kwargs", "max_gen_toks=16"),
        *("--output_path", str(out["lm-eval"])),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = out["lmms-eval"].rglob("*_results.json")
    (other,) = out["lm-eval"].rglob("results_*.json")
    one, two = _numbers(file), _numbers(other)
    assert set(TASKS) <= set(one) and set(TASKS) <= set(two)
    for task in TASKS:
        assert set(one[task]) == set(two[task]) and one[task]
        for metric, value in one[task].items():
            assert _same(value, two[task][metric]), (task, metric)


def test_groups_average_without_weights(tiny_companions: SimpleNamespace, tmp_path: Path) -> None:
    tasks = ("--tasks", "pope_strict_coco_blind,amber_blind", "--gen_kwargs", "max_new_tokens=16")
    done = typed(
        *("lmms-eval", "--model", "causal", "--model_args", MODEL, *tasks),
        *("--output_path", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = tmp_path.rglob("*_results.json")
    found = _numbers(file)
    members = catalogue.members("pope_strict_coco_blind")
    mean = sum(found[task]["pope_vcd_acc"] for task in members) / len(members)
    assert _same(found["pope_strict_coco_blind"]["pope_vcd_acc"], mean)
    halves = [found[task]["amber_combined_score"] for task in catalogue.members("amber_blind")]
    assert _same(found["amber_blind"]["amber_combined_score"], sum(halves) / 2)


@pytest.mark.parametrize("harness", ["lmms-eval", "lm-eval"])
def test_the_small_group_runs(
    tiny_companions: SimpleNamespace, tmp_path: Path, harness: str
) -> None:
    group = ("--tasks", "causal_lmms_lite", "--limit", "4", "--output_path", str(tmp_path))
    start = {
        "lmms-eval": ("lmms-eval", "--model", "causal"),
        "lm-eval": ("lmms-causal", "lm-eval", "run", "--model", "causal-multimodal"),
    }[harness]
    chat = ("--apply_chat_template",) if harness == "lm-eval" else ()
    done = typed(*start, "--model_args", MODEL, *group, *chat)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = tmp_path.rglob("*results_*.json" if harness == "lm-eval" else "*_results.json")
    assert set(catalogue.members("causal_lmms_lite")) <= set(_numbers(file))


@pytest.mark.parametrize(
    "task, variable, message",
    [
        ("vlind", "VLIND_ROOT", "error: VLIND_ROOT is not set"),
        ("mmhal", "MODEL_VERSION", "error: mmhal needs a judge"),
        ("pope_strict_gqa", "GQA_IMAGE_DIR", "error: GQA_IMAGE_DIR is not set"),
    ],
)
def test_what_is_missing_is_one_line_before_a_model_is_loaded(
    tiny_companions: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    variable: str,
    message: str,
) -> None:
    monkeypatch.delenv(variable)
    done = typed("lmms-eval", "--model", "causal", "--model_args", MODEL, "--tasks", task)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output and "Loading weights" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert line.startswith(message)
