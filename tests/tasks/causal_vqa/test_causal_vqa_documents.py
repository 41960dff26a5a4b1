"""Rows become documents: counts, gold answers, and clear errors for data that is not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.causal_vqa import data
from lmms_causal.tasks.causal_vqa.documents import VARIANTS, build

DOCUMENTS = {
    "vqa_causal_mc": 3 * 2,
    "vqa_causal_12": 3 * 12 * 2,
    "vqa_causal_yn": 3 * 12 * 2,
    "vqa_causal_yn_gen": 3 * 2,
    "vqa_causal_itm": 3,
    "vqa_causal_blind": 3 * 2,
    "vqa_causal_blind_itm": 3,
    "vqa_causal_oa": 3 * 4,
    "vqa_causal_oa_gen": 3 * 4,
    "vqa_causal_oa_itm": 3,
    "vqa_causal_full": 3 * (2 + 4),
    "vqa_causal_options": 3 * 2,
    "vqa_causal_options_blind": 3 * 2,
    "vcr_causal_options": 2 * 2,
    "vcr_causal_options_blind": 2 * 2,
    "vcr_causal_mc": 2 * 2,
    "vcr_causal_12": 2 * 12 * 2,
    "vcr_causal_yn": 2 * 12 * 2,
    "vcr_causal_yn_gen": 2 * 2,
    "vcr_causal_itm": 2,
    "vcr_causal_blind": 2 * 2,
    "vcr_causal_blind_itm": 2,
}
OTHER_NAMES = {"mc_blind": "blind", "itm_blind": "blind_itm"}


def _blind_twin(name: str) -> str:
    source, _, kind = name.partition("_causal_")
    return f"{source}_causal_{OTHER_NAMES.get(f'{kind}_blind', f'{kind}_blind')}"


SIGHTED = [name for name in DOCUMENTS if "blind" not in name]
DOCUMENTS |= {_blind_twin(name): DOCUMENTS[name] for name in SIGHTED}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_row_is_used_and_every_id_is_unique(tiny_release: SimpleNamespace, name: str) -> None:
    docs = build(name)
    assert len(docs) == DOCUMENTS[name]
    assert len({doc["id"] for doc in docs}) == len(docs)


def test_a_pair_shows_the_same_captions_in_both_orders(tiny_release: SimpleNamespace) -> None:
    first, second = build("vqa_causal_mc")[:2]
    assert (first["order"], second["order"]) == ("cw", "wc")
    assert first["option_a"] == second["option_b"] == "The lamp is lit because it is dark outside."
    assert first["option_b"] == second["option_a"] == "It is dark outside because the lamp is lit."
    assert (first["answer"], second["answer"]) == ("A", "B")
    assert (first["id"], second["id"]) == ("vqa-0-because-cw", "vqa-0-because-wc")
    assert first["pair_id"] == second["pair_id"] == "vqa-0"
    assert f"A. {second['option_a']}\nB. {second['option_b']}\n" in second["text"]


@pytest.mark.parametrize("name", SIGHTED)
def test_every_task_has_a_blind_twin_that_differs_in_its_prompt_alone(
    tiny_release: SimpleNamespace, name: str
) -> None:
    twin = _blind_twin(name)
    assert (VARIANTS[name].blind, VARIANTS[twin].blind) == (False, True)
    for sighted, blind in zip(build(name), build(twin), strict=True):
        assert {**blind, "text": None} == {**sighted, "text": None}
        assert "picture" not in blind["text"]
        shown = [blind.get(field) for field in ("option_a", "caption", "statement")]
        assert all(text in blind["text"] for text in shown if text)
        if sighted["text"]:
            assert "picture" in sighted["text"]


def test_blind_twins_need_no_picture(tiny_release: SimpleNamespace) -> None:
    for picture in tiny_release.coco.iterdir():
        picture.unlink()
    for name in SIGHTED:
        build(_blind_twin(name))
    with pytest.raises(UserError, match="COCO_VAL2014_DIR"):
        build("vqa_causal_oa_gen")


def test_a_ranking_document_points_at_its_correct_caption(tiny_release: SimpleNamespace) -> None:
    docs = build("vqa_causal_itm") + build("vcr_causal_itm")
    assert all(doc["choices"][doc["answer"]] == doc["correct"] for doc in docs)
    assert {doc["answer"] for doc in docs} == {0, 1}


@pytest.mark.data
def test_neither_index_is_usually_right_in_the_released_ranking(
    real_release: Path,
) -> None:
    answers = [doc["answer"] for doc in build("vqa_causal_blind_itm")]
    # Five standard errors of a fair coin at n = 1,947.
    assert sum(answers) / len(answers) == pytest.approx(0.5, abs=5 * 0.5 / 1947**0.5)


def test_full_lays_each_row_out_with_its_own_statements(tiny_release: SimpleNamespace) -> None:
    docs = build("vqa_causal_full")
    assert [doc["kind"] for doc in docs] == (["causal"] * 2 + ["oa"] * 4) * 3
    assert [doc["pair_id"] for doc in docs[6:12]] == ["vqa-1"] * 6
    assert len({tuple(doc) for doc in docs}) == 1  # same columns throughout


def test_a_file_with_another_checksum_is_refused(tiny_release: SimpleNamespace) -> None:
    path = tiny_release.csvs / "vqa_causal.csv"
    path.write_text(path.read_text() + "900004,a is due to b,b is due to a\n")
    with pytest.raises(UserError) as error:
        build("vqa_causal_mc")
    message = str(error.value)
    assert str(path) in message and data.manifest()["vqa_causal.csv"].sha256 in message
    assert "https://example.invalid/vqa_causal.csv" in message


def test_a_missing_file_names_the_variable_and_where_to_get_it(
    tiny_release: SimpleNamespace,
) -> None:
    (tiny_release.csvs / "multichoice.csv").unlink()
    with pytest.raises(UserError, match=r"CAUSAL_VQA_CSV_DIR=.*multichoice\.csv.*example\.invalid"):
        build("vqa_causal_oa")


def test_without_network_the_message_says_what_to_do(
    tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAUSAL_VQA_CSV_DIR")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as error:
        build("vqa_causal_blind")
    for part in ("https://example.invalid/vqa_causal.csv", "CAUSAL_VQA_CSV_DIR", "vqa_causal.csv"):
        assert part in str(error.value)


def test_a_tampered_cache_is_not_used(
    tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAUSAL_VQA_CSV_DIR")
    cached = tiny_release.cache / "causal_vqa" / "vqa_causal.csv"
    cached.parent.mkdir(parents=True)
    cached.write_bytes((tiny_release.csvs / "vqa_causal.csv").read_bytes())
    assert len(build("vqa_causal_blind")) == 6
    cached.write_text("image_id,sentence,reverse_sentence\n")
    with pytest.raises(UserError, match="delete it"):
        build("vqa_causal_blind")
