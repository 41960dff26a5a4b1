"""Spans: which tokens a text names, in rows that are padded and grow."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.attention.spans import (
    NAMES,
    PREDICTING,
    Span,
    parse_span,
    segment,
    sentence,
    tokens,
)
from lmms_causal.interventions.parts import PromptParts

#     0 1 2 3 4 5 6 7 8 9 10 11
ROW = list("..BSiiqiwwTg")
ROLES = {".": -1, "B": 0, "S": 0, "i": 2, "q": 1, "w": 1, "T": 3, "g": 4}


def layout(*rows):
    roles = torch.tensor([[ROLES[it] for it in row] for row in rows], dtype=torch.int8)
    return Layout(roles, torch.zeros_like(roles, dtype=torch.int32))


def named(text, *rows):
    found = parse_span("toy", "at", text).resolve(layout(*(rows or (ROW,))))
    return [row.nonzero()[:, 0].tolist() for row in found]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("all", range(2, 12)),
        ("bos", [2]),
        ("system", [2, 3]),
        ("image", [4, 5, 7]),
        ("turn", [6, 8, 9]),
        ("question", [8, 9]),
        ("tail", [10]),
        ("prompt", range(2, 11)),
        ("generated", [11]),
        ("last", [10]),
        ("predicting", [10, 11]),
        ("segments", []),
        ("0", [2]),
        ("3-5", [5, 6, 7]),
        ("!image", [2, 3, 6, 8, 9, 10, 11]),
        ("image|question", [4, 5, 7, 8, 9]),
        ("!turn&prompt|generated", [2, 3, 4, 5, 7, 10, 11]),
        ("!!image", [4, 5, 7]),
        ("generated | !turn & prompt", [2, 3, 4, 5, 7, 10, 11]),
    ],
)
def test_a_text_names_tokens_and_never_padding(text, columns):
    assert named(text) == [list(columns)]


def test_each_row_of_a_batch_has_tokens_of_its_own():
    other = list("BSSiiiqwwwTg")
    assert named("question&!5-6", ROW, other) == [[9], [7, 8, 9]]
    assert named("last", ROW, other) == [[10], [10]]
    assert named("bos|1", ROW, other) == [[2, 3], [0, 1]]


def test_spans_grow_with_the_answer_and_follow_padding():
    first = layout(ROW[:11])
    assert not parse_span("toy", "at", "generated").resolve(first).any()
    grown = first.extended(13).widened(16)
    moved = 3
    assert PREDICTING.resolve(grown)[0].nonzero()[:, 0].tolist() == [10 + moved, 11 + moved, 12 + 3]
    assert tokens(0, 0).resolve(grown)[0].nonzero()[:, 0].tolist() == [2 + moved]


def test_segments_are_named_by_group_and_number():
    inputs = {"input_ids": torch.ones(1, 12, dtype=torch.long)}
    inputs["attention_mask"] = torch.tensor([[0, 0, *[1] * 10]])
    parts = PromptParts((2, 9), (((2, 4), (6, 7)), ((7, 8),)))
    blind = SimpleNamespace(
        is_visual=lambda ids: ids == 2, family=None, markers=frozenset(), tokenizer=None
    )
    where = Layout.of(inputs, blind, [parts], None)
    for text, columns in (("segment1", [4, 5]), ("segment2", [8]), ("segment2.1", [9])):
        span = parse_span("toy", "at", text)
        assert span.resolve(where)[0].nonzero()[:, 0].tolist() == columns
        assert span.reads_segments
    everything = parse_span("toy", "at", "segments")
    assert everything.resolve(where)[0].nonzero()[:, 0].tolist() == [4, 5, 8, 9]
    assert (~everything | tokens(0, 1)).reads_segments
    assert not PREDICTING.reads_segments


def spans(draw, depth=3):
    """A random span of all kinds."""
    kind = draw.choice(["name", "segment", "sentence", "tokens", "or", "and", "not"])
    if depth == 0 or kind == "name":
        return draw.choice(list(NAMES.values()))
    if kind in ("segment", "sentence", "tokens"):
        first, last = draw.randint(1, 4), draw.randint(4, 9)
        return {
            "segment": segment(last, first),
            "sentence": sentence(first, last),
            "tokens": tokens(first, last),
        }[kind]
    if kind == "not":
        return ~draw.choice(list(NAMES.values()))
    inner = [spans(draw, 0 if kind == "and" else depth - 1) for _ in range(2)]
    return Span(kind, of=tuple(it for it in inner if it.kind != kind) or (NAMES["all"],) * 2)


@pytest.mark.parametrize("seed", range(40))
def test_the_text_of_a_span_reads_back_as_the_same_span(seed):
    span = spans(random.Random(seed))
    assert str(parse_span("toy", "at", str(span))) == str(span)


@pytest.mark.parametrize("text", ["", "picture", "image|", "5-3", "segment", "!", "a&&b", "-1"])
def test_other_texts_are_refused_by_name(text):
    with pytest.raises(UserError, match="intervention toy: at=") as refusal:
        parse_span("toy", "at", text)
    assert "image" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_roles_of_a_row_are_disjoint_and_whole():
    where = layout(ROW)
    parts = [NAMES[name].resolve(where) for name in ("system", "turn", "image", "tail")]
    count = sum(part.long() for part in parts) + NAMES["generated"].resolve(where).long()
    assert torch.equal(count, (where.roles != Role.PADDING).long())
