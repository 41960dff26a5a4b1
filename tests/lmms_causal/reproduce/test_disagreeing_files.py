"""Files of a run that disagree are no result."""

from __future__ import annotations

import json
import shutil

import pytest

from lmms_causal.cli import main

ORDER = ["reproduce", "vcd", "--benchmark", "causal_vqa_mini", "--tasks", "causal_vqa_mini_order"]


def _only(folder, pattern):
    (file,) = folder.rglob(pattern)
    return file


def _better(folder):
    file = _only(folder, "*_results.json")
    file.write_text(
        file.read_text().replace('"causal_score,none": 0.964', '"causal_score,none": 1')
    )


def _better_by_our_own_aggregation(folder):
    file = _only(folder, "*_results.json")
    file.write_text(file.read_text().replace('"causal_acc,none": 0.964', '"causal_acc,none": 1'))


def _of_the_plain_model(folder):
    """The other evaluation's files in this one's place."""
    shutil.rmtree(folder / "model")
    shutil.copytree(folder.with_name("plain_seed0") / "model", folder / "model")


def _lost(folder):
    _only(folder, "*_samples_*").unlink()


def _cut(folder):
    file = _only(folder, "*_samples_*")
    file.write_bytes(file.read_bytes()[:-9])


def _fewer(folder):
    file = _only(folder, "*_samples_*")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def _uncounted(folder):
    file = _only(folder, "*_results.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"n-samples": {}}))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_better, "causal_score: what its samples file holds gives 0.964, the file says 1:"),
        (_better_by_our_own_aggregation, "causal_acc: what its samples file holds gives 0.964"),
        (_of_the_plain_model, "evaluated with interventions=none, not vcd"),
        (_lost, "no samples file"),
        (_cut, "the file may be cut off"),
        (_fewer, "999 documents (filter none), the results 1000"),
        (_uncounted, "how many documents"),
    ],
)
def test_files_that_disagree_are_no_result(harness, tmp_path, capsys, change, complaint):
    """Nor is anything run before that is said; what is said to do then helps."""
    assert main([*ORDER, "--output", str(tmp_path)]) == 0
    folder = tmp_path / "method_seed0"
    change(folder)
    shutil.rmtree(tmp_path / "plain_seed0")
    harness.clear()
    capsys.readouterr()
    assert main([*ORDER, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error and "\n" not in error and not harness
    assert error.endswith(f"to have this command evaluate again, remove {folder}")
    shutil.rmtree(folder)
    assert main([*ORDER, "--output", str(tmp_path)]) == 0
    assert "2 agree" in capsys.readouterr().out


def test_an_aggregation_of_another_version_proves_nothing(harness, tmp_path):
    """The task of that time may have counted otherwise."""
    assert main([*ORDER, "--output", str(tmp_path)]) == 0
    folder = tmp_path / "method_seed0"
    _better_by_our_own_aggregation(folder)
    file = _only(folder, "*_results.json")
    file.write_text(file.read_text().replace('_order": 1.2', '_order": 0.9'))
    assert main([*ORDER, "--output", str(tmp_path)]) == 0
