"""What tests of several benchmarks use: all stand-in data, and both harnesses' task managers.

Each benchmark's own stand-in is a fixture of the ``conftest.py`` in its folder, and lent from here.
"""

from __future__ import annotations

import importlib.util
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lmms_causal.tasks import roots
from lmms_causal.tasks.amber import official


def fixtures_of(benchmark: str) -> ModuleType:
    """The ``conftest.py`` of a benchmark's folder, of which no other folder's tests see anything.

    It is not in `sys.modules`, so that pytest loads it again under its own name.
    """
    path = Path(__file__).with_name(benchmark) / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"fixtures_of_{benchmark}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny_release = fixtures_of("causal_vqa").tiny_release
tiny_centers = fixtures_of("centerbench").tiny_centers
tiny_pairs = fixtures_of("judge_pairs").tiny_pairs
tiny_mme_cc = fixtures_of("mme_cc").tiny_mme_cc
tiny_mucr = fixtures_of("mucr").tiny_mucr
tiny_questions = fixtures_of("multi_doc_qa").tiny_questions
tiny_walls = fixtures_of("ocw").tiny_walls
tiny_videos = fixtures_of("vcrbench_causal").tiny_videos


@pytest.fixture
def tiny_companions(
    tmp_path: Path, tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """Miniatures of POPE, MME, AMBER, VLind-Bench and MMHal-Bench, and a judge by words."""
    from lmms_causal.testing.companions import by_overlap, write_companions
    from lmms_causal.testing.judge import by_words, stub_judge

    variables = write_companions(tmp_path / "companions")
    coco = Path(variables.pop("COCO_VAL2014_DIR"))
    for picture in coco.iterdir():  # beside those of the causal questions
        picture.rename(tiny_release.coco / picture.name)

    def reply(prompt: str) -> str:
        return by_overlap(prompt) if "Rating: n" in prompt else by_words(prompt)

    with stub_judge(reply) as judge:
        variables |= {"API_TYPE": "local", "LLM_JUDGE_URL": judge.url, "MODEL_VERSION": "stub"}
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        for variable in ("LMMS_CAUSAL_JUDGE", "LMMS_CAUSAL_JUDGE_PREFLIGHT"):
            monkeypatch.delenv(variable, raising=False)
        plain = official.Matcher(str.split, operator.eq, "stand-in")  # the authors' needs models
        monkeypatch.setattr(official, "load", lambda: plain)
        yield SimpleNamespace(folder=tmp_path / "companions", judge=judge)


@pytest.fixture(scope="session")
def load_lmms_eval() -> Callable:
    """``load(name, kind)`` through lmms-eval's own task manager: ``{task name: task}``."""
    tasks = pytest.importorskip("lmms_eval.tasks")
    manager = tasks.TaskManager(include_path=str(roots("lmms-eval")), include_defaults=False)

    def flat(loaded: dict) -> dict:
        return {
            name: task
            for key, value in loaded.items()
            for name, task in (flat(value) if isinstance(value, dict) else {key: value}).items()
        }

    def load(name: str, kind: str = "chat") -> dict:
        return flat(tasks.get_task_dict([name], manager, kind))

    load.manager = manager
    return load


@pytest.fixture(scope="session")
def load_lm_eval() -> Callable:
    """``load(name)`` through lm-eval's own task manager: ``{task name: task}``."""
    tasks = pytest.importorskip("lm_eval.tasks")
    manager = tasks.TaskManager(include_path=str(roots("lm-eval")), include_defaults=False)

    def load(name: str) -> dict:
        return dict(manager.load([name])["tasks"])

    load.manager = manager
    return load
