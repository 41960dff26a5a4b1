"""The stand-in data of the tasks' tests, and an environment without this package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_FIXTURES = Path(__file__).parents[2] / "tasks" / "conftest.py"
_spec = importlib.util.spec_from_file_location("fixtures_of_the_tasks_tests", _FIXTURES)
assert _spec is not None and _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

tiny_centers = _fixtures.tiny_centers
tiny_companions = _fixtures.tiny_companions
tiny_mme_cc = _fixtures.tiny_mme_cc
tiny_mucr = _fixtures.tiny_mucr
tiny_pairs = _fixtures.tiny_pairs
tiny_questions = _fixtures.tiny_questions
tiny_release = _fixtures.tiny_release
tiny_videos = _fixtures.tiny_videos
tiny_walls = _fixtures.tiny_walls
real_release = _fixtures.fixtures_of("causal_vqa").real_release

_REFUSAL = """
import sys

class _Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lmms_causal":
            raise ModuleNotFoundError(f"No module named {name!r} (refused by a test)", name=name)

sys.meta_path.insert(0, _Refusal())
"""


@pytest.fixture
def without_ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables under which no Python process can import this package."""
    folder = tmp_path_factory.mktemp("refusal")
    (folder / "sitecustomize.py").write_text(_REFUSAL, encoding="utf-8")
    return {"PYTHONPATH": str(folder), "OURS_IS_ABSENT": "1"}
