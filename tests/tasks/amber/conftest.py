"""The authors' script as lmms-eval has it, and a matcher that needs no model."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lmms_causal.tasks.amber import official


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """lmms-eval's copy of the authors' bookkeeping, line for line; its models are not loaded."""
    harness = pytest.importorskip("lmms_eval")
    file = Path(harness.__file__).parent / "tasks" / "amber_g" / "utils.py"
    spec = importlib.util.spec_from_file_location("port_of_amber", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        if importlib.util.find_spec("spacy") is None:
            patch.setitem(sys.modules, "spacy", ModuleType("spacy"))  # imported, not used
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def by_hand(tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> official.Matcher:
    """Nouns are the words with a star, as they stand; "brook" is a river, "tomcat" a cat.

    After ``tiny_companions``, which may have a stand-in of its own for tests of all tasks.
    """
    alike = ({"brook", "river"}, {"tomcat", "cat"}, {"ship", "tomcat"})

    def nouns(text: str) -> list[str]:
        return [word.strip("*.,") for word in text.split() if word.startswith("*")]

    def similar(one: str, other: str) -> bool:
        return one == other or {one, other} in alike

    matcher = official.Matcher(nouns, similar, "by hand")
    monkeypatch.setattr(official, "load", lambda: matcher)
    return matcher
