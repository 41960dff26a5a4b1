"""Downloads: complete and correct, or not there at all. A server on this machine plays the web."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import download
from lmms_causal.tasks.download import cache_dir, fetch, require_sha256


class _Server(BaseHTTPRequestHandler):
    """``/good``; ``/short`` breaks off; ``/flaky`` fails twice; everything else is not found."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/flaky" and self.asked.count("/flaky") < 3:
            self.send_error(503)
        elif self.path in ("/good", "/short", "/flaky"):
            self.send_response(200)
            self.send_header("Content-Length", "10" if self.path == "/short" else "4")
            self.end_headers()
            self.wfile.write(b"data")
        else:
            self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


class _Ranges(BaseHTTPRequestHandler):
    """One file of a server whose behaviour a test sets; see the attributes."""

    body: bytes
    sent: dict[str, str]  # validators: ETag, Last-Modified
    cuts: list[int]  # break off after so many bytes, one answer each
    ranges: str  # honoured, ignored, refused (416), or honoured wrongly: shifted, longer, unchecked
    asked: list[tuple[str | None, str | None]]  # Range, If-Range
    hold: threading.Event | None  # wait for it before breaking off
    url: str

    def do_GET(self) -> None:
        server = type(self)
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        server.asked.append((wanted, condition))
        same = condition in server.sent.values() or server.ranges != "honoured"
        start = int(wanted[6:-1]) if wanted and same and server.ranges != "ignored" else 0
        if start and server.ranges == "refused":
            return self.send_error(416)
        rest, total = server.body[start:], len(server.body)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        for name, value in server.sent.items():
            self.send_header(name, value)
        if start:
            first = start + (server.ranges == "shifted")
            size = total + (server.ranges == "longer")
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{size}")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(rest[:cut])
        if cut is not None and server.hold:
            server.hold.wait(60)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    for variable in (*download.OFFLINE_VARIABLES, *proxies):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def server(online: None) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    with _running(type("Handler", (_Server,), {"asked": asked})) as address:
        yield address, asked


ETAG = '"version 1"'
PAST = "Mon, 05 Jan 2015 10:00:00 GMT"


@pytest.fixture
def ranges(online: None) -> Iterator[type[_Ranges]]:
    state = {"body": random.Random(0).randbytes(300_000), "sent": {"ETag": ETAG}, "hold": None}
    state |= {"cuts": [], "ranges": "honoured", "asked": []}
    handler = type("Handler", (_Ranges,), state)
    with _running(handler) as address:
        handler.url = f"{address}/file"
        yield handler


def _interrupted(
    server: type[_Ranges], target: Path, monkeypatch: pytest.MonkeyPatch, after: int = 100_000
) -> None:
    """A run that gives up after so many bytes."""
    server.cuts[:] = [after]
    with monkeypatch.context() as once:
        once.setattr(download, "ATTEMPTS", 1)
        with pytest.raises(UserError, match=f"{after} of 300000 bytes"):
            fetch(server.url, target, remedy="-")
    assert not target.exists()


def _wait_until(true: Callable[[], bool]) -> None:
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("waited for a minute in vain")


def test_a_file_is_fetched_once_and_then_found(server: tuple, tmp_path: Path) -> None:
    address, asked = server
    for _ in range(2):
        assert fetch(f"{address}/good", tmp_path / "a/b.txt", remedy="-").read_bytes() == b"data"
    assert asked == ["/good"]


def test_trouble_is_retried_and_a_refusal_is_not(server: tuple, tmp_path: Path) -> None:
    address, asked = server
    assert fetch(f"{address}/flaky", tmp_path / "flaky", remedy="-").is_file()
    with pytest.raises(UserError, match=r"/gone .*404.*; set THE_VARIABLE"):
        fetch(f"{address}/gone", tmp_path / "gone", remedy="set THE_VARIABLE")
    assert asked == ["/flaky"] * 3 + ["/gone"]


@pytest.mark.parametrize("path", ["/short", "/good"])
def test_a_broken_download_leaves_nothing_behind(server: tuple, tmp_path: Path, path: str) -> None:
    def refuse(file: Path) -> None:
        raise UserError("wrong content")

    with pytest.raises(UserError):
        fetch(server[0] + path, tmp_path / "file", remedy="-", check=refuse)
    assert list(tmp_path.iterdir()) == []


def test_trouble_midway_is_continued_where_it_stopped(
    ranges: type[_Ranges], tmp_path: Path
) -> None:
    ranges.cuts[:] = [100_000, 50_001, 0]
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    later = [(f"bytes={start}-", ETAG) for start in (100_000, 150_001, 150_001)]
    assert ranges.asked == [(None, None), *later]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("sent", [{"ETag": ETAG, "Last-Modified": PAST}, {"Last-Modified": PAST}])
