"""What is read from a model's text: lines, words, numbers, events; and texts of every kind."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmms_causal.tasks.centerbench.answers import clean, events, is_nothing, number, words
from lmms_causal.tasks.centerbench.documents import build
from lmms_causal.tasks.centerbench.official import prediction
from lmms_causal.tasks.centerbench.scoring import is_correct, score_answer


@pytest.mark.parametrize(
    "text, line",
    [
        ("  \n The Dog. \nbecause", "the dog."),
        ("**Final Answer:** the dog", "the dog"),
        ("> answer - the dog", "the dog"),
        ("<think>the cat</think>\nthe dog", "the dog"),
        ("the cat</think> the dog", "the dog"),
        ("a<think>b</think>c</think>d<THINK>e", "d"),
        ("the dog <think> or the cat", "the dog"),
        ("<think>never closed\nthe dog", ""),
        ("\u200bthe\u00a0dog\ufeff", "the dog"),
        ("\uff14", "4"),
        ("", ""),
    ],
)
def test_one_line_counts(text: str, line: str) -> None:
    assert clean(text) == line


@pytest.mark.parametrize(
    "text, found",
    [
        *(("4", "4"), ("four.", "4"), ("there are 04 of them", "4"), ("**4**", "4")),
        *(("4 or 5", None), ("4, 4", None), ("not 4", None), ("4.5", None), ("-4", None)),
        *(("twenty four", None), ("twenty-four", None), ("4th", None), ("many", None)),
        ("9" * 10_000, "9" * 10_000),
    ],
)
def test_one_number_or_none(text: str, found: str | None) -> None:
    assert number(clean(text)) == found


def test_nothing_is_said_in_a_fixed_list_of_ways() -> None:
    assert all(map(is_nothing, ("none", '"none".', "no prior events", "n/a", "no consequence!")))
    assert not any(map(is_nothing, ("", "none of them", "the nothing", "no prior events, none")))


@pytest.mark.parametrize("joint", [" which led to ", ", which leads to ", ", ", "; ", " -> ", "→"])
def test_events_keep_their_order_whatever_joins_them(joint: str) -> None:
    told = joint.join(("the wasp stinging it", "the cook heated the pan"))
    forms = {"stinging": "sting", "heated": "heat"}
    assert events(told, forms) == [["wasp", "sting", "it"], ["cook", "heat", "pan"]]


def test_words_lose_articles_and_edges_only() -> None:
    assert words(
        "the lane-split (past) an owner\N{RIGHT SINGLE QUOTATION MARK}s \u201cx\u201d"
    ) == [*("lane-split", "past", "owner's", "x")]


def _texts(draw: random.Random, doc: dict, count: int) -> Iterator[tuple[str, bool]]:
    """Texts of every kind, and whether one names two answers to the document's question."""
    pieces = [
        *("The ", "answer", ":", "**", "<think>", "</think>", "\n", " which led to ", ", ", "it"),
        *("none", "no prior events", "I cannot answer that.", "\u200b", "\u0661", "²", "猫", "🐕"),
        *("4", "five", "-", "->", "\x00", "\ud7ff", "(", "\\boxed{", "}", " or ", *doc["entities"]),
        *(doc["answer"], doc["question"]),
    ]
    for number_ in range(count):
        if number_ % 4 == 0:
            others = [*doc["entities"], "none"]
            if doc["type"] == "entity_count":  # "2 (a wasp)" counts once
                others = ["none", "7", "eleven", "forty"]
            first, second = doc["answer"], draw.choice(others)
            if words(first.lower()) == words(second.lower()):
                continue
            pair = draw.sample([first, second], 2)
            yield draw.choice((" or ", " / ", ", or ", " and maybe ")).join(pair), True
        else:
            yield "".join(draw.choices(pieces, k=draw.randrange(12))), False


def _hold(docs: list[dict], count: int) -> None:
    draw = random.Random(20)
    seen = 0
    for doc in docs:
        for text, two in _texts(draw, doc, count // len(docs) + 1):
            verdict = is_correct(doc, text)
            assert not (two and verdict), (doc["id"], text)
            assert "\n" not in prediction(text)
            if verdict and doc["type"] != "entity_count":  # says it once and nothing else
                assert len(clean(text)) < 3 * len(doc["answer"]) + 30, (doc["id"], text)
            seen += 1
    assert seen > 0.9 * count


def test_texts_of_every_kind_are_read_without_an_exception(tiny_centers: Path) -> None:
    _hold(build("centerbench"), 2_000)


@pytest.mark.slow
def test_a_hundred_thousand_texts(tiny_centers: Path) -> None:
    _hold(build("centerbench"), 100_000)


@pytest.mark.parametrize(
    "noise",
    [
        *("<think>" * 140_000, "<think></think>" * 70_000, "</think>" * 120_000, ", " * 500_000),
        *("9" * 1_000_000, "x which led to " * 70_000, " " * 1_000_000, "\n" * 1_000_000),
    ],
    ids=lambda noise: repr(noise[:12]),
)
def test_a_megabyte_of_noise_is_wrong_and_no_exception(noise: str, tiny_centers: Path) -> None:
    """The patterns are linear; a quadratic one would not end here."""
    for doc in build("centerbench")[:12:2]:
        values = score_answer(doc, noise)
        assert values["centerbench_score"] == 0
        assert len(json.dumps(values)) < 5_000
