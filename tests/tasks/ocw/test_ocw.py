"""Walls: the paper's metrics, answers read as published and strictly, prompts, broken data."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.ocw import documents, fetching, scoring, walls

WORDS = [f"w{n:02}" for n in range(16)]
GOLD = [WORDS[start : start + 4] for start in range(0, 16, 4)]


def _doc(groups: list[list[str]] = GOLD) -> dict:
    words = [word for group in groups for word in group]
    connections = ["The planets", "Rivers", "US presidents", "___ ball"]
    return {"id": "x", "pair_id": "x", "groups": groups, "words": words, "connections": connections}


def _lines(groups: list[list[str]]) -> str:
    return "\n".join(", ".join(group) for group in groups)


SWAPPED = [["w00", "w01", "w02", "w04"], ["w03", "w05", "w06", "w07"], *GOLD[2:]]


@pytest.mark.parametrize(
    "groups, wd, ami, ari, fms, right",
    [
        (GOLD[::-1], 0, 1, 1, 1, 4),
        (SWAPPED, 0.125, 0.7173, 0.6875, 0.75, 2),
        ([SWAPPED[1], SWAPPED[0], *GOLD[2:]], 0.375, 0.7173, 0.6875, 0.75, 2),
        ([["w00", "w01", "w02", "zz"], *GOLD[1:]], 0.25, 0.9277, 0.9180, 0.9354, 3),
        ([[""] * 4] * 4, 1, 0, 0, 0, 0),
    ],
)
def test_published_metrics_of_the_reference_vectors(
    groups: list, wd: float, ami: float, ari: float, fms: float, right: int
) -> None:
    values = scoring.score_grouping(_doc(), _lines(groups))
    found = [values[f"ocw_official_{name}"] for name in ("wd", "ami", "ari", "fms")]
    assert found == pytest.approx([wd, ami, ari, fms], abs=5e-5)
    assert values["ocw_official_correct_groups"] == right
    assert values["ocw_official_solved_walls"] == (right == 4)


def test_a_random_division_scores_as_computed() -> None:
    draw, found = random.Random(0), []
    for _ in range(400):
        words = draw.sample(WORDS, 16)
        groups = [words[start : start + 4] for start in range(0, 16, 4)]
        found.append(scoring.score_grouping(_doc(), _lines(groups)))
    means = {key: sum(v[key] for v in found) / 400 for key in found[0] if "official" in key}
    assert means["ocw_official_wd"] == pytest.approx(0.919, abs=0.02)
    assert means["ocw_official_fms"] == pytest.approx(0.2, abs=0.02)
    assert means["ocw_official_ami"] == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(
    "text, groups",
    [
        ("a, b , c,d", [["a", "b", "c", "d"], *[[""] * 4] * 3]),
        ("Group 1: a\n\ngroup2 b, c", [["a", "", "", ""], ["b", "c", "", ""], *[[""] * 4] * 2]),
        ("a, b, c, d. Connection: x, y", [["a", "b", "c", "d"], *[[""] * 4] * 3]),
        ("1\n2\n3\n4\n5", [[n, "", "", ""] for n in "1234"]),
        ("", [[""] * 4] * 4),
    ],
)
def test_groups_by_the_authors_rule(text: str, groups: list) -> None:
    assert walls.parse_groups_official(text) == groups


COMMAS = [["Red, white", "Up", "B", "1"], ["Up and down", "C.", "O'Hara", "2"]]
COMMAS += [["AC/DC", "B 2", "Élan", "3"], ['"Yes"', "Go-go", "50%", "4"]]


@pytest.mark.parametrize(
    "dress", ["{}", "- {}", "1. {}", "**Group 2:** {}", "[{}]", "{}. Connection: colours, B", "{}."]
)
def test_groups_in_any_dress_with_commas_in_clues(dress: str) -> None:
    lines = [dress.format(", ".join(group)) for group in COMMAS]
    text = "\n\n".join(["<think>Up?</think>Solved wall:", *lines, "I hope that is right."])
    values = scoring.score_grouping(_doc(COMMAS), text.replace("Élan", "E\u0301LAN"))
    assert values["ocw_score"] == 1 and values["ocw_invalid_rate"] == 0
    assert values["ocw_official_group_acc"] < 1  # the comma breaks a clue, and so on


def test_two_divisions_are_none_and_a_repeated_one_is_one() -> None:
    once, other = _lines(GOLD), _lines(SWAPPED)
    assert walls.parse_groups(f"{once}\n{once}", WORDS) == [sorted(group) for group in GOLD]
    for text in (f"{once}\nor\n{other}", _lines(GOLD[:3]), _lines([*GOLD[:3], GOLD[0]]), ""):
        assert walls.parse_groups(text, WORDS) is None
    assert walls.parse_groups(", ".join(WORDS), WORDS) is None
    assert walls.parse_groups(once.replace("w15", "w16"), WORDS) is None


def _parser_holds(seed: int, rounds: int) -> None:
    draw = random.Random(seed)
    pieces = (*WORDS, ", ", "\n", "Group 1:", "1. ", "Connection: ", ":", "\x00", "é", "<think>")
    gold = [sorted(group) for group in GOLD]
    for _ in range(rounds):
        noise = "".join(draw.choice(pieces) for _ in range(draw.randint(0, 12)))
        read = walls.parse_groups(noise, WORDS)
        assert read is None or sorted(itertools.chain(*read)) == WORDS
        assert [len(group) for group in walls.parse_groups_official(noise)] == [4] * 4
        assert len(walls.parse_connections_official(noise)) == 4
        shuffled = [draw.sample(group, 4) for group in draw.sample(GOLD, 4)]
        read = walls.parse_groups(f"Here it is:\n{_lines(shuffled)}\nSorry!", WORDS)
        assert read is not None and sorted(read) == gold
        words = draw.sample(WORDS, 16)
        other = [sorted(words[start : start + 4]) for start in range(0, 16, 4)]
        both = walls.parse_groups(f"{_lines(shuffled)}\nor rather\n{_lines(other)}", WORDS)
        assert both is None or sorted(other) == gold


def test_no_response_breaks_a_parser_or_has_two_answers() -> None:
    _parser_holds(1, 2000)


@pytest.mark.slow
def test_no_response_breaks_a_parser_or_has_two_answers_at_length() -> None:
    _parser_holds(2, 100_000)


@pytest.mark.parametrize(
    "piece", ["w00, ", "\n", " ", "Group 1", "Connection:", "<think>", "é\u0301"]
)
def test_a_megabyte_of_noise(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    assert walls.parse_groups(text, WORDS) is None and walls.parse_connections(text) is None
    assert len(walls.parse_groups_official(text)) == 4
    assert len(walls.parse_connections_official(text)) == 4


def test_connections_as_published_and_strictly() -> None:
    said = ["Planets", "rivers ", "presidents", "Foot ___"]
    text = "\n".join(f"a, b, c, d. Connection: {connection}" for connection in said)
    values = scoring.score_connections(_doc(), text)
    assert values["ocw_score"] == 0.5  # an article does not matter
    assert values["ocw_official_conn_em"] == 0.25
    # One of two words is F1 2/3; "foot ___" shares no word with "___ ball".
    assert values["ocw_official_conn_rouge1"] == pytest.approx((2 / 3 + 1 + 2 / 3 + 0) / 4)
    spaced = scoring.score_connections(_doc(), text.replace("\n", "\n\n"))
    assert spaced["ocw_score"] == 0.5
    assert spaced["ocw_official_conn_em"] == 0  # empty lines count as answers there
    twice = scoring.score_connections(_doc(), f"{text}\n{text}")
    assert (twice["ocw_invalid_rate"], twice["ocw_score"]) == (1, 0)


def test_examples_are_the_authors_draw(tiny_walls: Path) -> None:
    """`random.Random(42).sample` of 62: these indices were computed with CPython 3.11."""
    drawn = {1: [40], 3: [40, 7, 1], 5: [40, 7, 1, 47, 17]}
    drawn[10] = [40, 7, 1, 47, 17, 15, 14, 8, 58, 6]
    for shots, rows in drawn.items():
        assert random.Random(documents.SEED).sample(range(62), shots) == rows
        doc = documents.build(f"ocw_connections_{shots}shot")[0]
        assert len(re.findall(r"^Example \d+$", doc["text"], re.MULTILINE)) == shots
        assert doc["text"].endswith("Folk, Soul. Connection:\n\nSolved wall:")
    bare = documents.build("ocw_grouping_0shot")[0]["text"]
    assert "Example solved wall(s):\n\n\n\nClues: Blues, Cedar" in bare


@pytest.mark.parametrize("name", documents.VARIANTS)
def test_right_answers_are_right_in_both_harnesses(
    name: str, tiny_walls: Path, load_lmms_eval: Callable, load_lm_eval: Callable
) -> None:
    tasks = [load(name)[name] for load in (load_lmms_eval, load_lm_eval)]
    one, other = (list(task.test_docs()) for task in tasks)
    assert one == other
    for doc in one:
        scores = [task.process_results(doc, [doc["answer"]]) for task in tasks]
        assert scores[0] == scores[1] and scores[0]["ocw_score"] == 1
        exact = "conn_em" if "connections" in name else "wall_acc"
        assert scores[0][f"ocw_official_{exact}"] == 1


def test_mistakes_in_the_data_are_one_line(
    tiny_walls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetching.fetch_all("ocw_grouping_3shot") == "ocw_grouping_3shot: 3 walls are there"
    rows = json.loads((tiny_walls / "test.json").read_text())["dataset"]
    rows[1]["words"][0] = "Another"
    (tiny_walls / "test.json").write_text(json.dumps({"dataset": rows}))
    with pytest.raises(UserError, match=r"wall 1 is not.*not those of the groups"):
        fetching.check("ocw_grouping_3shot")
    (tiny_walls / "test.json").write_text("[]")
    with pytest.raises(UserError, match="no JSON object with a list of walls"):
        fetching.check("ocw_grouping_3shot")
    (tiny_walls / "test.json").write_text('{"dataset": []}')
    with pytest.raises(UserError, match="holds no wall"):
        fetching.check("ocw_grouping_3shot")
    (tiny_walls / "test.json").unlink()
    with pytest.raises(UserError, match=r"OCW_DIR.*has no file test\.json"):
        fetching.check("ocw_grouping_3shot")
    with pytest.raises(UserError, match="no ocw task"):
        documents.build("ocw")
    monkeypatch.delenv("OCW_DIR")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"train\.json of data set TaatiTeam/OCW cannot be had"):
        fetching.check("ocw_grouping_3shot")
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *_, **__: str(tiny_walls / "train.json")
    )
    with pytest.raises(UserError, match="has 12 walls instead of 62"):
        fetching.check("ocw_grouping_3shot")