def test_the_next_run_continues_the_same_version(
    ranges: type[_Ranges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: dict[str, str]
) -> None:
    ranges.sent = sent
    _interrupted(ranges, tmp_path / "file", monkeypatch)
    assert (tmp_path / "file.part").read_bytes() == ranges.body[:100_000]
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[1:] == [("bytes=100000-", sent.get("ETag", PAST))]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("behaviour", "changed", "requests"),
    [
        ("honoured", True, 1),  # If-Range fails: 200 with the new file
        ("ignored", False, 1),
        ("refused", False, 2),
        ("shifted", False, 2),
        ("longer", False, 2),
        ("unchecked", True, 2),  # If-Range is ignored: only the ETag of the 206 tells
    ],
)
def test_what_cannot_be_continued_is_started_over(
    ranges: type[_Ranges],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    changed: bool,
    requests: int,
) -> None:
    _interrupted(ranges, tmp_path / "file", monkeypatch)
    ranges.ranges = behaviour
    if changed:
        ranges.body, ranges.sent = ranges.body[::-1], {"ETag": '"version 2"'}
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    asked = [("bytes=100000-", ETAG), (None, None)]
    assert ranges.asked[1:] == asked[:requests]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_start_over_that_breaks_off_is_continued_as_the_new_version(
    ranges: type[_Ranges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted(ranges, tmp_path / "file", monkeypatch)
    ranges.body, ranges.sent = ranges.body[::-1], {"ETag": '"version 2"'}
    _interrupted(ranges, tmp_path / "file", monkeypatch, after=70_000)  # less than there was
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[2:] == [("bytes=70000-", '"version 2"')]


@pytest.mark.parametrize("sent", [{}, {"ETag": "W/" + ETAG, "Last-Modified": PAST}])
def test_without_a_strong_validator_nothing_is_kept_or_continued(
    ranges: type[_Ranges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: dict[str, str]
) -> None:
    ranges.sent = sent
    _interrupted(ranges, tmp_path / "file", monkeypatch)
    assert list(tmp_path.iterdir()) == []
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked == [(None, None)] * 2


@pytest.mark.parametrize("damage", ["record", "no record", "longer", "url"])
def test_a_partial_file_of_unknown_origin_is_started_over(
    ranges: type[_Ranges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    _interrupted(ranges, tmp_path / "file", monkeypatch)
    record = tmp_path / "file.part.json"
    if damage == "record":
        record.write_text(record.read_text()[:20])
    elif damage == "no record":
        record.unlink()
    elif damage == "longer":
        (tmp_path / "file.part").write_bytes(b"x" * 300_001)
    url = ranges.url + "?v=2" * (damage == "url")
    assert fetch(url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[1:] == [(None, None)]


def test_of_a_complete_partial_file_only_the_last_byte_is_asked_for(
    ranges: type[_Ranges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted(ranges, tmp_path / "file", monkeypatch)
    (tmp_path / "file.part").write_bytes(ranges.body)
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[1:] == [("bytes=299999-", ETAG)]


def test_a_wrong_checksum_of_a_continued_file_removes_it(
    ranges: type[_Ranges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, expected = tmp_path / "file", sha256(ranges.body).hexdigest()
    _interrupted(ranges, target, monkeypatch)
    wrong = b"x" * 100_000 + ranges.body[100_000:]
    (tmp_path / "file.part").write_bytes(wrong[:100_000])

    def check(path: Path) -> None:
        require_sha256(path, expected, "do this")

    with pytest.raises(UserError) as error:
        fetch(ranges.url, target, remedy="-", check=check)
    for part in (str(target), expected, sha256(wrong).hexdigest(), "do this"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert fetch(ranges.url, target, remedy="-", check=check).read_bytes() == ranges.body


@pytest.mark.parametrize("failures", [0, 1])
def test_of_several_at_once_one_downloads_and_the_next_if_it_fails(
    ranges: type[_Ranges], tmp_path: Path, failures: int
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
def test_a_waiting_process_takes_over_from_a_killed_one(
    ranges: type[_Ranges], tmp_path: Path
) -> None:
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
    ranges: type[_Ranges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "fcntl", None)
    _interrupted(ranges, tmp_path / "file", monkeypatch)
    assert list(tmp_path.iterdir()) == []
    ranges.cuts[:] = [100_000]
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[1:] == [(None, None), ("bytes=100000-", ETAG)]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_offline_mode_forbids_downloads_but_not_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"https://x\.invalid/f .*HF_HUB_OFFLINE.*; ask a friend"):
        fetch("https://x.invalid/f", tmp_path / "f", remedy="ask a friend")
    (tmp_path / "f").write_bytes(b"here")
    assert fetch("https://x.invalid/f", tmp_path / "f", remedy="-").read_bytes() == b"here"


def test_a_wrong_checksum_names_file_both_sums_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"data")
    found = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"  # sha256sum
    require_sha256(file, found, "-")
    with pytest.raises(UserError) as error:
        require_sha256(file, "0" * 64, "do this")
    for part in (str(file), found, "0" * 64, "do this"):
        assert part in str(error.value)


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LMMS_CAUSAL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir("coco") == tmp_path / "lmms_causal" / "coco"
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
