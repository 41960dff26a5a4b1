"""A cell that is done is stale once its model or task is another; nothing else makes it so."""

from __future__ import annotations

import dataclasses
import io
import shutil
import sys
from pathlib import Path

import pytest

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.matrix.keeping import sources
from lmms_causal.matrix.keeping.files import write_json
from lmms_causal.matrix.keeping.manifest import start
from lmms_causal.matrix.keeping.sources import Sources, fingerprint
from lmms_causal.matrix.keeping.task_sources import TaskFolder, task_files
from lmms_causal.matrix.planning.cells import cells_of
from lmms_causal.matrix.planning.plan import read_plan
from lmms_causal.matrix.planning.variants import expand
from lmms_causal.matrix.progress import Progress
from lmms_causal.matrix.running import is_done, run_cells

HARNESS = """\
import pathlib, sys
words = sys.argv[sys.argv.index("--") + 1:]
out = pathlib.Path(words[words.index("--output_path") + 1]) / "m"
out.mkdir(parents=True)
for name in ("t_results.json", "t_samples_t.jsonl"):
    (out / name).write_text("{}")
"""

TASK = """\
include: _template
task: toy
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
doc_to_text: !function utils.ask
metadata: {{version: 1}}
"""


@pytest.fixture
def world(tmp_path):
    """A folder with a local model, a folder of tasks, and a plan of both."""
    files = {
        "model/config.json": "{}",
        "model/model.safetensors": "weights",
        "model/README.md": "read me",
        "tasks/toy/toy.yaml": TASK.format(data=tmp_path / "data" / "rows.jsonl"),
        "tasks/toy/_template": "output_type: generate_until\ndataset_kwargs: {a: 1}\n",
        "tasks/toy/utils.py": "def ask(doc): return doc['q']\n",
        "tasks/other/other.yaml": "task: other\n",
        "tasks/all.yaml": "group: everything\ntask:\n  - toy\n  - other\n",
        "tasks/old.yaml": "group: older\ntask: old\ntag: [aged, odd]\n",
        "tasks/.git/toy.yaml": "task: toy\n",
        "data/rows.jsonl": '{"q": 1}\n',
        "plan.yaml": f"models: [pretrained={tmp_path}/model]\ntasks: toy\n"
        f"settings: {{include_path: {tmp_path}/tasks}}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def cell_of(world: Path):
    plan = read_plan(world / "plan.yaml")
    (cell,) = cells_of(plan, expand(plan.interventions)[0], world / "out")
    return plan, dataclasses.replace(cell, launch=(sys.executable, "-c", HARNESS))


@pytest.fixture
def done(world):
    """``(plan, cell)``, the cell evaluated."""
    plan, cell = cell_of(world)
    start(world / "out", plan, [cell], [])
    assert not run_cells([cell], Progress(1, 1, None, io.StringIO())).failed and is_done(cell)
    start(world / "out", plan, [cell], [])
    return plan, cell


@pytest.mark.parametrize(
    "name",
    [
        "model/config.json",
        "model/model.safetensors",
        "tasks/toy/toy.yaml",
        "tasks/toy/_template",
        "tasks/toy/utils.py",
        "data/rows.jsonl",
    ],
)
@pytest.mark.parametrize("how", ["has changed", "is gone"])
def test_a_done_cell_of_other_files_is_named(world, done, capsys, name, how):
    plan, cell = done
    file = world / name
    before = file.read_text()
    if how == "is gone":
        file.unlink()
    else:
        file.write_text(before + " ")
    with pytest.raises(UserError, match=f"cell model . none . toy: .*{how} since") as raised:
        start(world / "out", plan, [cell], [])
    assert str(cell.folder) in str(raised.value) and "\n" not in str(raised.value)
    # Without its task file nothing leads to what that includes, so any of these may be named.
    named = name if name != "tasks/toy/toy.yaml" or how == "has changed" else ""
    assert f"{named} {how}" in str(raised.value)
    words = [str(world / "plan.yaml"), "--output", str(world / "out")]
    assert main(["run", *words, "--dry-run"]) == 0
    assert f" {how})" in capsys.readouterr().out.splitlines()[0]
    assert main(["run", *words]) == 2 and is_done(cell)
    file.write_text(before)
    start(world / "out", plan, [cell], [])


def test_new_files_count_and_others_do_not(world, done):
    plan, cell = done
    (world / "model" / "README.md").write_text("other")
    (world / "tasks" / "other" / "other.yaml").write_text("task: other\nmetadata: {version: 9}\n")
    (world / "tasks" / "all.yaml").unlink()
    (world / "tasks" / ".git" / "toy.yaml").write_text("task: toy\n# other")
    for folder in ("model", "tasks", "data"):  # the same files with the time of their copying
        shutil.move(world / folder, world / "moved")
        shutil.copytree(world / "moved", world / folder, copy_function=shutil.copyfile)
        shutil.rmtree(world / "moved")
    start(world / "out", plan, [cell], [])
    (world / "model" / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(UserError, match=r"chat_template\.jinja is new since it was evaluated"):
        start(world / "out", plan, [cell], [])


def test_answers_of_another_model_are_not_completed_but_a_task_may_be_mended(world):
    plan, cell = cell_of(world)
    write_json(cell.folder / "cell.json", {"sources": Sources().of(cell)})
    (world / "tasks" / "toy" / "utils.py").write_text("def ask(doc): return 'mended'\n")
    (world / "model" / "model.safetensors").write_text("others!")
    start(world / "out", plan, [cell], [])  # no answer yet
    (cell.folder / "journal").mkdir()
    (cell.folder / "journal" / "1.0.jsonl").write_text("")
    with pytest.raises(UserError, match=r"model\.safetensors has changed since"):
        start(world / "out", plan, [cell], [])
    (world / "model" / "model.safetensors").write_text("weights")
    start(world / "out", plan, [cell], [])


def test_groups_patterns_and_paths_lead_to_their_files(world):
    folder = TaskFolder(world / "tasks")

    def found(entry: str) -> set[str]:
        return {it.name for it in task_files(entry, folder)}

    toy = {"toy.yaml", "_template", "utils.py", "rows.jsonl"}
    assert found("toy") == toy
    assert found("everything") == toy | {"other.yaml", "all.yaml"}
    assert found("oth*,causal_vqa_mini") == {"other.yaml"}
    assert found("old") == found("older") == found("odd") == {"old.yaml"}
    assert {it.name for it in task_files(str(world / "tasks/toy/toy.yaml"), None)} == toy
    assert task_files("causal_vqa_mini", None) == []
    (world / "tasks" / "toy" / "toy.yaml").write_text("task: toy\ndataset_path: [\n")
    folder = TaskFolder(world / "tasks")
    assert found("toy") == {"toy.yaml", "utils.py"}  # the harness says what is wrong with it


def test_large_files_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_WHOLE", 2**10)
    monkeypatch.setattr(sources, "_PIECE", 2**4)
    file = tmp_path / "weights.bin"
    content = bytes(range(256)) * 16
    prints = []
    for changed in (None, 0, len(content) - 1):  # the first and the last byte are in a piece
        it = bytearray(content)
        if changed is not None:
            it[changed] ^= 1
        file.write_bytes(it)
        prints.append(fingerprint(file))
    file.write_bytes(content + b"\0")
    assert len({*prints, fingerprint(file)}) == 4
    assert fingerprint(tmp_path / "none").startswith("unreadable: ")


def test_of_many_data_the_ends_are_read(world, monkeypatch):
    _, cell = cell_of(world)
    (world / "data" / "rows.jsonl").write_bytes(bytes(2**14))
    monkeypatch.setattr(sources, "_ALL", 2**13)
    before = Sources().of(cell)
    (world / "data" / "rows.jsonl").write_bytes(bytes(2**13) + b"1" + bytes(2**13 - 1))
    assert Sources().of(cell) == before
    (world / "data" / "rows.jsonl").write_bytes(bytes(2**14 - 1) + b"1")
    assert Sources().of(cell) != before


def test_a_change_is_told_before_what_follows_from_it(world, done):
    plan, cell = done
    file = world / "tasks" / "toy" / "toy.yaml"
    file.write_text(file.read_text().replace("rows.jsonl", "others.jsonl"))
    with pytest.raises(UserError, match=r"toy\.yaml has changed since"):
        start(world / "out", plan, [cell], [])
