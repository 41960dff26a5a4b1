"""What a download that was cut off leaves, and how the next one goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import fetch, require_sha256

ETAG = '"version 1"'
PAST = "Mon, 05 Jan 2015 10:00:00 GMT"


def test_trouble_midway_is_continued_where_it_stopped(ranges: type[Any], tmp_path: Path) -> None:
    ranges.cuts[:] = [100_000, 50_001, 0]
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    later = [(f"bytes={start}-", ETAG) for start in (100_000, 150_001, 150_001)]
    assert ranges.asked == [(None, None), *later]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("sent", [{"ETag": ETAG, "Last-Modified": PAST}, {"Last-Modified": PAST}])
def test_the_next_run_continues_the_same_version(
    ranges: type[Any], tmp_path: Path, interrupt: Callable, sent: dict[str, str]
) -> None:
    ranges.sent = sent
    interrupt(ranges, tmp_path / "file")
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
    ranges: type[Any],
    tmp_path: Path,
    interrupt: Callable,
    behaviour: str,
    changed: bool,
    requests: int,
) -> None:
    interrupt(ranges, tmp_path / "file")
    ranges.ranges = behaviour
    if changed:
        ranges.body, ranges.sent = ranges.body[::-1], {"ETag": '"version 2"'}
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    asked = [("bytes=100000-", ETAG), (None, None)]
    assert ranges.asked[1:] == asked[:requests]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_start_over_that_breaks_off_is_continued_as_the_new_version(
    ranges: type[Any], tmp_path: Path, interrupt: Callable
) -> None:
    interrupt(ranges, tmp_path / "file")
    ranges.body, ranges.sent = ranges.body[::-1], {"ETag": '"version 2"'}
    interrupt(ranges, tmp_path / "file", after=70_000)  # less than there was
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[2:] == [("bytes=70000-", '"version 2"')]


@pytest.mark.parametrize("sent", [{}, {"ETag": "W/" + ETAG, "Last-Modified": PAST}])
def test_without_a_strong_validator_nothing_is_kept_or_continued(
    ranges: type[Any], tmp_path: Path, interrupt: Callable, sent: dict[str, str]
) -> None:
    ranges.sent = sent
    interrupt(ranges, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked == [(None, None)] * 2


@pytest.mark.parametrize("damage", ["record", "no record", "longer", "url"])
def test_a_partial_file_of_unknown_origin_is_started_over(
    ranges: type[Any], tmp_path: Path, interrupt: Callable, damage: str
) -> None:
    interrupt(ranges, tmp_path / "file")
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
    ranges: type[Any], tmp_path: Path, interrupt: Callable
) -> None:
    interrupt(ranges, tmp_path / "file")
    (tmp_path / "file.part").write_bytes(ranges.body)
    assert fetch(ranges.url, tmp_path / "file", remedy="-").read_bytes() == ranges.body
    assert ranges.asked[1:] == [("bytes=299999-", ETAG)]


def test_a_wrong_checksum_of_a_continued_file_removes_it(
    ranges: type[Any], tmp_path: Path, interrupt: Callable
) -> None:
    target, expected = tmp_path / "file", sha256(ranges.body).hexdigest()
    interrupt(ranges, target)
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
