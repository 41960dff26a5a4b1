"""The real command: a matrix that is killed and resumed, and the same cell by two ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.matrix.answering.journal import read_lines

pytestmark = pytest.mark.slow

LIMIT = 7
INTERVENTIONS = {"none": "none", "vcd": "vcd(noise_step=999)", "cfg": "cfg(scale=3)"}
TASKS = ("causal_vqa_mini_presence", "causal_vqa_mini_colour")
PLAN = {
    "models": [{"name": "tiny", "args": {"pretrained": "lmms-causal/tiny-llava"}}],
    "interventions": [{"name": name, "spec": spec} for name, spec in INTERVENTIONS.items()],
    "tasks": list(TASKS),
    "settings": {"limit": LIMIT, "batch_size": 1, "seed": 0, "device": "cpu"},
}


class Warm:
    """Starts runs by forking a process that has imported everything: see `warm`."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **what: Any) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps(what) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, folder: Path, plan: dict, *options: str) -> int:
        words, stdout, stderr = command(folder, plan, options)
        return self.ask(words=words, stdout=str(stdout), stderr=str(stderr))

    def ended(self, pid: int) -> int | None:
        code = self.ask(pid=pid)
        return None if code == -1000 else code

    def wait(self, pid: int) -> int:
        while (code := self.ended(pid)) is None:
            time.sleep(0.05)
        return code

    def close(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()


def command(folder: Path, plan: dict, options: Sequence[str]) -> tuple[list[str], Path, Path]:
    """Words of the command, and where what it says goes."""
    file = folder / "plan.yaml"
    file.write_text(json.dumps(plan))  # JSON is YAML
    words = ["run", str(file), "--output", str(folder / "out"), *options]
    return words, folder / "stdout", folder / "stderr"


def journals(folder: Path) -> list[Path]:
    return sorted((folder / "out" / "cells").glob("*/journal/*.jsonl"))


def answers(folder: Path) -> int:
    return sum("key" in line for file in journals(folder) for line in read_lines(file))


def kill_at(warm: Warm, folder: Path, count: int, whole_group: bool) -> int:
    """Start the run, kill it at so many answers in all; returns how many it had."""
    pid = warm.start(folder, PLAN)
    try:
        while answers(folder) < count:
            assert warm.ended(pid) is None, (folder / "stderr").read_text()
            time.sleep(0.005)
    finally:
        (os.killpg if whole_group else os.kill)(pid, signal.SIGKILL)
        assert warm.wait(pid) == -signal.SIGKILL
    return answers(folder)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory) -> Path:
    """A folder with the matrix, killed twice: everything in its first cell, the run in its second.

    Killed alone, the run leaves the cell's process behind, which has to end by itself.
    """
    folder = tmp_path_factory.mktemp("matrix")
    warm = Warm()
    try:
        assert kill_at(warm, folder, 2, whole_group=True) < LIMIT
        assert LIMIT < kill_at(warm, folder, LIMIT + 2, whole_group=False) < 2 * LIMIT
        pid = warm.start(folder, PLAN, "--price-per-hour", "2")
        assert warm.wait(pid) == 0, (folder / "stderr").read_text()
    finally:
        warm.close()
    return folder


def cell(folder: Path, intervention: str, task: str) -> Path:
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    (found,) = [
        entry["folder"]
        for entry in manifest["cells"]
        if (entry["label"], entry["tasks"]) == (intervention, task)
    ]
    return folder / "out" / found


def results(folder: Path) -> dict:
    (file,) = folder.rglob("*_results.json")
    return json.loads(file.read_text())


def samples(folder: Path) -> bytes:
    (file,) = folder.rglob("*_samples_*.jsonl")
    return file.read_bytes()


