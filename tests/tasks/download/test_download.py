"""Downloads: complete and correct, or not there at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import cache_dir, fetch, require_sha256


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
