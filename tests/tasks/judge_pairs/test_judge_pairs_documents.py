"""Judged pairs as documents: three presentations, both orders, own data and mistakes in it."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.judge_pairs import documents, fetching
from lmms_causal.tasks.judge_pairs.data import read_pairs
from lmms_causal.tasks.judge_pairs.openings import openings

NAMES = tuple(documents.VARIANTS)


@pytest.mark.parametrize("name", NAMES)
def test_segments_stand_once_in_the_prompt_with_their_separators(
    name: str, tiny_pairs: Path
) -> None:
    docs = documents.build(name)
    assert len(docs) == 12 and len({doc["id"] for doc in docs}) == 12
    for doc in docs:
        assert doc["text"].count("".join(doc["segments"])) == 1
        better = 0 if doc["order"] == "listed" else 1
        pair = next(pair for pair in read_pairs() if pair.key == doc["pair_id"])
        assert pair.chosen in doc["segments"][better]
        assert pair.rejected in doc["segments"][1 - better]


@pytest.mark.parametrize("name, moves", [("options", True), ("names", True), ("letters", False)])
def test_only_usual_letters_change_along_with_the_order(
    name: str, moves: bool, tiny_pairs: Path
) -> None:
    """Where segments merely change places, a method that ignores their order must not see it."""
    docs = documents.build(f"judge_pairs_{name}")
    for first, second in zip(docs[::2], docs[1::2], strict=True):
        assert (first["segments"] == second["segments"][::-1]) == moves
        if name == "names":
            assert first["letters"] == second["letters"]
        if name == "letters":
            assert (first["answer"], second["answer"]) == ("A", "B")
            assert (
                "assistant A>" in first["segments"][0] and "assistant A>" in second["segments"][0]
            )


def test_fixed_names_do_not_tell_the_better_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "many.jsonl"
    row = {"prompt": "p", "chosen": "c", "rejected": "r"}
    file.write_text("".join(json.dumps({**row, "id": n}) + "\n" for n in range(400)))
    monkeypatch.setenv("JUDGE_PAIRS_DATA", str(file))
    answers = [doc["answer"] for doc in documents.build("judge_pairs_names")[::2]]
    assert 160 < answers.count("A") < 240


def test_openings_end_a_few_words_after_the_answers_part() -> None:
    same = "one two three"
    assert openings(f"{same} four five six", f"{same} 4 5", words=2) == (
        f"{same} four five",
        f"{same} 4 5",
    )
    assert openings("yes", "yes, of course it is so", words=3) == ("yes", "yes, of course")
    assert openings("yes", "yes of course it is", words=2) == ("yes", "yes of course")
    assert openings(" a\n\n b c", "x", words=2) == ("a\n\n b", "x")
    assert openings("same text", "same text") == ("same text", "same text")


def test_a_reply_without_text_can_still_be_repeated(tiny_pairs: Path) -> None:
    doc = documents.build("judge_pairs_options")[-1]
    assert doc["choices"][0] == "(no reply)" and "(no reply)" in doc["text"]


def test_folders_parquet_and_repeated_ids_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "r", "subset": "hep-go", "id": 7}
    datasets.Dataset.from_list([row, row]).to_parquet(str(tmp_path / "a.parquet"))
    monkeypatch.setenv("JUDGE_PAIRS_DATA", str(tmp_path))
    assert [pair.key for pair in read_pairs()] == ["hep-go-7", "hep-go-7-2"]
    assert fetching.fetch_all("judge_pairs_names") == "judge_pairs_names: 2 pairs are there"


def test_mistakes_name_the_variable_or_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_PAIRS_DATA", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"JUDGE_PAIRS_DATA=.*none is no .jsonl"):
        fetching.check("judge_pairs_options")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "p", "chosen": "c"}\n')
    monkeypatch.setenv("JUDGE_PAIRS_DATA", str(tmp_path / "bad.jsonl"))
    with pytest.raises(UserError, match="row 0 has no text in column 'rejected'"):
        fetching.check("judge_pairs_options")
    (tmp_path / "bad.jsonl").write_text("{no json\n")
    with pytest.raises(UserError, match="cannot be read"):
        fetching.check("judge_pairs_options")
    monkeypatch.delenv("JUDGE_PAIRS_DATA")
    with pytest.raises(UserError, match=r"allenai/reward-bench cannot be had .*JUDGE_PAIRS_DATA"):
        fetching.check("judge_pairs_options")
    with pytest.raises(UserError, match="judge_pairs_names"):
        documents.build("judge_pairs_name")
