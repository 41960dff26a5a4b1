"""A run killed at any boundary between two system calls goes on to what it would have had.

The run and a cell's process are one process here, forked for every kill, so that a count of calls
reaches all of them: writes, syncs, renames, new files and folders, deletions.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import pathlib
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.matrix import running
from lmms_causal.matrix.answering.delivery import undelivered
from lmms_causal.matrix.answering.documents import check_documents
from lmms_causal.matrix.answering.journal import Journal, read_lines
from lmms_causal.matrix.answering.journaling import put_on
from lmms_causal.matrix.keeping import manifest
from lmms_causal.matrix.keeping.files import read_json
from lmms_causal.matrix.keeping.manifest import start, write_manifest
from lmms_causal.matrix.planning.cells import cells_of
from lmms_causal.matrix.planning.plan import read_plan
from lmms_causal.matrix.progress import Progress

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

CALLS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "rmdir")
DOCUMENTS = 5
KILLED = 77


class Model:
    """Answers each document by its number, and tells the disk beforehand that it was asked."""

    def __init__(self, asked):
        self.asked = asked

    def generate_until(self, requests):
        with self.asked.open("a") as stream:
            stream.write(" ".join(str(request.doc_id) for request in requests) + "\n")
        return [f"answer {request.doc_id}" for request in requests]


def request(doc):
    metadata = {"task": "t", "doc_id": doc, "repeats": 1}
    args = ("q", {"until": []}, doc, "t", "test")
    return SimpleNamespace(
        args=args, task_name="t", doc_id=doc, idx=0, repeats=1, metadata=metadata
    )


class Task:
    config = SimpleNamespace(task="t")
    eval_docs = tuple({"question": str(doc)} for doc in range(DOCUMENTS))

    def dump_config(self):
        return {"task": "t"}


class InProcess:
    """Stands in for ``subprocess.Popen``: evaluates the cell here, as `cell` does."""

    def __init__(self, command, **_):
        folder = pathlib.Path(command[command.index("--") - 1])
        journal = Journal(folder / "journal")
        check_documents(folder, "lmms-eval", {"t": Task()}, None)
        model = Model(folder / "asked.txt")
        put_on(model, journal, 2, lambda: {"requests": 1})
        answers = model.generate_until([request(doc) for doc in range(DOCUMENTS)])
        journal.close()
        results = folder / "results" / "m"
        results.mkdir(parents=True)
        (results / "x_results.json").write_text('{"results": {}}')
        rows = [json.dumps({"doc_id": n, "resps": it}) for n, it in enumerate(answers)]
        (results / f"{time.time_ns()}_samples_t.jsonl").write_text("\n".join(rows) + "\n")
        assert undelivered(folder / "results", {"t": DOCUMENTS}) is None

    def wait(self, _timeout=None):
        return 0


def evaluate(plan_file, output):
    """All that ``lmms-causal run`` writes before it compares."""
    plan = read_plan(plan_file)
    cells = cells_of(plan, [running_variant()], output)
    start(output, plan, cells, [])
    outcome = running.run_cells(cells, Progress(1, 1, None, io.StringIO()))
    assert not outcome.failed and not outcome.taken, outcome
    write_manifest(output, plan, cells, [])
    return cells[0]


def running_variant():
    from lmms_causal.matrix.planning.variants import expand

    return expand([("none", "none")])[0][0]


def killed_at(number, plan_file, output):
    """Evaluate in a fork that ends like a kill before its call `number`; False if it ended first.

    An odd number lets half of what is written reach the disk.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def counting(name, original):
            def call(*args, **kwargs):
                nonlocal count
                if count == number:
                    if name == "write" and number % 2:
                        original(args[0], bytes(args[1])[: len(args[1]) // 2])
                    os._exit(KILLED)
                count += 1
                return original(*args, **kwargs)

            return call

        code = 1
        try:
            for name in CALLS:
                setattr(os, name, counting(name, getattr(os, name)))
            evaluate(plan_file, output)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == KILLED


@pytest.fixture
def plan_file(tmp_path, monkeypatch):
    monkeypatch.setattr(running.subprocess, "Popen", InProcess)
    monkeypatch.setattr(manifest, "versions", lambda: {"torch": "1"})  # they take a while to find
    file = tmp_path / "plan.yaml"
    file.write_text("models: [pretrained=m]\ntasks: t\n")
    return file


def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path, plan_file):
    whole = evaluate(plan_file, tmp_path / "whole")
    wanted = samples(whole)
    kills = 0
    while killed_at(kills, plan_file, tmp_path / str(kills)):
        output = tmp_path / str(kills)
        assert not (output / "manifest.json").exists() or read_json(output / "manifest.json")
        before = closed(output)
        cell = evaluate(plan_file, output)
        assert running.is_done(cell) and samples(cell) == wanted
        # The batches are those of a whole run, and one at most is asked twice: none that is kept.
        asked = Counter((cell.folder / "asked.txt").read_text().splitlines())
        assert set(asked) == {"0 1", "2 3", "4"} and sum(asked.values()) <= 3 + 1
        assert all(count == 1 for batch, count in asked.items() if int(batch[0]) in before)
        assert len(Journal(cell.folder / "journal").answers) == DOCUMENTS
        assert not list(output.rglob(".*.new"))
        kills += 1
    assert kills > 40  # each of its calls


def closed(output):
    """Documents of chunks that were on disk when the run was killed."""
    found = []
    for file in output.rglob("journal/*.jsonl"):
        chunk = []
        for line in read_lines(file):
            if "key" in line:
                chunk.append(line["doc"])
            elif "chunk" in line:
                found += chunk
                chunk = []
    return found


def samples(cell):
    (file,) = cell.results.rglob("*_samples_*.jsonl")
    return file.read_text()


@pytest.mark.parametrize("room", [0, 1, 150])
def test_a_full_disk_is_one_line_and_costs_a_chunk(tmp_path, plan_file, monkeypatch, room):
    """The disk takes `room` bytes of the second chunk."""
    original, left = os.write, [10**6, room, 0, 0]

    def write(descriptor, data):
        if b'"answers"' in data:  # the line that closes a chunk, or what is left of it
            if (fits := left.pop(0)) == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[:fits]
        return original(descriptor, data)

    with monkeypatch.context() as full:
        full.setattr(os, "write", write)
        with pytest.raises(UserError, match=r"answers cannot be written \(No space left") as told:
            evaluate(plan_file, tmp_path / "out")
    assert "\n" not in str(told.value)
    (file,) = (tmp_path / "out").rglob("journal/*.jsonl")
    assert file.read_bytes().endswith(b"\n") and closed(tmp_path / "out") == [0, 1]
    cell = evaluate(plan_file, tmp_path / "out")
    assert samples(cell) == samples(evaluate(plan_file, tmp_path / "whole"))


def test_a_disk_that_is_full_for_the_run_itself_leaves_what_was_there(
    tmp_path, plan_file, monkeypatch
):
    cell = evaluate(plan_file, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text('{"versions": {}}')

    def fsync(_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match=r"manifest\.json: cannot be written \(Disk quota"):
        evaluate(plan_file, tmp_path / "out")
    assert read_json(tmp_path / "out" / "manifest.json") == {"versions": {}}
    assert running.is_done(cell) and not list(tmp_path.rglob(".*.new"))
    reason = running._reason(cell.folder / "log.txt", 0, 1)  # a log that could not say it
    assert reason.endswith(
        "cannot be written (Disk quota exceeded); what was answered before is kept"
    )


def test_half_of_the_harness_s_files_are_noticed(tmp_path):
    """Both harnesses go on after an error while writing."""
    assert undelivered(tmp_path, {"t": 2}) == "the 2 samples of t"
    samples, results = tmp_path / "x_samples_t.jsonl", tmp_path / "x_results.json"
    samples.write_text('{"doc_id": 0}\n{"doc_id"')
    assert undelivered(tmp_path, {"t": 2}) == "the 2 samples of t"
    samples.write_text('{"doc_id": 0}\n{"doc_id": 1}\n')
    results.write_text('{"results": {')
    assert undelivered(tmp_path, {"t": 2}) == "the results"
    results.write_text('{"results": {}}')
    assert undelivered(tmp_path, {"t": 2}) is None
    assert undelivered(tmp_path, {"t": 2, "u": 2}) == "the 2 samples of t"


def test_a_share_of_several_tasks_in_one_cell_is_refused(tmp_path):
    both = {"t": Task(), "group": {"u": dataclasses.replace(Named(), name="u")}}
    with pytest.raises(UserError, match=r"limit: 0\.1 of 2 tasks in one cell \(t, u\)"):
        check_documents(tmp_path, "lmms-eval", both, 0.1)
    assert not list(tmp_path.iterdir())
    check_documents(tmp_path, "lm-eval", both, 0.5)
    kept = read_json(tmp_path / "documents.json")
    assert kept is not None and {it["documents"] for it in kept.values()} == {3}  # 2.5 of 5
    with pytest.raises(UserError, match="task t: its documents or settings are not those"):
        check_documents(tmp_path, "lm-eval", both, 0.7)


@dataclasses.dataclass
class Named(Task):
    name: str = ""

    @property
    def config(self):
        return SimpleNamespace(task=self.name)
