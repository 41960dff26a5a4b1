"""Both generations of columns, own and packed data, and mistakes in them: one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.mucr import documents, fetching, images
from lmms_causal.tasks.mucr.data import read_table
from lmms_causal.tasks.mucr.items import read_items


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def _write(folder: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a new file next to the pictures, since what was read once is remembered."""
    target = folder / f"changed_{len(list(folder.iterdir()))}.jsonl"
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv("MUCR_DATA", str(target))


def test_both_generations_of_columns_and_lists_as_text(tiny_mucr: Path) -> None:
    older, *_, newer = read_items()
    assert older.texts == {
        "cause": "A boy in a red cap drops paint.",
        "effect": "A boy in a red cap mops.",
    }
    assert older.false_cues == ("floor", "kitchen", "cap")
    assert older.links == ("9002", "9003", "9004") and len(older.references) == 2
    assert newer.key == "9102" and newer.links is None
    assert newer.texts["cause"] == "A fern is watered too much."
    assert newer.references == ("Water made it rot.",)


def test_parquet_files_give_the_same_items_pictures_and_checksum(
    tiny_mucr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _rows(tiny_mucr)[:4]
    _write(tiny_mucr, rows, monkeypatch)
    plain = read_items()
    doc = documents.build("mucr_c2e")[0]
    shown = [picture.tobytes() for picture in images.pictures(doc)]
    digest = fetching.content_digest(read_table())
    packed = [
        {**row, **{name: str(tiny_mucr / row[name]) for name in ("image_0", "image_1")}}
        for row in rows
    ]
    table = datasets.Dataset.from_list(packed)
    for column in ("image_0", "image_1"):
        table = table.cast_column(column, datasets.Image())
    (tmp_path / "parquet").mkdir()
    table.to_parquet(str(tmp_path / "parquet" / "train-00000.parquet"))
    (tmp_path / "parquet" / "dataset_infos.json").write_text("{}")
    monkeypatch.setenv("MUCR_DATA", str(tmp_path / "parquet"))
    assert read_items() == plain
    assert [picture.tobytes() for picture in images.pictures(doc)] == shown
    assert len(set(shown)) == 5
    assert fetching.content_digest(read_table()) == digest


def test_the_checksum_tells_another_picture(
    tiny_mucr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fetching.content_digest(read_table())
    report = fetching.fetch_all("mucr_c2e")
    assert before in report and "6 documents of 6 items, 2 of them in families of fewer" in report
    picture = tiny_mucr / "9001_image_0.png"
    picture.write_bytes((tiny_mucr / "9002_image_0.png").read_bytes())
    assert fetching.content_digest(read_table()) != before


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cue": None}, "row 0 is no MuCR item .cue is None"),
        ({"false_cue": []}, "false_cue has 0 phrases, 3 are expected"),
        ({"caption_0": " "}, "caption_0 is ' ', a text is expected"),
        ({"id": None}, "None is no id"),
        ({"id": "9002"}, "rows 0 and 1 have the same id 9002"),
    ],
)
def test_a_row_that_is_no_item_is_named(
    tiny_mucr: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    first, *rest = _rows(tiny_mucr)
    _write(tiny_mucr, [{**first, **change}, *rest], monkeypatch)
    with pytest.raises(UserError, match=message):
        fetching.check("mucr_cue")


def test_a_column_that_lacks_is_named(tiny_mucr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{k: v for k, v in row.items() if k != "style"} for row in _rows(tiny_mucr)]
    _write(tiny_mucr, rows, monkeypatch)
    with pytest.raises(UserError, match="no column 'style'"):
        fetching.check("mucr_c2e")


def test_missing_and_broken_pictures_name_variable_and_document(
    tiny_mucr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = documents.build("mucr_exp")[0]
    (tiny_mucr / "9001_image_1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"9001_image_1.*document 9001"):
        images.pictures(doc)
    (tiny_mucr / "9001_image_1.png").unlink()
    with pytest.raises(UserError, match=r"1 pictures are missing.*9001_image_1.*MUCR_DATA"):
        fetching.check("mucr_c2e")
    fetching.check("mucr_c2e_blind")
    fetching.check("mucr_c2e_text")


def test_explanations_need_references_and_nothing_else_does(
    tiny_mucr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _rows(tiny_mucr)
    rows[-1]["causal_reason"] = ""
    _write(tiny_mucr, rows, monkeypatch)
    fetching.check("mucr_cue")
    with pytest.raises(UserError, match="9102 has no causal_reason"):
        fetching.check("mucr_exp")


def test_other_mistakes_are_one_line(
    tiny_mucr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tiny_mucr, _rows(tiny_mucr)[:3], monkeypatch)
    with pytest.raises(UserError, match="3 items"):
        fetching.check("mucr_c2e")
    monkeypatch.setenv("MUCR_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(
        UserError, match=r"MUCR_DATA=.*nowhere holds no .parquet, .jsonl or .json file"
    ):
        fetching.check("mucr_c2e")
    (tmp_path / "bad.jsonl").write_text("{no json\n")
    monkeypatch.setenv("MUCR_DATA", str(tmp_path / "bad.jsonl"))
    with pytest.raises(UserError, match=r"bad.jsonl cannot be read as JSON"):
        fetching.check("mucr_c2e")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    monkeypatch.setenv("MUCR_DATA", str(tmp_path / "bad.parquet"))
    with pytest.raises(UserError, match=r"bad.parquet cannot be read"):
        fetching.check("mucr_c2e")
    monkeypatch.delenv("MUCR_DATA")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"Pinkygin/MuCR cannot be had .*MUCR_DATA"):
        fetching.check("mucr_c2e")
    with pytest.raises(UserError, match="mucr_c2e_composite"):
        documents.build("mucr_c2f")
