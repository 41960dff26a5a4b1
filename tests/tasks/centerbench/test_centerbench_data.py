"""Files that are missing, changed or broken: one line each that says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.centerbench import fetching, official
from lmms_causal.tasks.centerbench.documents import build


def test_a_sentence_a_line_gives_the_same_documents(tiny_centers: Path) -> None:
    expected = build("centerbench")
    for subset in ("plausible", "implausible"):
        file = tiny_centers / f"{subset}_subset.json"
        levels = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
        rows = [row for block in levels.values() for row in block["sentences"]]
        for row in rows:  # as a table stores it: every entity of any sentence, mostly null
            row["questions_by_entity"] |= {"somebody else": None}
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tiny_centers / f"{subset}.jsonl").write_text(lines, encoding="utf-8")
    assert build("centerbench") == expected


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: text[:-40], "plausible_subset.json is not in the released form"),
        (lambda text: "[]", "is not in the released form"),
        (lambda text: "{}", "holds no sentence"),
        (
            lambda text: text.replace('"subject": "wasp"', '"subject": "bee"'),
            "sentence 1 of level 1",
        ),
        (lambda text: text.replace("entity_count", "count", 1), "not one of each type"),
        (lambda text: text.replace('"sentence"', '"text"', 1), "sentence 1 of level 1"),
        (lambda text: text.replace("complexity_2", "second"), "names no level"),
    ],
)
def test_a_broken_file_is_one_line(change, message: str, tiny_centers: Path) -> None:
    file = tiny_centers / "plausible_subset.json"
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        fetching.check("centerbench")
    assert "\n" not in str(caught.value) and "replace" in str(caught.value)


def test_a_changed_file_is_refused_unless_asked_for(
    tiny_centers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetching.fetch_all("centerbench").startswith(
        "centerbench: 42 plausible and 42 implausible questions are there"
    )
    monkeypatch.delenv("CENTERBENCH_CHECKSUMS")
    with pytest.raises(UserError, match=r"checksum mismatch for .*CENTERBENCH_CHECKSUMS=off"):
        fetching.check("centerbench")


def test_missing_files_say_where_they_are_to_be_had(
    tiny_centers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tiny_centers / "implausible_subset.json").unlink()
    with pytest.raises(UserError, match=r"has no file .*or implausible\.jsonl"):
        build("centerbench")
    monkeypatch.delenv("CENTERBENCH_DIR")
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="forbids downloads; put that file into a folder and set"):
        build("centerbench")
    with pytest.raises(UserError, match="there are: centerbench, centerbench_think"):
        build("centerbench_thinks")


def test_a_required_matcher_without_its_models_is_one_line(
    tiny_centers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CENTERBENCH_SPACY_MODEL", "no_such_model")
    assert official.load() is None and official.verdict("a", "b", "entity_count") is None
    monkeypatch.setenv("CENTERBENCH_OFFICIAL", "1")
    with pytest.raises(
        UserError, match="published matcher of CenterBench cannot be used"
    ) as caught:
        fetching.check("centerbench")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("CENTERBENCH_OFFICIAL", "yes")
    with pytest.raises(UserError, match="CENTERBENCH_OFFICIAL=yes is neither 0 nor 1"):
        official.load()


@pytest.mark.parametrize(
    "text, line",
    [
        *(("Answer: the dog\nthe cat", "the dog"), ("**Answer:** the dog", "the dog")),
        *(("<think>x</think>\n\n the dog \nso", "the dog"), ("a</think>b</THINK> c", "c")),
        *(("<think>open", "<think>open"), ("final answer: x", "final answer: x"), ("", "")),
    ],
)
def test_the_published_extraction(text: str, line: str) -> None:
    assert official.prediction(text) == line
