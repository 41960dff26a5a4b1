"""POPE: the worked vector, the two scorers side by side, and data that is missing or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import catalogue, detection
from lmms_causal.tasks.pope_strict import data, images
from lmms_causal.tasks.pope_strict.documents import VARIANTS, build
from lmms_causal.tasks.pope_strict.scoring import score_answer


def _scored(answers: list[str], golds: list[str]) -> dict[str, list]:
    values: dict[str, list] = {}
    for number, (text, gold) in enumerate(zip(answers, golds, strict=True)):
        doc = {"id": str(number), "image_id": "a", "stratum": "coco/random", "answer": gold}
        for metric, value in score_answer(doc, text).items():
            values.setdefault(metric, []).append(value)
    return values


def test_the_worked_vector_under_both_scorers() -> None:
    """``Yes.``, ``There is no horse`` and a wrong ``yes``: TP, TN, FP."""
    values = _scored(["Yes.", "There is no horse", "yes"], ["yes", "no", "no"])
    for scorer in ("pope", "pope_vcd"):
        assert detection.accuracy(values[f"{scorer}_acc"]) == 2 / 3
        assert detection.precision_of_yes(values[f"{scorer}_precision"]) == 1 / 2
        assert detection.recall_of_yes(values[f"{scorer}_recall"]) == 1
        assert detection.f1_of_yes(values[f"{scorer}_f1"]) == 2 / 3
        assert detection.yes_ratio(values[f"{scorer}_yes_ratio"]) == 2 / 3


def test_the_papers_rule_is_fooled_where_the_strict_one_is_not() -> None:
    """Both words are always right, and "not" is a no; a refusal counts as the other answer."""
    fooling = ["yes or no", "yes or no", "I do not know", "I cannot tell"]
    values = _scored(fooling, ["yes", "no", "no", "no"])
    assert detection.accuracy(values["pope_vcd_acc"]) == 1
    assert sum(values["pope_score"]) == 0 and sum(values["pope_invalid_rate"]) == 4


def test_documents_of_a_picture_and_of_its_blind_twin(tiny_companions: SimpleNamespace) -> None:
    assert len(VARIANTS) == 20
    seen, blind = build("pope_strict_gqa_popular"), build("pope_strict_gqa_popular_blind")
    assert seen == blind and [doc["answer"] for doc in seen].count("yes") == len(seen) / 2
    assert seen[0]["text"] == "Is there a kettle in the image? Please answer with one word."
    assert images.open_image(seen[0]).mode == "RGB"


@pytest.mark.parametrize("variable", ["GQA_IMAGE_DIR", "POPE_ROOT"])
def test_a_missing_folder_names_its_variable(
    tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/no/such/folder")
    with pytest.raises(UserError, match=f"{variable}=/no/such/folder is no folder"):
        catalogue.check(["pope_strict_gqa"])


def test_gqa_pictures_are_not_needed_blind(
    tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GQA_IMAGE_DIR")
    with pytest.raises(UserError, match="GQA_IMAGE_DIR is not set"):
        catalogue.check(["pope_strict_gqa_random"])
    catalogue.check(["pope_strict_gqa_blind"])


def test_a_missing_picture_is_named_before_the_run(tiny_companions: SimpleNamespace) -> None:
    (tiny_companions.folder / "pope/GQA/990002.jpg").unlink()
    with pytest.raises(UserError, match=r"1 image files .*990002\.jpg.*document gqa-random-3"):
        build("pope_strict_gqa_random")


def test_rows_that_are_no_questions_are_refused(tiny_companions: SimpleNamespace) -> None:
    file = tiny_companions.folder / "pope/gqa/gqa_pope_seem_random.json"
    good = {"question_id": 1, "image": "a.jpg", "text": "Is it?", "label": "yes"}
    for bad, problem in (
        ('{"question_id": 1}', "row 0 lacks"),
        (json.dumps({**good, "label": "maybe"}), "label of row 0 is 'maybe'"),
        ("[1", "cannot be read as JSON"),
        ("", "holds no question"),
    ):
        file.write_text(bad)
        with pytest.raises(UserError, match=problem):
            data.read_questions("gqa", "random")


def test_json_lines_and_the_other_file_name_are_read_too(
    tiny_companions: SimpleNamespace,
) -> None:
    file = tiny_companions.folder / "pope/gqa/gqa_pope_seem_random.json"
    questions = data.read_questions("gqa", "random")
    rows = json.loads(file.read_text())
    file.unlink()
    other = tiny_companions.folder / "pope/deeper/gqa_pope_random.jsonl"
    other.parent.mkdir()
    other.write_text("\n".join(json.dumps(row) for row in rows))
    assert data.read_questions("gqa", "random") == questions


def test_an_incomplete_download_is_refused_and_a_complete_one_kept(
    tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import urllib.request

    monkeypatch.delenv("POPE_ROOT")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_DATASETS_OFFLINE")
    row = {"image": "COCO_val2014_000000000001.jpg", "text": "Is it?"}
    served = tmp_path / "served.json"
    opened = urllib.request.urlopen

    def serve(request: urllib.request.Request, timeout: float) -> object:
        assert data.COMMIT in request.full_url
        return opened(served.as_uri(), timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    for rows in (2, 3000):
        labels = ("yes", "no")
        served.write_text(
            json.dumps([{**row, "question_id": n, "label": labels[n % 2]} for n in range(rows)])
        )
        if rows == 2:
            with pytest.raises(UserError, match=r"instead of 1500 each.*POPE_ROOT"):
                data.read_questions("coco", "random")
    assert len(data.read_questions("coco", "random")) == 3000


def test_a_coco_picture_without_a_coco_name_is_refused(
    tiny_companions: SimpleNamespace,
) -> None:
    file = tiny_companions.folder / "pope/coco/coco_pope_random.json"
    row = {"question_id": 7, "image": "../secret.jpg", "text": "Is it?", "label": "yes"}
    file.write_text(json.dumps([row]))
    with pytest.raises(UserError, match=r"document coco-random-7 names .*secret"):
        build("pope_strict_coco_random")
