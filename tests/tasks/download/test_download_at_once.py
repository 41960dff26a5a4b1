"""Several threads or processes that want one file, with and without file locks."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import download
from lmms_causal.tasks.download import fetch

ETAG = '"version 1"'


def _wait_until(true: Callable[[], bool]) -> None:
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("waited for a minute in vain")


@pytest.mark.parametrize("failures", [0, 1])
def test_of_several_at_once_one_downloads_and_the_next_if_it_fails(
    ranges: type[Any], tmp_path: Path, failures: int
) -> None:
    ready, checks = threading.Barrier(8), iter([False] * failures + [True] * 8)

    def check(path: Path) -> None:
        if not next(checks):
            raise UserError("wrong content")

    def one(_: int) -> bytes | None:
        ready.wait(60)
        try:
            return fetch(ranges.url, tmp_path / "file", remedy="-", check=check).read_bytes()
        except UserError:
            return None

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(8)))
    assert results.count(None) == failures and results.count(ranges.body) == 8 - failures
    assert ranges.asked == [(None, None)] * (1 + failures)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(download.fcntl is None, reason="this system has no file locks")
def test_a_waiting_process_takes_over_from_a_killed_one(ranges: type[Any], tmp_path: Path) -> None:
    ranges.cuts[:], ranges.hold = [150_000], threading.Event()
    code = (
        "import sys; from pathlib import Path; from lmms_causal.tasks.download import fetch; "
        "fetch(sys.argv[1], Path(sys.argv[2]), remedy='-')"
    )
    part = tmp_path / "file.part"
    with ThreadPoolExecutor(1) as pool:
        child = subprocess.Popen([sys.executable, "-c", code, ranges.url, str(tmp_path / "file")])
        try:
            _wait_until(lambda: part.is_file() and part.stat().st_size > 0)
            waiting = pool.submit(fetch, ranges.url, tmp_path / "file", remedy="-")
            with pytest.raises(StillRunning):
                waiting.result(0.2)
            assert len(ranges.asked) == 1
        finally:
            child.kill()
            child.wait()
        assert waiting.result(60).read_bytes() == ranges.body
        ranges.hold.set()
    (_, condition) = ranges.asked[-1]
    assert condition == ETAG and len(ranges.asked) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_file_locks_only_the_same_call_continues(
    ranges: type[Any], tmp_path: Path, interrupt: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "fcntl", None)
    interrupt(ranges, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    ranges.cuts[:] = [100_000]
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[1:] == [(None, None), ("bytes=100000-", ETAG)]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
