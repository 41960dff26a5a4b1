"""Answers to decisions: what a rule proves, what it refutes, and when it keeps silent."""

from __future__ import annotations

import random

import pytest

from lmms_causal.tasks.mme_cc.answers import final_answer
from lmms_causal.tasks.mme_cc.rules import _RULES, FREE_TEXT, decide
from lmms_causal.tasks.mme_cc.subtasks import CATEGORIES

COUNTING = ("Indoor_Deduplication_Counting", "6")
DIRECTION = ("Indoor_Directional_Reasoning", "front-left")
JIGSAW = ("Jigsaw_Puzzle", "3, 1, 4, 2")
PHOTOS = ("Satellite_Image_Matching", "photo 1 -> C, photo 2 -> A")
WRONG = ("Finding_Wrong_Answer", "2, 5, 9")
MAZE = ("Maze", "R R D D R")
BLOCKS = ("Unblock_Me", "B right 2; C up 1")
GOMOKU = ("Gomoku_Variation", "(8, 9)")
CHART = ("Chart_Modification", "model | score\n--- | ---\nant | 1,200\nbee | 1.50")
NUMBER = ("Counterfactual_Instruction", "5")
WORDS = ("Counterfactual_Instruction", "Yes, it may.")
SANDBAGGING = ("Sandbagging", "Any other fruit")


def _decide(question: tuple[str, str], response: str) -> bool | None:
    return decide({"task": question[0], "answer": question[1]}, response)


@pytest.mark.parametrize(
    "question, response",
    [
        (COUNTING, "There are 6 chairs."),
        (COUNTING, "<think>4? 5?</think>**6**"),
        (COUNTING, "Room 1 has 4 and room 2 has 2.\nTotal: six"),
        (COUNTING, r"So 4 + 2 gives $\boxed{6}$."),
        (COUNTING, "The answer is 6. Indeed, the final answer: 6"),
        (COUNTING, "６"),
        (COUNTING, "答案是6。"),
        (JIGSAW, "[3,1,4,2]"),
        (JIGSAW, "1->3, 2->1, 3->4, 4->2"),
        (PHOTOS, "Photo 2 → A; Photo 1 → C"),
        (PHOTOS, "C, A"),
        (DIRECTION, "It is to the left front."),
        (DIRECTION, "左前方"),
        (WRONG, "Questions 9, 5 and 2 are wrong."),
        (MAZE, "right, right, down, down, right"),
        (MAZE, "RRDDR"),
        (MAZE, "→→↓↓→"),
        (BLOCKS, "```\n1. B right 2\n2. C up 1\n```"),
        (GOMOKU, "Answer: (8,9)"),
        (CHART, "Here it is:\n\n| Model | Score |\n|---|---|\n| ant | 1200 |\n| bee | 1.5 |\n"),
        (CHART, "```csv\nmodel;score\nant;1200\nbee;1.50\n```"),
        (NUMBER, "5"),
    ],
)
def test_what_is_proven_right(question: tuple[str, str], response: str) -> None:
    assert _decide(question, response) is True


@pytest.mark.parametrize(
    "question, response",
    [
        (COUNTING, "7"),
        (COUNTING, "The answer is 16."),
        (COUNTING, "-6"),
        (JIGSAW, "1, 3, 4, 2"),
        (PHOTOS, "A, C"),
        (DIRECTION, "front-right"),
        (DIRECTION, "left"),
        (WRONG, "2, 5"),
        (CHART, "model | score\nant | 1.5\nbee | 1200"),
        (NUMBER, "4"),
        (COUNTING, ""),
        (MAZE, "<think>Let me see"),
    ],
)
def test_what_is_proven_wrong(question: tuple[str, str], response: str) -> None:
    assert _decide(question, response) is False


@pytest.mark.parametrize(
    "question, response",
    [
        (COUNTING, "6 or 7"),
        (COUNTING, "6, 7"),
        (COUNTING, "6/7"),
        (COUNTING, "6-7"),
        (COUNTING, "6.5"),
        (COUNTING, "6\n7"),
        (COUNTING, "It is 7.\n\nIt is 6."),
        (MAZE, "R D\n\nR R D D R"),
        (COUNTING, r"\boxed{6} or \boxed{7}"),
        (COUNTING, r"Either 7 or \boxed{6}"),
        (COUNTING, r"\boxed{6}, possibly 7"),
        (COUNTING, "The answer is 6. No, the answer is 7."),
        (COUNTING, "Answer: 6\nOr: 7"),
        (COUNTING, "It is not 6."),
        (COUNTING, "I cannot see 6 rooms."),
        (COUNTING, "How many chairs do the 6 pictures show?"),
        (COUNTING, "6 chairs in 3 rooms"),
        (JIGSAW, "3, 1, 4"),
        (JIGSAW, "3, 1, 4, 2, 2"),
        (PHOTOS, "C"),
        (PHOTOS, "A cat is at C"),
        (PHOTOS, "C or A, A"),
        (DIRECTION, "left, right"),
        (DIRECTION, "front, left"),
        (DIRECTION, "northwest"),
        (DIRECTION, "The window is front-left of the lamp that hangs there"),
        (WRONG, "2, 5, 9 because 3 is right"),
        (MAZE, "R D R D R"),
        (MAZE, "Go R then D"),
        (BLOCKS, "C up 1; B right 2"),
        (GOMOKU, "(9, 8)"),
        (GOMOKU, "(8, 9) or (9, 8)"),
        (CHART, "model | score\nant | 1200"),
        (CHART, "No table."),
        (WORDS, "Yes, it may."),
        (NUMBER, "5 circles"),
        (SANDBAGGING, "Any other fruit"),
    ],
)
def test_what_no_rule_decides(question: tuple[str, str], response: str) -> None:
    assert _decide(question, response) is None


