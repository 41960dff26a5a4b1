"""Task files are read as the two harnesses read them, in what several includes say of one key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.tasks._yaml_loader import load_yaml
from lmms_eval.utils import load_yaml_config

from lmms_causal.compare.reading import aggregations

_FILES = {
    "task.yaml": {"include": ["one.yaml", "sub/two.yaml"], "task": "mine", "own": "task"},
    "one.yaml": {"both": "one", "own": "one", "one": 1, "include": "base.yaml"},
    "sub/two.yaml": {"both": "two", "own": "two", "two": 2, "include": ["three.yaml"]},
    "sub/three.yaml": {"both": "three", "below": "three", "three": 3},
    "base.yaml": {"both": "base", "below": "base"},
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name, config in _FILES.items():
        (tmp_path / name).write_text(yaml.safe_dump(config))
    return tmp_path


def _ours(file: Path, earlier_wins: bool) -> dict[str, Any]:
    return aggregations._load(file, earlier_wins, {})


def test_includes_override_each_other_as_in_lmms_eval(tasks: Path) -> None:
    ours = _ours(tasks / "task.yaml", earlier_wins=True)
    assert ours == load_yaml_config(yaml_path=str(tasks / "task.yaml"), mode="simple")
    assert (ours["both"], ours["below"], ours["own"]) == ("one", "base", "task")


def test_includes_override_each_other_as_in_lm_eval(tasks: Path) -> None:
    ours = _ours(tasks / "task.yaml", earlier_wins=False)
    assert ours == load_yaml(tasks / "task.yaml", resolve_func=False)
    assert (ours["both"], ours["below"], ours["own"]) == ("two", "three", "task")


def test_the_aggregation_of_a_task_is_the_one_its_harness_would_use(
    tmp_path: Path, declared_in: Callable[..., None]
) -> None:
    """The same three files under either root name another function in each harness."""
    for root in ("for_lm_eval", "for_lmms_eval"):
        folder = tmp_path / root
        folder.mkdir()
        for name in ("first", "second"):
            (folder / f"_{name}.yaml").write_text(
                "metric_list:\n  - metric: m\n"
                f"    aggregation: !function lmms_causal.tasks.toy.{name}\n"
            )
        (folder / "toy.yaml").write_text(
            f"include:\n  - _first.yaml\n  - _second.yaml\ntask: toy_{root}\n"
        )
    declared_in(*sorted(tmp_path.glob("for_*")))
    assert aggregations._declarations() == {
        ("toy_for_lmms_eval", "m"): "lmms_causal.tasks.toy.first",
        ("toy_for_lm_eval", "m"): "lmms_causal.tasks.toy.second",
    }
