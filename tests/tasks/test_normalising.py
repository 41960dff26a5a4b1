"""NFKC in linear time: as Unicode's own, but for long rows of combining marks."""

from __future__ import annotations

import random
import unicodedata

import pytest

from lmms_causal.tasks.normalising import nfkc

MARKS = "\u0301\u0327\u0345\u3099\uff9e"


def test_texts_with_thirty_marks_in_a_row_are_normalised_as_ever() -> None:
    draw = random.Random(0)
    for _ in range(2_000):
        letters = map(chr, draw.choices(range(1, 0x300), k=draw.randrange(8)))
        text = "".join(
            letter + "".join(draw.choices(MARKS, k=draw.randrange(23))) for letter in letters
        )
        assert nfkc(text) == unicodedata.normalize("NFKC", text), ascii(text)
    assert nfkc("🙂" * 100 + "Ａ") == "🙂" * 100 + "A"


def test_every_combining_mark_is_among_the_signs_that_are_looked_at() -> None:
    """What is a word sign in Python, or below U+0300, must not be one that normalising moves."""
    for code in range(0x110000):
        sign = chr(code)
        if unicodedata.combining(sign):
            assert code >= 0x300 and not sign.isalnum(), hex(code)


@pytest.mark.parametrize("marks", ["\u0301\u0327", "\uff9e\u0301", "\u0345"])
def test_a_megabyte_of_marks_ends(marks: str) -> None:
    """Quadratic time would take hours, so that this test need not look at a clock."""
    assert nfkc("a" + marks * 500_000) == nfkc("a" + marks * (30 // len(marks)))
