"""Without data, judge or network: what every task says before a model is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import HARNESSES, catalogue, roots

#: Files that a user may name, and where a judge is.
VARIABLES = ("_DIR", "_ROOT", "_DATA", "MODEL_VERSION", "API_TYPE", "API_KEY", "JUDGE")
GENERATED = "causal_vqa_mini"  # draws its scenes itself


@pytest.fixture(autouse=True)
def _nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith(VARIABLES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _tasks(harness: str | None = None) -> list[str]:
    chosen = HARNESSES if harness is None else (harness,)
    generated = {path.stem for one in chosen for path in (roots(one) / GENERATED).glob("*.yaml")}
    names = [name for name in catalogue.names(harness) if catalogue.members(name) == (name,)]
    return [name for name in names if name not in generated]


def test_every_task_says_what_is_missing_and_the_remedy_in_one_line() -> None:
    for name in _tasks():
        with pytest.raises(UserError) as caught:
            catalogue.check([name])
        said = str(caught.value)
        assert "\n" not in said and ("set " in said or "must name" in said), (name, said)


@pytest.mark.slow
@pytest.mark.parametrize("harness", HARNESSES)
def test_the_harness_ends_there_with_the_same_line(
    harness: str,
    load_lmms_eval: Callable,
    load_lm_eval: Callable,
    command_line: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One task of each benchmark; lmms-eval retries anything else than an exit for seconds."""
    monkeypatch.setenv("LMMS_CAUSAL_JUDGE", "off")  # a missing judge has tests of its own
    folders: dict[Path, str] = {}
    for path in roots(harness).glob("*/[!_]*.yaml"):
        if path.stem in _tasks(harness):
            folders.setdefault(path.parent, path.stem)
    assert len(folders) > 11
    for name in folders.values():
        with pytest.raises(UserError) as caught:
            catalogue.check([name])
        with pytest.raises((UserError, SystemExit)) as ended:
            load_lm_eval(name) if harness == "lm-eval" else load_lmms_eval(name, "simple")
        assert str(ended.value).removeprefix("error: ") == str(caught.value), name
        assert issubclass(ended.type, UserError if harness == "lm-eval" else SystemExit)
