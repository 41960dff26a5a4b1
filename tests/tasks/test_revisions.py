"""What was read where nothing is pinned: found in the caches' own records, and logged once."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from lmms_causal.tasks import revisions
from lmms_causal.tasks.mme_subscores import data as mme
from lmms_causal.tasks.ocw import data as ocw

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _table(addresses: list[str]) -> datasets.Dataset:
    table = datasets.Dataset.from_list([{"x": 1}])
    table.info.download_checksums = {address: {} for address in addresses}
    return table


def test_the_commit_is_that_of_the_addresses_read() -> None:
    address = f"hf://datasets/owner/name@{COMMIT}/data/test-0.parquet"
    assert revisions.revision_of_dataset(_table([address])) == f"revision {COMMIT}"
    assert revisions.revision_of_dataset(_table([])).startswith("revision unknown, fingerprint ")


def test_a_file_outside_of_the_hubs_cache_is_told_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert revisions.revision_of_file(path) == f"sha256 {known}"
    before = revisions.content_of([path])
    path.write_bytes(b"abd")
    assert revisions.content_of([path]) != before


def test_a_loader_says_once_what_it_read_from_the_hub(
    tiny_walls: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cached = tmp_path / "datasets--x" / "snapshots" / COMMIT / "train.json"
    cached.parent.mkdir(parents=True)
    cached.write_bytes((tiny_walls / "train.json").read_bytes())
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(cached))
    monkeypatch.setattr(ocw, "MANIFEST", tmp_path / "manifest.jsonl")
    ocw.MANIFEST.write_text('{"dataset": "x/y"}')
    revisions.note.cache_clear()
    with caplog.at_level(logging.WARNING):
        ocw.read_walls("train.json")  # the folder that OCW_DIR names: nothing to say
        assert not caplog.records
        monkeypatch.delenv("OCW_DIR")
        ocw.read_walls("train.json")
        ocw.read_walls("train.json")
    (record,) = caplog.records
    assert "x/y is not pinned" in record.getMessage() and COMMIT in record.getMessage()


def test_mme_from_the_hub_is_noted_and_a_copy_is_not(
    tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    rows = mme.rows()
    address = f"hf://datasets/{mme.HUB}@{COMMIT}/data/test-0.parquet"
    rows.info.download_checksums = {address: {}}
    revisions.note.cache_clear()
    mme._rows.cache_clear()
    monkeypatch.setattr(mme, "_hub", lambda: rows)
    monkeypatch.delenv("MME_DATA")
    with caplog.at_level(logging.WARNING):
        mme.rows()
    mme._rows.cache_clear()
    assert COMMIT in caplog.text
