"""An exported folder against ours: the same documents, prompts, pictures and scores, without us."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmms_causal.errors import UserError
from lmms_causal.export import export
from lmms_causal.tasks import HARNESSES, roots
from lmms_causal.tasks.amber import official
from lmms_causal.tasks.causal_vqa import data

SNAPSHOT = Path(__file__).with_name("snapshot.py")
_spec = importlib.util.spec_from_file_location("snapshot_of_tasks", SNAPSHOT)
assert _spec is not None and _spec.loader is not None
snapshot = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(snapshot)

#: The fixtures with the stand-in data of each benchmark; the last has the judge, if there is one.
STAND_INS = {
    "amber": ("tiny_companions",),
    "causal_vqa": ("tiny_release",),
    "causal_vqa_mini": (),  # draws its scenes itself
    "centerbench": ("tiny_centers",),
    "judge_pairs": ("tiny_pairs",),
    "mme_cc": ("tiny_mme_cc",),
    "mme_subscores": ("tiny_companions",),
    "mmhal": ("tiny_companions",),
    "mucr": ("tiny_mucr", "tiny_companions"),
    "multi_doc_qa": ("tiny_questions",),
    "ocw": ("tiny_walls",),
    "pope_strict": ("tiny_companions",),
    "vcrbench_causal": ("tiny_videos",),
    "vlind": ("tiny_companions",),
}
JUDGED = {*(("lmms-eval", name) for name in ("mme_cc", "mmhal", "mucr")), ("lm-eval", "mmhal")}
NEEDING_MODELS = ("amber_generative_official",)
"""Load models of others, as their blind twins do; compared apart from the rest."""
AUTHORS_MATCHER = official.load
QUICK = {("lmms-eval", "judge_pairs"), ("lm-eval", "judge_pairs")}


def _benchmarks() -> list[Any]:
    """Every folder with a task of its own, not only groups, in each harness."""
    return [
        pytest.param(
            harness,
            folder.name,
            marks=() if (harness, folder.name) in QUICK else pytest.mark.exhaustive,
            id=f"{harness}-{folder.name}",
        )
        for harness in HARNESSES
        for folder in sorted(roots(harness).iterdir())
        if any(re.search(r"^task: \w", path.read_text(), re.M) for path in folder.glob("*.yaml"))
    ]


@pytest.mark.parametrize(("harness", "name"), _benchmarks())
def test_every_task_asks_and_scores_as_ours_does(
    harness: str,
    name: str,
    tmp_path: Path,
    without_ours: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    given = [request.getfixturevalue(fixture) for fixture in STAND_INS[name]]
    first = min(path.stem for path in (roots(harness) / name).glob("[!_]*.yaml"))
    done = export(first, harness, tmp_path / "exported" / name, everything=True)
    if name == "causal_vqa":  # the stand-in's checksums are not the release's
        shutil.copyfile(data.MANIFEST, done.folder / "manifest.jsonl")
    tasks = [task for task in done.tasks if not task.startswith(NEEDING_MODELS)]
    ours = snapshot.snapshot(harness, str(roots(harness)), tasks)
    judge = given[-1].judge if (harness, name) in JUDGED else None
    asked = len(judge.asked) if judge else 0
    assert _without_us(harness, done.folder, tasks, without_ours) == ours
    assert any(_differ(taken["rows"]) for taken in ours.values()), "all answers score the same"
    if judge:  # our verdicts are in a cache that theirs did not see
        assert asked and set(judge.asked[:asked]) == set(judge.asked[asked:])


@pytest.mark.slow
@pytest.mark.parametrize("harness", HARNESSES)
def test_amber_by_the_authors_matcher_scores_or_says_what_is_missing(
    harness: str,
    tmp_path: Path,
    without_ours: dict[str, str],
    tiny_companions: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(official, "load", AUTHORS_MATCHER)  # not the stand-in's
    (task,) = NEEDING_MODELS
    folder = export(task, harness, tmp_path / "exported" / task).folder
    try:
        official.load()
    except UserError as error:
        assert str(error) in _run(harness, folder, [task], without_ours, returncode=1).stderr
    else:
        ours = snapshot.snapshot(harness, str(roots(harness)), [task])
        assert _without_us(harness, folder, [task], without_ours) == ours


def _without_us(
    harness: str, folder: Path, tasks: Sequence[str], without_ours: dict[str, str]
) -> dict[str, Any]:
    run = _run(harness, folder, tasks, without_ours, returncode=0)
    return json.loads(run.stdout.strip().splitlines()[-1])


def _run(
    harness: str,
    folder: Path,
    tasks: Sequence[str],
    without_ours: dict[str, str],
    *,
    returncode: int,
) -> subprocess.CompletedProcess[str]:
    """Take the snapshot in a process that cannot import us, with a cache of its own."""
    run = subprocess.run(
        [sys.executable, str(SNAPSHOT), harness, str(folder), *tasks],
        env={**os.environ, **without_ours, "LMMS_CAUSAL_CACHE": str(folder.parent / "theirs")},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == returncode, run.stdout + run.stderr
    return run


def _differ(rows: list[dict[str, Any]]) -> bool:
    """Whether some metric that is a plain number has more than one value."""
    plain = [key for key, value in rows[0]["scores"].items() if isinstance(value, float)]
    return any(len({row["scores"][key] for row in rows}) > 1 for key in plain)