def test_no_document_is_evaluated_twice(matrix):
    attempts = {}
    for intervention in INTERVENTIONS:
        for task in TASKS:
            files = sorted((cell(matrix, intervention, task) / "journal").iterdir())
            lines = [list(read_lines(file)) for file in files]
            counts = Counter(line["doc"] for part in lines for line in part if "key" in line)
            assert counts == dict.fromkeys(range(LIMIT), 1)
            attempts[intervention, task] = len(files)
            before = 0
            for part in lines:
                # What the run left behind may have answered everything before it ended by itself.
                checked = part.pop(0)["checking"] if before < LIMIT else 0
                assert checked == LIMIT - before  # before the first is answered
                assert (part[0]["known"], part[0]["requests"]) == (before, LIMIT)
                before += sum("key" in line for line in part)
            throughput = results(cell(matrix, intervention, task))["throughput"]
            assert throughput["avg_requests"] == LIMIT  # of all attempts together
    order = [(intervention, TASKS[0]) for intervention in INTERVENTIONS]
    assert [attempts[key] for key in order] == [2, 2, 1]
    assert "kept from before" in (matrix / "stderr").read_text()


def test_the_numbers_are_those_of_the_harness_without_interruption(matrix):
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    manager = TaskManager("ERROR", include_defaults=False)
    for intervention, spec in INTERVENTIONS.items():
        plain = simple_evaluate(
            model="causal",
            model_args=f"pretrained=lmms-causal/tiny-llava,interventions={spec},seed=0",
            tasks=list(TASKS),
            batch_size=1,
            device="cpu",
            limit=LIMIT,
            task_manager=manager,
            bootstrap_iters=0,
        )
        for task in TASKS:
            folder = cell(matrix, intervention, task)
            found = results(folder)["results"][task]
            assert {name: found[name] for name in found if "stderr" not in name} == {
                name: value
                for name, value in plain["results"][task].items()
                if "stderr" not in name
            }
            lines = [json.loads(line) for line in samples(folder).splitlines()]
            fields = ("doc_id", "token_counts", "causal_score")
            assert [[line[f] for f in fields] for line in lines] == [
                [sample[f] for f in fields] for sample in plain["samples"][task]
            ]
            assert [line["filtered_resps"] for line in lines] == [
                sample["filtered_resps"][0].strip() for sample in plain["samples"][task]
            ]
    # The interventions do change an answer here.
    assert samples(cell(matrix, "none", TASKS[1])) != samples(cell(matrix, "vcd", TASKS[1]))


def test_it_ends_with_a_comparison_an_estimate_and_a_manifest(matrix):
    out = (matrix / "stdout").read_text()
    assert out.count("A  interventions: none") == 2 and "Verdict" in out
    errors = (matrix / "stderr").read_text()
    assert "after the first documents: about" in errors and "cost about" in errors
    compared = json.loads((matrix / "out" / "comparison.json").read_text())
    assert len(compared["comparisons"]) == 2
    assert {row["task"] for row in compared["comparisons"][0]["rows"]} == set(TASKS)
    manifest = json.loads((matrix / "out" / "manifest.json").read_text())
    digests = {
        (entry["tasks"], entry["documents"][entry["tasks"]]["data"]) for entry in manifest["cells"]
    }
    assert len(digests) == len(TASKS)  # all interventions saw the same documents


def test_two_ranks_write_the_samples_file_of_one_process(matrix, tmp_path):
    plan = {
        **PLAN,
        "interventions": [{"name": "vcd", "spec": INTERVENTIONS["vcd"]}],
        "tasks": [TASKS[0]],
    }
    words, stdout, stderr = command(tmp_path, plan, ["--processes", "2"])
    program = str(Path(sys.executable).with_name("lmms-causal"))
    with stdout.open("w") as out, stderr.open("w") as err:
        code = subprocess.run([program, *words], stdout=out, stderr=err).returncode
    assert code == 0, stderr.read_text()
    ranks = {file.name.split(".")[1] for file in journals(tmp_path)}
    assert ranks == {"0", "1"} and answers(tmp_path) == LIMIT  # 4 and 3: one is padded
    two, one = cell(tmp_path, "vcd", TASKS[0]), cell(matrix, "vcd", TASKS[0])
    assert samples(two) == samples(one)
    assert results(two)["throughput"]["avg_requests"] == LIMIT  # of both ranks
