"""A wrong or broken file of a benchmark ends a run of either harness, before any weights load."""

from __future__ import annotations

import hashlib
import json

import lm_eval
import lmms_eval.evaluator
import pytest

from lmms_causal import lm_eval_plugin
from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks import roots
from lmms_causal.tasks.causal_vqa import data
from lmms_causal.testing import picture

ROWS = """image_id,sentence,reverse_sentence
1,The lamp is lit is due to it is dark outside.,It is dark outside is due to the lamp is lit.
2,The toast is black is due to the heat rose.,The heat rose is due to the toast is black.
"""


@pytest.fixture(autouse=True)
def _release(tmp_path, monkeypatch, command_line):
    """Two rows and their pictures, of which the second is half there."""
    (tmp_path / "csv").mkdir()
    (tmp_path / "val2014").mkdir()
    (tmp_path / "csv" / "vqa_causal.csv").write_text(ROWS)
    digest = hashlib.sha256(ROWS.encode()).hexdigest()
    entry = {"file": "vqa_causal.csv", "url": "https://example.invalid/x", "sha256": digest}
    (tmp_path / "manifest.jsonl").write_text(json.dumps({**entry, "rows": 2}))
    files = [tmp_path / "val2014" / f"COCO_val2014_{n:012d}.jpg" for n in (1, 2)]
    for file in files:
        picture(1, 200, 200).save(file)
    files[1].write_bytes(files[1].read_bytes()[:1500])
    monkeypatch.setattr(data, "MANIFEST", tmp_path / "manifest.jsonl")
    monkeypatch.setenv("CAUSAL_VQA_CSV_DIR", str(tmp_path / "csv"))
    monkeypatch.setenv("COCO_VAL2014_DIR", str(tmp_path / "val2014"))

    from transformers import PreTrainedModel

    def explode(*_, **__):
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", explode)


def run_lmms_eval(saved):
    from lmms_eval.tasks import TaskManager

    tasks = TaskManager(include_path=str(roots("lmms-eval")), include_defaults=False)
    lmms_eval.evaluator.simple_evaluate(
        model="causal",
        model_args=f"pretrained={saved('llava')}",
        tasks=["vqa_causal_mc"],
        task_manager=tasks,
        device="cpu",
        batch_size=1,
    )


@one_line_errors  # as `lmms-causal lm-eval` does
def run_lm_eval(saved):
    lm_eval_plugin.install()
    from lm_eval.tasks import TaskManager

    lm_eval.simple_evaluate(
        model="causal-multimodal",
        model_args=f"pretrained={saved('llava')}",
        tasks=["vqa_causal_mc"],
        task_manager=TaskManager(include_defaults=False),
        apply_chat_template=True,
        device="cpu",
    )


@pytest.mark.parametrize("run", [run_lmms_eval, run_lm_eval])
def test_a_broken_picture_is_named_with_its_document(saved, run):
    with pytest.raises(SystemExit) as caught:
        run(saved)
    line = str(caught.value)
    assert "COCO_val2014_000000000002.jpg" in line and "document" in line and "\n" not in line


@pytest.mark.parametrize("run", [run_lmms_eval, run_lm_eval])
def test_another_file_than_the_pinned_one_is_refused(saved, run, tmp_path):
    (tmp_path / "csv" / "vqa_causal.csv").write_text(ROWS + "3,a is due to b.,b is due to a.\n")
    with pytest.raises(SystemExit, match=r"checksum mismatch for .*vqa_causal\.csv"):
        run(saved)


@pytest.mark.parametrize("run", [run_lmms_eval, run_lm_eval])
def test_a_missing_picture_folder_is_named_by_its_variable(saved, run, monkeypatch):
    monkeypatch.setenv("COCO_VAL2014_DIR", "/no/such/folder")
    with pytest.raises(SystemExit, match="COCO_VAL2014_DIR=/no/such/folder"):
        run(saved)
