"""Running cells: locks, failures, files that changed; processes stand in for harnesses."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.matrix import running
from lmms_causal.matrix.cell import RANKS
from lmms_causal.matrix.keeping.files import read_json
from lmms_causal.matrix.keeping.locking import Lock
from lmms_causal.matrix.keeping.manifest import write_manifest
from lmms_causal.matrix.planning.cells import cells_of
from lmms_causal.matrix.planning.plan import read_plan
from lmms_causal.matrix.planning.variants import expand
from lmms_causal.matrix.progress import Estimates, Measured, Progress, duration
from lmms_causal.matrix.stopping import Stopped, stoppable

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
def test_a_cell_whose_ranks_live_on_is_held(cells, monkeypatch):
    """A launcher that was killed leaves them for a moment, without the lock it had."""
    monkeypatch.setattr(running, "_GRACE", 0.3)
    rank, other = (Lock.take(cells[0].folder / RANKS, shared=True) for _ in range(2))
    assert rank is not None and other is not None
    outcome, _ = run(cells[:1])
    assert outcome.taken == ["m | none | t"]
    rank.release()
    outcome, _ = run(cells[:1])
    assert outcome.taken == ["m | none | t"]
    other.release()
    outcome, _ = run(cells[:1])
    assert not outcome.taken and running.is_done(cells[0])


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks on Windows")
def test_a_file_system_without_locks_is_named_and_not_taken_for_another_run(cells, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(UserError, match=r"lock: this file system has no locks \(No locks"):
        run(cells)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_ends_its_cell_and_can_go_on(cells, number):
    sleeping = f"import os, time; os.kill(os.getppid(), {int(number)}); time.sleep(60)"
    asleep = dataclasses.replace(cells[0], launch=(sys.executable, "-c", sleeping))
    with pytest.raises(Stopped) as stopped, stoppable():
        run([asleep])
    assert stopped.value.exit_code == 128 + number and stopped.value.name == number.name
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    lock = Lock.take(cells[0].folder / "lock")  # which the cell's process had as well
    assert lock is not None
    lock.release()
    run(cells[:1])
    assert running.is_done(cells[0])


def test_a_stopped_run_says_so_in_one_line(cells, tmp_path, monkeypatch, capsys):
    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("still here")

    monkeypatch.setattr(running, "run_cells", stopped)
    plan = str(tmp_path / "plan.yaml")
    monkeypatch.setattr("lmms_causal.matrix.planning.task_names.check_names", lambda *_: None)
    assert main(["run", plan, "--output", str(tmp_path / "out")]) == 143
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("stopped (SIGTERM); the same command goes on")


def test_a_cell_that_failed_is_told_also_when_another_run_has_the_rest(
    cells, tmp_path, monkeypatch, capsys
):
    outcome = running.Outcome(failed={"m | re2 | t": "why"}, taken=["m | vcd | t"])
    monkeypatch.setattr(running, "run_cells", lambda *_: outcome)
    monkeypatch.setattr("lmms_causal.matrix.planning.task_names.check_names", lambda *_: None)
    plan = tmp_path / "out" / "plan.yaml"  # the copy that a run leaves can be run
    plan.parent.mkdir()
    plan.write_text((tmp_path / "plan.yaml").read_text())
    assert main(["run", str(plan), "--output", str(tmp_path / "out")]) == 1
    assert "failed: m | re2 | t: why" in capsys.readouterr().err
    assert plan.read_text() == (tmp_path / "plan.yaml").read_text()


def test_how_a_process_ended_is_said(tmp_path):
    (tmp_path / "log.txt").write_text("")
    assert running._reason(tmp_path / "log.txt", 0, -9).startswith(
        "was killed (SIGKILL), out of memory perhaps; see "
    )


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
