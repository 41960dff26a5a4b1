"""Questions over many documents: where the gold one stands, what is scored, broken data."""

from __future__ import annotations

import gzip
import json
import math
import random
import string
from pathlib import Path

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.multi_doc_qa import documents, fetching, scoring
from lmms_causal.tasks.multi_doc_qa.data import read_questions

NAMES = tuple(documents.VARIANTS)


@pytest.mark.parametrize("name", NAMES)
def test_each_question_comes_with_its_gold_document_at_every_position(
    name: str, tiny_questions: Path
) -> None:
    count = documents.VARIANTS[name]
    positions = documents.POSITIONS[count]
    docs = documents.build(name)
    assert [doc["position"] for doc in docs] == 2 * list(positions)
    assert (positions[0], positions[-1]) == (0, count - 1)
    for doc in docs:
        assert len(doc["segments"]) == count
        assert "The barn" in doc["segments"][doc["position"]]
        assert doc["text"].count("".join(doc["segments"])) == 1
    first, *others = docs[: len(positions)]
    assert all(sorted(doc["segments"]) == sorted(first["segments"]) for doc in others)
    distractors = [part for part in first["segments"] if "The barn" not in part]
    for doc in others:  # as in the release: the gold document moves, the others keep their order
        assert [part for part in doc["segments"] if "The barn" not in part] == distractors


def test_any_file_of_a_number_of_documents_gives_the_same_questions(
    tiny_questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packed,) = (tiny_questions / "10_total_documents").iterdir()
    with gzip.open(packed, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        row["ctxs"].insert(9, row["ctxs"].pop(0))
    flat = tmp_path / "flat"
    flat.mkdir()
    plain = flat / "nq-open-10_total_documents_gold_at_9.jsonl"
    plain.write_text("\n".join(json.dumps(row) for row in rows))
    expected = documents.build("multi_doc_qa_10")
    monkeypatch.setenv("MULTI_DOC_QA_DIR", str(flat))
    assert documents.build("multi_doc_qa_10") == expected
    assert fetching.fetch_all("multi_doc_qa_10").startswith(
        "multi_doc_qa_10: 2 questions are there"
    )


@pytest.mark.parametrize(
    "text, normal",
    [
        ("The  U.S. Navy!", "us navy"),
        ("An apple a day", "apple day"),
        ("theatre", "theatre"),
        ("Röntgen’s", "röntgen’s"),  # only ASCII punctuation goes, as published
        ("the", ""),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert scoring.normalize_answer(text) == normal


@pytest.mark.parametrize(
    "text, score",
    [
        ("It was Wilhelm Conrad Röntgen, in 1901.", 1),
        ("the W.C. ROENTGEN", 1),
        ("Röntgen", 0),
        ("I do not know.\nWilhelm Conrad Röntgen", 0),  # only the first line counts
        ("\n\nWilhelm  Conrad Röntgen", 1),
        ("<think>Curie?</think>Wilhelm Conrad Röntgen", 1),
        ("", 0),
    ],
)
def test_best_subspan_of_the_first_line(text: str, score: int) -> None:
    doc = {
        "id": "10-0-gold-4",
        "pair_id": "10-0",
        "position": 4,
        "answers": ["Wilhelm Conrad Röntgen", "WC Roentgen"],
        "segments": ["x"] * 10,
    }
    values = scoring.score_answer(doc, text)
    assert values["qa_score"] == score
    assert [values[f"subspan_em_acc_at_{p}"] for p in (0, 4, 9)] == [None, score, None]


def test_spread_worst_and_bias_of_a_model_that_reads_the_start_only(tiny_questions: Path) -> None:
    docs = documents.build("multi_doc_qa_20")
    scored = [
        scoring.score_answer(doc, doc["answer"] if doc["position"] == 0 else "no idea")
        for doc in docs
    ]

    def rates(scored: list[dict]) -> tuple[float, float, float]:
        return (
            scoring.spread(values["subspan_em_spread"] for values in scored),
            scoring.worst_position(values["subspan_em_worst_acc"] for values in scored),
            scoring.change_rate(values["position_bias"] for values in scored),
        )

    assert rates(scored) == (1, 0, 1)
    steady = [scoring.score_answer(doc, f"The {doc['answer']}!") for doc in docs]
    assert rates(steady) == (0, 1, 0)
    unsure = [scoring.score_answer(doc, "hay") for doc in docs]
    assert rates(unsure) == (0, 0, 0)
    assert math.isnan(rates(steady[:1])[2])


def test_mistakes_name_file_and_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTI_DOC_QA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=r"has no file \*20_total_documents"):
        fetching.check("multi_doc_qa_20")
    file = tmp_path / "nq-open-20_total_documents_gold_at_0.jsonl"
    passage = {"title": "t", "text": "x", "isgold": True}
    file.write_text(json.dumps({"question": "q", "answers": ["a"], "ctxs": [passage] * 20}))
    with pytest.raises(UserError, match=r"row 0 is no question.*20 of them gold"):
        read_questions(20)
    file.write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(UserError, match="cannot be read"):
        read_questions(20)
    file.write_text("\n")
    with pytest.raises(UserError, match="holds no question"):
        read_questions(20)
    with pytest.raises(UserError, match="multi_doc_qa_20"):
        documents.build("multi_doc_qa_21")


def test_without_folder_and_network_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTI_DOC_QA_DIR", raising=False)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE.*MULTI_DOC_QA_DIR"):
        fetching.check("multi_doc_qa_30")


_PIECES = (
    *("Red", "red", "RED.", "r e d", "Miss B", "miss   b!", "missb", "barn", "the", "A", "an", "?"),
    *("I cannot tell.", "\u202e", "\x00", "é", "Ｒｅｄ", "🙂", "''", "\u0301" * 9, "(", "{[", "\t"),
)


def _squad(text: str) -> str:
    """SQuAD's normal form, sign by sign and word by word."""
    kept = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    words, word = [], ""
    for sign in kept + " ":
        if sign.isalnum():
            word += sign
            continue
        words.append("" if word in ("a", "an", "the") else word)
        words.append(" " if sign.isspace() else sign)
        word = ""
    return " ".join("".join(words).split())


def _check_answers(rounds: int, seed: int) -> None:
    draw = random.Random(seed)
    answers = ["Red", "Miss B"]
    doc = {"id": "10-0-gold-4", "pair_id": "10-0", "answers": answers, "position": 4}
    doc["segments"] = [""] * 10
    for _ in range(rounds):
        wild = "".join(map(chr, draw.choices(range(1, 0x3000), k=draw.randrange(6))))
        line = " ".join([*draw.choices(_PIECES, k=draw.randrange(6)), wild]).replace("\n", " ")
        line = line.strip()
        values = scoring.score_answer(doc, line)
        expected = any(_squad(answer) in _squad(line) for answer in answers)
        assert values["qa_score"] == expected, line
        assert values["qa_invalid_rate"] == (not _squad(line)), line
        hidden = f"<think>{draw.choice(answers)}</think>{line}\n{draw.choice(answers)}"
        assert not line or scoring.score_answer(doc, hidden)["qa_score"] == expected, hidden
        assert scoring.score_answer(doc, f"<think>{line}")["qa_score"] == 0


def test_generated_answers_score_as_the_definition_says() -> None:
    _check_answers(1_000, seed=0)


@pytest.mark.slow
def test_a_hundred_thousand_generated_answers() -> None:
    _check_answers(34_000, seed=1)  # three texts each
    for piece in ("a ", "red", "((", "<think>", "\u0301\u0327", "\n"):
        scoring.best_subspan_em(piece * (1_000_000 // len(piece)), ["Miss B"])
