"""Running cells: locks, failures, files that changed; processes stand in for harnesses."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmms_causal.matrix import running
from lmms_causal.matrix.cells import cells_of
from lmms_causal.matrix.locking import Lock
from lmms_causal.matrix.manifest import read_json, write_manifest
from lmms_causal.matrix.plan import read_plan
from lmms_causal.matrix.progress import Estimates, Measured, Progress, duration
from lmms_causal.matrix.variants import expand

# What a harness leaves behind, for a cell whose intervention is not re2.
HARNESS = """\
import pathlib, sys
words = sys.argv[sys.argv.index("--") + 1:]
if any("re2" in word for word in words):
    raise SystemExit("error: no such thing")
out = pathlib.Path(words[words.index("--output_path") + 1]) / "m"
out.mkdir(parents=True)
for name in ("t_results.json", "t_samples_t.jsonl"):
    (out / name).write_text("{}")
"""


@pytest.fixture
def cells(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("models: [pretrained=m]\ntasks: t\ninterventions: [none, re2, vcd]\n")
    plan = read_plan(file)
    found = cells_of(plan, expand(plan.interventions)[0], tmp_path / "out")
    # python -c HARNESS -m lmms_causal.matrix.cell ...: the words behind -c are only looked at
    return [dataclasses.replace(it, launch=(sys.executable, "-c", HARNESS)) for it in found]


def run(cells):
    stream = io.StringIO()
    return running.run_cells(cells, Progress(len(cells), 1, None, stream)), stream.getvalue()


def test_a_cell_that_fails_costs_itself_only_and_is_tried_again(cells):
    outcome, text = run(cells)
    assert outcome.failed == {"m | re2 | t": "no such thing"} and not outcome.taken
    assert [running.is_done(cell) for cell in cells] == [True, False, True]
    before = (cells[0].folder / "log.txt").read_text()
    _, text = run(cells)
    assert "2 of 3 cells are done already" in text and "FAILED: no such thing" in text
    assert (cells[0].folder / "log.txt").read_text() == before


def test_a_cell_whose_files_changed_is_evaluated_again(cells):
    run(cells[:1])
    (file,) = cells[0].results.rglob("*_results.json")
    file.write_text('{"better": 1}')
    assert not running.is_done(cells[0])
    run(cells[:1])
    (file,) = cells[0].results.rglob("*_results.json")
    assert file.read_text() == "{}" and running.is_done(cells[0])


def test_what_another_run_holds_is_left_to_it(cells, monkeypatch):
    monkeypatch.setattr(running, "_GRACE", 0.3)
    lock = Lock.take(cells[0].folder / "lock")
    assert lock is not None and Lock.take(cells[0].folder / "lock") is None
    outcome, _ = run([cells[0], cells[2]])
    assert outcome.taken == ["m | none | t"] and running.is_done(cells[2])
    lock.release()
    outcome, _ = run([cells[0], cells[2]])
    assert not outcome.taken and running.is_done(cells[0])


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks on Windows")
def test_a_lock_dies_with_its_last_holder(tmp_path):
    lock = Lock.take(tmp_path / "lock")
    assert lock is not None
    holder = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(lock.descriptor,)
    )
    try:
        lock.release()
        assert Lock.take(tmp_path / "lock") is None
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    again = Lock.take(tmp_path / "lock")
    assert again is not None
    again.release()


def test_the_manifest_says_what_is_needed_to_do_it_again(cells, tmp_path):
    run(cells)
    out = tmp_path / "out"
    write_manifest(out, read_plan(tmp_path / "plan.yaml"), cells, ["a note"])
    manifest = read_json(out / "manifest.json")
    assert {"lmms-causal", "lmms-eval", "torch", "transformers"} <= manifest["versions"].keys()
    assert len(manifest["plan"]["sha256"]) == 64 and manifest["notes"] == ["a note"]
    plain, failed, _ = manifest["cells"]
    assert plain["interventions"] == "none" and plain["command"][0] == "lmms-eval"
    assert all((out / plain["folder"] / name).is_file() for name in plain["done"]["files"])
    assert failed["done"] is None
    assert "git" not in Path(out / "manifest.json").read_text()


def test_estimates_follow_tasks_passes_and_start_up(cells):
    plain, _, vcd = cells
    other = dataclasses.replace(vcd, task="u")
    known = Estimates()
    running_cell = Measured(plain, documents=100, seconds=50.0, start=10.0)
    assert known.seconds([], running_cell) == 0
    assert known.seconds([vcd], running_cell) == 10 + 100 * 0.5 * 2  # a branch, a second pass
    known.add(Measured(dataclasses.replace(plain, task="u"), 10, 20.0, 30.0))
    assert known.seconds([other], running_cell) == 20 + 10 * 2.0 * 2  # by its own task
    assert [duration(s) for s in (4, 600, 12000, 190000)] == [
        "4 s",
        "10 min",
        "3 h 20 min",
        "2 d 4 h",
    ]