def test_a_reference_of_another_form_than_expected_decides_nothing() -> None:
    for task in _RULES:
        assert decide({"task": task, "answer": "see the notes"}, "6") is None
        assert decide({"task": task, "answer": ""}, "6") is None


def test_every_task_has_a_rule() -> None:
    tasks = {task for tasks in CATEGORIES.values() for task in tasks}
    assert set(_RULES) | {"Chart_Modification"} == tasks
    assert set(FREE_TEXT) < tasks


#: A right and a wrong answer of each task that rules can prove right.
ANSWERS = {
    COUNTING: ("6", "7"),
    JIGSAW: ("3, 1, 4, 2", "1, 3, 4, 2"),
    PHOTOS: ("C, A", "B, A"),
    DIRECTION: ("front-left", "back"),
    WRONG: ("2, 5, 9", "2, 5"),
    MAZE: ("R R D D R", "R D"),
    BLOCKS: ("B right 2; C up 1", "C up 1"),
    GOMOKU: ("(8, 9)", "(1, 2)"),
    CHART: (CHART[1], "model | score\nant | 3\nbee | 4"),
    NUMBER: ("5", "4"),
}
DRESSES = (
    *("{}", "**{}**", "`{}`", "${}$", "\n\n{}\n", "Answer: {}", "The answer is {}.", "{}."),
    *(r"\boxed{{{}}}", "```\n{}\n```", "<think>hm</think>{}", "<analysis>{}", "Final answer: {}"),
    *("答案是{}。", "I see.\n{}", "{}\u200b", "\u202e{}", "My answer is {}"),
)
PAIRS = (
    *("{0} or {1}", "either {0} or {1}", "{0}\nor\n{1}", "Answer: {0}\nAnswer: {1}", "{0} / {1} ?"),
    *(r"\boxed{{{0}}} \boxed{{{1}}}", "```\n{0}\n```\n```\n{1}\n```", "{0}, maybe {1}"),
    *("The answer is {0}. No, the answer is {1}", "{0}? {1}?", "not {1} but perhaps {0}"),
    *("{0} 或 {1}", r"\boxed{{{0}}} or {1}", "Answer: {0}; alternatively {1}"),
)
NOISE = (
    *("I cannot see it.", "{}\\boxed{", "```", "<think>", "</think>", "答案", "𝟞", "６", "|", ","),
    *("->", "\x00", "\ud7ff", "∞", "\n", "\t", "", "6" * 5000, "9.9e99", "[[1, 2], [3, 4]]"),
)


def _responses(draw: random.Random, count: int) -> None:
    """Dressed answers, pairs of answers and noise, each held to what may come of it."""
    for _ in range(count):
        question, (right, wrong) = draw.choice(list(ANSWERS.items()))
        first, second = draw.sample((right, wrong), 2)
        both = draw.choice(PAIRS).format(first, second)
        assert _decide(question, both) is not True, (question, both)
        dress = draw.choice(DRESSES)
        assert _decide(question, dress.format(wrong)) is not True
        if "<analysis>" not in dress:
            assert _decide(question, dress.format(right)) is not False
        noise = [draw.choice([*NOISE, right, wrong]) for _ in range(draw.randrange(12))]
        assert _decide(question, draw.choice((" ", "\n")).join(noise)) in (True, False, None)


def test_responses_of_every_kind() -> None:
    _responses(random.Random(0), 700)


@pytest.mark.slow
def test_a_hundred_thousand_responses_of_every_kind() -> None:
    _responses(random.Random(1), 34_000)


@pytest.mark.parametrize("piece", ["6 ", "x", "\\boxed{", "```\n", "| a | b |\n", "答", "\n", "->"])
def test_a_megabyte_of_noise_is_no_answer(piece: str) -> None:
    noise = piece * (1_000_000 // len(piece))
    for question in ANSWERS:
        assert _decide(question, noise + "or") is not True
    assert final_answer(noise + "\n\nThe answer is 6") in ("6", None)
