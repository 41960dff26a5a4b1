"""What every test runs under: no network, one thread, a cache of its own; tiny models on disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads them
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_SCRATCH = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker process a cache of its own, before a library fixes its place."""
    config.stash[_SCRATCH] = scratch = tempfile.mkdtemp(prefix="lmms_causal_tests_")
    os.environ["HF_DATASETS_CACHE"] = f"{scratch}/datasets"
    os.environ["LMMS_CAUSAL_CACHE"] = f"{scratch}/lmms_causal"
    # all but what is compiled from the source, which is keyed by its content and takes a minute
    compiled = config.rootpath / ".pytest_cache" / "native"
    compiled.mkdir(parents=True, exist_ok=True)
    os.makedirs(os.environ["LMMS_CAUSAL_CACHE"])
    os.symlink(compiled, os.path.join(os.environ["LMMS_CAUSAL_CACHE"], "native"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete the caches."""
    shutil.rmtree(config.stash[_SCRATCH], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def available() -> Callable[[str], str]:
    """``available(name)``: the name back, or a skip where its processor lacks a package."""
    from lmms_causal.testing import family

    def check(name: str) -> str:
        if missing := family(name).missing():
            pytest.skip(f"the processor of {name} needs {', '.join(missing)}")
        return name

    return check


@pytest.fixture(scope="session")
def saved(
    tmp_path_factory: pytest.TempPathFactory, available: Callable[[str], str]
) -> Callable[[str], str]:
    """``saved(name)``: the folder of a family's tiny random model, written once a session."""
    from lmms_causal.testing import save

    @cache
    def folder(name: str) -> str:
        return str(save(available(name), tmp_path_factory.mktemp(name)))

    return folder


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's process look like one that ``lmms-eval`` started."""
    monkeypatch.setattr("sys.argv", ["lmms-eval"])
